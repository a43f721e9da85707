//! Checks of an entry's protocol part, and of what goes into its addresses.

use std::collections::BTreeMap;

use ::http::{HeaderName, HeaderValue};
use latchkey_oauth::{
    OauthSpec, Template,
    pattern::{self, Pattern},
    spec::{
        Authorize, ErrorRule, IdentityMethod, IdentitySource, IdentitySpec, RefreshTrigger,
        Response, SingleFlightKey,
    },
    template::Source,
};
use url::Url;

use super::{Checked, WORD, ensure, is_word};
use crate::{
    entry::{Param, Provider},
    lines::Place,
};

/// Parameters that an entry may drop or rename. The state is never among the dropped.
const STANDARD_PARAMS: &[&str] = &[
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
];

/// Characters of our states: 256 bits in base64url.
const STATE_CHARS: usize = 43;

/// Before the exchange: what the auth config and the session know.
const EARLY: &[Source] = &[Source::App, Source::Connection];

/// After it: what the answer left behind too.
pub(super) const LATE: &[Source] = &[Source::App, Source::Connection, Source::Token];

/// Checks the protocol; `place` is where its sections stand.
pub(super) fn check_oauth(provider: &Provider, spec: &OauthSpec, place: &Place) -> Checked {
    check_authorize(provider, &spec.authorize, &place.key("authorize"))?;
    let token = place.key("token");
    check_url(provider, &spec.token.url, &token.key("url"), EARLY)?;
    check_headers(&spec.token.headers, &token.key("headers"))?;
    check_templates(provider, &spec.token.params, &token.key("params"), EARLY)?;
    let refresh = place.key("refresh");
    if let Some(url) = &spec.refresh.url {
        check_url(provider, url, &refresh.key("url"), LATE)?;
    }
    check_templates(provider, &spec.refresh.params, &refresh.key("params"), LATE)?;
    let introspect = place.key("introspect");
    let asks = spec.refresh.trigger == RefreshTrigger::Introspect;
    ensure(
        asks == spec.introspect.is_some(),
        &introspect,
        "goes with refresh.trigger = \"introspect\", and with nothing else",
    )?;
    if let Some(asked) = &spec.introspect {
        check_url(provider, &asked.url, &introspect.key("url"), LATE)?;
    }
    check_sharing(spec, place)?;
    check_response(&spec.response, &place.key("response"))?;
    check_callback(spec, &place.key("callback"))?;
    let graceful = spec.rotation.grace_s == 0 || spec.rotation.mode.spends();
    let grace = place.key("rotation").key("grace_s");
    ensure(graceful, &grace, "needs mode = \"single_use\"")?;
    for (index, rule) in spec.errors.iter().enumerate() {
        check_error_rule(rule, &place.key("errors").at(index))?;
    }
    if let Some(revoke) = &spec.revoke {
        let place = place.key("revoke");
        check_url(provider, &revoke.url, &place.key("url"), LATE)?;
        let headers = [(&revoke.token_header.name, &revoke.token_header.prefix)];
        check_headers(headers, &place.key("token_header"))?;
        check_templates(provider, &revoke.params, &place.key("params"), LATE)?;
        ensure(!revoke.param.is_empty(), &place.key("param"), "is empty")?;
        ensure(
            !revoke.success_codes.is_empty(),
            &place.key("success_codes"),
            "is empty",
        )?;
    }
    if let Some(identity) = &spec.identity {
        check_identity(provider, identity, &place.key("identity"))?;
    }
    for (refusal, name) in [
        (&spec.refusals.grant, "grant"),
        (&spec.refusals.client, "client"),
    ] {
        let place = place.key("refusals").key(name).key("http");
        let is_status = refusal
            .as_ref()
            .is_none_or(|refusal| (200..=599).contains(&refusal.http));
        ensure(is_status, &place, "is not a status")?;
    }
    if let Some(url) = &spec.disconnect_help_url {
        let is_page = Url::parse(url).is_ok_and(|url| url.scheme() == "https");
        ensure(
            is_page,
            &place.key("disconnect_help_url"),
            "is not an https address",
        )?;
    }
    if let Some(issuer) = &spec.issuer {
        check_slots(
            provider,
            &issuer.expected,
            &place.key("issuer").key("expected"),
            EARLY,
        )?;
    }
    Ok(())
}

