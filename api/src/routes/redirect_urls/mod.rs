//! `/partner/redirect_urls`: where browsers may be sent back to.

pub(crate) mod get;
pub(crate) mod replace;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{check::Checks, redirect};

/// URLs that one partner may register.
const MAX_URLS: usize = 100;

/// The registered redirect URLs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedirectUrls {
    /// Each must be `https`, or `http` on a loopback host, without fragment, user name or wildcard. A
    /// session's `redirect_url` must be exactly one of them; on loopback hosts any port is taken.
    #[schema(example = json!(["https://app.example.com/connected", "http://localhost:3000/connected"]))]
    pub(crate) redirect_urls: Vec<String>,
}

/// Checks a list of redirect URLs.
pub(crate) fn check_urls(checks: &mut Checks, urls: &[String]) {
    let fits = urls.len() <= MAX_URLS;
    checks.require(
        fits,
        "redirect_urls",
        format!("must be at most {MAX_URLS} URLs"),
    );
    for (index, url) in urls.iter().take(MAX_URLS).enumerate() {
        let field = format!("redirect_urls[{index}]");
        if let Some(problem) = redirect::problem(url) {
            checks.require(false, &field, problem);
        }
        checks.require(!urls[..index].contains(url), &field, "is listed twice");
    }
}
