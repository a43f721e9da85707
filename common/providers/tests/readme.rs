//! The catalogue file that the README shows is one.

use latchkey_providers::Catalog;

#[test]
fn the_readmes_provider_loads() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("### A provider of your own").unwrap();
    let (_, rest) = rest.split_once("```toml\n").unwrap();
    let (entry, _) = rest.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("acme.toml"), entry).unwrap();
    let catalog = Catalog::load(Some(directory.path())).unwrap();
    assert_eq!(catalog.get("acme").unwrap().display_name, "Acme");
}
