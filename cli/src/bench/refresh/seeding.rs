//! Grants that are due: made at the sandbox, sealed, and written in bulk.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use axum::http::Method;
use latchkey_domain::{
    AccountId, AuthConfigId, ConnectionId, GrantId, PartnerId, Timestamp,
    states::{AuthConfigStatus, ConnectionStatus, PartnerStatus},
};
use latchkey_oauth::TokenSet;
use latchkey_runtime::Context;
use latchkey_sandbox::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Seed, SeededGrant};
use latchkey_store::{
    AccountRow, AuthConfigRow, Confirmation, ConnectionRow, JsonMap, Listing, NewConnection,
    PartnerRow, bench::grants,
};
use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

use crate::http::{Http, Request};

/// Grants in one request to the sandbox: its answer is some 400 bytes for each.
const AT_ONCE: usize = 5000;
/// Life of an access token.
const LIFE: Duration = Duration::from_secs(3600);

/// Makes grants at the sandbox.
pub(crate) async fn at_sandbox(
    http: &Http,
    sandbox: &Url,
    count: usize,
) -> anyhow::Result<Vec<SeededGrant>> {
    let mut made = Vec::with_capacity(count);
    while made.len() < count {
        let seed = Seed::new(AT_ONCE.min(count - made.len()));
        let request = Request::new(Method::POST, sandbox.join("/sandbox/grants/seed")?);
        let answer = http.send(request.json(&json!(seed))?).await?;
        anyhow::ensure!(
            answer.status < 300,
            "the sandbox refused: {}",
            answer.text()
        );
        let told: serde_json::Value = answer.json();
        let list = told.get("grants").cloned().unwrap_or(told);
        let part: Vec<SeededGrant> =
            serde_json::from_value(list).context("the sandbox's grants")?;
        anyhow::ensure!(!part.is_empty(), "the sandbox made no grants");
        made.extend(part);
    }
    Ok(made)
}

/// Whose grants they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    partner: PartnerId,
    account: AccountId,
    auth_config: AuthConfigId,
}

/// One partner with one account and the sandbox's client.
pub(crate) async fn owner(ctx: &Context, sandbox: &Url) -> anyhow::Result<Owner> {
    let (store, now, entropy) = (&ctx.store, ctx.now(), &*ctx.entropy);
    let owner = Owner {
        partner: PartnerId::new(now, entropy),
        account: AccountId::new(now, entropy),
        auth_config: AuthConfigId::new(now, entropy),
    };
    store.insert_partner(&partner(owner.partner, now)).await?;
    let account = AccountRow {
        id: owner.account,
        partner_id: owner.partner,
        external_id: "bench".into(),
        display_name: None,
        metadata: JsonMap::new(),
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    store.insert_account(&account).await?;
    let id = owner.auth_config.to_string();
    let secret = DEFAULT_CLIENT_SECRET.as_bytes();
    let sealed = ctx
        .sealer
        .seal(
            owner.partner,
            "auth_configs",
            "client_secret",
            &id,
            0,
            secret,
        )
        .await?;
    let base = sandbox.as_str().trim_end_matches('/').to_owned();
    let config = AuthConfigRow {
        id: owner.auth_config,
        partner_id: owner.partner,
        provider: "sandbox".into(),
        name: "bench".into(),
        client_id: DEFAULT_CLIENT_ID.into(),
        client_secret: Some(sealed),
        scopes: Vec::new(),
        params: JsonMap::from_iter([("base_url".to_owned(), base.into())]),
        status: AuthConfigStatus::Enabled,
        status_reason: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    store.insert_auth_config(&config).await?;
    Ok(owner)
}

fn partner(id: PartnerId, now: Timestamp) -> PartnerRow {
    PartnerRow {
        id,
        company: "Bench".into(),
        website: "https://bench.example".into(),
        contact_email: None,
        use_case: None,
        plan: "free".into(),
        status: PartnerStatus::Active,
        confirmation: Confirmation::None,
        redirect_urls: Vec::new(),
        created_at: now,
        updated_at: now,
    }
}

/// Seals and writes grants that are all due at `due`.
pub(crate) async fn store(
    ctx: &Context,
    owner: Owner,
    seeded: &[SeededGrant],
    due: Timestamp,
) -> anyhow::Result<()> {
    for part in seeded.chunks(AT_ONCE) {
        let mut new = Vec::with_capacity(part.len());
        for grant in part {
            new.push(connection(ctx, owner, grant, due).await?);
        }
        grants::insert(&ctx.store, &new).await?;
    }
    Ok(())
}

async fn connection(
    ctx: &Context,
    owner: Owner,
    seeded: &SeededGrant,
    due: Timestamp,
) -> anyhow::Result<NewConnection> {
    let now = ctx.now();
    let grant_id = GrantId::new(now, &*ctx.entropy);
    let tokens = TokenSet {
        access: seeded.access_token.clone().into(),
        refresh: seeded.refresh_token.clone().map(Into::into),
        token_type: "Bearer".to_owned(),
        scopes: Vec::new(),
        expires_at: Some(due + LIFE),
        refresh_expires_at: None,
        issued_at: now,
        ends_at: None,
        class: String::new(),
        also: Vec::new(),
        extra: JsonMap::new(),
        id_token: None,
    };
    let (id, bytes) = (grant_id.to_string(), tokens.to_bytes());
    let sealed = ctx
        .sealer
        .seal(
            owner.partner,
            "grant_secrets",
            "sealed",
            &id,
            1,
            bytes.expose_secret(),
        )
        .await?;
    Ok(of(ctx, owner, grant_id, sealed, due))
}

/// A connection with these sealed tokens.
pub(crate) fn of(
    ctx: &Context,
    owner: Owner,
    grant_id: GrantId,
    sealed: Vec<u8>,
    due: Timestamp,
) -> NewConnection {
    let now = ctx.now();
    let id = ConnectionId::new(now, &*ctx.entropy);
    NewConnection {
        connection: ConnectionRow {
            id,
            partner_id: owner.partner,
            account_id: owner.account,
            auth_config_id: owner.auth_config,
            provider: "sandbox".into(),
            identity: id.to_string(),
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
        grant_id,
        version: 1,
        sealed,
        issued_at: now,
        expires_at: Some(due + LIFE),
        due_at: Some(due),
        refreshable: true,
        listing: Listing::default(),
        dies_at: None,
        session_id: None,
        job: None,
        now,
    }
}
