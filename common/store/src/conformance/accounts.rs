//! Accounts: unique among the living, paged, searched, deleted with all they hold.

use latchkey_domain::states::{ConnectionStatus, GrantState, SessionStatus};

use super::{Fixture, fixture::secs};
use crate::{AccountFilter, JsonMap, StoreError};

async fn external_ids_are_unique_among_the_living(t: &Fixture) {
    let (partner, other) = (t.partner().await, t.partner().await);
    let first = t.account(partner, "u1").await;
    let error = t
        .store
        .insert_account(&t.account_row(partner, "u1"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Conflict { what } if what.contains("external_id")));
    t.account(other, "u1").await;
    let missing = t.account_row(t.id(latchkey_domain::PartnerId::new), "u1");
    assert!(
        t.store
            .insert_account(&missing)
            .await
            .unwrap_err()
            .is_conflict()
    );

    assert!(
        t.store
            .delete_account(partner, first.id, t.now())
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        t.store
            .delete_account(partner, first.id, t.now())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        t.store
            .get_account(partner, first.id)
            .await
            .unwrap()
            .is_none()
    );
    let again = t.account(partner, "u1").await;
    let found = t
        .store
        .get_account_by_external(partner, "u1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, again);
}

async fn accounts_are_listed_and_searched(t: &Fixture) {
    let partner = t.partner().await;
    for (external, name) in [("a_1", None), ("b%2", Some("Ada")), ("c3", Some("ADAM"))] {
        t.clock.advance(secs(1));
        let mut row = t.account_row(partner, external);
        row.display_name = name.map(Into::into);
        t.store.insert_account(&row).await.unwrap();
    }
    let list = |filter: AccountFilter| async move {
        let filter = AccountFilter { limit: 2, ..filter };
        let (rows, total) = t.store.list_accounts(partner, &filter).await.unwrap();
        let names: Vec<_> = rows.into_iter().map(|row| row.external_id).collect();
        (names.join(" "), total)
    };
    let q = |text: &str| AccountFilter {
        q: Some(text.into()),
        ..AccountFilter::default()
    };
    assert_eq!(list(AccountFilter::default()).await, ("c3 b%2".into(), 3));
    let second = AccountFilter {
        offset: 2,
        ..AccountFilter::default()
    };
    assert_eq!(list(second).await, ("a_1".into(), 3));
    let exact = AccountFilter {
        external_id: Some("c3".into()),
        ..AccountFilter::default()
    };
    assert_eq!(list(exact).await, ("c3".into(), 1));
    assert_eq!(list(q("aDa")).await, ("c3 b%2".into(), 2));
    assert_eq!(list(q("%")).await, ("b%2".into(), 1));
    assert_eq!(list(q("_1")).await, ("a_1".into(), 1));
    assert_eq!(list(q("!")).await, (String::new(), 0));
}

async fn an_account_changes_where_it_is_told(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let mut metadata = JsonMap::new();
    metadata.insert("team".into(), 7.into());
    let later = t.now() + secs(3);
    let change = |name, metadata| {
        t.store
            .update_account(partner, account.id, name, metadata, later)
    };
    let row = change(Some(Some("Ada")), Some(&metadata))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.display_name.as_deref(), row.updated_at),
        (Some("Ada"), later)
    );
    let row = change(None, None).await.unwrap().unwrap();
    assert_eq!(
        (row.display_name.as_deref(), &row.metadata),
        (Some("Ada"), &metadata)
    );
    let row = change(Some(None), None).await.unwrap().unwrap();
    assert_eq!(row.display_name, None);
    assert_eq!(
        t.store
            .get_account(partner, account.id)
            .await
            .unwrap()
            .unwrap(),
        row
    );
}

async fn deleting_an_account_stops_all_it_holds(t: &Fixture) {
    let partner = t.partner().await;
    let made = t.connect(partner, "u1").await;
    let account = t
        .store
        .get_account_by_external(partner, "u1")
        .await
        .unwrap()
        .unwrap();
    let session = t.session(&account, SessionStatus::Authorizing).await;
    let kept = t.connect(partner, "u2").await;

    let revoked = t
        .store
        .delete_account(partner, account.id, t.now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].row.id, made.row.id);
    assert_eq!(revoked[0].grant.state, GrantState::Revoking);
    assert_eq!(revoked[0].status(t.now()), ConnectionStatus::Revoked);
    let session = t
        .store
        .get_partner_session(partner, session.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(session.status, SessionStatus::Failed);
    assert_eq!(session.error.as_deref(), Some("account_deleted"));
    // The keys are still there for the revocation.
    let loaded = t.store.load_grant(made.grant.key()).await.unwrap().unwrap();
    assert!(loaded.secret.is_some());
    assert_eq!(t.grant(&kept.grant).await.state, GrantState::Active);
}

mod every_engine {
    super::super::on_every_engine!(
        external_ids_are_unique_among_the_living,
        accounts_are_listed_and_searched,
        an_account_changes_where_it_is_told,
        deleting_an_account_stops_all_it_holds,
    );
}
