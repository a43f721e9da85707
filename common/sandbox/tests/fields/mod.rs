//! What shows that each field of the format does something: the mutation that fails where the field is wrong, or
//! the test that is about it.

use latchkey_providers::{Catalog, CatalogError};

use crate::mutations;

/// Every table of the format but the file itself, and how a file opens it. A field that is no table stands in
/// [`FIELDS`].
const TABLES: &str = "
app_params                       [[app_params]]
connection_params                [[connection_params]]
oauth                            [oauth]
oauth.authorize                  [oauth.authorize]
oauth.callback                   [oauth.callback]
oauth.callback.capture           [oauth.callback.capture.x]
oauth.token                      [oauth.token]
oauth.refresh                    [oauth.refresh]
oauth.response                   [oauth.response]
oauth.response.issued_at         [oauth.response.issued_at]
oauth.response.expires           [oauth.response.expires]
oauth.response.refresh_expires   [oauth.response.refresh_expires]
oauth.response.keep              [oauth.response.keep.x]
oauth.response.tokens            [[oauth.response.tokens]]
oauth.rotation                   [oauth.rotation]
oauth.lifetimes                  [oauth.lifetimes]
oauth.lifetimes.max_live_grants  [oauth.lifetimes.max_live_grants]
oauth.errors                     [[oauth.errors]]
oauth.refusals                   [oauth.refusals]
oauth.refusals.grant             [oauth.refusals.grant]
oauth.refusals.client            [oauth.refusals.client]
oauth.introspect                 [oauth.introspect]
oauth.revoke                     [oauth.revoke]
oauth.revoke.token_header        [oauth.revoke.token_header]
oauth.identity                   [oauth.identity]
oauth.identity.token_header      [oauth.identity.token_header]
oauth.identity.pick              [oauth.identity.pick]
oauth.issuer                     [oauth.issuer]
oauth.limits                     [oauth.limits]
app_kinds                        [[app_kinds]]
keys                             [[keys]]
services                         [[services]]
services.token_header            [[services]] [services.token_header]
services.pagination              [[services]] [services.pagination]
services.permissions             [[services]] [[services.permissions]]
services.endpoints               [[services]] [[services.endpoints]]
services.endpoints.params        [[services]] [[services.endpoints]] [services.endpoints.params.x]
services.endpoints.request       [[services]] [[services.endpoints]] [services.endpoints.request]
rate                             [rate]
rate.limited_when                [[rate.limited_when]]
rate.buckets                     [[rate.buckets]]
rate.retry_after_body            [rate.retry_after_body]
rate.usage_header                [rate.usage_header]
rate.budgets                     [[rate.budgets]]
";

/// Tables that have the same fields as another, whose rows stand for both.
const LIKE: &[(&str, &str)] = &[
    ("connection_params", "app_params"),
    ("oauth.response.expires", "oauth.response.refresh_expires"),
    ("oauth.response.issued_at", "oauth.response.refresh_expires"),
    ("rate.retry_after_body", "oauth.response.refresh_expires"),
    ("oauth.refusals.client", "oauth.refusals.grant"),
    ("oauth.revoke.token_header", "services.token_header"),
    ("oauth.identity.token_header", "services.token_header"),
];

/// Where tests stand.
const FILES: &[(&str, &str)] = &[
    ("files", "common/providers/tests/files.rs"),
    ("fixtures", "common/providers/tests/conformance.rs"),
    ("permissions", "common/providers/tests/permissions.rs"),
    ("platform", "tests/platform/refresh.rs"),
    ("endpoints", "common/providers/tests/endpoints.rs"),
    ("dialects", "common/oauth/tests/dialects.rs"),
    ("requests", "common/oauth/tests/requests.rs"),
    ("answers", "common/oauth/tests/answers.rs"),
    ("suite", "common/sandbox/tests/dialects.rs"),
    ("imports", "api/src/flowra/tests/imports.rs"),
    ("allowed", "api/src/routes/calls/tests/allowed.rs"),
    ("budgets", "common/limits/src/budgets.rs"),
    ("keys", "common/providers/src/keys.rs"),
    ("rate", "common/providers/src/rate.rs"),
    ("shape", "common/providers/src/shape.rs"),
    ("shopify", "common/providers/src/quirks/shopify.rs"),
    ("template", "common/providers/src/endpoint/template.rs"),
    ("tool", "common/providers/src/tool.rs"),
];

