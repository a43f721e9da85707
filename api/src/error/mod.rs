//! [`ApiError`]: everything that a request can be refused with, and the one place where that becomes HTTP.
//!
//! A handler returns an `ApiError`; it travels as an extension of an empty response, and
//! [`crate::layers::frame`] renders it, because only that layer knows the request's id. What went wrong
//! inside (a source) is logged there, once, with its whole chain; the body never tells it.

mod code;

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use latchkey_domain::RequestId;
use latchkey_jobs::{PayloadError, PushError};
use latchkey_runtime::SealError;
use latchkey_store::StoreError;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use self::code::Code;
use crate::flowra::{self, Face};

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where: a member of the body (`metadata.plan`), a query parameter, or a header.
    #[schema(example = "external_id")]
    pub field: String,
    /// What is wrong and what would be right.
    #[schema(example = "must be 1 to 255 characters")]
    pub problem: String,
}

/// Why a request was refused. Handlers return it; clones share the source.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct ApiError {
    /// What programs read.
    pub code: Code,
    /// What people read: what is wrong and what to do about it.
    pub message: String,
    /// The fields that are wrong.
    pub details: Vec<FieldError>,
    /// Why a connection needs its user again.
    pub reason: Option<String>,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
    /// Further members of the body that a code brings (`reconnect`; `details` of a provider's refusal).
    pub also: Option<Arc<Map<String, Value>>>,
    /// What went wrong inside: logged, never told.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Wait before trying again when the store or a queue has no room: both are drained within seconds.
const COME_BACK: Duration = Duration::from_secs(5);

impl ApiError {
    /// A refusal with this text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            reason: None,
            retry_after: None,
            also: None,
            source: None,
        }
    }

    /// 400 with no field to name.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// 400 for one field.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        let (field, problem) = (field.into(), problem.into());
        Self {
            details: vec![FieldError {
                field: field.clone(),
                problem: problem.clone(),
            }],
            ..Self::invalid(format!("{field}: {problem}"))
        }
    }

    /// 404 for a thing of this name. Another partner's thing gives the very same.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// 500: a failure of ours. The source goes to the log.
    pub fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..Self::new(
                Code::Internal,
                "Latchkey failed to do this. Its log has the reason under this request id.",
            )
        }
    }

    /// 503: not now. The source goes to the log.
    pub fn unavailable(
        message: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..Self::new(Code::Unavailable, message).retry_after(COME_BACK)
        }
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With the reason why a connection needs its user.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With another member of the body.
    #[must_use]
    pub fn also(mut self, name: &str, value: Value) -> Self {
        let also = self.also.get_or_insert_default();
        Arc::make_mut(also).insert(name.to_owned(), value);
        self
    }

    /// Its HTTP response on this face, for the request of this id.
    pub(crate) fn render(&self, request_id: RequestId, face: Face) -> Response {
        let body = match face {
            Face::Supyagent => self.body(request_id),
            Face::Flowra => flowra::refusal(self, request_id),
        };
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code == Code::Unauthorized {
            // RFC 9110 §15.5.2 asks for it.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Who is refused for now is always told when to come back.
        let status = self.code.status();
        let passes = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        let soon = passes.contains(&status).then_some(COME_BACK);
        if let Some(wait) = self.retry_after.or(soon) {
            // Rounded up, so that a client that obeys is not early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }

    fn body(&self, request_id: RequestId) -> Vec<u8> {
        let body = ErrorBody {
            ok: False,
            error: &self.message,
            error_code: self.code,
            request_id: request_id.to_string(),
            reason: self.reason.as_deref(),
            details: &self.details,
            also: self.also.as_deref(),
        };
        // Texts and lists of texts always have a JSON form.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody<'a> {
    /// Always `false`.
    #[schema(value_type = bool, example = false)]
    ok: False,
    /// What is wrong, for people.
    error: &'a str,
    /// What is wrong, for programs.
    error_code: Code,
    /// Which request: say it when you ask for help.
    #[schema(example = "req_019aa000000070008000000000000000")]
    request_id: String,
    /// Why a connection needs its user again.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [FieldError],
    /// What a code brings beside.
    #[serde(flatten)]
    #[schema(ignore)]
    also: Option<&'a Map<String, Value>>,
}

/// `false` in JSON.
struct False;
impl Serialize for False {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bool(false)
    }
}

/// An empty response that carries the error to [`crate::layers::frame`].
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_full() || error.is_read_only() {
            Self::unavailable("Latchkey's store cannot be written at the moment.", error)
        } else if error.is_away() {
            Self::unavailable("Latchkey's store cannot be reached at the moment.", error)
        } else {
            Self::internal(error)
        }
    }
}

impl From<SealError> for ApiError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Store { source, .. } => source.into(),
            other => Self::internal(other),
        }
    }
}

impl From<PushError> for ApiError {
    fn from(error: PushError) -> Self {
        let message = match error {
            PushError::Full { .. } => {
                "Latchkey has more work than it can queue. Try again shortly."
            }
            PushError::Unavailable(_) => "Latchkey's queue cannot be reached at the moment.",
        };
        Self::unavailable(message, error)
    }
}

impl From<PayloadError> for ApiError {
    fn from(error: PayloadError) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_source_is_never_told() {
        let inner = std::io::Error::other("disk at /secret/path");
        let response = ApiError::internal(inner).render(RequestId::from_u128(1), Face::Supyagent);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 4096).await;
        assert!(!String::from_utf8_lossy(&body.unwrap()).contains("secret"));
    }
}
