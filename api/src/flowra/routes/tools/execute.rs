//! `POST /tools/execute/{slug}`: a tool run as a call, metered, limited and receipted like any other.

use std::sync::Arc;

use axum::{
    body::to_bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, StatusCode, header};
use latchkey_store::{JsonMap, Listed, ListingFilter, ListingOrder, ListingPage, Standing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    auth::Partner,
    error::{ApiError, Code},
    extract::{Body, Id, Path},
    flowra::{
        account,
        shape::Bare,
        tool::{self, Tool},
        user::Named,
    },
    reach::{self, Reached},
    reply::Result,
    routes::calls,
    state::Api,
};

/// With which connected account and which arguments.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ExecuteTool {
    /// With this one; left out: the newest of the external user's that reaches the toolkit.
    connected_account_id: Option<String>,
    /// As the tool's `inputParameters` say.
    #[schema(value_type = Option<Object>)]
    arguments: Option<JsonMap>,
    /// Accepted and ignored.
    #[serde(default, rename = "text")]
    _text: Option<String>,
    /// Accepted and ignored: there is one version.
    #[serde(default, rename = "version")]
    _version: Option<String>,
    /// Accepted and ignored.
    #[serde(default, rename = "allowTracing")]
    _allow_tracing: Option<bool>,
    /// Accepted and ignored.
    #[serde(default, rename = "mcpServerId")]
    _mcp_server_id: Option<String>,
    /// Accepted and ignored.
    #[serde(default, rename = "metaSessionId")]
    _meta_session_id: Option<String>,
    /// Refused: tokens go to the provider's own hosts.
    proxy_url: Option<Value>,
    /// Refused: credentials are those of the connected account.
    custom_auth_params: Option<Value>,
    /// Refused: connect an account first.
    custom_connection_data: Option<Value>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Executed {
    /// What the tool brought.
    data: Value,
    /// What went wrong at the provider.
    error: Option<String>,
    /// Whether nothing did.
    successful: bool,
    /// The call's receipt: `GET /calls` lists it. Of an accepted call, its job.
    #[schema(example = "call_019aa000000070008000000000000000")]
    log_id: Option<String>,
    /// Of a list: what is given as `cursor` for the page after this one. Left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Execute a tool
///
/// For the external user in `x-username`, else for the default user. With `Prefer: respond-async` the answer is 202
/// with the job in `data`.
#[utoipa::path(post, path = "/api/v1/tools/execute/{tool}", tag = "flowra: tools",
    request_body(content = ExecuteTool, example = json!({"arguments": {"recipient_email": "ada@example.com",
        "subject": "Hello", "body": "Hello Ada"}})),
    params(("tool" = String, Path, description = "Its slug", example = "GMAIL_SEND_EMAIL"),
        ("x-username" = Option<String>, Header, description = "The external user, made on first use"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`")),
    responses((status = 201, body = Executed), (status = 202, body = Executed, description = "Accepted")))]
pub(crate) async fn execute_tool(
    State(api): State<Arc<Api>>,
    partner: Partner,
    user: Named,
    Id(request_id): Id,
    Path(slug): Path<String>,
    headers: HeaderMap,
    body: Option<Body<ExecuteTool>>,
) -> Result<Response> {
    let tool = tool::find(&api, &slug)?;
    partner.may_reach(&tool.toolkit.provider.slug)?;
    let body = body.map(|Body(body)| body);
    if let Some(body) = &body {
        refuse(body)?;
    }
    let (named, arguments) = match body {
        Some(body) => (
            body.connected_account_id,
            body.arguments.unwrap_or_default(),
        ),
        None => (None, JsonMap::new()),
    };
    let planned = tool.plan(&arguments)?;
    // What does not fit is said before anybody looks for a connection.
    let fits = planned.found.build(&planned.query, &planned.body);
    fits.map_err(|error| tool.does_not_fit(tool::misfit(error)))?;
    let row = match named {
        Some(id) => by_id(&api, &partner, &user, tool, &id).await?,
        None => newest(&api, &partner, user, tool).await?,
    };
    may_run(&api, &partner, tool, &row).await?;
    let reached = reached(&api, &partner, tool, row).await?;
    calls::within_quota(&api, &partner).await?;
    let make = calls::make_named(
        &api,
        partner,
        request_id,
        &headers,
        &planned.found,
        reached,
        (&planned.query, &planned.body),
    );
    match make.await {
        Ok(response) => translate(tool, response).await,
        Err(error) => Err(tool.does_not_fit(error)),
    }
}

/// What would send tokens elsewhere, or others than ours, is refused by name.
fn refuse(body: &ExecuteTool) -> Result<()> {
    let given = [
        (
            "proxyUrl",
            &body.proxy_url,
            "tokens go to the provider's own hosts alone",
        ),
        (
            "customAuthParams",
            &body.custom_auth_params,
            "credentials are those of the connected account",
        ),
        (
            "customConnectionData",
            &body.custom_connection_data,
            "connect an account first",
        ),
    ];
    match given.into_iter().find(|(_, value, _)| value.is_some()) {
        Some((field, _, why)) => Err(ApiError::field(field, format!("is not supported: {why}"))),
        None => Ok(()),
    }
}

async fn by_id(
    api: &Api,
    partner: &Partner,
    user: &Named,
    tool: Tool<'_>,
    id: &str,
) -> Result<Listed> {
    let row = account::find(api, partner, user, id)
        .await
        .map_err(|error| match error.code {
            Code::NotFound => ApiError {
                details: ApiError::field("connectedAccountId", "is no connected account").details,
                ..error
            },
            _ => error,
        })?;
    if account::provider_of(&row) != tool.toolkit.provider.slug {
        let said = format!(
            "is connected to '{}', not to {}",
            account::provider_of(&row),
            tool.toolkit.slug()
        );
        return Err(ApiError::field("connectedAccountId", said));
    }
    Ok(row)
}

/// The user's newest connection that reaches the toolkit: one that works, if there is any.
async fn newest(api: &Api, partner: &Partner, user: Named, tool: Tool<'_>) -> Result<Listed> {
    let account = user.or_default(api, partner).await?;
    let standings = [
        vec![Standing::Active],
        vec![
            Standing::Paused,
            Standing::Ended,
            Standing::Lost,
            Standing::NeedsUser,
        ],
    ];
    let page = ListingPage {
        order: ListingOrder::Created,
        ascending: false,
        after: None,
        limit: 1,
    };
    for standings in standings {
        let filter = ListingFilter {
            accounts: Some(vec![account.id]),
            toolkits: Some(vec![tool.toolkit.slug()]),
            standings: Some(standings),
            ..ListingFilter::default()
        };
        let store = &api.ctx.store;
        let keys = store
            .list_listed(partner.id, &filter, &page, api.ctx.now())
            .await?;
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        if let Some(row) = store.read_listed(partner.id, &ids).await?.pop() {
            return Ok(row);
        }
    }
    let text = format!(
        "The external user '{}' has no connected account for {}. Begin with POST /api/v1/connected_accounts/link.",
        account.external_id,
        tool.toolkit.slug()
    );
    Err(ApiError::new(Code::ConnectionNotFound, text))
}

/// Refuses a tool that the connection's auth config leaves out.
async fn may_run(api: &Api, partner: &Partner, tool: Tool<'_>, row: &Listed) -> Result<()> {
    let config = account::config_of(row);
    let found = api
        .ctx
        .store
        .find_offered_configs(partner.id, &[config])
        .await?;
    let only = found.into_iter().next().and_then(|row| row.offer.tools);
    if only.is_none_or(|only| only.contains(&tool.slug())) {
        return Ok(());
    }
    let text = format!(
        "The auth config of this connected account does not allow {}.",
        tool.slug()
    );
    Err(ApiError::new(Code::ServiceDisabled, text))
}

/// The connection, if it can be used now.
async fn reached(
    api: &Api,
    partner: &Partner,
    tool: Tool<'_>,
    row: Listed,
) -> Result<Arc<Reached>> {
    let account = api
        .ctx
        .store
        .get_account(partner.id, account::account_of(&row))
        .await?;
    let account = account.ok_or_else(|| ApiError::not_found("connected account"))?;
    let Listed::Connection(listed) = row else {
        return Err(reach::not_connected(&account, &tool.toolkit.provider.slug));
    };
    let connection = listed.connection;
    reach::usable(&account, &connection, api.ctx.now())?;
    Ok(Arc::new(Reached {
        account,
        connection,
    }))
}

/// Turns the answer of a call into that of a tool.
async fn translate(tool: Tool<'_>, mut response: Response) -> Result<Response> {
    let call = response.headers().get("x-call-id");
    let log_id = call.and_then(|id| id.to_str().ok()).map(str::to_owned);
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if error.code != Code::ProviderError {
            return Err(tool.does_not_fit(error));
        }
        // The provider answered, and said no: the tool ran.
        let details = error.also.as_ref().and_then(|also| also.get("details"));
        return Ok(Bare::created(Executed {
            data: details.map_or(Value::Null, |details| details["body"].clone()),
            error: Some(error.message),
            successful: false,
            log_id,
            next_cursor: None,
        })
        .into_response());
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(ApiError::internal)?;
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let parsed = serde_json::from_slice::<Value>(&body).ok();
    let mut next_cursor = None;
    let data = match parsed.filter(|_| content_type.starts_with("application/json")) {
        Some(mut envelope) => {
            next_cursor = envelope["next_cursor"].as_str().map(str::to_owned);
            envelope["data"].take()
        }
        // A file.
        None => json!({"contentType": content_type, "base64": BASE64_STANDARD.encode(&body)}),
    };
    if parts.status == StatusCode::ACCEPTED {
        let log_id = data["job_id"].as_str().map(str::to_owned);
        let executed = Executed {
            data,
            error: None,
            successful: true,
            log_id,
            next_cursor: None,
        };
        let mut response = Bare(StatusCode::ACCEPTED, executed).into_response();
        let location = parts.headers.get(header::LOCATION).cloned();
        response
            .headers_mut()
            .extend(location.map(|to| (header::LOCATION, to)));
        return Ok(response);
    }
    Ok(Bare::created(Executed {
        data,
        error: None,
        successful: true,
        log_id,
        next_cursor,
    })
    .into_response())
}
