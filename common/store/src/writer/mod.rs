//! The group-commit writer: writes that many callers make at once share a transaction. SQLite has one
//! writer and syncs at every commit; on PostgreSQL the commit is the cost.
//!
//! ```text
//! callers ──▶ bounded queue ──▶ group (≤ 500 writes, ≤ 8 MiB) ──▶ one transaction ──▶ COMMIT ──▶ answers
//!                                    │ it fails: run again (deadlock), or split in halves until the
//!                                    │ write at fault fails alone
//!                                    └ the COMMIT's answer was lost: run again, then read whose mark
//!                                      the row carries
//! ```
//!
//! On PostgreSQL there are two such queues, so that one group runs while the other commits; a row has its place in
//! one of them. Receipts keep to the first: each is small and on its way back to somebody who waits, and half as many
//! groups of twice the size cost less. SQLite has one queue.
//!
//! Rules (`architecture.md` §3): a claim is won only by the attempt id that the row carries afterwards;
//! writes on one row run in the order they came, never in one statement; the rows of a statement come in the order
//! of their ids; statements have few texts ([`Marks`](crate::engine::Marks)).
//!
//! That order is what keeps two processes from waiting for each other on PostgreSQL: kinds of writes run in one order,
//! and each statement looks its rows up one by one as they are listed. Nothing promises it (the planner may read a
//! table of some hundred rows in another order), so a deadlock is one more reason to run a group again. Locking all
//! rows first would be one more statement and one more write of each row, for rows that two processes write at once
//! only when a job was delivered twice.

mod calls;
mod grants;
mod group;
mod jobs;
mod write;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

pub(crate) use jobs::{complete_all as complete_jobs, lock as lock_jobs, release_all};
pub(crate) use write::{Answer, Write};

use crate::{CallRow, Result, StoreError, calls::NewReceipt, engine::Engine};

/// Writes that wait for a group. A caller beyond it waits here instead of in the queue: more than the
/// platform has requests in flight.
const QUEUE_LIMIT: usize = 8192;
/// Writes in a group: beyond it groups gain nothing (measured), and a statement would near SQLite's limit
/// of 32,766 values.
pub(crate) const GROUP_LIMIT: usize = 500;
/// Bytes of sealed bodies in a group, so that large jobs do not hold up the small writes behind them.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// A write and who waits for it.
struct Entry {
    write: Write,
    reply: oneshot::Sender<Result<Answer>>,
}

/// How many transactions the writer made, and for how many writes, since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// Transactions.
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
    /// The most writes in one.
    pub largest: u64,
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    writes: AtomicU64,
    largest: AtomicU64,
}

impl Counters {
    fn count(&self, writes: usize) {
        let writes = u64::try_from(writes).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes, Ordering::Relaxed);
        self.largest.fetch_max(writes, Ordering::Relaxed);
    }
}

/// The senders' side. Its tasks end when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct GroupWriter {
    queues: Arc<[mpsc::Sender<Entry>]>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl GroupWriter {
    /// Starts the writer's tasks.
    pub(crate) fn start(engine: &Arc<Engine>) -> Self {
        let counters = Arc::<Counters>::default();
        let queues = engine.queues() as usize;
        let start = |_| {
            let (queue, entries) = mpsc::channel(QUEUE_LIMIT / queues);
            tokio::spawn(serve(Arc::clone(engine), entries, Arc::clone(&counters)));
            queue
        };
        Self {
            queues: (0..queues).map(start).collect(),
            counters,
        }
    }

    /// Queues a write and waits until its group has committed. A caller that goes away does not undo it.
    pub(crate) async fn submit(&self, write: Write) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let queue = &self.queues[self.queue_of(&write)];
        // At once where there is room: of a thousand writes that one task begins, waiting in turn would part them.
        if let Err(TrySendError::Full(entry)) = queue.try_send(Entry { write, reply }) {
            queue.send(entry).await.map_err(|_| StoreError::Closed)?;
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn queue_of(&self, write: &Write) -> usize {
        if let Write::InsertCall(_) | Write::FinishCall(_) = write {
            return 0;
        }
        // The last bits of an id are random.
        let (_, id) = write.row();
        usize::try_from(id % self.queues.len() as u128).unwrap_or_default()
    }

    pub(crate) fn stats(&self) -> CommitStats {
        CommitStats {
            commits: self.counters.commits.load(Ordering::Relaxed),
            writes: self.counters.writes.load(Ordering::Relaxed),
            largest: self.counters.largest.load(Ordering::Relaxed),
        }
    }
}

/// Takes what is queued, commits it, and meanwhile lets the next group gather: no write ever waits for
/// company that is not at hand.
async fn serve(engine: Arc<Engine>, mut entries: mpsc::Receiver<Entry>, counters: Arc<Counters>) {
    let mut kept = group::Kept::default();
    loop {
        let first = if let Ok(first) = entries.try_recv() {
            first
        } else {
            kept.give_back();
            let Some(first) = entries.recv().await else {
                return;
            };
            first
        };
        // Everybody who is about to write does: whoever can go on at once is not waited for.
        tokio::task::yield_now().await;
        let mut bytes = first.write.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_LIMIT && bytes < GROUP_BYTES {
            let Ok(next) = entries.try_recv() else {
                break;
            };
            bytes += next.write.bytes();
            group.push(next);
        }
        let (writes, replies): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|entry| (entry.write, entry.reply))
            .unzip();
        let writes: Vec<&Write> = writes.iter().collect();
        let begun = engine.monotonic();
        let answers = group::commit(&engine, &mut kept, &counters, &writes).await;
        engine.tell_commit(writes.len(), begun);
        for (reply, answer) in replies.into_iter().zip(answers) {
            // A caller that went away needs no answer.
            let _ = reply.send(answer);
        }
    }
}

/// Inserts receipts in a transaction of their own, past the queue: what the writer is measured against.
pub(crate) async fn raw_insert_calls(engine: &Engine, rows: &[CallRow]) -> Result<()> {
    let new = rows.iter().map(|row| NewReceipt {
        row: row.clone(),
        quota_block: None,
    });
    let new: Vec<NewReceipt> = new.collect();
    let new: Vec<&NewReceipt> = new.iter().collect();
    let mut tx = engine.begin().await?;
    calls::insert_all(engine.marks(), &mut tx, &new, engine.now()).await?;
    engine.commit(tx).await
}
