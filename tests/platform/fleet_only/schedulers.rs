//! Schedulers that die.

use latchkey_tests::{Fleet, Server, ServerOptions, until};

/// A scheduler dies in the middle of a tick that comes once a year. Another takes it over within 10 s, and it is
/// made once, however many schedulers there are.
#[tokio::test]
async fn a_tick_of_a_dead_scheduler_is_taken_over_and_made_once() {
    let fleet = Fleet::start().await;
    let _api = Server::join(&fleet, ServerOptions::default().role("api")).await;
    let options = ServerOptions::default()
        .role("scheduler")
        .with("SCHEDULER__USAGE_ROLLUP", "0 0 0 1 1 *");
    let database = fleet.database();
    // A roll-up reads the ledger, and waits for whoever holds it.
    let held = tokio::spawn({
        let fleet = fleet.clone();
        async move {
            let hold = "DO $$ BEGIN LOCK TABLE calls IN ACCESS EXCLUSIVE MODE; PERFORM pg_sleep(4); END $$";
            fleet.database().execute(hold).await;
        }
    });
    until("a lock on the ledger", || async {
        let held = "SELECT COUNT(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
            AND relation = 'calls'::regclass";
        (database.number(held).await > 0).then_some(())
    })
    .await;
    let mut doomed = Server::join(&fleet, options.clone()).await;
    let begun =
        "SELECT COUNT(*) FROM task_leases WHERE name = 'usage_rollup' AND finished_at IS NULL";
    until("a tick under way", || async {
        (database.number(begun).await == 1).then_some(())
    })
    .await;
    doomed.process.kill().await;
    assert_eq!(database.number(begun).await, 1, "it died in the middle");
    let killed_at = database.number(super::NOW).await;
    let heirs = [
        Server::join(&fleet, options.clone()).await,
        Server::join(&fleet, options.clone()).await,
        Server::join(&fleet, options).await,
    ];
    let finished =
        "SELECT COALESCE(MAX(finished_at), 0) FROM task_leases WHERE name = 'usage_rollup'";
    let finished_at = until("the tick made", || async {
        let at = database.number(finished).await;
        (at > 0).then_some(at)
    })
    .await;
    held.await.unwrap();
    let took_ms = (finished_at - killed_at) / 1000;
    assert!(took_ms <= 10_000, "{took_ms} ms");
    // The other tasks of all three go on meanwhile, and nobody makes this tick again.
    for _ in 0..3 {
        let runs =
            "SELECT COALESCE(MAX(finished_at), 0) FROM task_leases WHERE name = 'requeue_stuck'";
        let seen = database.number(runs).await;
        until("another tick of another task", || async {
            (database.number(runs).await > seen).then_some(())
        })
        .await;
    }
    let mut made = 0.0;
    for heir in &heirs {
        made += heir
            .metric(
                "latchkey_task_runs_total",
                &[r#"task="usage_rollup""#, r#"end="ok""#],
            )
            .await;
    }
    assert!((made - 1.0).abs() < f64::EPSILON, "made {made} times");
}
