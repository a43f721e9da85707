//! `Idempotency-Key` on every POST: the first answer is kept for a day, sealed under the partner's key, and
//! given again to the same request. A client that lost our answer can ask again without doing it twice.
//!
//! A request that surely did nothing frees its key ([`Code::did_nothing`]), so that it can be mended and
//! sent again. Work under a key runs to its end even if its client goes away: the answer must be there.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body as HttpBody, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use latchkey_domain::{PartnerId, RequestId};
use latchkey_jobs::frame;
use latchkey_store::{Begun, IdempotencyRow, IdempotencyState, KeyMode};
use latchkey_telemetry::Chain;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use crate::{
    auth::{Caller, Scope},
    error::{ApiError, Code},
    extract::{Id, read_body},
    flowra::Face,
    layers::guarded,
    state::Api,
};

/// How long an answer is kept (`api.md` §1).
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// After this long a request in flight counts as dead with its process. None of ours runs longer than a
/// `Prefer: wait=60`.
const LOCKED: Duration = Duration::from_secs(120);
/// Characters of a key. The header's draft asks for a unique value such as a UUID.
const MAX_KEY: usize = 255;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// On answers that were given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// One run under one key of one partner on one route.
#[derive(Clone, Debug)]
struct Once {
    /// The row as this run began it: another run that takes the key over has another beginning.
    row: IdempotencyRow,
    request_id: RequestId,
    face: Face,
}

/// The layer: does POSTs with a key once.
pub(crate) async fn once(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(key) = request
        .headers()
        .get(HEADER)
        .filter(|_| request.method() == Method::POST)
    else {
        return Ok(next.run(request).await);
    };
    let key = read_key(key)?;
    let (parts, body) = request.into_parts();
    let scope = parts.extensions.get::<Scope>().copied();
    let id = parts.extensions.get::<Id>().copied();
    let (Some(Scope(partner)), Some(Id(request_id))) = (scope, id) else {
        return Err(ApiError::new(Code::Internal, "This route has no caller."));
    };
    let body = read_body(&parts, body).await?;
    let route = format!("POST {}", parts.uri.path());
    let once = Once {
        row: new_row(&api, partner, route, key, request_hash(&parts, &body)),
        request_id,
        face: Face::of(&parts.uri, &parts.headers),
    };
    match api.ctx.store.begin_idempotent(&once.row).await? {
        Begun::Before(row) => replay(&api, &once, &row).await,
        Begun::Ours => {
            let request = Request::from_parts(parts, HttpBody::from(body));
            let work = once.run(Arc::clone(&api), request, next);
            let work = api.ctx.stopper.spawn_to_the_end(work.in_current_span());
            work.await.map_err(ApiError::internal)
        }
    }
}

fn read_key(value: &HeaderValue) -> Result<String, ApiError> {
    let text = value.to_str().unwrap_or_default().trim();
    if text.is_empty() || text.len() > MAX_KEY {
        return Err(ApiError::field(
            HEADER.as_str(),
            format!("must be 1 to {MAX_KEY} printable ASCII characters"),
        ));
    }
    Ok(text.to_owned())
}

