//! Nothing secret in the log: everything a worker does, at trace level, and a search for every secret that
//! took part.

use std::{
    io,
    sync::{Arc, Mutex},
};

use latchkey_jobs::kinds::RevokeGrant;
use latchkey_sandbox::{DEFAULT_CLIENT_SECRET, Fault, FaultKind, Target};
use secrecy::ExposeSecret;
use tracing::{Dispatch, subscriber::NoSubscriber};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::{bench::Bench, caller::request};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_reaches_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("trace"))
        .with_writer(log.clone())
        .finish();
    // With a single subscriber in the process, tracing asks the default of whichever thread meets a line
    // first whether it is wanted, and the other tests' threads want none. With two it asks both.
    let _second = Dispatch::new(NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);
    let bench = Bench::new().await;
    let session = bench.session(bench.account, "alice").await;
    let (code, verifier) = (
        bench.open_session(&session, "code").await,
        bench.open_session(&session, "verifier").await,
    );
    let failed = bench.session(bench.account, "mallory").await;
    let mut secrets = vec![DEFAULT_CLIENT_SECRET.to_owned(), code, verifier];
    secrets.push(bench.open_session(&failed, "code").await);
    let job = bench.exchange_job(&session).await;
    bench.run(&job).await;
    bench
        .sandbox
        .fault(Fault::new(Target::Exchange, FaultKind::Garbage))
        .unwrap();
    let job = bench.exchange_job(&failed).await;
    bench.run(&job).await;
    let connection = bench.connect().await;
    for _ in 0..2 {
        let tokens = bench.tokens(&connection).await;
        secrets.push(tokens.access.expose_secret().to_owned());
        secrets.push(tokens.refresh.unwrap().expose_secret().to_owned());
        bench.sandbox.expire_access(None);
        let mut sent = request("POST", "/echo?api_key=canary-query");
        sent.headers
            .push(("x-canary".into(), "canary-header".into()));
        bench.ask(&bench.call(&connection, "api"), &sent).await;
    }
    secrets.extend(["canary-query", "canary-header", "the body"].map(str::to_owned));
    let now = bench.ctx().now();
    bench
        .ctx()
        .store
        .mark_disconnected(bench.partner, connection.row.id, None, now)
        .await
        .unwrap();
    let kind = RevokeGrant {
        grant: connection.grant.id,
        connection: connection.row.id,
    };
    let job = bench.job(&kind, None).await;
    bench.run(&job).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for said in ["connected", "done", "failed", &job.id.to_string()] {
        assert!(log.contains(said), "the log was not captured: no '{said}'");
    }
    for secret in secrets {
        let ours = log
            .lines()
            .filter(|line| line.contains(&secret))
            .find(|line| line.contains("latchkey"));
        assert!(ours.is_none(), "{}", ours.unwrap_or_default());
    }
}
