//! Connect sessions: one attempt of an end user to connect. Link, state, browser binding and completion
//! code are kept as SHA-256 hashes; the PKCE verifier and the provider's code are sealed, and forgotten
//! when the session ends.

use latchkey_domain::{
    AccountId, AuthConfigId, ConnectionId, PartnerId, SessionId, Timestamp, states::SessionStatus,
};

use crate::{
    Confirmation, JobRow, Result, Store,
    field::{JsonMap, record},
    sql::Sql,
};

record! {
    /// A connect session.
    pub struct SessionRow in "connect_sessions" by "id" {
        /// Its id.
        pub id: SessionId,
        /// Whose user connects.
        pub partner_id: PartnerId,
        /// Who connects.
        pub account_id: AccountId,
        /// With which OAuth client.
        pub auth_config_id: AuthConfigId,
        /// To what.
        pub provider: String,
        /// Where the browser goes at the end.
        pub redirect_url: String,
        /// The provider's scopes asked for.
        pub scopes: Vec<String>,
        /// The services asked for; empty for the provider's default.
        pub services: Vec<String>,
        /// Values for the catalogue entry's placeholders.
        pub params: JsonMap,
        /// Whether the partner's backend must confirm.
        pub confirmation: Confirmation,
        /// Where it stands.
        pub status: SessionStatus,
        /// The error code it failed with.
        pub error: Option<String>,
        /// Hash of the connect link's secret.
        pub link_hash: [u8; 32],
        /// Hash of the OAuth state, once the browser was sent on.
        pub state_hash: Option<[u8; 32]>,
        /// Hash of the browser-binding cookie.
        pub binding_hash: Option<[u8; 32]>,
        /// Hash of the completion code that the partner's backend posts.
        pub completion_hash: Option<[u8; 32]>,
        /// The PKCE verifier, sealed.
        pub verifier: Option<Vec<u8>>,
        /// The provider's code, sealed.
        pub code: Option<Vec<u8>>,
        /// When the code was sent to the provider: it is sent once.
        pub code_sent_at: Option<Timestamp>,
        /// The connection it led to.
        pub connection_id: Option<ConnectionId>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it ends by itself.
        pub expires_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
    }
}

/// The browser is about to be sent to the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginAuthorizing {
    /// Whose session.
    pub partner_id: PartnerId,
    /// Which session.
    pub session_id: SessionId,
    /// Hash of the new state; the one before it no longer works.
    pub state_hash: [u8; 32],
    /// Hash of the browser-binding cookie.
    pub binding_hash: [u8; 32],
    /// The PKCE verifier, sealed; `None` where the provider knows no PKCE.
    pub verifier: Option<Vec<u8>>,
    /// Now.
    pub now: Timestamp,
}

/// The provider's callback brought a code.
#[derive(Clone, Debug)]
pub struct TakeCode {
    /// Whose session.
    pub partner_id: PartnerId,
    /// Which session.
    pub session_id: SessionId,
    /// The state it came with, hashed; it works once.
    pub state_hash: [u8; 32],
    /// The code, sealed.
    pub code: Vec<u8>,
    /// Values for the catalogue entry's placeholders, with what the callback brought.
    pub params: JsonMap,
    /// What follows.
    pub then: AfterCode,
    /// When the session ends by itself from now on: no later than its code does.
    pub expires_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// What follows a callback.
#[derive(Clone, Debug)]
pub enum AfterCode {
    /// The code is exchanged by this job, written in the same transaction.
    Exchange(Box<JobRow>),
    /// The partner's backend must first post the completion code with this hash.
    AwaitConfirmation([u8; 32]),
}

/// Forgets what a session no longer needs, as part of the statement that ends it. The link keeps working
/// (it then shows how it ended), and so does the used state.
pub(crate) const FORGET: &str = "verifier = NULL, code = NULL, completion_hash = NULL";

impl Store {
    /// Adds a session.
    pub async fn insert_session(&self, row: &SessionRow) -> Result<()> {
        Sql::insert(row)
            .run(&self.engine.write)
            .await
            .map(drop)
            .map_err(|error| error.or_missing("there is no such account"))
    }

