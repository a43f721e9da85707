//! `latchkey migrate`: brings the store's schema up to date without serving.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use latchkey_domain::SystemClock;
use latchkey_runtime::{DataDir, fleet};
use latchkey_store::{Schema, Store, StoreConfig};
use serde_json::json;

use crate::{output, settings::Place};

const EXAMPLES: &str = "\
Examples:
  latchkey migrate
  latchkey migrate --data-dir /var/lib/latchkey --json

On the embedded engine a server does the same at its start. In a fleet it refuses to start on a schema that is
behind: migrate once, before the first server of a new version starts; servers of the old one go on meanwhile.";

/// Bring the store's schema up to date
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.place.load(&[])?;
    let clock = Arc::new(SystemClock);
    let (_dir, store, shown) = if config.is_fleet() {
        let store = fleet::open_store(&config, clock).await?;
        (None, store, "the database".to_owned())
    } else {
        // A server that runs has migrated at its start: being refused here is right and says so.
        let dir = DataDir::lock(&config.data_dir).context("cannot migrate")?;
        let path = config.data_dir.join("latchkey.db");
        let store = Store::open(StoreConfig::sqlite(&path, clock)).await?;
        (Some(dir), store, path.display().to_string())
    };
    // A database that a newer version migrated has all of ours: there is nothing to do.
    let before = !matches!(store.schema().await?, Schema::Behind { .. });
    let migrated = if before {
        Ok(())
    } else {
        store.migrate().await
    };
    store.close().await;
    migrated.context("nothing was half done: each migration is one transaction")?;
    if arguments.json {
        return output::json(&json!({ "store": shown, "changed": !before }));
    }
    let done = if before {
        "was up to date already"
    } else {
        "is up to date now"
    };
    output::line(&format!("The schema of {shown} {done}."))
}
