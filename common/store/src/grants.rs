//! Grants: the narrow rows of the refresh protocol, apart from the sealed tokens (`grant_secrets`). The
//! decisions are `domain::refresh`'s; here they are applied by conditional writes: a claim if the row is
//! as it was read (`rev`), a landing by version alone, a closing by version and attempt.

use std::{collections::HashMap, time::Duration};

use latchkey_domain::{
    AccountId, AttemptId, AuthConfigId, ConnectionId, GrantId, HolderId, PartnerId, Timestamp,
    refresh::{Closing, GrantView},
    states::GrantState,
};

use sqlx::any::AnyRow;

use crate::{
    AttemptRow, Result, Store,
    field::{Record, record},
    sql::{Sql, column, columns, with_values},
    writer::Write,
};

/// Grants loaded by one statement.
const MOST_AT_ONCE: usize = 500;

record! {
    /// A grant's narrow row.
    pub struct GrantRow in "grants" by "id" {
        /// Its id.
        pub id: GrantId,
        /// Whose user's.
        pub partner_id: PartnerId,
        /// The connection it serves.
        pub connection_id: ConnectionId,
        /// The account of that connection.
        pub account_id: AccountId,
        /// The OAuth client it was granted to.
        pub auth_config_id: AuthConfigId,
        /// The provider's slug.
        pub provider: String,
        /// Where it stands.
        pub state: GrantState,
        /// Why it needs the end user again.
        pub reason: Option<String>,
        /// The generation; grows by one with each landed answer.
        pub version: i64,
        /// Grows with every write that a decision goes by: a claim is won only on the row that was read.
        pub rev: i64,
        /// The attempt that ended last, by landing or closing.
        pub last_attempt: Option<AttemptId>,
        /// Whether this generation was presented and its answer is not known.
        pub in_doubt: bool,
        /// When the last attempt closed in doubt.
        pub closed_at: Option<Timestamp>,
        /// When this generation was first claimed, while it is in doubt.
        pub first_claim_at: Option<Timestamp>,
        /// No attempt before.
        pub retry_at: Option<Timestamp>,
        /// Failures in a row.
        pub failures: u32,
        /// The last failure, as partners may see it.
        pub last_failure: Option<String>,
        /// Whether there is a refresh token.
        pub refreshable: bool,
        /// When the access token was issued.
        pub issued_at: Timestamp,
        /// When it ends, if the provider said.
        pub expires_at: Option<Timestamp>,
        /// When an answer last landed by refresh.
        pub last_refreshed_at: Option<Timestamp>,
        /// When it is due; none if it cannot be refreshed or is not active.
        pub due_at: Option<Timestamp>,
        /// When the scheduler looks at it next: `due_at`, or later where that came to nothing.
        pub wake_at: Option<Timestamp>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
        /// When it dies if nobody acts: the end of its refresh token, if one is known.
        pub dies_at: Option<Timestamp>,
        /// When a call was refused with 401 although its token had just been renewed for a 401.
        pub refused_at: Option<Timestamp>,
    }
}

impl GrantRow {
    /// What the protocol decides by, with the attempt that is under way.
    pub fn view(&self, open: Option<&AttemptRow>) -> GrantView {
        GrantView {
            state: self.state,
            version: self.version,
            open: open.map(AttemptRow::view),
            in_doubt: self.in_doubt,
            closed_at: self.closed_at,
            first_claim_at: open.map(|open| open.first_claim_at).or(self.first_claim_at),
            retry_at: self.retry_at,
            failures: self.failures,
            expires_at: self.expires_at,
        }
    }

    /// Whether its access token still works at `now`, as far as its end is known.
    pub fn token_lives(&self, now: Timestamp) -> bool {
        self.view(None).token_lives(now)
    }

    /// What names it in a batch.
    pub const fn key(&self) -> GrantKey {
        GrantKey {
            partner_id: self.partner_id,
            id: self.id,
        }
    }
}

record! {
    /// The sealed token set of a grant.
    pub struct GrantSecret in "grant_secrets" by "grant_id" {
        /// Whose it is.
        pub grant_id: GrantId,
        /// Whose user's.
        pub partner_id: PartnerId,
        /// The generation it was sealed for.
        pub version: i64,
        /// The token set, sealed.
        pub sealed: Vec<u8>,
    }
}

/// A grant as batches name it: never without its partner.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct GrantKey {
    /// Whose user's.
    pub partner_id: PartnerId,
    /// Which.
    pub id: GrantId,
}

impl GrantKey {
    /// From the first columns of a row.
    pub(crate) fn read(row: &AnyRow) -> Result<Self> {
        Ok(Self {
            partner_id: column(row, 0)?,
            id: column(row, 1)?,
        })
    }
}

