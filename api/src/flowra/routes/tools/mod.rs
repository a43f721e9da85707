//! `/tools`: the catalogue's named endpoints, and their execution.

pub(crate) mod execute;
pub(crate) mod get;
pub(crate) mod list;
