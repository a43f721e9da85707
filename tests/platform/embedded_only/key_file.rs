//! The key file that the first start makes.

use std::fs;

use latchkey_tests::{Server, ServerOptions, process};

/// A corrupt key file stops the start and is named; its content is not shown.
#[tokio::test]
async fn a_corrupt_key_file_is_named() {
    let mut server = Server::start(ServerOptions::default()).await;
    server.stop().await;
    let key = server.data_dir().join("key");
    let content = fs::read_to_string(&key).unwrap();
    let broken = content.trim_end().trim_end_matches('=').to_owned() + "!!";
    fs::write(&key, &broken).unwrap();
    let directory = server.data_dir().display().to_string();
    let said = process::run(
        &[
            "serve",
            "--data-dir",
            &directory,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ],
        &[],
        "",
    )
    .await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stderr.contains(&key.display().to_string()),
        "{}",
        said.stderr
    );
    let secret = broken.split_whitespace().last().unwrap();
    assert!(!said.stderr.contains(secret), "the message shows the key");
}
