//! What a catalogue file must satisfy beyond its types, so that nothing is found out by a partner.

mod endpoint;
mod protocol;

use std::collections::BTreeSet;

use ::http::HeaderName;
use latchkey_oauth::pattern;

use self::{
    endpoint::{check_endpoint, check_pagination},
    protocol::{
        LATE, check_example, check_header_templates, check_headers, check_oauth, check_pointer,
        check_url,
    },
};
use crate::{
    catalog::CatalogError,
    entry::{Param, Provider, Service},
    lines::Place,
    permission::{APP_KIND, is_scope},
    rate::LimitedWhen,
};

/// First segments of the API's own paths, which no provider or top-level service may take. (`docs` is not
/// among them: the page stands at `/docs` itself, Google's documents below it.)
const RESERVED: &[&str] = &[
    "accounts",
    "auth-configs",
    "auth_configs",
    "calls",
    "connect",
    "connect-sessions",
    "connected_accounts",
    "connections",
    "events",
    "health",
    "integrations",
    "jobs",
    "keys",
    "me",
    "metrics",
    "openapi.json",
    "partners",
    "providers",
    "proxy",
    "quotas",
    "redirect-urls",
    "skills",
    "toolkits",
    "tools",
    "usage",
    "webhooks",
    "workflows",
];

/// Most items of what is compared with each other, or compiled: parameters that are asked for, values that a callback
/// brings, parameters of one endpoint, unsure fields. The most that an entry of ours has is a fifth of this.
const MOST: usize = 100;

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Problem {
    place: Place,
    message: String,
}

impl Problem {
    fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            message: message.into(),
        }
    }

    /// The error, with the line of the file.
    pub(crate) fn in_file(&self, file: &str, text: &str) -> CatalogError {
        CatalogError::Entry {
            file: file.to_owned(),
            line: self.place.line(text),
            message: format!("{}: {}", self.place, self.message),
        }
    }
}

type Checked = Result<(), Problem>;

/// Fails with the message, at the place, unless the condition holds.
fn ensure(holds: bool, place: &Place, message: impl Into<String>) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Problem::new(place, message))
    }
}

/// Fails unless there are few enough.
fn few(count: usize, place: &Place) -> Checked {
    ensure(count <= MOST, place, format!("holds more than {MOST}"))
}

/// Checks one file.
pub(crate) fn check(provider: &Provider) -> Checked {
    let root = Place::default();
    few(provider.unsure.len(), &root.key("unsure"))?;
    check_name(&provider.slug, &root.key("slug"))?;
    ensure(
        !provider.display_name.trim().is_empty(),
        &root.key("display_name"),
        "is empty",
    )?;
    check_params(&provider.app_params, &root.key("app_params"))?;
    check_params(&provider.connection_params, &root.key("connection_params"))?;
    check_scopes(&provider.base_scopes, &root.key("base_scopes"))?;
    check_oauth(provider, &provider.oauth, &root.key("oauth"))?;
    let is_page = |url: &String| url::Url::parse(url).is_ok_and(|url| url.scheme() == "https");
    ensure(
        provider.doc_url.as_ref().is_none_or(is_page),
        &root.key("doc_url"),
        "is not an https address",
    )?;
    let day =
        |text: &String| latchkey_domain::Timestamp::parse(&format!("{text}T00:00:00Z")).is_ok();
    let dated = provider.verified_at.as_ref().is_none_or(day);
    ensure(
        dated,
        &root.key("verified_at"),
        "is not a day such as 2026-11-21",
    )?;
    let mut kinds = BTreeSet::new();
    for (index, kind) in provider.app_kinds.iter().enumerate() {
        let place = root.key("app_kinds").at(index);
        ensure(kinds.insert(&kind.name), &place.key("name"), "stands twice")?;
        ensure(is_word(&kind.name), &place.key("name"), WORD)?;
        check_oauth(provider, &kind.apply(&provider.oauth), &place)?;
    }
    ensure(
        !provider.services.is_empty(),
        &root.key("services"),
        "needs at least one service",
    )?;
    let (mut slugs, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (index, service) in provider.services.iter().enumerate() {
        let place = root.key("services").at(index);
        ensure(
            slugs.insert(&service.slug),
            &place.key("slug"),
            "stands twice",
        )?;
        check_service(provider, service, &place)?;
        for (index, permission) in service.permissions.iter().enumerate() {
            let place = place.key("permissions").at(index);
            ensure(ids.insert(&permission.id), &place.key("id"), "stands twice")?;
        }
    }
    check_rate(provider, &root.key("rate"))
}

/// A name of this entry that another has taken.
pub(crate) fn taken_name(provider: &Provider, taken: impl Fn(&str) -> bool) -> Option<Problem> {
    let root = Place::default();
    let message = |name: &str| format!("'{name}' is taken by another entry");
    if taken(&provider.slug) {
        return Some(Problem::new(&root.key("slug"), message(&provider.slug)));
    }
    provider
        .services
        .iter()
        .enumerate()
        .find_map(|(index, service)| {
            let clash =
                service.top_level && (taken(&service.slug) || service.slug == provider.slug);
            let place = root.key("services").at(index).key("slug");
            clash.then(|| Problem::new(&place, message(&service.slug)))
        })
}

const WORD: &str = "must be a word of a-z, 0-9 and _, starting with a letter";

fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && text.bytes().all(plain)
}

