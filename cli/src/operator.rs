//! The operator's side, reached in one of two ways: beside a running server through its admin port, or
//! without one by opening the data directory. In a fleet, whose database is open to every process, it is
//! always the second. Both end in the same routes of the API crate, so a command cannot tell which it was.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    http::{Method, header},
};
use latchkey_domain::{SystemClock, SystemEntropy};
use latchkey_runtime::{Config, Context, DataDir, RunFile, StartError, Stopper};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tower::ServiceExt;
use url::Url;

use crate::{
    failure::asked_wrongly,
    http::{Http, Request},
    output::note,
};

/// How long a server that is just starting, or another command, is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of an answer of the routes in this process: lists are paged.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// The operator's side of one data directory.
pub(crate) enum Operator {
    /// A server runs.
    Remote {
        /// The client.
        http: Http,
        /// Its admin port and token.
        run: RunFile,
    },
    /// None does, and this process holds the directory; or none is needed.
    Local {
        /// The same routes, in this process.
        routes: Router,
        /// What they work with.
        context: Box<Context>,
        /// The lock.
        _dir: Option<DataDir>,
    },
}

impl Operator {
    /// Finds the server of the data directory, or opens the directory.
    ///
    /// # Errors
    /// When the directory is held by something that does not answer, or does not open.
    pub(crate) async fn open(config: Config) -> anyhow::Result<Self> {
        if config.is_fleet() {
            return Self::local(config, None).await;
        }
        let mut looks = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
        loop {
            let held = match DataDir::lock(&config.data_dir) {
                Ok(dir) => return Self::local(config, Some(dir)).await,
                Err(held @ StartError::InUse { .. }) => held,
                Err(error) => return Err(error.into()),
            };
            if let Some(remote) = running(&config.data_dir).await? {
                return Ok(remote);
            }
            looks = looks.saturating_sub(1);
            if looks == 0 {
                return Err(anyhow::Error::new(held).context("the server there does not answer"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn local(config: Config, dir: Option<DataDir>) -> anyhow::Result<Self> {
        // Asked in another directory than the server's, a command would otherwise answer of an empty store.
        if let Some(dir) = &dir
            && !dir.path().join("latchkey.db").exists()
        {
            note(&format!(
                "No server runs on {}, and nothing was there: a new store is made. If your server uses another \
                 directory, name it with --data-dir.",
                config.data_dir.display()
            ));
        }
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let context = Context::open(config, clock, entropy, Stopper::new()).await?;
        let routes = latchkey_api::operator_router(context.clone());
        Ok(Self::Local {
            routes,
            context: Box::new(context),
            _dir: dir,
        })
    }

    /// Asks for `path` below `/operator/`; gives the answer's data.
    ///
    /// # Errors
    /// What the server says against it; asked wrongly if it does not understand the request.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let (status, answer) = match self {
            Self::Remote { http, run } => {
                let url: Url = format!("{}/operator/{path}", run.admin_url)
                    .parse()
                    .context("run.json holds no usable admin URL")?;
                let mut request =
                    Request::new(method, url).bearer(run.operator_token.expose_secret())?;
                if let Some(body) = body {
                    request = request.json(&body)?;
                }
                let answer = http.send(request).await?;
                (answer.status, answer.json())
            }
            Self::Local {
                routes, context, ..
            } => here(routes, &context.operator_token, method, path, body).await?,
        };
        understood(status, answer)
    }

    /// Lets the directory go.
    pub(crate) async fn close(self) {
        if let Self::Local { context, .. } = self {
            context.store.close().await;
        }
    }
}

/// Asks the routes in this process.
pub(crate) async fn here(
    routes: &Router,
    token: &SecretString,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(u16, Value)> {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(format!("/operator/{path}"))
        .header(
            header::AUTHORIZATION,
            format!("Bearer {}", token.expose_secret()),
        )
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))?;
    let answer = routes.clone().oneshot(request).await?;
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(answer.into_body(), MAX_ANSWER).await?;
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

/// The data of an answer, or its error.
pub(crate) fn understood(status: u16, mut answer: Value) -> anyhow::Result<Value> {
    if answer["ok"] == true {
        return Ok(answer["data"].take());
    }
    let details = answer["details"]
        .as_array()
        .filter(|details| details.len() > 1);
    let text = match details {
        // The text speaks of the first wrong field only.
        Some(details) => details.iter().map(field).collect::<Vec<_>>().join("; "),
        None => answer["error"]
            .as_str()
            .map_or_else(|| format!("status {status}"), str::to_owned),
    };
    match status {
        400 | 404 | 409 | 422 => Err(asked_wrongly(text)),
        _ => Err(anyhow::Error::msg(text)),
    }
}

fn field(detail: &Value) -> String {
    let word = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
    format!("{} {}", word("field"), word("problem"))
}

/// The server that `run.json` names, if it lives.
async fn running(data_dir: &Path) -> anyhow::Result<Option<Operator>> {
    let Some(run) = RunFile::read(data_dir)? else {
        return Ok(None);
    };
    let http = Http::new()?;
    let Ok(url) = format!("{}/livez", run.admin_url).parse() else {
        return Ok(None);
    };
    // The file of a server that was killed leads nowhere.
    let alive = http
        .send(Request::new(Method::GET, url))
        .await
        .is_ok_and(|answer| answer.status == 200);
    Ok(alive.then_some(Operator::Remote { http, run }))
}