/// A grant with the attempt under way and its sealed tokens; without them once they were forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedGrant {
    /// The narrow row.
    pub row: GrantRow,
    /// The attempt under way.
    pub open: Option<AttemptRow>,
    /// The sealed tokens of the row's version.
    pub secret: Option<GrantSecret>,
}

impl LoadedGrant {
    /// What the protocol decides by.
    pub fn view(&self) -> GrantView {
        self.row.view(self.open.as_ref())
    }
}

/// Take a grant for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantClaim {
    /// Which grant.
    pub grant: GrantKey,
    /// The `rev` of the row the decision was made on.
    pub rev: i64,
    /// The attempt that the decision found open and its holder silent for too long.
    pub replaced: Option<AttemptId>,
    /// This attempt's id: the claim is won only if the grant's attempt is this one afterwards.
    pub attempt: AttemptId,
    /// Whose journal will hold the answer.
    pub holder: HolderId,
    /// How long it holds; the deadline is taken from database time as the claim is written.
    pub lease: Duration,
    /// From when the grace counts, as decided.
    pub first_claim_at: Timestamp,
}

/// A provider's answer to a presented generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Which grant.
    pub grant: GrantKey,
    /// The generation that was presented.
    pub generation: i64,
    /// The attempt that presented it (kept to resolve a lost commit; landing goes by version alone).
    pub attempt: AttemptId,
    /// The new token set, sealed for `generation + 1`.
    pub sealed: Vec<u8>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When the access token ends, if the provider said.
    pub expires_at: Option<Timestamp>,
    /// When it is due next.
    pub due_at: Option<Timestamp>,
    /// Whether there is a refresh token to go on with.
    pub refreshable: bool,
    /// When the refresh token ends, if that is known.
    pub dies_at: Option<Timestamp>,
    /// From the claim to the answer; none if it was landed from a journal.
    pub took: Option<Duration>,
    /// Now.
    pub now: Timestamp,
}

/// What became of a landing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// It is stored.
    Stored {
        /// The generation the grant now holds.
        version: i64,
        /// The connection was deleted meanwhile: what landed must be revoked.
        revoking: bool,
    },
    /// The grant moved past that generation (or is gone): nothing changed.
    Stale,
}

/// The end of an attempt without a successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseAttempt {
    /// Which grant.
    pub grant: GrantKey,
    /// The generation that was claimed.
    pub version: i64,
    /// The attempt to close.
    pub attempt: AttemptId,
    /// What `domain::refresh::close` decided.
    pub closing: Closing,
    /// The cool-down.
    pub retry_at: Option<Timestamp>,
    /// Failures in a row from now on.
    pub failures: u32,
    /// What partners may see of the failure.
    pub last_failure: Option<String>,
    /// How it ended, for the history.
    pub outcome: &'static str,
    /// From the claim to its end; none if its process died.
    pub took: Option<Duration>,
    /// When it is due next; none if it is dead.
    pub due_at: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

impl Store {
    /// Grants with their sealed tokens, in the order asked for; those that are not there are left out.
    pub async fn load_grants(&self, grants: &[GrantKey]) -> Result<Vec<LoadedGrant>> {
        let mut found = HashMap::with_capacity(grants.len());
        for part in grants.chunks(MOST_AT_ONCE) {
            let keys: Vec<&GrantKey> = part.iter().collect();
            let rows = with_values(
                self.engine.marks(),
                &["partner_id", "id"],
                &keys,
                |sql, key| {
                    sql.add(&key.partner_id);
                    sql.add(&key.id);
                },
            )
            .push(&format!(
                "SELECT {} FROM (SELECT DISTINCT partner_id, id FROM v) AS k \
                 JOIN grants g ON g.partner_id = k.partner_id AND g.id = k.id {LOADED_WITH}",
                loaded_columns()
            ))
            .rows(&self.engine.read)
            .await?;
            for row in &rows {
                let loaded = read_loaded(row)?;
                found.insert(loaded.row.key(), loaded);
            }
        }
        Ok(grants
            .iter()
            .filter_map(|key| found.get(key).cloned())
            .collect())
    }

    /// One grant with its sealed tokens.
    pub async fn load_grant(&self, grant: GrantKey) -> Result<Option<LoadedGrant>> {
        Ok(self.load_grants(&[grant]).await?.pop())
    }

    /// Takes a grant for an attempt (clause 1), in a group commit; `true` if this attempt has it. After an
    /// error it may have it all the same: nothing may be sent, and the attempt is to be closed as unsent.
    pub async fn claim_grant(&self, claim: GrantClaim) -> Result<bool> {
        Ok(self.group(Write::ClaimGrant(Box::new(claim))).await?.won)
    }

