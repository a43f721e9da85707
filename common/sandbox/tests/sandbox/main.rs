//! The sandbox as its clients see it: real sockets, a real HTTP client, one module for each group of
//! routes.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "these are tests: a panic is their report, and they export nothing"
)]

mod admin;
mod api;
mod authorize;
mod client;
mod faults;
mod lifecycle;
mod token;
