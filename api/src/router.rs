//! The table of routes, grouped by who may ask. Adding an endpoint is a file under `routes/` and a line
//! here; the OpenAPI document and the coverage tests follow from the line.

use std::sync::Arc;

use axum::{Extension, Router, middleware, response::IntoResponse, routing::get};
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use latchkey_runtime::Context;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    docs,
    extract::BodyLimit,
    flowra::routes as flowra,
    idempotency, layers, openapi, pages,
    routes::{
        accounts, calls, connect, health, integrations, jobs, me, operator, partner, partner_keys,
        redirect_urls, tools, usage, webhook_secret,
    },
    state::Api,
};

type Routes = OpenApiRouter<Arc<Api>>;

/// For anyone: no key.
fn public() -> Routes {
    OpenApiRouter::with_openapi(openapi::partners())
        .routes(routes!(health::health))
        .routes(routes!(connect::callback::callback))
}

/// For partners, with a key: managing.
fn partners() -> Routes {
    Routes::new()
        .routes(routes!(
            partner::get::get_partner,
            partner::update::update_partner
        ))
        .routes(routes!(
            partner_keys::create::create_key,
            partner_keys::list::list_keys
        ))
        .routes(routes!(partner_keys::revoke::revoke_key))
        .routes(routes!(
            redirect_urls::get::get_redirect_urls,
            redirect_urls::replace::replace_redirect_urls
        ))
        .routes(routes!(
            webhook_secret::get::get_webhook_secret,
            webhook_secret::rotate::rotate_webhook_secret
        ))
        .routes(routes!(
            accounts::create::create_account,
            accounts::list::list_accounts
        ))
        .routes(routes!(
            accounts::get::get_account,
            accounts::update::update_account,
            accounts::delete::delete_account
        ))
        .routes(routes!(connect::create::create_connect_session))
        .routes(routes!(connect::get::get_connect_session))
        .routes(routes!(connect::complete::complete_connect_session))
        .routes(routes!(integrations::list::list_integrations))
        .routes(routes!(integrations::list_default::list_own_integrations))
        .routes(routes!(
            integrations::update::update_integration,
            integrations::delete::disconnect_integration
        ))
        .routes(routes!(integrations::refresh::refresh_integration))
        .routes(routes!(jobs::list::list_jobs))
        .routes(routes!(jobs::get::get_job, jobs::cancel::cancel_job))
        .routes(routes!(usage::statement::get_statement))
        .routes(routes!(me::get_me))
        .routes(routes!(tools::search::search_tools))
        .routes(routes!(tools::by_provider::list_tools_of_provider))
        .routes(routes!(tools::by_service::list_tools_of_service))
}

/// For partners, with a key: Flowra's side.
fn flowra_partners() -> Routes {
    Routes::new()
        .routes(routes!(
            flowra::auth_configs::create::create_auth_config,
            flowra::auth_configs::list::list_auth_configs
        ))
        .routes(routes!(
            flowra::auth_configs::get::get_auth_config,
            flowra::auth_configs::update::update_auth_config,
            flowra::auth_configs::delete::delete_auth_config
        ))
        .routes(routes!(
            flowra::auth_configs::status::set_auth_config_status
        ))
        .routes(routes!(
            flowra::connected_accounts::import::import_account,
            flowra::connected_accounts::list::list_connected_accounts
        ))
        .routes(routes!(flowra::connected_accounts::link::create_link))
        .routes(routes!(
            flowra::connected_accounts::grouped::grouped_by_toolkit
        ))
        .routes(routes!(
            flowra::connected_accounts::get::get_connected_account,
            flowra::connected_accounts::update::update_connected_account,
            flowra::connected_accounts::delete::delete_connected_account
        ))
        .routes(routes!(
            flowra::connected_accounts::status::set_connected_account_status
        ))
        .routes(routes!(
            flowra::connected_accounts::refresh::refresh_connected_account
        ))
        .routes(routes!(
            flowra::external_users::create::create_external_user,
            flowra::external_users::list::list_external_users
        ))
        .routes(routes!(flowra::external_users::by_name::find_external_user))
        .routes(routes!(
            flowra::external_users::toggle::toggle_external_user
        ))
        .routes(routes!(flowra::toolkits::list::list_toolkits))
        .routes(routes!(flowra::toolkits::categories::list_categories))
        .routes(routes!(flowra::toolkits::get::get_toolkit_by_id))
        .routes(routes!(flowra::toolkits::get::get_toolkit))
        .routes(routes!(flowra::tools::list::list_tools))
        .routes(routes!(flowra::tools::get::get_tool))
        .routes(routes!(flowra::tools::execute::execute_tool))
        .routes(routes!(flowra::usage::balance::get_balance))
        .routes(routes!(flowra::usage::list::get_usage))
}

