//! Idempotency keys: the first answer to a POST is kept, sealed, and given again.

use latchkey_domain::{PartnerId, Timestamp};

use crate::{
    Result, Store, StoreError,
    field::{record, state},
    sql::Sql,
};

/// Whether the first request is still running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdempotencyState {
    /// It is.
    InFlight,
    /// Its answer is kept.
    Done,
}

impl IdempotencyState {
    /// The form kept in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Done => "done",
        }
    }

    /// The state of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "in_flight" => Some(Self::InFlight),
            "done" => Some(Self::Done),
            _ => None,
        }
    }
}
state!(IdempotencyState);

record! {
    /// One idempotency key of a partner on a route.
    pub struct IdempotencyRow in "idempotency_keys" by "key" {
        /// Whose request.
        pub partner_id: PartnerId,
        /// Method and path of the request.
        pub route: String,
        /// The key the client chose.
        pub key: String,
        /// SHA-256 of the request.
        pub request_hash: [u8; 32],
        /// Whether the first request is still running.
        pub state: IdempotencyState,
        /// The answer's status.
        pub status: Option<u16>,
        /// The answer, sealed.
        pub answer: Option<Vec<u8>>,
        /// When the first request came.
        pub created_at: Timestamp,
        /// A request still in flight then died with its process: the key may be taken over.
        pub locked_until: Timestamp,
        /// When the key is forgotten.
        pub expires_at: Timestamp,
    }
}

/// What [`Store::begin_idempotent`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// The key is ours: do the work, then complete or forget it.
    Ours,
    /// The key was used before (in flight, done, or with another request: compare the hashes).
    Before(Box<IdempotencyRow>),
}

impl Store {
    /// Takes a key, or returns what it holds. An expired key counts as none; one in flight past its lock,
    /// with the same request, is taken over.
    pub async fn begin_idempotent(&self, row: &IdempotencyRow) -> Result<Begun> {
        let sql = Sql::insert(row).push(
            " ON CONFLICT (partner_id, route, key) DO UPDATE SET \
             request_hash = excluded.request_hash, state = excluded.state, status = NULL, \
             answer = NULL, created_at = excluded.created_at, \
             locked_until = excluded.locked_until, expires_at = excluded.expires_at \
             WHERE idempotency_keys.expires_at <= excluded.created_at \
             OR (idempotency_keys.state = 'in_flight' \
                 AND idempotency_keys.locked_until <= excluded.created_at \
                 AND idempotency_keys.request_hash = excluded.request_hash)",
        );
        let mut tx = self.engine.begin().await?;
        if sql.run(&mut *tx).await? > 0 {
            self.engine.commit(tx).await?;
            return Ok(Begun::Ours);
        }
        // The upsert held the row, so it is still there.
        let before: Option<IdempotencyRow> =
            Sql::select::<IdempotencyRow>("WHERE partner_id = $1 AND route = $2 AND key = $3")
                .bind(&row.partner_id)
                .bind(&row.route)
                .bind(&row.key)
                .one(&mut *tx)
                .await?;
        before
            .map(|row| Begun::Before(Box::new(row)))
            .ok_or(StoreError::Conflict {
                what: "the idempotency key was freed meanwhile",
            })
    }

    /// Keeps the answer of the request that began with `begun`; `false` if the key is done, was forgotten, or
    /// was taken over meanwhile. Whoever takes a key over begins strictly later (its lock had run out), so the
    /// time of the beginning tells the runs apart.
    pub async fn complete_idempotent(
        &self,
        begun: &IdempotencyRow,
        status: u16,
        answer: &[u8],
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE idempotency_keys SET state = 'done', status = $1, answer = $2 \
             WHERE partner_id = $3 AND route = $4 AND key = $5 AND state = 'in_flight' \
             AND created_at = $6",
        )
        .bind(&status)
        .bind(&answer.to_vec())
        .bind(&begun.partner_id)
        .bind(&begun.route)
        .bind(&begun.key)
        .bind(&begun.created_at)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Frees a key whose request failed without effect, unless it was taken over meanwhile.
    pub async fn forget_idempotent(&self, begun: &IdempotencyRow) -> Result<()> {
        Sql::new(
            "DELETE FROM idempotency_keys WHERE partner_id = $1 AND route = $2 AND key = $3 \
             AND state = 'in_flight' AND created_at = $4",
        )
        .bind(&begun.partner_id)
        .bind(&begun.route)
        .bind(&begun.key)
        .bind(&begun.created_at)
        .run(&self.engine.write)
        .await
        .map(drop)
    }

    /// Deletes up to `limit` keys that expired; returns how many.
    pub async fn expire_idempotency(&self, now: Timestamp, limit: u32) -> Result<u64> {
        Sql::new(
            "DELETE FROM idempotency_keys WHERE (partner_id, route, key) IN \
             (SELECT partner_id, route, key FROM idempotency_keys WHERE expires_at <= $1 \
              ORDER BY expires_at LIMIT $2)",
        )
        .bind(&now)
        .bind(&limit)
        .run(&self.engine.write)
        .await
    }
}
