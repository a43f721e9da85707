//! Connections: one truth from connection and grant, kept when the same user connects again.

use std::collections::BTreeMap;

use latchkey_domain::{
    AuthConfigId, ConnectionId, GrantId,
    states::{ConnectionStatus, GrantState},
};

use super::{Fixture, fixture::secs};
use crate::{ConnectionFilter, GrantKey, Listed};

async fn connecting_again_keeps_the_connection(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let config = t.id(AuthConfigId::new);
    let first = t.new_connection(&account, config, "ada");
    let made = t.store.store_connection(&first).await.unwrap();
    assert_eq!(made.status(t.now()), ConnectionStatus::Active);
    let find = |identity: &'static str| {
        t.store
            .find_reconnect(partner, account.id, config, identity)
    };
    assert!(find("eve").await.unwrap().is_none());
    let found = find("ada").await.unwrap().unwrap();
    assert_eq!(found, made);
    // A second connection of the same user is refused where the first was not looked for.
    let blind = t.new_connection(&account, config, "ada");
    assert!(
        t.store
            .store_connection(&blind)
            .await
            .unwrap_err()
            .is_conflict()
    );

    // An attempt is open and the grant in doubt; connecting again settles both.
    let claim = t.claim(&made.grant);
    assert!(t.store.claim_grant(claim).await.unwrap());
    let end = t.open(&made.grant).await.unwrap().lease_until;
    let swept = t.store.sweep_overdue(end, secs(15), 10).await.unwrap();
    assert!(swept[0].row.in_doubt);
    t.clock.advance(secs(60));
    let mut again = t.new_connection(&account, config, "ada");
    again.connection.id = found.row.id;
    again.grant_id = found.grant.id;
    again.version = found.grant.version + 1;
    again.sealed = vec![1; 50];
    let kept = t.store.store_connection(&again).await.unwrap();
    assert_eq!(kept.row.id, made.row.id);
    assert_eq!((kept.grant.version, kept.grant.in_doubt), (2, false));
    assert_eq!(t.open(&made.grant).await, None);
    assert_eq!(kept.row.connected_at, t.now());
    // Sealed for a generation that is no longer next: refused, nothing changed.
    assert!(
        t.store
            .store_connection(&again)
            .await
            .unwrap_err()
            .is_conflict()
    );
    let loaded = t.store.load_grant(kept.grant.key()).await.unwrap().unwrap();
    assert_eq!(
        (loaded.row.version, loaded.secret.unwrap().sealed),
        (2, vec![1; 50])
    );
}

async fn a_disconnected_one_is_not_kept(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let config = t.id(AuthConfigId::new);
    let first = t.new_connection(&account, config, "ada");
    let made = t.store.store_connection(&first).await.unwrap();
    t.store
        .mark_disconnected(partner, made.row.id, None, t.now())
        .await
        .unwrap()
        .unwrap();
    let found = t
        .store
        .find_reconnect(partner, account.id, config, "ada")
        .await;
    assert!(found.unwrap().is_none());
    let mut again = first;
    again.version = 2;
    assert!(
        t.store
            .store_connection(&again)
            .await
            .unwrap_err()
            .is_conflict()
    );
    let fresh = t.new_connection(&account, config, "ada");
    let fresh = t.store.store_connection(&fresh).await.unwrap();
    assert_ne!(fresh.row.id, made.row.id);

    t.store
        .delete_account(partner, account.id, t.now())
        .await
        .unwrap()
        .unwrap();
    let late = t.new_connection(&account, config, "new");
    assert!(
        t.store
            .store_connection(&late)
            .await
            .unwrap_err()
            .is_conflict()
    );
}

