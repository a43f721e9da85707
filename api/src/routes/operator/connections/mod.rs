//! Connections as the operator sees them: without tokens, with their history.

pub(crate) mod get;
#[cfg(test)]
mod tests;
