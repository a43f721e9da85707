//! The roles, each in a process of its own.

use latchkey_tests::{Fleet, Sandbox, Server, ServerOptions};

/// Two APIs, two workers and two schedulers are one Latchkey: an account that is connected through one API is
/// called through the other, and the first screen says what each process is.
#[tokio::test]
async fn six_processes_are_one_latchkey() {
    let sandbox = Sandbox::start(&[]).await;
    let fleet = Fleet::start().await;
    let process = async |role| Server::join(&fleet, ServerOptions::default().role(role)).await;
    let (mut api, other) = (process("api").await, process("api").await);
    let mut workers = (process("worker").await, process("worker").await);
    let _schedulers = (process("scheduler").await, process("scheduler").await);
    api.sandbox_config(&sandbox).await;
    let partner = api.partner("test").await;
    partner.connected("user-1").await;
    let mut elsewhere = partner.clone();
    elsewhere.origin.clone_from(&other.url);
    let before = sandbox.count("api_calls").await;
    for n in 0..20 {
        let asked = if n % 2 == 0 { &partner } else { &elsewhere };
        let profile = asked
            .call("GET", "/sandbox/profile", "user-1", &[], None)
            .await;
        assert_eq!(profile.data()["sub"], "user-1");
    }
    assert_eq!(sandbox.count("api_calls").await, before + 20);
    for (process, role) in [(&mut api, "api"), (&mut workers.0, "worker")] {
        let engine = shown(process, "Engine").await;
        assert!(engine.starts_with("fleet"), "{engine}");
        let roles = shown(process, "Roles").await;
        assert!(roles.starts_with(role) && !roles.contains(','), "{roles}");
    }
}

/// A row of the first screen.
async fn shown(server: &mut Server, name: &str) -> String {
    loop {
        let line = server.process.line().await;
        if let Some(value) = line.trim_start().strip_prefix(name) {
            return value.trim_start().to_owned();
        }
    }
}
