//! [`TestApi`]: the whole API in a test, as it runs: its own store in a directory of its own, real keys and
//! sealing, the whole router without sockets, a clock that the test moves, and randomness from a seed.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use latchkey_domain::{
    AuthConfigId, ConnectionId, GrantId, ManualClock, PartnerId, SeededEntropy, Timestamp,
    states::{AuthConfigStatus, ConnectionStatus},
};
use latchkey_runtime::{Config, Context, Stopper};
use latchkey_store::{AuthConfigRow, Connection, ConnectionRow, JsonMap, Listing, NewConnection};
use regex::Regex;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{router, state::Api};

/// When every test begins.
pub(crate) const START: &str = "2026-11-21T20:00:00Z";

/// The client secret of [`sandbox_client`].
pub(crate) const SECRET: &str = "canary-client-secret";

/// The body that registers an OAuth client of the sandbox.
pub(crate) fn sandbox_client() -> Value {
    json!({"provider": "sandbox", "client_id": "client", "client_secret": SECRET,
           "params": {"base_url": "http://127.0.0.1:9"}})
}

/// The same on the Flowra side, where partners register theirs.
pub(crate) fn sandbox_config() -> Value {
    sandbox_config_with(&json!({"client_id": "client", "client_secret": SECRET,
                               "base_url": "http://127.0.0.1:9"}))
}

/// The body that makes an auth config of the sandbox with these credentials.
pub(crate) fn sandbox_config_with(credentials: &Value) -> Value {
    json!({"toolkit": {"slug": "sandbox"}, "authConfig": {
        "type": "use_custom_auth", "authScheme": "OAUTH2", "credentials": credentials}})
}

/// The API with everything it needs.
pub(crate) struct TestApi {
    /// What handlers share.
    pub(crate) api: Arc<Api>,
    /// The time.
    pub(crate) clock: Arc<ManualClock>,
    public: Router,
    admin: Router,
    _dir: tempfile::TempDir,
}

impl TestApi {
    /// With default settings.
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these settings (dotted paths) over the defaults.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // As a file, because there numbers are numbers.
        let line = |(name, value): &(&str, &str)| match value.parse::<u64>() {
            Ok(number) => format!("{name} = {number}\n"),
            Err(_) => format!("{name} = {value:?}\n"),
        };
        let file = dir.path().join("latchkey.toml");
        std::fs::write(&file, settings.iter().map(line).collect::<String>()).unwrap();
        let flags = [("data_dir", dir.path().display().to_string())];
        let config = Config::load(Some(&file), &flags).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
        let entropy = Arc::new(SeededEntropy::new(7));
        let ctx = Context::open(config, Arc::clone(&clock) as _, entropy, Stopper::new());
        let api = Arc::new(Api::new(ctx.await.unwrap()));
        let made = Self {
            public: router::public_router(&api),
            admin: router::admin_router(&api),
            api,
            clock,
            _dir: dir,
        };
        let address = &sandbox_client()["params"]["base_url"];
        made.register_sandbox(address.as_str().unwrap()).await;
        made
    }

    /// A config of the operator's, in use by nobody, which makes a sandbox's address known to the partners' ones.
    pub(crate) async fn register_sandbox(&self, address: &str) {
        let now = self.api.ctx.now();
        // Not the API's own randomness: what a test makes shall not depend on this row.
        let entropy = SeededEntropy::new(address.bytes().map(u64::from).sum());
        let row = AuthConfigRow {
            id: AuthConfigId::new(now, &entropy),
            partner_id: PartnerId::OPERATOR,
            name: "Sandbox".to_owned(),
            provider: "sandbox".to_owned(),
            client_id: "client".to_owned(),
            client_secret: None,
            scopes: Vec::new(),
            params: json!({"base_url": address}).as_object().unwrap().clone(),
            status: AuthConfigStatus::Disabled,
            status_reason: None,
            version: 0,
            created_at: now,
            updated_at: now,
        };
        self.api.ctx.store.insert_auth_config(&row).await.unwrap();
    }

    /// Moves time.
    pub(crate) fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// Somebody without a key.
    pub(crate) fn anyone(&self) -> Client {
        Client::new(&self.public)
    }

    /// The operator.
    pub(crate) fn operator(&self) -> Client {
        let token = self.api.ctx.operator_token.expose_secret();
        Client::new(&self.admin).with("authorization", &format!("Bearer {token}"))
    }

    /// A new partner, with its first live key.
    pub(crate) async fn partner(&self, company: &str) -> TestPartner {
        let made = self
            .operator()
            .post(
                "/operator/partners",
                json!({"company": company, "website": "https://example.com",
                       "redirect_urls": ["https://app.example.com/cb"]}),
            )
            .await
            .data();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key = text(&made["api_key"]["key"]);
        TestPartner {
            id: made["partner"]["id"].as_str().unwrap().parse().unwrap(),
            client: self
                .anyone()
                .with("authorization", &format!("Bearer {key}")),
            key,
        }
    }
}

impl TestApi {
    /// An OAuth client of the partner's own at the sandbox.
    pub(crate) async fn auth_config(&self, partner: &TestPartner) -> AuthConfigId {
        let made = partner
            .client
            .post("/api/v1/auth_configs", sandbox_config())
            .await
            .data();
        made["id"].as_str().unwrap().parse().unwrap()
    }

