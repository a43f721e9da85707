//! Revocations: what the provider is told, until it confirms, and the receipt.

use std::time::Duration;

use latchkey_domain::{
    AttemptId, HolderId,
    states::{AuthConfigStatus, GrantState, JobState},
};
use latchkey_jobs::{
    Job,
    kinds::{RevokeGrant, revoke_grant::RevocationReceipt},
};
use latchkey_sandbox::{Counter, Fault, FaultKind, Target};
use latchkey_store::{Connection, GrantClaim, GrantKey, LoadedGrant};

use super::bench::Bench;

impl Bench {
    /// Disconnects, and gives the job that revokes at the provider.
    async fn disconnect(&self, connection: &Connection) -> Job {
        let (store, now) = (&self.ctx().store, self.ctx().now());
        let marked = store
            .mark_disconnected(self.partner, connection.row.id, None, now)
            .await;
        assert!(marked.unwrap().is_some());
        let kind = RevokeGrant {
            grant: connection.grant.id,
            connection: connection.row.id,
        };
        self.job(&kind, None).await
    }

    async fn revocation(&self, job: &Job) -> (String, Vec<u16>) {
        let receipt: RevocationReceipt = serde_json::from_slice(&self.result(job).await).unwrap();
        (receipt.outcome, receipt.statuses)
    }

    async fn grant(&self, connection: &Connection) -> LoadedGrant {
        self.ctx()
            .store
            .load_grant(self.key(connection))
            .await
            .unwrap()
            .unwrap()
    }

    fn key(&self, connection: &Connection) -> GrantKey {
        GrantKey {
            partner_id: self.partner,
            id: connection.grant.id,
        }
    }
}

fn receipt(outcome: &str, statuses: &[u16]) -> (String, Vec<u16>) {
    (outcome.to_owned(), statuses.to_vec())
}

#[tokio::test]
async fn a_revocation_is_confirmed_and_the_tokens_are_forgotten() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    assert_eq!(bench.sandbox.grants_alive(), 1);
    let job = bench.disconnect(&connection).await;
    futures::join!(bench.run(&job), bench.run(&job));
    assert_eq!(bench.revocation(&job).await, receipt("confirmed", &[200]));
    assert_eq!(bench.row(&job).await.state, JobState::Completed);
    assert_eq!(bench.sandbox.count(Counter::Revocations), 1);
    assert_eq!(bench.sandbox.grants_alive(), 0);
    let grant = bench.grant(&connection).await;
    assert_eq!(grant.row.state, GrantState::Revoked);
    assert!(grant.secret.is_none());
    // The reconciler writes another job if it only saw the grant before: there is nothing left to do.
    let kind = RevokeGrant {
        grant: connection.grant.id,
        connection: connection.row.id,
    };
    let again = bench.job(&kind, None).await;
    bench.run(&again).await;
    assert_eq!(bench.revocation(&again).await, receipt("already_dead", &[]));
    assert_eq!(bench.sandbox.count(Counter::Revocations), 1);
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again_when_it_says() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let job = bench.disconnect(&connection).await;
    bench
        .sandbox
        .fault(Fault::new(
            Target::Revoke,
            FaultKind::RateLimit { retry_after_s: 77 },
        ))
        .unwrap();
    bench.run(&job).await;
    let row = bench.row(&job).await;
    assert_eq!(row.state, JobState::Queued);
    assert_eq!(row.run_at, bench.ctx().now() + Duration::from_secs(77));
    for kind in [
        FaultKind::Fail {
            status: 503,
            body: None,
        },
        FaultKind::DropBefore,
        FaultKind::DropAfterActing,
    ] {
        bench.until_due(&job).await;
        bench
            .sandbox
            .fault(Fault::new(Target::Revoke, kind))
            .unwrap();
        bench.run(&job).await;
        assert_eq!(bench.row(&job).await.state, JobState::Queued);
        assert_eq!(
            bench.grant(&connection).await.row.state,
            GrantState::Revoking
        );
    }
    bench.until_due(&job).await;
    bench.run(&job).await;
    // RFC 7009: unknown tokens are confirmed like known ones, and the one before was acted on.
    assert_eq!(bench.revocation(&job).await, receipt("confirmed", &[200]));
    assert_eq!(bench.sandbox.grants_alive(), 0);
}

#[tokio::test]
async fn a_refusal_for_good_is_impossible_and_says_so() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let job = bench.disconnect(&connection).await;
    let fault = FaultKind::OauthError {
        code: "unsupported_token_type".into(),
    };
    bench
        .sandbox
        .fault(Fault::new(Target::Revoke, fault))
        .unwrap();
    bench.run(&job).await;
    assert_eq!(bench.row(&job).await.state, JobState::Failed);
    assert_eq!(bench.revocation(&job).await, receipt("impossible", &[400]));
    assert!(
        bench.grant(&connection).await.secret.is_none(),
        "nothing is kept that serves nothing"
    );
}

