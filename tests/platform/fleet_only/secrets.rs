//! No secret stands readable where the processes of a fleet meet: not in PostgreSQL, and in nothing that Redis is
//! ever sent (`reliability.md` A13, A14).

use std::{path::Path, process::Stdio};

use latchkey_tests::{ServerOptions, until};
use tokio::process::Command;

use super::rig::Rig;
use crate::secrets;

/// Everything that Redis is told from now on, as `MONITOR` shows it.
async fn monitored(rig: &Rig) -> (tokio::process::Child, tempfile::NamedTempFile) {
    let heard = tempfile::NamedTempFile::new().unwrap();
    let address = url::Url::parse(&rig.redis.url()).unwrap();
    let port = address.port().unwrap().to_string();
    let child = Command::new("redis-cli")
        .args(["-p", &port, "MONITOR"])
        .stdin(Stdio::null())
        .stdout(heard.reopen().unwrap())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("redis-cli hears", || async {
        let heard = std::fs::read_to_string(heard.path()).unwrap();
        heard.starts_with("OK").then_some(())
    })
    .await;
    (child, heard)
}

/// All rows of all tables, sealed bytes as the characters that they are.
fn dump(rig: &Rig) -> String {
    let database = rig.fleet.database().name();
    let sql = |text: &str| rig.postgres.sql_in(database, text).unwrap();
    let tables = sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
    assert!(tables.lines().count() > 20, "{tables}");
    let rows = tables.lines().map(|table| {
        sql(&format!(
            "SET bytea_output = 'escape'; SELECT t FROM {table} AS t"
        ))
    });
    rows.collect()
}

#[tokio::test]
async fn no_secret_is_readable_in_postgres_or_told_to_redis() {
    let mut rig = Rig::start(&["access_lifetime_s=5"]).await;
    let (_monitor, heard) = monitored(&rig).await;
    let process = async |role| {
        let options = ServerOptions::default().with_log("trace");
        rig.process_with(role, options).await
    };
    let api = process("api").await;
    let (worker, scheduler) = (process("worker").await, process("scheduler").await);
    let secrets = secrets::live(&api, &rig.sandbox).await;
    let servers = [&api, &worker, &scheduler];
    secrets.are_not_logged_by(&servers);
    for server in servers {
        secrets.are_not_below(&server.data_dir());
    }
    // They do not only stay away from what is left: nothing ever went there.
    let told = String::from_utf8_lossy(&std::fs::read(heard.path()).unwrap()).into_owned();
    assert!(told.contains("provider_call") && told.lines().count() > 100);
    secrets.are_not_in(&told, "Redis");
    let rows = dump(&rig);
    assert!(rows.contains("user-1") && rows.contains("provider_call"));
    secrets.are_not_in(&rows, "PostgreSQL");
    // Nor in its files: deleted rows, the write-ahead log and the server's own log. Ended, so that none moves.
    let data = rig.postgres.sql("SHOW data_directory").unwrap();
    rig.postgres.sql("CHECKPOINT").unwrap();
    rig.postgres.crash().await.unwrap();
    secrets.are_not_below(Path::new(&data).parent().unwrap());
}