/// A refresh token that connections share is presented by one of them at a time, and they are told apart from others
/// by what the token endpoint says of them.
fn check_sharing(spec: &OauthSpec, place: &Place) -> Checked {
    let shared = spec.lifetimes.shared_refresh_across_connections;
    let by_account = spec.refresh.single_flight_key == SingleFlightKey::Account;
    let place = place.key("refresh").key("single_flight_key");
    ensure(
        shared == by_account,
        &place,
        "\"account\" goes with lifetimes.shared_refresh_across_connections = true, and with nothing else",
    )?;
    let identity = spec.identity.as_ref();
    let told = identity.is_some_and(|of| of.source == IdentitySource::TokenResponse);
    ensure(
        !shared || told,
        &place,
        "\"account\" needs identity.source = \"token_response\": whose token it is must come with the token",
    )
}

fn check_authorize(provider: &Provider, authorize: &Authorize, place: &Place) -> Checked {
    check_url(provider, &authorize.url, &place.key("url"), EARLY)?;
    check_templates(provider, &authorize.params, &place.key("params"), EARLY)?;
    for (index, name) in authorize.drop_params.iter().enumerate() {
        let known = STANDARD_PARAMS.contains(&name.as_str()) && name != "state";
        let place = place.key("drop_params").at(index);
        ensure(
            known,
            &place,
            "is not a standard parameter that can be left out",
        )?;
    }
    let room = authorize
        .state_max_len
        .is_none_or(|most| most >= STATE_CHARS);
    ensure(
        room,
        &place.key("state_max_len"),
        format!("is too short for our states of {STATE_CHARS} characters"),
    )?;
    for (name, prefix) in &authorize.scope_classes {
        let known = STANDARD_PARAMS.contains(&name.as_str()) || authorize.params.contains_key(name);
        let place = place.key("scope_classes").key(name);
        ensure(!known, &place, "is a parameter already")?;
        ensure(prefix.ends_with(':'), &place, "must end with a colon")?;
    }
    for name in authorize.rename_params.keys() {
        let known = STANDARD_PARAMS.contains(&name.as_str());
        ensure(
            known,
            &place.key("rename_params").key(name),
            "is not a standard parameter",
        )?;
    }
    Ok(())
}

fn check_templates(
    provider: &Provider,
    templates: &BTreeMap<String, Template>,
    place: &Place,
    sources: &[Source],
) -> Checked {
    let mut templates = templates.iter();
    templates.try_for_each(|(name, value)| check_slots(provider, value, &place.key(name), sources))
}

fn check_response(response: &Response, place: &Place) -> Checked {
    if let Some(field) = &response.expires {
        check_pointer(&field.path, &place.key("expires").key("path"))?;
    }
    if let Some(field) = &response.refresh_expires {
        check_pointer(&field.path, &place.key("refresh_expires").key("path"))?;
    }
    if let Some(pointer) = &response.ok_path {
        check_pointer(pointer, &place.key("ok_path"))?;
    }
    for (index, pointer) in response.error_path.iter().enumerate() {
        check_pointer(pointer, &place.key("error_path").at(index))?;
    }
    if let Some(field) = &response.issued_at {
        check_pointer(&field.path, &place.key("issued_at").key("path"))?;
    }
    for (index, class) in response.tokens.iter().enumerate() {
        let place = place.key("tokens").at(index);
        ensure(is_word(&class.class), &place.key("class"), WORD)?;
        for (name, pointer) in [
            ("access", &class.access),
            ("refresh", &class.refresh),
            ("expires", &class.expires),
            ("scope", &class.scope),
        ] {
            check_pointer(pointer, &place.key(name))?;
        }
    }
    let object = response
        .example
        .as_ref()
        .is_none_or(|example| example.0.is_object());
    ensure(object, &place.key("example"), "must be a JSON object")?;
    for (name, keep) in &response.keep {
        let place = place.key("keep").key(name);
        ensure(is_word(name), &place, WORD)?;
        check_pointer(&keep.path, &place.key("path"))?;
    }
    Ok(())
}

