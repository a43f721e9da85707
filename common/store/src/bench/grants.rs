//! Grants in bulk: how a store is filled for a measurement, and how fast due grants are found and claimed in a
//! store that holds many.

use std::time::Duration;

use futures::future::join_all;
use latchkey_domain::{AttemptId, Clock, Entropy, HolderId, Timestamp};

use crate::{
    ConnectionRow, GrantClaim, GrantKey, GrantRow, GrantSecret, NewConnection, Result, Store,
    connect::first_grant,
    sql::{Sql, column, insert_all, with_values},
    writer::GROUP_LIMIT,
};

/// Adds connections that are not there, with their grants, some hundreds to a transaction.
pub async fn insert(store: &Store, new: &[NewConnection]) -> Result<()> {
    let marks = store.engine.marks();
    for part in new.chunks(GROUP_LIMIT) {
        let connections: Vec<&ConnectionRow> = part.iter().map(|new| &new.connection).collect();
        let grants: Vec<GrantRow> = part.iter().map(first_grant).collect();
        let secrets: Vec<GrantSecret> = part
            .iter()
            .map(|new| GrantSecret {
                grant_id: new.grant_id,
                partner_id: new.connection.partner_id,
                version: new.version,
                sealed: new.sealed.clone(),
            })
            .collect();
        let mut tx = store.engine.begin().await?;
        insert_all(marks, &connections, "partner_id, id")
            .run(&mut *tx)
            .await?;
        let grants: Vec<&GrantRow> = grants.iter().collect();
        insert_all(marks, &grants, "partner_id, id")
            .run(&mut *tx)
            .await?;
        let secrets: Vec<&GrantSecret> = secrets.iter().collect();
        insert_all(marks, &secrets, "partner_id, grant_id")
            .run(&mut *tx)
            .await?;
        store.engine.commit(tx).await?;
    }
    Ok(())
}

/// Makes all grants due at one moment, and lets the database come to rest: what is measured is not the filling.
pub async fn make_all_due(store: &Store, at: Timestamp) -> Result<u64> {
    let due = Sql::new("UPDATE grants SET wake_at = $1, due_at = $1 WHERE due_at IS NOT NULL AND partner_id IN (SELECT id FROM partners)")
        .bind(&at)
        .run(&store.engine.write)
        .await?;
    store.engine.settle().await?;
    Ok(due)
}

/// When what a round gave back would be due again.
const AWAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long the steps of one round took.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Finding the due grants: the scheduler's step.
    pub dispatch: Duration,
    /// Reading them with their tokens: a worker's first step.
    pub load: Duration,
    /// Claiming all of them at once.
    pub claim: Duration,
}

/// Makes `due` grants due, finds, reads and claims them; so many times. What a round claimed is given back
/// after it.
///
/// # Errors
/// Of the store, or when fewer than `due` were there to be taken.
pub async fn dispatch_and_claim(
    store: &Store,
    rounds: usize,
    due: u32,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Vec<Round>> {
    let holder = HolderId::new(clock.now(), entropy);
    let ids = ids(store).await?;
    let mut all = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let now = store.db_now().await?;
        make_due(store, &ids, due, round, now).await?;
        let begun = clock.monotonic();
        let taken = store
            .take_due_grants(now, Duration::from_secs(3600), due)
            .await?;
        let dispatched = clock.monotonic();
        let keys: Vec<GrantKey> = taken.iter().map(|due| due.grant).collect();
        let loaded = store.load_grants(&keys).await?;
        let read = clock.monotonic();
        let claims = loaded.iter().map(|grant| {
            store.claim_grant(GrantClaim {
                grant: grant.row.key(),
                rev: grant.row.rev,
                replaced: None,
                attempt: AttemptId::new(now, entropy),
                holder,
                lease: Duration::from_secs(3600),
                first_claim_at: now,
            })
        });
        let mut won = 0;
        for claimed in join_all(claims).await {
            won += u32::from(claimed?);
        }
        if won != due {
            return Err(sqlx::Error::RowNotFound.into());
        }
        all.push(Round {
            dispatch: dispatched.saturating_sub(begun),
            load: read.saturating_sub(dispatched),
            claim: clock.monotonic().saturating_sub(read),
        });
        give_back(store, &keys, now + AWAY).await?;
    }
    Ok(all)
}

/// Ends the claims of a round as if they had never been, until the next one.
async fn give_back(store: &Store, grants: &[GrantKey], until: Timestamp) -> Result<()> {
    for part in grants.chunks(GROUP_LIMIT) {
        let part: Vec<&GrantKey> = part.iter().collect();
        let columns = ["partner_id", "id", "until"];
        with_values(store.engine.marks(), &columns, &part, |sql, grant| {
            sql.add(&grant.partner_id);
            sql.add(&grant.id);
            sql.add(&until);
        })
        .push(
            "UPDATE grants SET wake_at = v.until, due_at = v.until FROM v \
             WHERE grants.partner_id = v.partner_id AND grants.id = v.id",
        )
        .run(&store.engine.write)
        .await?;
    }
    Sql::new("DELETE FROM grant_attempts")
        .run(&store.engine.write)
        .await
        .map(drop)
}

/// The ids of all grants, in their order.
async fn ids(store: &Store) -> Result<Vec<String>> {
    let rows = Sql::new("SELECT id FROM grants ORDER BY id")
        .rows(&store.engine.read)
        .await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

/// Makes so many of them due, others in each round, spread over the whole table as real ones are; and lets the database
/// come to rest from that.
async fn make_due(
    store: &Store,
    ids: &[String],
    due: u32,
    round: usize,
    now: Timestamp,
) -> Result<()> {
    let due = usize::try_from(due).unwrap_or(usize::MAX);
    let step = (ids.len() / due.max(1)).max(1);
    let spread = ids.iter().skip(round % step).step_by(step).take(due);
    let mut tx = store.engine.begin().await?;
    for id in spread {
        Sql::new("UPDATE grants SET wake_at = $1, due_at = $1 WHERE id = $2 AND partner_id IN (SELECT id FROM partners)")
            .bind(&now)
            .text(id)
            .run(&mut *tx)
            .await?;
    }
    store.engine.commit(tx).await?;
    store.engine.settle().await?;
    // The first commit after that begins the log anew, with one more sync. In a server it is the readiness check's, or
    // somebody else's: hardly ever that of the scheduler.
    store.check_writable().await
}
