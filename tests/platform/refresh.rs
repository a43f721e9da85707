//! Tokens are fresh before anyone needs them, and never burnt (`architecture.md` §6).

use std::time::Duration;

use futures::future::join_all;
use latchkey_tests::{Browser, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::json;

use crate::{count, crash_matrix::catalog};

/// Twenty callers on one dead rotating token: one refresh, no reuse, twenty answers.
#[tokio::test]
async fn callers_of_a_dead_token_share_one_refresh() {
    let sandbox = Sandbox::start(&["token_latency_ms=200"]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    for round in 1..=3 {
        sandbox.expire_access().await;
        let calls = (0..20).map(|_| partner.call("GET", "/sandbox/profile", "user-1", &[], None));
        for answer in join_all(calls).await {
            assert_eq!(answer.data()["sub"], "user-1");
        }
        let counters = sandbox.counters().await;
        assert_eq!(counters["token_refresh"], round, "{counters}");
        assert_eq!(counters["refresh_reuse"], 0, "{counters}");
    }
}

/// Tokens of five seconds are refreshed ahead for as long as one watches: no miss, no reuse, at most three
/// refreshes per lifetime.
#[tokio::test]
async fn short_tokens_stay_fresh() {
    let (grants, watched) = (count(100, 500), Duration::from_secs(count(15, 60) as u64));
    let sandbox = Sandbox::start(&["access_lifetime_s=5"]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let names: Vec<_> = (0..grants).map(|n| format!("user-{n}")).collect();
    for batch in names.chunks(20) {
        join_all(batch.iter().map(|name| partner.connected(name))).await;
    }
    let lifetimes = watched.as_secs() / 5 * grants as u64;
    let before = sandbox.count("token_refresh").await;
    // Watched for as long as it says: the claim is about time.
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..=watched.as_secs() {
        second.tick().await;
    }
    let refreshes = sandbox.count("token_refresh").await - before;
    assert!(
        (lifetimes..=3 * lifetimes).contains(&refreshes),
        "{refreshes} refreshes in {lifetimes} lifetimes"
    );
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_reuse"], 0, "{counters}");
    assert_eq!(counters["refresh_overlap"], 0, "{counters}");
    let missed = server
        .metric("latchkey_refresh_missed_total", &["sandbox"])
        .await;
    assert!(missed.abs() < f64::EPSILON, "{missed} misses");
    let calls = join_all(
        names
            .iter()
            .map(|name| partner.call("GET", "/sandbox/profile", name, &[], None)),
    );
    for answer in calls.await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(
        sandbox.count("api_401").await,
        0,
        "no call met a dead token"
    );
}

/// Two accounts of a partner connect the same user of a provider that gives both the same refresh token and rotates it
/// (HubSpot, as its entry fears). Whoever needs new tokens, however many at once: one refresh for both, nothing is
/// presented twice, and no connection is lost.
#[tokio::test]
async fn connections_that_share_a_refresh_token_present_it_once() {
    let server = Server::start(ServerOptions::default().with_sandbox()).await;
    let partner = server.partner("test").await;
    let callers = ["first", "second"];
    for caller in callers {
        let account = partner.account(caller).await;
        let body = json!({ "provider": "hubspot", "redirect_url": Partner::REDIRECT });
        let path = format!("/accounts/{account}/connect");
        let link = partner.send("POST", &path, Some(body)).await.data();
        let link = link["connect_url"].as_str().expect("a link").to_owned();
        let landed = Browser::new().consent(&link, "ada").await;
        assert!(landed.as_str().contains("status=success"), "{landed}");
    }
    let sandbox = server.sandbox_url.as_deref().expect("a sandbox");
    let sandbox = format!("{}/sandbox", sandbox.trim_end_matches('/'));
    let counters = || async {
        let url = format!("{sandbox}/counters");
        let seen = server.http.send("GET", &url, &[], None).await.json();
        ["token_refresh", "token_refused"].map(|name| seen[name].as_u64().expect("a count"))
    };
    let path = "/hubspot/contacts?limit=1";
    for round in 1..=5 {
        let url = format!("{sandbox}/grants/expire-access");
        server.http.send("POST", &url, &[], None).await.json();
        // In turns: both at once, the one that presents, the one that does not.
        let order: Vec<_> = match round % 3 {
            0 => vec![callers[1], callers[0]],
            1 => callers.repeat(3),
            _ => callers.to_vec(),
        };
        let calls = order
            .iter()
            .map(|caller| partner.call("GET", path, caller, &[], None));
        let answers = if round % 3 == 1 {
            join_all(calls).await
        } else {
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await);
            }
            answers
        };
        for answer in answers {
            assert_eq!(answer.status, 200, "{round}: {}", answer.text());
        }
        assert_eq!(counters().await, [round, 0], "round {round}");
    }
}

/// What a partner writes while a refresh is under way stays, and so does the new token.
#[tokio::test]
async fn metadata_written_during_a_refresh_is_kept() {
    let sandbox = Sandbox::start(&["token_latency_ms=700"]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    for round in 1..=count(3, 50) {
        let last = partner.integration(&account).await["last_refreshed_at"].clone();
        let path = format!("/accounts/{account}/integrations/sandbox/refresh");
        let before = sandbox.count("token_requests").await;
        let refresh = partner.send("POST", &path, None);
        let change = async {
            sandbox.wait("token_requests", before + 1).await;
            let metadata = json!({ "metadata": { "round": round } });
            let path = format!("/accounts/{account}");
            partner.send("PATCH", &path, Some(metadata)).await.data();
            let switch = json!({ "enabled_services": { "messages.write": round % 2 == 0 } });
            let path = format!("/accounts/{account}/integrations/sandbox");
            partner.send("PATCH", &path, Some(switch)).await.data();
        };
        let (asked, ()) = tokio::join!(refresh, change);
        assert!(asked.status < 300, "{}", asked.text());
        sandbox.wait("token_refresh", round as u64).await;
        until("the new token to be stored", || async {
            let seen = partner.integration(&account).await;
            (seen["last_refreshed_at"] != last).then_some(())
        })
        .await;
        let seen = partner
            .send("GET", &format!("/accounts/{account}"), None)
            .await
            .data();
        assert_eq!(seen["metadata"]["round"], round);
        let switches = partner.integration(&account).await["enabled_services"].clone();
        let switches = switches.as_array().unwrap();
        let writes = switches
            .iter()
            .find(|s| s["service_name"] == "messages.write");
        assert_eq!(writes.unwrap()["is_enabled"], round % 2 == 0);
    }
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_reuse"], 0, "{counters}");
}

/// A connection deleted while its refresh is under way stays deleted, and the token that comes after that is
/// revoked at once.
#[tokio::test]
async fn a_deletion_during_a_refresh_resurrects_nothing() {
    let sandbox = Sandbox::start(&["token_latency_ms=700"]).await;
    let server = Server::start(ServerOptions::default().quick()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let names: Vec<_> = (0..count(5, 100)).map(|n| format!("user-{n}")).collect();
    let accounts = join_all(names.iter().map(|name| partner.connected(name))).await;
    let before = sandbox.count("token_requests").await;
    for account in &accounts {
        let path = format!("/accounts/{account}/integrations/sandbox/refresh");
        partner.send("POST", &path, None).await.data();
    }
    sandbox
        .wait("token_requests", before + accounts.len() as u64)
        .await;
    let deletions = accounts.iter().map(async |account| {
        let path = format!("/accounts/{account}/integrations/sandbox");
        partner.send("DELETE", &path, None).await.data();
    });
    join_all(deletions).await;
    until("every grant to be dead at the provider", || async {
        (sandbox.counters().await["grants_alive"] == 0).then_some(())
    })
    .await;
    for account in &accounts {
        let path = format!("/accounts/{account}/integrations");
        let left = partner.send("GET", &path, None).await.data();
        assert_eq!(left["integrations"], json!([]), "{left}");
    }
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_overlap"], 0, "{counters}");
}

/// A token endpoint that takes longer than the lease sees no two presentations of one token at once, and the
/// grants heal when it is quick again.
#[tokio::test]
async fn an_endpoint_slower_than_the_lease_sees_no_overlap() {
    // With a grace, doubt is tried out soon.
    let sandbox = Sandbox::start(&["grace_s=60"]).await;
    let catalog = catalog("mode = \"single_use\"\ngrace_s = 60");
    let options = ServerOptions::default()
        .quick()
        .with("CATALOG_DIR", catalog.path().display());
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let names: Vec<_> = (0..5).map(|n| format!("user-{n}")).collect();
    let accounts = join_all(names.iter().map(|name| partner.connected(name))).await;
    // The lease is 3 s, the time-out 2 s.
    sandbox.set(json!({ "token_latency_ms": 3800 })).await;
    let before = sandbox.count("token_requests").await;
    for account in &accounts {
        let path = format!("/accounts/{account}/integrations/sandbox/refresh");
        partner.send("POST", &path, None).await.data();
    }
    // Some were asked for a second time, of their own accord.
    sandbox.wait("token_requests", before + 7).await;
    sandbox.set(json!({ "token_latency_ms": 0 })).await;
    for (account, name) in accounts.iter().zip(&names) {
        until("the grant to be refreshed", || async {
            let seen = partner.integration(account).await;
            (seen["status"] == "active" && seen["last_refreshed_at"] != json!(null)).then_some(())
        })
        .await;
        let answer = partner
            .call("GET", "/sandbox/profile", name, &[], None)
            .await;
        answer.data();
    }
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_overlap"], 0, "{counters}");
}

/// An introspection endpoint that refuses, and one that never answers: tokens are connected and refreshed all the same,
/// and the end that is known without it stands.
#[tokio::test]
async fn an_introspection_that_fails_costs_nothing() {
    // Connections to it stand, and nobody answers them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::start(&[]).await;
    let refuses = format!("{}/nowhere", sandbox.url);
    let hangs = format!("http://{}/", silent.local_addr().unwrap());
    for url in [refuses, hangs] {
        let catalog = catalog(&format!(
            "mode = \"single_use\"\n[oauth.refresh]\ntrigger = \"introspect\"\n\
             [oauth.introspect]\nurl = \"{url}\""
        ));
        let options = ServerOptions::default().with("CATALOG_DIR", catalog.path().display());
        let server = Server::start(options).await;
        server.sandbox_config(&sandbox).await;
        let partner = server.partner("test").await;
        let account = partner.connected("user-1").await;
        let connected = partner.integration(&account).await;
        assert_eq!(connected["status"], "active", "{url}: {connected}");
        let path = format!("/accounts/{account}/integrations/sandbox/refresh");
        let job = partner.send("POST", &path, None).await.data();
        let job = partner.job(job["job_id"].as_str().expect("a job")).await;
        assert_eq!(job["status"], "completed", "{url}: {job}");
        let refreshed = partner.integration(&account).await;
        let ends = |seen: &serde_json::Value| seen["expires_at"].as_str().map(str::to_owned);
        assert!(ends(&refreshed) > ends(&connected), "{url}: {refreshed}");
        assert!(refreshed["next_refresh_at"].is_string(), "{refreshed}");
        sandbox.expire_access().await;
        let answer = partner.call("GET", "/sandbox/profile", "user-1", &[], None);
        answer.await.data();
    }
    let counters = sandbox.counters().await;
    assert_eq!(counters["refresh_reuse"], 0, "{counters}");
}

/// What an integration says of itself, and the command beside the server: one truth with its history.
#[tokio::test]
async fn a_connection_tells_what_it_is_and_what_it_went_through() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    let path = format!("/accounts/{account}/integrations/sandbox/refresh");
    partner.send("POST", &path, None).await.data();
    sandbox.wait("token_refresh", 1).await;
    let seen = until("the refresh to be stored", || async {
        let seen = partner.integration(&account).await;
        (seen["last_refreshed_at"] != json!(null)).then_some(seen)
    })
    .await;
    let explanation = seen["explanation"].as_str().unwrap();
    assert!(
        explanation.starts_with("Active; the next refresh is at "),
        "{seen}"
    );
    let id = seen["id"].as_str().unwrap();
    let said = server
        .command(&["connection", "show", &partner.id, id], "")
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    let shown = said.json();
    assert_eq!(shown["explanation"], seen["explanation"]);
    let first = &shown["refreshes"][0];
    assert_eq!(
        (
            &first["outcome"],
            &first["from_version"],
            &first["to_version"]
        ),
        (&json!("refreshed"), &json!(1), &json!(2)),
        "{shown}"
    );
    sandbox.revoke_all().await;
    partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    let said = server
        .command(&["connection", "show", &partner.id, id], "")
        .await;
    let shown = said.json();
    assert_eq!(
        (&shown["status"], &shown["reason"]),
        (&json!("needs_reauth"), &json!("invalid_grant"))
    );
    assert_eq!(shown["refreshes"][0]["outcome"], "needs_reauth", "{shown}");
    assert_eq!(shown["refreshes"][0]["to_version"], json!(null));
}

/// One error of the token endpoint while the access token lives fails no call; the grant heals.
#[tokio::test]
async fn an_error_of_the_token_endpoint_fails_no_call_while_the_token_lives() {
    let sandbox = Sandbox::start(&["access_lifetime_s=20", "rotation=none"]).await;
    let server = Server::start(ServerOptions::default().quick()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    sandbox
        .fault("refresh", json!({ "fail": { "status": 500 } }), 1)
        .await;
    let asked = partner
        .send(
            "POST",
            &format!("/accounts/{account}/integrations/sandbox/refresh"),
            None,
        )
        .await;
    assert!(asked.status < 300, "{}", asked.text());
    sandbox.wait("faults_hit", 1).await;
    for _ in 0..5 {
        partner
            .call("GET", "/sandbox/profile", "user-1", &[], None)
            .await
            .data();
    }
    assert_eq!(partner.integration(&account).await["status"], "active");
    // The catalogue says that it rotates, so it is presented again when the token is about to end.
    sandbox.wait("token_refresh", 1).await;
}

/// A grant that the provider ended is `needs_reauth` with the reason; calls say what to do; connecting again
/// keeps the integration's id.
#[tokio::test]
async fn a_dead_grant_says_so_and_is_healed_by_connecting_again() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    let account = partner.connected("user-1").await;
    let before = partner.integration(&account).await;
    sandbox.revoke_all().await;
    let refused = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    assert_eq!(refused.error(409), "NEEDS_REAUTH");
    let dead = partner.integration(&account).await;
    assert_eq!(
        (&dead["status"], &dead["reason"]),
        (&json!("needs_reauth"), &json!("invalid_grant"))
    );
    partner.connect(&account, "user-1").await;
    let healed = partner.integration(&account).await;
    assert_eq!(
        (&healed["status"], &healed["id"]),
        (&json!("active"), &before["id"])
    );
    partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await
        .data();
}
