//! [`Rig`]: a store, a provider in three variants (rotating, with grace, not rotating), and processes that
//! refresh.

use std::{sync::Arc, time::Duration};

use latchkey_domain::{
    AccountId, AuthConfigId, Clock, ConnectionId, Entropy, GrantId, ManualClock, PartnerId,
    SystemClock, SystemEntropy, Timestamp,
    states::{AuthConfigStatus, ConnectionStatus, PartnerStatus},
};
use latchkey_oauth::{TokenSet, identity_request};
use latchkey_runtime::{Config, Context, Stopper};
use latchkey_sandbox::{
    Counter, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Fault, FaultKind, Rotation, Sandbox,
    SandboxConfig, SandboxHandle, Seed, SeededGrant, Settings, Target,
};
use latchkey_store::{
    AccountRow, AuthConfigRow, Confirmation, ConnectionRow, GrantKey, GrantRow, JsonMap, Listing,
    NewConnection, PartnerRow,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::super::{FreshToken, NotFresh, Refresher};

/// Longest wait for something that another task does; nothing comes near it.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// What every access token lives, unless a test says otherwise.
pub(super) const LIFE: Duration = Duration::from_secs(3600);
/// The grace that the catalogue declares where there is one, and that the sandbox then gives.
pub(super) const GRACE: Duration = Duration::from_secs(600);

/// What the provider does with refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rotates; a spent one kills the grant.
    Strict,
    /// Rotates; a spent one gives the same successor for [`GRACE`].
    Grace,
    /// Does not rotate.
    Steady,
    /// Rotates; a spent one kills other grants too.
    Wide,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Strict, Self::Grace, Self::Steady, Self::Wide];

    fn slug(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Grace => "grace",
            Self::Steady => "steady",
            Self::Wide => "wide",
        }
    }

    fn entry(self) -> String {
        let rotation = match self {
            Self::Strict => "mode = \"single_use\"",
            Self::Grace => "mode = \"single_use\"\ngrace_s = 600",
            Self::Steady => "mode = \"none\"",
            Self::Wide => "mode = \"single_use\"\nreuse_effect = \"revokes_beyond_grant\"",
        };
        let sandbox = include_str!("../../../../common/providers/catalog/sandbox.toml");
        sandbox
            .replace("slug = \"sandbox\"", &format!("slug = \"{}\"", self.slug()))
            .replace("mode = \"single_use\"", rotation)
    }
}

pub(super) struct Rig {
    pub(super) ctx: Context,
    pub(super) clock: Arc<ManualClock>,
    pub(super) sandbox: SandboxHandle,
    partner: PartnerId,
    account: AccountId,
    kind: Kind,
    auth_config: AuthConfigId,
    _dir: TempDir,
}

impl Rig {
    pub(super) async fn new(kind: Kind) -> Self {
        Self::with(kind, |_| {}).await
    }

    /// A rig with other settings.
    pub(super) async fn with(kind: Kind, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = dir.path().join("catalog");
        std::fs::create_dir(&catalog).unwrap();
        for kind in Kind::ALL {
            let file = catalog.join(format!("{}.toml", kind.slug()));
            std::fs::write(file, kind.entry()).unwrap();
        }
        let flags = [
            ("data_dir", dir.path().display().to_string()),
            ("catalog_dir", catalog.display().to_string()),
            ("egress_allow", "127.0.0.0/8".to_owned()),
        ];
        let mut config = Config::load(None, &flags).unwrap();
        change(&mut config);
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let shared: Arc<dyn Clock> = clock.clone();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let ctx = Context::open(config, shared.clone(), entropy.clone(), Stopper::new());
        let ctx = ctx.await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = SandboxConfig {
            settings: Settings {
                rotation: if kind == Kind::Steady {
                    Rotation::None
                } else {
                    Rotation::SingleUse
                },
                grace_s: if kind == Kind::Grace {
                    GRACE.as_secs_f64()
                } else {
                    0.0
                },
                ..Settings::default()
            },
            ..SandboxConfig::default()
        };
        let rig = Self {
            partner: PartnerId::new(ctx.now(), &*ctx.entropy),
            account: AccountId::new(ctx.now(), &*ctx.entropy),
            auth_config: AuthConfigId::new(ctx.now(), &*ctx.entropy),
            sandbox: Sandbox::start(sandbox, listener, shared, entropy).unwrap(),
            ctx,
            clock,
            kind,
            _dir: dir,
        };
        rig.fill().await;
        rig
    }

