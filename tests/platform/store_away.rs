//! A store that takes no writes from the moment the provider rotated: what the provider answered is in the
//! journal, on a full disk too, and not one token is lost (`reliability.md` A8, B8).

use std::{fs, time::Duration};

use futures::future::join_all;
use latchkey_domain::{Clock, SystemClock};
use latchkey_tests::{Engine, Fleet, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::json;

use crate::count;

/// Grants of one round.
const GRANTS: u64 = 10;
/// A file of this length holds the answers of a round and no more, which the store needs.
const SHORT: u64 = 64 << 10;
/// How long the process may take to end, and what a loaded machine adds: less than a caller waits for a session
/// (30 s), which must not keep a process that was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(15);
const READ_ONLY: &str = "default_transaction_read_only";

/// A server whose store can be taken away.
struct Place {
    server: Server,
    fleet: Option<Fleet>,
    sandbox: Sandbox,
    partner: Partner,
    names: Vec<String>,
}

impl Place {
    async fn start(options: ServerOptions) -> Self {
        let sandbox = Sandbox::start(&[]).await;
        let (server, fleet) = match Engine::under_test() {
            Engine::Embedded => (Server::start(options).await, None),
            Engine::Fleet => {
                let fleet = Fleet::start().await;
                (Server::join(&fleet, options).await, Some(fleet))
            }
        };
        server.sandbox_config(&sandbox).await;
        let partner = server.partner("test").await;
        let names: Vec<_> = (0..GRANTS).map(|n| format!("user-{n}")).collect();
        join_all(names.iter().map(|name| partner.connected(name))).await;
        Self {
            server,
            fleet,
            sandbox,
            partner,
            names,
        }
    }

    /// Asks for a refresh of all; returns when the provider has rotated them and answered none.
    async fn rotate(&self) {
        self.sandbox.set(json!({ "token_latency_ms": 1500 })).await;
        let before = self.sandbox.count("token_refresh").await;
        let asked = self.names.iter().map(async |name| {
            let path = format!("/accounts/ext:{name}/integrations/sandbox/refresh");
            self.partner.send("POST", &path, None).await.data();
        });
        join_all(asked).await;
        self.sandbox.wait("token_refresh", before + GRANTS).await;
        self.sandbox.set(json!({ "token_latency_ms": 0 })).await;
    }

    /// The fleet's database turns read-only under its sessions; an embedded store's files may not grow.
    async fn take_store_away(&self) {
        let Some(fleet) = &self.fleet else {
            return self.server.file_limit(Some(SHORT));
        };
        let (database, name) = (fleet.database(), fleet.database().name());
        let alter = format!("ALTER DATABASE {name} SET {READ_ONLY} = on");
        database.execute(&alter).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.execute(end).await;
    }

    async fn give_store_back(&self) {
        if let Some(fleet) = &self.fleet {
            let (database, name) = (fleet.database(), fleet.database().name());
            let reset = format!("ALTER DATABASE {name} RESET {READ_ONLY}");
            let reset = format!("BEGIN READ WRITE; {reset}; COMMIT");
            database.execute(&reset).await;
        }
    }

    /// Waits until every answer of these rounds has come: it is in the journal, or in the store already.
    async fn answers_kept(&self, rounds: u64) {
        until("the answers to be kept", || async {
            let waiting = self.server.metric("latchkey_journal_entries", &[]).await;
            let outcome = ["outcome=\"refreshed\""];
            let stored = self.server.metric("latchkey_refresh_total", &outcome);
            let kept = waiting + stored.await;
            #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
            let wanted = (rounds * GRANTS) as f64;
            (kept >= wanted).then_some(())
        })
        .await;
    }

    /// Every grant serves, and its refresh token is the one that the provider knows: its access token dies, and
    /// a call gets the next one.
    async fn nothing_lost(&self, which: &str) {
        self.sandbox.expire_access().await;
        let calls = self.names.iter().map(async |name| {
            let answer = until(&format!("a final answer ({which})"), || async {
                let answer = self
                    .partner
                    .call("GET", "/sandbox/profile", name, &[], None)
                    .await;
                matches!(answer.status, 200 | 409).then_some(answer)
            })
            .await;
            assert_eq!(answer.status, 200, "{which}: {}", answer.text());
        });
        join_all(calls).await;
        let counters = self.sandbox.counters().await;
        assert_eq!(counters["refresh_reuse"], 0, "{which}: {counters}");
        assert_eq!(counters["refresh_overlap"], 0, "{which}: {counters}");
    }
}

/// The store away and the disk of the journal full, the process told nothing: it lands what it holds when the
/// store is back.
#[tokio::test]
async fn no_token_is_lost_while_the_store_is_away_and_the_disk_full() {
    let options = ServerOptions::default().quick().on_a_disk_of("48m");
    let place = Place::start(options).await;
    for round in 1..=count(1, 100) as u64 {
        place.rotate().await;
        let filler = place.server.data_dir().join("filler");
        // It ends with "no space left"; every block that was left is taken, and with them the embedded store.
        fs::write(&filler, vec![0; 64 << 20]).unwrap_err();
        if place.fleet.is_some() {
            place.take_store_away().await;
        }
        // Each round refreshes all of them twice.
        place.answers_kept(2 * round - 1).await;
        fs::remove_file(&filler).unwrap();
        place.give_store_back().await;
        until("the answers to be stored", || async {
            let waiting = place.server.metric("latchkey_journal_entries", &[]).await;
            (waiting < 1.0).then_some(())
        })
        .await;
        place.nothing_lost(&format!("round {round}")).await;
    }
}

/// The same, and the process is told to stop before the store is back: the next one finds the journal.
#[tokio::test]
async fn no_token_is_lost_by_a_stop_while_the_store_is_away() {
    stopped_without_store(None).await;
}

/// And with a disk on which no file can grow.
#[tokio::test]
async fn no_token_is_lost_by_a_stop_while_the_store_is_away_and_the_disk_full() {
    stopped_without_store(Some(SHORT)).await;
}

async fn stopped_without_store(longest_file: Option<u64>) {
    let options = ServerOptions::default()
        .quick()
        .taking_file_limits()
        .with("STOP_GRACE_MS", STOP_GRACE.as_millis());
    let mut place = Place::start(options).await;
    for round in 1..=count(1, 100) as u64 {
        place.rotate().await;
        place.take_store_away().await;
        if longest_file.is_some() {
            place.server.file_limit(longest_file);
        }
        place.answers_kept(1).await;
        let asked = SystemClock.monotonic();
        place.server.stop().await;
        let took = SystemClock.monotonic().saturating_sub(asked);
        assert!(took < STOP_GRACE + SLACK, "it took {took:?} to stop");
        place.give_store_back().await;
        place.server.restart().await;
        place.nothing_lost(&format!("round {round}")).await;
        // The counters of the next round begin with the process.
        place.server.stop().await;
        place.server.restart().await;
    }
}
