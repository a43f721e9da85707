//! Seeded random histories of one grant: callers, batches, kills at every point, faults, sweeps and time, on
//! the production decisions, a real store and a real provider. Whatever happens, presentations never
//! overlap, a run in which no answer was lost raises no alarm, and in the end the grant works or says why
//! it does not.

use std::time::Duration;

use latchkey_domain::{Entropy, SeededEntropy, entropy, states::GrantState};
use latchkey_sandbox::{Counter, FaultKind};
use latchkey_store::GrantKey;

use super::{
    super::{NotFresh, Refresher},
    crashes::{Point, run_until},
    rig::{Kind, Rig, fresh},
};

/// Histories per kind of provider, unless `LATCHKEY_TEST_SEEDS` names more.
const SEEDS: u64 = 6;
const STEPS: usize = 20;
const PROCESSES: usize = 2;
/// Rounds of time and sweeps after which every doubt must have ended: the patience and more.
const HEALING_ROUNDS: usize = 60;

struct History {
    rig: Rig,
    grant: GrantKey,
    processes: Vec<Option<Refresher>>,
    draw: SeededEntropy,
    // Whether an answer may have been lost for good.
    lossy: bool,
    log: Vec<String>,
}

impl History {
    async fn new(kind: Kind, seed: u64) -> Self {
        let rig = Rig::with(kind, |config| {
            // Shorter than real waiting for a busy lease would be.
            config.refresh.lease = config.refresh.timeout + Duration::from_millis(50);
        });
        let rig = rig.await;
        let grant = rig.grant().await;
        let mut history = Self {
            processes: Vec::new(),
            draw: SeededEntropy::new(seed),
            lossy: false,
            log: Vec::new(),
            rig,
            grant,
        };
        for _ in 0..PROCESSES {
            let process = history.rig.process().await;
            history.processes.push(Some(process));
        }
        history
    }

    fn pick(&self, below: u64) -> u64 {
        u64::from_le_bytes(entropy::bytes(&self.draw as &dyn Entropy)) % below
    }

    async fn step(&mut self) {
        let at = usize::try_from(self.pick(PROCESSES as u64)).unwrap();
        let Some(process) = self.processes[at].clone() else {
            self.log.push(format!("start {at}"));
            self.processes[at] = Some(self.rig.process().await);
            return;
        };
        match self.pick(10) {
            0..=2 => {
                self.log.push(format!("call {at}"));
                // A busy lease is held by a dead process only, as steps run one after the other.
                let outcome = process.fresh(self.grant.partner_id, self.grant.id);
                let outcome = tokio::time::timeout(Duration::from_millis(300), outcome).await;
                self.log.push(format!("  {outcome:?}"));
            }
            3..=4 => {
                self.log.push(format!("batch {at}"));
                let batch = [(self.grant.partner_id, self.grant.id)];
                let report = process.refresh_batch(&batch, true).await;
                self.log.push(format!("  {report:?}"));
            }
            5..=6 => self.kill(at, process).await,
            7 => self.fault(),
            8 => self.sweep().await,
            _ => {
                let secs = [1, 20, 70, 600, 3600][usize::try_from(self.pick(5)).unwrap()];
                self.log.push(format!("{secs} s pass"));
                self.rig.pass(secs);
            }
        }
    }

    async fn kill(&mut self, at: usize, process: Refresher) {
        let point = Point::ALL[usize::try_from(self.pick(4)).unwrap()];
        self.log.push(format!("kill {at} {point:?}"));
        let before = self.rig.count(Counter::TokenRefresh);
        let ran = run_until(&process, self.grant, point).await;
        let acted = self.rig.count(Counter::TokenRefresh) > before;
        self.lossy |= acted && point == Point::AfterAnswer;
        self.log.push(format!("  {ran:?}"));
        // Nothing of it is in flight; this ends it like a kill -9.
        drop(process);
        self.processes[at] = None;
    }

    fn fault(&mut self) {
        let fault = match self.pick(4) {
            0 => FaultKind::DropAfterActing,
            1 => FaultKind::DropBefore,
            2 => FaultKind::RateLimit { retry_after_s: 30 },
            _ => FaultKind::Fail {
                status: 502,
                body: None,
            },
        };
        self.lossy |= fault == FaultKind::DropAfterActing;
        self.log.push(format!("fault {fault:?}"));
        self.rig.sandbox.clear_faults();
        self.rig.next_refresh(fault);
    }

    async fn sweep(&mut self) {
        let sweep = self.rig.ctx.config.refresh.sweep;
        self.rig.clock.advance(sweep);
        let now = self.rig.ctx.now();
        let swept = self
            .rig
            .ctx
            .store
            .sweep_overdue(now, sweep / 2, 10)
            .await
            .unwrap();
        self.log.push(format!("sweep: {}", swept.len()));
    }

    /// Everything comes back; the grant must end `active` and working, or say why not.
    async fn heal(&mut self) {
        self.rig.sandbox.clear_faults();
        for process in &mut self.processes {
            if process.is_none() {
                *process = Some(self.rig.process().await);
            }
        }
        let process = self.processes[0].clone().unwrap();
        for _ in 0..HEALING_ROUNDS {
            self.sweep().await;
            self.rig.pass(3600);
            match fresh(&process, self.grant).await {
                Ok(token) => {
                    assert!(
                        self.rig.works(&token).await,
                        "active and dead: {}",
                        self.told()
                    );
                    return;
                }
                Err(NotFresh::NeedsReauth { reason }) => {
                    assert_eq!(reason, "rotation_outcome_unknown", "{}", self.told());
                    assert!(self.lossy, "lost without a loss: {}", self.told());
                    assert_eq!(
                        self.rig.row(self.grant).await.state,
                        GrantState::NeedsReauth
                    );
                    return;
                }
                Err(NotFresh::Unavailable { .. }) => {}
                Err(other) => panic!("{other}: {}", self.told()),
            }
        }
        panic!("never healed: {}", self.told());
    }

    fn told(&self) -> String {
        self.log.join("\n")
    }
}

async fn histories(kind: Kind) {
    let seeds = std::env::var("LATCHKEY_TEST_SEEDS").ok();
    for seed in 0..seeds.map_or(SEEDS, |n| n.parse().unwrap()) {
        let mut history = History::new(kind, seed).await;
        history.log.push(format!("{kind:?}, seed {seed}"));
        for _ in 0..STEPS {
            history.step().await;
        }
        history.heal().await;
        let rig = &history.rig;
        assert_eq!(rig.count(Counter::RefreshOverlap), 0, "{}", history.told());
        if !history.lossy {
            assert_eq!(rig.count(Counter::RefreshReuse), 0, "{}", history.told());
        }
    }
}

#[tokio::test]
async fn histories_with_a_strict_provider() {
    histories(Kind::Strict).await;
}

#[tokio::test]
async fn histories_with_grace() {
    histories(Kind::Grace).await;
}

#[tokio::test]
async fn histories_without_rotation() {
    histories(Kind::Steady).await;
}
