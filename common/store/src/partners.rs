//! Partners: our customers, with their profile, plan, and the redirect URLs their users may come back to.
//! The operator is a partner row too ([`PartnerId::OPERATOR`]), made by the first migration: it owns the
//! shared auth configs and no accounts.

use latchkey_domain::{PartnerId, Timestamp, states::PartnerStatus};

use crate::{
    Result, Store,
    field::{record, state},
};

/// Whether the partner's backend must confirm who came back from the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Confirmation {
    /// The callback alone completes a connection.
    None,
    /// The partner's backend says that the right user came back (`architecture.md` §8).
    Partner,
}

impl Confirmation {
    /// The form kept in the store and used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partner => "partner",
        }
    }

    /// The value of this text, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "partner" => Some(Self::Partner),
            _ => None,
        }
    }
}
state!(Confirmation);

record! {
    /// A partner.
    pub struct PartnerRow in "partners" by "id" {
        /// Its id.
        pub id: PartnerId,
        /// Company, at most 255 characters.
        pub company: String,
        /// Website.
        pub website: String,
        /// Whom to write to.
        pub contact_email: Option<String>,
        /// What it builds, at most 1,000 characters.
        pub use_case: Option<String>,
        /// The name of its plan in the settings.
        pub plan: String,
        /// Whether it may use Latchkey.
        pub status: PartnerStatus,
        /// The default of its connect sessions.
        pub confirmation: Confirmation,
        /// Exactly these redirect URLs are accepted.
        pub redirect_urls: Vec<String>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it last changed.
        pub updated_at: Timestamp,
    }
}

/// What a partner may change of its profile; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartnerChange {
    /// Company.
    pub company: Option<String>,
    /// Website.
    pub website: Option<String>,
    /// Contact; the inner `None` clears it.
    pub contact_email: Option<Option<String>>,
    /// Use case; the inner `None` clears it.
    pub use_case: Option<Option<String>>,
    /// Default of its connect sessions.
    pub confirmation: Option<Confirmation>,
}

impl Store {
    /// Adds a partner.
    pub async fn insert_partner(&self, row: &PartnerRow) -> Result<()> {
        unimplemented!()
    }

    /// One partner.
    pub async fn get_partner(&self, id: PartnerId) -> Result<Option<PartnerRow>> {
        unimplemented!()
    }

    /// Partners in the order of their ids, after `after`, without the operator.
    pub async fn list_partners(
        &self,
        after: Option<PartnerId>,
        limit: u32,
    ) -> Result<Vec<PartnerRow>> {
        unimplemented!()
    }

    /// Moves a partner to another status; `false` if it is not there or may not go there from its own.
    pub async fn set_partner_status(
        &self,
        id: PartnerId,
        status: PartnerStatus,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Changes the profile and returns it.
    pub async fn update_partner(
        &self,
        id: PartnerId,
        change: &PartnerChange,
        now: Timestamp,
    ) -> Result<Option<PartnerRow>> {
        unimplemented!()
    }

    /// Puts a partner on another plan; `false` if it is not there.
    pub async fn set_partner_plan(
        &self,
        id: PartnerId,
        plan: &str,
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Replaces the list of redirect URLs; `false` if the partner is not there.
    pub async fn replace_redirect_urls(
        &self,
        id: PartnerId,
        urls: &[String],
        now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }
}
