//! Who asks: the partner behind an API key, or the operator behind its token.
//!
//! A key that its checksum refuses never reaches the store. Others are looked up by their public prefix and
//! compared by peppered hash in constant time. What was found is kept for [`keys::KEPT`], so that a revoked key or
//! a suspended partner is refused everywhere within that time, and at once on the server that changed it.

mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use latchkey_domain::{KeyId, PartnerId, plan::Plan, states::PartnerStatus};
use latchkey_store::{KeyMode, PartnerRow};
use latchkey_vault::{ApiKey, digest, same};
use secrecy::ExposeSecret;

pub(crate) use self::keys::Keys;
use crate::{
    error::{ApiError, Code},
    state::Api,
};

/// The provider that test keys reach.
const SANDBOX: &str = "sandbox";

/// The partner that asks, as its key says. Part of every handler for partners.
#[derive(Clone, Debug)]
pub(crate) struct Partner {
    /// Its id.
    pub(crate) id: PartnerId,
    /// Its row, at most [`keys::KEPT`] old.
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

    /// Refuses a test key to change `what`, which live keys' users meet too.
    pub(crate) fn may_change(&self, what: &str) -> Result<(), ApiError> {
        if self.mode == KeyMode::Live {
            return Ok(());
        }
        Err(ApiError::new(
            Code::TestKeyOnlySandbox,
            format!(
                "A test key does not change {what}, which live users meet too. Use a live key."
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
