//! A bounded run of what `fuzz/` does without end: the corpus, the fixtures and the catalogue, each changed in
//! seeded ways, through the two parsers that read what others wrote.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and tells what it counted"
)]

#[path = "../fuzz/promises.rs"]
mod promises;

use std::{fs, path::Path};

use latchkey_domain::{Entropy, SeededEntropy, entropy};
use latchkey_providers::Catalog;

/// Changed answers, each read with six statuses for each entry, and changed files.
const ANSWERS: usize = 1_000;
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
    walk(Path::new(folder), &mut found);
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
    let entropy = SeededEntropy::new(6);
    let read: usize = (0..ANSWERS)
        .map(|_| promises::token_answer(&catalog, &changed(&seeds, &entropy)))
        .sum();
    // The changes are small enough that some answers still are ones.
    assert!(read > 500, "{read}");
    println!(
        "{ANSWERS} bodies from {} seeds for {} entries, read {read} times",
        seeds.len(),
        catalog.providers().count()
    );
}

#[test]
fn no_catalogue_file_panics_and_an_error_names_a_line_of_it() {
    let mut seeds = below("catalog");
    seeds.extend(below("fuzz/corpus/catalog_file"));
    let (entropy, mut refused) = (SeededEntropy::new(6), 0);
    for _ in 0..FILES {
        let text = String::from_utf8_lossy(&changed(&seeds, &entropy)).into_owned();
        refused += usize::from(promises::catalog_file(&text));
    }
    assert!(refused > FILES / 4, "{refused}");
    println!(
        "{FILES} files from {} seeds, {refused} refused",
        seeds.len()
    );
}
