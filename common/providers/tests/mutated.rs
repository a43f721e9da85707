//! A bounded run of what `fuzz/` does without end: the corpus, the fixtures and the catalogue, each changed in
//! seeded ways, through the two parsers that read what others wrote.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{fs, path::Path};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use latchkey_domain::{Entropy, SeededEntropy, Timestamp, entropy};
use latchkey_oauth::{
    HttpAnswer,
    answer::{Asked, parse_tokens},
};
use latchkey_providers::{Catalog, CatalogError};
use secrecy::ExposeSecret;

/// Changed answers read for each entry, and changed files.
const ANSWERS: usize = 3_000;
const FILES: usize = 400;

/// Every file below a folder of this crate.
fn below(folder: &str) -> Vec<Vec<u8>> {
    fn walk(folder: &Path, found: &mut Vec<Vec<u8>>) {
        let mut entries: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(fs::read(path).unwrap());
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
        &mut found,
    );
    found
}

fn number(entropy: &dyn Entropy, below: usize) -> usize {
    let bytes = entropy::bytes::<8>(entropy);
    usize::try_from(u64::from_le_bytes(bytes) % u64::try_from(below.max(1)).unwrap()).unwrap()
}

/// One to four changes: a byte set, a piece cut, a piece put twice, a piece of another seed, an odd word.
fn changed(seeds: &[Vec<u8>], entropy: &dyn Entropy) -> Vec<u8> {
    const ODD: [&[u8]; 8] = [
        b"null", b"{}", b"[[", b"\"\"", b"-1", b"1e400", b"\xff", b"\n",
    ];
    let mut text = seeds[number(entropy, seeds.len())].clone();
    for _ in 0..=number(entropy, 3) {
        let at = number(entropy, text.len());
        let end = (at + 1 + number(entropy, 20)).min(text.len());
        match number(entropy, 5) {
            0 if !text.is_empty() => text[at.min(end - 1)] = entropy::bytes::<1>(entropy)[0],
            1 => drop(text.drain(at.min(end)..end)),
            2 => {
                let piece = text[at.min(end)..end].to_vec();
                text.splice(at..at, piece);
            }
            3 => {
                let other = &seeds[number(entropy, seeds.len())];
                let from = number(entropy, other.len());
                let piece = &other[from..(from + 30).min(other.len())];
                text.splice(at..at, piece.iter().copied());
            }
            _ => {
                let word = ODD[number(entropy, ODD.len())];
                text.splice(at..at, word.iter().copied());
            }
        }
    }
    text
}

#[test]
fn no_answer_of_a_token_endpoint_panics_and_no_token_breaks_a_header() {
    let catalog = Catalog::load(None).unwrap();
    let mut seeds = below("fuzz/corpus/token_answer");
    for fixture in below("fixtures") {
        let cases: Vec<serde_json::Value> = serde_json::from_slice(&fixture).unwrap_or_default();
        let bodies = cases.iter().filter_map(|case| case.get("body"));
        seeds.extend(bodies.map(|body| {
            body.as_str()
                .map_or_else(|| body.to_string(), str::to_owned)
                .into_bytes()
        }));
    }
    assert!(seeds.len() > 150, "{}", seeds.len());
    let (entropy, now, mut read) = (
        SeededEntropy::new(6),
        Timestamp::from_secs(1_800_000_000),
        0,
    );
    for nth in 0..ANSWERS {
        let body = changed(&seeds, &entropy);
        let status = [200, 200, 400, 401, 429, 503][nth % 6];
        for provider in catalog.providers() {
            let answer = HttpAnswer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Bytes::from(body.clone()),
                sent_bytes: 0,
            };
            match parse_tokens(&provider.oauth, &answer, Asked::Code { scopes: &[] }, now) {
                Ok(tokens) => {
                    read += 1;
                    let plain =
                        |token: &str| token.bytes().all(|byte| (0x20..=0x7E).contains(&byte));
                    assert!(status == 200 && plain(tokens.access.expose_secret()));
                }
                Err(error) => assert!(!error.code.is_empty() && error.code.is_ascii()),
            }
        }
    }
    // The changes are small enough that some answers still are ones.
    assert!(read > 500, "{read}");
    println!(
        "{} answers from {} seeds, {read} of them read",
        ANSWERS * catalog.providers().count(),
        seeds.len()
    );
}

#[test]
fn no_catalogue_file_panics_and_an_error_names_a_line_of_it() {
    let mut seeds = below("catalog");
    seeds.extend(below("fuzz/corpus/catalog_file"));
    let (entropy, mut refused) = (SeededEntropy::new(6), 0);
    for _ in 0..FILES {
        let text = String::from_utf8_lossy(&changed(&seeds, &entropy)).into_owned();
        if let Err(error) = Catalog::parse("changed.toml", &text) {
            refused += 1;
            let CatalogError::Entry { line, message, .. } = error else {
                panic!("{error}")
            };
            assert!(
                (1..=text.lines().count() + 1).contains(&line),
                "{line}: {message}"
            );
        }
    }
    assert!(refused > FILES / 4, "{refused}");
    println!(
        "{FILES} files from {} seeds, {refused} refused",
        seeds.len()
    );
}
