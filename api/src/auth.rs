//! Who asks: the partner behind an API key, or the operator behind its token.
//!
//! A key that its checksum refuses never reaches the store. Others are looked up by their public prefix and
//! compared by peppered hash in constant time. What was found is kept for [`KEPT`], so that a revoked key or
//! a suspended partner is refused everywhere within that time, and at once on the server that changed it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::extract::FromRequestParts;
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use latchkey_domain::{KeyId, PartnerId, Timestamp, plan::Plan, states::PartnerStatus};
use latchkey_store::{ApiKeyRow, KeyMode, PartnerRow};
use latchkey_telemetry::Chain;
use latchkey_vault::{ApiKey, digest, same};
use moka::future::Cache;
use secrecy::ExposeSecret;

use crate::{
    error::{ApiError, Code},
    state::Api,
};

/// How long a looked-up key is trusted (`reliability.md` C: a revocation shows within 5 s on every node).
const KEPT: Duration = Duration::from_secs(5);
/// Keys kept at once, some 1 KiB each. Prefixes of made-up keys count too.
const KEYS_KEPT: u64 = 50_000;
/// `last_used_at` is written at most this often for each key.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// The provider that test keys reach.
const SANDBOX: &str = "sandbox";

/// The partner that asks, as its key says. Part of every handler for partners.
#[derive(Clone, Debug)]
pub(crate) struct Partner {
    /// Its id.
    pub(crate) id: PartnerId,
    /// Its row, at most [`KEPT`] old.
    pub(crate) row: Arc<PartnerRow>,
    /// Its plan.
    pub(crate) plan: Arc<Plan>,
    /// The key that was used.
    pub(crate) key: KeyId,
    /// What that key reaches.
    pub(crate) mode: KeyMode,
}

impl Partner {
    /// Refuses a test key at a real provider.
    pub(crate) fn may_reach(&self, provider: &str) -> Result<(), ApiError> {
        if self.mode == KeyMode::Live || provider == SANDBOX {
            return Ok(());
        }
        Err(ApiError::new(
            Code::TestKeyOnlySandbox,
            format!(
                "A test key reaches the provider '{SANDBOX}' only. Use a live key for '{provider}'."
            ),
        ))
    }
}

/// Who sent a request, found before it is routed.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A partner in good standing.
    Partner(Partner),
    /// A partner that may not use Latchkey now.
    Stopped(Partner, ApiError),
    /// No key, or none that is valid.
    Nobody(ApiError),
}

impl Caller {
    /// The partner whose valid key was sent, stopped or not.
    pub(crate) fn partner(&self) -> Option<&Partner> {
        match self {
            Self::Partner(partner) | Self::Stopped(partner, _) => Some(partner),
            Self::Nobody(_) => None,
        }
    }

    /// The partner, if it may go on.
    pub(crate) fn admitted(&self) -> Result<&Partner, ApiError> {
        match self {
            Self::Partner(partner) => Ok(partner),
            Self::Stopped(_, error) | Self::Nobody(error) => Err(error.clone()),
        }
    }
}

/// On whose behalf an admitted request acts: the partner, or the operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope(pub(crate) PartnerId);

impl<S: Send + Sync> FromRequestParts<S> for Partner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Caller>() {
            Some(caller) => caller.admitted().cloned(),
            None => Err(no_key()),
        }
    }
}

/// Finds out who sent these headers.
pub(crate) async fn identify(api: &Api, headers: &HeaderMap) -> Caller {
    match find(api, headers).await {
        Ok(partner) => match standing(&partner) {
            Ok(()) => Caller::Partner(partner),
            Err(error) => Caller::Stopped(partner, error),
        },
        Err(error) => Caller::Nobody(error),
    }
}

/// Whether these headers carry the operator's token.
pub(crate) fn admit_operator(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    let expected = digest(api.ctx.operator_token.expose_secret());
    let given = bearer(headers)?.map(digest);
    if given.is_some_and(|given| same(&given, &expected)) {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Unauthorized,
        "Invalid or missing operator token. Send it as `Authorization: Bearer …`; a running server keeps \
         it in run.json in its data directory.",
    ))
}

async fn find(api: &Api, headers: &HeaderMap) -> Result<Partner, ApiError> {
    let text = sent_key(headers)?;
    let key = ApiKey::parse(text)
        .map_err(|error| ApiError::new(Code::Unauthorized, format!("Invalid API key: {error}.")))?;
    let found = api.keys.lookup(api, key.lookup()).await?;
    let hash = api.ctx.pepper.hash(&key);
    // Every candidate is compared to its end; there is rarely more than one.
    let mut known = None;
    for candidate in &found.keys {
        if same(&candidate.row.hash, &hash) {
            known = Some(candidate);
        }
    }
    let known = known.ok_or_else(|| {
        ApiError::new(
            Code::Unauthorized,
            "Invalid API key: it is not known here, or it was revoked.",
        )
    })?;
    known.touch(api).await;
    let plan = api.ctx.config.plan(&known.partner.plan).cloned();
    let plan = plan.ok_or_else(|| {
        ApiError::internal(NoPlan {
            partner: known.partner.id,
            plan: known.partner.plan.clone(),
        })
    })?;
    Ok(Partner {
        id: known.partner.id,
        row: Arc::clone(&known.partner),
        plan: Arc::new(plan),
        key: known.row.id,
        mode: known.row.mode,
    })
}

