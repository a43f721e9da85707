//! One suite for every entry of the catalogue: its authorize address, and what is made of the answers under
//! `fixtures/<slug>/`. Each rule of an entry must be exercised by one of them.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{fs, path::PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use latchkey_domain::{
    Timestamp,
    refresh::{Class, Ended},
};
use latchkey_oauth::{
    AuthorizeRequest, Client, HttpAnswer, OauthSpec, RevokeOutcome, TokenSet, Vars,
    answer::{Asked, parse_tokens},
    authorize_url, parse_identity, read_revocation,
};
use latchkey_providers::{Catalog, LimitedWhen, Provider};
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

type Params = Map<String, Value>;

fn folder(slug: &str) -> PathBuf {
    ["fixtures", slug].iter().collect()
}

fn fixture<T: DeserializeOwned>(slug: &str, name: &str) -> T {
    let path = folder(slug).join(name);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `check` for every entry.
fn for_every_provider(check: impl Fn(&Provider)) {
    let catalog = Catalog::load(None).unwrap();
    assert!(catalog.providers().count() >= 3);
    catalog.providers().for_each(check);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    app: Params,
    #[serde(default)]
    connection: Params,
}

/// The parameters of a fixture, checked and completed as an auth config's and a session's would be.
fn params(provider: &Provider, app_kind: Option<&str>) -> (Params, Params) {
    let mut given: Given = fixture(&provider.slug, "params.json");
    if let Some(kind) = app_kind {
        given.app.insert("app_kind".to_owned(), kind.into());
    }
    let app = provider.check_app_params(&given.app).unwrap();
    (
        app,
        provider.check_connection_params(&given.connection).unwrap(),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    /// A text as it comes, anything else as JSON.
    body: Value,
}

impl Answer {
    fn http(&self) -> HttpAnswer {
        let body = match &self.body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let header = |(name, value): (&String, &Value)| {
            (
                HeaderName::try_from(name).unwrap(),
                value.as_str().unwrap().parse().unwrap(),
            )
        };
        HttpAnswer {
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: self.headers.iter().map(header).collect::<HeaderMap>(),
            body: Bytes::from(body),
            sent_bytes: 0,
        }
    }
}

/// Takes `status`, `headers` and `body` out of a fixture, which may hold more.
macro_rules! answer {
    ($case:expr) => {
        Answer {
            status: $case.status,
            headers: $case.headers.clone(),
            body: $case.body.clone(),
        }
        .http()
    };
}

#[test]
fn fixtures_and_entries_belong_together() {
    let catalog = Catalog::load(None).unwrap();
    for entry in fs::read_dir(folder("")).unwrap() {
        let slug = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            catalog.get(&slug).is_some(),
            "fixtures/{slug} has no entry in the catalogue"
        );
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorizeCase {
    about: String,
    app_kind: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    services: Vec<String>,
    url: String,
}

#[test]
fn authorize_addresses() {
    for_every_provider(|provider| {
        let cases: Vec<AuthorizeCase> = fixture(&provider.slug, "authorize.json");
        for kind in &provider.app_kinds {
            let shown = cases
                .iter()
                .any(|case| case.app_kind.as_ref() == Some(&kind.name));
            assert!(
                shown,
                "{}: no authorize address of a {}",
                provider.slug, kind.name
            );
        }
        for case in &cases {
            let (app, connection) = params(provider, case.app_kind.as_deref());
            let client = Client {
                secret: None,
                vars: Vars {
                    client_id: "fixture-client",
                    app: &app,
                    connection: &connection,
                    token: &Map::new(),
                },
            };
            let request = AuthorizeRequest {
                redirect_uri: "https://latchkey.example/callback",
                scopes: &provider.scopes_for(&case.scopes, &case.services).unwrap(),
                state: "fixture-state",
                challenge: "fixture-challenge",
            };
            let url = authorize_url(provider.spec(&app), &client, &request).unwrap();
            assert_eq!(url.as_str(), case.url, "{}: {}", provider.slug, case.about);
        }
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenCase {
    about: String,
    app_kind: Option<String>,
    asked: String,
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Value,
    access: String,
    refresh: Option<String>,
    scopes: Vec<String>,
    expires_in: Option<u64>,
    refresh_expires_in: Option<u64>,
}

fn previous() -> TokenSet {
    TokenSet {
        access: "previous-access".into(),
        refresh: Some("previous-refresh".into()),
        token_type: "Bearer".to_owned(),
        scopes: vec!["previous".to_owned()],
        expires_at: Some(NOW),
        refresh_expires_at: None,
        issued_at: Timestamp::from_secs(0),
        ends_at: None,
        class: String::new(),
        also: Vec::new(),
        extra: Map::new(),
        id_token: None,
    }
}

#[test]
fn token_answers() {
    for_every_provider(|provider| {
        let cases: Vec<TokenCase> = fixture(&provider.slug, "tokens.json");
        for asked in ["code", "refresh"] {
            assert!(
                cases.iter().any(|case| case.asked == asked),
                "{}: no {asked}",
                provider.slug
            );
        }
        for case in &cases {
            let about = format!("{}: {}", provider.slug, case.about);
            let (app, _) = params(provider, case.app_kind.as_deref());
            let before = previous();
            let asked = match case.asked.as_str() {
                "code" => Asked::Code { scopes: &[] },
                _ => Asked::Refresh(&before),
            };
            let tokens = parse_tokens(provider.spec(&app), &answer!(case), asked, NOW).unwrap();
            let in_secs = |at: Option<Timestamp>| at.map(|at| NOW.until(at).as_secs());
            assert_eq!(tokens.access.expose_secret(), case.access, "{about}");
            let refresh = tokens
                .refresh
                .as_ref()
                .map(|token| token.expose_secret().to_owned());
            assert_eq!(refresh, case.refresh, "{about}");
            assert_eq!(tokens.scopes, case.scopes, "{about}");
            assert_eq!(in_secs(tokens.expires_at), case.expires_in, "{about}");
            assert_eq!(
                in_secs(tokens.refresh_expires_at),
                case.refresh_expires_in,
                "{about}"
            );
        }
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorCase {
    about: String,
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Value,
    class: String,
    wait_s: Option<u64>,
    ended: String,
}

#[test]
fn errors_and_every_rule_of_them() {
    for_every_provider(|provider| {
        let cases: Vec<ErrorCase> = fixture(&provider.slug, "errors.json");
        let mut used = vec![false; provider.oauth.errors.len()];
        for case in &cases {
            let about = format!("{}: {}", provider.slug, case.about);
            let answer = answer!(case);
            let before = previous();
            let error =
                parse_tokens(&provider.oauth, &answer, Asked::Refresh(&before), NOW).unwrap_err();
            let (class, wait) = match error.class {
                Class::Permanent => ("permanent", None),
                Class::Operator => ("operator", None),
                Class::Transient => ("transient", None),
                Class::RateLimited(until) => ("rate_limited", Some(NOW.until(until).as_secs())),
            };
            assert_eq!((class, wait), (case.class.as_str(), case.wait_s), "{about}");
            assert_eq!(
                error.ended == Ended::Refused,
                case.ended == "refused",
                "{about}"
            );
            assert!(!error.suspicious, "{about}: no rule knows it");
            if let Some(rule) = first_rule(&provider.oauth, &answer) {
                used[rule] = true;
            }
        }
        let unused = used.iter().position(|used| !used);
        assert_eq!(
            unused, None,
            "{}: an error rule without a fixture",
            provider.slug
        );
        for class in ["permanent", "operator", "transient"] {
            assert!(
                cases.iter().any(|case| case.class == class),
                "{}: {class}",
                provider.slug
            );
        }
    });
}

fn first_rule(spec: &OauthSpec, answer: &HttpAnswer) -> Option<usize> {
    let members: Value = serde_json::from_slice(&answer.body).ok()?;
    let status = answer.status.as_u16();
    spec.errors
        .iter()
        .position(|rule| rule.matches(status, &members))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityCase {
    body: Value,
    key: String,
    label: Option<String>,
}

#[test]
fn identities() {
    for_every_provider(|provider| {
        if provider.oauth.identity.is_none() {
            return;
        }
        let case: IdentityCase = fixture(&provider.slug, "identity.json");
        let answer = Answer {
            status: 200,
            headers: Map::new(),
            body: case.body,
        }
        .http();
        let identity = parse_identity(&provider.oauth, &answer).unwrap();
        assert_eq!(
            (identity.key, identity.label),
            (case.key, case.label),
            "{}",
            provider.slug
        );
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevocationCase {
    about: String,
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Value,
    outcome: String,
}

#[test]
fn revocations() {
    for_every_provider(|provider| {
        if provider.oauth.revoke.is_none() {
            return;
        }
        let cases: Vec<RevocationCase> = fixture(&provider.slug, "revocations.json");
        assert!(
            cases.iter().any(|case| case.outcome == "confirmed"),
            "{}",
            provider.slug
        );
        for case in &cases {
            let outcome = match read_revocation(&provider.oauth, &answer!(case), NOW) {
                RevokeOutcome::Confirmed => "confirmed",
                RevokeOutcome::AlreadyGone => "already_gone",
                RevokeOutcome::Failed { .. } => "failed",
            };
            assert_eq!(outcome, case.outcome, "{}: {}", provider.slug, case.about);
        }
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitedCase {
    about: String,
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Value,
    wait_s: Option<u64>,
}

#[test]
fn limits_and_every_rule_of_them() {
    for_every_provider(|provider| {
        let cases: Vec<LimitedCase> = fixture(&provider.slug, "limited.json");
        let rules = [
            &provider.rate.limited_when,
            &provider.rate.not_retryable_when,
        ];
        let mut used = rules.map(|rules| vec![false; rules.len()]);
        for case in &cases {
            let answer = answer!(case);
            let reading = provider.rate.read(&answer, NOW);
            let wait = reading
                .limited_until
                .map(|until| NOW.until(until).as_secs());
            assert_eq!(wait, case.wait_s, "{}: {}", provider.slug, case.about);
            for (rules, used) in rules.iter().zip(&mut used) {
                let matching = |rule: &LimitedWhen| rule.matches(&answer, &reading);
                if let Some(rule) = rules.iter().position(matching) {
                    used[rule] = true;
                }
            }
        }
        let unused = used.iter().flatten().position(|used| !used);
        assert_eq!(
            unused, None,
            "{}: a rate rule without a fixture",
            provider.slug
        );
        assert!(
            cases.iter().any(|case| case.wait_s.is_none()),
            "{}",
            provider.slug
        );
    });
}
