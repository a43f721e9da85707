//! Faults: what goes wrong at the next requests, switched on by tests (`POST /sandbox/faults`). A fault
//! stands around the act of a request: it may strike instead of it or after it, answer wrongly, hold the
//! answer back, or cut the connection for real.

use std::{
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Body, to_bytes},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use latchkey_domain::{SeededEntropy, entropy};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    counters::Counter,
    events::{EventKind, Happened},
    limits::{MAX_FAULTS, MAX_MADE_BODY},
    state::{Shared, lock},
};

/// Which requests a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every request to the token endpoint.
    Token,
    /// Refreshes.
    Refresh,
    /// Exchanges of a code.
    Exchange,
    /// Revocations.
    Revoke,
    /// The protected API.
    Api,
    /// The authorize endpoint.
    Authorize,
}

impl Target {
    fn covers(self, request: Self) -> bool {
        self == request
            || (self == Self::Token && matches!(request, Self::Refresh | Self::Exchange))
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// An error status.
    Fail {
        /// The status.
        status: u16,
        /// The body, sent as JSON; by default an OAuth `server_error`.
        #[serde(default)]
        body: Option<String>,
    },
    /// The connection is cut with nothing done and no byte of an answer.
    DropBefore,
    /// The request is acted on, then the connection is cut with no byte of an answer.
    DropAfterActing,
    /// The request is acted on and half of the answer's body is sent; then the connection is cut.
    DropMidAnswer,
    /// 429 with `Retry-After`.
    RateLimit {
        /// Its value in seconds.
        retry_after_s: u64,
    },
    /// Nothing happens until the faults are cleared; then the request goes on as if nothing was, unless
    /// its client was seen to go away before (counter `abandoned`).
    Hang,
    /// 200 with an HTML page, as a captive portal or a maintenance page does.
    Html,
    /// 200 that says JSON and holds bytes that are none.
    Garbage,
    /// 200 with an error inside, as Slack and GitHub do.
    ErrorIn200 {
        /// The value of `error`.
        code: String,
    },
    /// An OAuth error: 400 (401 for `invalid_client`) with this code; at the authorize endpoint, a
    /// redirect back with it.
    OauthError {
        /// The value of `error`.
        code: String,
    },
    /// 200 with a JSON body of this size.
    Big {
        /// Bytes, at most 64 MiB.
        bytes: usize,
    },
}

/// A fault and how often it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests it strikes.
    pub target: Target,
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many requests it strikes before it is gone.
    #[serde(default = "once")]
    pub count: u32,
    /// How likely it strikes a request, over 0 and up to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Seed of the draws when the probability is under 1: the same seed strikes the same requests.
    #[serde(default)]
    pub seed: u64,
    /// Whether the request is acted on before the fault strikes.
    #[serde(default)]
    pub after_acting: bool,
}

fn once() -> u32 {
    1
}

fn always() -> f64 {
    1.0
}

impl Fault {
    /// A fault that strikes the next request and does so before it is acted on.
    pub fn new(target: Target, kind: FaultKind) -> Self {
        Self {
            target,
            kind,
            count: once(),
            probability: always(),
            seed: 0,
            after_acting: false,
        }
    }

    /// The same fault for this many requests.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count, ..self }
    }

    /// The same fault, striking after the request was acted on.
    #[must_use]
    pub fn after_acting(self) -> Self {
        Self {
            after_acting: true,
            ..self
        }
    }

    fn check(&self) -> Result<(), FaultError> {
        match self.kind {
            FaultKind::Fail { status, .. } if !(400..=599).contains(&status) => {
                Err(FaultError::Status)
            }
            FaultKind::Big { bytes } if bytes > MAX_MADE_BODY => Err(FaultError::Size),
            _ if self.count == 0 => Err(FaultError::Count),
            _ if !(self.probability > 0.0 && self.probability <= 1.0) => {
                Err(FaultError::Probability)
            }
            _ => Ok(()),
        }
    }
}

/// A fault that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// Not an error status.
    #[error("status must be between 400 and 599")]
    Status,
    /// Too large a body.
    #[error("bytes must be at most {MAX_MADE_BODY}")]
    Size,
    /// A fault that never strikes.
    #[error("count must be at least 1")]
    Count,
    /// Not a probability.
    #[error("probability must be over 0 and at most 1")]
    Probability,
    /// Too many.
    #[error("at most {MAX_FAULTS} faults wait at once")]
    Full,
}

