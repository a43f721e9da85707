//! `POST /accounts`.

use std::sync::Arc;

use axum::extract::State;
use latchkey_domain::AccountId;
use latchkey_store::{AccountRow, JsonMap};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Account, MAX_TEXT, check_account};
use crate::{
    auth::Partner,
    check::Checks,
    error::{ApiError, Code},
    extract::Body,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// The account to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccount {
    /// Your name for this end user, 1–255 characters, unique among your accounts. Calls name the account by
    /// it in `X-Account-Id`.
    #[schema(example = "user_42")]
    external_id: String,
    /// A name for people, at most 255 characters: the connect page shows it.
    display_name: Option<String>,
    /// Your own data, at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<JsonMap>,
}

impl NewAccount {
    fn check(&self) -> Result<()> {
        let mut checks = Checks::default();
        checks.text("external_id", &self.external_id, 1, MAX_TEXT);
        // It travels in a header, where spaces at the ends are lost.
        let trimmed = self.external_id.trim() == self.external_id;
        checks.require(trimmed, "external_id", "must not begin or end with a space");
        check_account(
            &mut checks,
            self.display_name.as_deref(),
            self.metadata.as_ref(),
        );
        checks.finish()
    }
}

/// Make an account
#[utoipa::path(post, path = "/api/v1/accounts", tag = "accounts", request_body = NewAccount,
    responses((status = 200, body = Envelope<Account>)))]
pub(crate) async fn create_account(
    State(api): State<Arc<Api>>,
    partner: Partner,
    Body(body): Body<NewAccount>,
) -> Result<Reply<Account>> {
    body.check()?;
    let now = api.ctx.now();
    let row = AccountRow {
        id: AccountId::new(now, &*api.ctx.entropy),
        partner_id: partner.id,
        external_id: body.external_id,
        display_name: body.display_name,
        metadata: body.metadata.unwrap_or_default(),
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    match api.ctx.store.insert_account(&row).await {
        Ok(()) => Ok(Reply(row.into())),
        Err(error) if error.is_conflict() => Err(ApiError::new(
            Code::AlreadyExists,
            "An account with this external_id already exists. GET /accounts?external_id=… finds it.",
        )),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::testing::TestApi;

    const PATH: &str = "/api/v1/accounts";

    #[tokio::test]
    async fn an_account_is_made_once_per_external_id() {
        let api = TestApi::new().await;
        let (acme, other) = (api.partner("Acme").await, api.partner("Other").await);
        let body =
            json!({"external_id": "user_42", "display_name": "Ada", "metadata": {"team": [1]}});
        insta::assert_snapshot!(acme.client.post(PATH, body.clone()).await.shown(), @r#"
        200 OK
        {
          "data": {
            "created_at": "2026-11-21T20:00:00.000Z",
            "display_name": "Ada",
            "external_id": "user_42",
            "id": "<uuid>",
            "metadata": {
              "team": [
                1
              ]
            },
            "updated_at": "2026-11-21T20:00:00.000Z"
          },
          "ok": true
        }
        "#);
        insta::assert_snapshot!(acme.client.post(PATH, body.clone()).await.shown(), @r#"
        409 Conflict
        {
          "error": "An account with this external_id already exists. GET /accounts?external_id=… finds it.",
          "error_code": "ALREADY_EXISTS",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        assert_eq!(other.client.post(PATH, body).await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn limits_are_to_the_character() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let longest = json!({"external_id": "é".repeat(255), "display_name": "n".repeat(255),
            "metadata": {"k": "v".repeat(16 * 1024 - 8)}});
        acme.client.post(PATH, longest).await.data();
        let too_long = json!({"external_id": "x".repeat(256), "display_name": "n".repeat(256),
            "metadata": {"k": "v".repeat(16 * 1024 - 7)}});
        insta::assert_snapshot!(acme.client.post(PATH, too_long).await.shown(), @r#"
        400 Bad Request
        {
          "details": [
            {
              "field": "external_id",
              "problem": "must be 1 to 255 characters"
            },
            {
              "field": "display_name",
              "problem": "must be 1 to 255 characters"
            },
            {
              "field": "metadata",
              "problem": "must be at most 16384 bytes as JSON"
            }
          ],
          "error": "external_id must be 1 to 255 characters (and 2 more; see details)",
          "error_code": "INVALID_REQUEST",
          "ok": false,
          "request_id": "req_<id>"
        }
        "#);
        for external_id in ["", " a", "a ", "a\nb", "a\u{0}b"] {
            let answer = acme
                .client
                .post(PATH, json!({"external_id": external_id}))
                .await;
            assert_eq!(
                answer.json()["details"][0]["field"],
                "external_id",
                "{external_id:?}"
            );
        }
    }

    #[tokio::test]
    async fn bad_bodies_are_told_apart() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let typed = acme.client.with("content-type", "application/json");
        let bodies: [&[u8]; 8] = [
            b"",
            b"{\"external_id\": \"a\"",
            b"{\"external_id\": \"\xc3\x28\"}",
            b"[1]",
            b"{\"external_id\": 7}",
            b"{\"external_id\": \"a\", \"externalId\": \"a\"}",
            b"{\"external_id\": \"a\", \"metadata\": []}",
            b"{\"display_name\": \"a\"}",
        ];
        let mut said = Vec::new();
        for body in bodies {
            let answer = typed.send(Method::POST, PATH, body).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::BAD_REQUEST, "INVALID_REQUEST")
            );
            said.push(answer.json()["error"].as_str().unwrap().to_owned());
        }
        insta::assert_snapshot!(said.join("\n"), @r"
        This request needs a JSON object as its body.
        The body is not valid JSON: EOF while parsing an object at line 1 column 19.
        The body is not UTF-8: see byte 17.
        body: must be a JSON object
        external_id: invalid type: integer `7`, expected a string
        externalId: unknown field `externalId`, expected one of `external_id`, `display_name`, `metadata`
        metadata: invalid type: sequence, expected a map
        external_id: missing field `external_id`
        ");
        for (content_type, accepted) in [
            ("application/json; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let client = acme.client.with("content-type", content_type);
            let body = json!({"external_id": content_type.replace('/', "_")}).to_string();
            let answer = client.send(Method::POST, PATH, body).await;
            assert_eq!(answer.status.is_success(), accepted, "{content_type}");
        }
        let untyped = acme
            .client
            .send(Method::POST, PATH, "{\"external_id\":\"u\"}")
            .await;
        assert_eq!(untyped.json()["details"][0]["field"], "content-type");
    }

    #[tokio::test]
    async fn a_body_beyond_a_mebibyte_is_refused_with_or_without_its_length() {
        let api = TestApi::new().await;
        let acme = api.partner("Acme").await;
        let body = json!({"external_id": "a", "metadata": {"k": "v".repeat(1 << 20)}}).to_string();
        let typed = acme.client.with("content-type", "application/json");
        let measured = typed.with("content-length", &body.len().to_string());
        for client in [&typed, &measured] {
            let answer = client.send(Method::POST, PATH, body.clone()).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE")
            );
        }
    }
}
