//! What stands behind access tokens: identity, sites, named endpoints.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use latchkey_oauth::spec::{IdentityMethod, IdentitySpec, TokenHeader};
use latchkey_providers::{
    Endpoint, PageStyle, Provider, Service,
    entry::{BodyRule, ParamPlace},
};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{Asked, Dialect, data, grants::Caller, nothing, put, rate, refused};
use crate::{
    counters::Counter,
    state::{Shared, lock},
};

/// What a request at an address of the API is for.
enum Place<'p> {
    Identity(&'p IdentitySpec),
    Sites(&'p IdentitySpec),
    Endpoint(&'p Service, &'p Endpoint, Vec<(String, String)>),
}

/// Handler.
pub(super) fn api(shared: &Shared, dialect: &Dialect, asked: &Asked) -> Response {
    shared.counters.add(Counter::ApiCalls, 1);
    let provider = &dialect.provider;
    let place = match find(provider, asked) {
        Ok(place) => place,
        Err(no) => return no.into(),
    };
    let header = match &place {
        Place::Identity(identity) | Place::Sites(identity) => &identity.token_header,
        Place::Endpoint(service, ..) => &service.token_header,
    };
    let now = shared.now();
    let token = carried(header, asked);
    let caller = token
        .as_deref()
        .and_then(|token| lock(&dialect.grants).caller(token, now));
    let (Some(token), Some(caller)) = (token, caller) else {
        shared.counters.add(Counter::Api401, 1);
        return unauthorized(provider);
    };
    let settings = shared.settings();
    let budget = rate::Budget::of(&provider.rate, &settings);
    let left = budget.map(|budget| rate::count(&mut lock(&dialect.windows), &token, budget, now));
    let mut answer = match &left {
        Some(left) if left.spent => {
            rate::too_often(provider, left, now, settings.dialect_limit_form)
        }
        _ => match place {
            Place::Identity(identity) => identify(identity, &caller),
            Place::Sites(identity) => sites(identity, &caller),
            Place::Endpoint(service, endpoint, path) => {
                let call = Call {
                    shared,
                    provider,
                    service,
                    endpoint,
                    path,
                    asked,
                };
                call.answer(&caller).unwrap_or_else(Response::from)
            }
        },
    };
    if let Some(left) = &left {
        answer
            .headers_mut()
            .extend(rate::headers(&provider.rate, left, now));
    }
    answer
}

/// A refusal on its way up.
struct No {
    status: StatusCode,
    code: &'static str,
    text: String,
}

impl From<No> for Response {
    fn from(no: No) -> Self {
        refused(no.status, no.code, &no.text)
    }
}

fn no(status: StatusCode, code: &'static str, text: &str) -> No {
    No {
        status,
        code,
        text: text.to_owned(),
    }
}

/// The access token in its place.
fn carried(place: &TokenHeader, asked: &Asked) -> Option<String> {
    Some(
        asked
            .header(&place.name)?
            .strip_prefix(&place.prefix)?
            .to_owned(),
    )
}

/// "This token does not work", in the provider's form.
fn unauthorized(provider: &Provider) -> Response {
    if let Some(rule) = provider.unauthorized_when.first() {
        let status = StatusCode::from_u16(rule.http).unwrap_or(StatusCode::UNAUTHORIZED);
        let mut body = rate::words_at(&rule.path, rule.words().unwrap_or_default());
        if let Some(path) = &provider.oauth.response.ok_path {
            put(&mut body, path, false.into());
        }
        return (status, Json(body)).into_response();
    }
    let mut answer = refused(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        "unknown, expired or revoked",
    );
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

fn find<'p>(provider: &'p Provider, asked: &Asked) -> Result<Place<'p>, No> {
    if let Some(identity) = &provider.oauth.identity {
        let method = match identity.method {
            IdentityMethod::Get => Method::GET,
            IdentityMethod::Post => Method::POST,
        };
        // GraphQL answers everything at one address; the query tells what is asked.
        let same_body = identity.body.as_ref().is_none_or(|body| {
            serde_json::from_slice::<Value>(&asked.body).is_ok_and(|given| given == body.0)
        });
        let here = identity.url.as_ref().is_some_and(|url| asked.is_at(url));
        if here && asked.method == method && same_body {
            return Ok(Place::Identity(identity));
        }
        if identity
            .pick
            .as_ref()
            .is_some_and(|pick| asked.is_at(&pick.url))
            && asked.method == Method::GET
        {
            return Ok(Place::Sites(identity));
        }
    }
    let (mut wrong_method, mut best) = (false, None);
    for service in &provider.services {
        let Some(rest) = service.base_url.rest_of(&asked.url) else {
            continue;
        };
        for endpoint in &service.endpoints {
            let Some(path) = match_path(&endpoint.request.path, rest) else {
                continue;
            };
            let method = endpoint.request.method.as_ref().unwrap_or(&endpoint.method);
            if *method != asked.method.as_str() {
                wrong_method = true;
                continue;
            }
            let Some(fits) = same_operation(endpoint, asked) else {
                continue;
            };
            if best.as_ref().is_none_or(|(most, _)| fits > *most) {
                best = Some((fits, Place::Endpoint(service, endpoint, path)));
            }
        }
    }
    if let Some((_, place)) = best {
        return Ok(place);
    }
    Err(if wrong_method {
        no(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "another method",
        )
    } else {
        no(
            StatusCode::NOT_FOUND,
            "not_found",
            "no named endpoint of the catalogue has this address",
        )
    })
}