    /// A session of an account.
    pub async fn get_session(
        &self,
        partner: PartnerId,
        account: AccountId,
        id: SessionId,
    ) -> Result<Option<SessionRow>> {
        Sql::select::<SessionRow>("WHERE partner_id = $1 AND account_id = $2 AND id = $3")
            .bind(&partner)
            .bind(&account)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// A session by its id alone within the partner (`/connect-sessions/{id}/complete`, the worker).
    pub async fn get_partner_session(
        &self,
        partner: PartnerId,
        id: SessionId,
    ) -> Result<Option<SessionRow>> {
        Sql::select::<SessionRow>("WHERE partner_id = $1 AND id = $2")
            .bind(&partner)
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// The session of a connect link. The secret in the link is the credential, so no partner is given.
    pub async fn find_session_by_link(&self, link_hash: &[u8; 32]) -> Result<Option<SessionRow>> {
        Sql::select::<SessionRow>("WHERE link_hash = $1")
            .bind(link_hash)
            .one(&self.engine.read)
            .await
    }

    /// The session of an OAuth state. The state is the credential, so no partner is given. A used state
    /// still finds its session, so that a reload of the callback can show how it went.
    pub async fn find_session_by_state(&self, state_hash: &[u8; 32]) -> Result<Option<SessionRow>> {
        Sql::select::<SessionRow>("WHERE state_hash = $1")
            .bind(state_hash)
            .one(&self.engine.read)
            .await
    }

    /// `pending` or `authorizing` → `authorizing`, unless it expired; says whether.
    pub async fn begin_authorizing(&self, begin: &BeginAuthorizing) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE connect_sessions SET status = 'authorizing', state_hash = $1, \
             binding_hash = $2, verifier = $3, updated_at = $4 \
             WHERE partner_id = $5 AND id = $6 AND status IN ('pending', 'authorizing') \
             AND expires_at > $4",
        )
        .bind(&begin.state_hash)
        .bind(&begin.binding_hash)
        .bind(&begin.verifier)
        .bind(&begin.now)
        .bind(&begin.partner_id)
        .bind(&begin.session_id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// `authorizing` → `exchanging` or `awaiting_confirmation`, if the state matches and the session did
    /// not expire; says whether. The same state never passes twice.
    pub async fn take_code(&self, take: &TakeCode) -> Result<bool> {
        let (status, completion_hash, job) = match &take.then {
            AfterCode::Exchange(job) => (SessionStatus::Exchanging, None, Some(job)),
            AfterCode::AwaitConfirmation(hash) => {
                (SessionStatus::AwaitingConfirmation, Some(*hash), None)
            }
        };
        let mut tx = self.engine.begin().await?;
        let changed = Sql::new(
            "UPDATE connect_sessions SET status = $1, code = $2, completion_hash = $3, \
             updated_at = $4, params = $8, expires_at = $9 WHERE partner_id = $5 AND id = $6 \
             AND status = 'authorizing' AND state_hash = $7 AND expires_at > $4",
        )
        .bind(&status)
        .bind(&Some(take.code.clone()))
        .bind(&completion_hash)
        .bind(&take.now)
        .bind(&take.partner_id)
        .bind(&take.session_id)
        .bind(&take.state_hash)
        .bind(&take.params)
        .bind(&take.expires_at)
        .run(&mut *tx)
        .await?;
        if changed == 0 {
            return Ok(false);
        }
        if let Some(job) = job {
            Sql::insert(&**job).run(&mut *tx).await?;
        }
        self.engine.commit(tx).await?;
        Ok(true)
    }

    /// `awaiting_confirmation` → `exchanging`, if the completion code matches, the account has this
    /// external id, and the session did not expire; writes the job that exchanges the code. Says whether.
    pub async fn confirm_session(
        &self,
        partner: PartnerId,
        session: SessionId,
        completion_hash: &[u8; 32],
        external_id: &str,
        job: &JobRow,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let changed = Sql::new(
            "UPDATE connect_sessions SET status = 'exchanging', updated_at = $1 \
             WHERE partner_id = $2 AND id = $3 AND status = 'awaiting_confirmation' \
             AND completion_hash = $4 AND expires_at > $1 AND EXISTS \
             (SELECT 1 FROM accounts a WHERE a.partner_id = $2 \
              AND a.id = connect_sessions.account_id AND a.external_id = $5 \
              AND a.deleted_at IS NULL)",
        )
        .bind(&now)
        .bind(&partner)
        .bind(&session)
        .bind(completion_hash)
        .text(external_id)
        .run(&mut *tx)
        .await?;
        if changed == 0 {
            return Ok(false);
        }
        Sql::insert(job).run(&mut *tx).await?;
        self.engine.commit(tx).await?;
        Ok(true)
    }

    /// Marks the code as sent, once and before it leaves: a second caller gets `false` and must not send.
    pub async fn mark_code_sent(
        &self,
        partner: PartnerId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE connect_sessions SET code_sent_at = $1, updated_at = $1 WHERE partner_id = $2 \
             AND id = $3 AND status = 'exchanging' AND code_sent_at IS NULL",
        )
        .bind(&now)
        .bind(&partner)
        .bind(&session)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Ends a session that is not final as `failed` with this error code, and forgets its secrets; says
    /// whether. (Success is written by [`Store::store_connection`].)
    pub async fn fail_session(
        &self,
        partner: PartnerId,
        session: SessionId,
        error: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(format!(
            "UPDATE connect_sessions SET status = 'failed', error = $1, {FORGET}, updated_at = $2 \
             WHERE partner_id = $3 AND id = $4 AND status IN \
             ('pending', 'authorizing', 'awaiting_confirmation', 'exchanging')"
        ))
        .text(error)
        .bind(&now)
        .bind(&partner)
        .bind(&session)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Expires up to `limit` sessions whose time is over and that no worker exchanges, and forgets their
    /// secrets; returns how many.
    pub async fn expire_sessions(&self, now: Timestamp, limit: u32) -> Result<u64> {
        let over = self.engine.pick(
            "SELECT partner_id, id FROM connect_sessions WHERE expires_at <= $1 AND status IN \
             ('pending', 'authorizing', 'awaiting_confirmation') ORDER BY expires_at LIMIT $2",
        );
        Sql::new(format!(
            "{over}UPDATE connect_sessions SET status = 'expired', error = 'session_expired', \
             {FORGET}, updated_at = $1 FROM picked \
             WHERE connect_sessions.partner_id = picked.partner_id \
             AND connect_sessions.id = picked.id"
        ))
        .bind(&now)
        .bind(&limit)
        .run(&self.engine.write)
        .await
    }

    /// Deletes up to `limit` final sessions that ended before `before`; returns how many.
    pub async fn delete_old_sessions(&self, before: Timestamp, limit: u32) -> Result<u64> {
        Sql::new(
            "DELETE FROM connect_sessions WHERE (partner_id, id) IN \
             (SELECT partner_id, id FROM connect_sessions WHERE updated_at < $1 AND status IN \
              ('completed', 'failed', 'expired') ORDER BY updated_at LIMIT $2)",
        )
        .bind(&before)
        .bind(&limit)
        .run(&self.engine.write)
        .await
    }
}
