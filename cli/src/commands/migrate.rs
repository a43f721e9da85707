//! `latchkey migrate`: brings the store's schema up to date without serving.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use latchkey_domain::SystemClock;
use latchkey_runtime::{DataDir, StartError};
use latchkey_store::{Store, StoreConfig};
use serde_json::json;

use crate::{output, settings::Place};

const EXAMPLES: &str = "\
Examples:
  latchkey migrate
  latchkey migrate --data-dir /var/lib/latchkey --json

A server does the same at its start; this command is for doing it at a time of your choice.";

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
    if config.is_fleet() {
        let text =
            "the fleet engine (DATABASE_URL, REDIS_URL) is not in this build yet; unset both";
        return Err(StartError::Unsupported(text.into()).into());
    }
    // A server that runs has migrated at its start: being refused here is right and says so.
    let _dir = DataDir::lock(&config.data_dir).context("cannot migrate")?;
    let path = config.data_dir.join("latchkey.db");
    let store = Store::open(StoreConfig::sqlite(&path, Arc::new(SystemClock))).await?;
    let before = store.is_migrated().await?;
    let migrated = store.migrate().await;
    store.close().await;
    migrated.context("nothing was half done: each migration is one transaction")?;
    if arguments.json {
        return output::json(&json!({ "store": path, "changed": !before }));
    }
    let done = if before {
        "was up to date already"
    } else {
        "is up to date now"
    };
    output::line(&format!("The schema of {} {done}.", path.display()))
}
