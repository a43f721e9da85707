//! The servers come up, obey, survive what they are made to survive, and leave nothing behind.

use std::path::Path;

use latchkey_servers::{PrivatePostgres, PrivateRedis, ServerError};

#[tokio::test]
async fn postgres_keeps_what_was_committed_over_a_crash() {
    let mut server = PrivatePostgres::start_with(&["max_connections=17"])
        .await
        .unwrap();
    assert_eq!(server.sql("SHOW max_connections").unwrap(), "17");
    assert_eq!(server.sql("SHOW fsync").unwrap(), "on");
    server.sql("CREATE TABLE t (n INT)").unwrap();
    server.sql("INSERT INTO t VALUES (1), (2)").unwrap();
    let url = server.url();
    server.crash().await.unwrap();
    assert!(server.sql("SELECT 1").is_err());
    server.start_again().await.unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(
        server.sql("SELECT n, n + 1 FROM t ORDER BY n").unwrap(),
        "1|2\n2|3"
    );
    let refused = server.sql("SELECT nothing").unwrap_err();
    assert!(refused.to_string().contains("nothing"), "{refused}");
}

#[tokio::test]
async fn redis_forgets_pauses_and_obeys() {
    let mut server = PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"])
        .await
        .unwrap();
    assert_eq!(server.command(&["SET", "k", "a b"]).unwrap(), "OK");
    assert_eq!(server.command(&["GET", "k"]).unwrap(), "a b");
    assert_eq!(
        server.command(&["MGET", "k", "none", "k"]).unwrap(),
        "a b\n\na b"
    );
    let policy = server
        .command(&["CONFIG", "GET", "maxmemory-policy"])
        .unwrap();
    assert_eq!(policy, "maxmemory-policy\nallkeys-lru");
    assert!(matches!(
        server.command(&["NOPE"]),
        Err(ServerError::Refused { .. })
    ));
    let millis = || {
        let time = server.command(&["TIME"]).unwrap();
        let (seconds, micros) = time.split_once('\n').unwrap();
        seconds.parse::<u64>().unwrap() * 1000 + micros.parse::<u64>().unwrap() / 1000
    };
    let before = millis();
    let still = std::time::Duration::from_millis(300);
    server.stand_still(still).await.unwrap();
    assert!(millis() - before >= 300);
    server.kill().unwrap();
    assert!(server.command(&["PING"]).is_err());
    server.start_again().await.unwrap();
    assert_eq!(server.command(&["DBSIZE"]).unwrap(), "0");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let server = PrivatePostgres::start().await.unwrap();
    let dir = server.sql("SHOW data_directory").unwrap();
    assert!(Path::new(&dir).exists());
    drop(server);
    assert!(!Path::new(&dir).exists());
}
