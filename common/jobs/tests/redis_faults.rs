//! What Redis may do to the queue, and that it comes back: each trap of `queue.md` §3 that could end a worker
//! for good, lose an entry or fill the server.

#![expect(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use latchkey_domain::{Clock, JobId, PartnerId, ReplyId, SessionId, SystemClock, Timestamp};
use latchkey_jobs::{
    Execute, Job, PushError, Queue, Redis, RedisQueue, RedisReplies, Replies, RunOptions, Urgency,
    kinds::ExchangeCode, redis::MAX_ENTRIES, redis_server::PrivateRedis,
};
use redis::aio::MultiplexedConnection;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(30);

fn job(n: usize) -> Job {
    let kind = ExchangeCode {
        session: SessionId::from_u128(n as u128),
    };
    let (id, partner) = (JobId::from_u128(n as u128), PartnerId::from_u128(1));
    Job::new(id, partner, &kind, Timestamp::from_secs(1)).unwrap()
}

async fn queue(server: &PrivateRedis) -> RedisQueue {
    RedisQueue::new(Redis::open(&server.url(), "test").await.unwrap())
}

/// Pushes, trying again while the queue is full or away.
async fn push(queue: &RedisQueue, n: usize) {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    while queue.push(job(n)).await.is_err() {
        again.tick().await;
    }
}

/// A worker that tells which jobs it ran.
struct Worker {
    stop: CancellationToken,
    run: JoinHandle<()>,
    ran: mpsc::UnboundedReceiver<usize>,
}

impl Worker {
    fn start(queue: &RedisQueue, name: &str, concurrency: usize) -> Self {
        let (tell, ran) = mpsc::unbounded_channel();
        let execute = Execute::new(move |job| {
            let tell = tell.clone();
            async move {
                tell.send(usize::try_from(job.id.as_u128()).unwrap())
                    .unwrap();
            }
            .boxed()
        });
        Self::with(queue, name, concurrency, execute, ran)
    }

    fn with(
        queue: &RedisQueue,
        name: &str,
        concurrency: usize,
        execute: Execute,
        ran: mpsc::UnboundedReceiver<usize>,
    ) -> Self {
        let stop = CancellationToken::new();
        let options = RunOptions {
            name: name.to_owned(),
            concurrency,
        };
        let run = queue.run(Urgency::Interactive, options, execute, stop.clone());
        let run = tokio::spawn(async move { run.await.unwrap() });
        Self { stop, run, ran }
    }

    async fn next(&mut self) -> usize {
        timeout(LONG, self.ran.recv())
            .await
            .expect("a job runs in time")
            .unwrap()
    }

    /// How often each job ran, once `count` different ones have.
    async fn runs_of(&mut self, count: usize) -> BTreeMap<usize, usize> {
        let mut runs = BTreeMap::new();
        while runs.len() < count {
            *runs.entry(self.next().await).or_default() += 1;
        }
        runs
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(LONG, self.run).await.unwrap().unwrap();
    }
}

async fn command(admin: &mut MultiplexedConnection, words: &[&str]) {
    redis::cmd(words[0])
        .arg(&words[1..])
        .exec_async(admin)
        .await
        .unwrap();
}

