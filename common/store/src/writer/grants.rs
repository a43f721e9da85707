//! The group statements on grants: claim, land, close (`architecture.md` §6, clauses 1, 3, 4 and 6).

use std::collections::{HashMap, HashSet};

use latchkey_domain::{GrantId, Timestamp, states::GrantState};
use sqlx::AnyConnection;

use super::Answer;
use crate::{
    AttemptRow, CloseAttempt, GrantClaim, GrantKey, GrantRow, Landing, RefreshRow, Result,
    engine::{Engine, Marks},
    refresh_history as history,
    sql::{Sql, column, with_values},
};

/// Takes grants whose rows are as they were read, and whose attempt is the one that was seen or none. Whoever finds its
/// own attempt there has the grant. The grant's row is held meanwhile, so that a landing or a closing under way is
/// waited for and seen.
pub(super) async fn claim_all(
    marks: Marks,
    tx: &mut AnyConnection,
    claims: &[&GrantClaim],
    now: Timestamp,
) -> Result<Vec<Answer>> {
    const COLUMNS: [&str; 9] = [
        "partner_id",
        "id",
        "rev",
        "attempt",
        "replaced",
        "holder",
        "lease",
        "claimed_at",
        "first_claim_at",
    ];
    // Leases count by database time, as it is when they are written.
    let now_there = Engine::db_now_in(marks, "v.claimed_at");
    let hold = Engine::hold(marks);
    let taken = with_values(marks, &COLUMNS, claims, |sql, claim| {
        sql.add(&claim.grant.partner_id);
        sql.add(&claim.grant.id);
        sql.add(&claim.rev);
        sql.add(&claim.attempt);
        sql.add(&claim.replaced);
        sql.add(&claim.holder);
        sql.add(&claim.lease);
        sql.add(&now);
        sql.add(&claim.first_claim_at);
    })
    .push(&format!(
        "INSERT INTO grant_attempts \
         (partner_id, grant_id, attempt, replaced, holder, lease_until, sweeps, first_claim_at) \
         SELECT v.partner_id, v.id, v.attempt, v.replaced, v.holder, {now_there} + v.lease, 0, v.first_claim_at \
         FROM v JOIN grants g ON g.partner_id = v.partner_id AND g.id = v.id \
         WHERE g.rev = v.rev AND g.state || '' = 'active'{hold} \
         ON CONFLICT (partner_id, grant_id) DO UPDATE SET attempt = excluded.attempt, \
         replaced = excluded.replaced, holder = excluded.holder, lease_until = excluded.lease_until, \
         sweeps = 0, swept_at = NULL, first_claim_at = excluded.first_claim_at \
         WHERE grant_attempts.attempt = excluded.replaced",
    ))
    .run(&mut *tx)
    .await?;
    // No two of them are on one row: then all were taken, and nobody need be told which.
    if usize::try_from(taken).is_ok_and(|taken| taken == claims.len()) {
        return Ok(vec![Answer::won(true); claims.len()]);
    }
    let mut answers = Vec::with_capacity(claims.len());
    for claim in claims {
        answers.push(was_claimed(tx, claim).await?);
    }
    Ok(answers)
}

