//! Turning a partner's request to a named endpoint into the provider's.

use ::http::Method;
use bytes::Bytes;

use crate::{catalog::EndpointMatch, target::Target};

/// A provider's request, without base address and token: what a job carries, sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct PlannedCall {
    /// The provider's method.
    pub method: Method,
    /// Path and query below the service's base address.
    pub target: Target,
    /// The content type of the body, if there is one.
    pub content_type: Option<String>,
    /// The body, empty if there is none.
    pub body: Bytes,
}

impl std::fmt::Debug for PlannedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedCall")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A partner's request that does not fit the endpoint: 400, with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A parameter is missing.
    #[error("'{0}' is required")]
    Missing(String),
    /// A parameter that the endpoint does not know.
    #[error("'{0}' is not a parameter of this endpoint")]
    Unknown(String),
    /// A value that does not fit.
    #[error("'{name}' {problem}")]
    Invalid {
        /// The parameter.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The body is no JSON object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A body where none is taken.
    #[error("this endpoint takes no body")]
    UnexpectedBody,
}

impl EndpointMatch<'_> {
    /// The provider's request. `query` holds decoded pairs; `body` is empty if none was sent.
    pub fn build(
        &self,
        query: &[(String, String)],
        body: &[u8],
    ) -> Result<PlannedCall, BuildError> {
        let _ = (query, body);
        unimplemented!()
    }
}
