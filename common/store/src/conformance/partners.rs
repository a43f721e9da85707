//! Partners, API keys, auth configs, data keys, idempotency keys, audit log, task leases.

use latchkey_domain::{
    AuditId, DataKeyId, KeyId, PartnerId,
    states::{AuthConfigStatus, PartnerStatus},
};

use super::{Fixture, fixture::secs};
use crate::{
    ApiKeyRow, AuditRow, AuthConfigChange, Begun, Confirmation, DataKeyRow, IdempotencyRow,
    IdempotencyState, JsonMap, KeyMode, KeyPurpose, NewCredentials, PartnerChange, TaskClaim,
};

async fn partners_are_kept_and_changed(t: &Fixture) {
    let id = t.partner().await;
    let read = t.store.get_partner(id).await.unwrap().unwrap();
    assert_eq!(read.redirect_urls, ["https://acme.example/done"]);
    assert!(
        t.store
            .insert_partner(&read)
            .await
            .unwrap_err()
            .is_conflict()
    );

    let later = t.now() + secs(5);
    let change = PartnerChange {
        contact_email: Some(Some("ada@acme.example".into())),
        confirmation: Some(Confirmation::Partner),
        ..PartnerChange::default()
    };
    let changed = t
        .store
        .update_partner(id, &change, later)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changed.company, "Acme");
    assert_eq!(changed.contact_email.as_deref(), Some("ada@acme.example"));
    assert!(t.store.set_partner_plan(id, "pro", later).await.unwrap());
    let urls = ["http://127.0.0.1/x".to_owned()];
    assert!(
        t.store
            .replace_redirect_urls(id, &urls, later)
            .await
            .unwrap()
    );

    let suspend = PartnerStatus::Suspended;
    assert!(
        t.store
            .set_partner_status(id, suspend, later)
            .await
            .unwrap()
    );
    assert!(
        !t.store
            .set_partner_status(id, suspend, later)
            .await
            .unwrap()
    );
    assert!(
        !t.store
            .set_partner_status(id, PartnerStatus::PastDue, later)
            .await
            .unwrap()
    );

    let read = t.store.get_partner(id).await.unwrap().unwrap();
    assert_eq!((read.plan.as_str(), read.status), ("pro", suspend));
    assert_eq!(read.redirect_urls, urls);
    assert_eq!(read.confirmation, Confirmation::Partner);

    let second = t.partner().await;
    let all = t.store.list_partners(None, 10).await.unwrap();
    assert_eq!(
        all.iter().map(|p| p.id).collect::<Vec<_>>(),
        [id.min(second), id.max(second)]
    );
    assert_eq!(
        t.store
            .list_partners(Some(id.min(second)), 10)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        t.store
            .get_partner(PartnerId::OPERATOR)
            .await
            .unwrap()
            .is_some()
    );
}

fn key(t: &Fixture, partner: PartnerId, mode: KeyMode) -> ApiKeyRow {
    ApiKeyRow {
        id: t.id(KeyId::new),
        partner_id: partner,
        lookup: "sk_live_abcdefgh".into(),
        hash: vec![3; 32],
        mode,
        name: None,
        created_at: t.now(),
        revoked_at: None,
        last_used_at: None,
    }
}

async fn two_live_keys_and_no_third(t: &Fixture) {
    let partner = t.partner().await;
    let keys = [(); 3].map(|()| key(t, partner, KeyMode::Live));
    assert!(t.store.insert_api_key(&keys[0], 2).await.unwrap());
    assert!(t.store.insert_api_key(&keys[1], 2).await.unwrap());
    assert!(!t.store.insert_api_key(&keys[2], 2).await.unwrap());
    assert!(
        t.store
            .insert_api_key(&key(t, partner, KeyMode::Test), 2)
            .await
            .unwrap()
    );

    let found = t.store.find_api_keys("sk_live_abcdefgh").await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!((found[0].1.id, found[0].1.plan.as_str()), (partner, "free"));
    assert!(
        t.store
            .find_api_keys("sk_live_xxxxxxxx")
            .await
            .unwrap()
            .is_empty()
    );

    let other = t.partner().await;
    assert!(
        !t.store
            .revoke_api_key(other, keys[0].id, t.now())
            .await
            .unwrap()
    );
    assert!(
        t.store
            .revoke_api_key(partner, keys[0].id, t.now())
            .await
            .unwrap()
    );
    assert!(
        !t.store
            .revoke_api_key(partner, keys[0].id, t.now())
            .await
            .unwrap()
    );
    assert_eq!(
        t.store
            .find_api_keys("sk_live_abcdefgh")
            .await
            .unwrap()
            .len(),
        2
    );
    assert!(t.store.insert_api_key(&keys[2], 2).await.unwrap());
    t.store
        .touch_api_key(partner, keys[2].id, t.now())
        .await
        .unwrap();
    let listed = t.store.list_api_keys(partner).await.unwrap();
    assert_eq!(listed.len(), 4);
    assert_eq!(
        listed.iter().filter(|k| k.last_used_at.is_some()).count(),
        1
    );
}

