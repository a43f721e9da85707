//! Connect links: sessions whose connection has its id before it stands, so that whoever asked can name it,
//! follow it and list it on the way.

use latchkey_domain::{
    AccountId, AuthConfigId, ConnectionId, PartnerId, SessionId, Timestamp, states::SessionStatus,
};

use crate::{
    JobRow, Result, Scheme, SessionRow, Store,
    field::{JsonMap, record},
    sessions::FORGET,
    sql::{Sql, columns},
};

record! {
    /// What a session's connection will be.
    pub struct LinkRow in "connect_links" by "id" {
        /// Whose.
        pub partner_id: PartnerId,
        /// The connection's id, if it turns out to be a new one.
        pub id: ConnectionId,
        /// The session that leads to it.
        pub session_id: SessionId,
        /// Who connects.
        pub account_id: AccountId,
        /// The auth config that was named.
        pub config_id: AuthConfigId,
        /// The toolkit that was named.
        pub toolkit: String,
        /// What the connection will hold.
        pub scheme: Scheme,
        /// A name for people that the connection begins with.
        pub display_name: Option<String>,
    }
}

/// A link with its session.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The link.
    pub row: LinkRow,
    /// Its session.
    pub session: SessionRow,
}

/// `SELECT … FROM connect_links l JOIN connect_sessions s …`; the condition follows.
pub(crate) fn joined_links() -> Sql {
    Sql::new(format!(
        "SELECT {}, {} FROM connect_links l \
         JOIN connect_sessions s ON s.partner_id = l.partner_id AND s.id = l.session_id ",
        columns::<LinkRow>("l."),
        columns::<SessionRow>("s.")
    ))
}

impl Store {
    /// Adds a session and its link.
    ///
    /// # Errors
    /// `Conflict` if the auth config was deleted.
    pub async fn insert_link(&self, link: &LinkRow, session: &SessionRow) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        let configs = [link.config_id, session.auth_config_id];
        self.hold_auth_configs(&mut tx, link.partner_id, configs)
            .await?;
        Sql::insert(session)
            .run(&mut *tx)
            .await
            .map_err(|error| error.or_missing("there is no such account"))?;
        Sql::insert(link).run(&mut *tx).await?;
        self.engine.commit(tx).await
    }

    /// The link of this connection id.
    pub async fn get_link(&self, partner: PartnerId, id: ConnectionId) -> Result<Option<Link>> {
        let found = joined_links()
            .push("WHERE l.partner_id = $1 AND l.id = $2")
            .bind(&partner)
            .bind(&id)
            .pairs(&self.engine.read)
            .await?;
        Ok(found.into_iter().next().map(Link::from))
    }

    /// The link of a session.
    pub async fn get_session_link(
        &self,
        partner: PartnerId,
        session: SessionId,
    ) -> Result<Option<LinkRow>> {
        Sql::select::<LinkRow>("WHERE partner_id = $1 AND session_id = $2")
            .bind(&partner)
            .bind(&session)
            .one(&self.engine.read)
            .await
    }

    /// Names the connection that a link will lead to; `false` if there is no such link.
    pub async fn rename_link(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        display_name: Option<&str>,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE connect_links SET display_name = $1 WHERE partner_id = $2 AND id = $3",
        )
        .bind(&display_name.map(str::to_owned))
        .bind(&partner)
        .bind(&id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }

    /// Takes a link away and ends its session, unless a worker is exchanging its code; says whether.
    pub async fn delete_link(
        &self,
        partner: PartnerId,
        id: ConnectionId,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        Sql::new(format!(
            "UPDATE connect_sessions SET status = 'failed', error = 'deleted', {FORGET}, updated_at = $1 \
             WHERE partner_id = $2 AND id = \
             (SELECT session_id FROM connect_links WHERE partner_id = $2 AND id = $3) \
             AND status IN ('pending', 'authorizing', 'awaiting_confirmation')"
        ))
        .bind(&now)
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        let deleted = Sql::new(
            "DELETE FROM connect_links WHERE partner_id = $1 AND id = $2 AND NOT EXISTS \
             (SELECT 1 FROM connect_sessions s WHERE s.partner_id = $1 AND s.status = 'exchanging' \
              AND s.id = connect_links.session_id)",
        )
        .bind(&partner)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        self.engine.commit(tx).await?;
        Ok(deleted > 0)
    }

    /// `pending` → `exchanging` with these sealed credentials in the place of a code: they were given rather
    /// than granted at a consent page. Keeps the session's parameters and binding as they are here. Writes the job that tries them; says whether.
    pub async fn take_credentials(
        &self,
        session: &SessionRow,
        sealed: &[u8],
        job: &JobRow,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let changed = Sql::new(
            "UPDATE connect_sessions SET status = $1, code = $2, params = $3, updated_at = $4, \
             binding_hash = $7 \
             WHERE partner_id = $5 AND id = $6 AND status = 'pending' AND expires_at > $4",
        )
        .bind(&SessionStatus::Exchanging)
        .bind(&Some(sealed.to_vec()))
        .bind(&session.params)
        .bind(&now)
        .bind(&session.partner_id)
        .bind(&session.id)
        .bind(&session.binding_hash)
        .run(&mut *tx)
        .await?;
        if changed == 0 {
            return Ok(false);
        }
        Sql::insert(job).run(&mut *tx).await?;
        self.engine.commit(tx).await?;
        Ok(true)
    }

    /// Keeps what the end user was asked before connecting, while the session waits for it; says whether.
    pub async fn set_session_params(
        &self,
        session: &SessionRow,
        params: &JsonMap,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new(
            "UPDATE connect_sessions SET params = $1, updated_at = $2 WHERE partner_id = $3 \
             AND id = $4 AND status IN ('pending', 'authorizing')",
        )
        .bind(params)
        .bind(&now)
        .bind(&session.partner_id)
        .bind(&session.id)
        .run(&self.engine.write)
        .await?;
        Ok(changed > 0)
    }
}

impl From<(LinkRow, SessionRow)> for Link {
    fn from((row, session): (LinkRow, SessionRow)) -> Self {
        Self { row, session }
    }
}
