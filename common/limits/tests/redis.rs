//! Redis limits as one machine does, over several processes exactly, and each worker its share while Redis
//! is away.

#![expect(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use latchkey_domain::{AuthConfigId, Clock, PartnerId, SeededEntropy, SystemClock, plan::Plan};
use latchkey_jobs::redis_server::PrivateRedis;
use latchkey_limits::{
    Allowance, BudgetKey, CallLimits, PaceKey, Permit, RedisLimits, Refused, Wanted,
    conformance::{self, Subject},
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

const LONG: Duration = Duration::from_secs(30);
const PARTNER: PartnerId = PartnerId::from_u128(1);

fn plan(calls_per_minute: u32, burst: u32) -> Plan {
    Plan {
        included_calls_per_month: None,
        calls_per_minute,
        burst_calls: Some(burst),
        overage: None,
    }
}

/// Limits of a process of its own, and what it says of Redis.
fn process(url: &str, namespace: &str) -> (Arc<RedisLimits>, mpsc::UnboundedReceiver<bool>) {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let (tell, told) = mpsc::unbounded_channel();
    let entropy = SeededEntropy::new(SEED.fetch_add(1, Ordering::Relaxed));
    let told_so = move |away| tell.send(away).unwrap_or(());
    let limits = RedisLimits::open(url, namespace, Arc::new(SystemClock), &entropy, told_so);
    (Arc::new(limits.unwrap()), told)
}

/// Takes one request from a provider's budgets, for a partner whose plan allows it; or says how long to wait.
async fn ask_provider(
    limits: &RedisLimits,
    heard: BudgetKey,
    published: &[(PaceKey, Allowance)],
) -> Option<Duration> {
    let wanted = Wanted {
        partner: PARTNER,
        plan: &plan(1_000_000, 1_000_000),
        heard: &[heard],
        published,
        now: SystemClock.now(),
    };
    match limits.take(wanted).await {
        Ok(_) => None,
        Err(Refused::Provider(wait)) => Some(wait),
        Err(Refused::Plan(permit)) => panic!("{permit:?}"),
    }
}

async fn check(limits: &RedisLimits, plan: &Plan) -> Permit {
    limits.take_permit(PARTNER, plan, SystemClock.now()).await
}

#[tokio::test]
async fn conforms() {
    let server = match std::env::var("LATCHKEY_TEST_REDIS_URL") {
        Ok(_) => None,
        Err(_) => Some(PrivateRedis::start().await),
    };
    let url = match server.as_ref() {
        None => std::env::var("LATCHKEY_TEST_REDIS_URL").unwrap(),
        Some(server) => server.url(),
    };
    let next = AtomicU32::new(0);
    conformance::call_limits(async || {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let (limits, _) = process(&url, &format!("test-{}-{n}", std::process::id()));
        limits.hold_time(u64::try_from(conformance::START.as_micros()).unwrap());
        let hand = Arc::clone(&limits);
        Subject::new(limits, move |span| hand.advance(span))
    })
    .await;
}

/// What a provider publishes is kept to by all workers together, what one of them was told all of them know, and
/// while Redis is away each keeps to its share.
#[tokio::test]
async fn four_workers_share_the_budgets_of_a_provider() {
    let mut server = PrivateRedis::start().await;
    let processes: Vec<_> = (0..4).map(|_| process(&server.url(), "test").0).collect();
    let app = BudgetKey::App(AuthConfigId::from_u128(1));
    let key = PaceKey {
        whose: app,
        nth: 0,
        endpoint: None,
    };
    // An hour's budget, of which a quarter goes at once.
    let published = [(
        key,
        Allowance {
            requests: 160,
            per: Duration::from_secs(3600),
        },
    )];
    let now = SystemClock.now();
    let drain = async |limits: &RedisLimits| {
        let mut taken = 0;
        while ask_provider(limits, app, &published).await.is_none() {
            taken += 1;
        }
        taken
    };
    for limits in &processes {
        // Whoever takes plan permits is a worker, and has a share.
        assert!(check(limits, &plan(60, 10)).await.allowed);
    }
    let mut look = tokio::time::interval(Duration::from_millis(50));
    while processes.iter().any(|limits| limits.workers() < 4) {
        look.tick().await;
    }
    let mut taken = 0;
    for limits in &processes {
        for _ in 0..3 {
            assert_eq!(ask_provider(limits, app, &published).await, None);
            taken += 1;
        }
    }
    server.kill();
    // Ten each by their shares, of which three were taken while Redis counted.
    for limits in &processes {
        assert_eq!(drain(limits).await, 7);
    }
    server.start_again().await;
    while processes.iter().any(|limits| limits.is_away()) {
        look.tick().await;
    }
    // It comes back empty.
    for limits in &processes {
        taken += drain(limits).await;
    }
    assert_eq!(taken, 12 + 40);
    let until = now + Duration::from_secs(1800);
    processes[0].spent(app, until, now).await;
    for limits in &processes {
        let wait = ask_provider(limits, app, &[]).await.unwrap();
        let off = wait.abs_diff(Duration::from_secs(1800));
        assert!(off < Duration::from_secs(60), "{wait:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_workers_together_allow_what_the_plan_has() {
    let server = PrivateRedis::start().await;
    // Ten a second, five at once, and everybody asks as fast as it can for three seconds.
    let plan = plan(600, 5);
    let span = Duration::from_secs(3);
    let began = SystemClock.monotonic();
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let (limits, _) = process(&server.url(), "test");
        for _ in 0..4 {
            let (limits, plan) = (Arc::clone(&limits), plan.clone());
            asking.spawn(async move {
                let mut allowed = 0_u32;
                while SystemClock.monotonic().saturating_sub(began) < span {
                    allowed += u32::from(check(&limits, &plan).await.allowed);
                }
                allowed
            });
        }
    }
    let allowed: u32 = asking.join_all().await.into_iter().sum();
    let took = SystemClock.monotonic().saturating_sub(began).as_secs_f64();
    let most = 5.0 + took * 10.0;
    assert!(f64::from(allowed) <= most + 1e-6, "{allowed} of {most}");
    assert!(f64::from(allowed) >= 33.0, "{allowed} of {most}");
    // The bucket goes by itself once it is full again.
    let mut admin = server.admin().await;
    let key = format!("test:rate:{PARTNER}");
    let left: i64 = redis::cmd("PTTL")
        .arg(key)
        .query_async(&mut admin)
        .await
        .unwrap();
    assert!((1..=11_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_worker_allows_its_share() {
    let mut server = PrivateRedis::start().await;
    // One call an hour or so: what is allowed at all is the burst.
    let plan = plan(1, 40);
    let mut processes: Vec<_> = (0..4).map(|_| process(&server.url(), "test")).collect();
    for (limits, _) in &processes {
        assert!(check(limits, &plan).await.allowed);
    }
    // Each of them hears of all four.
    let mut look = tokio::time::interval(Duration::from_millis(50));
    while processes.iter().any(|(limits, _)| limits.workers() < 4) {
        look.tick().await;
    }
    server.kill();
    let mut allowed = 0;
    for (limits, told) in &mut processes {
        let first = check(limits, &plan).await;
        assert_eq!((first.allowed, first.limit), (true, 1));
        assert_eq!(timeout(LONG, told.recv()).await.unwrap(), Some(true));
        assert!(limits.is_away());
        allowed += 1;
        while check(limits, &plan).await.allowed {
            allowed += 1;
        }
        assert!(limits.peek(PARTNER, &plan).await.retry_after > Duration::from_secs(1));
    }
    // Ten each, of which one was taken while Redis counted.
    assert_eq!(allowed, 36);
    server.start_again().await;
    for (limits, told) in &mut processes {
        assert_eq!(timeout(LONG, told.recv()).await.unwrap(), Some(false));
        assert!(!limits.is_away());
    }
    // And Redis counts for all of them again.
    for (n, (limits, _)) in processes.iter().enumerate() {
        let permit = check(limits, &plan).await;
        assert_eq!(permit.remaining, 39 - u32::try_from(n).unwrap());
    }
}
