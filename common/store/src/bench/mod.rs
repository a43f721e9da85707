//! How fast receipts are written: through the group-commit writer by many callers at once, beside the same
//! rows in the same store written raw, group by group, with nothing between them and the transaction.

pub mod grants;

use std::time::Duration;

use futures::{StreamExt, stream};
use latchkey_domain::{CallId, Clock, Entropy, PartnerId, Timestamp, states::CallOutcome};

use crate::{
    CallRow, Result, Store,
    writer::{GROUP_LIMIT, raw_insert_calls},
};

/// Brings the database to rest, and up to date on its own tables, as it would be some minutes after a new start.
pub async fn settle(store: &Store) -> Result<()> {
    store.engine.settle().await
}

/// Callers at once: enough to fill groups while one commits.
const CALLERS: usize = 2000;

/// Receipts per second, both ways, one right after the other.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Through the writer.
    pub grouped: f64,
    /// Raw.
    pub raw: f64,
}

impl Figures {
    /// What part of the raw rate the writer reaches.
    pub fn ratio(&self) -> f64 {
        self.grouped / self.raw
    }
}

/// Writes `rounds` times `rows` receipts of the operator each way, in turns; the rounds by their ratio, the
/// worst first (a machine that does other work too disturbs some of them).
pub async fn receipts(
    store: &Store,
    rows: u32,
    rounds: u32,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Vec<Figures>> {
    let mut all = Vec::new();
    let make = || -> Vec<CallRow> { (0..rows).map(|_| receipt(clock.now(), entropy)).collect() };
    for _ in 0..rounds {
        let receipts = make();
        let begun = clock.monotonic();
        for group in receipts.chunks(GROUP_LIMIT) {
            raw_insert_calls(&store.engine, group).await?;
        }
        let raw = per_second(rows, clock.monotonic().saturating_sub(begun));

        let receipts = make();
        let begun = clock.monotonic();
        let mut written = stream::iter(receipts)
            .map(|row| store.insert_call(row))
            .buffer_unordered(CALLERS);
        while let Some(done) = written.next().await {
            done?;
        }
        let grouped = per_second(rows, clock.monotonic().saturating_sub(begun));
        all.push(Figures { grouped, raw });
    }
    all.sort_by(|a: &Figures, b| a.ratio().total_cmp(&b.ratio()));
    Ok(all)
}

fn per_second(rows: u32, took: Duration) -> f64 {
    f64::from(rows) / took.as_secs_f64().max(f64::EPSILON)
}

fn receipt(now: Timestamp, entropy: &dyn Entropy) -> CallRow {
    CallRow {
        id: CallId::new(now, entropy),
        partner_id: PartnerId::OPERATOR,
        account_id: None,
        connection_id: None,
        provider: "sandbox".into(),
        service: "echo".into(),
        endpoint: "echo.get".into(),
        method: "GET".into(),
        path: "/echo/items".into(),
        status: Some(200),
        outcome: CallOutcome::Answered,
        billed: false,
        not_billed_reason: Some("bench".into()),
        bytes_in: 1000,
        bytes_out: 100,
        queued: Duration::from_micros(150),
        throttled: Duration::ZERO,
        token_wait: Duration::from_micros(10),
        provider_time: Duration::from_millis(20),
        attempt: 1,
        job_id: None,
        request_id: Some("req_0190a0b1c2d3e4f5061728394a5b6c7d".into()),
        created_at: now,
        completed_at: Some(now),
    }
}
