//! The token endpoint of a dialect.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, StatusCode, header};
use latchkey_domain::Timestamp;
use latchkey_oauth::{
    OauthSpec,
    spec::{ClientAuth, PkceMode, RedirectUri, RefreshTrigger, Refusal, TimeUnit, TokenBody},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    Asked, Dialect, data,
    grants::{Consent, Issued},
    put,
};
use crate::{
    counters::Counter,
    form::basic,
    state::{Shared, lock},
    tokens,
};

/// Why a token request is refused.
enum No {
    /// The client did not prove itself.
    Client,
    /// Code or refresh token are no good.
    Grant,
    /// It is not built as this provider wants it.
    Request(String),
}

/// Life of an id token: what most providers give.
const ID_TOKEN_LIFE_S: i64 = 3600;

type Fields = Map<String, Value>;

/// Whether a body asks for a refresh, in either form.
pub(super) fn is_refresh(asked: &Asked) -> bool {
    let text = String::from_utf8_lossy(&asked.body);
    text.contains("grant_type=refresh_token") || text.contains("\"grant_type\":\"refresh_token\"")
}

/// Handler.
pub(super) fn token(
    shared: &Shared,
    dialect: &Dialect,
    specs: &[(Option<&str>, &OauthSpec)],
    asked: &Asked,
) -> Response {
    shared.counters.add(Counter::TokenRequests, 1);
    let done = if is_refresh(asked) {
        refresh(shared, dialect, specs, asked)
    } else {
        exchange(shared, dialect, specs, asked)
    };
    done.unwrap_or_else(|(spec, no)| {
        shared.counters.add(Counter::TokenRefused, 1);
        say_no(spec, no)
    })
}

type Outcome<'a> = Result<Response, (&'a OauthSpec, No)>;

fn exchange<'a>(
    shared: &Shared,
    dialect: &Dialect,
    specs: &[(Option<&'a str>, &'a OauthSpec)],
    asked: &Asked,
) -> Outcome<'a> {
    let here = specs.iter().find(|(_, spec)| asked.is_at(&spec.token.url));
    let spec = here.or(specs.first()).map(|(_, spec)| *spec);
    let Some(spec) = spec else {
        return Ok(super::nothing("no token endpoint"));
    };
    let no = |no| (spec, no);
    let (client, fields) = proven(shared, spec, spec.token.auth, asked).map_err(no)?;
    let now = shared.now();
    let code = text(&fields, "code").unwrap_or_default().to_owned();
    check_fields(
        spec,
        &fields,
        &spec.token.params,
        &["code", "redirect_uri", "code_verifier"],
    )
    .map_err(no)?;
    let consent = lock(&dialect.grants).take_code(&code, spec.token.code_ttl_s, now);
    let consent = consent
        .filter(|consent| consent.client == client)
        .ok_or((spec, No::Grant))?;
    // The kind of application that consented is the one that exchanges.
    let of_kind = specs
        .iter()
        .find(|(kind, _)| *kind == consent.kind.as_deref());
    let spec = of_kind.map_or(spec, |(_, spec)| *spec);
    check_callback(spec, &consent, &fields).map_err(|no| (spec, no))?;
    let classes = classes(spec, &consent.scopes);
    let scopes = consent.scopes.clone();
    let user = consent.user.clone();
    let mut mint = || format!("sbx-{}", tokens::random(&*shared.entropy));
    let issued = lock(&dialect.grants).make(spec, consent, &classes, now, &mut mint);
    shared.counters.add(Counter::TokenExchange, 1);
    let mut body = spec.response.example.as_ref().map_or_else(
        || json!({}),
        |example| data::filled(&example.0, &data::Words::of(&user)),
    );
    for one in &issued {
        write_class(spec, &mut body, one, &scopes, now);
    }
    if let Some(token) = id_token(spec, &client, &user, now) {
        put(&mut body, "/id_token", token.into());
    }
    Ok((StatusCode::OK, Json(body)).into_response())
}

/// An id token about a user (OpenID Connect Core §2), where the entry reads one. Nobody checks its signature: it comes
/// from the token endpoint itself.
fn id_token(spec: &OauthSpec, client: &str, user: &str, now: Timestamp) -> Option<String> {
    let claims = spec.identity.as_ref()?.claims.as_ref()?;
    let mut claims = data::filled(&claims.0, &data::Words::of(user));
    put(&mut claims, "/aud", client.into());
    put(&mut claims, "/iat", now.as_secs().into());
    put(
        &mut claims,
        "/exp",
        (now.as_secs() + ID_TOKEN_LIFE_S).into(),
    );
    let parts = [json!({"alg": "RS256", "typ": "JWT"}), claims];
    let parts = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    Some(format!("{}.{}.c2lnbmVk", parts[0], parts[1]))
}

