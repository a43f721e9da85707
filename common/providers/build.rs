//! Embeds every file of `catalog/`, so that adding a provider is adding its file.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=catalog");
    let mut names = Vec::new();
    // Cargo runs this in the crate's folder.
    for entry in fs::read_dir("catalog")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|end| end == "toml") {
            names.push(name.into_owned());
        }
    }
    names.sort();
    let mut code = String::from("&[\n");
    for name in names {
        // No absolute path: a checkout that was moved, or a build folder that two share, keeps what is written here.
        let place = format!("/catalog/{name}");
        writeln!(
            code,
            "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {place:?}))),"
        )
        .map_err(io::Error::other)?;
    }
    code.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("catalog.rs"), code)
}
