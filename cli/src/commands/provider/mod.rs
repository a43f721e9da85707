//! `latchkey provider`: the catalogue as operators see it.

mod check;
mod list;
mod show;
mod try_out;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use latchkey_providers::{Catalog, Provider};

use crate::failure::asked_wrongly;

/// Which catalogue.
#[derive(Args, Debug)]
pub(crate) struct Files {
    /// A directory of entries of your own, beside those of the binary
    #[arg(long, value_name = "DIR", env = "LATCHKEY_CATALOG_DIR")]
    catalog_dir: Option<PathBuf>,
}

impl Files {
    fn load(&self) -> anyhow::Result<Catalog> {
        Ok(Catalog::load(self.catalog_dir.as_deref())?)
    }
}

/// See, check and try the providers that the catalogue describes
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(list::Arguments),
    Show(show::Arguments),
    Check(check::Arguments),
    Try(try_out::Arguments),
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(arguments) => list::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Try(arguments) => try_out::run(arguments).await,
    }
}

/// The entry of a slug, or of a file where that is named.
fn entry(files: &Files, named: &str) -> anyhow::Result<Provider> {
    let is_file = Path::new(named)
        .extension()
        .is_some_and(|extension| extension == "toml");
    if is_file {
        return Ok(Catalog::check_file(Path::new(named))?);
    }
    let catalog = files.load()?;
    let found = catalog.get(named).cloned();
    found.ok_or_else(|| {
        asked_wrongly(format!(
            "there is no provider '{named}'; latchkey provider list shows them"
        ))
    })
}