/// A partner's plan that the settings no longer have.
#[derive(Debug, thiserror::Error)]
#[error(
    "plan '{plan}' of partner {partner} is not in the settings; add it or put the partner on another"
)]
struct NoPlan {
    partner: PartnerId,
    plan: String,
}

fn standing(partner: &Partner) -> Result<(), ApiError> {
    if partner.id == PartnerId::OPERATOR {
        return Err(ApiError::new(
            Code::PartnerRequired,
            "Partner profile required: this key belongs to no partner.",
        ));
    }
    match partner.row.status {
        PartnerStatus::Active => Ok(()),
        PartnerStatus::Suspended => Err(ApiError::new(
            Code::PartnerSuspended,
            "Partner profile is suspended. Write to the operator.",
        )),
        PartnerStatus::PastDue => Err(ApiError::new(
            Code::PaymentPastDue,
            "Payment past due. Please update your payment method.",
        )),
    }
}

fn no_key() -> ApiError {
    ApiError::new(
        Code::Unauthorized,
        "Invalid or missing API key. Send it as `Authorization: Bearer sk_live_…` or as `x-api-key`.",
    )
}

/// The key that was sent, in either header.
fn sent_key(headers: &HeaderMap) -> Result<&str, ApiError> {
    let plain = headers
        .get("x-api-key")
        .map(|v| v.to_str().map_err(|_| no_key()));
    match (bearer(headers)?, plain.transpose()?) {
        (Some(a), Some(b)) if a != b => Err(ApiError::new(
            Code::Unauthorized,
            "Two different API keys were sent, in Authorization and x-api-key. Send one.",
        )),
        (Some(key), _) | (None, Some(key)) => Ok(key.trim()),
        (None, None) => Err(no_key()),
    }
}

/// The token of `Authorization: Bearer …`; the scheme in any case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .ok_or_else(no_key)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(token.trim()))
    } else {
        Err(no_key())
    }
}

/// The keys that were looked up lately, by public prefix.
#[derive(Debug)]
pub(crate) struct Keys {
    found: Cache<String, Arc<Found>>,
    /// Changes of keys and partners made on this server; what was found before one is looked up again.
    changes: AtomicU64,
}

#[derive(Debug)]
struct Found {
    at: Duration,
    changes: u64,
    keys: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    row: ApiKeyRow,
    partner: Arc<PartnerRow>,
    /// When `last_used_at` was last written, in microseconds.
    touched: AtomicI64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            found: Cache::new(KEYS_KEPT),
            changes: AtomicU64::new(0),
        }
    }
}

impl Keys {
    /// To be called after every change of a partner or key on this server.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    async fn lookup(&self, api: &Api, lookup: &str) -> Result<Arc<Found>, ApiError> {
        let (now, changes) = (
            api.ctx.clock.monotonic(),
            self.changes.load(Ordering::Acquire),
        );
        if let Some(found) = self.found.get(lookup).await
            && found.changes == changes
            && now.saturating_sub(found.at) < KEPT
        {
            return Ok(found);
        }
        let rows = api.ctx.store.find_api_keys(lookup).await?;
        let found = Arc::new(Found {
            at: now,
            changes,
            keys: rows.into_iter().map(Known::new).collect(),
        });
        self.found
            .insert(lookup.to_owned(), Arc::clone(&found))
            .await;
        Ok(found)
    }
}

impl Known {
    fn new((row, partner): (ApiKeyRow, PartnerRow)) -> Self {
        let touched = row.last_used_at.map_or(0, Timestamp::as_micros);
        Self {
            row,
            partner: Arc::new(partner),
            touched: AtomicI64::new(touched),
        }
    }

