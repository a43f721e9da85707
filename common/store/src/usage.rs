//! Usage: roll-ups that are a pure function of the ledger, hour → day → period. Hours touched since the
//! last run are recomputed; rows count as visible five minutes after they were recorded, so an hour closes
//! that long after its end, and a late row reopens it.

use std::{collections::BTreeMap, time::Duration};

use latchkey_domain::{PartnerId, Timestamp};
use sqlx::{AnyConnection, any::AnyRow};

use crate::{
    Result, Store,
    calls::HOUR,
    sql::{Sql, column},
};

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

impl UsageLine {
    /// A line of the same service with nothing in it.
    fn emptied(&self, start: Timestamp) -> Self {
        Self {
            start,
            calls: 0,
            billed: 0,
            bytes_in: 0,
            bytes_out: 0,
            ..self.clone()
        }
    }

    /// Adds what another line counts.
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.billed += other.billed;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// What a roll-up run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollUp {
    /// Partner-hours recomputed.
    pub hours: u64,
    /// Up to where receipts were read.
    pub watermark: Timestamp,
}

impl Granularity {
    const fn table(self) -> &'static str {
        match self {
            Self::Hour => "usage_hourly",
            Self::Day => "usage_daily",
            Self::Period => "usage_period",
        }
    }

    /// Start and end of the span that holds this moment.
    pub fn span(self, at: Timestamp) -> (Timestamp, Timestamp) {
        match self {
            Self::Hour => (at.floor(HOUR), at.floor(HOUR) + HOUR),
            Self::Day => (at.floor(DAY), at.floor(DAY) + DAY),
            Self::Period => (at.month_start(0), at.month_start(1)),
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// When the lines of an hour are replaced by those that were read from the ledger a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replace {
    /// If they count at least as many calls. An hour gains receipts and loses none before it is settled, so fewer
    /// means that another process read it later and was quicker to write.
    IfMore,
    /// Also if they count fewer: whoever rebuilds does not believe what is there.
    Always,
}

/// What a line sums up, over rows of the ledger.
const SUMS: &str = "provider, service, COUNT(*), CAST(SUM(billed) AS BIGINT), \
                    CAST(SUM(bytes_in) AS BIGINT), CAST(SUM(bytes_out) AS BIGINT)";

impl Store {
    /// Recomputes what was touched since the last run, less the watermark. Any number of processes may do
    /// it: each hour is replaced as a whole, and the next run reads the last five minutes again.
    pub async fn roll_up_usage(&self, now: Timestamp) -> Result<RollUp> {
        let since = self.usage_watermark().await?.unwrap_or_default();
        let kept_from = self.receipts_kept_from().await?;
        let rows = Sql::new(
            // Materialised, so that SQLite goes by `recorded_at` and not through the whole ledger by hour.
            "WITH fresh AS MATERIALIZED (SELECT partner_id, hour FROM calls \
             WHERE hour IS NOT NULL AND recorded_at >= $1) \
             SELECT DISTINCT partner_id, hour FROM fresh WHERE hour >= $2",
        )
        .bind(&since.minus(COMMIT_WATERMARK))
        .bind(&kept_from)
        .rows(&self.engine.read)
        .await?;
        let touched: Vec<(PartnerId, Timestamp)> = rows
            .iter()
            .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
            .collect::<Result<_>>()?;
        for (partner, hour) in &touched {
            self.roll_up_hour(*partner, *hour, Replace::IfMore).await?;
        }
        // Never backwards: another process may have been quicker.
        Sql::new(
            "INSERT INTO usage_state (id, watermark) VALUES (1, $1) ON CONFLICT (id) \
             DO UPDATE SET watermark = excluded.watermark \
             WHERE usage_state.watermark < excluded.watermark",
        )
        .bind(&now)
        .run(&self.engine.write)
        .await?;
        Ok(RollUp {
            hours: u64::try_from(touched.len()).unwrap_or(u64::MAX),
            watermark: now,
        })
    }

    /// Sums up an hour of the ledger without holding the writer, then replaces its lines and the sums
    /// above it.
    async fn roll_up_hour(
        &self,
        partner: PartnerId,
        hour: Timestamp,
        replace: Replace,
    ) -> Result<()> {
        let lines = self.ledger_lines(partner, hour, hour + HOUR).await?;
        let mut tx = self.engine.begin().await?;
        // One at a time from here on: whoever else sums up waits for this row.
        Sql::new(
            "INSERT INTO usage_state (id, watermark) VALUES (1, 0) ON CONFLICT (id) \
             DO UPDATE SET watermark = usage_state.watermark",
        )
        .run(&mut *tx)
        .await?;
        if replace == Replace::IfMore {
            let there: u64 = Sql::new(
                "SELECT CAST(COALESCE(SUM(calls), 0) AS BIGINT) FROM usage_hourly \
                 WHERE partner_id = $1 AND start = $2",
            )
            .bind(&partner)
            .bind(&hour)
            .scalar(&mut *tx)
            .await?;
            if lines.iter().map(|line| line.calls).sum::<u64>() < there {
                return self.engine.commit(tx).await;
            }
        }
        Sql::new("DELETE FROM usage_hourly WHERE partner_id = $1 AND start = $2")
            .bind(&partner)
            .bind(&hour)
            .run(&mut *tx)
            .await?;
        for line in lines {
            Sql::new("INSERT INTO usage_hourly VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
                .bind(&partner)
                .bind(&hour)
                .bind(&line.provider)
                .bind(&line.service)
                .bind(&line.calls)
                .bind(&line.billed)
                .bind(&line.bytes_in)
                .bind(&line.bytes_out)
                .run(&mut *tx)
                .await?;
        }
        sum_up(&mut tx, partner, hour, Granularity::Hour, Granularity::Day).await?;
        sum_up(
            &mut tx,
            partner,
            hour,
            Granularity::Day,
            Granularity::Period,
        )
        .await?;
        self.engine.commit(tx).await
    }

    /// Recomputes one partner's hours in `from..to` from the ledger, as far as its receipts are all there; how
    /// many.
    pub async fn rebuild_usage(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<u64> {
        let from = from.max(self.receipts_kept_from().await?);
        let rows = Sql::new(
            "SELECT DISTINCT hour FROM calls \
             WHERE partner_id = $1 AND hour IS NOT NULL AND hour >= $2 AND hour < $3 \
             UNION SELECT start FROM usage_hourly \
             WHERE partner_id = $1 AND start >= $2 AND start < $3",
        )
        .bind(&partner)
        .bind(&from)
        .bind(&to)
        .rows(&self.engine.read)
        .await?;
        for row in &rows {
            self.roll_up_hour(partner, column(row, 0)?, Replace::Always)
                .await?;
        }
        Ok(rows.len() as u64)
    }

    /// Deletes up to `limit` receipts of hours before `before` that were rolled up; how many. Their sums stay:
    /// from then on those hours are not computed anew.
    pub async fn delete_old_receipts(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let settled = self.usage_watermark().await?.unwrap_or_default();
        let before = before.min(settled.minus(COMMIT_WATERMARK)).floor(HOUR);
        // First the mark: a roll-up that reads it late would find hours half gone.
        Sql::new("UPDATE usage_state SET kept_from = $1 WHERE id = 1 AND kept_from < $1")
            .bind(&before)
            .run(&self.engine.write)
            .await?;
        Sql::new(
            "DELETE FROM calls WHERE (partner_id, id) IN (SELECT partner_id, id FROM calls \
             WHERE hour IS NOT NULL AND hour < $1 AND recorded_at < $2 \
             ORDER BY recorded_at LIMIT $3)",
        )
        .bind(&before)
        .bind(&settled.minus(COMMIT_WATERMARK))
        .bind(&limit)
        .run(&self.engine.write)
        .await
    }

    /// From which hour on all receipts are there.
    pub async fn receipts_kept_from(&self) -> Result<Timestamp> {
        let kept: Option<Timestamp> = Sql::new("SELECT MAX(kept_from) FROM usage_state")
            .scalar(&self.engine.read)
            .await?;
        Ok(kept.unwrap_or_default())
    }

    /// A partner's usage lines that begin in `from..to`, oldest first.
    pub async fn usage(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
        granularity: Granularity,
    ) -> Result<Vec<UsageLine>> {
        let rows = Sql::new(format!(
            "SELECT start, provider, service, calls, billed, bytes_in, bytes_out FROM {} \
             WHERE partner_id = $1 AND start >= $2 AND start < $3 \
             ORDER BY start, provider, service",
            granularity.table()
        ))
        .bind(&partner)
        .bind(&from)
        .bind(&to)
        .rows(&self.engine.read)
        .await?;
        rows.iter()
            .map(|row| read_line(row, column(row, 0)?, 1))
            .collect()
    }

    /// The same to this moment, the running span included: rolled up where that is settled, counted in the
    /// ledger where not. `from` is where a span begins.
    pub async fn live_usage(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
        granularity: Granularity,
    ) -> Result<Vec<UsageLine>> {
        let watermark = self.usage_watermark().await?.unwrap_or_default();
        let cut = watermark.minus(COMMIT_WATERMARK).floor(HOUR);
        let cut = cut.clamp(from, to.max(from));
        let settled = self.usage(partner, from, cut, Granularity::Hour).await?;
        let rows = Sql::new(
            "SELECT hour, provider, service, COUNT(*), CAST(SUM(billed) AS BIGINT), \
             CAST(SUM(bytes_in) AS BIGINT), CAST(SUM(bytes_out) AS BIGINT) FROM calls \
             WHERE partner_id = $1 AND hour IS NOT NULL AND hour >= $2 AND hour < $3 \
             GROUP BY hour, provider, service",
        )
        .bind(&partner)
        .bind(&cut)
        .bind(&to)
        .rows(&self.engine.read)
        .await?;
        let mut lines: BTreeMap<(Timestamp, String, String), UsageLine> = BTreeMap::new();
        let open = rows.iter().map(|row| read_line(row, column(row, 0)?, 1));
        for line in settled.into_iter().map(Ok).chain(open) {
            let line: UsageLine = line?;
            let start = granularity.span(line.start).0;
            let key = (start, line.provider.clone(), line.service.clone());
            let sum = lines.entry(key).or_insert_with(|| line.emptied(start));
            sum.add(&line);
        }
        Ok(lines.into_values().collect())
    }

    /// Billed calls in the month that `month` lies in, to this moment: rolled up where that is settled,
    /// counted in the ledger where not. (A late row of a settled hour joins with the next roll-up.)
    pub async fn billed_calls(&self, partner: PartnerId, month: Timestamp) -> Result<u64> {
        let (start, cut, end) = self.settled(month).await?;
        Sql::new(
            "SELECT CAST(COALESCE((SELECT SUM(billed) FROM usage_hourly WHERE partner_id = $1 \
             AND start >= $2 AND start < $3), 0) + COALESCE((SELECT SUM(billed) FROM calls \
             WHERE partner_id = $1 AND hour IS NOT NULL AND hour >= $3 AND hour < $4), 0) \
             AS BIGINT)",
        )
        .bind(&partner)
        .bind(&start)
        .bind(&cut)
        .bind(&end)
        .scalar(&self.engine.read)
        .await
    }

    /// The lines of a month's statement: like [`Store::billed_calls`], by provider and service.
    pub async fn statement_lines(
        &self,
        partner: PartnerId,
        month: Timestamp,
    ) -> Result<Vec<UsageLine>> {
        let (start, cut, end) = self.settled(month).await?;
        let mut lines: BTreeMap<(String, String), UsageLine> = BTreeMap::new();
        let settled = self.usage(partner, start, cut, Granularity::Hour).await?;
        let open = self.ledger_lines(partner, cut, end).await?;
        for line in settled.into_iter().chain(open) {
            let key = (line.provider.clone(), line.service.clone());
            let sum = lines.entry(key).or_insert_with(|| line.emptied(start));
            sum.add(&line);
        }
        Ok(lines.into_values().collect())
    }

    /// Up to where receipts were rolled up; hours that ended a watermark before it are closed.
    pub async fn usage_watermark(&self) -> Result<Option<Timestamp>> {
        Sql::new("SELECT MAX(watermark) FROM usage_state")
            .scalar(&self.engine.read)
            .await
    }

    /// A month's start, the hour from which on the ledger counts, and the month's end.
    async fn settled(&self, month: Timestamp) -> Result<(Timestamp, Timestamp, Timestamp)> {
        let (start, end) = Granularity::Period.span(month);
        let watermark = self.usage_watermark().await?.unwrap_or_default();
        let cut = watermark.minus(COMMIT_WATERMARK).floor(HOUR);
        Ok((start, cut.clamp(start, end), end))
    }

    /// The ledger's sums over the hours in `from..to`, as one span.
    async fn ledger_lines(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<UsageLine>> {
        let rows = Sql::new(format!(
            "SELECT {SUMS} FROM calls WHERE partner_id = $1 AND hour IS NOT NULL \
             AND hour >= $2 AND hour < $3 GROUP BY provider, service ORDER BY provider, service"
        ))
        .bind(&partner)
        .bind(&from)
        .bind(&to)
        .rows(&self.engine.read)
        .await?;
        rows.iter().map(|row| read_line(row, from, 0)).collect()
    }
}

/// Replaces the lines of the larger span around `at` by the sums of the smaller ones in it.
async fn sum_up(
    tx: &mut AnyConnection,
    partner: PartnerId,
    at: Timestamp,
    small: Granularity,
    large: Granularity,
) -> Result<()> {
    let (start, end) = large.span(at);
    let (from, into) = (small.table(), large.table());
    Sql::new(format!(
        "DELETE FROM {into} WHERE partner_id = $1 AND start = $2"
    ))
    .bind(&partner)
    .bind(&start)
    .run(&mut *tx)
    .await?;
    Sql::new(format!(
        "INSERT INTO {into} SELECT partner_id, CAST($2 AS BIGINT), provider, service, \
         CAST(SUM(calls) AS BIGINT), CAST(SUM(billed) AS BIGINT), \
         CAST(SUM(bytes_in) AS BIGINT), CAST(SUM(bytes_out) AS BIGINT) FROM {from} \
         WHERE partner_id = $1 AND start >= $2 AND start < $3 \
         GROUP BY partner_id, provider, service"
    ))
    .bind(&partner)
    .bind(&start)
    .bind(&end)
    .run(tx)
    .await
    .map(drop)
}

/// A line whose columns from `provider` on stand at `at`.
fn read_line(row: &AnyRow, start: Timestamp, at: usize) -> Result<UsageLine> {
    Ok(UsageLine {
        start,
        provider: column(row, at)?,
        service: column(row, at + 1)?,
        calls: column(row, at + 2)?,
        billed: column(row, at + 3)?,
        bytes_in: column(row, at + 4)?,
        bytes_out: column(row, at + 5)?,
    })
}
