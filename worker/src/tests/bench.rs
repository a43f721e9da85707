//! [`Bench`]: a worker without its queue loops, a provider, and one partner with one account.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use latchkey_domain::{
    AccountId, AttemptId, AuthConfigId, Clock, Entropy, JobId, ManualClock, PartnerId, ReplyId,
    SessionId, SystemClock, SystemEntropy, Timestamp,
    states::{AuthConfigStatus, JobState, PartnerStatus, SessionStatus},
};
use latchkey_jobs::{
    Job, JobKind,
    kinds::{ExchangeCode, exchange_code::ExchangeAnswer},
};
use latchkey_oauth::{AllowedHosts, AuthorizeRequest, HttpRequest, Pkce, TokenSet, authorize_url};
use latchkey_runtime::{Config, Context, Stopper};
use latchkey_sandbox::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, SandboxConfig, SandboxHandle, Settings,
};
use latchkey_store::{
    AccountRow, AuthConfigRow, Confirmation, Connection, ConnectionFilter, GrantKey, HeldJob,
    JobClaim, JobRow, JsonMap, PartnerRow, SessionRow,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tempfile::TempDir;

use crate::{Worker, runner};

/// The provider of these tests, as an operator would add it: the sandbox, with a service that honours
/// idempotency keys beside the plain one.
const ENTRY: &str = r#"
slug = "bench"
display_name = "Bench"

[[app_params]]
name = "base_url"
label = "Address of the sandbox"
regex = "http://127\\.0\\.0\\.1:[0-9]{1,5}"

[oauth.authorize]
url = "{app.base_url}/oauth/authorize"

[oauth.token]
url = "{app.base_url}/oauth/token"

[oauth.rotation]
mode = "single_use"

[oauth.revoke]
url = "{app.base_url}/oauth/revoke"

[oauth.identity]
url = "{app.base_url}/api/me"
stable_key = ["/sub"]
label = ["/email"]

[[services]]
slug = "api"
base_url = "{app.base_url}/api"

[[services.permissions]]
id = "api.read"
kind = "read"
scopes = ["messages.read"]
default = true

[[services.permissions]]
id = "api.write"
kind = "write"
scopes = ["messages.write"]
default = true

[[services]]
slug = "idem"
base_url = "{app.base_url}/api"
idempotency_header = "x-idempotency-key"

[[services.permissions]]
id = "idem.write"
kind = "write"
scopes = ["messages.write"]
"#;

/// A variant of [`ENTRY`] whose revocations reach every grant of the provider account.
fn shared_fate() -> String {
    ENTRY
        .replace("slug = \"bench\"", "slug = \"shared\"")
        .replace(
            "url = \"{app.base_url}/oauth/revoke\"",
            "url = \"{app.base_url}/oauth/revoke\"\nblast_radius = \"account\"",
        )
}

/// A variant of [`ENTRY`] whose codes work for half a minute.
fn hasty() -> String {
    ENTRY
        .replace("slug = \"bench\"", "slug = \"hasty\"")
        .replace("/oauth/token\"\n", "/oauth/token\"\ncode_ttl_s = 30\n")
}

/// A variant of [`ENTRY`] without a way to revoke.
fn irrevocable() -> String {
    let revoke = "[oauth.revoke]\nurl = \"{app.base_url}/oauth/revoke\"\n";
    ENTRY
        .replace("slug = \"bench\"", "slug = \"irrevocable\"")
        .replace(revoke, "")
}

/// Longest wait for something that another task does; nothing comes near it.
pub(super) const LONG: Duration = Duration::from_secs(20);

pub(super) struct Bench {
    pub(super) worker: Arc<Worker>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) sandbox: SandboxHandle,
    pub(super) partner: PartnerId,
    pub(super) account: AccountId,
    pub(super) auth_config: AuthConfigId,
    /// Callers that wait for an answer. They listen before anything can answer them.
    listening: Mutex<HashMap<ReplyId, BoxFuture<'static, Option<Bytes>>>>,
    _dir: TempDir,
}

impl Bench {
    /// A bench at provider `bench`.
    pub(super) async fn new() -> Self {
        Self::at("bench").await
    }

    /// A bench at this provider.
    pub(super) async fn at(provider: &str) -> Self {
        Self::with(provider, |_| {}).await
    }

