//! Storing what an exchange brought: connection, grant, sealed tokens and the session's end, in one
//! transaction.

use std::time::Duration;

use latchkey_domain::{
    ConnectionId, GrantId,
    backoff::Backoff,
    refresh,
    states::{ConnectionStatus, SessionStatus},
};
use latchkey_oauth::{Identity, TokenSet};
use latchkey_providers::Provider;
use latchkey_store::{Connection, ConnectionRow, LinkRow, Listing, NewConnection, Scheme};
use secrecy::ExposeSecret;

use super::{Exchange, Failed};
use crate::{client::OauthClient, handlers::revoke_grant::revoke_unstored};

/// Times that what came is written before it is given up: the store may be busy, and the grant may move on
/// between reading and writing.
const STORE_TRIES: u32 = 5;
const STORE_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(2),
};

impl Exchange<'_> {
    /// Writes connection, grant, tokens and the session's end in one transaction.
    pub(in crate::handlers) async fn store(
        &self,
        client: &OauthClient,
        tokens: &TokenSet,
        identity: &Identity,
    ) -> Result<(), Failed> {
        let (ctx, session) = (&self.worker.ctx, &self.session);
        let mut tries = 0;
        let (error, status) = loop {
            tries += 1;
            let error = match self.try_store(client, tokens, identity).await {
                Ok(stored) => {
                    tracing::info!(connection = %stored.row.id, "connected");
                    ctx.signals.publish(stored.grant.id.as_u128()).await;
                    return Ok(());
                }
                Err(error) => error,
            };
            let now = ctx
                .store
                .get_partner_session(session.partner_id, session.id)
                .await;
            match now.ok().flatten().map(|row| row.status) {
                // It was written, and only the answer to the commit was lost.
                Some(SessionStatus::Completed) => return Ok(()),
                Some(SessionStatus::Exchanging) | None if tries < STORE_TRIES => {}
                status => break (error, status),
            }
            tokio::time::sleep(STORE_BACKOFF.wait(tries, &*ctx.entropy)).await;
        };
        // Nothing holds these tokens: the account was deleted meanwhile, or they cannot be written. Where
        // the session could not be read, they may have been.
        if status.is_some() && !self.given {
            let statuses = revoke_unstored(ctx, client, &session.params, tokens).await;
            tracing::warn!(session = %session.id, ?statuses, "what came could not be stored: revoked");
        }
        Err(error)
    }

    async fn try_store(
        &self,
        client: &OauthClient,
        tokens: &TokenSet,
        identity: &Identity,
    ) -> Result<Connection, Failed> {
        let (ctx, session) = (&self.worker.ctx, &self.session);
        let (partner, now) = (session.partner_id, ctx.now());
        let failed = |error: &(dyn std::error::Error + 'static)| Failed::exchange(error);
        let found = ctx
            .store
            .find_reconnect(
                partner,
                session.account_id,
                session.auth_config_id,
                &identity.key,
            )
            .await
            .map_err(|e| failed(&e))?;
        let (grant_id, version) = match &found {
            Some(found) => (found.grant.id, found.grant.version + 1),
            None => (GrantId::new(now, &*ctx.entropy), 1),
        };
        let row = grant_id.to_string();
        let bytes = tokens.to_bytes();
        let sealed = ctx
            .sealer
            .seal(
                partner,
                "grant_secrets",
                "sealed",
                &row,
                version,
                bytes.expose_secret(),
            )
            .await
            .map_err(|e| failed(&e))?;
        let link = ctx.store.get_session_link(partner, session.id).await;
        let link = link.map_err(|e| failed(&e))?;
        let connection =
            self.connection(client, found.as_ref(), link.as_ref(), tokens, identity)?;
        let provider = client.provider().map_err(|e| failed(&e))?;
        let listing = listing(link, &connection, provider);
        let renewal = client.spec().map_err(|e| failed(&e))?.refresh.renewal();
        let due = |end| refresh::due_at(grant_id, version, tokens.issued_at, end);
        let new = NewConnection {
            connection,
            grant_id,
            version,
            sealed,
            issued_at: tokens.issued_at,
            expires_at: tokens.expires_at,
            due_at: tokens.refresh_by(renewal).map(due),
            refreshable: tokens.is_refreshable(),
            listing,
            dies_at: tokens
                .refresh_expires_at
                .filter(|_| tokens.is_refreshable()),
            session_id: Some(session.id),
            job: None,
            now,
        };
        ctx.store
            .store_connection(&new)
            .await
            .map_err(|e| failed(&e))
    }

    fn connection(
        &self,
        client: &OauthClient,
        found: Option<&Connection>,
        link: Option<&LinkRow>,
        tokens: &TokenSet,
        identity: &Identity,
    ) -> Result<ConnectionRow, Failed> {
        let (ctx, session) = (&self.worker.ctx, &self.session);
        let now = ctx.now();
        let provider = client.provider().map_err(|e| Failed::exchange(&e))?;
        let spec = client.spec().map_err(|e| Failed::exchange(&e))?;
        let mut enabled_services = provider.granted(spec, &tokens.scopes);
        if link.is_some_and(|link| link.scheme != Scheme::Oauth2) {
            // Keys and passwords know no scopes: the provider decides at each call.
            for on in enabled_services.values_mut() {
                *on = true;
            }
        }
        if let Some(found) = found {
            // What the partner had switched off stays off; what was off because it was not granted does not.
            for (permission, was_granted) in provider.granted(spec, &found.row.scopes) {
                let is_off = found.row.enabled_services.get(&permission) == Some(&false);
                if was_granted && is_off {
                    enabled_services.insert(permission, false);
                }
            }
        }
        Ok(ConnectionRow {
            id: match (found, link) {
                (Some(found), _) => found.row.id,
                (None, Some(link)) => link.id,
                (None, None) => ConnectionId::new(now, &*ctx.entropy),
            },
            partner_id: session.partner_id,
            account_id: session.account_id,
            auth_config_id: session.auth_config_id,
            provider: session.provider.clone(),
            identity: identity.key.clone(),
            label: identity.label.clone(),
            status: ConnectionStatus::Active,
            reason: None,
            enabled_services,
            scopes: tokens.scopes.clone(),
            params: session.params.clone(),
            connected_at: now,
            updated_at: now,
            revoked_at: None,
        })
    }
}

/// How the connection is listed: as its link said, and under every toolkit that it reaches.
fn listing(link: Option<LinkRow>, connection: &ConnectionRow, provider: &Provider) -> Listing {
    let toolkits = provider.toolkits_of(&connection.enabled_services);
    match link {
        Some(link) => Listing {
            config_id: (link.config_id != connection.auth_config_id).then_some(link.config_id),
            scheme: link.scheme,
            display_name: link.display_name,
            toolkits,
        },
        None => Listing {
            toolkits,
            ..Listing::default()
        },
    }
}