/// The introspection endpoint (RFC 7662).
pub(super) fn introspect(
    shared: &Shared,
    dialect: &Dialect,
    spec: &OauthSpec,
    asked: &Asked,
) -> Response {
    let own = spec.introspect.as_ref().and_then(|asked| asked.auth);
    let proven = proven(shared, spec, own.unwrap_or(spec.token.auth), asked);
    let (client, fields) = match proven {
        Ok(proven) => proven,
        Err(no) => return say_no(spec, no),
    };
    let now = shared.now();
    let token = text(&fields, "token").unwrap_or_default();
    let answer = match lock(&dialect.grants).end_of(token, &client, now) {
        Some(end) => json!({
            "active": true,
            "token_type": "access_token",
            "client_id": client,
            "exp": end.as_secs(),
        }),
        None => json!({"active": false}),
    };
    (StatusCode::OK, Json(answer)).into_response()
}

fn refresh<'a>(
    shared: &Shared,
    dialect: &Dialect,
    specs: &[(Option<&'a str>, &'a OauthSpec)],
    asked: &Asked,
) -> Outcome<'a> {
    let at = |spec: &OauthSpec| asked.is_at(spec.refresh.url.as_ref().unwrap_or(&spec.token.url));
    let here: Vec<_> = specs
        .iter()
        .filter(|(_, spec)| at(spec))
        .map(|(_, spec)| *spec)
        .collect();
    // The last kind at this address is the one that rotates, where kinds share it.
    let Some(spec) = here.last().copied() else {
        return match specs.first() {
            Some((_, spec)) => Err((
                spec,
                No::Request("refreshes go to another address".to_owned()),
            )),
            None => Ok(super::nothing("no token endpoint")),
        };
    };
    let no = |no| (spec, no);
    let auth = spec.refresh.auth.unwrap_or(spec.token.auth);
    let (client, fields) = proven(shared, spec, auth, asked).map_err(no)?;
    check_fields(
        spec,
        &fields,
        &spec.refresh.params,
        &["refresh_token", "scope"],
    )
    .map_err(no)?;
    if fields.contains_key("scope") != spec.refresh.send_scope {
        return Err(no(No::Request(
            "the scope does not belong here, or is missing".to_owned(),
        )));
    }
    let (now, presented) = (
        shared.now(),
        text(&fields, "refresh_token").unwrap_or_default(),
    );
    let mut mint = || format!("sbx-{}", tokens::random(&*shared.entropy));
    let refreshed = lock(&dialect.grants).refresh(spec, &client, presented, now, &mut mint);
    let (issued, consent) = refreshed.ok_or((spec, No::Grant))?;
    shared.counters.add(Counter::TokenRefresh, 1);
    let mut body = json!({});
    if let Some(path) = &spec.response.ok_path {
        put(&mut body, path, true.into());
    }
    write_standard(spec, &mut body, &issued, &consent.scopes, now);
    if !issued.class.is_empty() {
        put(&mut body, "/token_type", issued.class.clone().into());
    }
    if let Some(example) = &spec.response.example {
        let example = data::filled(&example.0, &data::Words::of(&consent.user));
        for keep in spec.response.keep.values() {
            if let Some(value) = example.pointer(&keep.path) {
                put(&mut body, &keep.path, value.clone());
            }
        }
    }
    Ok((StatusCode::OK, Json(body)).into_response())
}

fn text<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// Client and fields of a request that proves itself as this provider wants it.
fn proven(
    shared: &Shared,
    spec: &OauthSpec,
    auth: ClientAuth,
    asked: &Asked,
) -> Result<(String, Fields), No> {
    let fields = fields(spec, asked)?;
    for (name, value) in &spec.token.headers {
        if asked.header(name) != Some(value) {
            return Err(No::Request(format!("header '{name}' must be '{value}'")));
        }
    }
    let given = asked.headers.get(header::AUTHORIZATION);
    let in_body = (text(&fields, "client_id"), text(&fields, "client_secret"));
    let (id, secret) = match (auth, given, in_body) {
        (ClientAuth::Basic, Some(header), (id, None)) => {
            if id.is_some() != spec.token.client_id_in_body {
                return Err(No::Client);
            }
            basic(header).ok_or(No::Client)?
        }
        (ClientAuth::Post, None, (Some(id), Some(secret))) => (id.to_owned(), secret.to_owned()),
        (ClientAuth::None, None, (Some(id), None)) => return Ok((id.to_owned(), fields)),
        _ => return Err(No::Client),
    };
    let known = shared
        .clients
        .get(&id)
        .filter(|client| client.client_secret == secret);
    known.map(|_| (id, fields)).ok_or(No::Client)
}

