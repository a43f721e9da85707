//! For whom a call acts and with which connection: the account that a request names, and its primary
//! connection at a provider. What is found usable is kept for [`KEPT`], so that a warm call reads no row;
//! what is not is looked up again each time, so that connecting helps at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use latchkey_domain::{PartnerId, Timestamp, states::ConnectionStatus};
use latchkey_store::{AccountRow, Connection};
use moka::sync::Cache;

use crate::{
    error::{ApiError, Code},
    reply::Result,
    state::Api,
};

/// How long a connection is trusted to be as it was read. The worker looks at the grant itself, so a
/// disconnected one is not used whatever stands here.
const KEPT: Duration = Duration::from_secs(5);
/// Connections kept at once, some 2 KiB each.
const CONNECTIONS_KEPT: u64 = 20_000;
/// The account that calls without `X-Account-Id` act for (`api.md` §6).
pub(crate) const DEFAULT_ACCOUNT: &str = "project_default_user";

const HEADER: &str = "x-account-id";

/// A usable connection and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// The account.
    pub(crate) account: AccountRow,
    /// Its primary connection at the provider.
    pub(crate) connection: Connection,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    partner: PartnerId,
    provider: String,
    external_id: String,
}

#[derive(Clone, Debug)]
struct Found {
    at: Duration,
    changes: u64,
    reached: Arc<Reached>,
}

/// The connections that were reached lately.
#[derive(Debug)]
pub(crate) struct Reach {
    found: Cache<Key, Found>,
    /// Changes of accounts and connections made in this process; what was found before one is looked up again.
    changes: Arc<AtomicU64>,
}

impl Reach {
    /// None yet. The count of changes is shared with the worker of this process.
    pub(crate) fn new(changes: Arc<AtomicU64>) -> Self {
        Self {
            found: Cache::new(CONNECTIONS_KEPT),
            changes,
        }
    }

    /// To be called after every change of an account or connection on this server.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The connection with which a call for this account goes to this provider.
    ///
    /// # Errors
    /// 404 for an account that is not the partner's, or one that is not connected; 409 for a connection that
    /// needs its user again; 403 for one that is paused.
    pub(crate) async fn find(
        &self,
        api: &Api,
        partner: PartnerId,
        account: &str,
        provider: &str,
    ) -> Result<Arc<Reached>> {
        let key = Key {
            partner,
            provider: provider.to_owned(),
            external_id: account.to_owned(),
        };
        let at = api.ctx.clock.monotonic();
        let changes = self.changes.load(Ordering::Acquire);
        if let Some(found) = self.found.get(&key)
            && found.changes == changes
            && at.saturating_sub(found.at) < KEPT
        {
            return Ok(found.reached);
        }
        let account = find_account(api, partner, account).await?;
        let store = &api.ctx.store;
        let connection = store
            .primary_connection(partner, account.id, provider)
            .await?;
        let connection = connection.ok_or_else(|| not_connected(&account, provider))?;
        usable(&account, &connection, api.ctx.now())?;
        let reached = Arc::new(Reached {
            account,
            connection,
        });
        let found = Found {
            at,
            changes,
            reached: Arc::clone(&reached),
        };
        self.found.insert(key, found);
        Ok(reached)
    }
}

/// The external id that a request names, or the default account's.
///
/// # Errors
/// 400 if it is no text.
pub(crate) fn named_account(headers: &HeaderMap) -> Result<&str> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(DEFAULT_ACCOUNT);
    };
    let text = std::str::from_utf8(value.as_bytes())
        .unwrap_or_default()
        .trim();
    if text.is_empty() {
        return Err(ApiError::field(
            HEADER,
            "must be the external_id of one of your accounts",
        ));
    }
    Ok(text)
}

/// The partner's account of this external id.
async fn find_account(api: &Api, partner: PartnerId, external_id: &str) -> Result<AccountRow> {
    let found = api
        .ctx
        .store
        .get_account_by_external(partner, external_id)
        .await?;
    found.ok_or_else(|| {
        if external_id == DEFAULT_ACCOUNT {
            ApiError::field(
                HEADER,
                format!(
                    "is missing, and there is no default account '{DEFAULT_ACCOUNT}': send the external_id of \
                     the account that the call acts for"
                ),
            )
        } else {
            ApiError::not_found("account")
        }
    })
}

