//! The catalogue's dialects: every entry mounted at `/{slug}/{host}/…`, behaving as its file says that provider
//! does. Nothing here knows a provider; what differs between them is data.
//!
//! | file | what it plays |
//! | --- | --- |
//! | `authorize.rs` | the consent: which parameters, in which words |
//! | `token.rs` | the token endpoint: how a client proves itself, bodies, answers, refusals |
//! | `grants.rs` | what became of each token: rotation, grace, ends, evictions |
//! | `revoke.rs` | revocation and how far it reaches |
//! | `api.rs` | identity, sites and named endpoints, behind access tokens |
//! | `data.rs` | believable answers, page by page |
//! | `rate.rs` | budgets, and the forms in which "too often" is said |

mod api;
mod authorize;
mod data;
mod grants;
mod rate;
mod revoke;
mod token;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use latchkey_oauth::{OauthSpec, Template};
use latchkey_providers::{Catalog, Provider};
use serde_json::{Map, Value, json};

pub(crate) use authorize::{DialectAsk, consent};
pub(crate) use data::ITEMS;
use grants::Grants;
pub(crate) use rate::words_at;

use crate::{
    faults::{Target, under_faults},
    limits::MAX_API_BODY,
    state::Shared,
};

/// One provider as the sandbox plays it.
pub(crate) struct Dialect {
    pub(crate) provider: Provider,
    pub(crate) grants: Mutex<Grants>,
    pub(crate) windows: Mutex<rate::Windows>,
}

/// All of them, by slug.
pub(crate) struct Dialects(BTreeMap<String, Arc<Dialect>>);

impl Dialects {
    /// Plays every entry of the catalogue whose addresses are of the open internet; the sandbox's own entry is
    /// at home here already.
    pub(crate) fn of(catalog: Option<Catalog>) -> Self {
        let catalog = catalog.unwrap_or_default();
        let played = catalog.providers().filter(|provider| {
            let url = provider.oauth.token.url.to_string();
            url.starts_with("https://")
        });
        let dialects = played.map(|provider| {
            let dialect = Dialect {
                provider: provider.clone(),
                grants: Mutex::default(),
                windows: Mutex::default(),
            };
            (provider.slug.clone(), Arc::new(dialect))
        });
        Self(dialects.collect())
    }

    /// How many grants of one are alive.
    pub(crate) fn alive(&self, slug: &str) -> usize {
        let dialect = self.0.get(slug);
        dialect.map_or(0, |dialect| crate::state::lock(&dialect.grants).alive())
    }

    /// Ends access tokens of every dialect before their time, one user's or all; returns how many.
    pub(crate) fn kill_access(&self, user: Option<&str>) -> usize {
        let dialects = self.0.values();
        dialects
            .map(|dialect| crate::state::lock(&dialect.grants).kill_access(user))
            .sum()
    }

    /// Their slugs.
    pub(crate) fn slugs(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A request to a dialect, taken apart.
struct Asked {
    method: Method,
    /// The address as the provider would see it: `https://host/path`, without query.
    url: String,
    /// Decoded pairs.
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether this is the address of the template, as a whole.
    fn is_at(&self, template: &Template) -> bool {
        template.rest_of(&self.url) == Some("")
    }
}

/// Handler of everything that is no route of the sandbox's own: `/{slug}/{host}/…`.
pub(crate) async fn dialect(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let (slug, rest) = path.split_once('/').unwrap_or((&path, ""));
    let Some(dialect) = shared.dialects.0.get(slug).cloned() else {
        return nothing("the sandbox plays no such provider");
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_API_BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "").into_response();
    };
    let query = parts.uri.query().unwrap_or_default();
    let asked = Asked {
        method: parts.method,
        url: format!("https://{rest}"),
        query: form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        headers: parts.headers,
        body,
    };
    answer(&shared, &dialect, &asked).await
}

async fn answer(shared: &Shared, dialect: &Dialect, asked: &Asked) -> Response {
    let provider = &dialect.provider;
    let specs = specs(provider);
    let posted = asked.method == Method::POST;
    if asked.method == Method::GET
        && specs
            .iter()
            .any(|(_, spec)| asked.is_at(&spec.authorize.url))
    {
        return authorize::authorize(shared, dialect, &specs, asked);
    }
    let is_token = |spec: &OauthSpec| {
        let refresh = spec.refresh.url.as_ref();
        asked.is_at(&spec.token.url) || refresh.is_some_and(|url| asked.is_at(url))
    };
    if posted && specs.iter().any(|(_, spec)| is_token(spec)) {
        let target = if token::is_refresh(asked) {
            Target::Refresh
        } else {
            Target::Exchange
        };
        let act = async { token::token(shared, dialect, &specs, asked) };
        return under_faults(shared, target, act).await;
    }
    let introspected = specs.iter().find(|(_, spec)| {
        let introspect = spec.introspect.as_ref();
        introspect.is_some_and(|introspect| asked.is_at(&introspect.url))
    });
    if let Some((_, spec)) = introspected.filter(|_| posted) {
        return token::introspect(shared, dialect, spec, asked);
    }
    let revoke = specs.iter().find_map(|(_, spec)| {
        let revoke = spec.revoke.as_ref()?;
        asked.is_at(&revoke.url).then_some((*spec, revoke))
    });
    if let Some((spec, revoke)) = revoke {
        let act = async { revoke::revoke(shared, dialect, spec, revoke, asked) };
        return under_faults(shared, Target::Revoke, act).await;
    }
    let act = async { api::api(shared, dialect, asked) };
    under_faults(shared, Target::Api, act).await
}

/// The protocol of each kind of application; one without a name where there are none.
fn specs(provider: &Provider) -> Vec<(Option<&str>, &OauthSpec)> {
    if provider.app_kinds.is_empty() {
        return vec![(None, &provider.oauth)];
    }
    let kinds = provider.app_kinds.iter().map(|kind| {
        let named = Map::from_iter([("app_kind".to_owned(), Value::from(kind.name.clone()))]);
        (Some(kind.name.as_str()), provider.spec(&named))
    });
    kinds.collect()
}

/// There is no such thing here.
fn nothing(text: &str) -> Response {
    (
        StatusCode::NOT_FOUND,
        Json(json!({"error": "not_found", "message": text})),
    )
        .into_response()
}

/// A refusal that says what the request lacks: what a strict provider would answer, in words that help.
fn refused(status: StatusCode, code: &str, text: &str) -> Response {
    let body = json!({"error": code, "error_description": text, "message": text});
    (status, Json(body)).into_response()
}

/// The JSON at a pointer, with the objects that lead there made where they are missing.
fn put(into: &mut Value, pointer: &str, value: Value) {
    let mut place = into;
    for step in pointer.split('/').skip(1) {
        if let Value::Array(items) = place {
            let Some(item) = step.parse::<usize>().ok().and_then(|n| items.get_mut(n)) else {
                return;
            };
            place = item;
            continue;
        }
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else {
            return;
        };
        place = members.entry(step.to_owned()).or_insert(Value::Null);
    }
    *place = value;
}
