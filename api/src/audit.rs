//! Lines of the audit log: who changed what. Written after the change; a line that cannot be written is
//! logged instead, because the change stands.

use latchkey_domain::{AuditId, PartnerId, RequestId};
use latchkey_store::{AuditRow, JsonMap};
use latchkey_telemetry::Chain;

use crate::{auth::Partner, state::Api};

/// A change to be noted.
#[derive(Clone, Debug)]
pub(crate) struct Change<'a> {
    /// Whose data it is about.
    pub(crate) partner: PartnerId,
    /// What was done (`account.delete`).
    pub(crate) action: &'static str,
    /// To which row.
    pub(crate) subject: &'a str,
    /// What else is worth knowing; never a secret.
    pub(crate) details: JsonMap,
}

/// Notes a change that a partner's key made.
pub(crate) async fn by_partner(
    api: &Api,
    partner: &Partner,
    id: RequestId,
    action: &'static str,
    subject: &str,
) {
    let change = Change {
        partner: partner.id,
        action,
        subject,
        details: JsonMap::new(),
    };
    append(api, &partner.key.to_string(), id, change).await;
}

/// Notes a change that the operator made.
pub(crate) async fn by_operator(api: &Api, id: RequestId, change: Change<'_>) {
    append(api, "operator", id, change).await;
}

async fn append(api: &Api, actor: &str, id: RequestId, change: Change<'_>) {
    let now = api.ctx.now();
    let row = AuditRow {
        id: AuditId::new(now, &*api.ctx.entropy),
        partner_id: change.partner,
        actor: actor.to_owned(),
        action: change.action.to_owned(),
        subject: change.subject.to_owned(),
        details: change.details,
        request_id: Some(id.to_string()),
        created_at: now,
    };
    if let Err(error) = api.ctx.store.append_audit(&row).await {
        tracing::error!(error = %Chain(&error), actor, action = row.action, subject = row.subject,
            "a change is missing in the audit log");
    }
}
