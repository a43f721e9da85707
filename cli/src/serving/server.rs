//! [`Server`]: the roles at work, and the order in which they come up and go down.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use axum::Router;
use latchkey_domain::{SystemClock, SystemEntropy};
use latchkey_runtime::{
    Context, DataDir, Role, RunFile, Stopper, admin,
    config::Config,
    context::key_file,
    listen::{self, ListenLimits},
};
use latchkey_sandbox::SandboxHandle;
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::serving::{Plan, sandbox, screen};

/// Requests in flight on the admin port at the end: a scrape, a command. They need no more.
const ADMIN_GRACE: Duration = Duration::from_secs(5);
/// What closing the store's connections may take after the grace. Nothing is lost without: they close with the process.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How one role ended.
type Ended = (&'static str, anyhow::Result<()>);

/// A server that runs.
pub(crate) struct Server {
    context: Context,
    dir: DataDir,
    /// What ends first at a stop: the roles through which work comes in.
    first: JoinSet<Ended>,
    /// What ends after them: the worker, which answers those who wait.
    then: JoinSet<Ended>,
    admin: JoinHandle<bool>,
    admin_stop: CancellationToken,
    sandbox: Option<SandboxHandle>,
}

impl Server {
    /// Brings everything up. Nothing is served before all of it can be.
    pub(crate) async fn start(plan: Plan) -> anyhow::Result<Self> {
        let Plan {
            mut config,
            roles,
            sandbox: sandbox_at,
            ..
        } = plan;
        latchkey_scheduler::check(&config).context("setting 'scheduler.usage_rollup'")?;
        let dir = if config.is_fleet() {
            DataDir::share(&config.data_dir)?
        } else {
            DataDir::lock(&config.data_dir)?
        };
        let sandbox = match sandbox_at {
            Some(address) => Some(sandbox::start(address, &mut config).await?),
            None => None,
        };
        // With port 0 the system chooses; from here on the settings hold what it chose.
        let public = if roles.contains(&Role::Api) {
            Some(bind(&mut config.listen).await?)
        } else {
            None
        };
        let admin = bind(&mut config.admin_listen).await?;
        let new_key = config.key.is_none() && !key_file(&config).exists();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let mut context = Context::open(config, clock, entropy, Stopper::new()).await?;
        if let Some(sandbox) = &sandbox {
            sandbox::play_all(&mut context, sandbox)?;
        }
        let (api_routes, operator) = latchkey_api::routers(context.clone());
        let auth_config = sandbox::auth_configs(&context, &operator, sandbox.as_ref()).await?;

        let admin_stop = CancellationToken::new();
        let mut routes = admin::router(context.clone());
        if public.is_some() {
            routes = routes.merge(operator);
        }
        let limits = limits(&context.config);
        let stop = admin_stop.clone();
        let admin = tokio::spawn(listen::serve(admin, routes, limits, stop, ADMIN_GRACE));
        let (mut first, mut then) = (JoinSet::new(), JoinSet::new());
        if let Some(public) = public {
            first.spawn(role("API", api(&context, api_routes, public)));
        }
        if roles.contains(&Role::Scheduler) {
            let scheduler = latchkey_scheduler::run(context.clone());
            first.spawn(role("scheduler", async {
                scheduler.await;
                Ok(())
            }));
        }
        if roles.contains(&Role::Worker) {
            let worker = latchkey_worker::run(context.clone());
            then.spawn(role("worker", async { Ok(worker.await?) }));
        }
        let sandbox_url = sandbox.as_ref().map(SandboxHandle::base_url);
        let run = run_file(&context, sandbox_url);
        dir.publish(&run)?;
        screen::show(&screen::Screen {
            run: &run,
            config: &context.config,
            roles: &roles,
            new_key,
            sandbox: sandbox_url.zip(auth_config.as_deref()),
        })?;
        Ok(Self {
            context,
            dir,
            first,
            then,
            admin,
            admin_stop,
            sandbox,
        })
    }

    /// Waits for a role to end before it was asked to: that is a failure.
    pub(crate) async fn role_failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.first.join_next() => ended,
            Some(ended) = self.then.join_next() => ended,
            else => return anyhow!("no role runs"),
        };
        match outcome(ended) {
            Err(error) => error,
            Ok(role) => anyhow!("the {role} ended without being asked to"),
        }
    }

    /// Stops in two steps and lets everything go.
    ///
    /// # Errors
    /// What did not finish within the grace, or how a role failed at the end.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let Self {
            context,
            dir,
            mut first,
            mut then,
            admin,
            admin_stop,
            sandbox,
        } = self;
        let stopper = &context.stopper;
        let grace = context.config.stop_grace;
        let deadline = context.clock.monotonic() + grace;
        let left = || deadline.saturating_sub(context.clock.monotonic());
        let steps = async {
            stopper.drain();
            let first = join(&mut first).await;
            stopper.finish();
            first.and(join(&mut then).await)
        };
        let ended = tokio::time::timeout(grace, steps).await;
        let finished = stopper.wait(left()).await;
        admin_stop.cancel();
        drop(admin.await);
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        dir.unpublish();
        // A pool whose database is away goes on looking for it, and closes when its callers have given up.
        drop(tokio::time::timeout(CLOSE_WITHIN, context.store.close()).await);
        match ended {
            Ok(joined) if finished => {
                tracing::info!("stopped; nothing was left in flight");
                joined
            }
            _ => bail!(
                "not everything finished within stop_grace_ms ({} ms); the next start heals what was cut",
                grace.as_millis()
            ),
        }
    }
}

/// Waits for all of these roles; gives the first failure.
async fn join(roles: &mut JoinSet<Ended>) -> anyhow::Result<()> {
    let mut all = Ok(());
    while let Some(ended) = roles.join_next().await {
        all = all.and(outcome(ended).map(drop));
    }
    all
}

fn outcome(ended: Result<Ended, JoinError>) -> anyhow::Result<&'static str> {
    match ended {
        Ok((role, done)) => done
            .with_context(|| format!("the {role} failed"))
            .map(|()| role),
        Err(panic) => Err(anyhow::Error::new(panic).context("a role panicked")),
    }
}

async fn role(name: &'static str, work: impl Future<Output = anyhow::Result<()>>) -> Ended {
    (name, work.await)
}

/// Serves until a stop begins, then until every caller has an answer.
fn api(
    context: &Context,
    routes: Router,
    listener: TcpListener,
) -> impl Future<Output = anyhow::Result<()>> + use<> {
    let (limits, grace) = (limits(&context.config), context.config.stop_grace);
    let stop = context.stopper.draining().clone();
    async move {
        let all = listen::serve(listener, routes, limits, stop, grace).await;
        anyhow::ensure!(all, "requests were still open after stop_grace_ms");
        Ok(())
    }
}

async fn bind(address: &mut std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = listen::bind(*address).await?;
    *address = listener
        .local_addr()
        .context("a listener without an address")?;
    Ok(listener)
}

fn limits(config: &Config) -> ListenLimits {
    ListenLimits {
        connections: config.http.connections_max,
        header_read_timeout: config.http.header_read_timeout,
        write_timeout: config.http.write_timeout,
    }
}

fn run_file(context: &Context, sandbox_url: Option<&str>) -> RunFile {
    RunFile {
        pid: std::process::id(),
        public_url: context.config.public_origin(),
        admin_url: format!("http://{}", context.config.admin_listen),
        sandbox_url: sandbox_url.map(str::to_owned),
        operator_token: context.operator_token.clone(),
        started_at: context.now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
