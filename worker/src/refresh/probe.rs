//! An auth config that its provider refused is tried out now and then with one due grant: whoever repaired it
//! at the provider need not tell us. One process at a time takes the right to, in the row.

use std::time::Duration;

use latchkey_domain::{Timestamp, states::AuthConfigStatus};
use latchkey_store::GrantRow;
use latchkey_telemetry::Chain;

use super::protocol::Protocol;
use crate::client::OauthClient;

/// How often a paused auth config is tried out.
const EVERY: Duration = Duration::from_secs(300);

impl Protocol {
    /// Whether a due grant of this client shall try it out: it is paused because its provider refused it, and
    /// nobody tried for a while.
    pub(super) async fn takes_probe(&self, client: &OauthClient, now: Timestamp) -> bool {
        let config = &client.config;
        let is_refused =
            config.status == AuthConfigStatus::Paused && config.status_reason.is_some();
        if !is_refused || config.updated_at + EVERY > now {
            return false;
        }
        match self.ctx.store.take_probe(config, now).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::debug!(auth_config = %config.id, error = %Chain(&error), "not tried out");
                false
            }
        }
    }

    /// The provider took the client again: its auth config goes on, and so do the grants that wait for it.
    pub(super) async fn resume(&self, row: &GrantRow, client: &OauthClient, now: Timestamp) {
        let (config, store) = (&client.config, &self.ctx.store);
        self.clients
            .forget(row.partner_id, row.auth_config_id)
            .await;
        let resumed = async {
            let enabled = AuthConfigStatus::Enabled;
            let changed = store
                .set_auth_config_status(config.partner_id, config.id, enabled, None, now)
                .await?;
            if changed {
                store.wake_grants_of(config.id, now).await?;
            }
            Ok::<_, latchkey_store::StoreError>(changed)
        };
        match resumed.await {
            Ok(true) => {
                tracing::info!(auth_config = %config.id, "the provider takes this client again");
            }
            Ok(false) => {}
            Err(error) => {
                // The next probe does it.
                tracing::warn!(auth_config = %config.id, error = %Chain(&error), "it could not be resumed");
            }
        }
    }
}
