//! Any answer of a token endpoint, read for every entry: no panic, and no token that does not fit into a header.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use latchkey_domain::Timestamp;
use latchkey_oauth::{
    HttpAnswer,
    answer::{Asked, parse_tokens},
};
use latchkey_providers::Catalog;
use libfuzzer_sys::fuzz_target;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::load(None).expect("it is tested"));

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    let Ok(status) = StatusCode::from_u16(status % 600) else {
        return;
    };
    for provider in CATALOG.providers() {
        let answer = HttpAnswer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
            sent_bytes: 0,
        };
        let asked = Asked::Code { scopes: &[] };
        let now = Timestamp::from_secs(1_800_000_000);
        if let Ok(tokens) = parse_tokens(&provider.oauth, &answer, asked, now) {
            assert!(status.is_success());
            let bytes = tokens.to_bytes();
            drop(bytes);
        }
    }
});