fn check_identity(provider: &Provider, identity: &IdentitySpec, place: &Place) -> Checked {
    ensure(
        identity.source != IdentitySource::Http || identity.url.is_some(),
        &place.key("url"),
        "is needed: source = \"http\" asks there",
    )?;
    let claimed = identity.source == IdentitySource::IdToken;
    ensure(
        claimed || identity.claims.is_none(),
        &place.key("claims"),
        "goes with source = \"id_token\"",
    )?;
    if let Some(url) = &identity.url {
        check_url(provider, url, &place.key("url"), LATE)?;
    }
    let posted = identity.body.is_none() || identity.method == IdentityMethod::Post;
    ensure(posted, &place.key("body"), "needs method = \"POST\"")?;
    if let Some(pick) = &identity.pick {
        let place = place.key("pick");
        check_url(provider, &pick.url, &place.key("url"), LATE)?;
        check_pointer(&pick.id, &place.key("id"))?;
        check_pointer(&pick.label, &place.key("label"))?;
        ensure(is_word(&pick.store_as), &place.key("store_as"), WORD)?;
    }
    check_headers(&identity.headers, &place.key("headers"))?;
    ensure(
        !identity.stable_key.is_empty(),
        &place.key("stable_key"),
        "is empty",
    )?;
    for (name, pointers) in [
        ("stable_key", &identity.stable_key),
        ("label", &identity.label),
        ("workspace", &identity.workspace),
    ] {
        for (index, pointer) in pointers.iter().enumerate() {
            check_pointer(pointer, &place.key(name).at(index))?;
        }
    }
    Ok(())
}

/// Whether the entry picks a site under this name.
fn picked(provider: &Provider, name: &str) -> bool {
    let identity = provider.oauth.identity.as_ref();
    let pick = identity.and_then(|identity| identity.pick.as_ref());
    pick.is_some_and(|pick| pick.store_as == name)
}

fn check_callback(spec: &OauthSpec, place: &Place) -> Checked {
    let callback = &spec.callback;
    ensure(
        !callback.code_param.is_empty(),
        &place.key("code_param"),
        "is empty",
    )?;
    super::few(callback.capture.len(), &place.key("capture"))?;
    for (name, capture) in &callback.capture {
        let place = place.key("capture").key(name);
        ensure(is_word(name), &place, WORD)?;
        let ours = ["state", "iss", "error", &callback.code_param];
        let free = !ours.contains(&capture.query.as_str());
        ensure(free, &place.key("query"), "is a parameter of OAuth itself")?;
        let pattern = match pattern::whole(&capture.regex) {
            Ok(pattern) => pattern,
            Err(error) => {
                let message = format!("is no pattern: {error}");
                return Err(super::Problem::new(&place.key("regex"), message));
            }
        };
        let fits = pattern.is_match(&capture.example);
        ensure(fits, &place.key("example"), "does not fit the pattern")?;
    }
    Ok(())
}

fn check_error_rule(rule: &ErrorRule, place: &Place) -> Checked {
    check_pointer(&rule.path, &place.key("path"))?;
    let worded = !rule.equals.is_empty() || rule.contains.is_some() || rule.regex.is_some();
    let conditions = rule.http.is_some() || worded;
    ensure(conditions, place, "needs http, equals, contains or regex")?;
    check_example(rule.regex.as_ref(), rule.example.as_deref(), place)
}

/// A pattern of a rule goes with a text that it finds, for the sandbox to say.
pub(super) fn check_example(
    regex: Option<&Pattern>,
    example: Option<&str>,
    place: &Place,
) -> Checked {
    let place = place.key("example");
    match (regex, example) {
        (Some(regex), Some(text)) => ensure(regex.is_in(text), &place, "is not found by the regex"),
        (None, None) => Ok(()),
        _ => ensure(false, &place, "goes with regex: a text that it finds"),
    }
}

pub(super) fn check_pointer(pointer: &str, place: &Place) -> Checked {
    ensure(
        pointer.starts_with('/'),
        place,
        "must be a JSON pointer such as /user/id",
    )
}

/// Headers with placeholders.
pub(super) fn check_header_templates(
    provider: &Provider,
    headers: &BTreeMap<String, Template>,
    place: &Place,
) -> Checked {
    for (name, value) in headers {
        let place = place.key(name);
        ensure(
            HeaderName::try_from(name).is_ok(),
            &place,
            "is not a header's name",
        )?;
        let fits = HeaderValue::try_from(value.to_string()).is_ok();
        ensure(fits, &place, "is not a header's value")?;
        check_slots(provider, value, &place, LATE)?;
    }
    Ok(())
}

