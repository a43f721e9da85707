//! Clocks that are wrong: processes two minutes ahead and behind, then an hour. All of them go by the database's
//! time, so no job moves and no claim ends. The processes are the real ones; libfaketime, which `tests/run`
//! installs, answers them when they ask the system for the time.

use std::{fs, path::PathBuf};

use futures::future::join_all;
use latchkey_tests::{Partner, Server, ServerOptions, until};
use serde_json::json;
use tempfile::TempDir;

use super::rig::{Ends, Rig, accept_reads};

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// How late a job may begin, beyond the skew, which adds nothing here.
const LATEST: i64 = 2 * SECOND;
/// How long a claim holds: `worker.job_lease_ms`.
const LEASE: i64 = 9 * SECOND;
/// Calls a second of the partner whose calls wait for their turn, and how many it makes.
const RATE: usize = 10;
const CALLS: usize = 120;

/// A clock beside the machine's, which a test may set while processes run.
struct Shifted {
    file: PathBuf,
}

impl Shifted {
    fn new(dir: &TempDir, name: &str, seconds: i32) -> Self {
        let clock = Self {
            file: dir.path().join(name),
        };
        clock.set(seconds);
        clock
    }

    /// Sets it so many seconds ahead of the machine's (behind, if negative). Processes follow within a second.
    fn set(&self, seconds: i32) {
        fs::write(&self.file, format!("{seconds:+}\n")).unwrap();
    }

    /// A process that goes by it. Time that only ever grows stays the machine's: that of a clock which is set does.
    fn options(&self) -> ServerOptions {
        let (preload, library) = library();
        let mut options = ServerOptions::default()
            .with_log("debug")
            .with("LOG_FORMAT", "json")
            .with("PLANS__TURNS__CALLS_PER_MINUTE", RATE * 60)
            .with("PLANS__TURNS__BURST_CALLS", RATE);
        let file = self.file.display().to_string();
        for (name, value) in [
            (preload, library.as_str()),
            ("DYLD_FORCE_FLAT_NAMESPACE", "1"),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ] {
            options.variables.push((name.to_owned(), value.to_owned()));
        }
        options
    }
}

/// What loads libfaketime into a process, and where distributions and Homebrew put it.
fn library() -> (&'static str, String) {
    let (preload, name) = if cfg!(target_os = "macos") {
        ("DYLD_INSERT_LIBRARIES", "libfaketimeMT.1.dylib")
    } else {
        ("LD_PRELOAD", "libfaketimeMT.so.1")
    };
    let arch = std::env::consts::ARCH;
    let places = [
        format!("/usr/lib/{arch}-linux-gnu/faketime/{name}"),
        format!("/usr/lib/faketime/{name}"),
        format!("/usr/lib64/faketime/{name}"),
        format!("/opt/homebrew/lib/faketime/{name}"),
        format!("/usr/local/lib/faketime/{name}"),
    ];
    let found = places.into_iter().find(|place| fs::exists(place).unwrap());
    (
        preload,
        found.expect("libfaketime is not installed: tests/run does it, or your package manager"),
    )
}

/// What a process believes the time to be, in seconds from the database's, by its last log line.
async fn believed(rig: &Rig, server: &Server) -> i64 {
    let log = server.process.log();
    let line = log.lines().rfind(|line| line.contains("\"timestamp\""));
    let line: serde_json::Value = serde_json::from_str(line.expect("log lines")).unwrap();
    let at = line["timestamp"].as_str().unwrap();
    let ahead = format!("EXTRACT(EPOCH FROM '{at}'::timestamptz - clock_timestamp())::BIGINT");
    rig.fleet
        .database()
        .number(&format!("SELECT {ahead}"))
        .await
}

/// Has PostgreSQL itself note when each job begins: when it should have, and until when it is claimed.
const NOTE: &str = "CREATE TABLE begun (job TEXT, due BIGINT, at BIGINT, lease BIGINT); \
    CREATE FUNCTION note_begun() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    INSERT INTO begun VALUES (NEW.id, OLD.run_at, \
    (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT, NEW.lease_until); RETURN NEW; END $$; \
    CREATE TRIGGER note_begun AFTER UPDATE ON jobs FOR EACH ROW \
    WHEN (NEW.state = 'running' AND OLD.state = 'queued') EXECUTE FUNCTION note_begun()";

