//! Processes that die, stand still, or lose their store, at each point of an attempt.

use std::{sync::Arc, time::Duration};

use latchkey_domain::{
    Clock, Timestamp,
    refresh::{DeadReason, Need},
    states::{GrantState, JobState},
};
use latchkey_jobs::{JobKind, kinds::RevokeGrant};
use latchkey_oauth::TokenSet;
use latchkey_runtime::{Context, Stopper};
use latchkey_sandbox::Counter;
use latchkey_store::{GrantKey, JobFilter};

use super::{
    super::{
        NotFresh, Refresher,
        attempt::{Caller, Claimed, End, Prepared},
        moment::Moment,
        protocol::Wish,
    },
    rig::{Kind, LONG, Rig, fresh, reauth, tokens, unavailable},
};

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// Claimed, nothing sent.
    BeforeSend,
    /// Sent; the answer came and was seen by nobody.
    AfterAnswer,
    /// The answer is in the journal.
    BeforeCommit,
    /// The answer is in the store, and still in the journal.
    AfterCommit,
}

impl Point {
    pub(super) const ALL: [Self; 4] = [
        Self::BeforeSend,
        Self::AfterAnswer,
        Self::BeforeCommit,
        Self::AfterCommit,
    ];
}

/// Takes a grant as an attempt does.
pub(super) async fn claim(
    process: &Refresher,
    grant: GrantKey,
) -> Result<(Claimed, Prepared), End> {
    let ctx = &process.protocol.ctx;
    let moment = Moment::read(ctx).await.unwrap();
    let loaded = ctx.store.load_grant(grant).await.unwrap().unwrap();
    process
        .protocol
        .claim(
            loaded,
            Wish {
                need: Need::TokenDead,
                probe: false,
            },
            moment,
        )
        .await
}

