//! The sandbox's entry against the sandbox itself, over sockets: every request that the entry describes is
//! built, sent and read by what Latchkey uses.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use latchkey_domain::{
    Clock, SystemClock, SystemEntropy,
    refresh::{Class, Ended},
};
use latchkey_oauth::{
    AllowedHosts, AuthorizeRequest, Client, CodeExchange, Egress, HttpAnswer, HttpLimits,
    HttpRequest, Pkce, ProviderHttp, RevokeOutcome, TokenError, TokenSet, Vars,
    answer::{Asked, TOKEN_ANSWER_BYTES, parse_tokens},
    authorize_url, check_issuer, exchange_request, identity_request, parse_identity,
    read_revocation, refresh_request, revoke_requests,
};
use latchkey_providers::{Catalog, OutgoingCall, Provider, Target};
use latchkey_sandbox::{
    Counter, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, SandboxConfig, SandboxHandle,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use url::Url;

const CALLBACK: &str = "http://127.0.0.1:9/callback";
const LONG: Duration = Duration::from_secs(20);

/// A sandbox and one auth config for it.
struct Bench {
    sandbox: SandboxHandle,
    http: ProviderHttp,
    catalog: Catalog,
    app: Map<String, Value>,
    secret: SecretString,
    none: Map<String, Value>,
}

impl Bench {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let sandbox = Sandbox::start(SandboxConfig::default(), listener, clock, entropy).unwrap();
        let catalog = Catalog::load(None).unwrap();
        let given = Map::from_iter([("base_url".to_owned(), sandbox.base_url().into())]);
        let app = catalog
            .get("sandbox")
            .unwrap()
            .check_app_params(&given)
            .unwrap();
        let egress = Egress::new(vec!["127.0.0.0/8".parse().unwrap()]);
        Self {
            sandbox,
            http: ProviderHttp::new(HttpLimits::default(), egress).unwrap(),
            catalog,
            app,
            secret: DEFAULT_CLIENT_SECRET.into(),
            none: Map::new(),
        }
    }

    fn provider(&self) -> &Provider {
        self.catalog.get("sandbox").unwrap()
    }

    fn client(&self) -> Client<'_> {
        Client {
            secret: Some(&self.secret),
            vars: Vars {
                client_id: DEFAULT_CLIENT_ID,
                app: &self.app,
                connection: &self.none,
                token: &self.none,
            },
        }
    }

    async fn send(&self, request: HttpRequest) -> HttpAnswer {
        self.http
            .send(request, LONG, TOKEN_ANSWER_BYTES)
            .await
            .unwrap()
    }

    async fn browse(&self, method: Method, url: &Url, form: String) -> HttpAnswer {
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header("content-type", "application/x-www-form-urlencoded");
        let hosts = AllowedHosts::of([url]);
        self.send(HttpRequest {
            request: request.body(form.into()).unwrap(),
            hosts,
        })
        .await
    }

    /// Consents as a person would; gives the query of the callback.
    async fn consent(&self, pkce: &Pkce) -> Map<String, Value> {
        let ask = AuthorizeRequest {
            redirect_uri: CALLBACK,
            scopes: &self.provider().scopes_for(&[], &[]).unwrap(),
            state: "state-1",
            challenge: &pkce.challenge,
        };
        let url = authorize_url(&self.provider().oauth, &self.client(), &ask).unwrap();
        let page = self.browse(Method::GET, &url, String::new()).await;
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        let (_, rest) = html.split_once("name=\"consent\" value=\"").unwrap();
        let ticket = rest.split_once('"').unwrap().0;
        let decision = url.join("/oauth/authorize/decision").unwrap();
        let form = format!("consent={ticket}&user=ada&decision=allow");
        let back = self.browse(Method::POST, &decision, form).await;
        let location = Url::parse(back.headers["location"].to_str().unwrap()).unwrap();
        let pairs = location.query_pairs().into_owned();
        pairs.map(|(name, value)| (name, value.into())).collect()
    }

    async fn connect(&self) -> TokenSet {
        let pkce = Pkce::new(&SystemEntropy);
        let back = self.consent(&pkce).await;
        assert_eq!(back["state"], "state-1");
        let spec = &self.provider().oauth;
        assert_eq!(
            check_issuer(spec, &self.client().vars, back["iss"].as_str()),
            Ok(())
        );
        let code = CodeExchange {
            code: &back["code"].as_str().unwrap().into(),
            verifier: &pkce.verifier,
            redirect_uri: CALLBACK,
        };
        let answer = self
            .send(exchange_request(spec, &self.client(), &code).unwrap())
            .await;
        parse_tokens(
            spec,
            &answer,
            Asked::Code { scopes: &[] },
            SystemClock.now(),
        )
        .unwrap()
    }

    async fn refresh(&self, tokens: &TokenSet) -> Result<TokenSet, TokenError> {
        let spec = &self.provider().oauth;
        let answer = self
            .send(refresh_request(spec, &self.client(), tokens).unwrap())
            .await;
        parse_tokens(spec, &answer, Asked::Refresh(tokens), SystemClock.now())
    }

    async fn call(
        &self,
        method: Method,
        target: &str,
        body: &str,
        tokens: &TokenSet,
    ) -> HttpAnswer {
        let call = OutgoingCall {
            method,
            target: &Target::raw(target, None).unwrap(),
            headers: HeaderMap::from_iter([(
                http::header::CONTENT_TYPE,
                "application/json".parse().unwrap(),
            )]),
            body: Bytes::from(body.to_owned()),
            idempotency_key: Some("call-1"),
        };
        let service = self.provider().service("api").unwrap();
        let request = service
            .call_request(&self.client().vars, call, &tokens.access)
            .unwrap();
        self.send(request).await
    }
}