/// Somebody waits for a call: its deadline is read by other processes than wrote it.
async fn calls_are_answered(partner: &Partner) {
    let calls = (0..10).map(|_| partner.call("GET", "/sandbox/profile", "user-1", &[], None));
    for answer in join_all(calls).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Calls of a partner that may make ten a second wait in their rows for their turns, up to 12 s. Meanwhile processes
/// are two minutes apart in both directions, and then an hour. Each call begins when its row says, by the clock
/// of PostgreSQL; claims end when it says; and nothing is thought late or lost.
#[tokio::test]
async fn wrong_clocks_make_no_job_early_or_late() {
    let rig = Rig::start(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let ahead = Shifted::new(&dir, "ahead", 120);
    let behind = Shifted::new(&dir, "behind", -120);
    let process = async |role, clock: &Shifted| rig.process_with(role, clock.options()).await;
    let (api, other) = (process("api", &ahead).await, process("api", &behind).await);
    let workers = [
        process("worker", &behind).await,
        process("worker", &ahead).await,
    ];
    let schedulers = [
        process("scheduler", &ahead).await,
        process("scheduler", &behind).await,
    ];
    api.sandbox_config(&rig.sandbox).await;
    let hurried = api.partner("test").await;
    hurried.connected("user-1").await;
    let partner = api.partner("turns").await;
    partner.connected("user-1").await;
    let mut elsewhere = hurried.clone();
    elsewhere.origin.clone_from(&other.url);
    for (server, skew) in [
        (&api, 120),
        (&other, -120),
        (&workers[0], -120),
        (&schedulers[0], 120),
    ] {
        let seen = believed(&rig, server).await;
        assert!((seen - skew).abs() <= 30, "{seen} s and not {skew} s");
    }
    let database = rig.fleet.database();
    database.execute(NOTE).await;
    accept_reads(&partner, CALLS).await;
    calls_are_answered(&hurried).await;
    calls_are_answered(&elsewhere).await;

    // Work that is under way while the clocks jump: by them its claims ended long ago, or hold for an hour more.
    rig.sandbox.set(json!({ "api_latency_ms": 4000 })).await;
    let before = rig.sandbox.count("api_calls").await;
    accept_reads(&hurried, 20).await;
    rig.sandbox.wait("api_calls", before + 20).await;
    ahead.set(3600);
    behind.set(-3600);
    until("an hour's jump in each process", || async {
        let one = believed(&rig, &workers[1]).await;
        let two = believed(&rig, &schedulers[1]).await;
        (one > 3000 && two < -3000).then_some(())
    })
    .await;
    rig.sandbox.set(json!({ "api_latency_ms": 0 })).await;
    calls_are_answered(&hurried).await;
    calls_are_answered(&elsewhere).await;

    let ends = rig.settled(std::time::Duration::from_secs(60)).await;
    let all = i64::try_from(CALLS + 20).unwrap();
    assert_eq!(
        ends,
        Ends {
            completed: all,
            failed: 0
        }
    );
    rig.every_call_has_one_receipt(CALLS + 20).await;
    jobs_began_when_they_should(&rig).await;
}

/// What PostgreSQL noted of every job that began, and what it says of the claims that are left.
async fn jobs_began_when_they_should(rig: &Rig) {
    let database = rig.fleet.database();
    let number = async |query: &str| database.number(query).await;
    let early = number("SELECT MIN(at - due) FROM begun").await;
    let late = number("SELECT MAX(at - due) FROM begun").await;
    assert!(early >= 0 && late <= LATEST, "{early} to {late} us late");
    let waited =
        number("SELECT COUNT(*) FROM jobs WHERE visible = 1 AND started_at - created_at > 1000000")
            .await;
    assert!(waited > 50, "{waited} calls waited for their turn");
    let shortest = number("SELECT MIN(lease - at) FROM begun").await;
    let longest = number("SELECT MAX(lease - at) FROM begun").await;
    assert!(
        shortest > LEASE - SECOND && longest <= LEASE,
        "{shortest} to {longest} us"
    );
    assert_eq!(
        number("SELECT COUNT(*) FROM jobs WHERE lost > 0").await,
        0,
        "claims that ended"
    );
    let ticks = number(
        "SELECT MAX(lease_until - (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT) FROM task_leases",
    )
    .await;
    assert!(ticks < 120 * SECOND, "a tick is claimed for {ticks} us");
}