/// The fields of a body in this provider's form.
fn fields(spec: &OauthSpec, asked: &Asked) -> Result<Fields, No> {
    let kind = asked.header("content-type").unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    match spec.token.body {
        TokenBody::Form if essence == "application/x-www-form-urlencoded" => {
            let pairs = form_urlencoded::parse(&asked.body).into_owned();
            Ok(pairs
                .map(|(name, value)| (name, Value::String(value)))
                .collect())
        }
        TokenBody::Json if essence == "application/json" => {
            serde_json::from_slice(&asked.body).map_err(|error| No::Request(error.to_string()))
        }
        _ => Err(No::Request(format!(
            "a body of type '{essence}' is not taken"
        ))),
    }
}

/// Every field must be one that belongs here, and what the entry always sends must be there.
fn check_fields(
    spec: &OauthSpec,
    fields: &Fields,
    fixed: &std::collections::BTreeMap<String, latchkey_oauth::Template>,
    usual: &[&str],
) -> Result<(), No> {
    let ours = ["grant_type", "client_id", "client_secret"];
    for name in fields.keys() {
        let known = ours.contains(&&**name) || usual.contains(&&**name) || fixed.contains_key(name);
        if !known {
            return Err(No::Request(format!("unexpected field '{name}'")));
        }
    }
    for (name, value) in fixed {
        if text(fields, name) != Some(value.to_string().as_str()) {
            return Err(No::Request(format!("field '{name}' must be '{value}'")));
        }
    }
    let verifier = fields.contains_key("code_verifier");
    if verifier && spec.authorize.pkce == PkceMode::Off {
        return Err(No::Request(
            "this provider takes no code_verifier".to_owned(),
        ));
    }
    Ok(())
}

fn check_callback(spec: &OauthSpec, consent: &Consent, fields: &Fields) -> Result<(), No> {
    let redirect = text(fields, "redirect_uri");
    let expected = match spec.token.redirect_uri {
        RedirectUri::Always => Some(consent.redirect_uri.as_str()),
        RedirectUri::Never => None,
    };
    if redirect != expected {
        return Err(No::Request(
            "the redirect_uri is not as it must be".to_owned(),
        ));
    }
    let proof = text(fields, "code_verifier")
        .map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())));
    if proof == consent.challenge {
        Ok(())
    } else {
        Err(No::Grant)
    }
}

/// The classes of tokens that these scopes ask for; one without a name where the entry knows none.
fn classes(spec: &OauthSpec, scopes: &[String]) -> Vec<String> {
    let classes = &spec.response.tokens;
    if classes.is_empty() {
        return vec![String::new()];
    }
    let prefixed = |scope: &String| {
        let mut known = classes
            .iter()
            .filter(|class| !class.scope_prefix.is_empty());
        known.any(|class| scope.starts_with(&class.scope_prefix))
    };
    let asked = classes
        .iter()
        .filter(|class| match class.scope_prefix.as_str() {
            "" => scopes.iter().any(|scope| !prefixed(scope)),
            prefix => scopes.iter().any(|scope| scope.starts_with(prefix)),
        });
    asked.map(|class| class.class.clone()).collect()
}

/// Writes one class's tokens where the answer to a code has them.
fn write_class(
    spec: &OauthSpec,
    body: &mut Value,
    issued: &Issued,
    scopes: &[String],
    now: Timestamp,
) {
    let class = spec
        .response
        .tokens
        .iter()
        .find(|class| class.class == issued.class);
    let Some(class) = class else {
        write_standard(spec, body, issued, scopes, now);
        return;
    };
    put(body, &class.access, issued.access.clone().into());
    if let Some(refresh) = &issued.refresh {
        put(body, &class.refresh, refresh.clone().into());
    }
    if let Some(life) = issued.expires_in {
        put(body, &class.expires, life.into());
    }
    let own = scopes
        .iter()
        .filter_map(|scope| match class.scope_prefix.as_str() {
            "" => (!is_classed(spec, scope)).then_some(scope.as_str()),
            prefix => scope.strip_prefix(prefix),
        });
    put(body, &class.scope, joined(spec, own));
}

