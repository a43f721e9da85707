//! The shapes that Flowra's answers have in common. Lists of connected accounts and tool results are bare
//! objects; everything else is in one of these.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use latchkey_domain::RequestId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, FieldError};

/// What `message` says where nothing needs to be said.
const DONE: &str = "Operation completed successfully";

/// A bare JSON body with a status.
#[derive(Debug)]
pub(crate) struct Bare<T>(pub(crate) StatusCode, pub(crate) T);

impl<T> Bare<T> {
    /// 200.
    pub(crate) const fn ok(body: T) -> Self {
        Self(StatusCode::OK, body)
    }

    /// 201.
    pub(crate) const fn created(body: T) -> Self {
        Self(StatusCode::CREATED, body)
    }
}

impl<T: Serialize> IntoResponse for Bare<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.1) {
            Ok(body) => {
                let json = HeaderValue::from_static("application/json");
                (self.0, [(CONTENT_TYPE, json)], body).into_response()
            }
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

/// It was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Simple {
    /// Always `true`.
    #[schema(example = true)]
    success: bool,
    /// For people.
    #[schema(example = "Operation completed successfully")]
    message: &'static str,
}

impl Simple {
    /// The answer.
    pub(crate) const DONE: Bare<Self> = Bare::ok(Self {
        success: true,
        message: DONE,
    });
}

/// One thing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct One<T> {
    /// Always `true`.
    #[schema(example = true)]
    success: bool,
    /// For people.
    #[schema(example = "Operation completed successfully")]
    message: &'static str,
    /// The thing.
    data: T,
}

impl<T> One<T> {
    /// The answer with this thing.
    pub(crate) const fn of(data: T) -> Bare<Self> {
        Bare::ok(Self {
            success: true,
            message: DONE,
            data,
        })
    }
}

/// A page of things, counted from 1.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the published names")]
pub(crate) struct Page<T> {
    /// Always `true`.
    #[schema(example = true)]
    success: bool,
    /// For people.
    #[schema(example = "Operation completed successfully")]
    message: &'static str,
    /// The things on this page.
    data: Vec<T>,
    /// How many there are in all.
    total: u64,
    /// Which page this is.
    page: u32,
    /// How many a page holds.
    limit: u32,
    /// How many pages there are.
    total_pages: u64,
    /// Whether another follows.
    has_next_page: bool,
    /// Whether one goes before.
    has_previous_page: bool,
}

impl<T> Page<T> {
    /// The page that `paging` asked for, out of `total`.
    pub(crate) fn of(data: Vec<T>, total: u64, paging: super::query::Paging) -> Bare<Self> {
        let limit = u64::from(paging.limit.max(1));
        let seen = u64::from(paging.offset) + data.len() as u64;
        Bare::ok(Self {
            success: true,
            message: DONE,
            total,
            page: paging.page,
            limit: paging.limit,
            total_pages: total.div_ceil(limit),
            has_next_page: !data.is_empty() && seen < total,
            has_previous_page: paging.offset > 0,
            data,
        })
    }
}

/// A refusal in Flowra's shape.
#[derive(Serialize, ToSchema)]
#[schema(as = FlowraError)]
pub(crate) struct Refusal<'a> {
    /// What is wrong, for people.
    message: &'a str,
    /// The same for programs.
    error: RefusalBody<'a>,
}

/// What is wrong, for programs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FlowraErrorBody)]
struct RefusalBody<'a> {
    /// What is wrong, for people.
    message: &'a str,
    /// One of the codes of this API.
    #[schema(example = "INVALID_REQUEST")]
    code: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// Which request: say it when you ask for help.
    #[schema(example = "req_019aa000000070008000000000000000")]
    request_id: String,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [FieldError],
    /// Why a connection needs its user again.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The body of a refusal.
pub(crate) fn refusal(error: &ApiError, request_id: RequestId) -> Vec<u8> {
    let body = Refusal {
        message: &error.message,
        error: RefusalBody {
            message: &error.message,
            code: error.code.as_str(),
            status: error.code.status().as_u16(),
            request_id: request_id.to_string(),
            details: &error.details,
            reason: error.reason.as_deref(),
        },
    };
    // Texts and numbers always have a JSON form.
    serde_json::to_vec(&body).unwrap_or_default()
}
