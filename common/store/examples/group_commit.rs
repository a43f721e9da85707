//! Prints how many receipts per second the group-commit writer makes, and how many raw transactions make
//! in the same run: `cargo run --release -p latchkey-store --example group_commit [URL]`. Without a URL it
//! uses a fresh SQLite file under the current directory's file system.

use std::sync::Arc;

use latchkey_domain::{SystemClock, SystemEntropy};
use latchkey_store::{Store, StoreConfig, bench};

#[expect(clippy::print_stdout, reason = "a program that prints its figures")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in(".")?;
    let clock = Arc::new(SystemClock);
    let config = match std::env::args().nth(1) {
        Some(url) => StoreConfig::new(url, clock),
        None => StoreConfig::sqlite(&directory.path().join("bench.db"), clock),
    };
    let store = Store::open(config).await?;
    store.migrate().await?;
    let rounds = bench::receipts(&store, 10_000, 9, &SystemClock, &SystemEntropy).await?;
    let median = rounds[rounds.len() / 2];
    let stats = store.commit_stats();
    println!(
        "receipts/s through the writer {:.0}, raw groups {:.0}, ratio {:.2} (median of {} rounds); \
         {} commits for {} writes",
        median.grouped,
        median.raw,
        median.ratio(),
        rounds.len(),
        stats.commits,
        stats.writes
    );
    Ok(())
}
