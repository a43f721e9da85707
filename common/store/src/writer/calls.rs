//! The group statements on receipts: insert, and `sent` → final.

use std::collections::{BTreeMap, HashSet};

use latchkey_domain::{CallId, PartnerId, QuotaBlockId, Timestamp};
use sqlx::AnyConnection;

use super::Answer;
use crate::{
    CallRow, FinishCall, Result,
    calls::{HOUR, NewReceipt},
    engine::Marks,
    field::Record,
    sql::{Sql, column, insert_rows, with_values},
};

/// The hour in which a receipt counts.
fn hour(completed_at: Option<Timestamp>) -> Option<Timestamp> {
    completed_at.map(|at| at.floor(HOUR))
}

/// Adds receipts that are not there.
pub(super) async fn insert_all(
    marks: Marks,
    tx: &mut AnyConnection,
    new: &[&NewReceipt],
    now: Timestamp,
) -> Result<Vec<Answer>> {
    let columns = [CallRow::COLUMNS, &["hour", "recorded_at"]].concat();
    let sql = insert_rows(marks, CallRow::TABLE, &columns, new, |to, new| {
        new.row.bind(to);
        to.add(&hour(new.row.completed_at));
        to.add(&now);
    })
    .push(" ON CONFLICT (partner_id, id) DO NOTHING RETURNING id");
    let added = sql.rows(&mut *tx).await?;
    let added: HashSet<CallId> = added
        .iter()
        .map(|row| column(row, 0))
        .collect::<Result<_>>()?;
    let spent = new
        .iter()
        .filter(|new| new.row.billed && added.contains(&new.row.id))
        .filter_map(|new| Some((new.row.partner_id, new.quota_block?)));
    spend(marks, tx, spent).await?;
    Ok(new
        .iter()
        .map(|new| Answer::won(added.contains(&new.row.id)))
        .collect())
}

/// Takes calls that count out of the blocks that they were handed out from.
async fn spend(
    marks: Marks,
    tx: &mut AnyConnection,
    spent: impl Iterator<Item = (PartnerId, QuotaBlockId)>,
) -> Result<()> {
    let mut blocks: BTreeMap<(PartnerId, QuotaBlockId), u64> = BTreeMap::new();
    for block in spent {
        *blocks.entry(block).or_default() += 1;
    }
    if blocks.is_empty() {
        return Ok(());
    }
    let blocks: Vec<_> = blocks.into_iter().collect();
    let blocks: Vec<_> = blocks.iter().collect();
    with_values(
        marks,
        &["partner_id", "id", "spent"],
        &blocks,
        |sql, ((partner, id), spent)| {
            sql.add(partner);
            sql.add(id);
            sql.add(spent);
        },
    )
    .push(
        "UPDATE quota_blocks SET calls = quota_blocks.calls - v.spent FROM v \
         WHERE quota_blocks.partner_id = v.partner_id AND quota_blocks.id = v.id",
    )
    .run(tx)
    .await
    .map(drop)
}

/// Gives receipts that are still `sent` their final outcome.
pub(super) async fn finish_all(
    marks: Marks,
    tx: &mut AnyConnection,
    finishes: &[&FinishCall],
    now: Timestamp,
) -> Result<Vec<Answer>> {
    const COLUMNS: [&str; 12] = [
        "partner_id",
        "id",
        "outcome",
        "status",
        "billed",
        "reason",
        "bytes_in",
        "bytes_out",
        "provider_time",
        "completed_at",
        "hour",
        "recorded_at",
    ];
    let rows = with_values(marks, &COLUMNS, finishes, |sql, finish| {
        sql.add(&finish.partner_id);
        sql.add(&finish.call_id);
        sql.add(&finish.outcome);
        sql.add(&finish.status);
        sql.add(&finish.billed);
        sql.add(&finish.not_billed_reason);
        sql.add(&finish.bytes_in);
        sql.add(&finish.bytes_out);
        sql.add(&finish.provider_time);
        sql.add(&finish.completed_at);
        sql.add(&hour(Some(finish.completed_at)));
        sql.add(&now);
    })
    .push(
        "UPDATE calls SET outcome = v.outcome, status = v.status, billed = v.billed, \
         not_billed_reason = v.reason, bytes_in = v.bytes_in, bytes_out = v.bytes_out, \
         provider_time = v.provider_time, completed_at = v.completed_at, hour = v.hour, \
         recorded_at = v.recorded_at FROM v \
         WHERE calls.partner_id = v.partner_id AND calls.id = v.id AND calls.outcome || '' = 'sent' \
         RETURNING calls.id",
    )
    .rows(&mut *tx)
    .await?;
    let done: HashSet<CallId> = rows
        .iter()
        .map(|row| column(row, 0))
        .collect::<Result<_>>()?;
    let spent = finishes
        .iter()
        .filter(|finish| finish.billed && done.contains(&finish.call_id))
        .filter_map(|finish| Some((finish.partner_id, finish.quota_block?)));
    spend(marks, tx, spent).await?;
    let mine = |finish: &&FinishCall| Answer::won(done.contains(&finish.call_id));
    Ok(finishes.iter().map(mine).collect())
}

async fn read(tx: &mut AnyConnection, partner: PartnerId, id: CallId) -> Result<Option<CallRow>> {
    Sql::select::<CallRow>("WHERE partner_id = $1 AND id = $2")
        .bind(&partner)
        .bind(&id)
        .one(tx)
        .await
}

/// Whether the receipt that is there is this one, and not another attempt's under the same id.
pub(super) async fn was_inserted(tx: &mut AnyConnection, row: &CallRow) -> Result<Answer> {
    let there = read(tx, row.partner_id, row.id).await?;
    Ok(Answer::won(there.as_ref() == Some(row)))
}

/// Whether the outcome that is there is this one.
pub(super) async fn was_finished(tx: &mut AnyConnection, finish: &FinishCall) -> Result<Answer> {
    let there = read(tx, finish.partner_id, finish.call_id).await?;
    Ok(Answer::won(there.is_some_and(|there| {
        there.outcome == finish.outcome && there.completed_at == Some(finish.completed_at)
    })))
}
