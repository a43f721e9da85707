//! Rates and fairness: a partner's calls go out at its rate from however many workers, what waits takes nothing
//! from others, and a provider that hangs is left alone (`architecture.md` §7, `reliability.md` B9–B11, B19).

use std::time::Duration;

use futures::{StreamExt, future::join_all, stream};
use latchkey_domain::{Clock, SystemClock};
use latchkey_tests::{Answer, Engine, Partner, Sandbox, Server, ServerOptions, until};
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
/// calls are answered as before: the 99th of 100 within a tenth and 5 ms, but for what this machine does besides.
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
    let in_turn = async || {
        let mut said = Vec::new();
        for _ in 0..count(100, 1000) {
            said.push(called(&other).await);
        }
        assert!(said.iter().all(Said::is_served), "somebody else's calls");
        p99(&said)
    };
    let alone = in_turn().await;
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
    let beside = in_turn().await;
    show(&format!(
        "p99 {alone:?} alone, {beside:?} beside one that hangs"
    ));
    let allowed = alone + alone / 10 + Duration::from_millis(5) + NOISE;
    assert!(beside <= allowed, "{beside:?} instead of {alone:?}");
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

/// What two cores that others use as well may add to a time.
const NOISE: Duration = Duration::from_millis(500);

/// A figure, for who runs one test by itself.
#[expect(clippy::print_stdout, reason = "shown with the test's other output")]
fn show(figure: &str) {
    println!("{figure}");
}

/// An answer and how long it took.
struct Said {
    answer: Answer,
    took: Duration,
}

impl Said {
    fn is_served(&self) -> bool {
        self.answer.status == 200
    }
}

async fn called(partner: &Partner) -> Said {
    let began = SystemClock.monotonic();
    let answer = partner
        .call("GET", "/sandbox/profile", "user-1", &[], None)
        .await;
    let took = SystemClock.monotonic().saturating_sub(began);
    Said { answer, took }
}

/// For so long, callers that take turns: one calls every so often, unless none is free.
async fn load(partner: &Partner, callers: usize, every: Duration, lasts: Duration) -> Vec<Said> {
    let end = SystemClock.monotonic() + lasts;
    let turns = stream::unfold(tokio::time::interval(every), |mut turn| async move {
        turn.tick().await;
        (SystemClock.monotonic() < end).then_some(((), turn))
    });
    let calls = turns.map(|()| called(partner));
    calls.buffer_unordered(callers).collect().await
}

fn p99(said: &[Said]) -> Duration {
    let mut times: Vec<_> = said.iter().map(|said| said.took).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Ten times the load that can be served, for as long as it says: what finds a seat is served, and soon; all else is
/// told at once when to come back, and was not begun; memory does not grow; then all is as before.
#[tokio::test]
async fn an_overload_is_refused_and_passes() {
    const SLOTS: usize = 16;
    const TIMES: u32 = 10;
    let (first, lasts) = (2, count(10, 60) as u64);
    // So slow that the slots are the limit, and not the processor.
    let sandbox = Sandbox::start(&["api_latency_ms=500"]).await;
    let options = ServerOptions::default()
        .with("WORKER__INTERACTIVE", SLOTS)
        .with("CALLS__WAITING_MAX", 2 * SLOTS);
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("test").await;
    partner.connected("user-1").await;
    let full_house = async || join_all((0..SLOTS).map(|_| called(&partner))).await;
    full_house().await;
    let (began, usual) = (SystemClock.monotonic(), full_house().await);
    let took = SystemClock.monotonic().saturating_sub(began);
    assert!(usual.iter().all(Said::is_served), "all slots are taken");
    let (usual, soon) = (p99(&usual), 2 * p99(&usual) + NOISE);
    // One call of those that can be served, and one of ten times as many.
    let one = took / u32::try_from(SLOTS).unwrap();
    let (every, callers) = (one / TIMES, 2 * SLOTS * TIMES as usize);
    let before = sandbox.count("api_calls").await;
    let seconds = Duration::from_secs;
    let mut said = load(&partner, callers, every, seconds(first)).await;
    let memory = server.process.peak_memory();
    said.extend(load(&partner, callers, every, seconds(lasts - first)).await);
    let peak = server.process.peak_memory();
    let asked = sandbox.count("api_calls").await - before;
    let share = |of: Duration| (seconds(lasts).as_micros() / of.as_micros()) as usize;
    assert!(said.len() >= share(every) * 9 / 10, "{} calls", said.len());
    let (served, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(Said::is_served);
    for Said { answer, .. } in &refused {
        assert_eq!(answer.error(503), "UNAVAILABLE");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    let told = p99(&refused);
    assert!(told <= usual, "refused only after {told:?}");
    assert_eq!(asked, served.len() as u64, "what was refused was not begun");
    assert!(served.len() >= share(one) * 9 / 10, "{asked} were served");
    let late = p99(&served);
    assert!(late <= soon, "{late:?} instead of {usual:?}");
    // A quarter for what the allocator keeps.
    let flat = memory.zip(peak).is_none_or(|(m, p)| p <= m + m / 4);
    assert!(flat, "from {memory:?} to {peak:?} KiB");
    let well = async || {
        let said = full_house().await;
        said.iter().all(Said::is_served) && p99(&said) <= soon
    };
    let recovered = async { while !well().await {} };
    let recovered = tokio::time::timeout(seconds(30), recovered).await;
    assert!(recovered.is_ok(), "it did not recover");
}
