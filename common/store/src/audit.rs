//! The audit log: who did what to which row. Appended only.

use latchkey_domain::{AuditId, PartnerId, Timestamp};

use crate::{
    Result, Store,
    field::{JsonMap, record},
    sql::Sql,
};

record! {
    /// A line of the audit log.
    pub struct AuditRow in "audit_log" by "id" {
        /// Its id.
        pub id: AuditId,
        /// Whose data it is about.
        pub partner_id: PartnerId,
        /// Who did it (`key_…`, `operator`, `worker`, `scheduler`).
        pub actor: String,
        /// What was done (`account.delete`).
        pub action: String,
        /// To which row.
        pub subject: String,
        /// What else is worth knowing; never a secret.
        pub details: JsonMap,
        /// The request to us that caused it.
        pub request_id: Option<String>,
        /// When.
        pub created_at: Timestamp,
    }
}

impl Store {
    /// Appends a line.
    pub async fn append_audit(&self, row: &AuditRow) -> Result<()> {
        Sql::insert(row).run(&self.engine.write).await.map(drop)
    }

    /// A partner's lines, newest first, older than `before`.
    pub async fn list_audit(
        &self,
        partner: PartnerId,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditRow>> {
        Sql::select::<AuditRow>("WHERE partner_id = $1")
            .bind(&partner)
            .and_maybe("id <", before.as_ref())
            .number(" ORDER BY id DESC LIMIT", limit)
            .all(&self.engine.read)
            .await
    }
}
