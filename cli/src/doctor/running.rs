//! Checks of a server that runs on the data directory, and of what would keep one from starting.

use std::net::SocketAddr;

use axum::http::Method;
use latchkey_runtime::{DataDir, RunFile, StartError};

use crate::{
    doctor::{Finding, Subject},
    http::{Answer, Http, Request},
};

/// Who uses the data directory.
#[derive(Debug)]
pub(super) struct Server {
    /// What it tells of itself.
    run: Option<RunFile>,
    /// What its `/readyz` says, if it answers.
    ready: Option<Answer>,
}

/// Looks who uses the directory, if somebody does, without making it.
pub(super) async fn look(subject: &Subject) -> Option<Server> {
    let path = &subject.config.data_dir;
    // A directory without a lock file was never used; looking must not make one.
    if !path.join("lock").exists() {
        return None;
    }
    match DataDir::lock(path) {
        Err(StartError::InUse { .. }) => {}
        // Free, or not usable: `data-dir` says which.
        Ok(_) | Err(_) => return None,
    }
    let run = RunFile::read(path).ok().flatten();
    let ready = match &run {
        Some(run) => get(&format!("{}/readyz", run.admin_url)).await,
        None => None,
    };
    Some(Server { run, ready })
}

async fn get(url: &str) -> Option<Answer> {
    let request = Request::new(Method::GET, url.parse().ok()?);
    Http::new().ok()?.send(request).await.ok()
}

/// What a server that runs says of itself, or whether one could start.
pub(super) async fn findings(subject: &Subject, server: Option<&Server>) -> Vec<Finding> {
    match server {
        None => vec![
            Finding::ok("server", "none runs on this data directory"),
            address(subject),
            public_url(subject, None).await,
        ],
        Some(Server { run, ready }) => {
            let ready = self::ready(run.as_ref(), ready.as_ref());
            vec![ready, public_url(subject, run.as_ref()).await]
        }
    }
}

fn ready(run: Option<&RunFile>, ready: Option<&Answer>) -> Finding {
    const CHECK: &str = "server";
    let (Some(run), Some(answer)) = (run, ready) else {
        let who = run.map_or(String::new(), |run| format!(" (process {})", run.pid));
        let found = format!("something{who} holds the data directory and does not answer");
        let fix =
            "another command may be at work: try again; else look at that process and restart it";
        return Finding::fail(CHECK, found, fix);
    };
    if answer.status == 200 {
        return Finding::ok(
            CHECK,
            format!(
                "version {} runs as process {} and is ready",
                run.version, run.pid
            ),
        );
    }
    let found = format!("process {} is not ready: {}", run.pid, answer.text());
    Finding::fail(
        CHECK,
        found,
        "the answer names the check; its log says more",
    )
}

/// The addresses to listen on: free, as far as can be seen.
fn address(subject: &Subject) -> Finding {
    const CHECK: &str = "addresses";
    let config = &subject.config;
    for (flag, address) in [
        ("--listen", config.listen),
        ("--admin-listen", config.admin_listen),
    ] {
        if let Err(error) = std::net::TcpListener::bind(address) {
            // A server that is started with other flags would not mind.
            let fix = format!("choose another with {flag}, or end what listens there");
            return Finding::warn(CHECK, format!("cannot listen on {address}: {error}"), fix);
        }
    }
    if exposed(config.admin_listen) {
        let found = format!(
            "the admin port listens on {}, beyond this machine",
            config.admin_listen
        );
        let fix = "listen on a loopback or private address: its routes make partners and change credentials";
        return Finding::warn(CHECK, found, fix);
    }
    Finding::ok(
        CHECK,
        format!("{} and {} are free", config.listen, config.admin_listen),
    )
}

fn exposed(address: SocketAddr) -> bool {
    let ip = address.ip();
    let private = match ip {
        std::net::IpAddr::V4(v4) => v4.is_private(),
        std::net::IpAddr::V6(v6) => v6.is_unique_local(),
    };
    !ip.is_loopback() && !private
}

/// The public URL: what browsers and providers come back to.
async fn public_url(subject: &Subject, run: Option<&RunFile>) -> Finding {
    const CHECK: &str = "public-url";
    let origin = run.map_or_else(
        || subject.config.public_origin(),
        |run| run.public_url.clone(),
    );
    let Some(run) = run else {
        return Finding::ok(
            CHECK,
            format!("{origin}; not tried, because no server runs"),
        );
    };
    match get(&format!("{}/api/v1/health", run.public_url)).await {
        Some(answer) if answer.status == 200 => Finding::ok(CHECK, format!("{origin} answers")),
        other => {
            let answered = other.map_or("nothing".to_owned(), |answer| {
                format!("status {}", answer.status)
            });
            let found = format!("{origin} answers {answered} from this machine");
            let listen = subject.config.listen;
            let fix = format!("make {origin} lead to {listen}; if others reach it, all is well");
            Finding::warn(CHECK, found, fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use latchkey_domain::Timestamp;
    use secrecy::SecretString;

    use super::*;
    use crate::doctor::{State, tests::subject};

    fn publish(dir: &DataDir, admin_url: &str, public_url: &str) {
        let run = RunFile {
            pid: std::process::id(),
            public_url: public_url.into(),
            admin_url: admin_url.into(),
            sandbox_url: None,
            operator_token: SecretString::from("t"),
            started_at: Timestamp::from_secs(1),
            version: "0".into(),
        };
        dir.publish(&run).unwrap();
    }

    /// A server that answers every request with this status; gives its URL.
    async fn answering(status: u16) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        let router = axum::Router::new()
            .fallback(move || async move { (status, "store: the disk is full") });
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn states(subject: &Subject) -> Vec<(&'static str, State)> {
        let server = look(subject).await;
        findings(subject, server.as_ref())
            .await
            .iter()
            .map(|f| (f.check, f.state))
            .collect()
    }

    #[tokio::test]
    async fn a_holder_that_does_not_answer_or_is_not_ready_fails() {
        let (_temp, subject) = subject(&[]);
        let dir = DataDir::lock(&subject.config.data_dir).unwrap();
        assert_eq!(
            states(&subject).await[0],
            ("server", State::Fail),
            "no run.json"
        );
        let (ready, not) = (answering(200).await, answering(503).await);
        publish(&dir, &not, &ready);
        assert_eq!(
            states(&subject).await,
            [("server", State::Fail), ("public-url", State::Ok)]
        );
        publish(&dir, &ready, &not);
        assert_eq!(
            states(&subject).await,
            [("server", State::Ok), ("public-url", State::Warn)]
        );
        drop(dir);
        assert_eq!(
            states(&subject).await[0],
            ("server", State::Ok),
            "gone, run.json left behind"
        );
    }

    #[tokio::test]
    async fn a_taken_address_and_an_open_admin_port_warn() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let (_temp, busy) = subject(&[("admin_listen", &address)]);
        let finding = self::address(&busy);
        assert_eq!(finding.state, State::Warn);
        assert!(finding.fix.unwrap().contains("--admin-listen"));
        let (_temp, open) = subject(&[("admin_listen", "0.0.0.0:0")]);
        assert_eq!(self::address(&open).state, State::Warn);
        fs::metadata(&open.config.data_dir).unwrap_err();
    }
}