/// Every field, and what shows it: `walk` and a mutation, which the walk notices in every entry that has the field;
/// a file of [`FILES`] and a test in it; or `-` and why a field is for people alone.
const FIELDS: &str = "
slug                                      files an_operator_adds_and_replaces_entries
display_name                              files an_operator_adds_and_replaces_entries
doc_url                                   - where to look it up
verified_at                               - when somebody looked it up
unsure                                    files an_operator_changes_one_field_and_keeps_the_rest
base_scopes                               permissions scopes_come_from_permissions_services_and_scopes
unauthorized_when                         walk api: the form of a dead token
app_params.name                           permissions parameters_of_an_auth_config_are_checked
app_params.label                          - what a form says before the field
app_params.default                        permissions parameters_of_an_auth_config_are_checked
app_params.regex                          permissions parameters_of_an_auth_config_are_checked
app_params.host_suffix_allow              permissions parameters_of_an_auth_config_are_checked
oauth.disconnect_help_url                 suite every_entry_is_walked_through
oauth.authorize.url                       fixtures authorize_addresses
oauth.authorize.params                    walk authorize: a parameter left out
oauth.authorize.drop_params               walk authorize: scopes that stand on the application
oauth.authorize.rename_params             requests an_authorize_url_with_every_dialect
oauth.authorize.scope_classes             walk authorize: a class of scopes among the others
oauth.authorize.scope_separator           walk authorize: scope separator
oauth.authorize.pkce                      walk authorize: no challenge where one is required
oauth.authorize.state_max_len             files errors_name_file_and_line
oauth.callback.code_param                 walk callback: the code in another parameter
oauth.callback.check                      shopify only_shopify_s_own_word_passes
oauth.callback.capture.query              walk callback: nothing captured
oauth.callback.capture.regex              permissions what_the_callback_brings_is_checked
oauth.callback.capture.required           permissions what_the_callback_brings_is_checked
oauth.callback.capture.example            suite every_entry_is_walked_through
oauth.token.url                           suite every_entry_is_walked_through
oauth.token.auth                          walk token: client authentication
oauth.token.body                          walk token: form of the body
oauth.token.client_id_in_body             walk token: the client id in the body too
oauth.token.redirect_uri                  walk token: redirect_uri
oauth.token.code_ttl_s                    walk lifetimes: of a code
oauth.token.headers                       walk token: a header left out
oauth.token.params                        walk token: a field left out
oauth.refresh.url                         walk refresh: the address
oauth.refresh.auth                        requests refreshes_with_and_without_scope
oauth.refresh.params                      walk refresh: a field left out
oauth.refresh.send_scope                  walk refresh: the scope sent along
oauth.refresh.trigger                     walk refresh: what makes it due
oauth.refresh.lead_s                      dialects ends_are_counted_as_the_entry_says
oauth.refresh.keepalive_s                 dialects ends_are_counted_as_the_entry_says
oauth.refresh.single_flight_key           platform connections_that_share_a_refresh_token_present_it_once
oauth.introspect.url                      walk introspect: the address
oauth.introspect.auth                     walk introspect: who asks
oauth.response.ok_path                    dialects a_success_without_its_ok_is_an_error
oauth.response.error_path                 dialects an_error_s_code_may_stand_elsewhere
oauth.response.scope_separator            walk response: separator of granted scopes
oauth.response.example                    suite every_entry_is_walked_through
oauth.response.refresh_expires.path       answers times_come_in_every_unit
oauth.response.refresh_expires.unit       walk response: the unit of the refresh token's end
oauth.response.refresh_expires.override_s walk response: the trap of the wrong unit
oauth.response.keep.path                  walk response: what is kept
oauth.response.keep.host_suffix_allow     dialects what_goes_into_an_address_is_kept_as_a_host
oauth.response.tokens.class               walk response: classes of tokens
oauth.response.tokens.access              dialects one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself
oauth.response.tokens.refresh             dialects one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself
oauth.response.tokens.expires             dialects one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself
oauth.response.tokens.scope               dialects one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself
oauth.response.tokens.scope_prefix        dialects scopes_of_a_class_have_their_own_parameter
oauth.rotation.mode                       walk rotation: that there is one
oauth.rotation.grace_s                    walk rotation: no grace where there is one
oauth.rotation.reuse_effect               walk rotation: the effect of the alarm
oauth.rotation.old_access_dies            walk rotation: whether the old access token dies
oauth.lifetimes.access_s                  walk lifetimes: of the access token
oauth.lifetimes.refresh_s                 walk lifetimes: of the refresh token
oauth.lifetimes.refresh_idle_s            walk lifetimes: of the refresh token
oauth.lifetimes.refresh_hard_s            walk lifetimes: of the whole grant
oauth.lifetimes.shared_refresh_across_connections  walk lifetimes: whose the refresh token is
oauth.lifetimes.max_live_grants.count     walk lifetimes: how many grants live
oauth.lifetimes.max_live_grants.evicts    walk lifetimes: which grant makes room
oauth.errors.class                        walk errors: a rule of the provider's own
oauth.errors.http                         fixtures errors_and_every_rule_of_them
oauth.errors.path                         walk errors: where the code stands
oauth.errors.equals                       fixtures errors_and_every_rule_of_them
oauth.errors.contains                     fixtures errors_and_every_rule_of_them
oauth.errors.regex                        walk errors: the pattern
oauth.errors.example                      suite every_entry_is_walked_through
oauth.refusals.grant.http                 suite every_entry_is_walked_through
oauth.refusals.grant.body                 suite every_entry_is_walked_through
oauth.revoke.method                       walk revoke: method
oauth.revoke.url                          suite every_entry_is_walked_through
oauth.revoke.auth                         walk revoke: who asks
oauth.revoke.body                         walk revoke: form of the body
oauth.revoke.params                       walk revoke: a member left out
oauth.revoke.param                        walk revoke: the name of the token
oauth.revoke.which                        requests revocations_of_every_form
oauth.revoke.success_codes                walk revoke: the status that confirms
oauth.revoke.gone_codes                   answers revocations_are_confirmed_gone_or_to_be_tried_again
oauth.revoke.blast_radius                 walk revoke: the blast radius
oauth.identity.source                     walk identity: the source
oauth.identity.url                        suite every_entry_is_walked_through
oauth.identity.method                     walk identity: method
oauth.identity.body                       dialects identities_stand_elsewhere_too
oauth.identity.headers                    requests who_connected_is_asked_with_the_access_token
oauth.identity.stable_key                 walk identity: the key
oauth.identity.label                      walk identity: the label
oauth.identity.workspace                  walk identity: the workspace
oauth.identity.example                    suite every_entry_is_walked_through
oauth.identity.claims                     suite every_entry_is_walked_through
oauth.identity.pick.url                   walk identity: the site
oauth.identity.pick.list                  dialects a_site_is_picked_once
oauth.identity.pick.id                    dialects a_site_is_picked_once
oauth.identity.pick.label                 dialects a_site_is_picked_once
oauth.identity.pick.store_as              walk identity: the site
oauth.identity.pick.example               suite every_entry_is_walked_through
oauth.issuer.expected                     requests the_issuer_must_be_the_one_that_was_asked
oauth.issuer.required                     requests the_issuer_must_be_the_one_that_was_asked
oauth.limits.max_access_bytes             answers too_long_tokens_are_refused
oauth.limits.max_refresh_bytes            answers too_long_tokens_are_refused
app_kinds.name                            suite every_entry_is_walked_through
app_kinds.authorize                       suite every_entry_is_walked_through
app_kinds.token                           suite every_entry_is_walked_through
app_kinds.refresh                         suite every_entry_is_walked_through
app_kinds.response                        suite every_entry_is_walked_through
app_kinds.revoke                          suite every_entry_is_walked_through
app_kinds.rotation                        suite every_entry_is_walked_through
app_kinds.lifetimes                       suite every_entry_is_walked_through
keys.kind                                 imports keys_and_passwords_are_tried_sealed_and_used
keys.header                               keys keys_and_passwords_take_the_place_of_the_token
services.slug                             files an_operator_adds_and_replaces_entries
services.base_url                         suite every_entry_is_walked_through
services.top_level                        endpoints the_documented_paths_reach_the_provider_s_own
services.headers                          walk service: a header left out
services.token_header.name                walk service: where the token goes
services.token_header.prefix              permissions a_call_leaves_with_token_headers_and_its_own_host
services.token_class                      suite every_entry_is_walked_through
services.idempotency_header               permissions a_call_leaves_with_token_headers_and_its_own_host
services.pagination.style                 walk list: the style
services.pagination.in                    walk list: the parameter of the next page
services.pagination.out                   walk list: what names the next page
services.pagination.more                  walk list: whether there is more
services.pagination.total                 walk list: the number of all items
services.pagination.size                  suite every_entry_is_walked_through
services.pagination.max                   endpoints bad_parameters_are_named
services.pagination.first                 suite every_entry_is_walked_through
services.permissions.id                   permissions scopes_come_from_permissions_services_and_scopes
services.permissions.kind                 permissions raw_calls_need_a_permission_of_their_kind
services.permissions.scopes               permissions a_grant_allows_what_its_scopes_hold
services.permissions.implied_by           permissions a_grant_allows_what_its_scopes_hold
services.permissions.default              permissions scopes_come_from_permissions_services_and_scopes
services.endpoints.name                   tool tools_are_named_as_existing_clients_know_them
services.endpoints.method                 endpoints what_names_nothing_is_told_apart
services.endpoints.path                   endpoints the_documented_paths_reach_the_provider_s_own
services.endpoints.about                  - and models: what a tool does
services.endpoints.permission             allowed what_is_switched_off_is_not_called
services.endpoints.body                   endpoints an_email_becomes_gmail_s_raw_message
services.endpoints.items                  walk list: where the items are
services.endpoints.pagination             walk list: the style
services.endpoints.shape                  shape shapes_pick_decode_and_tell
services.endpoints.example                suite every_entry_is_walked_through
services.endpoints.params.in              suite every_entry_is_walked_through
services.endpoints.params.type            endpoints bad_parameters_are_named
services.endpoints.params.about           - and models: what a parameter is
services.endpoints.params.required        endpoints bad_parameters_are_named
services.endpoints.params.aliases         endpoints the_documented_paths_reach_the_provider_s_own
services.endpoints.params.to              walk endpoint: the provider's name of a parameter
services.endpoints.params.default         endpoints the_documented_paths_reach_the_provider_s_own
services.endpoints.params.min             endpoints bad_parameters_are_named
services.endpoints.params.max             endpoints bad_parameters_are_named
services.endpoints.params.one_of          endpoints bad_parameters_are_named
services.endpoints.request.method         walk endpoint: the provider's method
services.endpoints.request.path           walk endpoint: the provider's path
services.endpoints.request.query          walk endpoint: a query that is always sent
services.endpoints.request.headers        walk endpoint: a header that is always sent
services.endpoints.request.body           template what_was_not_given_leaves_with_what_holds_it
rate.limit_header                         fixtures limits_and_every_rule_of_them
rate.remaining_header                     walk rate: the header of what is left
rate.reset_header                         walk rate: the unit of the end
rate.reset_unit                           walk rate: the unit of the end
rate.reason_header                        walk rate: which limit was met
rate.min_wait_s                           fixtures limits_and_every_rule_of_them
rate.scope                                budgets a_spent_budget_comes_back_and_is_nobody_elses
rate.not_retryable_when                   fixtures limits_and_every_rule_of_them
rate.limited_when.http                    walk rate: the form of too often
rate.limited_when.remaining_zero          fixtures limits_and_every_rule_of_them
rate.limited_when.header                  fixtures limits_and_every_rule_of_them
rate.limited_when.path                    fixtures limits_and_every_rule_of_them
rate.limited_when.equals                  fixtures limits_and_every_rule_of_them
rate.limited_when.contains                fixtures limits_and_every_rule_of_them
rate.limited_when.regex                   rate a_pattern_tells_one_refusal_from_another
rate.limited_when.example                 rate a_pattern_tells_one_refusal_from_another
rate.buckets.limit_header                 fixtures limits_and_every_rule_of_them
rate.buckets.remaining_header             fixtures limits_and_every_rule_of_them
rate.buckets.reset_header                 fixtures limits_and_every_rule_of_them
rate.buckets.reset_unit                   fixtures limits_and_every_rule_of_them
rate.usage_header.name                    walk rate: use and limit in one header
rate.usage_header.regex                   walk rate: use and limit in one header
rate.budgets.scope                        allowed a_budget_that_the_provider_publishes_is_kept_without_asking_it
rate.budgets.requests                     allowed a_budget_that_the_provider_publishes_is_kept_without_asking_it
rate.budgets.per_s                        allowed a_budget_that_the_provider_publishes_is_kept_without_asking_it
";

