//! The bare loop: the same token requests to the same sandbox at the same concurrency, with nothing around
//! them.

use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use latchkey_domain::{Clock, SystemClock};
use latchkey_sandbox::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, SeededGrant};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::{Url, form_urlencoded};

/// Token requests a second: each grant is refreshed once.
pub(crate) async fn per_second(
    sandbox: &Url,
    grants: &[SeededGrant],
    concurrency: usize,
) -> anyhow::Result<f64> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(concurrency)
        .build()?;
    let url = sandbox.join("/oauth/token")?;
    let bodies: Vec<String> = grants.iter().map(body).collect();
    let begun = SystemClock.monotonic();
    stream::iter(bodies)
        .map(|body| send(&client, &url, body))
        .buffer_unordered(concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    let took = SystemClock.monotonic().saturating_sub(begun);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = grants.len() as f64;
    Ok(count / took.as_secs_f64().max(f64::EPSILON))
}

fn body(grant: &SeededGrant) -> String {
    let refresh = grant.refresh_token.as_deref().unwrap_or_default();
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", refresh)
        .append_pair("client_id", DEFAULT_CLIENT_ID)
        .append_pair("client_secret", DEFAULT_CLIENT_SECRET)
        .finish()
}

#[expect(
    clippy::disallowed_methods,
    reason = "to our own sandbox, never to a provider"
)]
async fn send(client: &reqwest::Client, url: &Url, body: String) -> anyhow::Result<()> {
    let mut request = reqwest::Request::new(reqwest::Method::POST, url.clone());
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form);
    *request.body_mut() = Some(body.into());
    let answer = client.execute(request).await.context("the bare loop")?;
    ensure!(
        answer.status() == 200,
        "the sandbox answered {}",
        answer.status()
    );
    answer.bytes().await?;
    Ok(())
}