#[tokio::test]
async fn what_never_works_is_impossible_after_the_last_attempt() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let job = bench.disconnect(&connection).await;
    bench
        .sandbox
        .fault(Fault::new(Target::Revoke, FaultKind::DropBefore).times(1000))
        .unwrap();
    let began = bench.ctx().now();
    for _ in 0..40 {
        bench.until_due(&job).await;
        bench.run(&job).await;
    }
    assert_eq!(bench.row(&job).await.state, JobState::Failed);
    assert_eq!(bench.revocation(&job).await, receipt("impossible", &[]));
    assert!(bench.grant(&connection).await.secret.is_none());
    assert!(
        bench.ctx().now().since(began) > Duration::from_secs(3 * 3600),
        "it tried for long"
    );
}

#[tokio::test]
async fn a_refused_client_pauses_the_auth_config_and_waits() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let job = bench.disconnect(&connection).await;
    let fault = FaultKind::OauthError {
        code: "invalid_client".into(),
    };
    bench
        .sandbox
        .fault(Fault::new(Target::Revoke, fault))
        .unwrap();
    bench.run(&job).await;
    let row = bench.row(&job).await;
    assert_eq!(row.state, JobState::Queued);
    assert_eq!(row.run_at, bench.ctx().now() + Duration::from_secs(3600));
    let config = bench
        .ctx()
        .store
        .get_auth_config(bench.partner, bench.auth_config)
        .await;
    assert_eq!(config.unwrap().unwrap().status, AuthConfigStatus::Paused);
}

#[tokio::test]
async fn providers_without_an_endpoint_say_so() {
    let bench = Bench::at("irrevocable").await;
    let connection = bench.connect().await;
    let job = bench.disconnect(&connection).await;
    bench.run(&job).await;
    assert_eq!(bench.revocation(&job).await, receipt("not_supported", &[]));
    assert!(bench.grant(&connection).await.secret.is_none());
}

/// One revocation would end the other connection too: only the last one is told to the provider.
#[tokio::test]
async fn connections_that_share_their_fate_are_spared_until_the_last() {
    let bench = Bench::at("shared").await;
    let other = latchkey_domain::AccountId::from_u128(5);
    bench.add_account(other, "user-5").await;
    let first = bench.connect().await;
    let second = bench.connect_account(other, "alice").await;
    let stranger = bench.connect_account(bench.account, "bob").await;
    let job = bench.disconnect(&first).await;
    bench.run(&job).await;
    assert_eq!(bench.revocation(&job).await, receipt("shared", &[]));
    assert_eq!(bench.sandbox.count(Counter::Revocations), 0);
    let job = bench.disconnect(&second).await;
    bench.run(&job).await;
    assert_eq!(bench.revocation(&job).await, receipt("confirmed", &[200]));
    assert_eq!(bench.grant(&stranger).await.row.state, GrantState::Active);
}

/// A refresh under way may still bring tokens: nothing is revoked or forgotten before it ended.
#[tokio::test]
async fn an_open_attempt_is_waited_for() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let ctx = bench.ctx();
    let grant = bench.grant(&connection).await.row;
    let claim = GrantClaim {
        grant: bench.key(&connection),
        rev: grant.rev,
        replaced: None,
        attempt: AttemptId::from_u128(3),
        holder: HolderId::from_u128(4),
        lease: Duration::from_secs(40),
        first_claim_at: ctx.now(),
    };
    assert!(ctx.store.claim_grant(claim).await.unwrap());
    let job = bench.disconnect(&connection).await;
    bench.run(&job).await;
    let row = bench.row(&job).await;
    assert_eq!(
        (row.state, row.attempts),
        (JobState::Queued, 0),
        "no attempt is spent"
    );
    assert_eq!(row.run_at, ctx.now() + Duration::from_secs(41));
    assert_eq!(bench.sandbox.count(Counter::Revocations), 0);
    // Its holder never comes back. Once the patience is over, it counts as closed.
    let sweep = ctx.config.refresh.sweep;
    for _ in 0..ctx.config.refresh.patience_sweeps {
        bench.until_due(&job).await;
        bench.run(&job).await;
        assert_eq!(bench.row(&job).await.state, JobState::Queued);
        bench.clock.advance(sweep);
        ctx.store.sweep_overdue(ctx.now(), sweep, 10).await.unwrap();
    }
    bench.until_due(&job).await;
    bench.run(&job).await;
    assert_eq!(bench.revocation(&job).await, receipt("confirmed", &[200]));
    assert!(bench.grant(&connection).await.secret.is_none());
}

#[tokio::test]
async fn a_living_connection_is_not_revoked() {
    let bench = Bench::new().await;
    let connection = bench.connect().await;
    let kind = RevokeGrant {
        grant: connection.grant.id,
        connection: connection.row.id,
    };
    let job = bench.job(&kind, None).await;
    bench.run(&job).await;
    assert_eq!(
        bench.row(&job).await.error_code.as_deref(),
        Some("CONFLICT")
    );
    assert_eq!(bench.sandbox.grants_alive(), 1);
}