    /// An account's connection to the sandbox, with tokens that live for an hour, as an exchange leaves it.
    pub(crate) async fn connection(&self, partner: &TestPartner, account: &str) -> Connection {
        let auth_config_id = self.auth_config(partner).await;
        let (ctx, now) = (&self.api.ctx, self.api.ctx.now());
        let grant_id = GrantId::new(now, &*ctx.entropy);
        let row = grant_id.to_string();
        let sealed = ctx
            .sealer
            .seal(partner.id, "grant_secrets", "sealed", &row, 1, b"{}")
            .await;
        let new = NewConnection {
            connection: ConnectionRow {
                id: ConnectionId::new(now, &*ctx.entropy),
                partner_id: partner.id,
                account_id: account.parse().unwrap(),
                auth_config_id,
                provider: "sandbox".to_owned(),
                identity: "user-1".to_owned(),
                label: Some("ada@sandbox.example".to_owned()),
                status: ConnectionStatus::Active,
                reason: None,
                enabled_services: [("notes.read".to_owned(), true)].into(),
                scopes: vec!["notes.read".to_owned()],
                params: JsonMap::new(),
                connected_at: now,
                updated_at: now,
                revoked_at: None,
            },
            grant_id,
            version: 1,
            sealed: sealed.unwrap(),
            issued_at: now,
            expires_at: Some(now + Duration::from_secs(3600)),
            due_at: Some(now + Duration::from_secs(3000)),
            refreshable: true,
            listing: Listing::default(),
            dies_at: None,
            session_id: None,
            job: None,
            now,
        };
        ctx.store.store_connection(&new).await.unwrap()
    }
}

/// A partner of a test.
pub(crate) struct TestPartner {
    /// Its id.
    pub(crate) id: PartnerId,
    /// Its live key.
    pub(crate) key: String,
    /// Sends requests with that key.
    pub(crate) client: Client,
}

impl TestPartner {
    /// Makes an account; its id.
    pub(crate) async fn account(&self, external_id: &str) -> String {
        let body = json!({"external_id": external_id});
        let made = self.client.post("/api/v1/accounts", body).await.data();
        made["id"].as_str().unwrap().to_owned()
    }
}

/// Sends requests, all with the same headers.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    headers: Vec<(String, String)>,
}

impl Client {
    fn new(router: &Router) -> Self {
        Self {
            router: router.clone(),
            headers: Vec::new(),
        }
    }

    /// At another router.
    pub(crate) fn at(&self, router: &Router) -> Self {
        Self {
            router: router.clone(),
            ..self.clone()
        }
    }

    /// Where it sends to.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// With another header.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Bytes::new()).await
    }

    /// POST with a JSON body.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.json(Method::POST, path, &body).await
    }

    /// PUT with a JSON body.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.json(Method::PUT, path, &body).await
    }

    /// PATCH with a JSON body.
    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.json(Method::PATCH, path, &body).await
    }

    /// Any method with a JSON body.
    pub(crate) async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        let client = self.with("content-type", "application/json");
        client.send(method, path, body.to_string()).await
    }

    /// Anything.
    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.into())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status.
    pub(crate) status: StatusCode,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| {
            panic!(
                "{} with a body that is no JSON: {e}: {:?}",
                self.status, self.body
            )
        })
    }

    /// `data` of a success.
    #[track_caller]
    pub(crate) fn data(&self) -> Value {
        let mut json = self.json();
        let says_so = json["ok"] == true || json["success"] == true;
        assert!(
            self.status.is_success() && says_so,
            "{} {json}",
            self.status
        );
        json["data"].take()
    }

    /// The code of a refusal, on either face.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        if let Some(error) = json["error"].as_object() {
            assert!(json["message"] == error["message"] && error["status"] == self.status.as_u16());
            assert_eq!(error["requestId"], self.header("x-request-id"), "{json}");
            return error["code"].as_str().unwrap().to_owned();
        }
        assert_eq!(json["ok"], false, "{} {json}", self.status);
        assert_eq!(json["request_id"], self.header("x-request-id"), "{json}");
        json["error_code"].as_str().unwrap().to_owned()
    }

    /// Code and text of a refusal, for tables of refusals.
    #[track_caller]
    pub(crate) fn said(&self) -> String {
        let json = self.json();
        let said = json["error"].as_str().or_else(|| json["message"].as_str());
        format!("{} {}", self.code(), said.unwrap())
    }

    /// Status and body as a snapshot: ids and keys, which differ by seed, are cut to their kind.
    pub(crate) fn shown(&self) -> String {
        let body = match serde_json::from_slice::<Value>(&self.body) {
            Ok(json) => serde_json::to_string_pretty(&json).unwrap(),
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        };
        format!("{}\n{}", self.status, hide_ids(&body))
    }
}

/// Cuts ids and keys to their kind.
pub(crate) fn hide_ids(text: &str) -> String {
    let uuid = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    let prefixed = Regex::new("\\b([a-z]+)_[0-9a-f]{32}\\b").unwrap();
    let key = Regex::new("\\bsk_(live|test)_[0-9A-Za-z]+").unwrap();
    let text = uuid.replace_all(text, "<uuid>");
    let text = prefixed.replace_all(&text, "${1}_<id>");
    key.replace_all(&text, "sk_${1}_<key>").into_owned()
}