async fn own_auth_configs_come_before_the_operators(t: &Fixture) {
    let (partner, other) = (t.partner().await, t.partner().await);
    let shared = t.auth_config(PartnerId::OPERATOR).await;
    let newest = |p| t.store.newest_enabled_auth_config(p, "sandbox");
    assert_eq!(newest(partner).await.unwrap().unwrap().id, shared.id);
    t.clock.advance(secs(1));
    let own = t.auth_config(partner).await;
    t.clock.advance(secs(1));
    let newer = t.auth_config(partner).await;
    assert_eq!(newest(partner).await.unwrap().unwrap(), newer);
    assert_eq!(newest(other).await.unwrap().unwrap(), shared);
    assert!(
        t.store
            .newest_enabled_auth_config(partner, "google")
            .await
            .unwrap()
            .is_none()
    );

    let status = AuthConfigStatus::Paused;
    let set = |p, id| {
        t.store
            .set_auth_config_status(p, id, status, Some("bad secret"), t.now())
    };
    assert!(!set(other, newer.id).await.unwrap());
    assert!(set(partner, newer.id).await.unwrap());
    assert!(!set(partner, newer.id).await.unwrap());
    assert_eq!(newest(partner).await.unwrap().unwrap().id, own.id);

    let usable = |p, id| t.store.get_usable_auth_config(p, id);
    assert!(usable(other, shared.id).await.unwrap().is_some());
    assert!(usable(other, own.id).await.unwrap().is_none());
    assert!(
        t.store
            .get_auth_config(other, shared.id)
            .await
            .unwrap()
            .is_none()
    );
    let callback = t.store.resolve_callback(newer.id).await.unwrap().unwrap();
    assert_eq!(callback.partner_id, partner);
    assert_eq!(callback.status_reason.as_deref(), Some("bad secret"));
    assert_eq!(t.store.list_auth_configs(partner).await.unwrap().len(), 2);
}

async fn credentials_change_only_over_the_version_that_was_read(t: &Fixture) {
    let partner = t.partner().await;
    let row = t.auth_config(partner).await;
    let rename = AuthConfigChange {
        name: Some("Ours".into()),
        ..AuthConfigChange::default()
    };
    let renamed = t
        .store
        .update_auth_config(partner, row.id, &rename, t.now())
        .await
        .unwrap();
    assert_eq!(renamed.unwrap().version, 1);
    let change = AuthConfigChange {
        credentials: Some(NewCredentials {
            seen: 1,
            client_id: "client-2".into(),
            client_secret: None,
        }),
        ..AuthConfigChange::default()
    };
    let changed = t
        .store
        .update_auth_config(partner, row.id, &change, t.now())
        .await
        .unwrap();
    let changed = changed.unwrap();
    assert_eq!((changed.version, changed.name.as_str()), (2, "Ours"));
    let again = t
        .store
        .update_auth_config(partner, row.id, &change, t.now())
        .await;
    assert!(again.unwrap_err().is_conflict());

    let account = t.account(partner, "u1").await;
    let new = t.new_connection(&account, row.id, "u1");
    t.store.store_connection(&new).await.unwrap();
    let refused = t
        .store
        .delete_auth_config(partner, row.id)
        .await
        .unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    t.store
        .mark_disconnected(partner, new.connection.id, None, t.now())
        .await
        .unwrap();
    assert!(
        t.store
            .delete_auth_config(partner, row.id)
            .await
            .unwrap_err()
            .is_conflict()
    );
    let grant = crate::GrantKey {
        partner_id: partner,
        id: new.grant_id,
    };
    assert!(t.store.forget_grant(grant, 1, t.now()).await.unwrap());
    assert!(t.store.delete_auth_config(partner, row.id).await.unwrap());
    assert!(!t.store.delete_auth_config(partner, row.id).await.unwrap());
}

