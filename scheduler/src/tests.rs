//! Tests of the tasks and their driver on a real store and a real queue. Time stands still until a test
//! moves it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use latchkey_domain::{
    AccountId, AttemptId, AuthConfigId, CallId, Clock, ConnectionId, Entropy, GrantId, HolderId,
    JobId, ManualClock, PartnerId, SystemEntropy, Timestamp,
    states::{
        AuthConfigStatus, CallOutcome, ConnectionStatus, GrantState, JobState, PartnerStatus,
    },
};
use latchkey_jobs::{
    Execute, Job, JobKind, RunOptions, Urgency,
    kinds::{ProviderCall, RefreshGrants, RevokeGrant},
};
use latchkey_runtime::{Config, Context, Stopper};
use latchkey_store::{
    AccountRow, AuthConfigRow, CallRow, Confirmation, ConnectionRow, GrantClaim, GrantKey, JobClaim,
    JobFilter, JobRow, JsonMap, NewConnection, PartnerRow, StoreError,
};
use serde::Serialize;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    cadence::{Cadence, CronError},
    driver::{Claim, Task, entry, tick},
    tasks,
};

const T0: Timestamp = Timestamp::from_secs(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    ctx: Context,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = [("data_dir", dir.path().display().to_string())];
        let config = Config::load(None, &flags).unwrap();
        let clock = Arc::new(ManualClock::new(T0));
        let shared: Arc<dyn Clock> = clock.clone();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let ctx = Context::open(config, shared, entropy, Stopper::new());
        Self {
            ctx: ctx.await.unwrap(),
            clock,
            _dir: dir,
        }
    }

    fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// A partner with an account and an auth config, all of this number.
    async fn partner(&self, n: u128) -> PartnerId {
        let (store, now, id) = (&self.ctx.store, self.ctx.now(), PartnerId::from_u128(n));
        let partner = PartnerRow {
            id,
            company: "Acme".into(),
            website: "https://acme.example".into(),
            contact_email: None,
            use_case: None,
            plan: "free".into(),
            status: PartnerStatus::Active,
            confirmation: Confirmation::None,
            redirect_urls: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        store.insert_partner(&partner).await.unwrap();
        let account = AccountRow {
            id: AccountId::from_u128(n),
            partner_id: id,
            external_id: "user-1".into(),
            display_name: None,
            metadata: JsonMap::new(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        store.insert_account(&account).await.unwrap();
        let config = AuthConfigRow {
            id: AuthConfigId::from_u128(n),
            partner_id: id,
            provider: "sandbox".into(),
            name: "test".into(),
            client_id: "client".into(),
            client_secret: None,
            scopes: Vec::new(),
            params: JsonMap::new(),
            status: AuthConfigStatus::Enabled,
            status_reason: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        store.insert_auth_config(&config).await.unwrap();
        id
    }

    /// A grant of partner `n` that is due at this time.
    async fn grant(&self, n: u128, due: Timestamp) -> GrantKey {
        let now = self.ctx.now();
        let connection = ConnectionId::new(now, &*self.ctx.entropy);
        let partner_id = PartnerId::from_u128(n);
        let new = NewConnection {
            connection: ConnectionRow {
                id: connection,
                partner_id,
                account_id: AccountId::from_u128(n),
                auth_config_id: AuthConfigId::from_u128(n),
                provider: "sandbox".into(),
                identity: connection.to_string(),
                label: None,
                status: ConnectionStatus::Active,
                reason: None,
                enabled_services: BTreeMap::new(),
                scopes: Vec::new(),
                params: JsonMap::new(),
                connected_at: now,
                updated_at: now,
                revoked_at: None,
            },
            grant_id: GrantId::new(now, &*self.ctx.entropy),
            version: 1,
            sealed: b"sealed".to_vec(),
            issued_at: now,
            expires_at: Some(due + Duration::from_secs(300)),
            due_at: Some(due),
            refreshable: true,
            session_id: None,
            job: None,
            now,
        };
        self.ctx.store.store_connection(&new).await.unwrap();
        GrantKey {
            partner_id,
            id: new.grant_id,
        }
    }

    fn job_row<K: JobKind>(&self, partner: PartnerId, kind: &K) -> JobRow {
        let now = self.ctx.now();
        let job = Job::new(JobId::new(now, &*self.ctx.entropy), partner, kind, now).unwrap();
        JobRow {
            id: job.id,
            partner_id: partner,
            kind: job.kind,
            urgency: job.urgency.as_str().into(),
            state: JobState::Queued,
            visible: false,
            account_id: None,
            provider: None,
            service: None,
            action: None,
            payload: job.payload,
            sealed: None,
            result: None,
            error_code: None,
            error: None,
            attempts: 0,
            run_at: now,
            wake_at: Some(now),
            dispatched_at: None,
            claim: None,
            lease_until: None,
            deadline_at: None,
            request_id: None,
            created_at: now,
            started_at: None,
            completed_at: None,
            expires_at: None,
        }
    }

    /// Takes what waits in one lane of the queue.
    async fn drained(&self, urgency: Urgency) -> Vec<Job> {
        let wanted = self.ctx.queue.depth(urgency).await.unwrap().entries;
        let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
        let execute = Execute::new(move |job| {
            tx.send(job).unwrap();
            Box::pin(std::future::ready(()))
        });
        let options = RunOptions {
            name: "test".into(),
            concurrency: 1,
        };
        let stop = CancellationToken::new();
        let run = tokio::spawn(self.ctx.queue.run(urgency, options, execute, stop.clone()));
        let mut jobs = Vec::new();
        while jobs.len() < wanted {
            jobs.push(rx.recv().await.unwrap());
        }
        stop.cancel();
        run.await.unwrap().unwrap();
        jobs
    }

    /// Runs the task of this name once.
    async fn run(&self, name: &str) {
        let tasks = tasks::all();
        let task = tasks.iter().find(|task| task.name == name).unwrap();
        let claim = Claim {
            owner: "test",
            slot: self.ctx.now(),
            lease: SECOND,
        };
        tick(&self.ctx, task, claim).await;
        self.pass(Duration::from_micros(1));
    }

    /// What the task of this name said last.
    async fn said(&self, name: &str) -> String {
        let tasks = self.ctx.store.list_tasks().await.unwrap();
        let task = tasks.into_iter().find(|task| task.name == name);
        task.unwrap().status.unwrap()
    }
}

fn batches(jobs: &[Job]) -> Vec<Vec<(PartnerId, GrantId)>> {
    jobs.iter()
        .map(|job| job.payload::<RefreshGrants>().unwrap().grants)
        .collect()
}

#[tokio::test]
async fn due_grants_are_sent_once_the_most_urgent_first_and_again_when_their_mark_ends() {
    let rig = Rig::new().await;
    for n in [1, 2] {
        rig.partner(n).await;
    }
    let mut due = BTreeSet::new();
    for n in 0..120 {
        let grant = rig.grant(1 + n % 2, T0 + SECOND * u32::try_from(n).unwrap()).await;
        due.insert((grant.partner_id, grant.id));
    }
    let later = rig.grant(1, T0 + Duration::from_secs(3600)).await;
    rig.run("refresh_due").await;
    assert_eq!(batches(&rig.drained(Urgency::Refresh).await).concat().len(), 1);
    rig.pass(Duration::from_secs(120));
    rig.run("refresh_due").await;
    let sent = batches(&rig.drained(Urgency::Refresh).await);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
    // The first grant's mark of a minute and a half lease has ended, so all are there.
    let all: BTreeSet<_> = sent.concat().into_iter().collect();
    assert!(all == due && !all.contains(&(later.partner_id, later.id)));
    let soonest = rig.ctx.store.load_grant(GrantKey {
        partner_id: sent[0][0].0,
        id: sent[0][0].1,
    });
    assert_eq!(soonest.await.unwrap().unwrap().row.due_at, Some(T0));
    // A second tick finds them marked; when the marks end they are sent again.
    rig.run("refresh_due").await;
    assert!(rig.drained(Urgency::Refresh).await.is_empty());
    rig.pass(Duration::from_secs(60));
    rig.run("refresh_due").await;
    assert_eq!(batches(&rig.drained(Urgency::Refresh).await).concat().len(), 120);
}

#[tokio::test]
async fn a_full_queue_leaves_due_grants_unmarked() {
    let rig = Rig::new().await;
    let partner = rig.partner(1).await;
    let grant = rig.grant(1, T0).await;
    for _ in 0..256 {
        let kind = RefreshGrants {
            grants: Vec::new(),
            asked: false,
        };
        let id = JobId::new(T0, &*rig.ctx.entropy);
        rig.ctx.queue.push(Job::new(id, partner, &kind, T0).unwrap()).await.unwrap();
    }
    rig.run("refresh_due").await;
    assert!(rig.said("refresh_due").await.contains("\"queue_full\":true"));
    let row = rig.ctx.store.load_grant(grant).await.unwrap().unwrap().row;
    assert_eq!(row.wake_at, Some(T0));
    assert_eq!(rig.drained(Urgency::Refresh).await.len(), 256);
    rig.run("refresh_due").await;
    assert_eq!(rig.drained(Urgency::Refresh).await.len(), 1);
}

#[tokio::test]
async fn silent_holders_are_shown_and_counted_once_a_sweep() {
    let rig = Rig::new().await;
    rig.partner(1).await;
    let grant = rig.grant(1, T0).await;
    let claim = GrantClaim {
        grant,
        rev: rig.ctx.store.load_grant(grant).await.unwrap().unwrap().row.rev,
        attempt: AttemptId::from_u128(1),
        holder: HolderId::from_u128(1),
        lease: Duration::from_secs(40),
        doubt: false,
        first_claim_at: T0,
    };
    assert!(rig.ctx.store.claim_grant(claim).await.unwrap());
    let sweeps = async || {
        rig.run("sweep_attempts").await;
        let row = rig.ctx.store.load_grant(grant).await.unwrap().unwrap().row;
        (row.sweeps, row.in_doubt, row.attempt.is_some())
    };
    assert_eq!(sweeps().await, (0, false, true), "its lease holds");
    rig.pass(Duration::from_secs(40));
    assert_eq!(sweeps().await, (1, true, true));
    assert_eq!(sweeps().await, (1, true, true), "not twice in a period");
    for round in 2..=5 {
        rig.pass(Duration::from_secs(15));
        assert_eq!(sweeps().await, (round, true, true));
    }
}

#[tokio::test]
async fn lost_wake_ups_and_dead_workers_are_made_up_for() {
    let rig = Rig::new().await;
    let (partner, store) = (rig.partner(1).await, &rig.ctx.store);
    let kind = RevokeGrant {
        grant: GrantId::from_u128(1),
        connection: ConnectionId::from_u128(1),
    };
    let waiting = rig.job_row(partner, &kind);
    let mut hopeless = rig.job_row(partner, &kind);
    hopeless.deadline_at = Some(T0 + SECOND);
    hopeless.run_at = T0 + Duration::from_secs(3600);
    hopeless.wake_at = Some(hopeless.run_at);
    for row in [&waiting, &hopeless] {
        assert!(store.insert_job(row.clone()).await.unwrap());
    }
    rig.run("requeue_stuck").await;
    let pushed = rig.drained(Urgency::Background).await;
    assert_eq!(pushed.iter().map(|job| job.id).collect::<Vec<_>>(), [waiting.id]);
    assert!(pushed[0].durable && pushed[0].partner == partner);
    rig.run("requeue_stuck").await;
    assert!(rig.drained(Urgency::Background).await.is_empty(), "it was pushed a moment ago");
    // Its worker takes it and dies.
    let claim = JobClaim {
        partner_id: partner,
        job_id: waiting.id,
        claim: AttemptId::from_u128(5),
        lease: SECOND * 10,
    };
    assert!(store.claim_job(claim).await.unwrap().is_some());
    rig.pass(SECOND * 11);
    rig.run("requeue_stuck").await;
    assert_eq!(rig.drained(Urgency::Background).await.len(), 1);
    let row = store.get_job(partner, hopeless.id).await.unwrap().unwrap();
    assert_eq!(row.state, JobState::Failed);
}

#[tokio::test]
async fn receipts_whose_sender_died_end_unknown_and_billed() {
    let rig = Rig::new().await;
    let (partner, store) = (rig.partner(1).await, &rig.ctx.store);
    let call = |n: u128, why: Option<&str>| CallRow {
        id: CallId::from_u128(n),
        partner_id: partner,
        account_id: None,
        connection_id: None,
        provider: "sandbox".into(),
        service: "api".into(),
        endpoint: "proxy".into(),
        method: "POST".into(),
        path: "/messages".into(),
        status: None,
        outcome: CallOutcome::Sent,
        billed: false,
        not_billed_reason: why.map(str::to_owned),
        bytes_in: 0,
        bytes_out: 10,
        queued: Duration::ZERO,
        throttled: Duration::ZERO,
        token_wait: Duration::ZERO,
        provider_time: Duration::ZERO,
        attempt: 1,
        job_id: None,
        request_id: None,
        created_at: T0,
        completed_at: None,
    };
    assert!(store.begin_unsafe_call(call(1, None)).await.unwrap());
    assert!(store.begin_unsafe_call(call(2, Some("test_key"))).await.unwrap());
    let outcome = async |n| {
        let row = store.get_call(partner, CallId::from_u128(n)).await.unwrap().unwrap();
        (row.outcome, row.billed)
    };
    rig.pass(ProviderCall::info().lease());
    rig.run("requeue_stuck").await;
    assert_eq!(outcome(1).await, (CallOutcome::Sent, false), "its answer may still come");
    rig.pass(SECOND * 30);
    rig.run("requeue_stuck").await;
    assert_eq!(outcome(1).await, (CallOutcome::Unknown, true));
    assert_eq!(outcome(2).await, (CallOutcome::Unknown, false));
}

#[tokio::test]
async fn a_revocation_that_was_lost_is_asked_for_once_more() {
    let rig = Rig::new().await;
    let (partner, store) = (rig.partner(1).await, &rig.ctx.store);
    let grant = rig.grant(1, T0 + SECOND * 3600).await;
    let row = store.load_grant(grant).await.unwrap().unwrap().row;
    store.mark_disconnected(partner, row.connection_id, None, T0).await.unwrap().unwrap();
    rig.run("requeue_stuck").await;
    assert!(rig.drained(Urgency::Background).await.is_empty(), "its own job has time");
    rig.pass(SECOND * 700);
    for _ in 0..3 {
        rig.run("requeue_stuck").await;
        rig.pass(SECOND * 10);
    }
    let jobs = rig.drained(Urgency::Background).await;
    assert_eq!(jobs.len(), 1);
    let row = store.get_job(partner, jobs[0].id).await.unwrap().unwrap();
    let kind: RevokeGrant = serde_json::from_str(&row.payload).unwrap();
    assert_eq!(kind.grant, grant.id);
    let all = JobFilter {
        hidden_too: true,
        limit: 10,
        ..JobFilter::default()
    };
    assert_eq!(store.list_jobs(partner, &all).await.unwrap().1, 1);
    let state = store.load_grant(grant).await.unwrap().unwrap().row.state;
    assert_eq!(state, GrantState::Revoking);
}

#[tokio::test]
async fn every_task_runs_on_an_empty_store_and_says_that_it_was_idle() {
    let rig = Rig::new().await;
    for task in tasks::all() {
        rig.run(task.name).await;
    }
    for said in rig.ctx.store.list_tasks().await.unwrap() {
        let status = said.status.unwrap();
        assert!(!status.contains(|c: char| ('1'..='9').contains(&c)), "{}: {status}", said.name);
    }
    let text = rig.ctx.metrics.encode();
    assert!(text.contains(r#"latchkey_task_runs_total{end="ok",task="retention"} 1"#), "{text}");
    assert!(!text.contains("failed"), "{text}");
}

/// A task that counts its runs, and fails on the first.
struct Counted;
static RUNS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Default, PartialEq, Serialize)]
struct Run(u32);

impl Task for Counted {
    const NAME: &'static str = "counted";
    type Status = Run;

    fn cadence(_: &Config) -> Result<Cadence, CronError> {
        Ok(Cadence::Every(SECOND))
    }

    async fn run(_: &Context) -> Result<Run, StoreError> {
        match RUNS.fetch_add(1, Ordering::SeqCst) {
            0 => Err(StoreError::Closed),
            n => Ok(Run(n)),
        }
    }
}

#[tokio::test]
async fn a_tick_is_made_by_one_process_and_those_missed_are_made_up_once() {
    let rig = Rig::new().await;
    let task = entry::<Counted>();
    let ticks = async |slot: Timestamp| {
        let claim = |owner| Claim {
            owner,
            slot,
            lease: SECOND,
        };
        let owners = ["a", "b", "c"].map(|owner| tick(&rig.ctx, &task, claim(owner)));
        futures::future::join_all(owners).await;
        RUNS.load(Ordering::SeqCst)
    };
    assert_eq!(ticks(T0).await, 1);
    assert_eq!(rig.said("counted").await, "the store is closed");
    assert_eq!(ticks(T0).await, 1, "a tick that failed is not repeated");
    rig.pass(SECOND);
    assert_eq!(ticks(T0 + SECOND).await, 2);
    // An hour without any process: one run makes up for it.
    rig.pass(SECOND * 3600);
    let now = Cadence::Every(SECOND).latest(rig.ctx.now()).unwrap();
    assert_eq!(ticks(now).await, 3);
    assert_eq!(rig.said("counted").await, "2");
}

#[tokio::test]
async fn the_scheduler_stops_when_the_process_drains_and_pushes_what_an_old_queue_lost() {
    let rig = Rig::new().await;
    let partner = rig.partner(1).await;
    let kind = RevokeGrant {
        grant: GrantId::from_u128(1),
        connection: ConnectionId::from_u128(1),
    };
    let mut row = rig.job_row(partner, &kind);
    row.dispatched_at = Some(T0);
    row.wake_at = Some(T0 + SECOND * 120);
    assert!(rig.ctx.store.insert_job(row).await.unwrap());
    let run = tokio::spawn(crate::run(rig.ctx.clone()));
    while rig.ctx.queue.depth(Urgency::Background).await.unwrap().entries == 0 {
        tokio::task::yield_now().await;
    }
    rig.ctx.stopper.drain();
    tokio::time::timeout(SECOND * 10, run).await.unwrap().unwrap();
}