/// Stores answers by version alone. A landing over `needs_reauth` revives the grant; one over `revoking`
/// is stored to be revoked.
pub(super) async fn land_all(
    marks: Marks,
    tx: &mut AnyConnection,
    landings: &[&Landing],
) -> Result<Vec<Answer>> {
    const COLUMNS: [&str; 10] = [
        "partner_id",
        "id",
        "generation",
        "attempt",
        "issued_at",
        "expires_at",
        "due_at",
        "refreshable",
        "dies_at",
        "landed_at",
    ];
    let rows = with_values(marks, &COLUMNS, landings, |sql, landing| {
        sql.add(&landing.grant.partner_id);
        sql.add(&landing.grant.id);
        sql.add(&landing.generation);
        sql.add(&landing.attempt);
        sql.add(&landing.issued_at);
        sql.add(&landing.expires_at);
        sql.add(&landing.due_at);
        sql.add(&landing.refreshable);
        sql.add(&landing.dies_at);
        sql.add(&landing.now);
    })
    .push(
        "UPDATE grants SET version = grants.version + 1, rev = grants.rev + 1, \
         state = CASE WHEN grants.state = 'revoking' THEN 'revoking' ELSE 'active' END, \
         reason = NULL, last_attempt = v.attempt, in_doubt = 0, closed_at = NULL, \
         first_claim_at = NULL, retry_at = NULL, failures = 0, last_failure = NULL, \
         refreshable = v.refreshable, issued_at = v.issued_at, expires_at = v.expires_at, \
         dies_at = v.dies_at, refused_at = NULL, \
         last_refreshed_at = v.landed_at, updated_at = v.landed_at, \
         due_at = CASE WHEN grants.state = 'revoking' THEN NULL ELSE v.due_at END, \
         wake_at = CASE WHEN grants.state = 'revoking' THEN NULL ELSE v.due_at END FROM v \
         WHERE grants.partner_id = v.partner_id AND grants.id = v.id \
         AND grants.version = v.generation AND grants.state <> 'revoked' \
         RETURNING grants.id, grants.state",
    )
    .rows(&mut *tx)
    .await?;
    let mut states: HashMap<GrantId, GrantState> = HashMap::with_capacity(rows.len());
    for row in &rows {
        states.insert(column(row, 0)?, column(row, 1)?);
    }
    let landed: Vec<&Landing> = landings
        .iter()
        .filter(|landing| states.contains_key(&landing.grant.id))
        .copied()
        .collect();
    let of = landed
        .iter()
        .map(|landing| landing.grant)
        .collect::<Vec<_>>();
    end_attempts(marks, tx, &of).await?;
    keep_secrets(marks, tx, &landed).await?;
    history::add_all(
        marks,
        tx,
        landed.iter().map(|landing| RefreshRow::landed(landing)),
    )
    .await?;
    Ok(landings
        .iter()
        .map(|landing| answer(states.get(&landing.grant.id).copied()))
        .collect())
}

fn answer(state: Option<GrantState>) -> Answer {
    Answer {
        won: state.is_some(),
        revoking: state == Some(GrantState::Revoking),
        job: None,
    }
}

/// Takes away the attempts of grants whose rows this transaction changed.
async fn end_attempts(marks: Marks, tx: &mut AnyConnection, of: &[GrantKey]) -> Result<()> {
    if of.is_empty() {
        return Ok(());
    }
    let of: Vec<&GrantKey> = of.iter().collect();
    with_values(marks, &["partner_id", "id"], &of, |sql, grant| {
        sql.add(&grant.partner_id);
        sql.add(&grant.id);
    })
    .push(
        "DELETE FROM grant_attempts WHERE (partner_id, grant_id) IN (SELECT partner_id, id FROM v)",
    )
    .run(tx)
    .await
    .map(drop)
}

async fn keep_secrets(marks: Marks, tx: &mut AnyConnection, landed: &[&Landing]) -> Result<()> {
    const COLUMNS: [&str; 4] = ["partner_id", "id", "version", "sealed"];
    if landed.is_empty() {
        return Ok(());
    }
    with_values(marks, &COLUMNS, landed, |sql, landing| {
        sql.add(&landing.grant.partner_id);
        sql.add(&landing.grant.id);
        sql.add(&(landing.generation + 1));
        sql.add(&landing.sealed);
    })
    .push(
        "UPDATE grant_secrets SET version = v.version, sealed = v.sealed FROM v \
         WHERE grant_secrets.partner_id = v.partner_id AND grant_secrets.grant_id = v.id",
    )
    .run(tx)
    .await
    .map(drop)
}

/// Waits for whoever changes these grants, and keeps them: what is read of their attempts afterwards stays so.
async fn hold_all(marks: Marks, tx: &mut AnyConnection, of: &[GrantKey]) -> Result<()> {
    let hold = Engine::hold(marks);
    if hold.is_empty() {
        return Ok(());
    }
    let of: Vec<&GrantKey> = of.iter().collect();
    with_values(marks, &["partner_id", "id"], &of, |sql, grant| {
        sql.add(&grant.partner_id);
        sql.add(&grant.id);
    })
    .push(&format!(
        "SELECT g.id FROM v JOIN grants g ON g.partner_id = v.partner_id AND g.id = v.id{hold}"
    ))
    .rows(tx)
    .await
    .map(drop)
}