pub(super) fn check_headers<'a>(
    headers: impl IntoIterator<Item = (&'a String, &'a String)>,
    place: &Place,
) -> Checked {
    for (name, value) in headers {
        ensure(
            HeaderName::try_from(name).is_ok(),
            &place.key(name),
            "is not a header's name",
        )?;
        ensure(
            HeaderValue::try_from(value).is_ok(),
            &place.key(name),
            "is not a header's value",
        )?;
    }
    Ok(())
}

/// What would lead a value out of its place in an address. No pattern of such a value may let one of these through.
const LEADS_AWAY: &[&str] = &[
    "", "..", "a/", "a/b", "a?", "a?b", "a#", "a#b", "a@", "a@b", "a:b@c", "a\\", "a\\b", "a b",
];

/// A value that a pattern lets through although it would lead out of its place in an address.
fn leads_away(provider: &Provider, source: Source, name: &str) -> Option<&'static str> {
    let mut params = match source {
        Source::App => provider.app_params.iter(),
        Source::Connection => provider.connection_params.iter(),
        Source::Token => return None,
    };
    let pattern = match params.find(|param| param.name == name) {
        Some(param) => param.regex.as_ref()?,
        None => &provider.oauth.callback.capture.get(name)?.regex,
    };
    let pattern = pattern::whole(pattern).ok()?;
    let mut bad = LEADS_AWAY.iter();
    bad.find(|bad| pattern.is_match(bad)).copied()
}

/// A filled address must be absolute, and what goes into it must be pinned by its own rules.
pub(super) fn check_url(
    provider: &Provider,
    template: &Template,
    place: &Place,
    sources: &[Source],
) -> Checked {
    check_slots(provider, template, place, sources)?;
    for (source, name) in template.slots() {
        let pinned = |param: &Param| param.regex.is_some() || !param.host_suffix_allow.is_empty();
        let pinned = match source {
            Source::App if name == "client_id" => true,
            Source::App => provider
                .app_params
                .iter()
                .any(|p| p.name == name && pinned(p)),
            // What a callback brings always has a pattern.
            Source::Connection => {
                let mut params = provider.connection_params.iter();
                provider.oauth.callback.capture.contains_key(name)
                    || params.any(|p| p.name == name && pinned(p))
            }
            // The id of a site is checked to be one segment.
            Source::Token if picked(provider, name) => true,
            Source::Token => {
                let keep = provider.oauth.response.keep.get(name);
                keep.is_some_and(|keep| !keep.host_suffix_allow.is_empty())
            }
        };
        let message =
            format!("'{name}' goes into an address and so needs regex or host_suffix_allow");
        ensure(pinned, place, message)?;
        if let Some(bad) = leads_away(provider, source, name) {
            let message =
                format!("'{name}' goes into an address, and its regex lets '{bad}' through");
            return Err(super::Problem::new(place, message));
        }
    }
    // Where the host is asked for, a word stands for it; what is asked for as a whole is checked when it is given.
    let slots: Vec<_> = template.slots().collect();
    let named = |text: String, (source, name): &(Source, &str)| {
        text.replace(&format!("{{{}.{name}}}", source.word()), "x")
    };
    let filled = slots.iter().fold(template.to_string(), named);
    if slots.is_empty() || filled.starts_with("http") {
        let usable = Url::parse(&filled).is_ok_and(|url| {
            let nobody = url.username().is_empty() && url.password().is_none();
            let web = matches!(url.scheme(), "http" | "https");
            web && url.has_host() && nobody && url.fragment().is_none()
        });
        ensure(usable, place, "is not an absolute http(s) address")?;
    }
    Ok(())
}

/// Every placeholder must be declared, and known by the time it is filled.
fn check_slots(
    provider: &Provider,
    template: &Template,
    place: &Place,
    sources: &[Source],
) -> Checked {
    for (source, name) in template.slots() {
        ensure(
            sources.contains(&source),
            place,
            format!("'{name}' is not known yet at this point"),
        )?;
        let declared = match source {
            Source::App => {
                name == "client_id" || provider.app_params.iter().any(|param| param.name == name)
            }
            Source::Connection => {
                let mut params = provider.connection_params.iter();
                provider.oauth.callback.capture.contains_key(name)
                    || params.any(|param| param.name == name)
            }
            Source::Token => {
                provider.oauth.response.keep.contains_key(name) || picked(provider, name)
            }
        };
        ensure(declared, place, format!("nothing declares '{name}'"))?;
    }
    Ok(())
}