fn check_name(slug: &str, place: &Place) -> Checked {
    ensure(
        is_word(&slug.replace('-', "_")),
        place,
        "must be a word of a-z, 0-9, - and _, starting with a letter",
    )?;
    ensure(
        !RESERVED.contains(&slug),
        place,
        format!("'{slug}' is a path of the API itself"),
    )
}

fn check_params(params: &[Param], place: &Place) -> Checked {
    few(params.len(), place)?;
    let mut names = BTreeSet::new();
    for (index, param) in params.iter().enumerate() {
        let place = place.at(index);
        ensure(is_word(&param.name), &place.key("name"), WORD)?;
        let own = [APP_KIND, "client_id"].contains(&param.name.as_str());
        ensure(!own, &place.key("name"), "is Latchkey's own")?;
        ensure(
            names.insert(&param.name),
            &place.key("name"),
            "stands twice",
        )?;
        ensure(
            !param.label.trim().is_empty(),
            &place.key("label"),
            "is empty",
        )?;
        if let Some(Err(error)) = param.pattern() {
            return Err(Problem::new(
                &place.key("regex"),
                format!("is no pattern: {error}"),
            ));
        }
        let fits = param
            .default
            .as_deref()
            .is_none_or(|default| param.takes(default));
        ensure(
            fits,
            &place.key("default"),
            "does not fit the parameter's own rules",
        )?;
    }
    Ok(())
}

fn check_scopes(scopes: &[String], place: &Place) -> Checked {
    for (index, scope) in scopes.iter().enumerate() {
        ensure(
            is_scope(scope),
            &place.at(index),
            "is not a scope (RFC 6749 §3.3, no comma)",
        )?;
    }
    Ok(())
}

fn check_service(provider: &Provider, service: &Service, place: &Place) -> Checked {
    check_name(&service.slug, &place.key("slug"))?;
    check_url(provider, &service.base_url, &place.key("base_url"), LATE)?;
    let clean = !service.base_url.to_string().contains(['?', '#']);
    ensure(clean, &place.key("base_url"), "must have no query")?;
    check_header_templates(provider, &service.headers, &place.key("headers"))?;
    let token = &service.token_header;
    check_headers([(&token.name, &token.prefix)], &place.key("token_header"))?;
    if let Some(name) = &service.idempotency_header {
        let place = place.key("idempotency_header");
        ensure(
            HeaderName::try_from(name).is_ok(),
            &place,
            "is not a header's name",
        )?;
    }
    ensure(
        !service.permissions.is_empty(),
        &place.key("permissions"),
        "needs at least one",
    )?;
    for (index, permission) in service.permissions.iter().enumerate() {
        let place = place.key("permissions").at(index);
        let named = permission
            .id
            .split('.')
            .all(|part| is_word(&part.replace('-', "_")));
        let dotted = permission.id.contains('.');
        ensure(
            named && dotted,
            &place.key("id"),
            "must look like service.read",
        )?;
        check_scopes(&permission.scopes, &place.key("scopes"))?;
        check_scopes(&permission.implied_by, &place.key("implied_by"))?;
    }
    if let Some(class) = &service.token_class {
        let known = provider
            .oauth
            .response
            .tokens
            .iter()
            .any(|token| token.class == *class);
        ensure(
            known,
            &place.key("token_class"),
            "is no class of oauth.response.tokens",
        )?;
    }
    if let Some(pages) = &service.pagination {
        check_pagination(pages, &place.key("pagination"))?;
    }
    check_endpoints(service, place)
}

