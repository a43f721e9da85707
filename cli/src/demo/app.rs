//! The partner's web app: the one page to which its users come back after connecting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, extract::Query, response::Html, routing::get};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use url::Url;

/// What a user's browser brought back, as it stood in the query.
pub(crate) type Landing = BTreeMap<String, String>;

/// The web app.
#[derive(Debug)]
pub(crate) struct WebApp {
    /// The page to come back to.
    pub(crate) url: Url,
    landings: Arc<Landings>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Landings {
    /// By connect session.
    seen: Mutex<BTreeMap<String, Landing>>,
    changed: Notify,
}

const PAGE: &str = "<!doctype html><title>Connected</title><style>body{font:1.1rem system-ui;margin:4rem}</style>\
    <h1>Back at the partner’s app</h1><p>The demo goes on in the terminal.</p>";

impl WebApp {
    /// Serves on a free loopback port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port for the partner's app")?;
        let url = format!("http://{}/connected", listener.local_addr()?).parse()?;
        let landings = Arc::new(Landings::default());
        let kept = Arc::clone(&landings);
        let landed = async move |Query(landing): Query<Landing>| {
            kept.keep(landing);
            Html(PAGE)
        };
        let router = Router::new().route("/connected", get(landed));
        let serving = tokio::spawn(async move {
            // It ends with the demo.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self {
            url,
            landings,
            serving,
        })
    }

    /// Waits until the user of this connect session is back.
    pub(crate) async fn landed(
        &self,
        session: &str,
        patience: Duration,
    ) -> anyhow::Result<Landing> {
        let back = async {
            loop {
                let mut changed = std::pin::pin!(self.landings.changed.notified());
                // Registered before looking, so that no landing falls between the two.
                changed.as_mut().enable();
                if let Some(landing) = self.landings.take(session) {
                    return landing;
                }
                changed.await;
            }
        };
        let back = tokio::time::timeout(patience, back).await;
        back.with_context(|| {
            format!(
                "nobody came back to {} within {} s",
                self.url,
                patience.as_secs()
            )
        })
    }
}

impl Drop for WebApp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Landings {
    fn keep(&self, landing: Landing) {
        if let Some(session) = landing.get("session_id").cloned() {
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(session, landing);
            self.changed.notify_waiters();
        }
    }

    fn take(&self, session: &str) -> Option<Landing> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(session)
    }
}
