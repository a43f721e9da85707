//! `kill -9` at each point of a refresh, for providers of each kind (`reliability.md` A8). One process carries many
//! grants. The seed of each draws in which round its refresh is held at which point, and in which it passes them
//! all; once every refresh of a round is in its place, the process is killed, the next one begins, and every grant
//! is judged by itself. The seed is in every message, and `LATCHKEY_TEST_FULL=1` runs 200. A process that is killed
//! from outside is not quite one that ends inside a point: that is `crash.rs`.

use std::{collections::BTreeSet, fmt, fs, time::Duration};

use futures::{StreamExt, stream};
use latchkey_domain::{Clock, SeededEntropy, SystemClock, entropy};
use latchkey_tests::{Answer, Partner, Sandbox, Server, ServerOptions, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::count;

/// How long a claim holds: long enough for all refreshes of a round to be sent.
const LEASE: Duration = Duration::from_secs(4);
/// Doubt is reported this long after the lease's end at the latest.
const REPORTED: Duration = Duration::from_secs(15);
/// How long the provider acts on a request that died: as long as it is given (`ServerOptions::quick`), so that it is
/// still at it when the next process has begun.
const PROVIDER_DELAY_MS: u64 = 2000;
/// Questions under way at once.
const AT_ONCE: usize = 32;

/// A provider as its catalogue entry and the sandbox's settings say it.
struct Kind {
    rotation: &'static str,
    sandbox: &'static [&'static str],
    /// Whether an answer that is lost for good costs the grant.
    can_lose: bool,
}

/// How far a refresh comes before its process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    BeforeSend,
    AfterSend,
    AfterAnswer,
    BeforeCommit,
    AfterCommit,
    /// It passed all points.
    Over,
}

impl Place {
    const ALL: [Self; 6] = [
        Self::BeforeSend,
        Self::AfterSend,
        Self::AfterAnswer,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::Over,
    ];

    /// The point that it does not pass.
    fn point(self) -> Option<&'static str> {
        match self {
            Self::BeforeSend => Some("refresh::before_send"),
            Self::AfterSend => Some("refresh::after_send"),
            Self::AfterAnswer => Some("refresh::after_answer"),
            Self::BeforeCommit => Some("refresh::before_commit"),
            Self::AfterCommit => Some("refresh::after_commit"),
            Self::Over => None,
        }
    }
}

/// A grant and its seed.
struct Grant {
    seed: u64,
    name: String,
    account: String,
    connection: String,
}

impl Grant {
    /// Its place in this round. After as many rounds as there are places it was in each.
    fn place(&self, round: usize) -> Place {
        let draws = SeededEntropy::new(self.seed);
        let mut places = Place::ALL;
        places.sort_by_cached_key(|_| entropy::bytes::<8>(&draws));
        places[round]
    }
}

/// A grant in one round.
struct Case<'a> {
    grant: &'a Grant,
    round: usize,
    place: Place,
    /// Its version before the refresh.
    version: i64,
    /// When the provider last gave tokens for it, before the refresh.
    issued_at: Value,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, round) = (self.grant.seed, self.round);
        write!(f, "seed {seed}, round {round}, {:?}", self.place)
    }
}

impl Case<'_> {
    /// How the attempts at the version ended, as the connection's history says.
    fn ends<'v>(&self, shown: &'v Value) -> Vec<&'v str> {
        let history = shown["refreshes"].as_array().unwrap();
        let of_it = history.iter().filter(|r| r["from_version"] == self.version);
        of_it.map(|r| r["outcome"].as_str().unwrap()).collect()
    }
}

/// A catalogue whose sandbox says this of its refresh tokens.
pub(crate) fn catalog(rotation: &str) -> TempDir {
    let catalog = tempfile::tempdir().unwrap();
    let entry = include_str!("../../common/providers/catalog/sandbox.toml");
    let entry = entry.replace("mode = \"single_use\"", rotation);
    fs::write(catalog.path().join("sandbox.toml"), entry).unwrap();
    catalog
}

