//! Usage: roll-ups that are a pure function of the ledger, hour → day → period. Hours touched since the
//! last run are recomputed; rows count as visible five minutes after they were recorded, so an hour closes
//! that long after its end, and a late row reopens it.

use std::time::Duration;

use latchkey_domain::{PartnerId, Timestamp};

use crate::{Result, Store};

/// How long after it was stamped a receipt may still become visible to others: the longest a commit takes.
pub const COMMIT_WATERMARK: Duration = Duration::from_secs(300);

/// The span a usage line covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// An hour.
    Hour,
    /// A UTC day.
    Day,
    /// A UTC calendar month.
    Period,
}

/// One line of usage: a partner's calls on one service in one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// When the span begins.
    pub start: Timestamp,
    /// The provider's slug.
    pub provider: String,
    /// The service.
    pub service: String,
    /// Receipts with a final outcome.
    pub calls: u64,
    /// Those that count.
    pub billed: u64,
    /// Bytes of providers' answers.
    pub bytes_in: u64,
    /// Bytes of requests to them.
    pub bytes_out: u64,
}

/// What a roll-up run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollUp {
    /// Partner-hours recomputed.
    pub hours: u64,
    /// Up to where receipts were read.
    pub watermark: Timestamp,
}

impl Store {
    /// Recomputes what was touched since the last run, less the watermark.
    pub async fn roll_up_usage(&self, now: Timestamp) -> Result<RollUp> {
        unimplemented!()
    }

    /// Recomputes everything of one partner from the ledger.
    pub async fn rebuild_usage(&self, partner: PartnerId) -> Result<()> {
        unimplemented!()
    }

    /// A partner's usage lines that begin in `from..to`, oldest first.
    pub async fn usage(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
        granularity: Granularity,
    ) -> Result<Vec<UsageLine>> {
        unimplemented!()
    }

    /// Billed calls in the month that `month` lies in, to this moment: rolled up where that is settled,
    /// counted in the ledger where not.
    pub async fn billed_calls(&self, partner: PartnerId, month: Timestamp) -> Result<u64> {
        unimplemented!()
    }

    /// The lines of a month's statement: like [`Store::billed_calls`], by provider and service.
    pub async fn statement_lines(
        &self,
        partner: PartnerId,
        month: Timestamp,
    ) -> Result<Vec<UsageLine>> {
        unimplemented!()
    }

    /// Up to where receipts were rolled up; hours that ended a watermark before it are closed.
    pub async fn usage_watermark(&self) -> Result<Option<Timestamp>> {
        unimplemented!()
    }
}
