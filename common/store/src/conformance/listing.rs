//! Lists of connections and links: every filter, either order, pages that nothing moves.

use std::{collections::BTreeSet, time::Duration};

use latchkey_domain::{
    AuthConfigId, ConnectionId, PartnerId, SessionId,
    states::{ConnectionStatus, GrantState, SessionStatus},
};

use super::{Fixture, fixture::secs};
use crate::{
    AccountRow, LinkRow, Listed, Listing, ListingFilter, ListingKey, ListingOrder, ListingPage,
    Scheme, Standing,
};

const NEWEST: ListingPage = ListingPage {
    order: ListingOrder::Created,
    ascending: false,
    after: None,
    limit: 100,
};

/// A connection of this account that is listed like this.
async fn listed(t: &Fixture, account: &AccountRow, listing: Listing) -> ConnectionId {
    // Ids of one millisecond are in no order.
    t.clock.advance(Duration::from_millis(1));
    let identity = t.id(ConnectionId::new).to_string();
    let mut new = t.new_connection(account, t.id(AuthConfigId::new), &identity);
    new.listing = listing;
    t.store.store_connection(&new).await.unwrap().row.id
}

async fn link(t: &Fixture, account: &AccountRow, status: SessionStatus) -> ConnectionId {
    t.clock.advance(Duration::from_millis(1));
    let mut session = t.session(account, SessionStatus::Pending).await;
    session.id = t.id(SessionId::new);
    session.link_hash[16..].copy_from_slice(&session.id.as_u128().to_le_bytes());
    session.status = status;
    let row = LinkRow {
        partner_id: account.partner_id,
        id: t.id(ConnectionId::new),
        session_id: session.id,
        account_id: account.id,
        config_id: session.auth_config_id,
        toolkit: "sandbox".into(),
        scheme: Scheme::Oauth2,
        display_name: None,
    };
    t.store.insert_link(&row, &session).await.unwrap();
    if status == SessionStatus::Completed {
        t.meddle(&format!(
            "UPDATE connect_links SET done = 1 WHERE id = '{}'",
            row.id
        ))
        .await;
    }
    row.id
}

async fn ids(
    t: &Fixture,
    partner: PartnerId,
    filter: &ListingFilter,
    page: &ListingPage,
) -> Vec<ConnectionId> {
    let (s, now) = (&t.store, t.now());
    let keys = s.list_listed(partner, filter, page, now).await.unwrap();
    let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    if page.after.is_none() && ids.len() < page.limit as usize {
        let all = ids.len() as u64;
        for most in [1, 3, 1000] {
            let counted = s.count_listed_up_to(partner, filter, most, now).await;
            assert_eq!(counted.unwrap(), all.min(most.into()), "{filter:?}");
        }
        let counted = s.count_listed(partner, filter, now).await.unwrap();
        assert_eq!(counted, all, "{filter:?}");
    }
    let rows = s.read_listed(partner, &ids).await.unwrap();
    assert_eq!(rows.len(), ids.len());
    ids
}

async fn every_standing_is_found_by_its_name_alone(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let mut made = BTreeSet::new();
    for status in SessionStatus::ALL {
        made.insert(link(t, &account, *status).await);
    }
    let states = [
        GrantState::Active,
        GrantState::NeedsReauth,
        GrantState::Revoking,
    ];
    let reasons = ["'invalid_grant'", "'rotation_outcome_unknown'", "NULL"];
    for own in [
        ConnectionStatus::Active,
        ConnectionStatus::Paused,
        ConnectionStatus::Revoked,
    ] {
        for (state, reason) in states.iter().flat_map(|s| reasons.map(|r| (s, r))) {
            // A grant is revoked with its connection, in one transaction.
            if *state == GrantState::Revoking && own != ConnectionStatus::Revoked {
                continue;
            }
            for (refreshable, ends) in [(1, 10), (1, -10), (0, 10), (0, -10)] {
                let id = listed(t, &account, Listing::default()).await;
                let end = t.now().as_micros() + ends * 1_000_000;
                t.meddle(&format!(
                    "UPDATE grants SET state = '{state}', reason = {reason}, \
                     refreshable = {refreshable}, expires_at = {end} WHERE connection_id = '{id}'"
                ))
                .await;
                let revoked = if own == ConnectionStatus::Revoked {
                    "1"
                } else {
                    "NULL"
                };
                t.meddle(&format!(
                    "UPDATE connections SET status = '{own}', revoked_at = {revoked} \
                     WHERE id = '{id}'"
                ))
                .await;
                made.insert(id);
            }
        }
    }
    for past in [0, 3600] {
        t.clock.advance(secs(past));
        let mut seen = BTreeSet::new();
        for standing in Standing::ALL {
            let filter = ListingFilter {
                standings: Some(vec![standing]),
                ..ListingFilter::default()
            };
            let found = ids(t, partner, &filter, &NEWEST).await;
            for row in t.store.read_listed(partner, &found).await.unwrap() {
                let stands = match &row {
                    Listed::Connection(c) => Standing::of(&c.connection, t.now()),
                    Listed::Link(l) => Standing::of_link(l, t.now()),
                };
                assert_eq!(stands, Some(standing), "{row:?}");
            }
            seen.extend(found);
        }
        // What is under no name is under none by the rows either.
        for id in made.difference(&seen) {
            for row in t.store.read_listed(partner, &[*id]).await.unwrap() {
                let Listed::Connection(row) = row else {
                    panic!("{row:?}")
                };
                assert_eq!(Standing::of(&row.connection, t.now()), None, "{row:?}");
            }
        }
        // 2 own states by 3 x 4 of `active` and 3 x 4 of `needs_reauth` grants, and six links.
        assert_eq!(seen.len(), 2 * (12 + 12) + 6);
    }
}

