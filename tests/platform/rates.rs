//! Rates and fairness: a partner's calls go out at its rate from however many workers, what waits takes nothing
//! from others, and a provider that hangs is left alone (`architecture.md` §7, `reliability.md` B9–B11, B19).

use std::time::Duration;

use futures::future::join_all;
use latchkey_tests::{Engine, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::{Value, json};

use crate::count;

const ASYNC: &[(&str, &str)] = &[("prefer", "respond-async")];

async fn accept(partner: &Partner) -> String {
    let accepted = partner
        .call("GET", "/sandbox/profile", "user-1", ASYNC, None)
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    accepted.data()["job_id"].as_str().unwrap().to_owned()
}

/// Seconds of a time of the API or the sandbox, within a day.
fn seconds(time: &Value) -> f64 {
    let text = time.as_str().unwrap().split('T').nth(1).unwrap();
    let parts: Vec<f64> = text
        .trim_end_matches('Z')
        .split(':')
        .map(|part| part.parse().unwrap())
        .collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

/// How long a job took from acceptance to its end.
async fn took(partner: &Partner, job: &str) -> f64 {
    let ended = partner.job(job).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    seconds(&ended["completed_at"]) - seconds(&ended["created_at"])
}

fn p95(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() * 95 / 100]
}

/// A partner at 10/s with a burst of one second's worth.
fn at_ten_a_second() -> ServerOptions {
    ServerOptions::default()
        .with("PLANS__TEN__CALLS_PER_MINUTE", 600)
        .with("PLANS__TEN__BURST_CALLS", 10)
}

/// When each request reached the provider's API since it had counted so many events.
async fn arrivals(sandbox: &Sandbox, server: &Server, since: u64) -> (Vec<f64>, u64) {
    let (mut times, mut next) = (Vec::new(), since);
    loop {
        let url = format!("{}/sandbox/events?since={next}", sandbox.url);
        let page = server.http.send("GET", &url, &[], None).await.json();
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return (times, next);
        }
        let api = events.iter().filter(|event| event["kind"] == "api");
        times.extend(api.map(|event| seconds(&event["at"])));
        next = page["next"].as_u64().unwrap();
    }
}