/// Ends attempts without a successor, by version and attempt.
pub(super) async fn close_all(
    marks: Marks,
    tx: &mut AnyConnection,
    closes: &[&CloseAttempt],
) -> Result<Vec<Answer>> {
    const COLUMNS: [&str; 12] = [
        "partner_id",
        "id",
        "version",
        "attempt",
        "in_doubt",
        "closed_in_doubt",
        "dead",
        "retry_at",
        "failures",
        "last_failure",
        "due_at",
        "ended_at",
    ];
    let of: Vec<GrantKey> = closes.iter().map(|close| close.grant).collect();
    hold_all(marks, tx, &of).await?;
    let rows = with_values(marks, &COLUMNS, closes, |sql, close| {
        sql.add(&close.grant.partner_id);
        sql.add(&close.grant.id);
        sql.add(&close.version);
        sql.add(&close.attempt);
        sql.add(&close.closing.in_doubt);
        sql.add(&close.closing.closed_in_doubt);
        sql.add(&close.closing.dead.map(|dead| dead.as_str().to_owned()));
        sql.add(&close.retry_at);
        sql.add(&close.failures);
        sql.add(&close.last_failure);
        sql.add(&close.due_at);
        sql.add(&close.now);
    })
    .push(
        "UPDATE grants SET rev = grants.rev + 1, last_attempt = v.attempt, \
         in_doubt = v.in_doubt, \
         closed_at = CASE WHEN v.closed_in_doubt = 1 THEN v.ended_at \
                          WHEN v.in_doubt = 1 THEN grants.closed_at END, \
         first_claim_at = CASE WHEN v.in_doubt = 1 THEN a.first_claim_at END, \
         state = CASE WHEN grants.state = 'active' AND v.dead IS NOT NULL THEN 'needs_reauth' \
                      ELSE grants.state END, \
         reason = CASE WHEN grants.state = 'active' THEN v.dead ELSE grants.reason END, \
         retry_at = v.retry_at, failures = v.failures, last_failure = v.last_failure, \
         due_at = CASE WHEN grants.state = 'active' AND v.dead IS NULL THEN v.due_at END, \
         wake_at = CASE WHEN grants.state = 'active' AND v.dead IS NULL THEN v.due_at END, \
         updated_at = v.ended_at FROM v, grant_attempts a \
         WHERE grants.partner_id = v.partner_id AND grants.id = v.id \
         AND grants.version = v.version \
         AND a.partner_id = v.partner_id AND a.grant_id = v.id AND a.attempt = v.attempt \
         RETURNING grants.last_attempt",
    )
    .rows(&mut *tx)
    .await?;
    let closed: HashSet<String> = rows
        .iter()
        .map(|row| column(row, 0))
        .collect::<Result<_>>()?;
    let is_mine = |close: &CloseAttempt| closed.contains(&close.attempt.to_string());
    let ended = closes.iter().filter(|close| is_mine(close));
    let of: Vec<GrantKey> = ended.clone().map(|close| close.grant).collect();
    end_attempts(marks, tx, &of).await?;
    history::add_all(marks, tx, ended.map(|close| RefreshRow::closed(close))).await?;
    Ok(closes
        .iter()
        .map(|close| Answer::won(is_mine(close)))
        .collect())
}

async fn read(tx: &mut AnyConnection, grant: GrantKey) -> Result<Option<GrantRow>> {
    Sql::select::<GrantRow>("WHERE partner_id = $1 AND id = $2")
        .bind(&grant.partner_id)
        .bind(&grant.id)
        .one(tx)
        .await
}

/// Whether the attempt under way is this one.
pub(super) async fn was_claimed(tx: &mut AnyConnection, claim: &GrantClaim) -> Result<Answer> {
    let open = Sql::select::<AttemptRow>("WHERE partner_id = $1 AND grant_id = $2")
        .bind(&claim.grant.partner_id)
        .bind(&claim.grant.id)
        .one::<AttemptRow, _>(tx)
        .await?;
    Ok(Answer::won(
        open.is_some_and(|open| open.attempt == claim.attempt),
    ))
}

/// Whether this attempt's answer is the last that landed.
pub(super) async fn was_landed(tx: &mut AnyConnection, landing: &Landing) -> Result<Answer> {
    let row = read(tx, landing.grant).await?;
    let landed = row.filter(|row| {
        row.version == landing.generation + 1 && row.last_attempt == Some(landing.attempt)
    });
    Ok(answer(landed.map(|row| row.state)))
}

/// Whether this attempt is the last that was closed.
pub(super) async fn was_closed(tx: &mut AnyConnection, close: &CloseAttempt) -> Result<Answer> {
    let row = read(tx, close.grant).await?;
    Ok(Answer::won(row.is_some_and(|row| {
        row.version == close.version && row.last_attempt == Some(close.attempt)
    })))
}
