//! One file a kind of job, of the same name as in `common/jobs/src/kinds`. Each implements
//! [`crate::register::Handler`] for its kind and is registered there.

mod adopt_credentials;
pub(crate) mod deliver_callback;
mod exchange_code;
mod provider_call;
mod refresh_grants;
mod revoke_grant;