/// Where several endpoints share an address, what each always sends tells them apart: in the query, or in the body
/// (the document of GraphQL, a filter). How much of that the request has; `None` if it lacks any.
fn same_operation(endpoint: &Endpoint, asked: &Asked) -> Option<usize> {
    let mut found = 0;
    for (name, value) in &endpoint.request.query {
        let given = asked.query(name);
        if given.is_some_and(|given| !is_hole(value) && given != value) {
            return None;
        }
        found += usize::from(given.is_some());
    }
    let Some(body) = &endpoint.request.body else {
        return Some(found);
    };
    let given = serde_json::from_slice::<Value>(&asked.body).unwrap_or_default();
    Some(found + fixed_parts(&body.0, &given)?)
}

/// Whether a value of the entry stands for a parameter.
fn is_hole(value: &str) -> bool {
    let name = value
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.contains(['{', '}', ' ']))
}

/// How many values of a body are what the template always sends; `None` if one is not.
fn fixed_parts(template: &Value, given: &Value) -> Option<usize> {
    match template {
        Value::String(text) if is_hole(text) => Some(0),
        Value::Object(members) => {
            let parts = members.iter().map(|(name, value)| match given.get(name) {
                Some(given) => fixed_parts(value, given),
                // What holds parameters that were not given is left out with them.
                None => has_hole(value).then_some(0),
            });
            parts.sum()
        }
        Value::Array(_) => Some(0),
        other => (other == given).then_some(1),
    }
}

fn has_hole(template: &Value) -> bool {
    match template {
        Value::String(text) => is_hole(text),
        Value::Array(items) => items.iter().any(has_hole),
        Value::Object(members) => members.values().any(has_hole),
        _ => false,
    }
}

/// The parameters of a provider's path template.
fn match_path(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    if template.len() != path.len() {
        return None;
    }
    let mut found = Vec::new();
    for (expected, given) in template.iter().zip(path) {
        let given = percent_decode_str(given).decode_utf8().ok()?;
        let Some((before, rest)) = expected.split_once('{') else {
            if *expected != given {
                return None;
            }
            continue;
        };
        let (name, after) = rest.split_once('}')?;
        let value = given.strip_prefix(before)?.strip_suffix(after)?;
        if value.is_empty() {
            return None;
        }
        found.push((name.to_owned(), value.to_owned()));
    }
    Some(found)
}

fn identify(identity: &IdentitySpec, caller: &Caller) -> Response {
    let words = data::Words::of(&caller.user);
    match &identity.example {
        Some(example) => Json(data::filled(&example.0, &words)).into_response(),
        None => nothing("the entry shows no identity"),
    }
}

fn sites(identity: &IdentitySpec, caller: &Caller) -> Response {
    let example = identity
        .pick
        .as_ref()
        .and_then(|pick| pick.example.as_ref());
    match example {
        Some(example) => {
            Json(data::filled(&example.0, &data::Words::of(&caller.user))).into_response()
        }
        None => nothing("the entry shows no sites"),
    }
}

