//! Calls: one row per request to a provider on behalf of an account. The row is the receipt and the
//! billing ledger: a call is billed if and only if its outcome is recorded, and it is recorded before the
//! reply. Unsafe requests are recorded as `sent` first; the first final outcome wins.

use std::time::Duration;

use latchkey_domain::{
    AccountId, CallId, ConnectionId, JobId, PartnerId, QuotaBlockId, Timestamp, states::CallOutcome,
};

use crate::{Result, Store, field::record, sql::Sql, writer::Write};

/// The span in which receipts are counted.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

record! {
    /// A call's receipt.
    pub struct CallRow in "calls" by "id" {
        /// Its id.
        pub id: CallId,
        /// Who is billed.
        pub partner_id: PartnerId,
        /// For whom it acted.
        pub account_id: Option<AccountId>,
        /// With which connection.
        pub connection_id: Option<ConnectionId>,
        /// The provider's slug.
        pub provider: String,
        /// The service.
        pub service: String,
        /// The named endpoint, or `proxy`.
        pub endpoint: String,
        /// The HTTP method.
        pub method: String,
        /// The path at the provider, without its query.
        pub path: String,
        /// The provider's status, once it answered.
        pub status: Option<u16>,
        /// What became of it.
        pub outcome: CallOutcome,
        /// Whether it counts.
        pub billed: bool,
        /// Why it does not (`test_key`, `not_sent`).
        pub not_billed_reason: Option<String>,
        /// Bytes of the provider's answer.
        pub bytes_in: u64,
        /// Bytes of the request to it.
        pub bytes_out: u64,
        /// Time in the queue.
        pub queued: Duration,
        /// Time held back by limits.
        pub throttled: Duration,
        /// Time until the token was fresh.
        pub token_wait: Duration,
        /// Time at the provider.
        pub provider_time: Duration,
        /// Which attempt of its job.
        pub attempt: u32,
        /// The job it belongs to, if it has a row.
        pub job_id: Option<JobId>,
        /// The request to us that caused it.
        pub request_id: Option<String>,
        /// When it was begun.
        pub created_at: Timestamp,
        /// When its outcome was known: it counts in the hour and month of this moment.
        pub completed_at: Option<Timestamp>,
    }
}

/// The final outcome of an unsafe call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishCall {
    /// Who is billed.
    pub partner_id: PartnerId,
    /// Which call.
    pub call_id: CallId,
    /// What became of it; not `sent`.
    pub outcome: CallOutcome,
    /// The provider's status, if it answered.
    pub status: Option<u16>,
    /// Whether it counts.
    pub billed: bool,
    /// Why it does not.
    pub not_billed_reason: Option<String>,
    /// Bytes of the provider's answer.
    pub bytes_in: u64,
    /// Bytes of the request to it.
    pub bytes_out: u64,
    /// Time at the provider.
    pub provider_time: Duration,
    /// Now.
    pub completed_at: Timestamp,
    /// The block of the partner's quota that it is taken out of, if it counts.
    pub quota_block: Option<QuotaBlockId>,
}

/// A receipt that is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewReceipt {
    pub(crate) row: CallRow,
    /// The block of the partner's quota that it is taken out of, if it counts.
    pub(crate) quota_block: Option<QuotaBlockId>,
}

/// Which receipts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// For this account.
    pub account_id: Option<AccountId>,
    /// At this provider.
    pub provider: Option<String>,
    /// On this service.
    pub service: Option<String>,
    /// Of this job.
    pub job_id: Option<JobId>,
    /// With this outcome.
    pub outcome: Option<CallOutcome>,
    /// Only billed ones, or only others.
    pub billed: Option<bool>,
    /// Completed at or after; unfinished ones are then left out.
    pub from: Option<Timestamp>,
    /// Completed before; unfinished ones are then left out.
    pub to: Option<Timestamp>,
    /// Older than this one (the last id of the page before).
    pub before: Option<CallId>,
    /// How many.
    pub limit: u32,
}

impl Store {
    /// Writes the receipt of a call whose outcome is known, in a group commit; `false` if it is there.
    pub async fn insert_call(&self, row: CallRow) -> Result<bool> {
        self.insert_call_of(row, None).await
    }

    /// The same for a call of a plan with a quota: if it counts, it leaves this block.
    pub async fn insert_call_of(
        &self,
        row: CallRow,
        quota_block: Option<QuotaBlockId>,
    ) -> Result<bool> {
        let receipt = NewReceipt { row, quota_block };
        let written = self.group(Write::InsertCall(Box::new(receipt))).await?;
        Ok(written.won)
    }

    /// Writes the receipt of an unsafe call that is about to be sent (outcome `sent`), in a group commit;
    /// `false` if it is there: it must not be sent again.
    pub async fn begin_unsafe_call(&self, row: CallRow) -> Result<bool> {
        let row = CallRow {
            outcome: CallOutcome::Sent,
            billed: false,
            completed_at: None,
            ..row
        };
        self.insert_call_of(row, None).await
    }

    /// `sent` → a final outcome, in a group commit; `false` if another outcome was first.
    pub async fn finish_unsafe_call(&self, finish: FinishCall) -> Result<bool> {
        Ok(self.group(Write::FinishCall(Box::new(finish))).await?.won)
    }

    /// One receipt.
    pub async fn get_call(&self, partner: PartnerId, id: CallId) -> Result<Option<CallRow>> {
        Sql::select::<CallRow>("WHERE partner_id = $1 AND id = $2")
            .bind(&partner)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// Receipts, newest first.
    pub async fn list_calls(
        &self,
        partner: PartnerId,
        filter: &CallFilter,
    ) -> Result<Vec<CallRow>> {
        // The hours are indexed; the times cut them exactly.
        let hours_from = filter.from.map(|at| at.floor(HOUR));
        Sql::select::<CallRow>("WHERE partner_id = $1")
            .bind(&partner)
            .and_maybe("account_id =", filter.account_id.as_ref())
            .and_maybe("provider =", filter.provider.as_ref())
            .and_maybe("service =", filter.service.as_ref())
            .and_maybe("job_id =", filter.job_id.as_ref())
            .and_maybe("outcome =", filter.outcome.as_ref())
            .and_maybe("billed =", filter.billed.as_ref())
            .and_maybe("hour >=", hours_from.as_ref())
            .and_maybe("hour <", filter.to.as_ref())
            .and_maybe("completed_at >=", filter.from.as_ref())
            .and_maybe("completed_at <", filter.to.as_ref())
            .and_maybe("id <", filter.before.as_ref())
            .number(" ORDER BY id DESC LIMIT", filter.limit)
            .all(&self.engine.read)
            .await
    }

    /// Receipts that are still `sent` although they were begun before `before`: their sender died. Of all
    /// partners; each is then finished as `unknown`.
    pub async fn orphaned_calls(&self, before: Timestamp, limit: u32) -> Result<Vec<CallRow>> {
        Sql::select::<CallRow>(
            "WHERE outcome = 'sent' AND created_at < $1 ORDER BY created_at LIMIT $2",
        )
        .bind(&before)
        .bind(&limit)
        .all(&self.engine.read)
        .await
    }

    /// The receipts a job has so far, oldest first: a job that was sent once must not send again.
    pub async fn calls_of_job(&self, partner: PartnerId, job: JobId) -> Result<Vec<CallRow>> {
        Sql::select::<CallRow>("WHERE partner_id = $1 AND job_id = $2 ORDER BY id")
            .bind(&partner)
            .bind(&job)
            .all(&self.engine.read)
            .await
    }
}
