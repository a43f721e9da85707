//! Three schedulers, four workers and two APIs under mixed load, with a fault every few seconds: at the end every job
//! is final, every call has one receipt, and the provider's account of what was done is ours.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use latchkey_tests::{Answer, Http, Partner, Server, until};
use serde_json::{Value, json};

use super::rig::{Rig, job_id, now};
use crate::count;

/// Between two faults.
const PAUSE: Duration = Duration::from_secs(3);
/// How long Redis stands still.
const STILL: Duration = Duration::from_secs(2);
/// Clients that ask and write at once, and accounts whose tokens are refreshed beside that.
const CLIENTS: usize = 6;
const REFRESHED: usize = 10;
/// Messages in a page of the sandbox's.
const PAGE: usize = 100;

/// What the clients were told.
#[derive(Debug, Default)]
struct Told {
    stop: AtomicBool,
    /// Jobs that were accepted, by the text that each writes.
    accepted: Mutex<BTreeMap<String, String>>,
    /// Receipts that answers named.
    answered: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

/// One client. Its connections may break: then it does not know.
struct Client {
    partners: [Partner; 2],
    http: Http,
    told: Arc<Told>,
}

impl Client {
    async fn send(
        &self,
        method: &str,
        turn: usize,
        path: &str,
        body: Option<Value>,
    ) -> Option<Answer> {
        let partner = &self.partners[turn % 2];
        let mut headers = partner.auth();
        headers.push(("x-account-id", "user-1".to_owned()));
        headers.push(("content-type", "application/json".to_owned()));
        if body.is_some() {
            headers.push(("prefer", "respond-async".to_owned()));
        }
        let body = body.map(|body| body.to_string().into_bytes());
        let url = partner.url(path);
        let sent = self.http.try_send(method, &url, &headers, body).await;
        let answer = sent.ok().filter(|answer| answer.status < 500);
        if answer.is_none() {
            self.told.refused.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn is_told_to_stop(&self) -> bool {
        self.told.stop.load(Ordering::Relaxed)
    }

    /// Asks and writes in turns, through both APIs.
    async fn calls(self, number: usize) {
        for turn in 0.. {
            if self.is_told_to_stop() {
                return;
            }
            if turn % 3 == 0 {
                let asked = self.send("GET", turn, "/sandbox/profile", None).await;
                if let Some(answer) = asked {
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    self.told
                        .answered
                        .lock()
                        .unwrap()
                        .push(answer.header("x-call-id"));
                }
                continue;
            }
            let text = format!("{number}-{turn}");
            let body = Some(json!({ "text": text }));
            if let Some(answer) = self.send("POST", turn, "/sandbox/messages", body).await {
                assert_eq!(answer.status, 202, "{}", answer.text());
                self.told
                    .accepted
                    .lock()
                    .unwrap()
                    .insert(text, job_id(&answer));
            }
        }
    }

    /// Has tokens refreshed, whatever becomes of it.
    async fn refreshes(self, accounts: Vec<String>) {
        for (turn, account) in accounts.iter().cycle().enumerate() {
            if self.is_told_to_stop() {
                return;
            }
            let path = format!("/accounts/{account}/integrations/sandbox/refresh");
            self.send("POST", turn, &path, None).await;
        }
    }
}

/// The processes that faults strike.
struct Processes {
    apis: Vec<Server>,
    workers: Vec<Server>,
    schedulers: Vec<Server>,
}

impl Processes {
    async fn start(rig: &Rig) -> Self {
        let several = async |role, count| {
            let mut servers = Vec::new();
            for _ in 0..count {
                servers.push(rig.process(role).await);
            }
            servers
        };
        Self {
            apis: several("api", 2).await,
            workers: several("worker", 4).await,
            schedulers: several("scheduler", 3).await,
        }
    }

    /// One fault, in turns.
    async fn strike(&mut self, rig: &mut Rig, told: &Told, fault: usize) {
        let round = fault / 8;
        match fault % 8 {
            0 => self.workers[round % 4].crash_and_restart().await,
            1 => drop(rig.redis.command(&["FLUSHALL"]).unwrap()),
            2 => self.schedulers[round % 3].crash_and_restart().await,
            3 => {
                for kind in ["normal", "pubsub"] {
                    rig.redis
                        .command(&["CLIENT", "KILL", "TYPE", kind])
                        .unwrap();
                }
            }
            4 => {
                rig.redis.kill().unwrap();
                let before = told.refused.load(Ordering::Relaxed);
                until("a client that was refused", || async {
                    (told.refused.load(Ordering::Relaxed) > before).then_some(())
                })
                .await;
                rig.redis.start_again().await.unwrap();
            }
            5 => self.apis[round % 2].crash_and_restart().await,
            6 => rig.redis.stand_still(STILL).await.unwrap(),
            _ => {
                rig.postgres.crash().await.unwrap();
                rig.postgres.start_again().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn faults_every_few_seconds_leave_every_job_final_and_every_call_one_receipt() {
    let lasts = Duration::from_secs(count(60, 600) as u64);
    let mut rig = Rig::start(&[]).await;
    let mut processes = Processes::start(&rig).await;
    let partner = rig.partner(&processes.apis[0]).await;
    let mut elsewhere = partner.clone();
    elsewhere.origin.clone_from(&processes.apis[1].url);
    let mut refreshed = Vec::new();
    for n in 0..REFRESHED {
        refreshed.push(partner.connected(&format!("refreshed-{n}")).await);
    }
    let told = Arc::new(Told::default());
    let client = || Client {
        partners: [partner.clone(), elsewhere.clone()],
        http: Http::new(),
        told: Arc::clone(&told),
    };
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| tokio::spawn(client().calls(n)))
        .collect();
    clients.push(tokio::spawn(client().refreshes(refreshed)));
    let began = now();
    let mut faults = 0;
    let mut pause = tokio::time::interval(PAUSE);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while began.elapsed() < lasts {
        pause.tick().await;
        processes.strike(&mut rig, &told, faults).await;
        faults += 1;
    }
    told.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let ends = rig.settled(Duration::from_secs(120)).await;
    let calls = rig.jobs("kind = 'provider_call'").await;
    assert_eq!(ends.completed + ends.failed, calls, "{ends:?}");
    let failed = "SELECT id, kind, error_code, history FROM jobs WHERE state = 'failed' \
                  AND NOT (kind = 'provider_call' AND error_code = 'OUTCOME_UNKNOWN') \
                  AND NOT (kind = 'refresh_grants' AND error_code = 'PROVIDER_UNAVAILABLE')";
    let failed = rig.postgres.sql_in(rig.fleet.database().name(), failed);
    // A refresh that is asked for while the outcome of one whose worker was killed is awaited says so, and ends.
    assert_eq!(failed.unwrap(), "", "failed for another reason than a kill");
    rig.every_call_has_one_receipt(usize::try_from(calls).unwrap())
        .await;
    let answered = answers_have_a_receipt(&rig, &told).await;
    let written = the_provider_did_what_we_say(&rig, &partner, &told).await;
    grants_are_settled(&rig).await;
    let accepted = told.accepted.lock().unwrap().len();
    assert!(
        answered > 100 && accepted > 300,
        "{answered} answered, {accepted} accepted"
    );
    show(&json!({
        "faults": faults, "accepted": accepted, "answered": answered,
        "refused": told.refused.load(Ordering::Relaxed), "completed": ends.completed, "failed": ends.failed,
        "written": written, "refreshes": rig.sandbox.count("token_refresh").await,
    }));
}

/// What a reader of a long run wants to see; shown with `--no-capture`.
#[expect(clippy::print_stderr, reason = "figures of a long test")]
fn show(figures: &Value) {
    eprintln!("{figures}");
}

/// The number of rows whose id is among these and for which a condition holds.
async fn rows(rig: &Rig, table: &str, ids: impl Iterator<Item = &String>, also: &str) -> usize {
    let mut list: Vec<String> = ids.map(|id| format!("'{id}'")).collect();
    // A list of none is no SQL.
    list.push("''".to_owned());
    let query = format!(
        "SELECT COUNT(*) FROM {table} WHERE id IN ({}) AND {also}",
        list.join(",")
    );
    usize::try_from(rig.fleet.database().number(&query).await).unwrap()
}

/// Every answer that came back names a receipt of its own, which says so.
async fn answers_have_a_receipt(rig: &Rig, told: &Told) -> usize {
    let answered = told.answered.lock().unwrap().clone();
    let distinct: std::collections::BTreeSet<_> = answered.iter().collect();
    assert_eq!(
        distinct.len(),
        answered.len(),
        "one receipt for two answers"
    );
    let there = rows(rig, "calls", answered.iter(), "outcome = 'answered'").await;
    assert_eq!(there, answered.len(), "answered and without receipt");
    answered.len()
}

/// Message by message: what a job says it wrote was written once, what it says it did not was not, and where its
/// answer was lost, once or not at all. Nothing accepted is missing. How many the provider has.
async fn the_provider_did_what_we_say(rig: &Rig, partner: &Partner, told: &Told) -> usize {
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/sandbox/messages?limit={PAGE}{cursor}");
        let page = until("a page of messages", || async {
            let page = partner.call("GET", &path, "user-1", &[], None).await;
            (page.status == 200).then(|| page.data())
        })
        .await;
        for message in page["messages"].as_array().unwrap() {
            if !message["created_at"].is_null() {
                let text = message["text"].as_str().unwrap();
                *written.entry(text.to_owned()).or_default() += 1;
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all = written.values().sum::<usize>();
    assert_eq!(rig.sandbox.count("api_writes").await, all as u64);
    let twice: Vec<_> = written.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "written more than once: {twice:?}");
    let accepted = told.accepted.lock().unwrap().clone();
    let (done, not_done): (Vec<_>, Vec<_>) = accepted
        .iter()
        .partition(|(text, _)| written.contains_key(*text));
    let ids = |part: &[(&String, &String)]| -> Vec<String> {
        part.iter().map(|(_, job)| (*job).clone()).collect()
    };
    let (done, not_done) = (ids(&done), ids(&not_done));
    let unknown = "(state = 'failed' AND error_code = 'OUTCOME_UNKNOWN')";
    let completed = format!("(state = 'completed' OR {unknown})");
    assert_eq!(rows(rig, "jobs", done.iter(), &completed).await, done.len());
    assert_eq!(
        rows(rig, "jobs", not_done.iter(), "state = 'failed'").await,
        not_done.len()
    );
    // Those whose acceptance was not heard of included: receipts count what was written.
    let count = async |outcome: &str| {
        let posts = "SELECT COUNT(*) FROM calls WHERE method = 'POST' AND outcome";
        let query = format!("{posts} = '{outcome}'");
        usize::try_from(rig.fleet.database().number(&query).await).unwrap()
    };
    let (answered, lost) = (count("answered").await, count("unknown").await);
    assert!(
        (answered..=answered + lost).contains(&all),
        "{all} written, {answered} answered, {lost} unknown"
    );
    all
}

/// Every attempt to refresh is closed, no presentation overlapped another, and no landed token is missing.
async fn grants_are_settled(rig: &Rig) {
    let database = rig.fleet.database();
    until("no open attempt", || async {
        let open = database.number("SELECT COUNT(*) FROM grant_attempts");
        (open.await == 0).then_some(())
    })
    .await;
    assert_eq!(rig.sandbox.count("refresh_overlap").await, 0);
    let landed = database
        .number("SELECT SUM(version - 1)::BIGINT FROM grants")
        .await;
    let granted =
        rig.sandbox.count("token_refresh").await + rig.sandbox.count("refresh_grace").await;
    assert!(
        u64::try_from(landed).unwrap() <= granted,
        "{landed} landed, {granted} granted"
    );
    assert!(landed > 0, "nothing was refreshed");
}
