//! [`Job`] and its parts: kind, urgency, outcome.

use std::{fmt, time::Duration};

use latchkey_domain::{JobId, PartnerId, ReplyId, RequestId, Timestamp, backoff::Backoff};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Which queue a job waits in. One queue and worker each, so that none waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Somebody waits for it.
    Interactive,
    /// Tokens that must be fresh before anyone needs them.
    Refresh,
    /// Everything that may take its time.
    Background,
}

impl Urgency {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Refresh, Self::Background];

    /// The form in the store, in logs and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Refresh => "refresh",
            Self::Background => "background",
        }
    }

    /// The urgency of this text, if it names one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|u| u.as_str() == text)
    }
}

/// A kind of job: a struct of ids, with what the runner must know as constants beside it.
pub trait JobKind: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stable name in rows, logs and metrics.
    const KIND: &'static str;
    /// Which queue it waits in.
    const URGENCY: Urgency;
    /// How long one attempt may take. Its claim on the row is prolonged meanwhile, while its worker lives.
    const TIMEOUT: Duration;
    /// Attempts before it is dead; a snooze spends none.
    const MAX_ATTEMPTS: u32;
    /// The wait between attempts where the handler names none.
    const BACKOFF: Backoff;

    /// The constants as a value.
    fn info() -> KindInfo {
        KindInfo {
            kind: Self::KIND,
            urgency: Self::URGENCY,
            timeout: Self::TIMEOUT,
            max_attempts: Self::MAX_ATTEMPTS,
            backoff: Self::BACKOFF,
        }
    }
}

/// The constants of a [`JobKind`] as a value.
#[derive(Clone, Copy, Debug)]
pub struct KindInfo {
    /// See [`JobKind::KIND`].
    pub kind: &'static str,
    /// See [`JobKind::URGENCY`].
    pub urgency: Urgency,
    /// See [`JobKind::TIMEOUT`].
    pub timeout: Duration,
    /// See [`JobKind::MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// See [`JobKind::BACKOFF`].
    pub backoff: Backoff,
}

impl KindInfo {
    /// How long an attempt takes at the most: the time-out, and 10 s to write the outcome.
    pub fn longest(&self) -> Duration {
        self.timeout + Duration::from_secs(10)
    }
}

/// One unit of asynchronous work on its way to a worker. Ids and sealed bytes only: no token, no code, no
/// readable body (`architecture.md` §3).
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its row, if it is durable; else an id for the logs.
    pub id: JobId,
    /// Which [`JobKind`] the payload is of.
    pub kind: String,
    /// Which queue it waits in.
    pub urgency: Urgency,
    /// Whose work it is.
    pub partner: PartnerId,
    /// The kind's struct as JSON.
    pub payload: String,
    /// A sealed request, where a caller's own content must travel.
    pub sealed: Option<Vec<u8>>,
    /// Where the answer goes if somebody waits.
    pub reply_to: Option<ReplyId>,
    /// When nobody waits any more: it is dropped then, never begun.
    pub deadline: Option<Timestamp>,
    /// Whether a row in `jobs` stands behind it and must be claimed first.
    pub durable: bool,
    /// When it was pushed.
    pub queued_at: Timestamp,
    /// The HTTP request that caused it, for the logs.
    pub request_id: Option<RequestId>,
}

/// A payload that is not of the kind its job names.
#[derive(Debug, thiserror::Error)]
#[error("job payload is not a {kind}")]
pub struct PayloadError {
    /// The kind that was asked for.
    pub kind: &'static str,
    #[source]
    source: serde_json::Error,
}

impl Job {
    /// A job of this kind with neither row, nor deadline, nor a waiting caller.
    ///
    /// # Errors
    /// [`PayloadError`] if the payload does not serialize (a map with keys that are no strings).
    pub fn new<K: JobKind>(
        id: JobId,
        partner: PartnerId,
        kind: &K,
        now: Timestamp,
    ) -> Result<Self, PayloadError> {
        let payload = serde_json::to_string(kind).map_err(|source| PayloadError {
            kind: K::KIND,
            source,
        })?;
        Ok(Self {
            id,
            kind: K::KIND.to_owned(),
            urgency: K::URGENCY,
            partner,
            payload,
            sealed: None,
            reply_to: None,
            deadline: None,
            durable: false,
            queued_at: now,
            request_id: None,
        })
    }

    /// The payload as its kind.
    ///
    /// # Errors
    /// [`PayloadError`] if it is another kind's.
    pub fn payload<K: JobKind>(&self) -> Result<K, PayloadError> {
        serde_json::from_str(&self.payload).map_err(|source| PayloadError {
            kind: K::KIND,
            source,
        })
    }

    /// What it weighs in a queue, in bytes.
    pub fn weight(&self) -> usize {
        self.payload.len() + self.kind.len() + self.sealed.as_ref().map_or(0, Vec::len) + 128
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("partner", &self.partner)
            .field("payload", &self.payload)
            .field("sealed_bytes", &self.sealed.as_ref().map(Vec::len))
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// How a handler ended a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished. The bytes are the sealed result for the job's row, if it keeps one.
    Done(Option<Vec<u8>>),
    /// Failed for now. Again after this wait, or after the kind's back-off; it spends an attempt.
    Retry {
        /// The wait, if the handler knows better than the back-off.
        after: Option<Duration>,
        /// What programs read: the code the job fails with if this was its last attempt.
        code: String,
        /// What happened, for the row and the log.
        error: String,
    },
    /// Not now; no attempt is spent.
    Snooze {
        /// When to try again.
        until: Timestamp,
        /// Why, for the log.
        reason: String,
    },
    /// Failed for good.
    Fail {
        /// A code of `api.md` §1 or a walk's own.
        code: String,
        /// What happened, for the row and the log.
        error: String,
        /// An answer worth keeping all the same, sealed like a result.
        result: Option<Vec<u8>>,
    },
}

impl Outcome {
    /// Finished without a result.
    pub const DONE: Self = Self::Done(None);

    /// Failed for now; the kind's back-off says when next.
    pub fn retry(code: impl Into<String>, error: impl fmt::Display) -> Self {
        Self::Retry {
            after: None,
            code: code.into(),
            error: error.to_string(),
        }
    }

    /// Failed for good.
    pub fn fail(code: impl Into<String>, error: impl fmt::Display) -> Self {
        Self::Fail {
            code: code.into(),
            error: error.to_string(),
            result: None,
        }
    }

    /// The word for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Retry { .. } => "retry",
            Self::Snooze { .. } => "snooze",
            Self::Fail { .. } => "fail",
        }
    }
}