/// The faults that wait.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Whether any waits: what every request asks first.
    any: AtomicBool,
    waiting: Mutex<Vec<(Fault, SeededEntropy)>>,
    /// Changes when the faults are cleared.
    cleared: watch::Sender<()>,
}

/// A fault that strikes a request now.
#[derive(Debug)]
struct Strike {
    kind: FaultKind,
    after_acting: bool,
    cleared: watch::Receiver<()>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            waiting: Mutex::default(),
            cleared: watch::Sender::new(()),
        }
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> Result<(), FaultError> {
        fault.check()?;
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= MAX_FAULTS {
            return Err(FaultError::Full);
        }
        let draws = SeededEntropy::new(fault.seed);
        waiting.push((fault, draws));
        self.any.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Forgets all faults and lets the hanging requests go on.
    pub(crate) fn clear(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.clear();
        self.any.store(false, Ordering::SeqCst);
        self.cleared.send_replace(());
    }

    /// The faults that wait, with the counts that are left.
    pub(crate) fn list(&self) -> Vec<Fault> {
        let waiting = lock(&self.waiting);
        waiting.iter().map(|(fault, _)| fault.clone()).collect()
    }

    fn take(&self, request: Target) -> Option<Strike> {
        let mut waiting = lock(&self.waiting);
        let place = waiting.iter().position(|(fault, draws)| {
            fault.target.covers(request) && entropy::fraction(draws) < fault.probability
        })?;
        let fault = &mut waiting[place].0;
        fault.count -= 1;
        let strike = Strike {
            kind: fault.kind.clone(),
            after_acting: fault.after_acting,
            // Subscribed under the lock: a clearing from now on is seen.
            cleared: self.cleared.subscribe(),
        };
        if fault.count == 0 {
            waiting.remove(place);
            self.any.store(!waiting.is_empty(), Ordering::SeqCst);
        }
        Some(strike)
    }
}

/// Acts on a request unless a fault strikes it.
pub(crate) async fn under_faults(
    shared: &Shared,
    target: Target,
    act: impl Future<Output = Response>,
) -> Response {
    if !shared.faults.any.load(Ordering::Relaxed) {
        return act.await;
    }
    let Some(mut strike) = shared.faults.take(target) else {
        return act.await;
    };
    let detail = format!("{target:?} {:?}", strike.kind).into();
    let struck = Happened {
        detail,
        ..Happened::default()
    };
    shared.note(EventKind::Fault, struck);
    shared.counters.add(Counter::FaultsHit, 1);
    let mut act = pin!(act);
    let acts_first = strike.after_acting
        || matches!(
            strike.kind,
            FaultKind::DropAfterActing | FaultKind::DropMidAnswer
        );
    let acted = if acts_first {
        Some(act.as_mut().await)
    } else {
        None
    };
    match strike.kind {
        FaultKind::Hang => {
            tokio::select! {
                // An error means that the sandbox is gone, which cuts the connection as well.
                _ = strike.cleared.changed() => {}
                () = shared.stop.cancelled() => return cut(),
            }
            match acted {
                Some(answer) => answer,
                None => act.await,
            }
        }
        FaultKind::DropMidAnswer => match acted {
            Some(answer) => cut_midway(answer).await,
            None => cut(),
        },
        kind => wrong_answer(kind),
    }
}

/// On an answer: the OAuth error that a fault asks for, so that the authorize endpoint can redirect with it.
#[derive(Clone, Debug)]
pub(crate) struct ForcedError(pub(crate) String);

/// On an answer: do not send it, cut the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