fn is_classed(spec: &OauthSpec, scope: &str) -> bool {
    let mut classes = spec
        .response
        .tokens
        .iter()
        .filter(|class| !class.scope_prefix.is_empty());
    classes.any(|class| scope.starts_with(&class.scope_prefix))
}

/// Writes tokens in the members of RFC 6749, with the entry's units.
fn write_standard(
    spec: &OauthSpec,
    body: &mut Value,
    issued: &Issued,
    scopes: &[String],
    now: Timestamp,
) {
    put(body, "/access_token", issued.access.clone().into());
    if let Some(refresh) = &issued.refresh {
        put(body, "/refresh_token", refresh.clone().into());
        if let Some(field) = &spec.response.refresh_expires {
            let life = spec.lifetimes.refresh_idle_s.or(spec.lifetimes.refresh_s);
            // Where the entry overrides the member, it is because it is wrong: minutes for seconds.
            let life = life.or(field.override_s.map(|life| life / 60));
            if let Some(life) = life {
                put(body, &field.path, in_unit(field.unit, life, now));
            }
        }
    }
    if let Some(life) = issued.expires_in.filter(|_| names_its_end(spec)) {
        match &spec.response.expires {
            Some(field) => put(body, &field.path, in_unit(field.unit, life, now)),
            None => put(body, "/expires_in", life.into()),
        }
    }
    if let Some(field) = &spec.response.issued_at {
        put(body, &field.path, in_unit(field.unit, 0, now));
    }
    if spec
        .authorize
        .drop_params
        .iter()
        .any(|name| name == "scope")
    {
        return;
    }
    let classes: Vec<_> = spec.authorize.scope_classes.values().collect();
    let bare = scopes.iter().map(|scope| {
        let prefix = classes
            .iter()
            .find_map(|prefix| scope.strip_prefix(prefix.as_str()));
        prefix.unwrap_or(scope)
    });
    put(body, "/scope", joined(spec, bare));
}

/// An answer that says when it was written leaves it to the reader when it ends (Salesforce).
fn names_its_end(spec: &OauthSpec) -> bool {
    spec.response.issued_at.is_none() && spec.refresh.trigger != RefreshTrigger::Introspect
}

fn joined<'s>(spec: &OauthSpec, scopes: impl Iterator<Item = &'s str>) -> Value {
    let separator = spec
        .response
        .scope_separator
        .map_or(" ", |separator| separator.text());
    scopes.collect::<Vec<_>>().join(separator).into()
}

/// A moment so many seconds ahead, in a unit.
pub(super) fn in_unit(unit: TimeUnit, ahead_s: u64, now: Timestamp) -> Value {
    let at = now + std::time::Duration::from_secs(ahead_s);
    match unit {
        TimeUnit::DeltaS => ahead_s.into(),
        TimeUnit::DeltaMs => (ahead_s * 1000).into(),
        TimeUnit::EpochS => at.as_secs().into(),
        TimeUnit::EpochMs => (at.as_micros() / 1000).to_string().into(),
        TimeUnit::Iso8601 => at.to_string().into(),
    }
}

/// The refusal in the provider's words.
fn say_no(spec: &OauthSpec, no: No) -> Response {
    let in_words = |refusal: &Refusal| {
        let status = StatusCode::from_u16(refusal.http).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(refusal.body.0.clone())).into_response()
    };
    match no {
        No::Request(text) => super::refused(StatusCode::BAD_REQUEST, "invalid_request", &text),
        No::Grant => spec.refusals.grant.as_ref().map_or_else(
            || {
                super::refused(
                    StatusCode::BAD_REQUEST,
                    "invalid_grant",
                    "the grant is not valid",
                )
            },
            in_words,
        ),
        No::Client => spec.refusals.client.as_ref().map_or_else(
            || {
                let text = "unknown client, wrong secret, or not where it belongs";
                let mut answer = super::refused(StatusCode::UNAUTHORIZED, "invalid_client", text);
                let scheme = HeaderValue::from_static("Basic realm=\"sandbox\"");
                let name = HeaderName::from_static("www-authenticate");
                answer.headers_mut().insert(name, scheme);
                answer
            },
            in_words,
        ),
    }
}
