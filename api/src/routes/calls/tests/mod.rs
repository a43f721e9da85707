//! Calls from the partner's request to the provider and back.

mod allowed;
mod created;
mod named;
mod raw;
