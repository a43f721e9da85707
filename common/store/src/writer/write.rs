//! The writes that go in groups, and what comes back.

use latchkey_domain::PartnerId;
use sqlx::AnyConnection;

use super::{calls, grants, jobs};
use crate::{
    ClaimedJob, CloseAttempt, CompleteJob, FinishCall, GrantClaim, JobClaim, JobRow, Landing,
    Result, calls::NewReceipt, engine::Engine,
};

/// A write.
#[derive(Debug)]
pub(crate) enum Write {
    /// A receipt, final or `sent`.
    InsertCall(Box<NewReceipt>),
    /// `sent` → final.
    FinishCall(Box<FinishCall>),
    /// A job.
    InsertJob(Box<JobRow>),
    /// Take a job.
    ClaimJob(Box<JobClaim>),
    /// End an attempt at a job.
    CompleteJob(Box<CompleteJob>),
    /// Take a grant.
    ClaimGrant(Box<GrantClaim>),
    /// Store a provider's answer.
    Land(Box<Landing>),
    /// End an attempt without one.
    Close(Box<CloseAttempt>),
}

/// What became of a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Whether it took effect.
    pub(crate) won: bool,
    /// The job as claimed.
    pub(crate) job: Option<Box<ClaimedJob>>,
    /// What landed belongs to a deleted connection.
    pub(crate) revoking: bool,
}

impl Answer {
    /// It took effect, or not.
    pub(crate) fn won(won: bool) -> Self {
        Self {
            won,
            ..Self::default()
        }
    }
}

/// The kinds in the order in which a transaction runs them.
pub(crate) const KINDS: usize = 8;

impl Write {
    /// Its place in that order.
    pub(crate) const fn kind(&self) -> usize {
        match self {
            Self::InsertCall(_) => 0,
            Self::FinishCall(_) => 1,
            Self::InsertJob(_) => 2,
            Self::ClaimJob(_) => 3,
            Self::CompleteJob(_) => 4,
            Self::ClaimGrant(_) => 5,
            Self::Land(_) => 6,
            Self::Close(_) => 7,
        }
    }

    /// The row it writes: partner and id.
    pub(crate) fn row(&self) -> (PartnerId, u128) {
        match self {
            Self::InsertCall(new) => (new.row.partner_id, new.row.id.as_u128()),
            Self::FinishCall(finish) => (finish.partner_id, finish.call_id.as_u128()),
            Self::InsertJob(row) => (row.partner_id, row.id.as_u128()),
            Self::ClaimJob(claim) => (claim.partner_id, claim.job_id.as_u128()),
            Self::CompleteJob(end) => (end.partner_id, end.job_id.as_u128()),
            Self::ClaimGrant(claim) => (claim.grant.partner_id, claim.grant.id.as_u128()),
            Self::Land(landing) => (landing.grant.partner_id, landing.grant.id.as_u128()),
            Self::Close(close) => (close.grant.partner_id, close.grant.id.as_u128()),
        }
    }

    /// Whether a group of such writes is one statement, which is a transaction by itself.
    pub(crate) const fn is_one_statement(&self) -> bool {
        match self {
            Self::InsertCall(new) => new.quota_block.is_none(),
            Self::FinishCall(finish) => finish.quota_block.is_none(),
            Self::CompleteJob(end) => end.release.is_none(),
            Self::InsertJob(_) | Self::ClaimJob(_) | Self::ClaimGrant(_) => true,
            // With the tokens and the history.
            Self::Land(_) | Self::Close(_) => false,
        }
    }

    /// The bytes of its bodies.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::InsertJob(row) => row.payload.len() + row.sealed.as_ref().map_or(0, Vec::len),
            Self::CompleteJob(end) => end.bytes(),
            Self::Land(landing) => landing.sealed.len(),
            _ => 0,
        }
    }
}

/// The values of one kind out of a list that holds no other.
macro_rules! only {
    ($kind:ident, $writes:expr) => {
        $writes
            .iter()
            .filter_map(|write| match write {
                Write::$kind(value) => Some(&**value),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
}

/// Runs writes of one kind, no two of them on one row; the answers in their order.
pub(crate) async fn run(
    engine: &Engine,
    tx: &mut AnyConnection,
    kind: usize,
    writes: &[&Write],
) -> Result<Vec<Answer>> {
    let (marks, now) = (engine.marks(), engine.now());
    match kind {
        0 => calls::insert_all(marks, tx, &only!(InsertCall, writes), now).await,
        1 => calls::finish_all(marks, tx, &only!(FinishCall, writes), now).await,
        2 => jobs::insert_all(marks, tx, &only!(InsertJob, writes)).await,
        3 => jobs::claim_all(marks, tx, &only!(ClaimJob, writes), now).await,
        4 => jobs::complete_all(marks, tx, &only!(CompleteJob, writes)).await,
        5 => grants::claim_all(marks, tx, &only!(ClaimGrant, writes), now).await,
        6 => grants::land_all(marks, tx, &only!(Land, writes)).await,
        _ => grants::close_all(marks, tx, &only!(Close, writes)).await,
    }
}

/// After a COMMIT whose answer was lost, and a second run that changed nothing for this write: whether
/// the first one had, by the mark it left.
pub(crate) async fn was_done(tx: &mut AnyConnection, write: &Write) -> Result<Answer> {
    match write {
        Write::InsertCall(new) => calls::was_inserted(tx, &new.row).await,
        Write::FinishCall(finish) => calls::was_finished(tx, finish).await,
        Write::InsertJob(row) => jobs::was_inserted(tx, row).await,
        Write::ClaimJob(claim) => jobs::was_claimed(tx, claim).await,
        Write::CompleteJob(end) => jobs::was_completed(tx, end).await,
        Write::ClaimGrant(claim) => grants::was_claimed(tx, claim).await,
        Write::Land(landing) => grants::was_landed(tx, landing).await,
        Write::Close(close) => grants::was_closed(tx, close).await,
    }
}
