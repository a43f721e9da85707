//! The OpenAPI document against the server: schemathesis asks every operation of both faces for what the document
//! says and what it does not. No server error, and no answer that breaks its schema. It never sees the store, so one
//! engine is enough.

use std::path::PathBuf;

use latchkey_tests::{Sandbox, Server, ServerOptions, process};
use serde_json::json;
use tokio::process::Command;

/// What is made of each operation, from one seed.
const EXAMPLES: &str = "6";
/// Seconds after which no new requests are made.
const SECONDS: &str = "45";

/// Runs it with these arguments; its exit code and what it wrote.
async fn run(url: &str, headers: &[String], more: &[&str]) -> process::Said {
    let peers = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"));
    let program = peers.join("venv/bin/schemathesis");
    assert!(
        program.is_file(),
        "{} is missing: run tests/run, it makes it",
        program.display()
    );
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(&program);
    command
        .current_dir(directory.path())
        .arg("run")
        .arg(format!("{url}/api/v1/openapi.json"));
    command.args(["--checks", "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"]);
    command.args([
        "--max-examples",
        EXAMPLES,
        "--max-time",
        SECONDS,
        "--seed",
        "1",
        "--workers",
        "2",
    ]);
    command.args([
        "--phases",
        "examples,coverage,fuzzing",
        "--request-timeout",
        "35",
        "--no-color",
    ]);
    command.args([
        "--warnings",
        "off",
        "--no-shrink",
        "--generation-database",
        "none",
    ]);
    for header in headers {
        command.args(["--header", header]);
    }
    command.args(more);
    process::finish(command, &[], "").await
}

#[tokio::test]
async fn answers_keep_to_the_document() {
    let sandbox = Sandbox::start(&[]).await;
    // Calls that wait for a provider are short, and no plan stands in the way.
    let options = ServerOptions::default().with("CALLS__WAIT_MS", 5000);
    let server = Server::start(options).await;
    server.sandbox_config(&sandbox).await;
    let partner = server.partner("enterprise").await;
    partner.connected("project_default_user").await;
    let body = json!({"toolkit": {"slug": "sandbox"}, "authConfig": {"type": "use_provider_managed_auth"}});
    let made = partner.send("POST", "/auth_configs", Some(body)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let key = [format!("x-api-key: {}", partner.key)];
    let said = run(
        &server.url,
        &key,
        &["--exclude-path-regex", "/connect/callback/"],
    )
    .await;
    assert_eq!(said.code, 0, "{}\n{}", said.stdout, said.stderr);
    // The paths of both faces, asked as the other.
    let bearer = [format!("authorization: Bearer {}", partner.key)];
    let said = run(
        &server.url,
        &bearer,
        &["--include-path-regex", "^/api/v1/(usage|tools)$"],
    )
    .await;
    assert_eq!(said.code, 0, "{}\n{}", said.stdout, said.stderr);
}
