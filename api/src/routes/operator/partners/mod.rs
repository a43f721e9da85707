//! `/operator/partners`.

pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod update;

use crate::{check::Checks, state::Api};

/// Checks that the settings have this plan.
fn check_plan(api: &Api, checks: &mut Checks, plan: Option<&str>) {
    let Some(plan) = plan else { return };
    let plans: Vec<_> = api.ctx.config.plans.keys().map(String::as_str).collect();
    checks.require(
        plans.contains(&plan),
        "plan",
        format!("must be one of {}", plans.join(", ")),
    );
}
