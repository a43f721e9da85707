//! Fair shares: what waits is taken partner by partner, so that one partner's backlog does not delay
//! another's. Each partner with something ready gets an equal share of the limit; what is left over goes
//! to those who have more, on the next run.

use latchkey_domain::{PartnerId, Timestamp};

use crate::{
    Result,
    engine::Engine,
    sql::{Sql, column},
};

/// What waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting<'a> {
    /// Grants that are due.
    Grants,
    /// Queued jobs of an urgency that nobody pushed.
    Jobs(&'a str),
}

/// The partners with something ready, who has waited longest first, each with how many it may have.
pub(crate) async fn shares(
    engine: &Engine,
    waiting: Waiting<'_>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(PartnerId, u32)>> {
    // One look into the index per partner, however much waits.
    let sql = match waiting {
        Waiting::Grants => Sql::new(
            "SELECT id, ready FROM (SELECT p.id AS id, (SELECT MIN(w.wake_at) FROM grants w \
             WHERE w.partner_id = p.id AND w.wake_at <= $1) AS ready FROM partners p) AS r \
             WHERE ready IS NOT NULL ORDER BY ready, id LIMIT $2",
        )
        .bind(&now)
        .bind(&limit),
        Waiting::Jobs(urgency) => Sql::new(
            "SELECT id, ready FROM (SELECT p.id AS id, (SELECT MIN(w.wake_at) FROM jobs w \
             WHERE w.urgency = $1 AND w.partner_id = p.id AND w.wake_at <= $2) AS ready \
             FROM partners p) AS r WHERE ready IS NOT NULL ORDER BY ready, id LIMIT $3",
        )
        .text(urgency)
        .bind(&now)
        .bind(&limit),
    };
    let rows = sql.rows(&engine.read).await?;
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX).max(1);
    // The first ones get what does not divide.
    let (share, rest) = (limit / count, limit % count);
    rows.iter()
        .zip(0_u32..)
        .map(|(row, n)| Ok((column(row, 0)?, share + u32::from(n < rest))))
        .collect()
}
