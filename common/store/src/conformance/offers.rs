//! Auth configs that are taken away: not while a connection is listed under them, and nothing connects afterwards.

use futures::future::join_all;
use latchkey_domain::{AuthConfigId, ConnectionId, PartnerId, SessionId, states::SessionStatus};

use super::Fixture;
use crate::{AccountRow, LinkRow, ListingFilter, Scheme, SessionRow};

/// Stores that race with one deletion.
const RACING: usize = 8;
/// Races.
const RACES: usize = 12;

async fn living(t: &Fixture, partner: PartnerId, config: AuthConfigId) -> u64 {
    let filter = ListingFilter {
        configs: Some(vec![config]),
        ..ListingFilter::default()
    };
    let counted = t.store.count_listed(partner, &filter, t.now()).await;
    counted.unwrap()
}

/// A session of this config that a worker exchanges, and the link that led to it.
async fn exchanging(
    t: &Fixture,
    account: &AccountRow,
    client: AuthConfigId,
    config: AuthConfigId,
) -> (SessionRow, LinkRow) {
    let mut session = t.session(account, SessionStatus::Pending).await;
    session.id = t.id(SessionId::new);
    session.link_hash[16..].copy_from_slice(&session.id.as_u128().to_le_bytes());
    session.status = SessionStatus::Exchanging;
    session.auth_config_id = client;
    let link = LinkRow {
        partner_id: account.partner_id,
        id: t.id(ConnectionId::new),
        session_id: session.id,
        account_id: account.id,
        config_id: config,
        toolkit: "sandbox".into(),
        scheme: Scheme::Oauth2,
        display_name: None,
    };
    (session, link)
}

async fn a_config_goes_when_nothing_is_connected_with_it(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "ada").await;
    let (store, now) = (&t.store, t.now());
    // The client that serves, and a config that stands on it: each can be the one that goes.
    let client = t.auth_config(partner).await.id;
    let managed = t.auth_config(partner).await.id;
    let mut new = t.new_connection(&account, client, "ada");
    new.listing.config_id = Some(managed);
    let id = store.store_connection(&new).await.unwrap().row.id;
    let hide = async |config| store.hide_auth_config(partner, config, now).await.unwrap();
    assert_eq!(hide(managed).await, Some(1));
    let (session, link) = exchanging(t, &account, client, managed).await;
    store.insert_link(&link, &session).await.unwrap();
    let disconnected = store.mark_disconnected(partner, id, None, now).await;
    assert!(disconnected.unwrap().is_some());
    let other = t.partner().await;
    assert_eq!(
        store.hide_auth_config(other, managed, now).await.unwrap(),
        None
    );
    assert_eq!(hide(managed).await, Some(0));
    assert_eq!(hide(managed).await, None);
    let found = store.find_offered_configs(partner, &[managed]).await;
    assert!(found.unwrap().is_empty());
    // What was under way is refused when it is stored, and nothing of it is left.
    let mut late = t.new_connection(&account, client, "bob");
    late.connection.id = link.id;
    late.listing.config_id = Some(managed);
    late.session_id = Some(session.id);
    let refused = store.store_connection(&late).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    assert_eq!(living(t, partner, managed).await, 1, "the link is left");
    let missing = store.get_connection(partner, link.id).await.unwrap();
    assert!(missing.is_none());
    let (session, link) = exchanging(t, &account, client, managed).await;
    let refused = store.insert_link(&link, &session).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    // It is forgotten once nothing is under way with it.
    assert_eq!(store.purge_auth_configs(10).await.unwrap(), 0);
    t.meddle("UPDATE connect_sessions SET status = 'failed' WHERE status = 'exchanging'")
        .await;
    assert_eq!(store.purge_auth_configs(10).await.unwrap(), 1);
    // The client serves others.
    let free = t.new_connection(&account, client, "cleo");
    store.store_connection(&free).await.unwrap();
    assert_eq!(hide(client).await, Some(1));
}

async fn deletion_and_connecting_never_both_win(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "ada").await;
    for race in 0..RACES {
        let config = t.auth_config(partner).await;
        let connecting = (0..RACING).map(|n| {
            let new = t.new_connection(&account, config.id, &format!("{race} {n}"));
            let store = t.store.clone();
            tokio::spawn(async move { store.store_connection(&new).await })
        });
        let connecting: Vec<_> = connecting.collect();
        let (store, now) = (t.store.clone(), t.now());
        let deleting = tokio::spawn(async move {
            // Somewhere in the middle of them, as it comes.
            for _ in 0..race {
                tokio::task::yield_now().await;
            }
            store.hide_auth_config(partner, config.id, now).await
        });
        let stored = join_all(connecting).await.into_iter().map(Result::unwrap);
        let stored = stored.flatten().count() as u64;
        let kept_by = deleting.await.unwrap().unwrap();
        let left = living(t, partner, config.id).await;
        assert_eq!(left, stored);
        if kept_by == Some(0) {
            assert_eq!(left, 0, "connected with a config that is gone");
        } else {
            assert_eq!(left, RACING as u64, "refused by a config that is there");
        }
    }
}

mod every_engine {
    super::super::on_every_engine!(
        a_config_goes_when_nothing_is_connected_with_it,
        deletion_and_connecting_never_both_win,
    );
}
