//! The routes of Flowra's API: one endpoint, one file, as on the other side.

pub(crate) mod auth_configs;
pub(crate) mod connected_accounts;
pub(crate) mod external_users;
pub(crate) mod toolkits;
pub(crate) mod tools;
pub(crate) mod usage;
