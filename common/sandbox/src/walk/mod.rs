//! One walk through an entry against the sandbox that speaks its dialect: consent, exchange, identity, refresh with
//! rotation as declared, an access token that ends during a call, every class of errors, the rate limit and its
//! recovery, every named endpoint, disconnection. It uses what Latchkey itself uses, so it is the entry that is
//! tried, not a copy. `latchkey provider try` shows it; the conformance suite runs it over every entry.

mod calls;
mod connecting;
mod ending;
mod refreshing;

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderMap;
use latchkey_domain::{Clock, ManualClock, SystemEntropy, Timestamp};
use latchkey_oauth::{
    Asked, Client as OauthClient, Egress, HttpAnswer, HttpLimits, HttpRequest, Identity, OauthSpec,
    ProviderHttp, TokenError, TokenSet, Vars,
    answer::{TOKEN_ANSWER_BYTES, parse_tokens},
    refresh_request,
};
use latchkey_providers::{Catalog, Provider};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use crate::{
    Client, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, SandboxConfig, SandboxHandle,
    Settings,
};

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
            let mut walked = Box::pin(walker.walk(nth == 0)).await;
            let mut taken = std::mem::take(&mut walker.steps);
            let crowds = walker.spec().lifetimes.max_live_grants.is_some();
            walker.sandbox.stop().await;
            if walked.is_ok() && crowds {
                walked = Box::pin(self.crowd(kind.as_deref(), &mut taken)).await;
            }
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

    /// More grants than a user may have, at a provider that has none yet.
    async fn crowd(&self, kind: Option<&str>, taken: &mut Vec<Step>) -> Result<(), WalkError> {
        let name = "too many grants";
        let crowded = match Walker::start(self, kind).await {
            Ok(walker) => {
                let crowded = walker.too_many_grants().await;
                walker.sandbox.stop().await;
                crowded
            }
            Err(problem) => Err(problem),
        };
        let told = crowded.map_err(|problem| WalkError {
            step: name.to_owned(),
            problem,
            taken: Vec::new(),
        })?;
        taken.push(Step {
            name: name.to_owned(),
            told,
        });
        Ok(())
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
            let shared = self.sharing().await;
            self.note("sharing", shared, String::clone)?;
            let ended = self.refresh_ends().await;
            self.note("refresh token's end", ended, String::clone)?;
        }
        let expired = self.expiry().await;
        self.note("expiry", expired, String::clone)?;
        if self.spec().token.code_ttl_s.is_some() {
            let late = self.late_code().await;
            self.note("late code", late, String::clone)?;
        }
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
