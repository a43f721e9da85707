//! [`Rig`]: a store and a queue, and a clock that stands still until it is moved.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use latchkey_domain::{
    AccountId, AuthConfigId, Clock, ConnectionId, Entropy, GrantId, JobId, ManualClock, PartnerId,
    SystemEntropy, Timestamp,
    states::{AuthConfigStatus, ConnectionStatus, JobState, PartnerStatus},
};
use latchkey_jobs::{Execute, Job, JobKind, RunOptions, Urgency};
use latchkey_runtime::{Config, Context, Stopper};
use latchkey_store::{
    AccountRow, AuthConfigRow, Confirmation, ConnectionRow, GrantKey, JobRow, JsonMap, Listing,
    NewConnection, PartnerRow,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    driver::{Claim, tick},
    tasks,
};

pub(super) const T0: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Rig {
    pub(super) ctx: Context,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

impl Rig {
    pub(super) async fn new() -> Self {
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

    pub(super) fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// A partner with an account and an auth config, all of this number.
    pub(super) async fn partner(&self, n: u128) -> PartnerId {
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
    pub(super) async fn grant(&self, n: u128, due: Timestamp) -> GrantKey {
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
            listing: Listing::default(),
            dies_at: None,
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

    pub(super) fn job_row<K: JobKind>(&self, partner: PartnerId, kind: &K) -> JobRow {
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
            then_job: None,
            history: None,
            lost: 0,
            forgiven: 0,
        }
    }

    /// Takes what waits in one lane of the queue.
    pub(super) async fn drained(&self, urgency: Urgency) -> Vec<Job> {
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
    pub(super) async fn run(&self, name: &str) {
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
    pub(super) async fn said(&self, name: &str) -> String {
        let tasks = self.ctx.store.list_tasks().await.unwrap();
        let task = tasks.into_iter().find(|task| task.name == name);
        task.unwrap().status.unwrap()
    }
}
