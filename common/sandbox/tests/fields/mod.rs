//! What shows that each field of the format does something: the mutation that fails where the field is wrong, or
//! the test that is about it.

use latchkey_providers::{Catalog, CatalogError};

use crate::mutations;

/// What shows a field.
enum Shown {
    /// A mutation of that name, which the walk notices in every entry that has the field.
    Walk(&'static str),
    /// A test: its file from the root of the project, and its name.
    Test(&'static str, &'static str),
    /// Nothing: it is for people. Why.
    ForPeople(&'static str),
}
use Shown::{ForPeople, Test, Walk};

/// Every table of the format, and how a file opens it. A field that is no table is a field of [`FIELDS`].
const TABLES: &[(&str, &str)] = &[
    ("", ""),
    ("app_params", "[[app_params]]"),
    ("connection_params", "[[connection_params]]"),
    ("oauth", "[oauth]"),
    ("oauth.authorize", "[oauth.authorize]"),
    ("oauth.callback", "[oauth.callback]"),
    ("oauth.callback.capture", "[oauth.callback.capture.x]"),
    ("oauth.token", "[oauth.token]"),
    ("oauth.refresh", "[oauth.refresh]"),
    ("oauth.response", "[oauth.response]"),
    ("oauth.response.issued_at", "[oauth.response.issued_at]"),
    ("oauth.response.expires", "[oauth.response.expires]"),
    (
        "oauth.response.refresh_expires",
        "[oauth.response.refresh_expires]",
    ),
    ("oauth.response.keep", "[oauth.response.keep.x]"),
    ("oauth.response.tokens", "[[oauth.response.tokens]]"),
    ("oauth.rotation", "[oauth.rotation]"),
    ("oauth.lifetimes", "[oauth.lifetimes]"),
    (
        "oauth.lifetimes.max_live_grants",
        "[oauth.lifetimes.max_live_grants]",
    ),
    ("oauth.errors", "[[oauth.errors]]"),
    ("oauth.refusals", "[oauth.refusals]"),
    ("oauth.refusals.grant", "[oauth.refusals.grant]"),
    ("oauth.refusals.client", "[oauth.refusals.client]"),
    ("oauth.revoke", "[oauth.revoke]"),
    ("oauth.revoke.token_header", "[oauth.revoke.token_header]"),
    ("oauth.identity", "[oauth.identity]"),
    (
        "oauth.identity.token_header",
        "[oauth.identity.token_header]",
    ),
    ("oauth.identity.pick", "[oauth.identity.pick]"),
    ("oauth.issuer", "[oauth.issuer]"),
    ("oauth.limits", "[oauth.limits]"),
    ("app_kinds", "[[app_kinds]]"),
    ("keys", "[[keys]]"),
    ("services", "[[services]]"),
    (
        "services.token_header",
        "[[services]]\n[services.token_header]",
    ),
    ("services.pagination", "[[services]]\n[services.pagination]"),
    (
        "services.permissions",
        "[[services]]\n[[services.permissions]]",
    ),
    ("services.endpoints", "[[services]]\n[[services.endpoints]]"),
    (
        "services.endpoints.params",
        "[[services]]\n[[services.endpoints]]\n[services.endpoints.params.x]",
    ),
    (
        "services.endpoints.request",
        "[[services]]\n[[services.endpoints]]\n[services.endpoints.request]",
    ),
    ("rate", "[rate]"),
    ("rate.limited_when", "[[rate.limited_when]]"),
    ("rate.buckets", "[[rate.buckets]]"),
    ("rate.retry_after_body", "[rate.retry_after_body]"),
    ("rate.usage_header", "[rate.usage_header]"),
    ("rate.budgets", "[[rate.budgets]]"),
];

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

const FILES: &str = "common/providers/tests/files.rs";
const FIXTURES: &str = "common/providers/tests/conformance.rs";
const PERMISSIONS: &str = "common/providers/tests/permissions.rs";
const ENDPOINTS: &str = "common/providers/tests/endpoints.rs";
const OAUTH_DIALECTS: &str = "common/oauth/tests/dialects.rs";
const OAUTH_REQUESTS: &str = "common/oauth/tests/requests.rs";
const OAUTH_ANSWERS: &str = "common/oauth/tests/answers.rs";
const SUITE: &str = "common/sandbox/tests/dialects.rs";
const EVERY: Shown = Test(SUITE, "every_entry_is_walked_through");

/// Every field, and what shows it.
const FIELDS: &[(&str, Shown)] = &[
    ("slug", Test(FILES, "an_operator_adds_and_replaces_entries")),
    (
        "display_name",
        Test(FILES, "an_operator_adds_and_replaces_entries"),
    ),
    ("doc_url", ForPeople("where to look it up")),
    ("verified_at", ForPeople("when somebody looked it up")),
    (
        "unsure",
        Test(FILES, "an_operator_changes_one_field_and_keeps_the_rest"),
    ),
    (
        "base_scopes",
        Test(
            PERMISSIONS,
            "scopes_come_from_permissions_services_and_scopes",
        ),
    ),
    ("unauthorized_when", Walk("api: the form of a dead token")),
    (
        "app_params.name",
        Test(PERMISSIONS, "parameters_of_an_auth_config_are_checked"),
    ),
    (
        "app_params.label",
        ForPeople("what a form says before the field"),
    ),
    (
        "app_params.default",
        Test(PERMISSIONS, "parameters_of_an_auth_config_are_checked"),
    ),
    (
        "app_params.regex",
        Test(PERMISSIONS, "parameters_of_an_auth_config_are_checked"),
    ),
    (
        "app_params.host_suffix_allow",
        Test(PERMISSIONS, "parameters_of_an_auth_config_are_checked"),
    ),
    ("oauth.disconnect_help_url", EVERY),
    ("oauth.authorize.url", Test(FIXTURES, "authorize_addresses")),
    (
        "oauth.authorize.params",
        Walk("authorize: a parameter left out"),
    ),
    (
        "oauth.authorize.drop_params",
        Walk("authorize: scopes that stand on the application"),
    ),
    (
        "oauth.authorize.rename_params",
        Test(OAUTH_REQUESTS, "an_authorize_url_with_every_dialect"),
    ),
    (
        "oauth.authorize.scope_classes",
        Walk("authorize: a class of scopes among the others"),
    ),
    (
        "oauth.authorize.scope_separator",
        Walk("authorize: scope separator"),
    ),
    (
        "oauth.authorize.pkce",
        Walk("authorize: no challenge where one is required"),
    ),
    (
        "oauth.authorize.state_max_len",
        Test(FILES, "errors_name_file_and_line"),
    ),
    (
        "oauth.callback.code_param",
        Walk("callback: the code in another parameter"),
    ),
    (
        "oauth.callback.check",
        Test(
            "common/providers/src/quirks/shopify.rs",
            "only_shopify_s_own_word_passes",
        ),
    ),
    (
        "oauth.callback.capture.query",
        Walk("callback: nothing captured"),
    ),
    (
        "oauth.callback.capture.regex",
        Test(PERMISSIONS, "what_the_callback_brings_is_checked"),
    ),
    (
        "oauth.callback.capture.required",
        Test(PERMISSIONS, "what_the_callback_brings_is_checked"),
    ),
    ("oauth.callback.capture.example", EVERY),
    ("oauth.token.url", EVERY),
    ("oauth.token.auth", Walk("token: client authentication")),
    ("oauth.token.body", Walk("token: form of the body")),
    (
        "oauth.token.client_id_in_body",
        Walk("token: the client id in the body too"),
    ),
    ("oauth.token.redirect_uri", Walk("token: redirect_uri")),
    ("oauth.token.code_ttl_s", Walk("lifetimes: of a code")),
    ("oauth.token.headers", Walk("token: a header left out")),
    ("oauth.token.params", Walk("token: a field left out")),
    ("oauth.refresh.url", Walk("refresh: the address")),
    (
        "oauth.refresh.auth",
        Test(OAUTH_REQUESTS, "refreshes_with_and_without_scope"),
    ),
    ("oauth.refresh.params", Walk("refresh: a field left out")),
    (
        "oauth.refresh.send_scope",
        Walk("refresh: the scope sent along"),
    ),
    (
        "oauth.refresh.trigger",
        Test(OAUTH_DIALECTS, "ends_are_counted_as_the_entry_says"),
    ),
    (
        "oauth.refresh.lead_s",
        Test(OAUTH_DIALECTS, "ends_are_counted_as_the_entry_says"),
    ),
    (
        "oauth.refresh.keepalive_s",
        Test(OAUTH_DIALECTS, "ends_are_counted_as_the_entry_says"),
    ),
    (
        "oauth.response.ok_path",
        Test(OAUTH_DIALECTS, "a_success_without_its_ok_is_an_error"),
    ),
    (
        "oauth.response.error_path",
        Test(OAUTH_DIALECTS, "an_error_s_code_may_stand_elsewhere"),
    ),
    (
        "oauth.response.scope_separator",
        Walk("response: separator of granted scopes"),
    ),
    ("oauth.response.example", EVERY),
    (
        "oauth.response.refresh_expires.path",
        Test(OAUTH_ANSWERS, "times_come_in_every_unit"),
    ),
    (
        "oauth.response.refresh_expires.unit",
        Walk("response: the unit of the refresh token's end"),
    ),
    (
        "oauth.response.refresh_expires.override_s",
        Walk("response: the trap of the wrong unit"),
    ),
    ("oauth.response.keep.path", Walk("response: what is kept")),
    (
        "oauth.response.keep.host_suffix_allow",
        Test(
            OAUTH_DIALECTS,
            "what_goes_into_an_address_is_kept_as_a_host",
        ),
    ),
    (
        "oauth.response.tokens.class",
        Walk("response: classes of tokens"),
    ),
    (
        "oauth.response.tokens.access",
        Test(
            OAUTH_DIALECTS,
            "one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself",
        ),
    ),
    (
        "oauth.response.tokens.refresh",
        Test(
            OAUTH_DIALECTS,
            "one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself",
        ),
    ),
    (
        "oauth.response.tokens.expires",
        Test(
            OAUTH_DIALECTS,
            "one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself",
        ),
    ),
    (
        "oauth.response.tokens.scope",
        Test(
            OAUTH_DIALECTS,
            "one_consent_may_give_two_tokens_and_each_is_refreshed_for_itself",
        ),
    ),
    (
        "oauth.response.tokens.scope_prefix",
        Test(OAUTH_DIALECTS, "scopes_of_a_class_have_their_own_parameter"),
    ),
    ("oauth.rotation.mode", Walk("rotation: that there is one")),
    (
        "oauth.rotation.grace_s",
        Walk("rotation: no grace where there is one"),
    ),
    (
        "oauth.rotation.reuse_effect",
        Walk("rotation: the effect of the alarm"),
    ),
    (
        "oauth.rotation.old_access_dies",
        Walk("rotation: whether the old access token dies"),
    ),
    (
        "oauth.lifetimes.access_s",
        Walk("lifetimes: of the access token"),
    ),
    (
        "oauth.lifetimes.refresh_s",
        Walk("lifetimes: of the refresh token"),
    ),
    (
        "oauth.lifetimes.refresh_idle_s",
        Walk("lifetimes: of the refresh token"),
    ),
    (
        "oauth.lifetimes.refresh_hard_s",
        Test(OAUTH_DIALECTS, "ends_are_counted_as_the_entry_says"),
    ),
    (
        "oauth.lifetimes.max_live_grants.count",
        Walk("lifetimes: how many grants live"),
    ),
    (
        "oauth.lifetimes.max_live_grants.evicts",
        Walk("lifetimes: which grant makes room"),
    ),
    (
        "oauth.errors.class",
        Walk("errors: a rule of the provider's own"),
    ),
    (
        "oauth.errors.http",
        Test(FIXTURES, "errors_and_every_rule_of_them"),
    ),
    ("oauth.errors.path", Walk("errors: where the code stands")),
    (
        "oauth.errors.equals",
        Test(FIXTURES, "errors_and_every_rule_of_them"),
    ),
    (
        "oauth.errors.contains",
        Test(FIXTURES, "errors_and_every_rule_of_them"),
    ),
    ("oauth.refusals.grant.http", EVERY),
    ("oauth.refusals.grant.body", EVERY),
    ("oauth.revoke.method", Walk("revoke: method")),
    ("oauth.revoke.url", EVERY),
    ("oauth.revoke.auth", Walk("revoke: who asks")),
    ("oauth.revoke.body", Walk("revoke: form of the body")),
    ("oauth.revoke.params", Walk("revoke: a member left out")),
    ("oauth.revoke.param", Walk("revoke: the name of the token")),
    (
        "oauth.revoke.which",
        Test(OAUTH_REQUESTS, "revocations_of_every_form"),
    ),
    (
        "oauth.revoke.success_codes",
        Walk("revoke: the status that confirms"),
    ),
    (
        "oauth.revoke.gone_codes",
        Test(
            OAUTH_ANSWERS,
            "revocations_are_confirmed_gone_or_to_be_tried_again",
        ),
    ),
    (
        "oauth.revoke.blast_radius",
        Walk("revoke: the blast radius"),
    ),
    (
        "oauth.identity.source",
        Test(OAUTH_DIALECTS, "identities_stand_elsewhere_too"),
    ),
    ("oauth.identity.url", EVERY),
    ("oauth.identity.method", Walk("identity: method")),
    (
        "oauth.identity.body",
        Test(OAUTH_DIALECTS, "identities_stand_elsewhere_too"),
    ),
    (
        "oauth.identity.headers",
        Test(
            OAUTH_REQUESTS,
            "who_connected_is_asked_with_the_access_token",
        ),
    ),
    ("oauth.identity.stable_key", Walk("identity: the key")),
    ("oauth.identity.label", Walk("identity: the label")),
    ("oauth.identity.workspace", Walk("identity: the workspace")),
    ("oauth.identity.example", EVERY),
    ("oauth.identity.pick.url", Walk("identity: the site")),
    (
        "oauth.identity.pick.list",
        Test(OAUTH_DIALECTS, "a_site_is_picked_once"),
    ),
    (
        "oauth.identity.pick.id",
        Test(OAUTH_DIALECTS, "a_site_is_picked_once"),
    ),
    (
        "oauth.identity.pick.label",
        Test(OAUTH_DIALECTS, "a_site_is_picked_once"),
    ),
    ("oauth.identity.pick.store_as", Walk("identity: the site")),
    ("oauth.identity.pick.example", EVERY),
    (
        "oauth.issuer.expected",
        Test(OAUTH_REQUESTS, "the_issuer_must_be_the_one_that_was_asked"),
    ),
    (
        "oauth.issuer.required",
        Test(OAUTH_REQUESTS, "the_issuer_must_be_the_one_that_was_asked"),
    ),
    (
        "oauth.limits.max_access_bytes",
        Test(OAUTH_ANSWERS, "too_long_tokens_are_refused"),
    ),
    (
        "oauth.limits.max_refresh_bytes",
        Test(OAUTH_ANSWERS, "too_long_tokens_are_refused"),
    ),
    ("app_kinds.name", EVERY),
    ("app_kinds.authorize", EVERY),
    ("app_kinds.token", EVERY),
    ("app_kinds.refresh", EVERY),
    ("app_kinds.response", EVERY),
    ("app_kinds.revoke", EVERY),
    ("app_kinds.rotation", EVERY),
    ("app_kinds.lifetimes", EVERY),
    (
        "keys.kind",
        Test(
            "api/src/flowra/tests/accounts.rs",
            "keys_and_passwords_are_tried_sealed_and_used",
        ),
    ),
    (
        "keys.header",
        Test(
            "common/providers/src/keys.rs",
            "keys_and_passwords_take_the_place_of_the_token",
        ),
    ),
    (
        "services.slug",
        Test(FILES, "an_operator_adds_and_replaces_entries"),
    ),
    ("services.base_url", EVERY),
    (
        "services.top_level",
        Test(ENDPOINTS, "the_documented_paths_reach_the_provider_s_own"),
    ),
    ("services.headers", Walk("service: a header left out")),
    (
        "services.token_header.name",
        Walk("service: where the token goes"),
    ),
    (
        "services.token_header.prefix",
        Test(
            PERMISSIONS,
            "a_call_leaves_with_token_headers_and_its_own_host",
        ),
    ),
    (
        "services.token_class",
        Test(SUITE, "every_entry_is_walked_through"),
    ),
    (
        "services.idempotency_header",
        Test(
            PERMISSIONS,
            "a_call_leaves_with_token_headers_and_its_own_host",
        ),
    ),
    ("services.pagination.style", Walk("list: the style")),
    (
        "services.pagination.in",
        Walk("list: the parameter of the next page"),
    ),
    (
        "services.pagination.out",
        Walk("list: what names the next page"),
    ),
    (
        "services.pagination.more",
        Walk("list: whether there is more"),
    ),
    (
        "services.pagination.total",
        Walk("list: the number of all items"),
    ),
    ("services.pagination.size", EVERY),
    (
        "services.pagination.max",
        Test(ENDPOINTS, "bad_parameters_are_named"),
    ),
    ("services.pagination.first", EVERY),
    (
        "services.permissions.id",
        Test(
            PERMISSIONS,
            "scopes_come_from_permissions_services_and_scopes",
        ),
    ),
    (
        "services.permissions.kind",
        Test(PERMISSIONS, "raw_calls_need_a_permission_of_their_kind"),
    ),
    (
        "services.permissions.scopes",
        Test(PERMISSIONS, "a_grant_allows_what_its_scopes_hold"),
    ),
    (
        "services.permissions.implied_by",
        Test(PERMISSIONS, "a_grant_allows_what_its_scopes_hold"),
    ),
    (
        "services.permissions.default",
        Test(
            PERMISSIONS,
            "scopes_come_from_permissions_services_and_scopes",
        ),
    ),
    (
        "services.endpoints.name",
        Test(
            "common/providers/src/tool.rs",
            "tools_are_named_as_existing_clients_know_them",
        ),
    ),
    (
        "services.endpoints.method",
        Test(ENDPOINTS, "what_names_nothing_is_told_apart"),
    ),
    (
        "services.endpoints.path",
        Test(ENDPOINTS, "the_documented_paths_reach_the_provider_s_own"),
    ),
    (
        "services.endpoints.about",
        ForPeople("and models: what a tool does"),
    ),
    (
        "services.endpoints.permission",
        Test(
            "api/src/routes/calls/tests/allowed.rs",
            "what_is_switched_off_is_not_called",
        ),
    ),
    (
        "services.endpoints.body",
        Test(ENDPOINTS, "an_email_becomes_gmail_s_raw_message"),
    ),
    (
        "services.endpoints.items",
        Walk("list: where the items are"),
    ),
    ("services.endpoints.pagination", Walk("list: the style")),
    (
        "services.endpoints.shape",
        Test(
            "common/providers/src/shape.rs",
            "shapes_pick_decode_and_tell",
        ),
    ),
    ("services.endpoints.example", EVERY),
    ("services.endpoints.params.in", EVERY),
    (
        "services.endpoints.params.type",
        Test(ENDPOINTS, "bad_parameters_are_named"),
    ),
    (
        "services.endpoints.params.about",
        ForPeople("and models: what a parameter is"),
    ),
    (
        "services.endpoints.params.required",
        Test(ENDPOINTS, "bad_parameters_are_named"),
    ),
    (
        "services.endpoints.params.aliases",
        Test(ENDPOINTS, "the_documented_paths_reach_the_provider_s_own"),
    ),
    (
        "services.endpoints.params.to",
        Walk("endpoint: the provider's name of a parameter"),
    ),
    (
        "services.endpoints.params.default",
        Test(ENDPOINTS, "the_documented_paths_reach_the_provider_s_own"),
    ),
    (
        "services.endpoints.params.min",
        Test(ENDPOINTS, "bad_parameters_are_named"),
    ),
    (
        "services.endpoints.params.max",
        Test(ENDPOINTS, "bad_parameters_are_named"),
    ),
    (
        "services.endpoints.params.one_of",
        Test(ENDPOINTS, "bad_parameters_are_named"),
    ),
    (
        "services.endpoints.request.method",
        Walk("endpoint: the provider's method"),
    ),
    (
        "services.endpoints.request.path",
        Walk("endpoint: the provider's path"),
    ),
    (
        "services.endpoints.request.query",
        Walk("endpoint: a query that is always sent"),
    ),
    (
        "services.endpoints.request.body",
        Test(
            "common/providers/src/endpoint/template.rs",
            "what_was_not_given_leaves_with_what_holds_it",
        ),
    ),
    (
        "rate.limit_header",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.remaining_header",
        Walk("rate: the header of what is left"),
    ),
    ("rate.reset_header", Walk("rate: the unit of the end")),
    ("rate.reset_unit", Walk("rate: the unit of the end")),
    (
        "rate.min_wait_s",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.scope",
        Test(
            "common/limits/src/budgets.rs",
            "a_spent_budget_comes_back_and_is_nobody_elses",
        ),
    ),
    (
        "rate.not_retryable_when",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.limited_when.http",
        Walk("rate: the form of too often"),
    ),
    (
        "rate.limited_when.remaining_zero",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.limited_when.path",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.limited_when.equals",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.limited_when.contains",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.buckets.limit_header",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.buckets.remaining_header",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.buckets.reset_header",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.buckets.reset_unit",
        Test(FIXTURES, "limits_and_every_rule_of_them"),
    ),
    (
        "rate.usage_header.name",
        Walk("rate: use and limit in one header"),
    ),
    (
        "rate.usage_header.regex",
        Walk("rate: use and limit in one header"),
    ),
    (
        "rate.budgets.scope",
        Test(
            "api/src/routes/calls/tests/allowed.rs",
            "a_budget_that_the_provider_publishes_is_kept_without_asking_it",
        ),
    ),
    (
        "rate.budgets.requests",
        Test(
            "api/src/routes/calls/tests/allowed.rs",
            "a_budget_that_the_provider_publishes_is_kept_without_asking_it",
        ),
    ),
    (
        "rate.budgets.per_s",
        Test(
            "api/src/routes/calls/tests/allowed.rs",
            "a_budget_that_the_provider_publishes_is_kept_without_asking_it",
        ),
    ),
];

/// The names that a table takes, as the reader itself lists them when it meets one that it does not know.
fn names_of(opening: &str) -> Vec<String> {
    let text = format!("{opening}\nnobodys_field = 1\n");
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

/// The table whose rows stand for this one's fields.
fn row_of(path: &str) -> String {
    let like = LIKE
        .iter()
        .find(|(table, _)| path.rsplit_once('.').is_some_and(|(of, _)| of == *table));
    match like {
        Some((table, other)) => path.replacen(table, other, 1),
        None => path.to_owned(),
    }
}

#[test]
fn every_field_of_the_format_is_shown() {
    let mut known = Vec::new();
    for (table, opening) in TABLES {
        for name in names_of(opening) {
            let path = if table.is_empty() {
                name
            } else {
                format!("{table}.{name}")
            };
            if !TABLES.iter().any(|(table, _)| *table == path) {
                known.push(row_of(&path));
            }
        }
    }
    let missing: Vec<_> = known
        .iter()
        .filter(|path| !FIELDS.iter().any(|(field, _)| field == path))
        .collect();
    assert!(missing.is_empty(), "nothing shows these: {missing:#?}");
    for (field, shown) in FIELDS {
        assert!(
            known.iter().any(|path| path == field),
            "{field} is no field"
        );
        match shown {
            Walk(name) => assert!(
                mutations::ALL.iter().any(|mutation| mutation.name == *name),
                "{field}: there is no mutation '{name}'"
            ),
            Test(file, name) => {
                let path = format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"));
                let text = std::fs::read_to_string(&path).unwrap();
                let test = format!("fn {name}()");
                assert!(text.contains(&test), "{field}: {file} has no {test}");
            }
            ForPeople(why) => assert!(!why.is_empty()),
        }
    }
    println!(
        "{} fields, {} of them in tables of their own kind",
        FIELDS.len(),
        known.len()
    );
}