/// Runs an attempt up to a point and stops there for good; what the process had is gone when the caller
/// drops it.
pub(super) async fn run_until(
    process: &Refresher,
    grant: GrantKey,
    point: Point,
) -> Result<(), End> {
    let protocol = &process.protocol;
    let (claimed, prepared) = claim(process, grant).await?;
    if point == Point::BeforeSend {
        return Ok(());
    }
    let Prepared {
        caller,
        current,
        request,
        ..
    } = prepared;
    let answer = protocol.ctx.http.send(request, LONG, 64 * 1024).await;
    let Ok(answer) = answer else { return Ok(()) };
    let Ok(tokens) = protocol.read(&claimed, &caller.client, &current, &answer) else {
        return Ok(());
    };
    if point == Point::AfterAnswer {
        return Ok(());
    }
    let entry = protocol.seal(&claimed, &caller.key, &tokens);
    drop(protocol.journal.keep(&entry).unwrap());
    if point == Point::AfterCommit {
        let now = claimed.moment.now(&*protocol.ctx.clock);
        protocol
            .ctx
            .store
            .land_grant(entry.landing(now))
            .await
            .unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn the_crash_matrix() {
    for kind in [Kind::Strict, Kind::Grace, Kind::Steady] {
        for point in Point::ALL {
            let rig = Rig::new(kind).await;
            let (doomed, grant) = (rig.process().await, rig.expired().await);
            run_until(&doomed, grant, point).await.unwrap();
            assert_eq!(!rig.is_open(grant).await, point == Point::AfterCommit);
            drop(doomed);
            let next = rig.process().await;
            let row = rig.row(grant).await;
            assert!(
                !rig.is_open(grant).await,
                "{kind:?} {point:?}: closed by who holds its journal"
            );
            let kept = matches!(point, Point::BeforeCommit | Point::AfterCommit);
            assert_eq!(
                (row.in_doubt, row.version),
                (!kept, if kept { 2 } else { 1 })
            );
            if !kept {
                unavailable(fresh(&next, grant).await);
                rig.pass(60);
            }
            let outcome = fresh(&next, grant).await;
            if kind == Kind::Strict && point == Point::AfterAnswer {
                assert_eq!(reauth(outcome), "rotation_outcome_unknown");
                assert_eq!(rig.count(Counter::RefreshReuse), 1);
            } else {
                let token = outcome.unwrap();
                assert!(
                    token.version == 2 && rig.works(&token).await,
                    "{kind:?} {point:?}"
                );
                assert_eq!(rig.count(Counter::RefreshReuse), 0);
            }
            assert_eq!(rig.count(Counter::RefreshOverlap), 0);
            // Nothing is left to adopt but the living process's own.
            let files = std::fs::read_dir(rig.ctx.data_dir.join("journal")).unwrap();
            assert_eq!(files.count(), 1);
        }
    }
}

#[tokio::test]
async fn a_running_process_adopts_what_died_beside_it() {
    let rig = Rig::new(Kind::Strict).await;
    let (alive, doomed, grant) = (
        rig.process().await,
        rig.process().await,
        rig.expired().await,
    );
    run_until(&doomed, grant, Point::BeforeCommit)
        .await
        .unwrap();
    // Its process lives: nobody takes its journal, and nobody presents.
    alive.protocol.adopt_dead().await.unwrap();
    assert!(rig.is_open(grant).await);
    drop(doomed);
    alive.protocol.adopt_dead().await.unwrap();
    assert_eq!(rig.row(grant).await.version, 2);
}

#[tokio::test]
async fn a_silent_holder_is_awaited_for_the_patience_and_its_late_answer_changes_nothing() {
    let short = |config: &mut latchkey_runtime::Config| {
        config.refresh.timeout = Duration::from_millis(200);
        config.refresh.lease = Duration::from_millis(400);
    };
    let rig = Rig::with(Kind::Steady, short).await;
    let (stopped, other, grant) = (
        rig.process().await,
        rig.process().await,
        rig.expired().await,
    );
    let (claimed, prepared) = claim(&stopped, grant).await.unwrap();
    let sweep = rig.ctx.config.refresh.sweep;
    rig.clock.advance(sweep);
    for round in 1..=40 {
        assert_eq!(
            unavailable(fresh(&other, grant).await),
            sweep,
            "round {round}"
        );
        let swept = rig
            .ctx
            .store
            .sweep_overdue(rig.ctx.now(), sweep / 2, 10)
            .await
            .unwrap();
        assert_eq!((swept.len(), swept[0].open.sweeps), (1, round));
        assert!(swept[0].row.in_doubt, "shown at the first sweep");
        rig.clock.advance(sweep);
    }
    assert_eq!(rig.count(Counter::TokenRequests), 0);
    let token = fresh(&other, grant).await.unwrap();
    // The stopped one goes on, with an answer to what it had sent before it was stopped.
    let (caller, late) = answered(&stopped, &claimed, prepared).await;
    let end = stopped.protocol.land(&claimed, &caller, late).await;
    assert!(matches!(end, End::Moved), "{end:?}");
    assert_eq!(rig.row(grant).await.version, 2);
    rig.pass(2);
    assert!(rig.works(&token).await);
}

/// What the provider answers to an attempt; nobody landed it yet.
async fn answered(
    process: &Refresher,
    claimed: &Claimed,
    prepared: Prepared,
) -> (Caller, TokenSet) {
    let Prepared {
        caller,
        current,
        request,
        ..
    } = prepared;
    let protocol = &process.protocol;
    let answer = protocol.ctx.http.send(request, LONG, 64 * 1024).await;
    let tokens = protocol.read(claimed, &caller.client, &current, &answer.unwrap());
    (caller, tokens.unwrap())
}

#[tokio::test]
async fn a_late_answer_lands_while_its_version_stands_also_over_needs_reauth() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    let (claimed, prepared) = claim(&process, grant).await.unwrap();
    let (caller, late) = answered(&process, &claimed, prepared).await;
    let reason = DeadReason::RotationOutcomeUnknown.as_str();
    assert!(
        rig.ctx
            .store
            .kill_grant(grant, 1, reason, rig.ctx.now())
            .await
            .unwrap()
    );
    rig.pass(3600);
    match process.protocol.land(&claimed, &caller, late).await {
        End::Landed { token } => assert_eq!(token.version, 2),
        end => panic!("{end:?}"),
    }
    assert_eq!(rig.row(grant).await.state, GrantState::Active);
}

#[tokio::test]
async fn a_stale_answer_does_not_touch_a_grant_that_was_connected_again() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    let (claimed, prepared) = claim(&process, grant).await.unwrap();
    let (caller, stale) = answered(&process, &claimed, prepared).await;
    let seeded = rig
        .sandbox
        .seed(&latchkey_sandbox::Seed::new(1))
        .unwrap()
        .remove(0);
    let now = rig.ctx.now();
    let new = tokens(&seeded, now, now + super::rig::LIFE);
    rig.connect(rig.row(grant).await.connection_id, grant, 2, &new)
        .await;
    let before = rig.ctx.store.load_grant(grant).await.unwrap();
    let end = process.protocol.land(&claimed, &caller, stale).await;
    assert!(matches!(end, End::Moved), "{end:?}");
    assert_eq!(rig.ctx.store.load_grant(grant).await.unwrap(), before);
    let token = fresh(&process, grant).await.unwrap();
    assert!(token.version == 2 && rig.works(&token).await);
    assert_eq!(process.protocol.journal.waiting(), (0, 0));
}

