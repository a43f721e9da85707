//! Receipts of calls: the ledger that is billed (`architecture.md` §7). A call is billed if and only if its
//! outcome is recorded, and it is recorded before anyone is told.

use std::time::Duration;

use latchkey_domain::{CallId, QuotaBlockId, states::CallOutcome};
use latchkey_jobs::kinds::ProviderCall;
use latchkey_runtime::Context;
use latchkey_store::{CallRow, FinishCall, StoreError};
use latchkey_telemetry::Chain;

use super::{
    Call, Step,
    ending::{Ended, Fault},
    receipt_id,
    sending::{Sent, Verdict},
};
use crate::runner::Attempt;

/// Why calls of test keys are not billed. It stands in the receipt from the beginning, for whoever has to
/// close it.
const TEST_KEY: &str = "test_key";

/// Where an attempt keeps its receipt.
pub(super) struct Slot {
    /// The receipt's id.
    pub(super) id: CallId,
    /// Whether an earlier attempt wrote it as `sent`.
    pub(super) begun: bool,
}

/// The receipt of this attempt. An unsafe call that may have been sent before, and is not `repeatable`, ends
/// here: it is never sent again.
pub(super) async fn slot(call: &Call<'_>, repeatable: bool) -> Step<Slot> {
    let (job, id) = (&call.attempt.job, call.kind.call);
    let first = !job.durable || call.attempt.number == 1;
    // A safe call is recorded once, by the attempt that ends it; in another life that is another receipt.
    if first || !(call.request.is_unsafe() || call.attempt.revived) {
        return Ok(Slot { id, begun: false });
    }
    let rows = call.ctx.store.calls_of_job(job.partner, job.id).await;
    let rows = rows.map_err(|error| call.store_failed(&error))?;
    if !call.request.is_unsafe() {
        let id = receipt_id(id, rows.len());
        return Ok(Slot { id, begun: false });
    }
    let Some(row) = rows.iter().find(|row| row.outcome != CallOutcome::NotSent) else {
        let id = receipt_id(id, rows.len());
        return Ok(Slot { id, begun: false });
    };
    if repeatable {
        return Ok(Slot {
            id: row.id,
            begun: true,
        });
    }
    if row.outcome == CallOutcome::Sent {
        let closed = close(call.ctx, row).await;
        closed.map_err(|error| call.store_failed(&error))?;
    }
    Err(match row.status {
        Some(status) => Fault::new(
            "OUTCOME_UNKNOWN",
            format!(
                "the provider answered {status}, but the answer was lost; it is not sent again"
            ),
        ),
        None => Fault::outcome_unknown(),
    }
    .into())
}

/// The receipt as it is before the outcome is known.
pub(super) fn receipt(call: &Call<'_>, id: CallId, token_wait: Duration) -> CallRow {
    let (job, kind) = (&call.attempt.job, call.kind);
    CallRow {
        id,
        partner_id: job.partner,
        account_id: Some(kind.account),
        connection_id: Some(kind.connection),
        provider: kind.provider.clone(),
        service: kind.service.clone(),
        endpoint: kind.endpoint.clone(),
        method: call.request.method.clone(),
        path: call.target.path().to_owned(),
        status: None,
        outcome: CallOutcome::Sent,
        billed: false,
        not_billed_reason: kind.test.then(|| TEST_KEY.to_owned()),
        bytes_in: 0,
        bytes_out: call.body.len() as u64,
        queued: call.attempt.queued,
        throttled: call.attempt.held,
        token_wait,
        provider_time: Duration::ZERO,
        attempt: call.attempt.number,
        job_id: job.durable.then_some(job.id),
        request_id: job.request_id.map(|id| id.to_string()),
        created_at: call.ctx.now(),
        completed_at: None,
    }
}

