//! The endpoints: a folder per noun, a file per endpoint with its types, handler, OpenAPI and tests. What
//! the endpoints of a noun share is in its `mod.rs`.

pub(crate) mod accounts;
pub(crate) mod auth_configs;
pub(crate) mod calls;
pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod integrations;
pub(crate) mod jobs;
pub(crate) mod me;
pub(crate) mod operator;
pub(crate) mod partner;
pub(crate) mod partner_keys;
pub(crate) mod redirect_urls;
pub(crate) mod tools;
pub(crate) mod usage;
pub(crate) mod webhook_secret;