fn check_endpoints(service: &Service, place: &Place) -> Checked {
    let (mut names, mut shapes) = (BTreeSet::new(), BTreeSet::new());
    for (index, endpoint) in service.endpoints.iter().enumerate() {
        let place = place.key("endpoints").at(index);
        ensure(is_word(&endpoint.name), &place.key("name"), WORD)?;
        ensure(
            names.insert(&endpoint.name),
            &place.key("name"),
            "stands twice",
        )?;
        let shape: Vec<_> = endpoint
            .path
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "{}"
                } else {
                    segment
                }
            })
            .collect();
        let fresh = shapes.insert((&endpoint.method, shape.join("/")));
        ensure(
            fresh,
            &place.key("path"),
            "means the same requests as another endpoint",
        )?;
        let known = service
            .permissions
            .iter()
            .any(|p| p.id == endpoint.permission);
        ensure(
            known,
            &place.key("permission"),
            "is not a permission of this service",
        )?;
        check_endpoint(service, endpoint, &place)?;
    }
    Ok(())
}

fn check_rate(provider: &Provider, place: &Place) -> Checked {
    let rate = &provider.rate;
    for (header, name) in [
        (&rate.limit_header, "limit_header"),
        (&rate.remaining_header, "remaining_header"),
        (&rate.reset_header, "reset_header"),
        (&rate.reason_header, "reason_header"),
    ] {
        let valid = header
            .as_ref()
            .is_none_or(|header| HeaderName::try_from(header).is_ok());
        ensure(valid, &place.key(name), "is not a header's name")?;
    }
    let united = rate.reset_header.is_some() == rate.reset_unit.is_some();
    ensure(
        united,
        &place.key("reset_header"),
        "and reset_unit belong together",
    )?;
    if let Some(field) = &rate.retry_after_body {
        check_pointer(&field.path, &place.key("retry_after_body").key("path"))?;
    }
    if let Some(usage) = &rate.usage_header {
        let place = place.key("usage_header");
        ensure(
            HeaderName::try_from(&usage.name).is_ok(),
            &place.key("name"),
            "is not a header's name",
        )?;
        let groups = pattern::part(&usage.regex).map(|regex| regex.captures_len());
        let both = groups.is_ok_and(|groups| groups == 3);
        ensure(
            both,
            &place.key("regex"),
            "is no pattern with two groups: used and limit",
        )?;
    }
    for (index, bucket) in rate.buckets.iter().enumerate() {
        let place = place.key("buckets").at(index);
        for (name, header) in [
            ("remaining_header", &bucket.remaining_header),
            ("reset_header", &bucket.reset_header),
        ] {
            ensure(
                HeaderName::try_from(header).is_ok(),
                &place.key(name),
                "is not a header's name",
            )?;
        }
    }
    for (index, budget) in rate.budgets.iter().enumerate() {
        let place = place.key("budgets").at(index);
        ensure(
            budget.requests > 0 && budget.per_s > 0,
            &place,
            "must be more than none",
        )?;
    }
    let counted =
        rate.remaining_header.is_some() || !rate.buckets.is_empty() || rate.usage_header.is_some();
    check_answer_rules(&rate.limited_when, counted, &place.key("limited_when"))?;
    check_answer_rules(
        &rate.not_retryable_when,
        counted,
        &place.key("not_retryable_when"),
    )?;
    check_answer_rules(
        &provider.unauthorized_when,
        false,
        &Place::default().key("unauthorized_when"),
    )
}

fn check_answer_rules(rules: &[LimitedWhen], counted: bool, place: &Place) -> Checked {
    for (index, rule) in rules.iter().enumerate() {
        let place = place.at(index);
        let texts = rule.is_worded();
        // These statuses have many reasons.
        let ambiguous = matches!(rule.http, 200..=299 | 400..=404);
        ensure(
            texts || rule.remaining_zero || !ambiguous,
            &place,
            "needs remaining_zero, equals, contains or regex",
        )?;
        ensure(
            counted || !rule.remaining_zero,
            &place.key("remaining_zero"),
            "needs remaining_header",
        )?;
        if let Some(header) = &rule.header {
            let place = place.key("header");
            let valid = HeaderName::try_from(header).is_ok();
            ensure(valid, &place, "is not a header's name")?;
            ensure(texts, &place, "needs equals, contains or regex")?;
            ensure(rule.path.is_empty(), &place, "goes without path")?;
        } else if texts {
            check_pointer(&rule.path, &place.key("path"))?;
        }
        check_example(rule.regex.as_ref(), rule.example.as_deref(), &place)?;
    }
    Ok(())
}
