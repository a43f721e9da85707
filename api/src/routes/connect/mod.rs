//! Connect sessions: begun by the partner ([`create`]), followed by it ([`get`]), ended by the browser's return
//! ([`callback`]) and, where the partner confirms, by its backend ([`complete`]).

pub(crate) mod callback;
pub(crate) mod complete;
pub(crate) mod create;
mod exchange;
pub(crate) mod get;
pub(crate) mod landing;
#[cfg(test)]
mod tests;

use latchkey_domain::{Timestamp, states::SessionStatus};
use latchkey_store::SessionRow;
use serde::Serialize;
use utoipa::ToSchema;

use crate::openapi::Time;

/// What a 404 calls a session.
const SESSION: &str = "connect session";

/// A connect session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectSession {
    /// Its id.
    #[schema(example = "019aa000-0000-7000-8000-000000000000")]
    session_id: String,
    /// The provider to be connected.
    #[schema(example = "google")]
    provider: String,
    /// `pending`, `authorizing`, `awaiting_confirmation`, `exchanging`, `completed`, `failed` or `expired`.
    #[schema(value_type = String, example = "pending")]
    status: SessionStatus,
    /// Why it failed or expired: the code that the redirect carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "access_denied")]
    error: Option<String>,
    /// When it was made.
    created_at: Time,
    /// When it ends by itself.
    expires_at: Time,
}

impl ConnectSession {
    /// As partners see it now: one whose time is over is expired, whether or not that was swept yet.
    fn of(row: SessionRow, now: Timestamp) -> Self {
        let is_over = row.expires_at <= now && row.status.may_become(SessionStatus::Expired);
        let (status, error) = if is_over {
            (SessionStatus::Expired, Some(landing::EXPIRED.to_owned()))
        } else {
            (row.status, row.error)
        };
        Self {
            session_id: row.id.to_string(),
            provider: row.provider,
            status,
            error,
            created_at: Time(row.created_at),
            expires_at: Time(row.expires_at),
        }
    }
}
