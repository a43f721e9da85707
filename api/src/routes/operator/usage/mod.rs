//! `/operator/usage`: a month's usage of all partners, and computing it anew from the ledger.

pub(crate) mod list;
pub(crate) mod rebuild;

use latchkey_domain::Timestamp;

use crate::{reply::Result, routes::usage::statement, state::Api};

/// Partners whose usage one request is about at most.
const PARTNERS: u32 = 100;

/// The beginning of the month that a request names; of this one if it names none.
fn month(api: &Api, period: Option<&str>) -> Result<Timestamp> {
    let now = api.ctx.now();
    match period {
        Some(period) => statement::month(period, now),
        None => Ok(now.month_start(0)),
    }
}