/// Everything that makes a request the same one, each part with its length before it. The path is in the
/// route.
fn request_hash(parts: &Parts, body: &Bytes) -> [u8; 32] {
    let mut hash = Sha256::new();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let header = |name| {
        parts
            .headers
            .get(name)
            .map_or(&[][..], HeaderValue::as_bytes)
    };
    // A test key must not be shown what a live key was answered, such as a new live key.
    let caller = parts.extensions.get::<Caller>().and_then(Caller::partner);
    let test = caller.is_some_and(|partner| partner.mode == KeyMode::Test);
    let mode: &[u8] = if test { b"test" } else { b"" };
    for part in [
        query,
        header("x-account-id"),
        header("x-username"),
        body,
        mode,
    ] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The row of a run that begins now.
fn new_row(
    api: &Api,
    partner_id: PartnerId,
    route: String,
    key: String,
    request_hash: [u8; 32],
) -> IdempotencyRow {
    let now = api.ctx.now();
    IdempotencyRow {
        partner_id,
        route,
        key,
        request_hash,
        state: IdempotencyState::InFlight,
        status: None,
        answer: None,
        created_at: now,
        locked_until: now + LOCKED,
        expires_at: now + KEPT,
    }
}

impl Once {
    /// What a sealed answer is bound to.
    fn place(&self) -> String {
        format!("{} {}", self.row.route, self.row.key)
    }

    /// Does the work and keeps its answer.
    async fn run(self, api: Arc<Api>, request: Request, next: Next) -> Response {
        let response = guarded(request, next).await;
        let error = response.extensions().get::<ApiError>();
        if error.is_some_and(|error| error.code.did_nothing()) {
            let freed = api.ctx.store.forget_idempotent(&self.row).await;
            if let Err(error) = freed {
                tracing::warn!(error = %Chain(&error), "an idempotency key was not freed");
            }
            return response;
        }
        // An error is rendered by the outer layer; what is kept is the same rendering.
        if let Some(error) = error {
            let rendered = error.render(self.request_id, self.face);
            self.keep_or_log(&api, rendered).await;
            return response;
        }
        self.keep_or_log(&api, response).await
    }

    /// Keeps an answer and gives it on. The work is done: not keeping its answer must not turn it into a
    /// failure.
    async fn keep_or_log(&self, api: &Api, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let body = match to_bytes(body, usize::MAX).await {
            Ok(body) => body,
            Err(error) => return ApiError::internal(error).into_response(),
        };
        let headers = parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let headers: Vec<(String, String)> = headers.collect();
        if let Err(error) = self.keep(api, parts.status, &headers, &body).await {
            tracing::error!(error = %Chain(&error), "an idempotent answer was not kept");
        }
        Response::from_parts(parts, HttpBody::from(body))
    }

    async fn keep(
        &self,
        api: &Api,
        status: StatusCode,
        headers: &[(String, String)],
        body: &Bytes,
    ) -> Result<(), ApiError> {
        let plain = frame::pack(&headers, body).map_err(ApiError::internal)?;
        let sealer = &api.ctx.sealer;
        let place = self.place();
        let sealed = sealer
            .seal(
                self.row.partner_id,
                "idempotency_keys",
                "answer",
                &place,
                0,
                &plain,
            )
            .await?;
        let store = &api.ctx.store;
        let kept = store.complete_idempotent(&self.row, status.as_u16(), &sealed);
        if !kept.await? {
            tracing::warn!("an idempotency key was taken over while its first request ran");
        }
        Ok(())
    }
}

/// What a key that was used before answers.
async fn replay(api: &Api, once: &Once, row: &IdempotencyRow) -> Result<Response, ApiError> {
    if row.request_hash != once.row.request_hash {
        return Err(ApiError::new(
            Code::IdempotencyMismatch,
            "This Idempotency-Key was used with another request. Use a new key for a new request.",
        ));
    }
    let (IdempotencyState::Done, Some(status), Some(answer)) = (row.state, row.status, &row.answer)
    else {
        return Err(ApiError::new(
            Code::IdempotencyInFlight,
            "The first request with this Idempotency-Key is still running. Ask again shortly.",
        )
        .retry_after(Duration::from_secs(1)));
    };
    let sealer = &api.ctx.sealer;
    let place = once.place();
    let plain = sealer
        .open(
            once.row.partner_id,
            "idempotency_keys",
            "answer",
            &place,
            0,
            answer,
        )
        .await?;
    let (headers, body): (Vec<(String, String)>, _) =
        frame::unpack(plain.expose_secret()).map_err(ApiError::internal)?;
    let status = StatusCode::from_u16(status).map_err(ApiError::internal)?;
    let mut response = Response::new(HttpBody::from(body.to_vec()));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            // Several of one name stay several.
            response.headers_mut().append(name, value);
        }
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
