//! One walk through an entry against the sandbox that speaks its dialect: consent, exchange, identity, refresh with
//! rotation as declared, an access token that ends during a call, every class of errors, the rate limit and its
//! recovery, every named endpoint, disconnection. It uses what Latchkey itself uses, so it is the entry that is
//! tried, not a copy. `latchkey provider try` shows it; the conformance suite runs it over every entry.

mod calls;
mod ending;
mod refreshing;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use latchkey_domain::{Clock, ManualClock, SystemEntropy, Timestamp};
use latchkey_oauth::{
    AllowedHosts, Asked, AuthorizeRequest, Client as OauthClient, CodeExchange, Egress, HttpAnswer,
    HttpLimits, HttpRequest, Identity, OauthSpec, Pkce, ProviderHttp, TokenError, TokenSet, Vars,
    answer::{TOKEN_ANSWER_BYTES, parse_tokens},
    authorize_url, check_issuer, exchange_request, identity_in_tokens, identity_request,
    parse_identity, parse_sites, refresh_request, sites_request,
    spec::CallbackCheck,
};
use latchkey_providers::{Catalog, Provider, captured, quirks};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use url::Url;

use crate::{
    Client, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, SandboxConfig, SandboxHandle,
    Settings,
};

const CALLBACK: &str = "http://127.0.0.1:9/api/v1/connect/callback/walk";
/// One request of a walk: the sandbox is on this machine.
const WITHIN: Duration = Duration::from_secs(20);
/// Largest answer of a named endpoint.
const ANSWER_BYTES: usize = 1024 * 1024;

type Params = Map<String, Value>;

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// What happened.
    pub told: String,
}

/// A step that did not go as the entry says.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{step}: {problem}")]
pub struct WalkError {
    /// The step.
    pub step: String,
    /// What was wrong.
    pub problem: String,
    /// The steps before it.
    pub taken: Vec<Step>,
}

/// What is walked through.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The entry as Latchkey reads it.
    pub entry: Provider,
    /// The entry as the sandbox plays it: the same, except where a test wants to see that a difference shows.
    pub played: Provider,
    /// Values for `{app.…}`.
    pub app: Params,
    /// Values for `{connection.…}`.
    pub connection: Params,
}

/// Everything that a walk needs while it goes on.
struct Walker {
    sandbox: SandboxHandle,
    clock: Arc<ManualClock>,
    http: ProviderHttp,
    entry: Provider,
    played: Provider,
    app: Params,
    given: Params,
    secret: SecretString,
    steps: Vec<Step>,
}

/// What one consent brought.
struct Connected {
    tokens: TokenSet,
    /// What was asked, and what the callback brought.
    params: Params,
    identity: Option<Identity>,
}

type Done<T> = Result<T, String>;

impl Walk {
    /// An entry as it is, with examples for what it asks.
    pub fn of(entry: &Provider) -> Self {
        Self {
            entry: entry.clone(),
            played: entry.clone(),
            app: examples(&entry.app_params),
            connection: examples(&entry.connection_params),
        }
    }

    /// Walks through every kind of application.
    ///
    /// # Errors
    /// The first step that did not go as the entry says.
    pub async fn run(self) -> Result<Vec<Step>, WalkError> {
        let kinds: Vec<Option<String>> = match self.entry.app_kinds.as_slice() {
            [] => vec![None],
            kinds => kinds.iter().map(|kind| Some(kind.name.clone())).collect(),
        };
        let mut steps = Vec::new();
        for (nth, kind) in kinds.into_iter().enumerate() {
            let mut walker = Walker::start(&self, kind.as_deref())
                .await
                .map_err(|problem| WalkError {
                    step: "start".to_owned(),
                    problem,
                    taken: Vec::new(),
                })?;
            let walked = walker.walk(nth == 0).await;
            let mut taken = std::mem::take(&mut walker.steps);
            walker.sandbox.stop().await;
            if let Some(kind) = &kind {
                for step in &mut taken {
                    step.name = format!("{kind}: {}", step.name);
                }
            }
            steps.append(&mut taken);
            walked.map_err(|error| WalkError {
                taken: steps.clone(),
                ..error
            })?;
        }
        Ok(steps)
    }
}

