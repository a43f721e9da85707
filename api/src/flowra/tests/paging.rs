//! Paging while the list changes under it, and cursors that were tampered with.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use latchkey_domain::{ConnectionId, GrantId};
use latchkey_store::{Connection, ConnectionRow, JsonMap, Listing, NewConnection};

use super::accounts::PATH;
use crate::testing::{TestApi, TestPartner};

/// Connections that are there all the time.
const LASTING: usize = 1000;
/// Those that come, and those that go, while the list is read.
const COMING: usize = 2000;

/// A connection like this one under another identity.
async fn one_more(api: &TestApi, like: &Connection, n: usize) -> ConnectionId {
    let (ctx, now) = (&api.api.ctx, api.api.ctx.now());
    let id = ConnectionId::new(now, &*ctx.entropy);
    let new = NewConnection {
        connection: ConnectionRow {
            id,
            identity: format!("more-{n}"),
            connected_at: now,
            updated_at: now,
            params: JsonMap::new(),
            ..like.row.clone()
        },
        grant_id: GrantId::new(now, &*ctx.entropy),
        version: 1,
        sealed: vec![0; 40],
        issued_at: now,
        expires_at: None,
        due_at: None,
        refreshable: true,
        dies_at: None,
        listing: Listing {
            toolkits: vec!["sandbox".to_owned()],
            ..Listing::default()
        },
        session_id: None,
        job: None,
        now,
    };
    ctx.store.store_connection(&new).await.unwrap();
    id
}

async fn read_all(
    api: &TestApi,
    acme: &TestPartner,
    query: &str,
    mut meanwhile: impl AsyncFnMut(usize),
) -> Vec<String> {
    let (mut seen, mut cursor, mut page) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("{PATH}?limit=7{query}{cursor}");
        let answer = acme.client.get(&path).await.json();
        let items = answer["items"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"));
        seen.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        page += 1;
        assert_eq!(answer["currentPage"], page);
        let Some(next) = answer["nextCursor"].as_str() else {
            return seen;
        };
        cursor = format!("&cursor={next}");
        meanwhile(usize::try_from(page).unwrap()).await;
        assert!(page < 5000, "the list never ends");
        api.advance(std::time::Duration::from_micros(1500));
    }
}

#[tokio::test]
async fn what_was_there_all_the_time_is_seen_once_while_5000_come_and_go() {
    let api = TestApi::new().await;
    let acme = api.partner("Acme").await;
    let account = acme.account("ada").await;
    let first = api.connection(&acme, &account).await;
    let store = &api.api.ctx.store;
    let mut lasting = BTreeSet::from([first.row.id.to_string()]);
    let mut going = Vec::new();
    for n in 0..LASTING + COMING {
        api.advance(std::time::Duration::from_millis(1));
        let id = one_more(&api, &first, n).await;
        if n % 3 == 0 {
            lasting.insert(id.to_string());
        } else {
            going.push(id);
        }
    }
    let mut made = LASTING + COMING;
    // Each page takes some of the old ones away, and brings new ones.
    let seen = read_all(&api, &acme, "", async |_| {
        for _ in 0..14 {
            api.advance(std::time::Duration::from_millis(1));
            if let Some(id) = going.pop() {
                let now = api.api.ctx.now();
                store
                    .mark_disconnected(acme.id, id, None, now)
                    .await
                    .unwrap();
            }
            if made < LASTING + 2 * COMING {
                one_more(&api, &first, made).await;
                made += 1;
            }
        }
    })
    .await;
    assert_eq!(made, LASTING + 2 * COMING);
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len(), "something was seen twice");
    assert_eq!(lasting.difference(&unique).count(), 0);
    // Oldest first, with a filter, in the order of changes: all that is there. A total that is older than what may be
    // shown is counted before it is told.
    api.advance(std::time::Duration::from_secs(120));
    let total = acme.client.get(&format!("{PATH}?limit=1")).await.json()["totalItems"].clone();
    for query in [
        "&orderDirection=asc",
        "&orderBy=updatedAt&toolkitSlugs=sandbox",
    ] {
        let again = read_all(&api, &acme, query, async |_| {}).await;
        let unique: BTreeSet<_> = again.iter().collect();
        let with_first = usize::from(!query.contains("toolkit"));
        assert_eq!(unique.len(), again.len(), "{query}");
        assert_eq!(
            again.len() + 1 - with_first,
            usize::try_from(total.as_u64().unwrap()).unwrap(),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_cursor_that_was_changed_or_carried_elsewhere_is_refused() {
    let api = TestApi::new().await;
    let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
    let account = acme.account("ada").await;
    let first = api.connection(&acme, &account).await;
    one_more(&api, &first, 1).await;
    let page = acme.client.get(&format!("{PATH}?limit=1")).await.json();
    let cursor = page["nextCursor"].as_str().unwrap().to_owned();
    let open = async |client: &crate::testing::Client, query: &str| {
        client.get(&format!("{PATH}?{query}")).await
    };
    assert_eq!(
        open(&acme.client, &format!("limit=1&cursor={cursor}"))
            .await
            .status,
        200
    );
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&cursor).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let changed = BASE64_URL_SAFE_NO_PAD.encode(changed);
        let refused = open(&acme.client, &format!("cursor={changed}")).await;
        assert_eq!(refused.status, 400, "byte {at}: {}", refused.shown());
        assert_eq!(refused.json()["error"]["details"][0]["field"], "cursor");
    }
    for query in [
        format!("cursor={cursor}&statuses=ACTIVE"),
        format!("cursor={cursor}&orderDirection=asc"),
        format!("cursor={}", &cursor[..cursor.len() - 2]),
        "cursor=eyJwYWdlIjoyLCJsaW1pdCI6MTB9".to_owned(),
    ] {
        assert_eq!(
            open(&acme.client, &query).await.code(),
            "INVALID_REQUEST",
            "{query}"
        );
    }
    assert_eq!(
        open(&other.client, &format!("cursor={cursor}"))
            .await
            .code(),
        "INVALID_REQUEST"
    );
}