    async fn fill(&self) {
        let (store, now) = (&self.ctx.store, self.ctx.now());
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
        let account = AccountRow {
            id: self.account,
            partner_id: self.partner,
            external_id: "user-1".into(),
            display_name: None,
            metadata: JsonMap::new(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        store.insert_account(&account).await.unwrap();
        let id = self.auth_config.to_string();
        let secret = DEFAULT_CLIENT_SECRET.as_bytes();
        let sealed = self.ctx.sealer.seal(
            self.partner,
            "auth_configs",
            "client_secret",
            &id,
            0,
            secret,
        );
        let base_url = self.sandbox.base_url().to_owned();
        let config = AuthConfigRow {
            id: self.auth_config,
            partner_id: self.partner,
            provider: self.kind.slug().into(),
            name: "rig".into(),
            client_id: DEFAULT_CLIENT_ID.into(),
            client_secret: Some(sealed.await.unwrap()),
            scopes: Vec::new(),
            params: JsonMap::from_iter([("base_url".to_owned(), base_url.into())]),
            status: AuthConfigStatus::Enabled,
            status_reason: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        store.insert_auth_config(&config).await.unwrap();
    }

    /// Another process on the same store and data directory.
    pub(super) async fn process(&self) -> Refresher {
        let mut ctx = self.ctx.clone();
        ctx.stopper = Stopper::new();
        Refresher::open(ctx).await.unwrap()
    }

    /// A grant whose access token lives for [`LIFE`].
    pub(super) async fn grant(&self) -> GrantKey {
        self.grant_ending(self.ctx.now() + LIFE).await
    }

    /// A grant whose access token just ended.
    pub(super) async fn expired(&self) -> GrantKey {
        self.grant_ending(self.ctx.now().minus(Duration::from_secs(1)))
            .await
    }

    async fn grant_ending(&self, end: Timestamp) -> GrantKey {
        let seeded = self.sandbox.seed(&Seed::new(1)).unwrap().remove(0);
        let now = self.ctx.now();
        let connection = ConnectionId::new(now, &*self.ctx.entropy);
        let grant = GrantKey {
            partner_id: self.partner,
            id: GrantId::new(now, &*self.ctx.entropy),
        };
        let tokens = tokens(&seeded, now.minus(LIFE), end);
        self.connect(connection, grant, 1, &tokens).await;
        grant
    }

    /// Writes what connecting, or connecting again, brings.
    pub(super) async fn connect(
        &self,
        connection: ConnectionId,
        grant: GrantKey,
        version: i64,
        tokens: &TokenSet,
    ) {
        let now = self.ctx.now();
        let (id, bytes) = (grant.id.to_string(), tokens.to_bytes());
        let sealed = self.ctx.sealer.seal(
            grant.partner_id,
            "grant_secrets",
            "sealed",
            &id,
            version,
            bytes.expose_secret(),
        );
        let connection = ConnectionRow {
            id: connection,
            partner_id: grant.partner_id,
            account_id: self.account,
            auth_config_id: self.auth_config,
            provider: self.kind.slug().into(),
            identity: connection.to_string(),
            label: None,
            status: ConnectionStatus::Active,
            reason: None,
            enabled_services: std::collections::BTreeMap::new(),
            scopes: Vec::new(),
            params: JsonMap::new(),
            connected_at: now,
            updated_at: now,
            revoked_at: None,
        };
        let new = NewConnection {
            connection,
            grant_id: grant.id,
            version,
            sealed: sealed.await.unwrap(),
            issued_at: tokens.issued_at,
            expires_at: tokens.expires_at,
            due_at: tokens.expires_at,
            refreshable: tokens.refresh.is_some(),
            listing: Listing::default(),
            dies_at: None,
            session_id: None,
            job: None,
            now,
        };
        self.ctx.store.store_connection(&new).await.unwrap();
    }

    /// The grant's narrow row.
    pub(super) async fn row(&self, grant: GrantKey) -> GrantRow {
        self.ctx.store.load_grant(grant).await.unwrap().unwrap().row
    }

    /// Whether an attempt is under way.
    pub(super) async fn is_open(&self, grant: GrantKey) -> bool {
        let loaded = self.ctx.store.load_grant(grant).await.unwrap().unwrap();
        loaded.open.is_some()
    }

    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.sandbox.count(counter)
    }

    /// Waits until the provider has counted this much.
    pub(super) async fn until(&self, counter: Counter, at_least: u64) {
        assert_eq!(
            self.sandbox.wait(counter, at_least, LONG).await,
            at_least,
            "{counter:?}"
        );
    }

    /// What goes wrong at the next refresh.
    pub(super) fn next_refresh(&self, kind: FaultKind) {
        self.sandbox
            .fault(Fault::new(Target::Refresh, kind))
            .unwrap();
    }

    pub(super) fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Whether the provider takes the access token.
    pub(super) async fn works(&self, token: &FreshToken) -> bool {
        let clients = crate::client::Clients::new(&self.ctx);
        let client = clients.get(self.partner, self.auth_config).await.unwrap();
        let none = JsonMap::new();
        let caller = client.client(&none, &token.tokens.extra);
        let request = identity_request(client.spec().unwrap(), &caller, &token.tokens);
        let request = request.unwrap().unwrap();
        let answer = self.ctx.http.send(request, LONG, 64 * 1024).await.unwrap();
        answer.status.is_success()
    }
}

/// A seeded grant's tokens.
pub(super) fn tokens(seeded: &SeededGrant, issued_at: Timestamp, end: Timestamp) -> TokenSet {
    TokenSet {
        access: seeded.access_token.clone().into(),
        refresh: seeded.refresh_token.clone().map(Into::into),
        token_type: "Bearer".to_owned(),
        scopes: Vec::new(),
        expires_at: Some(end),
        refresh_expires_at: None,
        issued_at,
        ends_at: None,
        class: String::new(),
        also: Vec::new(),
        extra: JsonMap::new(),
        id_token: None,
    }
}

/// A fresh token for a grant, by a process.
pub(super) async fn fresh(process: &Refresher, grant: GrantKey) -> Result<FreshToken, NotFresh> {
    tokio::time::timeout(LONG, process.fresh(grant.partner_id, grant.id))
        .await
        .unwrap()
}

/// The reason in a `needs_reauth`.
pub(super) fn reauth(outcome: Result<FreshToken, NotFresh>) -> String {
    match outcome {
        Err(NotFresh::NeedsReauth { reason }) => reason,
        other => panic!("expected needs_reauth, got {other:?}"),
    }
}

/// The wait in an `unavailable`.
pub(super) fn unavailable(outcome: Result<FreshToken, NotFresh>) -> Duration {
    match outcome {
        Err(NotFresh::Unavailable { retry_after }) => retry_after,
        other => panic!("expected unavailable, got {other:?}"),
    }
}
