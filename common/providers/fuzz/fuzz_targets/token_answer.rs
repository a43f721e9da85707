//! Any answer of a token endpoint.
#![no_main]

#[path = "../promises.rs"]
mod promises;

use std::sync::LazyLock;

use latchkey_providers::Catalog;
use libfuzzer_sys::fuzz_target;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::load(None).expect("it is tested"));

fuzz_target!(|body: &[u8]| {
    promises::token_answer(&CATALOG, body);
});
