//! `/partner`: the partner's own profile.

pub(crate) mod get;
pub(crate) mod update;

use latchkey_store::{Confirmation, PartnerRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{check::Checks, openapi::Time};

/// Characters of a company, a website and an email address.
pub(crate) const MAX_TEXT: usize = 255;
/// Characters of a use case.
pub(crate) const MAX_USE_CASE: usize = 1000;

/// A partner's profile.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profile {
    /// Its id.
    #[schema(example = "prt_019aa000000070008000000000000000")]
    id: String,
    /// Company.
    company: String,
    /// Website.
    website: String,
    /// Whom to write to.
    contact_email: Option<String>,
    /// What it builds.
    use_case: Option<String>,
    /// Its plan.
    #[schema(example = "free")]
    plan: String,
    /// `active`, `suspended` or `past_due`.
    #[schema(example = "active")]
    status: &'static str,
    /// Whether its backend confirms each connect session (`partner`) or the callback alone completes it (`none`).
    confirmation: ConfirmationSetting,
    /// Exactly these redirect URLs are accepted.
    redirect_urls: Vec<String>,
    /// When it was made.
    created_at: Time,
    /// When it last changed.
    updated_at: Time,
}

impl From<PartnerRow> for Profile {
    fn from(row: PartnerRow) -> Self {
        Self {
            id: row.id.to_string(),
            company: row.company,
            website: row.website,
            contact_email: row.contact_email,
            use_case: row.use_case,
            plan: row.plan,
            status: row.status.as_str(),
            confirmation: row.confirmation.into(),
            redirect_urls: row.redirect_urls,
            created_at: Time(row.created_at),
            updated_at: Time(row.updated_at),
        }
    }
}

/// Who completes a connect session. With `none`, whoever opens a connect link can bind an account of theirs
/// to your user; `partner` closes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConfirmationSetting {
    /// The provider's callback.
    None,
    /// The partner's backend.
    Partner,
}

impl From<ConfirmationSetting> for Confirmation {
    fn from(setting: ConfirmationSetting) -> Self {
        match setting {
            ConfirmationSetting::None => Self::None,
            ConfirmationSetting::Partner => Self::Partner,
        }
    }
}

impl From<Confirmation> for ConfirmationSetting {
    fn from(stored: Confirmation) -> Self {
        match stored {
            Confirmation::None => Self::None,
            Confirmation::Partner => Self::Partner,
        }
    }
}

/// Checks the parts of a profile that are given.
pub(crate) fn check_profile(
    checks: &mut Checks,
    company: Option<&str>,
    website: Option<&str>,
    contact_email: Option<&str>,
    use_case: Option<&str>,
) {
    checks.maybe_text("company", company, 1, MAX_TEXT);
    if let Some(website) = website {
        checks.web_url("website", website, MAX_TEXT);
    }
    if let Some(email) = contact_email {
        checks.text("contact_email", email, 3, MAX_TEXT);
        let parts = email.split_once('@');
        let whole = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
        checks.require(whole, "contact_email", "must be an email address");
    }
    if let Some(use_case) = use_case {
        checks.paragraph("use_case", use_case, MAX_USE_CASE);
    }
}
