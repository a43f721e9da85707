//! `/operator/partners/{id}/keys`: for a partner that lost its keys.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod revoke;