#[tokio::test]
async fn connect_call_refresh_and_revoke() {
    let bench = Bench::new().await;
    let spec = &bench.provider().oauth;
    let first = bench.connect().await;
    assert_eq!(first.scopes, ["profile", "messages.read", "messages.write"]);
    assert!(first.expires_at.is_some());

    let who = identity_request(spec, &bench.client(), &first)
        .unwrap()
        .unwrap();
    let identity = parse_identity(spec, &bench.send(who).await).unwrap();
    assert_eq!(
        (identity.key.as_str(), identity.label.as_deref()),
        ("ada", Some("ada@sandbox.example"))
    );

    let second = bench.refresh(&first).await.unwrap();
    assert_ne!(
        second.refresh.as_ref().unwrap().expose_secret(),
        first.refresh.as_ref().unwrap().expose_secret()
    );
    // The same idempotency key: one message, whichever way it was asked for.
    for _ in 0..2 {
        let sent = bench
            .call(Method::POST, "/messages", r#"{"text":"hi"}"#, &second)
            .await;
        assert!(sent.status.is_success(), "{}", sent.status);
    }
    let list = bench.call(Method::GET, "/messages", "", &second).await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let hits = list["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["text"] == "hi");
    assert_eq!(hits.count(), 1, "{list}");

    for revoke in revoke_requests(spec, &bench.client(), &second).unwrap() {
        let answer = bench.send(revoke.request).await;
        let outcome = read_revocation(spec, &answer, SystemClock.now());
        assert_eq!(outcome, RevokeOutcome::Confirmed);
    }
    assert_eq!(bench.sandbox.grants_alive(), 0);
    let dead = bench.refresh(&second).await.unwrap_err();
    assert_eq!(
        (dead.class, dead.ended, dead.code.as_str()),
        (Class::Permanent, Ended::Refused, "invalid_grant")
    );
    assert_eq!(
        bench
            .call(Method::GET, "/me", "", &second)
            .await
            .status
            .as_u16(),
        401
    );
}

#[tokio::test]
async fn a_token_presented_twice_kills_the_grant_as_the_entry_says() {
    let bench = Bench::new().await;
    let first = bench.connect().await;
    let second = bench.refresh(&first).await.unwrap();
    assert!(bench.provider().oauth.rotation.rules().rotates);
    let reused = bench.refresh(&first).await.unwrap_err();
    assert_eq!(reused.class, Class::Permanent);
    assert_eq!(bench.sandbox.count(Counter::RefreshReuse), 1);
    assert!(bench.refresh(&second).await.is_err());
}