/// The account has no connection at this provider.
pub(crate) fn not_connected(account: &AccountRow, provider: &str) -> ApiError {
    ApiError::new(
        Code::ConnectionNotFound,
        format!(
            "This account is not connected to '{provider}'. {}",
            connect_hint(account)
        ),
    )
}

/// The refusal of a connection whose user must connect again.
pub(crate) fn needs_user(account: &AccountRow, provider: &str, reason: &str) -> ApiError {
    let text = format!(
        "The end user must connect '{provider}' again ({reason}). {}",
        connect_hint(account)
    );
    ApiError::new(Code::NeedsReauth, text)
        .reason(reason)
        .also("reconnect", reconnect(account, provider))
}

/// How to begin the session that mends a connection.
fn reconnect(account: &AccountRow, provider: &str) -> serde_json::Value {
    serde_json::json!({
        "method": "POST",
        "path": format!("/api/v1/accounts/{}/connect", account.id),
        "provider": provider,
    })
}

fn connect_hint(account: &AccountRow) -> String {
    format!("Begin with POST /api/v1/accounts/{}/connect.", account.id)
}

/// Refuses a connection that calls cannot use now.
///
/// # Errors
/// 409 for one that needs its user again; 403 for one that is paused; 404 for one that is gone.
pub(crate) fn usable(account: &AccountRow, connection: &Connection, now: Timestamp) -> Result<()> {
    let provider = &connection.row.provider;
    match connection.status(now) {
        ConnectionStatus::Active => Ok(()),
        ConnectionStatus::NeedsReauth => {
            let reason = connection.reason().unwrap_or("grant_lost");
            Err(needs_user(account, provider, reason))
        }
        ConnectionStatus::Expired => Err(needs_user(account, provider, "access_token_expired")),
        ConnectionStatus::Paused => Err(ApiError::new(
            Code::ServiceDisabled,
            format!("This account's connection to '{provider}' is paused."),
        )),
        ConnectionStatus::Revoked | ConnectionStatus::Pending => {
            Err(not_connected(account, provider))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_warm_call_reads_no_row() {
        let test = TestApi::new().await;
        let acme = test.partner("Acme").await;
        let account = acme.account("user-1").await;
        let api = &*test.api;
        let find = || api.reach.find(api, acme.id, "user-1", "sandbox");
        assert_eq!(find().await.unwrap_err().code, Code::ConnectionNotFound);
        // What was not there is looked for again.
        test.connection(&acme, &account).await;
        let first = find().await.unwrap();
        assert!(Arc::ptr_eq(&first, &find().await.unwrap()));
        api.reach.changed();
        let second = find().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        test.advance(KEPT);
        assert!(!Arc::ptr_eq(&second, &find().await.unwrap()));
    }

    #[tokio::test]
    async fn a_paused_or_ended_connection_is_not_used() {
        let test = TestApi::new().await;
        let acme = test.partner("Acme").await;
        let account = acme.account("user-1").await;
        let connection = test.connection(&acme, &account).await;
        let (api, id) = (&*test.api, connection.row.id);
        let (store, now) = (&api.ctx.store, api.ctx.now());
        let refused = async || {
            api.reach.changed();
            let found = api.reach.find(api, acme.id, "user-1", "sandbox").await;
            found.map(|_| ()).map_err(|error| error.code)
        };
        assert!(
            store
                .pause_connection(acme.id, id, true, now)
                .await
                .unwrap()
        );
        assert_eq!(refused().await, Err(Code::ServiceDisabled));
        assert!(
            store
                .pause_connection(acme.id, id, false, now)
                .await
                .unwrap()
        );
        assert_eq!(refused().await, Ok(()));
        store
            .mark_disconnected(acme.id, id, None, now)
            .await
            .unwrap();
        assert_eq!(refused().await, Err(Code::ConnectionNotFound));
    }
}