    /// A bench at this provider, with settings changed.
    pub(super) async fn with(provider: &str, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = dir.path().join("catalog");
        std::fs::create_dir(&catalog).unwrap();
        std::fs::write(catalog.join("bench.toml"), ENTRY).unwrap();
        std::fs::write(catalog.join("shared.toml"), shared_fate()).unwrap();
        std::fs::write(catalog.join("irrevocable.toml"), irrevocable()).unwrap();
        std::fs::write(catalog.join("hasty.toml"), hasty()).unwrap();
        let flags = [
            ("data_dir", dir.path().display().to_string()),
            ("catalog_dir", catalog.display().to_string()),
            ("egress_allow", "127.0.0.0/8".to_owned()),
        ];
        let mut config = Config::load(None, &flags).unwrap();
        change(&mut config);
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let dyn_clock: Arc<dyn Clock> = clock.clone();
        let ctx = Context::open(config, dyn_clock.clone(), entropy.clone(), Stopper::new());
        let ctx = ctx.await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = SandboxConfig {
            settings: Settings {
                auto_consent: true,
                ..Settings::default()
            },
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(sandbox, listener, dyn_clock, entropy).unwrap();
        let now = ctx.now();
        let bench = Self {
            partner: PartnerId::new(now, &*ctx.entropy),
            account: AccountId::new(now, &*ctx.entropy),
            auth_config: AuthConfigId::new(now, &*ctx.entropy),
            worker: Worker::open(ctx).await.unwrap(),
            clock,
            sandbox,
            listening: Mutex::default(),
            _dir: dir,
        };
        bench.fill(provider).await;
        bench
    }

    pub(super) fn ctx(&self) -> &Context {
        &self.worker.ctx
    }

    async fn fill(&self, provider: &str) {
        let (store, now) = (&self.ctx().store, self.ctx().now());
        let partner = PartnerRow {
            id: self.partner,
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
        self.add_account(self.account, "user-1").await;
        self.add_auth_config(self.auth_config, provider, self.sandbox.base_url())
            .await;
    }

    pub(super) async fn add_account(&self, id: AccountId, external_id: &str) {
        let now = self.ctx().now();
        let account = AccountRow {
            id,
            partner_id: self.partner,
            external_id: external_id.into(),
            display_name: None,
            metadata: JsonMap::new(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        self.ctx().store.insert_account(&account).await.unwrap();
    }

    async fn add_auth_config(&self, id: AuthConfigId, provider: &str, base_url: &str) {
        let ctx = self.ctx();
        let (row, secret) = (id.to_string(), DEFAULT_CLIENT_SECRET.as_bytes());
        let sealed = ctx.sealer.seal(
            self.partner,
            "auth_configs",
            "client_secret",
            &row,
            0,
            secret,
        );
        let now = ctx.now();
        let config = AuthConfigRow {
            id,
            partner_id: self.partner,
            provider: provider.into(),
            name: "bench".into(),
            client_id: DEFAULT_CLIENT_ID.into(),
            client_secret: Some(sealed.await.unwrap()),
            scopes: Vec::new(),
            params: map(&json!({ "base_url": base_url })),
            status: AuthConfigStatus::Enabled,
            status_reason: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        ctx.store.insert_auth_config(&config).await.unwrap();
    }

    /// Does what API and browser do until a code is there: a session that waits for its exchange.
    pub(super) async fn session(&self, account: AccountId, user: &str) -> SessionRow {
        let ctx = self.ctx();
        let pkce = Pkce::new(&*ctx.entropy);
        let code = self.consent(user, &pkce).await;
        let (id, now) = (SessionId::new(ctx.now(), &*ctx.entropy), ctx.now());
        let row = id.to_string();
        let seal = |column, secret: &str| {
            let (row, secret) = (row.clone(), secret.to_owned());
            async move {
                let sealer = &ctx.sealer;
                let sealed = sealer.seal(
                    self.partner,
                    "connect_sessions",
                    column,
                    &row,
                    0,
                    secret.as_bytes(),
                );
                Some(sealed.await.unwrap())
            }
        };
        let config = ctx
            .store
            .get_auth_config(self.partner, self.auth_config)
            .await;
        let session = SessionRow {
            id,
            partner_id: self.partner,
            account_id: account,
            auth_config_id: self.auth_config,
            provider: config.unwrap().unwrap().provider,
            redirect_url: "https://acme.example/done".into(),
            scopes: scopes(),
            services: Vec::new(),
            params: JsonMap::new(),
            confirmation: Confirmation::None,
            status: SessionStatus::Exchanging,
            error: None,
            link_hash: latchkey_vault::digest(&row),
            state_hash: None,
            binding_hash: None,
            completion_hash: None,
            verifier: seal("verifier", pkce.verifier.expose_secret()).await,
            code: seal("code", code.expose_secret()).await,
            code_sent_at: None,
            connection_id: None,
            created_at: now,
            expires_at: now + ctx.config.connect.session,
            updated_at: now,
        };
        ctx.store.insert_session(&session).await.unwrap();
        session
    }

    /// The browser at the provider.
    async fn consent(&self, user: &str, pkce: &Pkce) -> SecretString {
        let ctx = self.ctx();
        let client = self
            .worker
            .clients
            .get(self.partner, self.auth_config)
            .await
            .unwrap();
        let redirect_uri = self.redirect_uri();
        let none = JsonMap::new();
        let mut url = authorize_url(
            client.spec().unwrap(),
            &client.client(&none, &none),
            &AuthorizeRequest {
                redirect_uri: &redirect_uri,
                scopes: &scopes(),
                state: "state-0123456789",
                challenge: &pkce.challenge,
            },
        )
        .unwrap();
        url.query_pairs_mut().append_pair("login_hint", user);
        let request = HttpRequest {
            hosts: AllowedHosts::of([&url]),
            request: Request::get(url.as_str()).body(Bytes::new()).unwrap(),
        };
        let answer = ctx.http.send(request, LONG, 64 * 1024).await.unwrap();
        let location = answer
            .headers
            .get(http::header::LOCATION)
            .unwrap()
            .to_str()
            .unwrap();
        let query = location.split_once("code=").unwrap().1;
        query.split('&').next().unwrap().into()
    }

    fn redirect_uri(&self) -> String {
        let origin = self.ctx().config.public_origin();
        format!("{origin}/api/v1/connect/callback/{}", self.auth_config)
    }

    /// A durable job of this kind with its row.
    pub(super) async fn job<K: JobKind>(&self, kind: &K, sealed: Option<Sealed<'_>>) -> Job {
        let ctx = self.ctx();
        let now = ctx.now();
        let mut job = Job::new(JobId::new(now, &*ctx.entropy), self.partner, kind, now).unwrap();
        job.durable = true;
        let sealed = match sealed {
            Some(frame) => {
                let row = job.id.to_string();
                let sealed = ctx
                    .sealer
                    .seal(self.partner, "jobs", "sealed", &row, 0, frame.0);
                Some(sealed.await.unwrap())
            }
            None => None,
        };
        let row = JobRow {
            id: job.id,
            partner_id: self.partner,
            kind: job.kind.clone(),
            urgency: job.urgency.as_str().into(),
            state: JobState::Queued,
            visible: true,
            account_id: Some(self.account),
            provider: None,
            service: None,
            action: None,
            payload: job.payload.clone(),
            sealed,
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
        };
        assert!(ctx.store.insert_job(row).await.unwrap());
        job
    }

    /// Lets a worker run the job as it was delivered.
    pub(super) async fn run(&self, job: &Job) {
        runner::run(Arc::clone(&self.worker), job.clone()).await;
    }

    /// A worker claims the job and its process dies; the scheduler finds that once the claim ran out.
    pub(super) async fn died(&self, job: &Job) {
        let ctx = self.ctx();
        let claim = JobClaim {
            partner_id: self.partner,
            job_id: job.id,
            claim: AttemptId::new(ctx.now(), &*ctx.entropy),
            lease: LONG,
        };
        let held = HeldJob {
            partner_id: self.partner,
            job_id: job.id,
            claim: claim.claim,
        };
        assert!(ctx.store.claim_job(claim).await.unwrap().is_some());
        assert!(ctx.store.runs_alone(held).await.unwrap());
        self.clock.advance(LONG);
        let found = ctx.store.requeue_stuck_jobs(ctx.now(), 10).await.unwrap();
        assert_eq!(found.len(), 1);
    }

    /// Moves time to when the job may run next.
    pub(super) async fn until_due(&self, job: &Job) {
        let run_at = self.row(job).await.run_at;
        self.clock.advance(self.ctx().now().until(run_at));
    }

    /// A job's row as it is now.
    pub(super) async fn row(&self, job: &Job) -> JobRow {
        self.ctx()
            .store
            .get_job(self.partner, job.id)
            .await
            .unwrap()
            .unwrap()
    }

    /// What stands opened in a job's result.
    pub(super) async fn result(&self, job: &Job) -> Vec<u8> {
        let sealed = self.row(job).await.result.expect("the job has a result");
        let row = job.id.to_string();
        let opened = self
            .ctx()
            .sealer
            .open(self.partner, "jobs", "result", &row, 0, &sealed);
        opened.await.unwrap().expose_secret().to_vec()
    }

    /// An exchange of the session, with somebody who waits at the callback.
    pub(super) async fn exchange_job(&self, session: &SessionRow) -> Job {
        let kind = ExchangeCode {
            session: session.id,
        };
        let mut job = self.job(&kind, None).await;
        job.reply_to = Some(self.listen());
        job
    }

    /// Begins to wait for an answer.
    pub(super) fn listen(&self) -> ReplyId {
        let ctx = self.ctx();
        let id = ReplyId::new(ctx.now(), &*ctx.entropy);
        let answer = ctx.replies.wait(id, LONG);
        self.listening.lock().unwrap().insert(id, answer);
        id
    }

    /// The answer, if it comes in this time.
    pub(super) async fn heard(&self, id: ReplyId, within: Duration) -> Option<Bytes> {
        let answer = self.listening.lock().unwrap().remove(&id).unwrap();
        tokio::time::timeout(within, answer).await.ok().flatten()
    }

    /// What whoever waits at the callback was told.
    pub(super) async fn exchange_answer(&self, job: &Job) -> Option<String> {
        let bytes = self.heard(job.reply_to.unwrap(), LONG).await.unwrap();
        serde_json::from_slice::<ExchangeAnswer>(&bytes)
            .unwrap()
            .error
    }

    /// A connection of an account, made as in real life.
    pub(super) async fn connect_account(&self, account: AccountId, user: &str) -> Connection {
        let session = self.session(account, user).await;
        let job = self.exchange_job(&session).await;
        self.run(&job).await;
        assert_eq!(self.exchange_answer(&job).await, None);
        let filter = ConnectionFilter {
            account_id: Some(account),
            ..ConnectionFilter::default()
        };
        let found = self
            .ctx()
            .store
            .list_connections(self.partner, &filter)
            .await
            .unwrap();
        found
            .into_iter()
            .find(|found| found.row.identity == user)
            .unwrap()
    }

    /// A connection of the bench's own account.
    pub(super) async fn connect(&self) -> Connection {
        self.connect_account(self.account, "alice").await
    }

    /// The tokens that a connection holds now.
    pub(super) async fn tokens(&self, connection: &Connection) -> TokenSet {
        let key = GrantKey {
            partner_id: self.partner,
            id: connection.grant.id,
        };
        let secret = self
            .ctx()
            .store
            .load_grant(key)
            .await
            .unwrap()
            .unwrap()
            .secret
            .unwrap();
        let row = key.id.to_string();
        let sealer = &self.ctx().sealer;
        let version = secret.version;
        let opened = sealer.open(
            self.partner,
            "grant_secrets",
            "sealed",
            &row,
            version,
            &secret.sealed,
        );
        TokenSet::from_bytes(opened.await.unwrap().expose_secret()).unwrap()
    }

    /// A secret of a session.
    pub(super) async fn open_session(&self, session: &SessionRow, column: &'static str) -> String {
        let sealed = match column {
            "code" => session.code.as_deref(),
            _ => session.verifier.as_deref(),
        };
        let (sealer, row) = (&self.ctx().sealer, session.id.to_string());
        let opened = sealer.open(
            self.partner,
            "connect_sessions",
            column,
            &row,
            0,
            sealed.unwrap(),
        );
        String::from_utf8(opened.await.unwrap().expose_secret().to_vec()).unwrap()
    }

    /// The session as it is now.
    pub(super) async fn session_now(&self, session: &SessionRow) -> SessionRow {
        let found = self
            .ctx()
            .store
            .get_partner_session(self.partner, session.id)
            .await;
        found.unwrap().unwrap()
    }
}

/// Bytes to be sealed into a job's row.
pub(super) struct Sealed<'a>(pub(super) &'a [u8]);

pub(super) fn scopes() -> Vec<String> {
    vec!["messages.read".into(), "messages.write".into()]
}

pub(super) fn map(value: &serde_json::Value) -> JsonMap {
    value.as_object().unwrap().clone()
}

/// A time that every bench's clock has passed.
pub(super) const PAST: Timestamp = Timestamp::from_secs(1);