/// For the operator, on the admin listener.
fn operators() -> Routes {
    OpenApiRouter::with_openapi(openapi::operator())
        .routes(routes!(
            operator::partners::create::create_partner,
            operator::partners::list::list_partners
        ))
        .routes(routes!(
            operator::partners::get::get_partner,
            operator::partners::update::update_partner
        ))
        .routes(routes!(
            operator::keys::create::create_key,
            operator::keys::list::list_keys
        ))
        .routes(routes!(operator::keys::revoke::revoke_key))
        .routes(routes!(operator::usage::list::list_usage))
        .routes(routes!(operator::usage::rebuild::rebuild_usage))
        .routes(routes!(
            operator::auth_configs::create::create_auth_config,
            operator::auth_configs::list::list_auth_configs
        ))
        .routes(routes!(operator::connections::get::get_connection))
        .routes(routes!(
            operator::auth_configs::get::get_auth_config,
            operator::auth_configs::update::update_auth_config
        ))
        .routes(routes!(operator::jobs::list::list_jobs))
        .routes(routes!(operator::jobs::retry::retry_job))
        .routes(routes!(operator::jobs::cancel::cancel_job))
}

/// The public API and the operator's, sharing their caches: what the operator changes shows at once.
pub fn routers(ctx: Context) -> (Router, Router) {
    let api = Arc::new(Api::new(ctx));
    (public_router(&api), admin_router(&api))
}

/// The public API alone.
pub fn router(ctx: Context) -> Router {
    public_router(&Arc::new(Api::new(ctx)))
}

/// The operator's routes alone, for a command that works without a server.
pub fn operator_router(ctx: Context) -> Router {
    admin_router(&Arc::new(Api::new(ctx)))
}

/// The public API over this state.
pub(crate) fn public_router(api: &Arc<Api>) -> Router {
    let http = &api.ctx.config.http;
    let routes = public()
        .layer(Extension(BodyLimit(http.body_max_bytes)))
        .merge(for_partners(api, partners(), http.body_max_bytes))
        .merge(for_partners(
            api,
            flowra_partners(),
            http.call_body_max_bytes,
        ))
        .merge(for_partners(api, calls::routes(), http.call_body_max_bytes));
    let (routes, document) = routes.split_for_parts();
    let document = openapi::finish(document);
    let routes = routes
        .route("/api/v1/openapi.json", get(async || json(document)))
        .merge(docs::routes())
        .merge(pages::routes())
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(api),
            layers::identify,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(api),
            layers::frame,
        ));
    routes.with_state(Arc::clone(api))
}

/// Surrounds routes that need a key, with bodies up to `body_limit` bytes.
fn for_partners(api: &Arc<Api>, routes: Routes, body_limit: usize) -> Routes {
    routes
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(api),
            idempotency::once,
        ))
        .route_layer(middleware::from_fn(layers::require_partner))
        .route_layer(Extension(BodyLimit(body_limit)))
}

/// The operator's routes over this state.
pub(crate) fn admin_router(api: &Arc<Api>) -> Router {
    let (routes, document) = operators().split_for_parts();
    let document = openapi::finish(document);
    routes
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(api),
            idempotency::once,
        ))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(api),
            layers::require_operator,
        ))
        .route_layer(Extension(BodyLimit(api.ctx.config.http.body_max_bytes)))
        .route("/operator/openapi.json", get(async || json(document)))
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(api),
            layers::frame,
        ))
        .with_state(Arc::clone(api))
}

fn json(document: Bytes) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        document,
    )
}
