//! Usage and what it costs, from the ledger: rolled up where that is settled, counted to this moment where not.

pub(crate) mod get;
pub(crate) mod statement;
#[cfg(test)]
mod tests;

use form_urlencoded::Serializer;
use latchkey_domain::Timestamp;

/// The path that lists the calls behind a line.
fn calls_url(
    provider: &str,
    service: &str,
    from: Timestamp,
    to: Timestamp,
    billed_only: bool,
) -> String {
    let mut query = Serializer::new(String::new());
    query
        .append_pair("provider", provider)
        .append_pair("service", service)
        .append_pair("from", &from.to_string())
        .append_pair("to", &to.to_string());
    if billed_only {
        query.append_pair("billed", "true");
    }
    format!("/api/v1/calls?{}", query.finish())
}
