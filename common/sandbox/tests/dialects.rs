//! The conformance suite: every entry of the catalogue walked through against the sandbox that speaks its dialect,
//! none skipped; and the proof that the walk is strict, by entries that are wrong in one field each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and tells what it counted"
)]

use latchkey_providers::{Catalog, Provider};
use latchkey_sandbox::walk::Walk;

/// The entries that have a dialect: all but the sandbox's own, which its own tests cover.
fn entries() -> Vec<Provider> {
    let catalog = Catalog::load(None).unwrap();
    let all = catalog
        .providers()
        .filter(|provider| provider.slug != "sandbox");
    all.cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_is_walked_through() {
    let entries = entries();
    assert_eq!(entries.len(), 28);
    let (mut failed, mut endpoints, mut steps) = (Vec::new(), 0, 0);
    for entry in &entries {
        match Box::pin(Walk::of(entry).run()).await {
            Ok(taken) => {
                let called = |step: &&latchkey_sandbox::walk::Step| step.name.contains('.');
                endpoints += taken.iter().filter(called).count();
                steps += taken.len();
            }
            Err(error) => failed.push(format!("{}: {error}", entry.slug)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let declared = entries.iter().flat_map(|entry| &entry.services);
    let declared: usize = declared.map(|service| service.endpoints.len()).sum();
    assert_eq!(endpoints, declared, "each named endpoint once");
    // `cargo nextest run … --no-capture` shows what was counted.
    println!(
        "{} entries, {endpoints} endpoints, {steps} steps",
        entries.len()
    );
}

/// The file that the README tells newcomers to begin with walks as it stands.
#[tokio::test]
async fn the_readmes_provider_is_walked_through() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("### A provider of your own").unwrap();
    let (_, rest) = rest.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let entry = Catalog::parse("acme.toml", text).unwrap();
    let steps = Box::pin(Walk::of(&entry).run()).await.unwrap();
    assert_eq!(steps.len(), 11, "{steps:?}");
}

mod fields;
mod mutations;

/// Every entry, wrong in one field, must fail the walk: what the suite does not notice, a provider would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_wrong_in_one_field_fails() {
    let (mut survivors, mut killed, mut used) = (Vec::new(), 0, std::collections::BTreeSet::new());
    for entry in &entries() {
        for mutation in mutations::ALL {
            let mut wrong = entry.clone();
            if !(mutation.apply)(&mut wrong) {
                continue;
            }
            wrong.derive_kinds();
            used.insert(mutation.name);
            let walk = Walk {
                entry: wrong,
                ..Walk::of(entry)
            };
            match Box::pin(walk.run()).await {
                Ok(_) => survivors.push(format!("{}: {}", entry.slug, mutation.name)),
                Err(_) => killed += 1,
            }
        }
    }
    assert!(
        survivors.is_empty(),
        "not noticed:\n{}",
        survivors.join("\n")
    );
    let unused: Vec<_> = mutations::ALL
        .iter()
        .filter(|m| !used.contains(m.name))
        .map(|m| m.name)
        .collect();
    assert!(
        unused.is_empty(),
        "no entry has what these change: {unused:?}"
    );
    println!("{killed} wrong entries, none unnoticed");
}
