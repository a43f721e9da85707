//! The commands as somebody types them: what they print, and how they exit. (That this package has a test of
//! this kind also makes `cargo test` build the binary, which the whole-platform tests run.)

#![expect(clippy::unwrap_used, reason = "a failure is a panic")]

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// Runs the binary in `dir` with `input` on standard input.
fn latchkey(dir: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LATCHKEY_")) {
        command.env_remove(name);
    }
    command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
    command.args(arguments).current_dir(dir);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may be gone already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_operators_commands_work_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], input: &str| latchkey(dir.path(), arguments, input);
    let create = [
        "partner",
        "create",
        "--company",
        "Acme",
        "--website",
        "https://acme.example",
        "--json",
    ];
    let made = run(&create, "");
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let made = &json_lines(&made)[0];
    let partner = made["partner_id"].as_str().unwrap();
    assert!(made["key"].as_str().unwrap().starts_with("sk_live_"));

    let listed = json_lines(&run(&["partner", "list", "--json"], ""));
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &made["partner_id"]));
    let suspended = json_lines(&run(&["partner", "suspend", partner, "--json"], ""));
    assert_eq!(suspended[0]["status"], "suspended");
    let resumed = json_lines(&run(&["partner", "resume", partner, "--json"], ""));
    assert_eq!(resumed[0]["status"], "active");

    let key = json_lines(&run(&["keys", "create", partner, "--test", "--json"], ""));
    assert!(key[0]["key"].as_str().unwrap().starts_with("sk_test_"));
    let id = key[0]["id"].as_str().unwrap();
    assert_eq!(
        run(&["keys", "revoke", partner, id], "").status.code(),
        Some(0)
    );
    let keys = json_lines(&run(&["keys", "list", partner, "--json"], ""));
    assert_eq!(
        keys.iter()
            .filter(|key| key["revoked_at"].is_string())
            .count(),
        1
    );
    assert!(
        keys.iter().all(|key| key["key"].is_null()),
        "keys are shown once"
    );

    let create = [
        "auth-config",
        "create",
        "--provider",
        "github",
        "--client-file",
        "-",
        "--json",
    ];
    let config = json_lines(&run(&create, "id-1\nhush-hush\n"));
    let id = config[0]["id"].as_str().unwrap();
    assert!(config[0]["callback_url"].as_str().unwrap().ends_with(id));
    assert_eq!(
        run(&["auth-config", "pause", id], "").status.code(),
        Some(0)
    );
    let listed = run(&["auth-config", "list", "--json"], "");
    assert_eq!(json_lines(&listed)[0]["status"], "disabled");
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("hush-hush"));
    assert_eq!(
        run(&["auth-config", "resume", id], "").status.code(),
        Some(0)
    );

    let migrated = json_lines(&run(&["migrate", "--json"], ""));
    assert_eq!(migrated[0]["changed"], false);
    let checks = run(&["doctor", "--json"], "");
    let names: Vec<_> = json_lines(&checks)
        .iter()
        .map(|check| check["check"].clone())
        .collect();
    assert!(names.contains(&Value::from("keys")), "{names:?}");
}

#[test]
fn asked_wrongly_is_2_and_says_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| latchkey(dir.path(), arguments, "");
    for (arguments, word) in [
        (vec!["nonsense"], "unrecognized"),
        (vec!["serve", "--listen", "here"], "listen"),
        (
            vec!["serve", "--public-url", "http://keys.example.com"],
            "https",
        ),
        (vec!["serve", "--role", "api"], "--role"),
        (
            vec!["partner", "create", "--company", "A", "--website", "x"],
            "website",
        ),
        (
            vec![
                "partner",
                "create",
                "--company",
                "A",
                "--website",
                "https://a.example",
                "--plan",
                "x",
            ],
            "free",
        ),
        (vec!["partner", "suspend", "prt_1"], "partner"),
        (vec!["keys", "list", "../partners"], "no id"),
        (
            vec!["auth-config", "create", "--provider", "github"],
            "--client-file",
        ),
        (vec!["sandbox", "--set", "nonsense=1"], "nonsense"),
        (
            vec!["doctor", "--config", "/does/not/exist", "--nonsense"],
            "--nonsense",
        ),
    ] {
        let output = run(&arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: no '{word}' in {said}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed on stdout");
    }
}

/// Who sends a signal and waits closes standard input too: that is one reason to stop, not two.
#[test]
fn a_signal_and_the_end_of_input_are_one_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    command.args([
        "serve",
        "--until-eof",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    command
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for with_signal in [true, false] {
        let mut server = command.spawn().unwrap();
        // The first byte of the first screen: everything listens.
        server
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0])
            .unwrap();
        if with_signal {
            let id = rustix::process::Pid::from_child(&server);
            rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        }
        drop(server.stdin.take());
        let ended = server.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        assert!(!dir.path().join("latchkey-data/run.json").exists());
    }
}

#[test]
fn what_fails_is_1() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("latchkey.toml");
    std::fs::write(&config, "nonsense = 1\n").unwrap();
    let output = latchkey(
        dir.path(),
        &["doctor", "--config", "latchkey.toml", "--json"],
        "",
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json_lines(&output)[0]["state"], "fail");
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = latchkey(dir.path(), &["partner", "list", "--data-dir", "file"], "");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("file"));
}
