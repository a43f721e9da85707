//! The HTTP API: requests in; answers, 202s and redirects out. It checks who asks ([`auth`]), what is asked
//! ([`extract`]), keeps first answers of POSTs ([`idempotency`]), and hands work to the queue. It never
//! calls a provider and never sees a token.
//!
//! One endpoint is one file under `routes/` with its types, handler, OpenAPI and tests, and one line in
//! [`router`]'s table. The document at `/api/v1/openapi.json` is made from the same lines.

#![expect(
    clippy::option_option,
    reason = "in a PATCH, absent, null and a value are three different things"
)]

mod audit;
mod auth;
mod check;
#[cfg(test)]
mod coverage;
mod docs;
mod durable;
mod error;
mod extract;
mod flowra;
mod idempotency;
mod layers;
mod limits;
mod openapi;
mod pages;
mod reach;
mod redirect;
mod reply;
mod router;
mod routes;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod walking;

pub use error::{ApiError, Code, FieldError};
pub use router::{operator_router, router, routers};
