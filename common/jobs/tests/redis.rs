//! Redis passes the suite that the in-process engine passes.

#![expect(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use latchkey_jobs::{
    Redis, RedisQueue, RedisReplies, RedisSignals, conformance, redis::MAX_ENTRIES,
    redis_server::PrivateRedis,
};

/// A link to the server that `LATCHKEY_TEST_REDIS_URL` names, in a namespace of this test's own, else to a
/// private one.
async fn link() -> (Redis, Option<PrivateRedis>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = format!(
        "test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    if let Ok(url) = std::env::var("LATCHKEY_TEST_REDIS_URL") {
        return (Redis::open(&url, &own).await.unwrap(), None);
    }
    let server = PrivateRedis::start().await;
    (
        Redis::open(&server.url(), &own).await.unwrap(),
        Some(server),
    )
}

macro_rules! conforms {
    ($($name:ident: $make:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (redis, _server) = link().await;
            let run = $make;
            run(redis).await;
        }
    )*};
}

conforms! {
    runs_what_is_pushed: |redis| conformance::runs_what_is_pushed(Arc::new(RedisQueue::new(redis)));
    stops_gracefully: |redis| conformance::stops_gracefully(Arc::new(RedisQueue::new(redis)));
    is_bounded: |redis| conformance::is_bounded(Arc::new(RedisQueue::new(redis)), MAX_ENTRIES);
    replies_arrive: |redis| conformance::replies_arrive(Arc::new(RedisReplies::new(redis)));
    signals_wake: |redis| conformance::signals_wake(Arc::new(RedisSignals::new(redis)));
}

#[tokio::test]
async fn a_fit_server_is_told_from_an_unfit_one() {
    let server = PrivateRedis::start().await;
    let redis = Redis::open(&server.url(), "test").await.unwrap();
    redis.facts().await.unwrap().check().unwrap();
    let set = ["SET", "maxmemory-policy", "allkeys-lru"];
    redis::cmd("CONFIG")
        .arg(&set)
        .exec_async(&mut server.admin().await)
        .await
        .unwrap();
    let error = redis.facts().await.unwrap().check().unwrap_err();
    assert!(error.to_string().contains("noeviction"), "{error}");
    assert!(Redis::open("redis://127.0.0.1:1", "test").await.is_err());
    let encrypted = server.url().replace("redis:", "rediss:");
    assert!(
        Redis::open(&encrypted, "test").await.is_err(),
        "it does not speak TLS"
    );
    assert!(Redis::open("not an address", "test").await.is_err());
}