async fn number(admin: &mut MultiplexedConnection, words: &[&str]) -> i64 {
    redis::cmd(words[0])
        .arg(&words[1..])
        .query_async(admin)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_server_is_noticed_and_serves_at_once() {
    let server = PrivateRedis::start().await;
    let (queue, mut admin) = (queue(&server).await, server.admin().await);
    let mut worker = Worker::start(&queue, "a", 4);
    push(&queue, 1).await;
    assert_eq!(worker.next().await, 1);
    let epoch = queue.epoch().await.unwrap();
    assert_eq!(queue.epoch().await.unwrap(), epoch);
    for _ in 0..3 {
        let before = queue.epoch().await.unwrap();
        command(&mut admin, &["FLUSHALL"]).await;
        assert_ne!(queue.epoch().await.unwrap(), before);
        for n in 10..60 {
            push(&queue, n).await;
        }
        assert_eq!(worker.runs_of(50).await.into_values().max(), Some(1));
    }
    worker.stop().await;
    assert_eq!(queue.depth(Urgency::Interactive).await.unwrap().bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_neither_end_a_worker_nor_repeat_a_job() {
    let server = PrivateRedis::start().await;
    let (queue, mut admin) = (queue(&server).await, server.admin().await);
    let (tell, ran) = mpsc::unbounded_channel();
    let at_work = Arc::new(AtomicUsize::new(0));
    let execute = Execute::new(move |job| {
        let (tell, at_work) = (tell.clone(), Arc::clone(&at_work));
        async move {
            assert!(
                at_work.fetch_add(1, Ordering::SeqCst) < 8,
                "more than may be at work"
            );
            // Long enough at work for the others to come in beside it.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            at_work.fetch_sub(1, Ordering::SeqCst);
            tell.send(usize::try_from(job.id.as_u128()).unwrap())
                .unwrap();
        }
        .boxed()
    });
    let mut worker = Worker::with(&queue, "a", 8, execute, ran);
    let pushing = tokio::spawn({
        let queue = queue.clone();
        async move {
            for n in 0..2000 {
                push(&queue, n).await;
            }
        }
    });
    let mut runs = BTreeMap::new();
    while runs.len() < 2000 {
        let n = worker.next().await;
        *runs.entry(n).or_insert(0) += 1;
        if runs.len() % 200 == 1 {
            for kind in ["normal", "pubsub"] {
                command(
                    &mut admin,
                    &["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"],
                )
                .await;
            }
        }
    }
    pushing.await.unwrap();
    // A push whose answer was lost is pushed again by this test; nothing else may run twice.
    let twice = runs.values().filter(|n| **n > 1).count();
    assert!(twice <= 10, "{twice} jobs ran twice after ten breaks");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_longer_than_any_time_out_is_survived() {
    let server = PrivateRedis::start().await;
    let (queue, mut admin) = (queue(&server).await, server.admin().await);
    let mut worker = Worker::start(&queue, "a", 4);
    push(&queue, 1).await;
    assert_eq!(worker.next().await, 1);
    command(&mut admin, &["CLIENT", "PAUSE", "7000", "ALL"]).await;
    assert!(matches!(
        queue.push(job(2)).await,
        Err(PushError::Unavailable(_))
    ));
    for n in 3..50 {
        push(&queue, n).await;
    }
    // Job 2 was refused to its pusher, and may run all the same: its packet was on the way.
    let runs = worker.runs_of(47).await;
    assert!(runs.into_keys().all(|n| n >= 2));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_found_again() {
    let mut server = PrivateRedis::start().await;
    let queue = queue(&server).await;
    let mut worker = Worker::start(&queue, "a", 4);
    push(&queue, 1).await;
    assert_eq!(worker.next().await, 1);
    let epoch = queue.epoch().await.unwrap();
    server.kill();
    let began = SystemClock.monotonic();
    assert!(matches!(
        queue.push(job(2)).await,
        Err(PushError::Unavailable(_))
    ));
    assert!(
        SystemClock.monotonic().saturating_sub(began) < Duration::from_secs(5),
        "it waited"
    );
    server.start_again().await;
    push(&queue, 3).await;
    assert_eq!(worker.next().await, 3);
    assert_ne!(queue.epoch().await.unwrap(), epoch);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_apalis_redis_can_carry_never_wedges() {
    let server = PrivateRedis::start().await;
    let (queue, mut admin) = (queue(&server).await, server.admin().await);
    let (mut taken, mut refused) = (0, 0);
    for n in 0..8500 {
        match queue.push(job(n)).await {
            Ok(()) => taken += 1,
            Err(PushError::Full { entries, .. }) => {
                assert_eq!(entries, MAX_ENTRIES);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((taken, refused), (MAX_ENTRIES, 8500 - MAX_ENTRIES));
    let mut worker = Worker::start(&queue, "a", 64);
    for n in MAX_ENTRIES..8500 {
        push(&queue, n).await;
    }
    assert_eq!(worker.runs_of(8500).await.into_values().max(), Some(1));
    worker.stop().await;
    // Nothing is left of 8,500 jobs but counters.
    assert_eq!(
        number(&mut admin, &["HLEN", "test:interactive:data"]).await,
        0
    );
    assert_eq!(
        number(&mut admin, &["GET", "test:interactive:bytes"]).await,
        0
    );
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut admin)
        .await
        .unwrap();
    assert!(keys.len() < 10, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_with_every_slot_taken_ends_and_leaves_the_rest_to_others() {
    let server = PrivateRedis::start().await;
    let queue = queue(&server).await;
    let gate = Arc::new(Semaphore::new(0));
    let (tell, mut began) = mpsc::unbounded_channel();
    let open = Arc::clone(&gate);
    let execute = Execute::new(move |job| {
        let (tell, open) = (tell.clone(), Arc::clone(&open));
        async move {
            tell.send(job.id).unwrap();
            open.acquire().await.unwrap().forget();
        }
        .boxed()
    });
    for n in 0..512 {
        push(&queue, n).await;
    }
    let (_unused, ran) = mpsc::unbounded_channel();
    let busy = Worker::with(&queue, "busy", 256, execute, ran);
    for _ in 0..256 {
        timeout(LONG, began.recv()).await.unwrap().unwrap();
    }
    busy.stop.cancel();
    // While the 256 run on, somebody else has the others.
    let mut other = Worker::start(&queue, "other", 16);
    assert_eq!(other.runs_of(256).await.into_keys().min(), Some(256));
    gate.add_permits(256);
    timeout(LONG, busy.run).await.unwrap().unwrap();
    other.stop().await;
    let depth = queue.depth(Urgency::Interactive).await.unwrap();
    assert_eq!((depth.entries, depth.bytes), (0, 0));
    assert!(began.try_recv().is_err(), "nothing began after the stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_come_and_go_leave_nothing_behind() {
    let server = PrivateRedis::start().await;
    let queue = queue(&server).await;
    for n in 0..1000 {
        push(&queue, n).await;
    }
    let mut runs = BTreeMap::new();
    let mut workers = 0;
    while runs.len() < 1000 {
        // Stopped in the middle of whatever it does: a fetch, a batch, an acknowledgement.
        workers += 1;
        let mut worker = Worker::start(&queue, &format!("{workers}"), 16);
        let enough = (runs.len() + 1 + workers % 7).min(1000);
        while runs.len() < enough {
            *runs.entry(worker.next().await).or_insert(0) += 1;
        }
        worker.stop.cancel();
        timeout(LONG, worker.run).await.unwrap().unwrap();
        while let Ok(n) = worker.ran.try_recv() {
            *runs.entry(n).or_insert(0) += 1;
        }
    }
    assert!(runs.values().all(|n| *n == 1), "{runs:?}");
    let depth = queue.depth(Urgency::Interactive).await.unwrap();
    assert_eq!((depth.entries, depth.bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_is_woken() {
    let server = PrivateRedis::start().await;
    let queue = queue(&server).await;
    let mut worker = Worker::start(&queue, "a", 4);
    let mut pause = tokio::time::interval(Duration::from_millis(120));
    let mut waits = Vec::new();
    for n in 0..21 {
        pause.tick().await;
        let began = SystemClock.monotonic();
        push(&queue, n).await;
        assert_eq!(worker.next().await, n);
        waits.push(SystemClock.monotonic().saturating_sub(began));
    }
    waits.sort_unstable();
    // Without bells it were half a tick and more: the figure itself is for `examples/queue_rate.rs`.
    assert!(waits[10] < Duration::from_millis(20), "{waits:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_workers_are_found_whatever_the_clocks_say() {
    let server = PrivateRedis::start().await;
    let (queue, mut admin) = (queue(&server).await, server.admin().await);
    // Two workers that died with a job each: long ago, and before the server's clock was set back.
    for (n, (name, beat)) in [("past", "1"), ("future", "9e15")].into_iter().enumerate() {
        push(&queue, n).await;
        let id = number(&mut admin, &["LPOP", "test:interactive:active"]).await;
        let inflight = format!("test:interactive:inflight:{name}");
        command(&mut admin, &["SADD", &inflight, &id.to_string()]).await;
        command(&mut admin, &["ZADD", "test:interactive:alive", beat, name]).await;
    }
    let mut worker = Worker::start(&queue, "a", 4);
    // apalis-redis' own judgement, by the clocks of processes, is out of use: by it this one is dead.
    let mut other = Worker::start(&queue, "b", 4);
    command(
        &mut admin,
        &[
            "ZADD",
            "test:interactive:workers",
            "XX",
            "1",
            "a.1",
            "1",
            "b.1",
        ],
    )
    .await;
    let mut ran = Vec::new();
    while ran.len() < 2 {
        ran.push(tokio::select! { n = worker.next() => n, n = other.next() => n });
    }
    ran.sort_unstable();
    assert_eq!(ran, [0, 1]);
    worker.stop().await;
    other.stop().await;
}

#[test]
fn the_jobs_of_a_killed_process_run_elsewhere() {
    let calm = tokio::runtime::Runtime::new().unwrap();
    calm.block_on(async {
        let server = PrivateRedis::start().await;
        let survivor = queue(&server).await;
        // The process that dies is a runtime of its own, dropped with all its tasks and connections.
        let doomed = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let (tell, mut fetched) = mpsc::unbounded_channel();
        let url = server.url();
        doomed.spawn(async move {
            let queue = RedisQueue::new(Redis::open(&url, "test").await.unwrap());
            let execute = Execute::new(move |job| {
                tell.send(job.id).unwrap();
                std::future::pending().boxed()
            });
            let (_never, ran) = mpsc::unbounded_channel();
            Worker::with(&queue, "doomed", 250, execute, ran)
                .run
                .await
                .unwrap();
        });
        for n in 0..200 {
            push(&survivor, n).await;
        }
        for _ in 0..200 {
            timeout(LONG, fetched.recv()).await.unwrap().unwrap();
        }
        let mut worker = Worker::start(&survivor, "survivor", 16);
        let killed = SystemClock.monotonic();
        doomed.shutdown_background();
        assert_eq!(worker.runs_of(200).await.into_values().max(), Some(1));
        let took = SystemClock.monotonic().saturating_sub(killed);
        assert!(took <= Duration::from_secs(15), "{took:?}");
        worker.stop().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_its_payload_is_dropped_and_the_rest_runs() {
    let server = PrivateRedis::start().await;
    let (queue, mut admin) = (queue(&server).await, server.admin().await);
    for n in 0..20 {
        push(&queue, n).await;
    }
    command(&mut admin, &["HDEL", "test:interactive:data", "7"]).await;
    let mut worker = Worker::start(&queue, "a", 8);
    assert_eq!(worker.runs_of(19).await.into_values().max(), Some(1));
    worker.stop().await;
    assert_eq!(queue.depth(Urgency::Interactive).await.unwrap().entries, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_close_the_gate_as_entries_do() {
    let server = PrivateRedis::start().await;
    let queue = queue(&server).await;
    let large = |n| Job {
        sealed: Some(vec![7; 32 << 20]),
        ..job(n)
    };
    let mut taken = 0;
    while queue.push(large(taken)).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 7, "eight of 32 MiB and their heads are over 256 MiB");
    let depth = queue.depth(Urgency::Interactive).await.unwrap();
    assert!(
        depth.entries == 7 && depth.bytes > 7 * (32 << 20),
        "{depth:?}"
    );
    queue
        .push(Job {
            urgency: Urgency::Refresh,
            ..large(9)
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_find_their_callers_across_processes_and_breaks() {
    let server = PrivateRedis::start().await;
    let mut admin = server.admin().await;
    let replies = async || {
        Arc::new(RedisReplies::new(
            Redis::open(&server.url(), "test").await.unwrap(),
        ))
    };
    let (one, two, worker) = (replies().await, replies().await, replies().await);
    let id = |n: usize| ReplyId::from_u128(n as u128);
    let wait = |who: &Arc<RedisReplies>, n| tokio::spawn(who.wait(id(n), LONG));
    // Two processes wait, each for its own and both for the same.
    let waits = [wait(&one, 1), wait(&two, 2), wait(&one, 3), wait(&two, 3)];
    tokio::task::yield_now().await;
    for n in 1..=3 {
        worker
            .send(id(n), Bytes::from(vec![u8::try_from(n).unwrap(); 1 << 20]))
            .await;
    }
    for (waited, n) in waits.into_iter().zip([1, 2, 3, 3]) {
        let answer = waited.await.unwrap().expect("an answer");
        assert_eq!((answer.len(), answer[0]), (1 << 20, n));
    }
    // An answer that is sent while nobody can listen.
    let waits = [wait(&one, 4), wait(&two, 5)];
    tokio::task::yield_now().await;
    command(&mut admin, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    worker.send(id(4), Bytes::from_static(b"4")).await;
    worker.send(id(5), Bytes::from_static(b"5")).await;
    for waited in waits {
        assert_eq!(waited.await.unwrap().expect("an answer").len(), 1);
    }
    // A small one is heard with its id. Nobody takes it away, and it does not stay for long.
    let waited = wait(&one, 6);
    tokio::task::yield_now().await;
    worker.send(id(6), Bytes::from_static(b"6")).await;
    assert_eq!(waited.await.unwrap().expect("an answer"), "6");
    // Nor does one whose caller is gone.
    worker.send(id(7), Bytes::from(vec![7; 1 << 20])).await;
    for (n, most) in [(6, 10_000), (7, 60_000)] {
        let left = number(&mut admin, &["PTTL", &format!("test:reply:{}", id(n))]).await;
        assert!((most - 5_000..=most).contains(&left), "{n}: {left}");
    }
}