/// What arms the points: each names those which it holds, and without a name it would end the process.
fn failpoints(cases: &[Case<'_>]) -> String {
    let armed = Place::ALL.iter().filter_map(|place| {
        let here = cases.iter().filter(|case| case.place == *place);
        let ids: Vec<_> = here.map(|case| case.grant.connection.as_str()).collect();
        let point = place.point().filter(|_| !ids.is_empty())?;
        Some(format!("{point}=return({})", ids.join(",")))
    });
    armed.collect::<Vec<_>>().join(";")
}

/// Asks of all, some at a time.
async fn each<'a, T, F: Future>(all: &'a [T], ask: impl Fn(&'a T) -> F) -> Vec<F::Output> {
    stream::iter(all).map(ask).buffered(AT_ONCE).collect().await
}

/// One process, one provider, many grants.
struct Matrix {
    kind: Kind,
    sandbox: Sandbox,
    server: Server,
    partner: Partner,
    /// Grants lost so far.
    lost: usize,
}

impl Matrix {
    async fn start(kind: Kind, catalog: &TempDir) -> Self {
        let sandbox = Sandbox::start(kind.sandbox).await;
        // A refresh that is held keeps a send slot, and the slots of the call that needs it.
        let options = ServerOptions::default()
            .quick()
            .with("REFRESH__LEASE_MS", LEASE.as_millis())
            .with("REFRESH__CONCURRENCY", 512)
            .with("WORKER__INTERACTIVE", 512)
            .with("WORKER__PER_PROVIDER", 512)
            .with("CATALOG_DIR", catalog.path().display());
        let server = Server::start(options).await;
        server.sandbox_config(&sandbox).await;
        Self {
            partner: server.partner("test").await,
            kind,
            sandbox,
            server,
            lost: 0,
        }
    }

    async fn connected(&self, seed: u64) -> Grant {
        let name = format!("user-{seed}");
        let account = self.partner.connected(&name).await;
        let integration = self.partner.integration(&account).await;
        Grant {
            seed,
            name,
            account,
            connection: integration["id"].as_str().unwrap().to_owned(),
        }
    }

    /// Kills at every point at once, and holds what must hold.
    async fn round(&mut self, grants: &[Grant], round: usize) {
        let mut cases = each(grants, |grant| self.case(grant, round)).await;
        // Those that are without an answer when they die come last: the provider is then still at it.
        cases.sort_by_key(|case| case.place == Place::AfterSend);
        let first = cases.partition_point(|case| case.place != Place::AfterSend);
        self.server.stop().await;
        let points = failpoints(&cases);
        self.server.restart_with(&[("FAILPOINTS", &points)]).await;
        // Calls find the tokens dead, and wait for new ones.
        self.sandbox.expire_access().await;
        let (began, mut calls) = (SystemClock.monotonic(), JoinSet::new());
        self.call(&mut calls, &cases[..first]);
        self.held(&cases[..first]).await;
        let issued = each(&cases[..first], |case| self.stands(case)).await;
        self.slow(PROVIDER_DELAY_MS).await;
        let before = self.sandbox.count("token_requests").await;
        self.call(&mut calls, &cases[first..]);
        self.held(&cases).await;
        let sent = (cases.len() - first) as u64;
        self.sandbox.wait("token_requests", before + sent).await;
        self.slow(0).await;
        // Sometimes their leases end before the process does, and its own sweeper tells.
        let late = round % 3 == 2;
        if late {
            self.doubt_is_told(&cases, began).await;
        }
        self.server.crash_and_restart().await;
        if !late {
            self.doubt_is_told(&cases, began).await;
        }
        let stood: Vec<_> = cases.iter().zip(&issued).collect();
        each(&stood, |(case, issued)| self.is_kept(case, issued)).await;
        let dead = each(&cases, |case| self.ended(case)).await;
        self.lost += dead.into_iter().filter(|dead| *dead).count();
        let counters = self.sandbox.counters().await;
        assert_eq!(counters["refresh_overlap"], 0, "round {round}: {counters}");
        // Only a generation whose answer was lost for good is presented after it was spent.
        assert_eq!(
            counters["refresh_reuse"], self.lost,
            "round {round}: {counters}"
        );
    }

    async fn case<'a>(&self, grant: &'a Grant, round: usize) -> Case<'a> {
        let shown = self.shown(grant).await;
        Case {
            grant,
            round,
            place: grant.place(round),
            version: shown["version"].as_i64().unwrap(),
            issued_at: self.sandbox.grant(&grant.name).await["issued_at"].clone(),
        }
    }

    /// The connection with its history, as operators see it.
    async fn shown(&self, grant: &Grant) -> Value {
        let (server, partner) = (&self.server, &self.partner.id);
        let of = format!("{}/operator/partners/{partner}", server.admin);
        let url = format!("{of}/connections/{}", grant.connection);
        let token = [("authorization", format!("Bearer {}", server.operator_token))];
        server.http.send("GET", &url, &token, None).await.data()
    }

    /// How long the provider takes over a token request from now on. It acts then, even if nobody waits any more.
    async fn slow(&self, ms: u64) {
        self.sandbox.set(json!({ "token_hold_ms": ms })).await;
    }

    /// A call for each; the server may die under it.
    fn call(&self, calls: &mut JoinSet<()>, cases: &[Case<'_>]) {
        for case in cases {
            let (partner, account) = (self.partner.clone(), case.grant.name.clone());
            calls.spawn(async move {
                let url = partner.url("/sandbox/profile");
                let mut headers = partner.auth();
                headers.push(("x-account-id", account));
                drop(partner.http.try_send("GET", &url, &headers, None).await);
            });
        }
    }

    /// Waits until those that have a point are held at it, and nobody else. They say so themselves when they are,
    /// and go no further.
    async fn held(&self, cases: &[Case<'_>]) {
        let wanted: BTreeSet<_> = cases
            .iter()
            .filter_map(|case| {
                Some((
                    case.place.point()?.to_owned(),
                    case.grant.connection.clone(),
                ))
            })
            .collect();
        until("refreshes at their points", || async {
            let log = self.server.process.log();
            let lines = log.lines().filter(|line| line.contains("\"held\""));
            let held: BTreeSet<_> = lines
                .map(|line| {
                    let line: Value = serde_json::from_str(line).unwrap();
                    let text = |name: &str| line[name].as_str().unwrap().to_owned();
                    (text("point"), text("connection"))
                })
                .collect();
            (held == wanted).then_some(())
        })
        .await;
    }

    /// What provider and store know of a refresh in its place; when the provider last gave tokens.
    async fn stands(&self, case: &Case<'_>) -> Value {
        let stored = case.place >= Place::AfterCommit;
        let version = case.version + i64::from(stored);
        until(&format!("version {version} ({case})"), || async {
            (self.shown(case.grant).await["version"] == version).then_some(())
        })
        .await;
        let issued_at = self.sandbox.grant(&case.grant.name).await["issued_at"].clone();
        let acted = case.place > Place::BeforeSend;
        assert_eq!(issued_at != case.issued_at, acted, "{case}");
        issued_at
    }

    /// Refreshes that left nothing behind are reported as in doubt, and in time. All began after `began`.
    async fn doubt_is_told(&self, cases: &[Case<'_>], began: Duration) {
        each(cases, |case| async move {
            if case.place >= Place::BeforeCommit {
                return;
            }
            until(&format!("doubt to be told ({case})"), || async {
                let shown = self.shown(case.grant).await;
                // Where another presentation ended it since, the history tells.
                let over = shown["version"] != case.version;
                let told = over && case.ends(&shown).contains(&"in_doubt");
                (told || shown["in_doubt"] == true).then_some(())
            })
            .await;
        })
        .await;
        let took = SystemClock.monotonic().saturating_sub(began);
        assert!(took <= LEASE + REPORTED, "doubt was told after {took:?}");
    }

    /// An answer that reached the journal or the store is there, and it works with no other presentation.
    async fn is_kept(&self, case: &Case<'_>, issued_at: &Value) {
        if case.place < Place::BeforeCommit {
            return;
        }
        let shown = until(&format!("the answer in the store ({case})"), || async {
            let shown = self.shown(case.grant).await;
            (shown["version"] != case.version).then_some(shown)
        })
        .await;
        assert_eq!(shown["version"], case.version + 1, "{case}: {shown}");
        assert_eq!(case.ends(&shown), ["refreshed"], "{case}: {shown}");
        assert_eq!(shown["in_doubt"], false, "{case}: {shown}");
        let answer = self.profile(case.grant).await;
        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        let provider = self.sandbox.grant(&case.grant.name).await;
        assert_eq!(&provider["issued_at"], issued_at, "{case}: {provider}");
    }

    async fn profile(&self, grant: &Grant) -> Answer {
        self.partner
            .call("GET", "/sandbox/profile", &grant.name, &[], None)
            .await
    }

    /// Calls until the grant serves or says that it is dead; whether it is. A dead one is connected again.
    async fn ended(&self, case: &Case<'_>) -> bool {
        let grant = case.grant;
        let answer = until(&format!("a final answer ({case})"), || async {
            let answer = self.profile(grant).await;
            matches!(answer.status, 200 | 409).then_some(answer)
        })
        .await;
        let (dead, shown) = (answer.status == 409, self.shown(grant).await);
        let alone = matches!(case.place, Place::AfterSend | Place::AfterAnswer);
        assert_eq!(dead, self.kind.can_lose && alone, "{case}: {shown}");
        let provider = self.sandbox.grant(&grant.name).await;
        assert_eq!(provider["alive"], !dead, "{case}: {provider}");
        let (status, reason) = if dead {
            (json!("needs_reauth"), json!("rotation_outcome_unknown"))
        } else {
            (json!("active"), Value::Null)
        };
        assert_eq!(
            (&shown["status"], &shown["reason"]),
            (&status, &reason),
            "{case}"
        );
        if dead {
            self.partner.connect(&grant.account, &grant.name).await;
        }
        dead
    }
}

/// All rounds with a provider of this kind.
async fn matrix(kind: Kind) {
    let catalog = catalog(kind.rotation);
    let mut matrix = Matrix::start(kind, &catalog).await;
    let seeds: Vec<_> = (0..count(24, 200) as u64).collect();
    let grants = each(&seeds, |seed| matrix.connected(*seed)).await;
    for round in 0..count(3, Place::ALL.len()) {
        matrix.round(&grants, round).await;
    }
    // The refresh tokens that the last round left work as well.
    matrix.sandbox.expire_access().await;
    for answer in each(&grants, |grant| matrix.profile(grant)).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn killed_at_every_point_with_a_provider_that_rotates() {
    matrix(Kind {
        rotation: "mode = \"single_use\"",
        sandbox: &[],
        can_lose: true,
    })
    .await;
}

#[tokio::test]
async fn killed_at_every_point_with_a_grace() {
    matrix(Kind {
        rotation: "mode = \"single_use\"\ngrace_s = 600",
        sandbox: &["grace_s=600"],
        can_lose: false,
    })
    .await;
}

#[tokio::test]
async fn killed_at_every_point_with_a_provider_that_does_not_rotate() {
    matrix(Kind {
        rotation: "mode = \"none\"",
        sandbox: &["rotation=none"],
        can_lose: false,
    })
    .await;
}
