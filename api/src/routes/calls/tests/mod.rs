//! Calls from the partner's request to the provider and back.

mod allowed;
mod named;
mod raw;