/// Filters, and what each finds, newest first.
fn cases(
    ada: &AccountRow,
    bob: &AccountRow,
    config: AuthConfigId,
    [mail, disk, open]: [ConnectionId; 3],
) -> Vec<(ListingFilter, Vec<ConnectionId>)> {
    let every = ListingFilter::default();
    let names = |names: &[&str]| Some(names.iter().map(|s| (*s).to_owned()).collect());
    vec![
        (every.clone(), vec![open, disk, mail]),
        (
            ListingFilter {
                toolkits: names(&["gmail"]),
                ..every.clone()
            },
            vec![mail],
        ),
        (
            ListingFilter {
                toolkits: names(&["gmail", "drive"]),
                ..every.clone()
            },
            vec![disk, mail],
        ),
        (
            ListingFilter {
                toolkits: names(&["sandbox"]),
                ..every.clone()
            },
            vec![open],
        ),
        (
            ListingFilter {
                toolkits: names(&[]),
                ..every.clone()
            },
            vec![],
        ),
        (
            ListingFilter {
                accounts: Some(vec![ada.id]),
                ..every.clone()
            },
            vec![mail],
        ),
        (
            ListingFilter {
                accounts: Some(vec![ada.id, bob.id]),
                ..every.clone()
            },
            vec![open, disk, mail],
        ),
        (
            ListingFilter {
                configs: Some(vec![config]),
                ..every.clone()
            },
            vec![mail],
        ),
        (
            ListingFilter {
                labels: names(&["ada@x"]),
                ..every.clone()
            },
            vec![mail],
        ),
        (
            ListingFilter {
                ids: Some(vec![open, mail]),
                ..every.clone()
            },
            vec![open, mail],
        ),
        (
            ListingFilter {
                accounts: Some(vec![ada.id, bob.id]),
                toolkits: names(&["drive"]),
                standings: Some(vec![Standing::Active, Standing::LinkOpen]),
                ..every
            },
            vec![disk, mail],
        ),
    ]
}

async fn each_filter_finds_its_own(t: &Fixture) {
    let (partner, other) = (t.partner().await, t.partner().await);
    let (ada, bob) = (
        t.account(partner, "ada").await,
        t.account(partner, "bob").await,
    );
    let config = t.id(AuthConfigId::new);
    let of = |toolkits: &[&str], config_id| Listing {
        toolkits: toolkits.iter().map(|s| (*s).to_owned()).collect(),
        config_id,
        ..Listing::default()
    };
    let mail = listed(t, &ada, of(&["gmail", "drive"], Some(config))).await;
    let disk = listed(t, &bob, of(&["drive"], None)).await;
    let open = link(t, &bob, SessionStatus::Pending).await;
    t.meddle(&format!(
        "UPDATE connections SET label = 'ada@x' WHERE id = '{mail}'"
    ))
    .await;
    let theirs = t.account(other, "ada").await;
    listed(t, &theirs, of(&["gmail"], Some(config))).await;
    let cases = cases(&ada, &bob, config, [mail, disk, open]);
    for (filter, wanted) in cases {
        assert_eq!(
            ids(t, partner, &filter, &NEWEST).await,
            wanted,
            "{filter:?}"
        );
        let oldest = ListingPage {
            ascending: true,
            ..NEWEST
        };
        let mut reversed = wanted.clone();
        reversed.reverse();
        assert_eq!(
            ids(t, partner, &filter, &oldest).await,
            reversed,
            "{filter:?}"
        );
        let updated = ListingPage {
            order: ListingOrder::Updated,
            ..NEWEST
        };
        let found: BTreeSet<_> = ids(t, partner, &filter, &updated)
            .await
            .into_iter()
            .collect();
        assert_eq!(found, wanted.into_iter().collect(), "{filter:?}");
    }
}

