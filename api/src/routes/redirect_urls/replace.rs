//! `PUT /partner/redirect_urls`: replaces the list.

use std::sync::Arc;

use axum::extract::State;

use super::{RedirectUrls, check_urls};
use crate::{
    audit,
    auth::Partner,
    check::Checks,
    error::ApiError,
    extract::{Body, Id},
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Replace your redirect URLs
#[utoipa::path(put, path = "/api/v1/partner/redirect_urls", tag = "partner", request_body = RedirectUrls,
    responses((status = 200, body = Envelope<RedirectUrls>)))]
pub(crate) async fn replace_redirect_urls(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Id(id): Id,
    Body(body): Body<RedirectUrls>,
) -> Result<Reply<RedirectUrls>> {
    partner.may_change("your redirect URLs")?;
    let mut checks = Checks::default();
    check_urls(&mut checks, &body.redirect_urls);
    checks.finish()?;
    let now = api.ctx.now();
    if !api
        .ctx
        .store
        .replace_redirect_urls(partner.id, &body.redirect_urls, now)
        .await?
    {
        return Err(ApiError::not_found("partner"));
    }
    api.keys.changed();
    let subject = partner.id.to_string();
    audit::by_partner(&api, &partner, id, "partner.redirect_urls", &subject).await;
    Ok(Reply(body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn the_whole_list_is_replaced_or_none_of_it() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let path = "/api/v1/partner/redirect_urls";
        let urls = json!({"redirect_urls": ["https://a.example/cb", "http://localhost:3000/cb"]});
        assert_eq!(acme.client.put(path, urls.clone()).await.data(), urls);
        let wrong = json!({"redirect_urls": ["https://b.example/cb", "http://b.example/cb",
            "https://b.example/cb", "https://b.example/#x", "https://*.b.example/"]});
        insta::assert_snapshot!(acme.client.put(path, wrong).await.shown(), @r#"
        400 Bad Request
        {
          "details": [
            {
              "field": "redirect_urls[1]",
              "problem": "must be https unless its host is localhost or a loopback address"
            },
            {
              "field": "redirect_urls[2]",
              "problem": "is listed twice"
            },
            {
              "field": "redirect_urls[3]",
              "problem": "must not hold a fragment (#…)"
            },
            {
              "field": "redirect_urls[4]",
              "problem": "must not hold a wildcard; register each URL"
            }
          ],
          "error": "redirect_urls[1] must be https unless its host is localhost or a loopback address (and 3 more; see details)",
          "error_code": "INVALID_REQUEST",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        let many: Vec<_> = (0..101).map(|n| format!("https://a.example/{n}")).collect();
        let many = acme.client.put(path, json!({"redirect_urls": many})).await;
        assert_eq!(many.json()["details"][0]["field"], "redirect_urls");
        assert_eq!(acme.client.get(path).await.data(), urls);
        assert_eq!(
            acme.client
                .put(path, json!({"redirect_urls": []}))
                .await
                .data()["redirect_urls"],
            json!([])
        );
    }
}
