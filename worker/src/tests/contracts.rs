//! Each kind of job has a handler, and each handler a kind.

use std::collections::BTreeSet;

use latchkey_jobs::kinds;

use crate::register::HANDLERS;

#[test]
fn every_kind_has_a_line_and_a_file() {
    let kinds: BTreeSet<_> = kinds::all()
        .iter()
        .map(|info| info.kind.to_owned())
        .collect();
    let lines: BTreeSet<_> = HANDLERS
        .iter()
        .map(|entry| (entry.info)().kind.to_owned())
        .collect();
    assert_eq!(lines.len(), HANDLERS.len(), "a kind is registered twice");
    assert_eq!(lines, kinds);
    // Relative to the package, where tests run: a build folder may outlive the checkout it was filled from.
    let folder = "src/handlers";
    let files: BTreeSet<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "mod")
        .collect();
    assert_eq!(files, kinds);
}
