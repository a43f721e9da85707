//! Connecting: what an exchange brought is written in one transaction with the end of its session and job.
//! Connecting again with the same auth config and identity keeps the connection and gives its grant a new
//! generation.

use latchkey_domain::{
    AccountId, AuthConfigId, GrantId, PartnerId, SessionId, Timestamp, states::GrantState,
};
use sqlx::AnyConnection;

use crate::{
    AccountRow, CompleteJob, Connection, ConnectionRow, GrantRow, GrantSecret, Listing, Result,
    Store, StoreError, connections::joined, sessions::FORGET, sql::Sql, writer::complete_jobs,
};

/// What an exchange brought: connection, grant, sealed tokens and the end of its session and job.
#[derive(Clone, Debug)]
pub struct NewConnection {
    /// The connection as it shall be. Its id is the one of [`Store::find_reconnect`], or new.
    pub connection: ConnectionRow,
    /// The grant's id: that of the connection found, or new.
    pub grant_id: GrantId,
    /// The generation that `sealed` is: 1 for a new grant, else the found grant's version + 1.
    pub version: i64,
    /// The token set, sealed for `grant_id` and `version`.
    pub sealed: Vec<u8>,
    /// When the tokens were issued.
    pub issued_at: Timestamp,
    /// When the access token ends, if the provider said.
    pub expires_at: Option<Timestamp>,
    /// When it shall be refreshed, if it can be.
    pub due_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// How it is listed.
    pub listing: Listing,
    /// When the refresh token ends, if that is known.
    pub dies_at: Option<Timestamp>,
    /// The session that led here; it is `completed` in the same transaction.
    pub session_id: Option<SessionId>,
    /// The job that did it; it ends in the same transaction.
    pub job: Option<CompleteJob>,
    /// Now.
    pub now: Timestamp,
}

impl Store {
    /// The living connection that connecting again with this auth config and identity keeps.
    pub async fn find_reconnect(
        &self,
        partner: PartnerId,
        account: AccountId,
        auth_config: AuthConfigId,
        identity: &str,
    ) -> Result<Option<Connection>> {
        joined()
            .push(
                "WHERE c.partner_id = $1 AND c.account_id = $2 AND c.auth_config_id = $3 \
                 AND c.identity = $4 AND c.revoked_at IS NULL",
            )
            .bind(&partner)
            .bind(&account)
            .bind(&auth_config)
            .text(identity)
            .connection(&self.engine.read)
            .await
    }

    /// Writes what an exchange brought, in one transaction with the end of its session and job. Connecting
    /// again clears doubt, cool-down and any open attempt: the generation is a new one.
    ///
    /// # Errors
    /// `Conflict` when the account or its auth config was deleted, the session or job is no longer ours to end, or
    /// the grant moved on since it was read (read again, seal again). Nothing is written then.
    pub async fn store_connection(&self, new: &NewConnection) -> Result<Connection> {
        let mut tx = self.engine.begin().await?;
        let connection = &new.connection;
        let account: Option<AccountRow> =
            Sql::select::<AccountRow>("WHERE partner_id = $1 AND id = $2 AND deleted_at IS NULL")
                .bind(&connection.partner_id)
                .bind(&connection.account_id)
                .push(self.engine.for_update())
                .one(&mut *tx)
                .await?;
        if account.is_none() {
            return conflict("the account was deleted meanwhile");
        }
        let config = connection.auth_config_id;
        let configs = [config, new.listing.config_id.unwrap_or(config)];
        self.hold_auth_configs(&mut tx, connection.partner_id, configs)
            .await?;
        end_session(&mut tx, new).await?;
        if new.version == 1 {
            insert_new(&mut tx, new).await?;
        } else {
            update_old(&mut tx, new).await?;
        }
        list(&mut tx, new).await?;
        if let Some(job) = &new.job
            && !complete_jobs(self.engine.marks(), &mut tx, &[job])
                .await?
                .iter()
                .all(|answer| answer.won)
        {
            return conflict("the job is no longer this worker's to end");
        }
        let stored = joined()
            .push("WHERE c.partner_id = $1 AND c.id = $2")
            .bind(&connection.partner_id)
            .bind(&connection.id)
            .connection(&mut *tx)
            .await?;
        self.engine.commit(tx).await?;
        stored.map_or_else(|| conflict("the connection is gone"), Ok)
    }
}

fn conflict<T>(what: &'static str) -> Result<T> {
    Err(StoreError::Conflict { what })
}

/// `exchanging` → `completed`.
async fn end_session(tx: &mut AnyConnection, new: &NewConnection) -> Result<()> {
    let Some(session) = &new.session_id else {
        return Ok(());
    };
    let ended = Sql::new(format!(
        "UPDATE connect_sessions SET status = 'completed', connection_id = $1, {FORGET}, \
         updated_at = $2 WHERE partner_id = $3 AND id = $4 AND account_id = $5 \
         AND status = 'exchanging'"
    ))
    .bind(&new.connection.id)
    .bind(&new.now)
    .bind(&new.connection.partner_id)
    .bind(session)
    .bind(&new.connection.account_id)
    .run(&mut *tx)
    .await?;
    if ended == 0 {
        return conflict("the connect session is no longer under way");
    }
    Ok(())
}