/// Writes the receipt of an unsafe call as `sent`. It is not sent where that does not succeed.
pub(super) async fn begin(call: &Call<'_>, receipt: CallRow) -> Step<()> {
    match call.ctx.store.begin_unsafe_call(receipt).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Ended::Elsewhere),
        Err(error) => Err(call.store_failed(&error)),
    }
}

/// Writes the outcome.
pub(super) async fn record(
    call: &Call<'_>,
    receipt: CallRow,
    sent: &Sent,
    verdict: &Verdict,
    quota_block: Option<QuotaBlockId>,
) -> Step<()> {
    let ctx = call.ctx;
    let (outcome, status) = (verdict.outcome, verdict.status);
    ctx.metrics
        .call(&call.kind.provider, outcome, status, sent.took);
    let (billed, not_billed_reason) = billing(outcome, call.kind.test);
    let row = CallRow {
        status,
        outcome,
        billed,
        not_billed_reason,
        bytes_in: sent
            .answer
            .as_ref()
            .map_or(0, |answer| answer.body.len() as u64),
        provider_time: sent.took,
        completed_at: Some(ctx.now()),
        ..receipt
    };
    if call.request.is_unsafe() {
        // If this fails the receipt still says `sent`: it is closed as unknown, and billed, by the sweep. So
        // the caller may have its answer.
        let finish = FinishCall {
            quota_block,
            ..finish(&row, ctx)
        };
        if let Err(error) = ctx.store.finish_unsafe_call(finish).await {
            tracing::error!(error = %Chain(&error), "a call's outcome could not be recorded");
        }
        return Ok(());
    }
    match ctx.store.insert_call_of(row, quota_block).await {
        // `false`: a message that came twice; the first outcome counts.
        Ok(_) => Ok(()),
        Err(error) => Err(call.store_failed(&error)),
    }
}

fn billing(outcome: CallOutcome, test: bool) -> (bool, Option<String>) {
    let reason = match outcome {
        _ if test => Some(TEST_KEY),
        outcome if outcome.is_billed() => None,
        _ => Some("not_sent"),
    };
    (reason.is_none(), reason.map(str::to_owned))
}

fn finish(row: &CallRow, ctx: &Context) -> FinishCall {
    FinishCall {
        partner_id: row.partner_id,
        call_id: row.id,
        outcome: row.outcome,
        status: row.status,
        billed: row.billed,
        not_billed_reason: row.not_billed_reason.clone(),
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        provider_time: row.provider_time,
        completed_at: row.completed_at.unwrap_or_else(|| ctx.now()),
        quota_block: None,
    }
}

/// Closes a receipt whose sender is gone: its outcome is unknown for good.
async fn close(ctx: &Context, row: &CallRow) -> Result<bool, StoreError> {
    let test = row.not_billed_reason.as_deref() == Some(TEST_KEY);
    let (billed, not_billed_reason) = billing(CallOutcome::Unknown, test);
    ctx.metrics
        .call(&row.provider, CallOutcome::Unknown, None, Duration::ZERO);
    let row = CallRow {
        outcome: CallOutcome::Unknown,
        billed,
        not_billed_reason,
        ..row.clone()
    };
    ctx.store.finish_unsafe_call(finish(&row, ctx)).await
}

/// Closes the receipt that an abandoned call left at `sent`; says whether there was one.
pub(super) async fn close_abandoned(ctx: &Context, attempt: &Attempt, kind: &ProviderCall) -> bool {
    let job = &attempt.job;
    let rows = if job.durable {
        ctx.store.calls_of_job(job.partner, job.id).await
    } else {
        let row = ctx.store.get_call(job.partner, kind.call).await;
        row.map(|row| row.into_iter().collect())
    };
    let open = rows
        .unwrap_or_default()
        .into_iter()
        .find(|row| row.outcome == CallOutcome::Sent);
    let Some(row) = open else {
        return false;
    };
    if let Err(error) = close(ctx, &row).await {
        // The sweep closes it.
        tracing::warn!(error = %Chain(&error), "an abandoned receipt could not be closed");
    }
    true
}