    /// Stores an answer (clause 3), in a group commit: by version alone, also over `needs_reauth`, and for
    /// a connection deleted meanwhile.
    pub async fn land_grant(&self, landing: Landing) -> Result<Landed> {
        let generation = landing.generation;
        let answer = self.group(Write::Land(Box::new(landing))).await?;
        Ok(if answer.won {
            Landed::Stored {
                version: generation + 1,
                revoking: answer.revoking,
            }
        } else {
            Landed::Stale
        })
    }

    /// Closes an attempt (clauses 4 and 6), in a group commit; `false` if version or attempt moved on.
    pub async fn close_attempt(&self, close: CloseAttempt) -> Result<bool> {
        Ok(self.group(Write::Close(Box::new(close))).await?.won)
    }

    /// Declares a grant dead outside an attempt (a provider told us, or `ClaimDecision::Lost`), if its
    /// version is still this one; says whether.
    pub async fn kill_grant(
        &self,
        grant: GrantKey,
        version: i64,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE grants SET state = 'needs_reauth', reason = $1, due_at = NULL, wake_at = NULL, \
             rev = rev + 1, updated_at = $2 \
             WHERE partner_id = $3 AND id = $4 AND version = $5 AND state = 'active'",
        )
        .text(reason)
        .bind(&now)
        .bind(&grant.partner_id)
        .bind(&grant.id)
        .bind(&version)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// A call was refused although the generation it used had just been fetched because of a refusal: new
    /// tokens do not mend that.
    pub async fn note_refusal(&self, grant: GrantKey, version: i64, now: Timestamp) -> Result<()> {
        Sql::new(
            "UPDATE grants SET refused_at = $1 WHERE partner_id = $2 AND id = $3 AND version = $4",
        )
        .bind(&now)
        .bind(&grant.partner_id)
        .bind(&grant.id)
        .bind(&version)
        .run(&self.engine.write)
        .await
        .map(drop)
    }

    /// After the revocation has its receipt: deletes the sealed tokens and ends the grant as `revoked`,
    /// only if no attempt is open and the version is the one revoked; says whether.
    pub async fn forget_grant(
        &self,
        grant: GrantKey,
        version: i64,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let ended = Sql::new(
            "UPDATE grants SET state = 'revoked', in_doubt = 0, rev = rev + 1, updated_at = $1 \
             WHERE partner_id = $2 AND id = $3 AND version = $4 AND state = 'revoking' \
             AND NOT EXISTS (SELECT 1 FROM grant_attempts a \
             WHERE a.partner_id = grants.partner_id AND a.grant_id = grants.id)",
        )
        .bind(&now)
        .bind(&grant.partner_id)
        .bind(&grant.id)
        .bind(&version)
        .run(&mut *tx)
        .await?;
        if ended == 0 {
            return Ok(false);
        }
        Sql::new("DELETE FROM grant_secrets WHERE partner_id = $1 AND grant_id = $2")
            .bind(&grant.partner_id)
            .bind(&grant.id)
            .run(&mut *tx)
            .await?;
        self.engine.commit(tx).await?;
        Ok(true)
    }

    /// Grants that wait for their revocation, for the reconciler that re-issues lost revoke jobs.
    pub async fn revoking_grants(&self, limit: u32) -> Result<Vec<GrantRow>> {
        Sql::select::<GrantRow>("WHERE state = 'revoking' ORDER BY updated_at LIMIT $1")
            .bind(&limit)
            .all(&self.engine.read)
            .await
    }
}

/// The columns of a [`LoadedGrant`].
pub(crate) fn loaded_columns() -> String {
    let (row, open) = (columns::<GrantRow>("g."), columns::<AttemptRow>("a."));
    format!("{row}, s.version, s.sealed, {open}")
}

/// What its attempt and its tokens are read from, beside `grants g`.
pub(crate) const LOADED_WITH: &str = "LEFT JOIN grant_secrets s ON s.partner_id = g.partner_id AND s.grant_id = g.id \
     LEFT JOIN grant_attempts a ON a.partner_id = g.partner_id AND a.grant_id = g.id";

/// A row of [`loaded_columns`].
pub(crate) fn read_loaded(row: &AnyRow) -> Result<LoadedGrant> {
    let grant = GrantRow::read(row, 0)?;
    let at = GrantRow::COLUMNS.len();
    let version: Option<i64> = column(row, at)?;
    let sealed: Option<Vec<u8>> = column(row, at + 1)?;
    let secret = version.zip(sealed).map(|(version, sealed)| GrantSecret {
        grant_id: grant.id,
        partner_id: grant.partner_id,
        version,
        sealed,
    });
    let of: Option<GrantId> = column(row, at + 3)?;
    let open = of.map(|_| AttemptRow::read(row, at + 2)).transpose()?;
    Ok(LoadedGrant {
        row: grant,
        open,
        secret,
    })
}
