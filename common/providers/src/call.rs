//! The last step before a provider call is sent: base address, required headers, token.

use ::http::{HeaderMap, Method};
use bytes::Bytes;
use latchkey_oauth::{HttpRequest, RequestError, Vars};
use secrecy::SecretString;

use crate::{
    entry::{Provider, Service},
    target::{Target, TargetError},
};

/// A call as it leaves its job.
pub struct OutgoingCall<'a> {
    /// The provider's method.
    pub method: Method,
    /// Where below the service.
    pub target: &'a Target,
    /// Headers of the partner that are handed on: [`forward_headers`] has filtered them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// A key for the provider's idempotency header, if the service has one.
    pub idempotency_key: Option<&'a str>,
}

/// A call that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Entry and auth config do not fit.
    #[error("the service's address cannot be built")]
    Request(#[from] RequestError),
    /// The path leaves the service.
    #[error("the target is refused")]
    Target(#[from] TargetError),
    /// A value does not fit into a header.
    #[error("a value does not fit into a header")]
    Header(#[from] ::http::Error),
}

impl Provider {
    /// The request to send, with the access token in place.
    pub fn call_request(
        &self,
        service: &Service,
        vars: &Vars<'_>,
        call: OutgoingCall<'_>,
        access: &SecretString,
    ) -> Result<HttpRequest, CallError> {
        let _ = (service, vars, call, access);
        unimplemented!()
    }
}

/// The headers of a partner's request that go on to the provider: not ours, not hop-by-hop, no cookies, no
/// credentials.
pub fn forward_headers(headers: &HeaderMap) -> HeaderMap {
    let _ = headers;
    unimplemented!()
}

/// The headers of a provider's answer that go on to the partner: not hop-by-hop, no cookies.
pub fn answer_headers(headers: &HeaderMap) -> HeaderMap {
    let _ = headers;
    unimplemented!()
}