async fn the_first_data_key_wins(t: &Fixture) {
    let partner = t.partner().await;
    let row = |purpose| DataKeyRow {
        id: t.id(DataKeyId::new),
        partner_id: partner,
        purpose,
        kek_id: "kek-1".into(),
        wrapped: vec![8; 60],
        current: true,
        created_at: t.now(),
    };
    let (first, second) = (row(KeyPurpose::Data), row(KeyPurpose::Data));
    assert_eq!(t.store.insert_data_key(&first).await.unwrap(), first);
    assert_eq!(t.store.insert_data_key(&second).await.unwrap(), first);
    let pepper = row(KeyPurpose::Pepper);
    assert_eq!(t.store.insert_data_key(&pepper).await.unwrap(), pepper);
    assert_eq!(
        t.store
            .get_data_key(partner, first.id)
            .await
            .unwrap()
            .unwrap(),
        first
    );
    assert!(
        t.store
            .get_data_key(PartnerId::OPERATOR, first.id)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(t.store.data_keys(partner).await.unwrap().len(), 2);
    let current = t
        .store
        .current_data_key(partner, KeyPurpose::Data)
        .await
        .unwrap();
    assert_eq!(current.unwrap().id, first.id);

    assert_eq!(
        t.store
            .data_keys_not_under("kek-2", 10)
            .await
            .unwrap()
            .len(),
        2
    );
    let rewrap = |seen| {
        t.store
            .rewrap_data_key(partner, first.id, seen, "kek-2", &[7; 60])
    };
    assert!(!rewrap("kek-0").await.unwrap());
    assert!(rewrap("kek-1").await.unwrap());
    assert!(!rewrap("kek-1").await.unwrap());
    assert_eq!(
        t.store.data_keys_not_under("kek-2", 10).await.unwrap(),
        [pepper]
    );
}

async fn idempotency_keys_begin_once_and_keep_the_answer(t: &Fixture) {
    let partner = t.partner().await;
    let at = |now| IdempotencyRow {
        partner_id: partner,
        route: "POST /accounts".into(),
        key: "k1".into(),
        request_hash: [1; 32],
        state: IdempotencyState::InFlight,
        status: None,
        answer: None,
        created_at: now,
        locked_until: now + secs(60),
        expires_at: now + secs(86_400),
    };
    let now = t.now();
    let begin = |row: IdempotencyRow| async move { t.store.begin_idempotent(&row).await.unwrap() };
    assert_eq!(begin(at(now)).await, Begun::Ours);
    assert!(
        matches!(begin(at(now + secs(1))).await, Begun::Before(row) if row == Box::new(at(now)))
    );
    // Another partner's key, and another route, are other keys.
    let elsewhere = IdempotencyRow {
        partner_id: t.partner().await,
        ..at(now)
    };
    assert_eq!(begin(elsewhere).await, Begun::Ours);
    // A request that died with its process is taken over by the same request, and by no other.
    let other = IdempotencyRow {
        request_hash: [2; 32],
        ..at(now + secs(61))
    };
    assert!(matches!(begin(other).await, Begun::Before(_)));
    assert_eq!(begin(at(now + secs(61))).await, Begun::Ours);

    // The first request was only slow: it neither overwrites nor frees what is another's now.
    let complete = |begun: IdempotencyRow, answer: [u8; 9]| async move {
        let kept = t.store.complete_idempotent(&begun, 201, &answer).await;
        kept.unwrap()
    };
    assert!(!complete(at(now), [3; 9]).await);
    t.store.forget_idempotent(&at(now)).await.unwrap();
    let second = || at(now + secs(61));
    assert!(complete(second(), [4; 9]).await);
    assert!(!complete(second(), [5; 9]).await);
    t.store.forget_idempotent(&second()).await.unwrap();
    let Begun::Before(done) = begin(at(now + secs(500))).await else {
        panic!("a finished key was given away");
    };
    assert_eq!(
        (done.state, done.status),
        (IdempotencyState::Done, Some(201))
    );
    assert_eq!(done.answer, Some(vec![4; 9]));

    assert_eq!(
        t.store
            .expire_idempotency(now + secs(90_000), 1)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        t.store
            .expire_idempotency(now + secs(90_000), 10)
            .await
            .unwrap(),
        1
    );
    assert_eq!(begin(at(now)).await, Begun::Ours);
    t.store.forget_idempotent(&at(now)).await.unwrap();
    assert_eq!(begin(at(now)).await, Begun::Ours);
}

async fn the_audit_log_is_read_newest_first(t: &Fixture) {
    let (partner, other) = (t.partner().await, t.partner().await);
    for action in ["a", "b", "c"] {
        t.clock.advance(secs(1));
        let row = AuditRow {
            id: t.id(AuditId::new),
            partner_id: partner,
            actor: "operator".into(),
            action: action.into(),
            subject: "x".into(),
            details: JsonMap::new(),
            request_id: None,
            created_at: t.now(),
        };
        t.store.append_audit(&row).await.unwrap();
    }
    let page = t.store.list_audit(partner, None, 2).await.unwrap();
    assert_eq!(
        page.iter().map(|r| r.action.as_str()).collect::<Vec<_>>(),
        ["c", "b"]
    );
    let rest = t
        .store
        .list_audit(partner, Some(page[1].id), 2)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1);
    assert!(t.store.list_audit(other, None, 9).await.unwrap().is_empty());
}

