//! Calls: one row per request to a provider on behalf of an account. The row is the receipt and the
//! billing ledger: a call is billed if and only if its outcome is recorded, and it is recorded before the
//! reply. Unsafe requests are recorded as `sent` first; the first final outcome wins.

use std::time::Duration;

use latchkey_domain::{
    AccountId, CallId, ConnectionId, JobId, PartnerId, Timestamp, states::CallOutcome,
};

use crate::{Result, Store, field::record};

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
        unimplemented!()
    }

    /// Writes the receipt of an unsafe call that is about to be sent (outcome `sent`), in a group commit;
    /// `false` if it is there: it must not be sent again.
    pub async fn begin_unsafe_call(&self, row: CallRow) -> Result<bool> {
        unimplemented!()
    }

    /// `sent` → a final outcome, in a group commit; `false` if another outcome was first.
    pub async fn finish_unsafe_call(&self, finish: FinishCall) -> Result<bool> {
        unimplemented!()
    }

    /// One receipt.
    pub async fn get_call(&self, partner: PartnerId, id: CallId) -> Result<Option<CallRow>> {
        unimplemented!()
    }

    /// Receipts, newest first.
    pub async fn list_calls(
        &self,
        partner: PartnerId,
        filter: &CallFilter,
    ) -> Result<Vec<CallRow>> {
        unimplemented!()
    }

    /// Receipts that are still `sent` although they were begun before `before`: their sender died. Of all
    /// partners; each is then finished as `unknown`.
    pub async fn orphaned_calls(&self, before: Timestamp, limit: u32) -> Result<Vec<CallRow>> {
        unimplemented!()
    }

    /// The receipts a job has so far, oldest first: a job that was sent once must not send again.
    pub async fn calls_of_job(&self, partner: PartnerId, job: JobId) -> Result<Vec<CallRow>> {
        unimplemented!()
    }
}