/// The names that a table takes, as the reader itself lists them when it meets one that it does not know.
fn names_of(opening: &str) -> Vec<String> {
    let text = format!("{}\nnobodys_field = 1\n", opening.replace(' ', "\n"));
    let error = Catalog::parse("fields.toml", &text).map(drop).unwrap_err();
    let CatalogError::Entry { message, .. } = error else {
        panic!("{error}");
    };
    let (_, expected) = message
        .split_once("expected")
        .unwrap_or_else(|| panic!("{opening}: {message}"));
    let quoted = expected.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// Rows of a text: a word, and the rest of its line.
fn rows(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = text.lines().filter_map(|row| row.split_once(' '));
    rows.map(|(name, rest)| (name, rest.trim()))
}

/// The field whose row stands for this one.
fn row_of(path: &str) -> String {
    let table = path.rsplit_once('.').map_or("", |(table, _)| table);
    match LIKE.iter().find(|(like, _)| *like == table) {
        Some((like, other)) => path.replacen(like, other, 1),
        None => path.to_owned(),
    }
}

/// Every field that is no table, by its row.
fn fields() -> Vec<String> {
    let mut found = Vec::new();
    for (table, opening) in std::iter::once(("", "")).chain(rows(TABLES)) {
        for name in names_of(opening) {
            let path = match table {
                "" => name,
                table => format!("{table}.{name}"),
            };
            if !rows(TABLES).any(|(table, _)| table == path) {
                found.push(row_of(&path));
            }
        }
    }
    found
}

#[test]
fn every_field_of_the_format_is_shown() {
    let known = fields();
    let missing: Vec<_> = known
        .iter()
        .filter(|path| !rows(FIELDS).any(|(field, _)| field == **path))
        .collect();
    assert!(missing.is_empty(), "nothing shows these: {missing:#?}");
    for (field, shown) in rows(FIELDS) {
        let is_field = known.iter().any(|path| path == field);
        assert!(is_field, "{field} is no field");
        let (by, name) = shown.split_once(' ').unwrap();
        match by {
            "-" => {}
            "walk" => assert!(
                mutations::ALL.iter().any(|mutation| mutation.name == name),
                "{field}: there is no mutation '{name}'"
            ),
            file => {
                let (_, file) = FILES.iter().find(|(word, _)| *word == file).unwrap();
                let path = format!("../../{file}");
                let text = std::fs::read_to_string(&path).unwrap();
                let test = format!("fn {name}()");
                assert!(text.contains(&test), "{field}: {file} has no {test}");
            }
        }
    }
    println!("{} fields, each shown", rows(FIELDS).count());
}