/// Over any span no more than rate × span + burst reach the provider, and no call is sent to a worker more than
/// twice; with four workers on the fleet.
#[tokio::test]
async fn a_partners_calls_go_out_at_its_rate() {
    const CALLS: usize = 60;
    let sandbox = Sandbox::start(&[]).await;
    // A process with roles has the origin that others join.
    let all = match Engine::under_test() {
        Engine::Embedded => at_ten_a_second(),
        Engine::Fleet => at_ten_a_second()
            .role("api")
            .role("worker")
            .role("scheduler"),
    };
    let server = Server::start(all).await;
    let mut workers = Vec::new();
    if let Some(fleet) = &server.fleet {
        for _ in 0..3 {
            workers.push(Server::join(fleet, at_ten_a_second().role("worker")).await);
        }
    }
    assert_eq!(Engine::under_test() == Engine::Fleet, !workers.is_empty());
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("ten").await;
    partner.connected("user-1").await;
    let (_, before) = arrivals(&sandbox, &server, 0).await;
    let jobs = join_all((0..CALLS).map(|_| accept(&partner))).await;
    // While they wait, somebody else's call finds a free slot.
    let other = server.partner("test").await;
    other.connected("user-1").await;
    let answer = other
        .call("GET", "/sandbox/messages", "user-1", &[], None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for job in &jobs {
        assert_eq!(partner.job(job).await["status"], "completed");
    }
    let (times, _) = arrivals(&sandbox, &server, before).await;
    // The other partner's: who it is, and its call.
    assert!(
        times.len() >= CALLS && times.len() <= CALLS + 3,
        "{}",
        times.len()
    );
    let extra = times.len() - CALLS;
    for (from, first) in times.iter().enumerate() {
        for (to, last) in times.iter().enumerate().skip(from) {
            #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
            let (seen, most) = ((to - from + 1 - extra.min(to - from)) as f64, 10.0);
            // A request leaves a moment after its permit: a tenth of a second here.
            let allowed = most * (last - first + 0.1) + most;
            assert!(seen <= allowed, "{seen} within {} s", last - first);
        }
    }
    let mut sent = 0.0;
    for one in std::iter::once(&server).chain(&workers) {
        for end in ["done", "snooze"] {
            let labels = ["kind=\"provider_call\"", &format!("end=\"{end}\"")];
            sent += one.metric("latchkey_jobs_total", &labels).await;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let most = (2 * CALLS + 1) as f64;
    assert!(
        sent <= most,
        "{CALLS} calls were sent to workers {sent} times"
    );
}

/// One partner's long queue at its limit does not hold up another's ten calls.
#[tokio::test]
async fn a_long_queue_does_not_hold_up_another_partner() {
    let many = count(1_000, 10_000);
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(at_ten_a_second()).await;
    server.sandbox_config(&sandbox).await;
    let (busy, calm) = (server.partner("ten").await, server.partner("test").await);
    for partner in [&busy, &calm] {
        partner.connected("user-1").await;
    }
    let ten = async || {
        let jobs = join_all((0..10).map(|_| accept(&calm))).await;
        p95(join_all(jobs.iter().map(|job| took(&calm, job))).await)
    };
    let unloaded = ten().await;
    for batch in (0..many).collect::<Vec<_>>().chunks(100) {
        join_all(batch.iter().map(|_| accept(&busy))).await;
    }
    let loaded = ten().await;
    assert!(
        loaded <= 2.0 * unloaded + 1.0,
        "{loaded} s instead of {unloaded} s"
    );
    let waiting = busy
        .send("GET", "/jobs?status=processing&limit=1", None)
        .await
        .data();
    assert!(
        waiting["total"].as_u64().unwrap() > 0,
        "the queue was gone: {waiting}"
    );
}

/// A provider that hangs: its breaker opens, its callers are told when to come back, and another provider's
/// calls are answered as before.
#[tokio::test]
async fn a_hanging_provider_is_left_alone() {
    let (hanging, well) = (Sandbox::start(&[]).await, Sandbox::start(&[]).await);
    let options = ServerOptions::default()
        .with("CALLS__TIMEOUT_MS", 1000)
        .with("WORKER__PER_PROVIDER", 32);
    let server = Server::start(options).await;
    let (one, other) = (server.partner("test").await, server.partner("test").await);
    for (partner, sandbox) in [(&one, &hanging), (&other, &well)] {
        server.sandbox_config(sandbox).await;
        partner.connected("user-1").await;
    }
    hanging.fault("api", json!("hang"), 10_000).await;
    let before = hanging.count("api_calls").await;
    let call = |partner: &Partner| {
        let partner = partner.clone();
        async move {
            partner
                .call("GET", "/sandbox/messages", "user-1", &[], None)
                .await
        }
    };
    let stuck = tokio::spawn(join_all((0..300).map(|_| call(&one)).collect::<Vec<_>>()));
    hanging.wait("api_calls", before + 20).await;
    for _ in 0..50 {
        let answer = call(&other).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let mut told = 0;
    for answer in stuck.await.unwrap() {
        assert!(matches!(answer.status, 503 | 504), "{}", answer.text());
        if answer.status == 503 {
            assert_eq!(answer.error(503), "PROVIDER_UNAVAILABLE");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
            told += 1;
        }
    }
    let asked = hanging.count("api_calls").await - before;
    assert!(told >= 200 && asked <= 100, "{told} told, {asked} asked");
    assert!(server.metric("latchkey_breakers_not_closed", &[]).await >= 1.0);
    hanging.clear_faults().await;
    until("the breaker closed", || async {
        (call(&one).await.status == 200).then_some(())
    })
    .await;
}

/// What a provider says of its own limits is heeded: nobody asks before it said.
#[tokio::test]
async fn a_provider_that_is_asked_too_often_is_not_asked() {
    let sandbox = Sandbox::start(&[]).await;
    let server = Server::start(ServerOptions::default()).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    sandbox
        .fault("api", json!({ "rate_limit": { "retry_after_s": 2 } }), 1)
        .await;
    let call = || partner.call("GET", "/sandbox/profile", "user-1", &[], None);
    assert_eq!(call().await.error(429), "PROVIDER_RATE_LIMITED");
    let before = sandbox.count("api_calls").await;
    let refused = call().await;
    assert_eq!(refused.error(429), "PROVIDER_RATE_LIMITED");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(sandbox.count("api_calls").await, before);
    // A call that nobody waits for comes back by itself.
    let job = accept(&partner).await;
    assert_eq!(partner.job(&job).await["status"], "completed");
}

/// Many times as many as are served at once: those that find a seat are served, none of them too late, and all
/// others are told at once when to come back; then all is as before.
#[tokio::test]
async fn an_overload_is_refused_and_passes() {
    let calls = count(2_000, 20_000);
    let sandbox = Sandbox::start(&["api_latency_ms=20"]).await;
    let options = ServerOptions::default()
        .with("WORKER__INTERACTIVE", 16)
        .with("CALLS__WAITING_MAX", 32);
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let call = || partner.call("GET", "/sandbox/profile", "user-1", &[], None);
    assert_eq!(call().await.status, 200);
    let before = sandbox.count("api_calls").await;
    let answers = join_all((0..calls).map(|_| call())).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.error(503), "UNAVAILABLE");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    assert!(served >= 32, "only {served} of {calls} were served");
    let asked = sandbox.count("api_calls").await - before;
    assert_eq!(asked, served as u64, "what was refused was not begun");
    tokio::time::timeout(Duration::from_secs(30), async {
        while call().await.status != 200 {}
    })
    .await
    .unwrap();
}
