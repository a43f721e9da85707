//! A sandbox on a free port with the client, and the browser, that tests need.

use std::{
    collections::BTreeMap,
    sync::{Arc, Once},
    time::Duration,
};

use latchkey_domain::{ManualClock, SeededEntropy, Timestamp};
use latchkey_sandbox::{Counter, Fault, Sandbox, SandboxConfig, SandboxHandle, Seed, Settings};
use reqwest::{Method, Response, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::net::TcpListener;

/// Where the test's client would listen.
pub const CALLBACK: &str = "http://127.0.0.1:9/callback?mine=1";
/// A verifier and its S256 challenge (RFC 7636, appendix B).
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// Bounds a wait that a broken sandbox would make endless.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running sandbox, its clock, and a client of it.
pub struct Peer {
    pub sandbox: SandboxHandle,
    pub clock: Arc<ManualClock>,
    http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    async fn read(response: Response) -> Result<Self, reqwest::Error> {
        Ok(Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The parameters of the redirect that this answer is.
    pub fn redirect(&self) -> BTreeMap<String, String> {
        assert_eq!(self.status, 303, "{}", self.text());
        let url = url::Url::parse(self.header("location")).unwrap();
        assert!(url.as_str().starts_with("http://127.0.0.1:9/callback?"));
        url.query_pairs().into_owned().collect()
    }
}

/// Sends a request without need of its peer, which may stop meanwhile.
pub async fn sent(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one client of the sandbox's tests, which see it from outside"
    )]
    let response = request.send().await?;
    Answer::read(response).await
}

impl Peer {
    /// A sandbox that behaves so.
    pub async fn with(settings: Settings) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // reqwest wants a TLS provider even where it never speaks TLS.
            rustls::crypto::ring::default_provider()
                .install_default()
                .unwrap();
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let config = SandboxConfig {
            settings,
            ..SandboxConfig::default()
        };
        let entropy = Arc::new(SeededEntropy::new(1));
        let sandbox = Sandbox::start(config, listener, clock.clone(), entropy).unwrap();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            sandbox,
            clock,
            http,
        }
    }

    /// A sandbox with the settings it has by default.
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.sandbox.count(counter)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.base_url())
    }

    /// A request to be filled in.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).timeout(PATIENCE)
    }

    pub async fn try_send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, reqwest::Error> {
        sent(request).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends JSON.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path).body(body.to_string());
        self.send(request.header("content-type", "application/json"))
            .await
    }

    /// Sends a form.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let kind = "application/x-www-form-urlencoded";
        self.request(Method::POST, path)
            .header("content-type", kind)
            .body(body)
    }

    /// A form with the default client's credentials in it.
    pub fn client_form(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let client = [
            ("client_id", "sandbox-client"),
            ("client_secret", "sandbox-secret"),
        ];
        self.form(path, &[&client, fields].concat())
    }

    /// A proper authorization request with some parameters changed; an empty one is left out.
    pub async fn authorize(&self, changes: &[(&str, &str)]) -> Answer {
        let mut fields = BTreeMap::from([
            ("client_id", "sandbox-client"),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("state", "st&te"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        fields.extend(changes.iter().copied());
        fields.retain(|_, value| !value.is_empty());
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.get(&format!("/oauth/authorize?{query}")).await
    }

    /// A code that `ada` gave without a page.
    pub async fn code(&self) -> String {
        self.authorize(&[("prompt", "none")]).await.redirect()["code"].clone()
    }

    pub fn exchange(&self, code: &str) -> reqwest::RequestBuilder {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        self.client_form("/oauth/token", &fields)
    }

    pub fn refresh(&self, token: &str) -> reqwest::RequestBuilder {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.client_form("/oauth/token", &fields)
    }

    /// A fresh grant's access and refresh token.
    pub fn seeded(&self) -> (String, String) {
        let mut made = self.sandbox.seed(&Seed::new(1)).unwrap();
        let grant = made.remove(0);
        (grant.access_token, grant.refresh_token.unwrap())
    }

    /// A request with an access token.
    pub fn api(&self, method: Method, path: &str, access: &str) -> reqwest::RequestBuilder {
        self.request(method, path).bearer_auth(access)
    }

    pub fn fault(&self, fault: Fault) {
        self.sandbox.fault(fault).unwrap();
    }

    /// Waits until the counter shows this much.
    pub async fn reach(&self, counter: Counter, at_least: u64) {
        let value = self.sandbox.wait(counter, at_least, PATIENCE).await;
        assert!(value >= at_least, "{counter:?} is {value}");
    }
}
