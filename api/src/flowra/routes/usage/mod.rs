//! `/usage` in Flowra's shape, from the same ledger.

pub(crate) mod balance;
pub(crate) mod list;
