//! A store of its own for each case, and rows to start from.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use latchkey_domain::{
    AccountId, AttemptId, AuthConfigId, CallId, Clock, ConnectionId, GrantId, HolderId, JobId,
    ManualClock, PartnerId, SeededEntropy, SessionId, Timestamp,
    states::{
        AuthConfigStatus, CallOutcome, ConnectionStatus, JobState, PartnerStatus, SessionStatus,
    },
};
use sqlx::{Connection as _, Executor as _};

use crate::{
    AccountRow, AttemptRow, AuthConfigRow, CallRow, Confirmation, Connection, ConnectionRow,
    GrantClaim, GrantRow, JobRow, JsonMap, Listing, NewConnection, PartnerRow, SessionRow, Store,
    StoreConfig,
    postgres_server::{PrivateDatabase, SERVER},
};

/// A store with a clock that stands still.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) entropy: SeededEntropy,
    pub(crate) url: String,
}

type Case = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a case on a SQLite file and, where there is a server, on PostgreSQL.
pub(crate) fn on_every_engine(name: &str, case: impl Fn(Arc<Fixture>) -> Case) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let path = directory.path().join("store with spaces #1.db");
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let config = StoreConfig::sqlite(&path, Arc::clone(&clock) as Arc<dyn Clock>);
        run_on(config, clock, &case).await;
        if let Ok(server) = std::env::var(SERVER) {
            on_postgres(&server, name, &case).await;
        }
    });
}

async fn on_postgres(server: &str, name: &str, case: &impl Fn(Arc<Fixture>) -> Case) {
    let name = format!("latchkey_{name}_{}", std::process::id());
    let database = PrivateDatabase::create(server, &name).await;
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(0)));
    let config = StoreConfig::new(database.url(), Arc::clone(&clock) as Arc<dyn Clock>);
    run_on(config, clock, case).await;
}

async fn run_on(
    config: StoreConfig,
    clock: Arc<ManualClock>,
    case: &impl Fn(Arc<Fixture>) -> Case,
) {
    let url = config.url.clone();
    let store = Store::open(config).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    assert!(store.is_migrated().await.unwrap());
    // On PostgreSQL leases count by the server's clock; the suite's then stands where that one does.
    let now = store.db_now().await.unwrap().floor(Duration::from_secs(1));
    clock.set_wall(now);
    let fixture = Arc::new(Fixture {
        store: store.clone(),
        clock,
        entropy: SeededEntropy::new(7),
        url,
    });
    case(fixture).await;
    store.close().await;
}