fn wrong_answer(kind: FaultKind) -> Response {
    let error = |code: &str| {
        let text = "a fault of the sandbox";
        serde_json::json!({"ok": false, "error": code, "error_description": text}).to_string()
    };
    match kind {
        FaultKind::Fail { status, body } => {
            // Checked when the fault was added.
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            json(status, body.unwrap_or_else(|| error("server_error")))
        }
        FaultKind::RateLimit { retry_after_s } => {
            let mut answer = json(StatusCode::TOO_MANY_REQUESTS, error("rate_limited"));
            let value = HeaderValue::from(retry_after_s);
            answer.headers_mut().insert(header::RETRY_AFTER, value);
            answer
        }
        FaultKind::Html => {
            axum::response::Html("<!doctype html><title>Maintenance</title><p>Back soon.")
                .into_response()
        }
        FaultKind::Garbage => json(
            StatusCode::OK,
            Bytes::from_static(b"{\"access_token\":\xff\xfe"),
        ),
        FaultKind::ErrorIn200 { code } => json(StatusCode::OK, error(&code)),
        FaultKind::OauthError { code } => {
            let status = match code.as_str() {
                "invalid_client" => StatusCode::UNAUTHORIZED,
                _ => StatusCode::BAD_REQUEST,
            };
            let mut answer = json(status, error(&code));
            answer.extensions_mut().insert(ForcedError(code));
            answer
        }
        FaultKind::Big { bytes } => {
            let frame = r#"{"pad":""}"#;
            let pad = "x".repeat(bytes.saturating_sub(frame.len()));
            json(StatusCode::OK, format!(r#"{{"pad":"{pad}"}}"#))
        }
        FaultKind::DropBefore
        | FaultKind::DropAfterActing
        | FaultKind::DropMidAnswer
        | FaultKind::Hang => cut(),
    }
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, body.into()).into_response()
}

/// An answer that is never sent: the connection loop (`server.rs`) closes the socket instead.
fn cut() -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    answer.extensions_mut().insert(Cut);
    answer
}

/// Sends the head and half of the body, then cuts the connection.
async fn cut_midway(answer: Response) -> Response {
    let (head, body) = answer.into_parts();
    let Ok(all) = to_bytes(body, MAX_MADE_BODY).await else {
        return cut();
    };
    let half = all.slice(..all.len() / 2);
    let rest = async {
        // A turn in between lets the connection send what it has.
        tokio::task::yield_now().await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
    };
    let body = stream::iter([Ok(half)]).chain(stream::once(rest));
    let mut answer = Response::from_parts(head, Body::from_stream(body));
    let promised = HeaderValue::from(all.len());
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, promised);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(faults: &Faults, request: Target, of: usize) -> Vec<bool> {
        (0..of).map(|_| faults.take(request).is_some()).collect()
    }

    #[test]
    fn a_fault_strikes_its_target_as_often_as_told() {
        let faults = Faults::default();
        faults
            .add(Fault::new(Target::Token, FaultKind::Html).times(2))
            .unwrap();
        assert!(faults.take(Target::Api).is_none());
        assert_eq!(faults.list()[0].count, 2);
        assert!(faults.take(Target::Refresh).is_some());
        assert!(faults.take(Target::Exchange).is_some());
        assert!(faults.take(Target::Refresh).is_none());
        assert!(!faults.any.load(Ordering::SeqCst) && faults.list().is_empty());
        faults
            .add(Fault::new(Target::Refresh, FaultKind::Hang))
            .unwrap();
        assert!(faults.take(Target::Exchange).is_none());
    }

    #[test]
    fn chance_repeats_with_its_seed() {
        let draw = |seed| {
            let faults = Faults::default();
            let fault = Fault::new(Target::Api, FaultKind::DropBefore).times(1000);
            let fault = Fault {
                probability: 0.25,
                seed,
                ..fault
            };
            faults.add(fault).unwrap();
            struck(&faults, Target::Api, 400)
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let hits = draw(1).iter().filter(|hit| **hit).count();
        assert!((70..130).contains(&hits), "{hits} of 400 at a quarter");
    }

    #[test]
    fn impossible_faults_are_refused() {
        let faults = Faults::default();
        let fail = |status| FaultKind::Fail { status, body: None };
        let api = |kind| Fault::new(Target::Api, kind);
        let chance = Fault {
            probability: 0.0,
            ..api(FaultKind::Hang)
        };
        let big = FaultKind::Big {
            bytes: MAX_MADE_BODY + 1,
        };
        for fault in [
            api(fail(200)),
            api(big),
            api(FaultKind::Hang).times(0),
            chance,
        ] {
            assert!(faults.add(fault).is_err());
        }
    }
}