#[tokio::test]
async fn what_lands_on_a_deleted_connection_is_revoked_and_resurrects_nothing() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.sandbox.change(|s| s.token_latency_ms = 200).unwrap();
    let caller = tokio::spawn({
        let process = process.clone();
        async move { fresh(&process, grant).await }
    });
    rig.until(Counter::TokenRefresh, 1).await;
    let (row, store) = (rig.row(grant).await, &rig.ctx.store);
    let connection = row.connection_id;
    let deleted = store.mark_disconnected(row.partner_id, connection, None, rig.ctx.now());
    assert!(deleted.await.unwrap().is_some());
    assert!(
        !store.forget_grant(grant, 1, rig.ctx.now()).await.unwrap(),
        "an attempt is open"
    );
    assert!(matches!(caller.await.unwrap(), Err(NotFresh::Gone)));
    let row = rig.row(grant).await;
    assert_eq!((row.state, row.version), (GrantState::Revoking, 2));
    assert_eq!((row.due_at, row.wake_at), (None, None));
    let all = JobFilter {
        hidden_too: true,
        limit: 10,
        ..JobFilter::default()
    };
    let (jobs, _) = store.list_jobs(row.partner_id, &all).await.unwrap();
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| (job.kind.as_str(), job.state))
        .collect();
    assert_eq!(jobs, [(RevokeGrant::KIND, JobState::Queued)]);
    assert!(matches!(fresh(&process, grant).await, Err(NotFresh::Gone)));
}

#[tokio::test]
async fn a_claim_that_got_old_is_not_sent() {
    /// A clock that moves by a second whenever it is looked at.
    #[derive(Debug)]
    struct Hurried(Arc<latchkey_domain::ManualClock>);
    impl Clock for Hurried {
        fn now(&self) -> Timestamp {
            self.0.now()
        }
        fn monotonic(&self) -> Duration {
            self.0.advance(Duration::from_secs(1));
            self.0.monotonic()
        }
    }
    let rig = Rig::with(Kind::Strict, |c| c.refresh.lease = c.refresh.timeout).await;
    let grant = rig.expired().await;
    let mut ctx = rig.ctx.clone();
    ctx.clock = Arc::new(Hurried(Arc::clone(&rig.clock)));
    let process = Refresher::open(ctx).await.unwrap();
    let end = claim(&process, grant).await.err();
    assert!(matches!(end, Some(End::Moved)), "{end:?}");
    let row = rig.row(grant).await;
    assert!(!rig.is_open(grant).await && row.last_attempt.is_some());
    assert!(!row.in_doubt && row.failures == 0 && row.retry_at.is_none());
    assert_eq!(rig.count(Counter::TokenRequests), 0);
}

#[tokio::test]
async fn an_answer_outlives_a_store_that_is_away_and_the_stop_of_its_process() {
    let rig = Rig::new(Kind::Strict).await;
    let (process, grant) = (rig.process().await, rig.expired().await);
    rig.sandbox.change(|s| s.token_latency_ms = 300).unwrap();
    let caller = tokio::spawn({
        let process = process.clone();
        async move { fresh(&process, grant).await }
    });
    rig.until(Counter::TokenRefresh, 1).await;
    rig.ctx.store.close().await;
    // The answer comes now; it cannot be stored, and the process is told to stop.
    let stopper = process.protocol.ctx.stopper.clone();
    while process.protocol.journal.waiting().0 == 0 {
        tokio::task::yield_now().await;
    }
    stopper.finish();
    assert!(stopper.wait(LONG).await, "it does not wait for the store");
    assert_eq!(
        process.protocol.journal.left().len(),
        1,
        "the journal has it"
    );
    unavailable(caller.await.unwrap());
    drop((process, stopper));
    // The store is back, and with it a new process.
    let config = latchkey_runtime::Config::clone(&rig.ctx.config);
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let entropy = Arc::clone(&rig.ctx.entropy);
    let mut rig = rig;
    rig.ctx = Context::open(config, clock, entropy, Stopper::new())
        .await
        .unwrap();
    let token = fresh(&rig.process().await, grant).await.unwrap();
    assert!(token.version == 2 && rig.works(&token).await);
    assert_eq!(
        (
            rig.count(Counter::TokenRequests),
            rig.count(Counter::RefreshReuse)
        ),
        (1, 0)
    );
}
