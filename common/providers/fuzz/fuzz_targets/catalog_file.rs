//! Any catalogue file: no panic, and an error names a line of the file.
#![no_main]

use latchkey_providers::{Catalog, CatalogError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(CatalogError::Entry { line, .. }) = Catalog::parse("fuzz.toml", text) {
        assert!((1..=text.lines().count() + 1).contains(&line));
    }
});