async fn the_latest_connected_is_primary(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let mut made = Vec::new();
    for identity in ["ada", "bob"] {
        t.clock.advance(secs(1));
        let new = t.new_connection(&account, t.id(AuthConfigId::new), identity);
        made.push(t.store.store_connection(&new).await.unwrap());
    }
    let primary = || t.store.primary_connection(partner, account.id, "sandbox");
    assert_eq!(primary().await.unwrap().unwrap(), made[1]);
    let all = ConnectionFilter {
        account_id: Some(account.id),
        ..ConnectionFilter::default()
    };
    let listed = t.store.list_connections(partner, &all).await.unwrap();
    assert_eq!(listed, [made[1].clone(), made[0].clone()]);
    let none = ConnectionFilter {
        provider: Some("google".into()),
        ..all.clone()
    };
    assert!(
        t.store
            .list_connections(partner, &none)
            .await
            .unwrap()
            .is_empty()
    );

    let gone = t
        .store
        .mark_disconnected(partner, made[1].row.id, Some("user asked"), t.now())
        .await;
    let gone = gone.unwrap().unwrap();
    assert_eq!(gone.reason(), Some("user asked"));
    assert!(
        t.store
            .mark_disconnected(partner, gone.row.id, None, t.now())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(primary().await.unwrap().unwrap().row.id, made[0].row.id);
    assert_eq!(
        t.store.list_connections(partner, &all).await.unwrap().len(),
        1
    );
    let history = ConnectionFilter {
        revoked_too: true,
        ..all
    };
    assert_eq!(
        t.store
            .list_connections(partner, &history)
            .await
            .unwrap()
            .len(),
        2
    );
}

async fn switches_labels_and_pauses(t: &Fixture) {
    let partner = t.partner().await;
    let made = t.connect(partner, "u1").await;
    let set = |switches: &[(&str, bool)]| {
        let switches: BTreeMap<_, _> = switches
            .iter()
            .map(|(k, v)| ((*k).to_owned(), *v))
            .collect();
        let (store, id, now) = (t.store.clone(), made.row.id, t.now());
        async move {
            store
                .set_enabled_services(partner, id, &switches, now)
                .await
                .unwrap()
        }
    };
    set(&[("gmail.read", false)]).await.unwrap();
    let row = set(&[("calendar", true)]).await.unwrap().row;
    assert_eq!(row.enabled_services.len(), 2);
    assert!(!row.enabled_services["gmail.read"]);

    let id = made.row.id;
    assert!(
        t.store
            .set_connection_display_name(partner, id, Some("Work"), t.now())
            .await
            .unwrap()
    );
    assert!(
        t.store
            .pause_connection(partner, id, true, t.now())
            .await
            .unwrap()
    );
    assert!(
        !t.store
            .pause_connection(partner, id, true, t.now())
            .await
            .unwrap()
    );
    let paused = t.store.get_connection(partner, id).await.unwrap().unwrap();
    assert_eq!(paused.status(t.now()), ConnectionStatus::Paused);
    let listed = t.store.read_listed(partner, &[id]).await.unwrap();
    let [Listed::Connection(listed)] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!(listed.listed.display_name.as_deref(), Some("Work"));
    assert!(
        t.store
            .pause_connection(partner, id, false, t.now())
            .await
            .unwrap()
    );
    t.store
        .mark_disconnected(partner, id, None, t.now())
        .await
        .unwrap()
        .unwrap();
    assert!(
        !t.store
            .pause_connection(partner, id, true, t.now())
            .await
            .unwrap()
    );
    assert!(set(&[("x", true)]).await.is_none());
}

async fn what_partners_see_follows_the_grant(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let mut new = t.new_connection(&account, t.id(AuthConfigId::new), "ada");
    new.refreshable = false;
    new.due_at = None;
    let made = t.store.store_connection(&new).await.unwrap();
    assert_eq!(made.status(t.now() + secs(3599)), ConnectionStatus::Active);
    assert_eq!(made.status(t.now() + secs(3600)), ConnectionStatus::Expired);
    assert!(
        t.store
            .kill_grant(made.grant.key(), 1, "invalid_grant", t.now())
            .await
            .unwrap()
    );
    assert!(
        !t.store
            .kill_grant(made.grant.key(), 1, "again", t.now())
            .await
            .unwrap()
    );
    let dead = t
        .store
        .get_connection(partner, made.row.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(dead.status(t.now()), ConnectionStatus::NeedsReauth);
    assert_eq!(dead.reason(), Some("invalid_grant"));
}

async fn keys_are_forgotten_only_when_no_attempt_is_open(t: &Fixture) {
    let partner = t.partner().await;
    let made = t.connect(partner, "u1").await;
    let claim = t.claim(&made.grant);
    assert!(t.store.claim_grant(claim.clone()).await.unwrap());
    assert!(!t.store.forget_grant(claim.grant, 1, t.now()).await.unwrap());
    t.store
        .mark_disconnected(partner, made.row.id, None, t.now())
        .await
        .unwrap()
        .unwrap();
    // Local use stops at once: no new claim, but the attempt under way may still bring an answer.
    let row = t.grant(&made.grant).await;
    assert!(!t.store.claim_grant(t.claim(&row)).await.unwrap());
    assert!(!t.store.forget_grant(claim.grant, 1, t.now()).await.unwrap());
    assert_eq!(t.store.revoking_grants(10).await.unwrap().len(), 1);
    let landed = t
        .store
        .land_grant(super::grants::landing(t, &claim, 1))
        .await
        .unwrap();
    assert_eq!(
        landed,
        crate::Landed::Stored {
            version: 2,
            revoking: true
        }
    );
    let row = t.grant(&made.grant).await;
    assert_eq!(
        (row.state, row.due_at, row.wake_at),
        (GrantState::Revoking, None, None)
    );
    // What landed must be revoked first: the version that was revoked counts.
    assert!(!t.store.forget_grant(claim.grant, 1, t.now()).await.unwrap());
    assert!(t.store.forget_grant(claim.grant, 2, t.now()).await.unwrap());
    assert!(!t.store.forget_grant(claim.grant, 2, t.now()).await.unwrap());
    let loaded = t.store.load_grant(claim.grant).await.unwrap().unwrap();
    assert_eq!(
        (loaded.row.state, loaded.secret),
        (GrantState::Revoked, None)
    );
    assert!(t.store.revoking_grants(10).await.unwrap().is_empty());
}

async fn grants_load_in_the_order_asked_for(t: &Fixture) {
    let partner = t.partner().await;
    let mut keys = Vec::new();
    for name in ["u1", "u2", "u3"] {
        keys.push(t.connect(partner, name).await.grant.key());
    }
    keys.reverse();
    keys.insert(
        1,
        GrantKey {
            partner_id: partner,
            id: t.id(GrantId::new),
        },
    );
    keys.push(keys[0]);
    let loaded = t.store.load_grants(&keys).await.unwrap();
    let ids: Vec<_> = loaded.iter().map(|l| l.row.key()).collect();
    assert_eq!(ids, [keys[0], keys[2], keys[3], keys[0]]);
    assert_eq!(loaded[0].secret.as_ref().unwrap().sealed, vec![9; 40]);
    assert!(t.store.load_grants(&[]).await.unwrap().is_empty());
    assert!(
        t.store
            .get_connection(partner, t.id(ConnectionId::new))
            .await
            .unwrap()
            .is_none()
    );
}

async fn connections_of_one_provider_account_are_found(t: &Fixture) {
    let config = t.id(AuthConfigId::new);
    let partner = t.partner().await;
    let (first, second) = (
        t.account(partner, "u1").await,
        t.account(partner, "u2").await,
    );
    let stranger = t.partner().await;
    let theirs = t.account(stranger, "u1").await;
    let mut made = Vec::new();
    for (account, config, identity) in [
        (&first, config, "ada"),
        (&second, config, "ada"),
        (&second, config, "eve"),
        (&second, t.id(AuthConfigId::new), "ada"),
        (&theirs, config, "ada"),
        (&first, config, ""),
        (&second, config, ""),
    ] {
        let new = t.new_connection(account, config, identity);
        made.push(t.store.store_connection(&new).await.unwrap());
    }
    let sharing = |n: usize| {
        let row = made[n].grant.clone();
        async move {
            let found = t.store.grants_sharing_with(&row).await.unwrap();
            found.iter().map(|one| one.row.id).collect::<Vec<_>>()
        }
    };
    let ids = |of: &[usize]| {
        let mut ids: Vec<_> = of.iter().map(|n| made[*n].grant.id).collect();
        ids.sort();
        ids
    };
    // Of the same partner, client and provider account alone, the oldest first.
    assert_eq!(sharing(0).await, ids(&[0, 1]));
    assert_eq!(sharing(1).await, ids(&[0, 1]));
    assert_eq!(sharing(4).await, ids(&[4]), "tokens do not cross partners");
    assert_eq!(sharing(5).await, [], "nobody said whose account it is");
    // Siblings that a revocation reaches are those of all partners.
    let siblings = t.store.living_siblings(&made[0].row).await.unwrap();
    assert_eq!(siblings, 2);
    // One that is dead has nothing to share.
    let grant = made[0].grant.key();
    assert!(
        t.store
            .kill_grant(grant, 1, "invalid_grant", t.now())
            .await
            .unwrap()
    );
    assert_eq!(sharing(1).await, ids(&[1]));
}

mod every_engine {
    super::super::on_every_engine!(
        connecting_again_keeps_the_connection,
        a_disconnected_one_is_not_kept,
        the_latest_connected_is_primary,
        switches_labels_and_pauses,
        what_partners_see_follows_the_grant,
        keys_are_forgotten_only_when_no_attempt_is_open,
        grants_load_in_the_order_asked_for,
        connections_of_one_provider_account_are_found,
    );
}
