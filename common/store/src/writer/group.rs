//! One group: a transaction, what follows when it fails, and what when its COMMIT's answer is lost.

use std::collections::HashMap;

use sqlx::{Any, AnyConnection, pool::PoolConnection};

use super::{
    Answer, Counters, Write,
    write::{KINDS, run, was_done},
};
use crate::{
    Result, StoreError,
    engine::{Engine, Meaning},
};

/// Times a group runs again after a deadlock or a cut connection before its callers are told.
const TRIES: u32 = 5;

/// Groups for which a connection is kept while there is always a next one. Who waits for one, and SQLite has one that
/// writes, gets it between two such rows of groups.
const KEPT_FOR: u32 = 8;

/// The connection of a queue, kept from one group to the next: the pool tests each that is given back, which is one more
/// way to the server and, on SQLite, to its thread.
#[derive(Default)]
pub(super) struct Kept {
    connection: Option<PoolConnection<Any>>,
    groups: u32,
}

impl Kept {
    async fn get(&mut self, engine: &Engine) -> Result<&mut AnyConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => engine.groups.acquire().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// A group is done.
    fn used(&mut self) {
        self.groups += 1;
        if self.groups == KEPT_FOR {
            self.give_back();
        }
    }

    /// There is no next group, or the connection may be broken.
    pub(super) fn give_back(&mut self) {
        *self = Self::default();
    }
}

/// Commits the writes; an answer each. A write that fails is split out, so that it fails alone.
pub(super) async fn commit(
    engine: &Engine,
    kept: &mut Kept,
    counters: &Counters,
    writes: &[&Write],
) -> Vec<Result<Answer>> {
    let mut answers: Vec<Result<Answer>> = Vec::with_capacity(writes.len());
    // Parts still to run, the next one last, so that answers come in order.
    let mut parts = vec![writes];
    while let Some(part) = parts.pop() {
        match settle(engine, kept, counters, part).await {
            Ok(done) => answers.extend(done.into_iter().map(Ok)),
            Err(error) if part.len() == 1 || !may_be_one_writes_fault(&error) => {
                answers.extend(part.iter().map(|_| Err(error.clone())));
            }
            Err(_) => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right, left]);
            }
        }
    }
    answers
}

fn may_be_one_writes_fault(error: &StoreError) -> bool {
    error.meaning() == Meaning::Other
}

/// Runs a transaction until it is known to have committed, or failed for a reason that stays.
async fn settle(
    engine: &Engine,
    kept: &mut Kept,
    counters: &Counters,
    writes: &[&Write],
) -> Result<Vec<Answer>> {
    let mut commit_lost = false;
    let mut tries = 1;
    loop {
        let error = match attempt(engine, kept, counters, writes, commit_lost).await {
            Ok(answers) => {
                kept.used();
                return Ok(answers);
            }
            Err(Failed::Before(error)) => error,
            Err(Failed::AtCommit(error)) => {
                commit_lost |= error.meaning() == Meaning::Cut;
                error
            }
        };
        kept.give_back();
        engine.doubts.heed(&error);
        let again = matches!(error.meaning(), Meaning::Again | Meaning::Cut);
        if !again || tries == TRIES {
            return Err(error);
        }
        tracing::debug!(tries, %error, "running a group of writes again");
        tries += 1;
    }
}

/// Where a transaction failed.
enum Failed {
    /// It surely left nothing behind.
    Before(StoreError),
    /// If the connection was cut, it may have committed.
    AtCommit(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Before(error)
    }
}

async fn attempt(
    engine: &Engine,
    kept: &mut Kept,
    counters: &Counters,
    writes: &[&Write],
    commit_lost: bool,
) -> std::result::Result<Vec<Answer>, Failed> {
    if let Some(first) = writes.first()
        && writes
            .iter()
            .all(|write| write.kind() == first.kind() && write.is_one_statement())
        && let [round] = &rounds(writes, first.kind())[..]
        && !commit_lost
    {
        return attempt_one(engine, kept, counters, writes, round).await;
    }
    let mut tx = engine.begin_on(kept.get(engine).await?).await?;
    let mut answers = vec![Answer::default(); writes.len()];
    for kind in 0..KINDS {
        for round in rounds(writes, kind) {
            let part: Vec<&Write> = round.iter().map(|at| writes[*at]).collect();
            let done = run(engine, &mut tx, kind, &part).await?;
            for (at, answer) in round.into_iter().zip(done) {
                answers[at] = answer;
            }
        }
    }
    if commit_lost {
        for (answer, write) in answers.iter_mut().zip(writes) {
            if !answer.won {
                *answer = was_done(&mut tx, write).await?;
            }
        }
    }
    engine.commit(tx).await.map_err(Failed::AtCommit)?;
    counters.count(writes.len());
    Ok(answers)
}

/// A group that is one statement: by itself it is spared the questions before and after it, which on PostgreSQL are
/// most of the time that callers wait.
async fn attempt_one(
    engine: &Engine,
    kept: &mut Kept,
    counters: &Counters,
    writes: &[&Write],
    round: &[usize],
) -> std::result::Result<Vec<Answer>, Failed> {
    let part: Vec<&Write> = round.iter().map(|at| writes[*at]).collect();
    let connection = kept.get(engine).await?;
    let done = run(engine, connection, part[0].kind(), &part).await;
    let done = done.map_err(Failed::AtCommit)?;
    engine.committed().map_err(Failed::AtCommit)?;
    let mut answers = vec![Answer::default(); writes.len()];
    for (at, answer) in round.iter().zip(done) {
        answers[*at] = answer;
    }
    counters.count(writes.len());
    Ok(answers)
}

/// The writes of a kind in rounds: in the order of their rows, and one per row in each round, so that
/// writes on one row run one after the other in the order they came.
fn rounds(writes: &[&Write], kind: usize) -> Vec<Vec<usize>> {
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut seen: HashMap<_, usize> = HashMap::new();
    for (at, write) in writes.iter().enumerate().filter(|(_, w)| w.kind() == kind) {
        let round = seen.entry(write.row()).or_default();
        if *round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*round].push(at);
        *round += 1;
    }
    for round in &mut rounds {
        round.sort_by_key(|at| writes[*at].row());
    }
    rounds
}
