//! [`Reply`]: the envelope of success, `{"ok":true,"data":…}`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// Answers 200 with `{"ok":true,"data":…}`. For another status or headers: `(StatusCode, headers, Reply(..))`.
#[derive(Debug)]
pub(crate) struct Reply<T>(pub T);

/// What a handler returns.
pub(crate) type Result<T> = std::result::Result<T, ApiError>;

/// The envelope, for the OpenAPI document: `body = Envelope<Account>`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Envelope<T> {
    /// Always `true`.
    #[schema(example = true)]
    pub ok: bool,
    /// What was asked for.
    pub data: T,
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let envelope = Envelope {
            ok: true,
            data: self.0,
        };
        match serde_json::to_vec(&envelope) {
            Ok(body) => (StatusCode::OK, [(CONTENT_TYPE, JSON)], body).into_response(),
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `{"deleted":true}`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// Always `true`.
    #[schema(example = true)]
    pub deleted: bool,
}

impl Deleted {
    /// It is gone.
    pub(crate) const YES: Reply<Self> = Reply(Self { deleted: true });
}
