//! [`Leases`]: the claims on jobs that this process holds, prolonged together while their handlers run. So a claim
//! may be short, and the jobs of a worker that died run elsewhere soon, however long a job takes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use latchkey_domain::AttemptId;
use latchkey_runtime::Context;
use latchkey_store::HeldJob;
use latchkey_telemetry::Chain;

/// How often a claim is prolonged in its time: two may fail.
const PROLONGED: u32 = 3;

/// The claims of this process.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<AttemptId, HeldJob>>,
}

/// A claim while its job is at work. Dropped, it is prolonged no more.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    leases: &'a Leases,
    claim: AttemptId,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.leases.held().remove(&self.claim);
    }
}

impl Leases {
    /// Begins to prolong a claim.
    pub(crate) fn hold(&self, job: HeldJob) -> Held<'_> {
        self.held().insert(job.claim, job);
        Held {
            leases: self,
            claim: job.claim,
        }
    }

    /// Prolongs what is held for as long as it is waited for. A claim that was lost all the same (this process or
    /// the store stood still for longer) stays lost: its job runs elsewhere, and its outcome here is not kept.
    pub(crate) async fn keep(&self, ctx: &Context) {
        let lease = ctx.config.worker.job_lease;
        loop {
            tokio::time::sleep(lease / PROLONGED).await;
            let held: Vec<HeldJob> = self.held().values().copied().collect();
            if held.is_empty() {
                continue;
            }
            match ctx.store.extend_job_leases(&held, lease).await {
                Ok(extended) => self.warn_of_lost(&held, &extended),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "claims on jobs were not prolonged");
                }
            }
        }
    }

    fn warn_of_lost(&self, held: &[HeldJob], extended: &std::collections::HashSet<AttemptId>) {
        for job in held.iter().filter(|job| !extended.contains(&job.claim)) {
            // One that ended meanwhile holds no claim and lost none.
            if self.held().remove(&job.claim).is_some() {
                tracing::warn!(job_id = %job.job_id, "the claim on a job was lost; it runs elsewhere");
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<AttemptId, HeldJob>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