    /// Notes that the key was used. A store that cannot be written is no reason to refuse a reader.
    async fn touch(&self, api: &Api) {
        let now = api.ctx.now();
        let before = self.touched.load(Ordering::Relaxed);
        let due = now.since(Timestamp::from_micros(before)) >= TOUCH_EVERY;
        let ours = due
            && self
                .touched
                .compare_exchange(
                    before,
                    now.as_micros(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if ours
            && let Err(error) = api
                .ctx
                .store
                .touch_api_key(self.partner.id, self.row.id, now)
                .await
        {
            tracing::warn!(error = %Chain(&error), key = %self.row.id, "last_used_at was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use latchkey_domain::KeyId;
    use serde_json::json;

    use super::*;
    use crate::{router, testing::TestApi};

    const PATH: &str = "/api/v1/partner";

    #[tokio::test]
    async fn either_header_and_any_case_of_bearer() {
        let api = TestApi::new().await;
        let key = api.partner("Acme").await.key;
        let (bearer, plain) = (format!("bEARER  {key}"), key.as_str());
        let sent = [
            (vec![("authorization", bearer.as_str())], 200),
            (vec![("x-api-key", plain)], 200),
            (vec![("authorization", &bearer), ("x-api-key", plain)], 200),
            (
                vec![("authorization", &bearer), ("x-api-key", "sk_live_other")],
                401,
            ),
            (vec![("authorization", plain)], 401),
            (vec![("authorization", "Basic c2s6eA==")], 401),
            (vec![("authorization", "Bearer ")], 401),
            (vec![("x-api-key", "")], 401),
            (vec![], 401),
        ];
        for (headers, status) in sent {
            let mut client = api.anyone();
            for (name, value) in &headers {
                client = client.with(name, value);
            }
            let answer = client.get(PATH).await;
            assert_eq!(answer.status.as_u16(), status, "{headers:?}");
            if status == 401 {
                assert_eq!(answer.code(), "UNAUTHORIZED");
                assert_eq!(answer.header("x-ratelimit-limit"), "");
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_checksum_never_reaches_the_store() {
        let api = TestApi::new().await;
        let mut mistyped = api.partner("Acme").await.key;
        let last = if mistyped.pop() == Some('0') {
            '1'
        } else {
            '0'
        };
        mistyped.push(last);
        let unknown = ApiKey::generate(latchkey_vault::Mode::Live, &*api.api.ctx.entropy);
        // With the store closed, whatever asks it fails.
        api.api.ctx.store.close().await;
        let ask = async |key: &str| api.anyone().with("x-api-key", key).get(PATH).await;
        insta::assert_snapshot!(ask(&mistyped).await.shown(), @r#"
        401 Unauthorized
        {
          "error": "Invalid API key: the API key was mistyped or cut: its checksum does not match.",
          "error_code": "UNAUTHORIZED",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        assert_eq!(ask("sk_live_short").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            ask(unknown.expose()).await.status,
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }

    #[tokio::test]
    async fn a_revocation_shows_on_every_server_within_five_seconds() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let elsewhere = router::router(api.api.ctx.clone());
        let elsewhere = api.anyone().at(&elsewhere).with("x-api-key", &acme.key);
        elsewhere.get(PATH).await.data();
        let keys = acme.client.get("/api/v1/partner/keys").await.data();
        let id = keys["keys"][0]["id"].as_str().unwrap();
        acme.client
            .delete(&format!("/api/v1/partner/keys/{id}"))
            .await
            .data();
        assert_eq!(acme.client.get(PATH).await.code(), "UNAUTHORIZED");
        api.advance(Duration::from_millis(4999));
        assert_eq!(elsewhere.get(PATH).await.status, StatusCode::OK);
        api.advance(Duration::from_millis(1));
        assert_eq!(elsewhere.get(PATH).await.code(), "UNAUTHORIZED");
    }

    #[tokio::test]
    async fn use_is_noted_once_a_minute() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let mut seen = Vec::new();
        for _ in 0..7 {
            api.advance(Duration::from_secs(20));
            let listed = acme.client.get("/api/v1/partner/keys").await.data();
            seen.push(listed["keys"][0]["last_used_at"].as_str().unwrap()[14..19].to_owned());
        }
        assert_eq!(
            seen,
            [
                "00:20", "00:20", "00:20", "01:20", "01:20", "01:20", "02:20"
            ]
        );
    }

    #[tokio::test]
    async fn keys_with_one_public_prefix_are_told_apart() {
        let api = TestApi::new().await;
        let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
        let ctx = &api.api.ctx;
        // Another partner's key that happens to begin like Acme's.
        let row = ApiKeyRow {
            id: KeyId::new(ctx.now(), &*ctx.entropy),
            partner_id: other.id,
            lookup: acme.key[..16].to_owned(),
            hash: vec![7; 32],
            mode: KeyMode::Live,
            name: None,
            created_at: ctx.now(),
            revoked_at: None,
            last_used_at: None,
        };
        assert!(ctx.store.insert_api_key(&row, 2).await.unwrap());
        api.api.keys.changed();
        assert_eq!(acme.client.get(PATH).await.data()["company"], "Acme");
    }

    #[tokio::test]
    async fn only_the_operators_token_opens_the_operators_routes() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let operator = api.operator();
        let nobody = api.anyone().at(operator.router());
        for client in [
            nobody.clone(),
            nobody.with("authorization", &format!("Bearer {}", acme.key)),
            nobody.with("authorization", "Bearer "),
            nobody.with("x-api-key", api.api.ctx.operator_token.expose_secret()),
        ] {
            assert_eq!(
                client.get("/operator/partners").await.code(),
                "UNAUTHORIZED"
            );
            assert_eq!(
                client.post("/operator/partners", json!({})).await.code(),
                "UNAUTHORIZED"
            );
        }
        operator.get("/operator/partners").await.data();
    }

    #[tokio::test]
    async fn a_plan_that_the_settings_lost_is_our_failure() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let ctx = &api.api.ctx;
        ctx.store
            .set_partner_plan(acme.id, "gone", ctx.now())
            .await
            .unwrap();
        api.api.keys.changed();
        let answer = acme.client.get(PATH).await;
        assert_eq!(answer.code(), "INTERNAL");
        assert!(!String::from_utf8_lossy(&answer.body).contains("gone"));
    }
}