/// A duration in seconds.
pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Fixture {
    /// The suite's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs a statement beside the store, as a person with a database client would.
    pub(crate) async fn meddle(&self, sql: &str) {
        let mut connection = sqlx::AnyConnection::connect(&self.url).await.unwrap();
        let done = connection
            .execute(sqlx::AssertSqlSafe(sql.to_owned()))
            .await
            .unwrap();
        assert!(done.rows_affected() > 0, "{sql} changed nothing");
    }

    /// A new id of any kind.
    pub(crate) fn id<T>(&self, make: fn(Timestamp, &dyn latchkey_domain::Entropy) -> T) -> T {
        make(self.now(), &self.entropy)
    }

    /// A stored partner.
    pub(crate) async fn partner(&self) -> PartnerId {
        let row = PartnerRow {
            id: self.id(PartnerId::new),
            company: "Acme".into(),
            website: "https://acme.example".into(),
            contact_email: None,
            use_case: None,
            plan: "free".into(),
            status: PartnerStatus::Active,
            confirmation: Confirmation::None,
            redirect_urls: vec!["https://acme.example/done".into()],
            created_at: self.now(),
            updated_at: self.now(),
        };
        self.store.insert_partner(&row).await.unwrap();
        row.id
    }

    /// An account that is not stored yet.
    pub(crate) fn account_row(&self, partner: PartnerId, external_id: &str) -> AccountRow {
        AccountRow {
            id: self.id(AccountId::new),
            partner_id: partner,
            external_id: external_id.into(),
            display_name: None,
            metadata: JsonMap::new(),
            created_at: self.now(),
            updated_at: self.now(),
            deleted_at: None,
        }
    }

    /// A stored account.
    pub(crate) async fn account(&self, partner: PartnerId, external_id: &str) -> AccountRow {
        let row = self.account_row(partner, external_id);
        self.store.insert_account(&row).await.unwrap();
        row
    }

    /// A stored auth config.
    pub(crate) async fn auth_config(&self, partner: PartnerId) -> AuthConfigRow {
        let row = AuthConfigRow {
            id: self.id(AuthConfigId::new),
            partner_id: partner,
            provider: "sandbox".into(),
            name: "Sandbox".into(),
            client_id: "client".into(),
            client_secret: Some(vec![1, 2, 3]),
            scopes: vec!["read".into()],
            params: JsonMap::new(),
            status: AuthConfigStatus::Enabled,
            status_reason: None,
            version: 1,
            created_at: self.now(),
            updated_at: self.now(),
        };
        self.store.insert_auth_config(&row).await.unwrap();
        row
    }

    /// A stored session in this status.
    pub(crate) async fn session(&self, account: &AccountRow, status: SessionStatus) -> SessionRow {
        let id = self.id(SessionId::new);
        let mut link_hash = [0; 32];
        link_hash[..16].copy_from_slice(&id.as_u128().to_le_bytes());
        let row = SessionRow {
            id,
            partner_id: account.partner_id,
            account_id: account.id,
            auth_config_id: self.id(AuthConfigId::new),
            provider: "sandbox".into(),
            redirect_url: "https://acme.example/done".into(),
            scopes: vec!["read".into()],
            services: vec![],
            params: JsonMap::new(),
            confirmation: Confirmation::None,
            status,
            error: None,
            link_hash,
            state_hash: None,
            binding_hash: None,
            completion_hash: None,
            verifier: None,
            code: None,
            code_sent_at: None,
            connection_id: None,
            created_at: self.now(),
            expires_at: self.now() + secs(1800),
            updated_at: self.now(),
        };
        self.store.insert_session(&row).await.unwrap();
        row
    }

    /// What an exchange would bring for this account.
    pub(crate) fn new_connection(
        &self,
        account: &AccountRow,
        auth_config: AuthConfigId,
        identity: &str,
    ) -> NewConnection {
        let now = self.now();
        NewConnection {
            connection: ConnectionRow {
                id: self.id(ConnectionId::new),
                partner_id: account.partner_id,
                account_id: account.id,
                auth_config_id: auth_config,
                provider: "sandbox".into(),
                identity: identity.into(),
                label: Some("ada@example.org".into()),
                status: ConnectionStatus::Active,
                reason: None,
                enabled_services: BTreeMap::new(),
                scopes: vec!["read".into()],
                params: JsonMap::new(),
                connected_at: now,
                updated_at: now,
                revoked_at: None,
            },
            grant_id: self.id(GrantId::new),
            version: 1,
            sealed: vec![9; 40],
            issued_at: now,
            expires_at: Some(now + secs(3600)),
            due_at: Some(now + secs(3000)),
            refreshable: true,
            listing: Listing::default(),
            dies_at: None,
            session_id: None,
            job: None,
            now,
        }
    }

    /// A stored connection with its grant.
    pub(crate) async fn connect(&self, partner: PartnerId, name: &str) -> Connection {
        let account = self.account(partner, name).await;
        let config = self.id(AuthConfigId::new);
        let new = self.new_connection(&account, config, name);
        self.store.store_connection(&new).await.unwrap()
    }

    /// A claim on a grant as it was read.
    pub(crate) fn claim(&self, grant: &GrantRow) -> GrantClaim {
        GrantClaim {
            grant: grant.key(),
            rev: grant.rev,
            replaced: None,
            attempt: self.id(AttemptId::new),
            holder: self.id(HolderId::new),
            lease: secs(40),
            first_claim_at: self.now(),
        }
    }

    /// The grant as it is now.
    pub(crate) async fn grant(&self, grant: &GrantRow) -> GrantRow {
        self.store
            .load_grant(grant.key())
            .await
            .unwrap()
            .unwrap()
            .row
    }

    /// The attempt that is under way at a grant.
    pub(crate) async fn open(&self, grant: &GrantRow) -> Option<AttemptRow> {
        let loaded = self.store.load_grant(grant.key()).await.unwrap().unwrap();
        loaded.open
    }

    /// A queued job that is not stored yet.
    pub(crate) fn job(&self, partner: PartnerId) -> JobRow {
        let now = self.now();
        JobRow {
            id: self.id(JobId::new),
            run_at: now,
            wake_at: Some(now),
            created_at: now,
            ..job_of(partner)
        }
    }

    /// A final receipt that is not stored yet.
    pub(crate) fn call(&self, partner: PartnerId) -> CallRow {
        let now = self.now();
        CallRow {
            id: self.id(CallId::new),
            partner_id: partner,
            account_id: None,
            connection_id: None,
            provider: "sandbox".into(),
            service: "echo".into(),
            endpoint: "echo.get".into(),
            method: "GET".into(),
            path: "/echo".into(),
            status: Some(200),
            outcome: CallOutcome::Answered,
            billed: true,
            not_billed_reason: None,
            bytes_in: 100,
            bytes_out: 10,
            queued: Duration::from_micros(150),
            throttled: Duration::ZERO,
            token_wait: Duration::from_micros(20),
            provider_time: Duration::from_millis(3),
            attempt: 1,
            job_id: None,
            request_id: Some("req_1".into()),
            created_at: now,
            completed_at: Some(now),
        }
    }
}

/// A queued job of the year 2027.
pub(crate) fn job_of(partner: PartnerId) -> JobRow {
    let now = Timestamp::from_secs(1_800_000_000);
    JobRow {
        id: JobId::from_u128(1),
        partner_id: partner,
        kind: "provider_call".into(),
        urgency: "background".into(),
        state: JobState::Queued,
        visible: true,
        account_id: None,
        provider: Some("sandbox".into()),
        service: Some("echo".into()),
        action: None,
        payload: "{}".into(),
        sealed: Some(vec![5; 20]),
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
        request_id: Some("req_1".into()),
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
