//! Partners: our customers, with their profile, plan, and the redirect URLs their users may come back to.
//! The operator is a partner row too ([`PartnerId::OPERATOR`]), made by the first migration: it owns the
//! shared auth configs and no accounts.

use latchkey_domain::{PartnerId, Timestamp, states::PartnerStatus};

use crate::{
    Result, Store,
    field::{record, state},
    sql::Sql,
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
        Sql::insert(row)
            .run(&self.engine.write)
            .await
            .map(drop)
            .map_err(|error| error.or_conflict("a partner with this id exists"))
    }

    /// One partner.
    pub async fn get_partner(&self, id: PartnerId) -> Result<Option<PartnerRow>> {
        Sql::select::<PartnerRow>("WHERE id = $1")
            .bind(&id)
            .one(&self.engine.read)
            .await
    }

    /// Partners in the order of their ids, after `after`, without the operator.
    pub async fn list_partners(
        &self,
        after: Option<PartnerId>,
        limit: u32,
    ) -> Result<Vec<PartnerRow>> {
        Sql::select::<PartnerRow>("WHERE id > $1")
            .bind(&after.unwrap_or(PartnerId::OPERATOR))
            .number(" ORDER BY id LIMIT", limit)
            .all(&self.engine.read)
            .await
    }

    /// Moves a partner to another status; `false` if it is not there or may not go there from its own.
    pub async fn set_partner_status(
        &self,
        id: PartnerId,
        status: PartnerStatus,
        now: Timestamp,
    ) -> Result<bool> {
        let from: Vec<_> = PartnerStatus::ALL
            .iter()
            .filter(|from| from.may_become(status))
            .collect();
        let mut sql = Sql::new("UPDATE partners SET status = $1, updated_at = $2 WHERE id = $3")
            .bind(&status)
            .bind(&now)
            .bind(&id);
        sql = sql.any_of("status", &from);
        Ok(sql.run(&self.engine.write).await? > 0)
    }

    /// Changes the profile and returns it.
    pub async fn update_partner(
        &self,
        id: PartnerId,
        change: &PartnerChange,
        now: Timestamp,
    ) -> Result<Option<PartnerRow>> {
        let mut tx = self.engine.begin().await?;
        let found: Option<PartnerRow> = Sql::select::<PartnerRow>("WHERE id = $1")
            .bind(&id)
            .push(self.engine.for_update())
            .one(&mut *tx)
            .await?;
        let Some(mut row) = found else {
            return Ok(None);
        };
        let change = change.clone();
        row.company = change.company.unwrap_or(row.company);
        row.website = change.website.unwrap_or(row.website);
        row.contact_email = change.contact_email.unwrap_or(row.contact_email);
        row.use_case = change.use_case.unwrap_or(row.use_case);
        row.confirmation = change.confirmation.unwrap_or(row.confirmation);
        row.updated_at = now;
        Sql::new(
            "UPDATE partners SET company = $1, website = $2, contact_email = $3, use_case = $4, \
             confirmation = $5, updated_at = $6 WHERE id = $7",
        )
        .bind(&row.company)
        .bind(&row.website)
        .bind(&row.contact_email)
        .bind(&row.use_case)
        .bind(&row.confirmation)
        .bind(&now)
        .bind(&id)
        .run(&mut *tx)
        .await?;
        self.engine.commit(tx).await?;
        Ok(Some(row))
    }

    /// Puts a partner on another plan; `false` if it is not there.
    pub async fn set_partner_plan(
        &self,
        id: PartnerId,
        plan: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = Sql::new("UPDATE partners SET plan = $1, updated_at = $2 WHERE id = $3")
            .text(plan)
            .bind(&now)
            .bind(&id)
            .run(&self.engine.write)
            .await?;
        Ok(changed > 0)
    }

    /// Replaces the list of redirect URLs; `false` if the partner is not there.
    pub async fn replace_redirect_urls(
        &self,
        id: PartnerId,
        urls: &[String],
        now: Timestamp,
    ) -> Result<bool> {
        let changed =
            Sql::new("UPDATE partners SET redirect_urls = $1, updated_at = $2 WHERE id = $3")
                .bind(&urls.to_vec())
                .bind(&now)
                .bind(&id)
                .run(&self.engine.write)
                .await?;
        Ok(changed > 0)
    }
}
