//! What the two parsers that read what others wrote promise of any input at all. The targets beside this file ask it
//! of inputs without end, `tests/mutated.rs` of some thousand with every run of the tests.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use latchkey_domain::Timestamp;
use latchkey_oauth::{
    HttpAnswer,
    answer::{Asked, parse_tokens},
};
use latchkey_providers::{Catalog, CatalogError};
use secrecy::ExposeSecret;

/// Statuses that token endpoints answer with.
const STATUSES: [StatusCode; 6] = [
    StatusCode::OK,
    StatusCode::CREATED,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Reads a body as the answer of each entry's token endpoint, with each status: no panic, tokens of successes alone,
/// no token that does not fit into a header, no error without a code. How often it was a success.
pub(crate) fn token_answer(catalog: &Catalog, body: &[u8]) -> usize {
    let now = Timestamp::from_secs(1_800_000_000);
    let mut read = 0;
    for status in STATUSES {
        for provider in catalog.providers() {
            let answer = HttpAnswer {
                status,
                headers: HeaderMap::new(),
                body: Bytes::copy_from_slice(body),
                sent_bytes: 0,
            };
            match parse_tokens(&provider.oauth, &answer, Asked::Code { scopes: &[] }, now) {
                Ok(tokens) => {
                    let access = tokens.access.expose_secret();
                    let fits = access.bytes().all(|byte| (0x20..=0x7E).contains(&byte));
                    assert!(status.is_success() && fits, "{}", provider.slug);
                    read += 1;
                }
                Err(error) => {
                    let told = !error.code.is_empty() && error.code.is_ascii();
                    assert!(told, "{}: {error:?}", provider.slug);
                }
            }
        }
    }
    read
}

/// Reads a text as a catalogue file: no panic, and an error names a line of it. Whether it was refused.
pub(crate) fn catalog_file(text: &str) -> bool {
    match Catalog::parse("changed.toml", text) {
        Ok(_) => false,
        Err(CatalogError::Entry { line, message, .. }) => {
            let lines = 1..=text.lines().count() + 1;
            assert!(lines.contains(&line), "{line}: {message}");
            true
        }
        Err(error) => panic!("{error}"),
    }
}