/// What is asked for, by example: the default, or a word that fits.
fn examples(params: &[latchkey_providers::Param]) -> Params {
    let value = |param: &latchkey_providers::Param| {
        let words = ["acme", "acme.example.com"];
        let fitting = words.into_iter().find(|word| param.takes(word));
        param
            .default
            .clone()
            .or(fitting.map(str::to_owned))
            .unwrap_or_default()
    };
    params
        .iter()
        .map(|param| (param.name.clone(), Value::from(value(param))))
        .collect()
}

impl Walker {
    async fn start(walk: &Walk, kind: Option<&str>) -> Done<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let config = SandboxConfig {
            settings: Settings {
                auto_consent: true,
                // No limit but where one is tried.
                dialect_budget: 1_000_000,
                ..Settings::default()
            },
            catalog: Some(Catalog::of([walk.played.clone()])),
            clients: vec![Client::default_client()],
            public_url: None,
        };
        let entropy = Arc::new(SystemEntropy);
        let sandbox = Sandbox::start(config, listener, clock.clone(), entropy).map_err(text)?;
        let led = Catalog::of([walk.entry.clone()]).in_sandbox(sandbox.base_url());
        let entry = led.get(&walk.entry.slug).cloned().ok_or("no such entry")?;
        let loopback = "127.0.0.0/8".parse().map_err(text)?;
        let http = ProviderHttp::new(HttpLimits::default(), Egress::new(vec![loopback]));
        let mut app = walk.app.clone();
        app.extend(kind.map(|kind| ("app_kind".to_owned(), Value::from(kind))));
        Ok(Self {
            sandbox,
            clock,
            http: http.map_err(text)?,
            entry,
            played: walk.played.clone(),
            app,
            given: walk.connection.clone(),
            secret: DEFAULT_CLIENT_SECRET.into(),
            steps: Vec::new(),
        })
    }

    async fn walk(&mut self, with_endpoints: bool) -> Result<(), WalkError> {
        let connected = self.connect().await;
        let connected = self.note("connect", connected, Connected::told)?;
        let refused = self.classes_of_errors(&connected).await;
        self.note("errors", refused, String::clone)?;
        if connected.tokens.is_refreshable() {
            let rotated = self.rotation().await;
            self.note("refresh", rotated, String::clone)?;
        }
        let expired = self.expiry().await;
        self.note("expiry", expired, String::clone)?;
        let limited = self.rate_limit().await;
        self.note("rate limit", limited, String::clone)?;
        if with_endpoints {
            let connected = self.connect().await;
            let connected = self.note("connect for calls", connected, Connected::told)?;
            for at in calls::endpoints(&self.entry) {
                let called = self.call_endpoint(&connected, at).await;
                let name = calls::name(&self.entry, at);
                self.note(&name, called, String::clone)?;
            }
        }
        let disconnected = self.disconnect().await;
        self.note("disconnect", disconnected, String::clone)?;
        Ok(())
    }

    /// Notes a step.
    fn note<T>(
        &mut self,
        name: &str,
        done: Done<T>,
        told: impl Fn(&T) -> String,
    ) -> Result<T, WalkError> {
        let done = done.map_err(|problem| WalkError {
            step: name.to_owned(),
            problem,
            taken: Vec::new(),
        })?;
        self.steps.push(Step {
            name: name.to_owned(),
            told: told(&done),
        });
        Ok(done)
    }

    fn spec(&self) -> &OauthSpec {
        self.entry.spec(&self.app)
    }

    fn client<'a>(&'a self, params: &'a Params, token: &'a Params) -> OauthClient<'a> {
        OauthClient {
            secret: Some(&self.secret),
            vars: Vars {
                client_id: DEFAULT_CLIENT_ID,
                app: &self.app,
                connection: params,
                token,
            },
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn send(&self, request: HttpRequest) -> Done<HttpAnswer> {
        self.http
            .send(request, WITHIN, ANSWER_BYTES)
            .await
            .map_err(text)
    }

    /// Every permission's scopes, and one of each class that has tokens of its own.
    fn scopes(&self) -> Done<Vec<String>> {
        let all: Vec<_> = self
            .entry
            .permissions()
            .map(|permission| permission.id.clone())
            .collect();
        let mut scopes = self.entry.scopes_for(&all, &[]).map_err(text)?;
        for class in &self.spec().response.tokens {
            if !class.scope_prefix.is_empty() {
                scopes.push(format!("{}search:read", class.scope_prefix));
            }
        }
        Ok(scopes)
    }

    /// Consents as a person would, and exchanges the code.
    async fn connect(&self) -> Done<Connected> {
        let (pkce, none, scopes) = (Pkce::new(&SystemEntropy), Params::new(), self.scopes()?);
        let client = self.client(&self.given, &none);
        let ask = AuthorizeRequest {
            redirect_uri: CALLBACK,
            scopes: &scopes,
            state: "state-of-forty-three-characters-as-ours-are",
            challenge: &pkce.challenge,
        };
        let url = authorize_url(self.spec(), &client, &ask).map_err(text)?;
        let back = self.browse(&url).await?;
        let params = self.examine(&back, &client)?;
        let code = value(&back, &self.spec().callback.code_param).ok_or_else(|| {
            format!(
                "no code came back: {}",
                value(&back, "error_description").unwrap_or_default()
            )
        })?;
        let exchange = CodeExchange {
            code: &code.into(),
            verifier: &pkce.verifier,
            redirect_uri: CALLBACK,
        };
        let client = self.client(&params, &none);
        let request = exchange_request(self.spec(), &client, &exchange).map_err(text)?;
        let answer = self
            .http
            .send(request, WITHIN, TOKEN_ANSWER_BYTES)
            .await
            .map_err(text)?;
        let asked = Asked::Code { scopes: &[] };
        let tokens = parse_tokens(self.spec(), &answer, asked, self.now()).map_err(text)?;
        let mut connected = Connected {
            tokens,
            params,
            identity: None,
        };
        self.check_tokens(&connected.tokens)?;
        self.identify(&mut connected).await?;
        Ok(connected)
    }

    /// The query that the browser brings back.
    async fn browse(&self, url: &Url) -> Done<Vec<(String, String)>> {
        let request = Request::builder().method(Method::GET).uri(url.as_str());
        let answer = self.send(HttpRequest {
            request: request.body(Bytes::new()).map_err(text)?,
            hosts: AllowedHosts::of([url]),
        });
        let answer = answer.await?;
        let location = answer
            .headers
            .get("location")
            .and_then(|value| value.to_str().ok());
        let location = location.ok_or("the authorization page sends nobody back")?;
        let location = Url::parse(location).map_err(text)?;
        Ok(location.query_pairs().into_owned().collect())
    }

    /// What the callback does: state, issuer, signature, captured values.
    fn examine(&self, back: &[(String, String)], client: &OauthClient<'_>) -> Done<Params> {
        let spec = self.spec();
        if value(back, "state").as_deref() != Some("state-of-forty-three-characters-as-ours-are") {
            return Err("the state did not come back".to_owned());
        }
        let iss = value(back, "iss");
        check_issuer(spec, &client.vars, iss.as_deref()).map_err(text)?;
        if spec.callback.check == Some(CallbackCheck::ShopifyHmac)
            && !quirks::shopify::is_signed(back, self.secret.expose_secret().as_bytes())
        {
            return Err("the callback is not signed".to_owned());
        }
        let mut params = self.given.clone();
        params.extend(captured(&spec.callback, back).map_err(text)?);
        Ok(params)
    }

    /// Whether the answer says what the entry says.
    fn check_tokens(&self, tokens: &TokenSet) -> Done<()> {
        let spec = self.spec();
        let life = tokens.expires_at.map(|at| self.now().until(at).as_secs());
        // Where the entry tells no life, the answer alone does.
        if spec.lifetimes.access_s.is_some() && life != spec.lifetimes.access_s {
            return Err(format!("the access token lives {life:?} s"));
        }
        let refresh_life = tokens
            .refresh_expires_at
            .map(|at| self.now().until(at).as_secs());
        let lifetimes = &spec.lifetimes;
        let declared = lifetimes
            .refresh_idle_s
            .or(lifetimes.refresh_s)
            .or(lifetimes.refresh_hard_s);
        if tokens.is_refreshable() && declared.is_some() && refresh_life != declared {
            return Err(format!("the refresh token lives {refresh_life:?} s"));
        }
        let granted = self.entry.granted(spec, &tokens.scopes);
        if let Some((permission, _)) = granted.iter().find(|(_, granted)| !**granted) {
            return Err(format!("{permission} was not granted: {:?}", tokens.scopes));
        }
        let classes = 1 + tokens.also.len();
        let wanted = self.played.spec(&self.app).response.tokens.len().max(1);
        if classes == wanted {
            Ok(())
        } else {
            Err(format!("{classes} tokens of {wanted}"))
        }
    }

    /// Who connected, and for which site.
    async fn identify(&self, connected: &mut Connected) -> Done<()> {
        let spec = self.spec();
        let said = identity_in_tokens(spec, &connected.tokens);
        let mut identity = said.transpose().map_err(text)?;
        if identity.is_none() {
            let client = self.client(&connected.params, &connected.tokens.extra);
            let request = identity_request(spec, &client, &connected.tokens).map_err(text)?;
            if let Some(request) = request {
                let answer = self.send(request).await?;
                let told = || String::from_utf8_lossy(&answer.body).into_owned();
                let found = parse_identity(spec, &answer);
                identity = Some(found.map_err(|error| format!("{error}: {}", told()))?);
            }
        }
        let labelled = spec
            .identity
            .as_ref()
            .is_none_or(|spec| spec.label.is_empty());
        if identity.as_ref().is_some_and(|who| who.label.is_none()) && !labelled {
            return Err("the identity has no label".to_owned());
        }
        connected.identity = identity;
        let client = self.client(&connected.params, &connected.tokens.extra);
        let request = sites_request(spec, &client, &connected.tokens).map_err(text)?;
        if let Some(request) = request {
            let answer = self.send(request).await?;
            let (name, id, _) = parse_sites(spec, &answer).map_err(text)?;
            connected.tokens.extra.insert(name, id.into());
        }
        Ok(())
    }

    /// Presents the refresh token of a set.
    async fn refresh(&self, from: &Connected) -> Done<Result<TokenSet, TokenError>> {
        let client = self.client(&from.params, &from.tokens.extra);
        let request = refresh_request(self.spec(), &client, &from.tokens).map_err(text)?;
        let answer = self
            .http
            .send(request, WITHIN, TOKEN_ANSWER_BYTES)
            .await
            .map_err(text)?;
        Ok(parse_tokens(
            self.spec(),
            &answer,
            Asked::Refresh(&from.tokens),
            self.now(),
        ))
    }

    /// Moves the sandbox's clock and ours.
    fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    fn settings(&self, change: impl FnOnce(&mut Settings)) -> Done<()> {
        self.sandbox.change(change).map(drop).map_err(text)
    }
}

impl Connected {
    fn told(&self) -> String {
        let who = self.identity.as_ref();
        let label = who
            .and_then(|who| who.label.as_deref())
            .unwrap_or("nobody in particular");
        let refresh = if self.tokens.is_refreshable() {
            "and a refresh token"
        } else {
            "no refresh token"
        };
        format!(
            "{label}: an access token {refresh}, {} scopes",
            self.tokens.scopes.len()
        )
    }
}

fn value(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.clone())
}

/// An error with all of its causes.
fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// The body of an answer as JSON; nothing for one that is none.
fn json(answer: &HttpAnswer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// No headers.
fn no_headers() -> HeaderMap {
    HeaderMap::new()
}
