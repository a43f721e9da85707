//! `POST /operator/partners/{id}/keys`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_store::JsonMap;

use crate::{
    audit::{self, Change},
    extract::{Body, Id, Path},
    reply::{Envelope, Reply, Result},
    routes::{
        operator::find_partner,
        partner_keys::{MadeKey, NewKey, make},
    },
    state::Api,
};

/// Make a key for a partner
#[utoipa::path(post, path = "/operator/partners/{partner_id}/keys", tag = "keys", request_body = Option<NewKey>,
    params(("partner_id" = String, Path, description = "Its id (`prt_…`)")),
    responses((status = 200, body = Envelope<MadeKey>)))]
pub(crate) async fn create_key(
    State(api): State<Arc<Api>>,
    Id(request_id): Id,
    Path(partner): Path<String>,
    body: Option<Body<NewKey>>,
) -> Result<Reply<MadeKey>> {
    let row = find_partner(&api, &partner).await?;
    let made = make(&api, row.id, body.map(|Body(new)| new).unwrap_or_default()).await?;
    let change = Change {
        partner: row.id,
        action: "key.create",
        subject: made.id(),
        details: JsonMap::new(),
    };
    audit::by_operator(&api, request_id, change).await;
    Ok(Reply(made))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use crate::testing::TestApi;

    #[tokio::test]
    async fn a_lost_key_is_replaced() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let operator = api.operator();
        let path = format!("/operator/partners/{}/keys", acme.id);
        let made = operator.send(Method::POST, &path, "").await.data();
        let new = api
            .anyone()
            .with("x-api-key", made["key"].as_str().unwrap());
        new.get("/api/v1/partner").await.data();
        let listed = operator.get(&path).await.data();
        assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
        let lost = listed["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|k| k["id"] != made["id"])
            .unwrap();
        let lost = format!("{path}/{}", lost["id"].as_str().unwrap());
        assert_eq!(operator.delete(&lost).await.data()["deleted"], true);
        assert_eq!(
            acme.client.get("/api/v1/partner").await.code(),
            "UNAUTHORIZED"
        );
        for nobody in ["prt_00000000000000000000000000000000", "prt_1", "x"] {
            let path = format!("/operator/partners/{nobody}/keys");
            assert_eq!(
                operator.post(&path, json!({})).await.code(),
                "NOT_FOUND",
                "{nobody}"
            );
        }
    }
}