/// One call of a named endpoint.
struct Call<'a> {
    shared: &'a Shared,
    provider: &'a Provider,
    service: &'a Service,
    endpoint: &'a Endpoint,
    path: Vec<(String, String)>,
    asked: &'a Asked,
}

impl Call<'_> {
    fn answer(&self, caller: &Caller) -> Result<Response, No> {
        self.check_headers()?;
        self.check_class(caller)?;
        self.check_permission(caller)?;
        self.check_query()?;
        let body = self.check_body()?;
        let Some(example) = &self.endpoint.example else {
            return Err(no(
                StatusCode::NOT_FOUND,
                "not_found",
                "the entry shows no answer of this endpoint",
            ));
        };
        if example.0.is_null() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let words = self.words(caller, &body);
        let Some(pages) = self.endpoint.pages(self.service) else {
            return Ok(Json(data::filled(&example.0, &words)).into_response());
        };
        let ask = data::Ask {
            size: self
                .sent(pages.size.as_deref(), "limit", &body)
                .and_then(|size| size.parse().ok()),
            cursor: match pages.style {
                PageStyle::NextUrl => self.asked.query("$skiptoken").map(str::to_owned),
                _ => self.sent(pages.send.as_deref(), "cursor", &body),
            },
            query: &self.query_again(),
            address: &self.asked.url.replacen(
                "https://",
                &format!("{}/{}/", self.shared.base_url, self.provider.slug),
                1,
            ),
        };
        let page = data::page(self.endpoint, pages, &example.0, &words, &ask);
        let page = page.ok_or_else(|| {
            no(
                StatusCode::BAD_REQUEST,
                "invalid_cursor",
                "this is no cursor of this list",
            )
        })?;
        let mut answer = Json(page.body).into_response();
        let link = page.link.and_then(|link| HeaderValue::try_from(link).ok());
        answer
            .headers_mut()
            .extend(link.map(|link| (header::LINK, link)));
        Ok(answer)
    }

    /// The query as it came, for the address of the next page.
    fn query_again(&self) -> String {
        let pairs = self
            .asked
            .query
            .iter()
            .filter(|(name, _)| name != "$skiptoken");
        let written = pairs.map(|(name, value)| {
            let mut pair = form_urlencoded::Serializer::new(String::new());
            format!("{}&", pair.append_pair(name, value).finish())
        });
        written.collect()
    }

    /// What stands in the example's words: the user, and every parameter that was sent.
    fn words(&self, caller: &Caller, body: &Value) -> data::Words {
        let mut words = data::Words::of(&caller.user);
        for (name, param) in &self.endpoint.params {
            if let Some(value) = self.sent(param.to.as_deref(), name, body) {
                words.add(name, &value);
            }
        }
        for (name, value) in &self.path {
            words.add(name, value);
        }
        words
    }

    /// What was sent for a parameter, wherever its entry puts it.
    fn sent(&self, to: Option<&str>, name: &str, body: &Value) -> Option<String> {
        let hole = format!("{{{name}}}");
        let mut always = self.endpoint.request.query.iter();
        let renamed = always.find(|(_, value)| **value == hole);
        let sent = renamed.map_or(to.unwrap_or(name), |(sent, _)| sent.as_str());
        if let Some(value) = self.asked.query(sent) {
            return Some(value.to_owned());
        }
        let template = self.endpoint.request.body.as_ref();
        let place = template.and_then(|template| place_of(&template.0, &hole));
        let value = match place {
            Some(pointer) => body.pointer(&pointer)?.clone(),
            None => body.get(sent)?.clone(),
        };
        match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn check_headers(&self) -> Result<(), No> {
        for (name, value) in &self.service.headers {
            let given = self.asked.header(name);
            let fixed = value.slots().next().is_none();
            let right = if fixed {
                given == Some(value.to_string().as_str())
            } else {
                given.is_some_and(|given| !given.is_empty())
            };
            if !right {
                let text = format!("header '{name}' is missing or wrong");
                return Err(no(StatusCode::BAD_REQUEST, "missing_header", &text));
            }
        }
        for (name, value) in &self.endpoint.request.headers {
            if self.asked.header(name) != Some(value) {
                let text = format!("header '{name}' must be '{value}'");
                return Err(no(StatusCode::BAD_REQUEST, "missing_header", &text));
            }
        }
        Ok(())
    }

    fn check_class(&self, caller: &Caller) -> Result<(), No> {
        let wanted = self.service.token_class.as_ref();
        if wanted.is_none_or(|class| *class == caller.class) {
            return Ok(());
        }
        Err(no(
            StatusCode::FORBIDDEN,
            "not_allowed_token_type",
            "another kind of token",
        ))
    }

    /// The grant must hold the scopes of the endpoint's permission.
    fn check_permission(&self, caller: &Caller) -> Result<(), No> {
        let mut permissions = self.service.permissions.iter();
        let permission = permissions.find(|permission| permission.id == self.endpoint.permission);
        let holds = |scope: &String| caller.scopes.contains(scope);
        let scopeless = caller.scopes.is_empty();
        let allowed = permission.is_none_or(|permission| {
            scopeless
                || permission.scopes.iter().all(holds)
                || permission.implied_by.iter().any(holds)
        });
        if allowed {
            return Ok(());
        }
        Err(no(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "the grant has not this scope",
        ))
    }

    fn check_query(&self) -> Result<(), No> {
        let endpoint = self.endpoint;
        let wrong = |text: String| Err(no(StatusCode::BAD_REQUEST, "invalid_parameter", &text));
        for (name, value) in &endpoint.request.query {
            let given = self.asked.query(name);
            let right = if is_hole(value) {
                given.is_some_and(|given| !given.is_empty())
            } else {
                given == Some(value)
            };
            if !right {
                return wrong(format!("parameter '{name}' must be '{value}'"));
            }
        }
        for (name, _) in &self.asked.query {
            let declared = endpoint.params.iter().any(|(own, param)| {
                param.place == ParamPlace::Query && param.to.as_ref().unwrap_or(own) == name
            });
            let next = endpoint
                .pages(self.service)
                .is_some_and(|p| p.style == PageStyle::NextUrl);
            let known = declared
                || endpoint.request.query.contains_key(name)
                || (next && name == "$skiptoken");
            if !known {
                return wrong(format!("unexpected parameter '{name}'"));
            }
        }
        Ok(())
    }

    /// The body must be what the entry makes of parameters: nothing unexpected, nothing missing.
    fn check_body(&self) -> Result<Value, No> {
        let (endpoint, given) = (self.endpoint, &self.asked.body);
        let wrong = |text: &str| no(StatusCode::BAD_REQUEST, "invalid_body", text);
        let fields = endpoint
            .params
            .values()
            .any(|param| param.place == ParamPlace::Body);
        if endpoint.request.body.is_none() && !fields && endpoint.body == BodyRule::Fields {
            return if given.is_empty() {
                Ok(Value::Null)
            } else {
                Err(wrong("no body is taken"))
            };
        }
        let body: Value =
            serde_json::from_slice(given).map_err(|_| wrong("the body is no JSON"))?;
        let Some(members) = body.as_object() else {
            return Err(wrong("the body is no JSON object"));
        };
        if endpoint.body != BodyRule::Fields {
            return Ok(body);
        }
        let template = endpoint.request.body.as_ref();
        for name in members.keys() {
            let declared = endpoint.params.iter().any(|(own, param)| {
                param.place == ParamPlace::Body && param.to.as_ref().unwrap_or(own) == name
            });
            if !declared && template.is_none_or(|template| template.0.get(name).is_none()) {
                return Err(wrong(&format!("unexpected member '{name}'")));
            }
        }
        for (name, param) in endpoint.params.iter().filter(|(_, param)| param.required) {
            if self.sent(param.to.as_deref(), name, &body).is_none()
                && param.kind == latchkey_providers::entry::ParamType::String
            {
                return Err(wrong(&format!("'{name}' is missing")));
            }
        }
        Ok(body)
    }
}

/// The pointer to a text in a template.
fn place_of(template: &Value, wanted: &str) -> Option<String> {
    match template {
        Value::String(text) => (text == wanted).then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| Some(format!("/{at}{}", place_of(item, wanted)?))),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, value)| Some(format!("/{name}{}", place_of(value, wanted)?))),
        _ => None,
    }
}
