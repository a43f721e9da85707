//! The job behind `POST …/refresh`: it tells the partner whether the grant still lives.

use latchkey_domain::states::JobState;
use latchkey_jobs::{Job, kinds::RefreshGrants};
use latchkey_sandbox::{Counter, Fault, FaultKind, Target};
use latchkey_store::Connection;

use super::bench::Bench;

impl Bench {
    async fn asked(&self, connection: &Connection) -> Job {
        let kind = RefreshGrants {
            grants: vec![(self.partner, connection.grant.id)],
            asked: true,
        };
        let job = self.job(&kind, None).await;
        self.run(&job).await;
        job
    }
}

#[tokio::test]
async fn a_refresh_that_was_asked_for_brings_new_tokens() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let job = bench.asked(&connection).await;
    assert_eq!(bench.row(&job).await.state, JobState::Completed);
    assert_eq!(bench.sandbox.count(Counter::TokenRefresh), 1);
    let found = bench
        .ctx()
        .store
        .get_connection(bench.partner, connection.row.id)
        .await;
    assert_eq!(found.unwrap().unwrap().grant.version, 2);
}

#[tokio::test]
async fn one_that_brings_none_says_why() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let fault = FaultKind::Fail {
        status: 503,
        body: None,
    };
    bench
        .sandbox
        .fault(Fault::new(Target::Refresh, fault))
        .unwrap();
    let row = bench.row(&bench.asked(&connection).await).await;
    assert_eq!(
        (row.state, row.error_code.as_deref()),
        (JobState::Failed, Some("PROVIDER_UNAVAILABLE"))
    );
    let other = bench.connect_account(bench.account, "bob").await;
    bench.sandbox.revoke_all(None);
    let row = bench.row(&bench.asked(&other).await).await;
    assert_eq!(row.error_code.as_deref(), Some("NEEDS_REAUTH"));
    assert_eq!(
        row.error.as_deref(),
        Some("the end user must connect again: invalid_grant")
    );
}