async fn pages_go_on_after_their_last_key(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let mut made = Vec::new();
    for _ in 0..23 {
        let toolkits = vec!["a".to_owned(), "b".to_owned()];
        made.push(
            listed(
                t,
                &account,
                Listing {
                    toolkits,
                    ..Listing::default()
                },
            )
            .await,
        );
    }
    // Several of one time: their ids decide.
    t.meddle("UPDATE connections SET updated_at = updated_at / 3000 * 3000")
        .await;
    let both = ListingFilter {
        toolkits: Some(vec!["a".into(), "b".into()]),
        ..ListingFilter::default()
    };
    for order in [ListingOrder::Created, ListingOrder::Updated] {
        for (filter, ascending) in [
            (&ListingFilter::default(), false),
            (&both, true),
            (&both, false),
        ] {
            let mut page = ListingPage {
                order,
                ascending,
                after: None,
                limit: 5,
            };
            let mut seen: Vec<ListingKey> = Vec::new();
            loop {
                let keys = t
                    .store
                    .list_listed(partner, filter, &page, t.now())
                    .await
                    .unwrap();
                let Some(last) = keys.last() else { break };
                page.after = Some(*last);
                seen.extend(keys);
            }
            let mut wanted = made.clone();
            if !ascending {
                wanted.reverse();
            }
            let seen: Vec<_> = seen.into_iter().map(|key| key.id).collect();
            assert_eq!(seen, wanted, "{order:?} {ascending}");
        }
    }
}

async fn a_link_gives_way_to_its_connection(t: &Fixture) {
    let partner = t.partner().await;
    let account = t.account(partner, "u1").await;
    let id = link(t, &account, SessionStatus::Exchanging).await;
    let found = t.store.get_link(partner, id).await.unwrap().unwrap();
    let mut new = t.new_connection(&account, found.session.auth_config_id, "ada");
    new.connection.id = id;
    new.session_id = Some(found.session.id);
    t.store.store_connection(&new).await.unwrap();
    let done = t.store.get_link(partner, id).await.unwrap().unwrap();
    assert_eq!(done.session.connection_id, Some(id));
    assert_eq!(
        ids(t, partner, &ListingFilter::default(), &NEWEST).await,
        [id]
    );
    // Connecting again keeps the old id; the new link leads there.
    let second = link(t, &account, SessionStatus::Exchanging).await;
    let again = t.store.get_link(partner, second).await.unwrap().unwrap();
    let mut new = t.new_connection(&account, found.session.auth_config_id, "ada");
    let before = t.store.get_connection(partner, id).await.unwrap().unwrap();
    new.connection.id = id;
    new.grant_id = before.grant.id;
    new.version = 2;
    new.session_id = Some(again.session.id);
    t.store.store_connection(&new).await.unwrap();
    let left = t.store.get_link(partner, second).await.unwrap().unwrap();
    assert_eq!(left.session.connection_id, Some(id));
    assert_eq!(
        ids(t, partner, &ListingFilter::default(), &NEWEST).await,
        [id]
    );
    // One that is deleted is gone; one whose code is under way is not.
    let open = link(t, &account, SessionStatus::Pending).await;
    assert!(t.store.delete_link(partner, open, t.now()).await.unwrap());
    assert!(t.store.get_link(partner, open).await.unwrap().is_none());
    let busy = link(t, &account, SessionStatus::Exchanging).await;
    assert!(!t.store.delete_link(partner, busy, t.now()).await.unwrap());
}

mod every_engine {
    super::super::on_every_engine!(
        every_standing_is_found_by_its_name_alone,
        each_filter_finds_its_own,
        pages_go_on_after_their_last_key,
        a_link_gives_way_to_its_connection,
    );
}