/// Writes how the connection is listed. One that is connected again keeps its name and stays listed under the
/// config it was first made with; the link that led here is done.
async fn list(tx: &mut AnyConnection, new: &NewConnection) -> Result<()> {
    let (connection, listing) = (&new.connection, &new.listing);
    let (partner, id) = (&connection.partner_id, &connection.id);
    if new.version == 1 {
        Sql::new(
            "UPDATE connections SET listed_config_id = $1, display_name = $2 \
             WHERE partner_id = $3 AND id = $4",
        )
        .bind(&listing.config_id)
        .bind(&listing.display_name)
        .bind(partner)
        .bind(id)
        .run(&mut *tx)
        .await?;
    }
    Sql::new("UPDATE connections SET scheme = $1 WHERE partner_id = $2 AND id = $3")
        .bind(&listing.scheme)
        .bind(partner)
        .bind(id)
        .run(&mut *tx)
        .await?;
    Sql::new("DELETE FROM connection_toolkits WHERE partner_id = $1 AND connection_id = $2")
        .bind(partner)
        .bind(id)
        .run(&mut *tx)
        .await?;
    for toolkit in &listing.toolkits {
        Sql::new(
            "INSERT INTO connection_toolkits (partner_id, toolkit, connection_id) \
             VALUES ($1, $2, $3) ON CONFLICT (partner_id, toolkit, connection_id) DO NOTHING",
        )
        .bind(partner)
        .bind(toolkit)
        .bind(id)
        .run(&mut *tx)
        .await?;
    }
    let Some(session) = &new.session_id else {
        return Ok(());
    };
    Sql::new("UPDATE connect_links SET done = 1 WHERE partner_id = $1 AND session_id = $2")
        .bind(partner)
        .bind(session)
        .run(&mut *tx)
        .await
        .map(drop)
}

/// A connection that was not there.
async fn insert_new(tx: &mut AnyConnection, new: &NewConnection) -> Result<()> {
    let connection = &new.connection;
    Sql::insert(connection)
        .run(&mut *tx)
        .await
        .map_err(|error| error.or_conflict("this connection was made meanwhile"))?;
    let grant = first_grant(new);
    Sql::insert(&grant).run(&mut *tx).await?;
    Sql::insert(&GrantSecret {
        grant_id: new.grant_id,
        partner_id: connection.partner_id,
        version: new.version,
        sealed: new.sealed.clone(),
    })
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// The narrow row of a grant that was not there.
pub(crate) fn first_grant(new: &NewConnection) -> GrantRow {
    let connection = &new.connection;
    GrantRow {
        id: new.grant_id,
        partner_id: connection.partner_id,
        connection_id: connection.id,
        account_id: connection.account_id,
        auth_config_id: connection.auth_config_id,
        provider: connection.provider.clone(),
        state: GrantState::Active,
        reason: None,
        version: new.version,
        rev: 1,
        last_attempt: None,
        in_doubt: false,
        closed_at: None,
        first_claim_at: None,
        retry_at: None,
        failures: 0,
        last_failure: None,
        refreshable: new.refreshable,
        issued_at: new.issued_at,
        expires_at: new.expires_at,
        last_refreshed_at: None,
        due_at: new.due_at,
        wake_at: new.due_at,
        created_at: new.now,
        updated_at: new.now,
        dies_at: new.dies_at,
        refused_at: None,
    }
}

/// Connecting again: the same connection and grant, with a new generation.
async fn update_old(tx: &mut AnyConnection, new: &NewConnection) -> Result<()> {
    let row = &new.connection;
    let kept = Sql::new(
        "UPDATE connections SET label = $1, status = 'active', reason = NULL, scopes = $2, \
         params = $3, connected_at = $4, updated_at = $4 \
         WHERE partner_id = $5 AND id = $6 AND revoked_at IS NULL",
    )
    .bind(&row.label)
    .bind(&row.scopes)
    .bind(&row.params)
    .bind(&new.now)
    .bind(&row.partner_id)
    .bind(&row.id)
    .run(&mut *tx)
    .await?;
    let moved = Sql::new(
        "UPDATE grants SET version = version + 1, rev = rev + 1, state = 'active', reason = NULL, \
         in_doubt = 0, closed_at = NULL, first_claim_at = NULL, retry_at = NULL, failures = 0, \
         last_failure = NULL, refreshable = $1, issued_at = $2, expires_at = $3, due_at = $4, \
         wake_at = $4, updated_at = $5, dies_at = $6, refused_at = NULL \
         WHERE partner_id = $7 AND id = $8 AND connection_id = $9 AND version = $10 \
         AND state IN ('active', 'needs_reauth')",
    )
    .bind(&new.refreshable)
    .bind(&new.issued_at)
    .bind(&new.expires_at)
    .bind(&new.due_at)
    .bind(&new.now)
    .bind(&new.dies_at)
    .bind(&row.partner_id)
    .bind(&new.grant_id)
    .bind(&row.id)
    .bind(&(new.version - 1))
    .run(&mut *tx)
    .await?;
    if kept == 0 || moved == 0 {
        return conflict("the grant moved on meanwhile");
    }
    Sql::new("DELETE FROM grant_attempts WHERE partner_id = $1 AND grant_id = $2")
        .bind(&row.partner_id)
        .bind(&new.grant_id)
        .run(&mut *tx)
        .await?;
    Sql::new(
        "UPDATE grant_secrets SET version = $1, sealed = $2 WHERE partner_id = $3 AND grant_id = $4",
    )
    .bind(&new.version)
    .bind(&new.sealed)
    .bind(&row.partner_id)
    .bind(&new.grant_id)
    .run(&mut *tx)
    .await?;
    Ok(())
}
