//! The only sender of provider requests in the project.

use std::time::Duration;

use crate::{
    egress::Egress,
    message::{HttpAnswer, HttpRequest},
};

/// Limits of the sender that are the same for every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Longest time for resolving, connecting and TLS.
    pub connect_timeout: Duration,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_per_host: 32,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// Why there is no complete answer. The refresh protocol rests on this distinction (`architecture.md` §6.4).
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No byte of the request left this process, so the provider did nothing.
    #[error("the request was not sent: {reason}")]
    NotSent {
        /// Why.
        reason: NotSent,
        /// The cause, if another error is.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The request may have arrived; its answer did not.
    #[error("the answer was lost: {reason}")]
    Lost {
        /// Why.
        reason: Lost,
        /// The cause, if another error is.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The provider acted and answered more than we take.
    #[error("the answer (status {status}) is larger than {limit} bytes")]
    TooLarge {
        /// The status of the answer.
        status: u16,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The address is none, or not http(s).
    #[error("its address is not usable")]
    Address,
    /// The host is not one of the catalogue entry.
    #[error("its host does not belong to the provider")]
    Host,
    /// Plain http to an address outside the operator's list.
    #[error("plain http is allowed only to addresses of the egress list")]
    Plain,
    /// A private or special address outside the operator's list.
    #[error("its address is private and not in the egress list")]
    Private,
    /// The name did not resolve.
    #[error("the name did not resolve")]
    Dns,
    /// No connection, or no TLS, within the time.
    #[error("no connection could be made")]
    Connect,
}

/// Why an answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The time ran out.
    #[error("the time ran out")]
    TimedOut,
    /// The connection ended or broke.
    #[error("the connection broke")]
    Cut,
}

/// The sender. Clones share one pool of connections.
#[derive(Clone, Debug)]
pub struct ProviderHttp {
    _egress: Egress,
}

/// The sender could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be set up")]
pub struct SetupError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl ProviderHttp {
    /// A sender with these limits and this guard.
    pub fn new(limits: HttpLimits, egress: Egress) -> Result<Self, SetupError> {
        let _ = (limits, egress);
        unimplemented!()
    }

    /// Sends a request once and collects the answer: no redirects, no retries. `timeout` spans resolving to
    /// the last byte; `max_body` is in bytes.
    pub async fn send(
        &self,
        request: HttpRequest,
        timeout: Duration,
        max_body: usize,
    ) -> Result<HttpAnswer, HttpError> {
        let _ = (request, timeout, max_body);
        std::future::ready(()).await;
        unimplemented!()
    }
}