async fn a_tick_is_claimed_by_one(t: &Fixture) {
    let now = t.now();
    let claim = |slot, owner: &'static str, at| async move {
        t.store
            .claim_task("usage_rollup", slot, owner, at + secs(60), at)
            .await
            .unwrap()
    };
    let held = |until| TaskClaim::Held { until };
    assert_eq!(claim(now, "a", now).await, TaskClaim::Won);
    assert_eq!(claim(now, "b", now).await, held(now + secs(60)));
    // The next tick waits until this one finished or its lease ended.
    let next = now + secs(10);
    assert_eq!(claim(next, "b", next).await, held(now + secs(60)));
    let finish =
        |owner: &'static str, at| t.store.finish_task("usage_rollup", owner, "3 hours", at);
    assert!(!finish("b", next).await.unwrap());
    assert!(finish("a", next).await.unwrap());
    assert_eq!(claim(now, "b", next).await, TaskClaim::Made);
    assert_eq!(claim(next, "b", next).await, TaskClaim::Won);
    // Who lives prolongs; who died leaves its tick, and a later one, to whoever comes first.
    let extend =
        |owner: &'static str, at, until| t.store.extend_task("usage_rollup", owner, until, at);
    assert!(!extend("a", next, next + secs(90)).await.unwrap());
    assert!(extend("b", next, next + secs(90)).await.unwrap());
    let later = next + secs(89);
    assert_eq!(claim(next, "a", later).await, held(next + secs(90)));
    let dead = next + secs(90);
    assert_eq!(claim(next, "a", dead).await, TaskClaim::Won);
    assert!(!extend("b", dead, dead + secs(90)).await.unwrap());
    assert!(!finish("b", dead).await.unwrap());
    let last = dead + secs(60);
    assert_eq!(claim(last, "a", last).await, TaskClaim::Won);
    assert!(!finish("b", last).await.unwrap());
    let tasks = t.store.list_tasks().await.unwrap();
    assert_eq!((tasks.len(), tasks[0].owner.as_str()), (1, "a"));
    assert_eq!(tasks[0].status.as_deref(), Some("3 hours"));
    // A clock that is set back by an hour does not stop the task for an hour.
    let back = later.minus(secs(3600));
    assert_eq!(claim(back, "b", back).await, TaskClaim::Won);
    assert_eq!(claim(back, "a", back).await, held(back + secs(60)));
}

mod every_engine {
    super::super::on_every_engine!(
        partners_are_kept_and_changed,
        two_live_keys_and_no_third,
        own_auth_configs_come_before_the_operators,
        credentials_change_only_over_the_version_that_was_read,
        the_first_data_key_wins,
        idempotency_keys_begin_once_and_keep_the_answer,
        the_audit_log_is_read_newest_first,
        a_tick_is_claimed_by_one,
    );
}
