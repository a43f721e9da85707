//! Which handler runs which kind of job: one line each. A test (`tests/contracts.rs`) fails if a kind, its
//! line here or its file under `handlers/` is missing.

use std::{future::Future, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use latchkey_jobs::{
    Job, JobKind, KindInfo, Outcome, PayloadError,
    kinds::{
        AdoptCredentials, DeliverCallback, ExchangeCode, ProviderCall, RefreshGrants, RevokeGrant,
    },
};

use crate::{
    Worker,
    runner::{Attempt, Failure},
};

/// Every kind with its handler.
pub(crate) const HANDLERS: [Entry; 6] = [
    entry::<AdoptCredentials>(),
    entry::<DeliverCallback>(),
    entry::<ExchangeCode>(),
    entry::<ProviderCall>(),
    entry::<RefreshGrants>(),
    entry::<RevokeGrant>(),
];

/// The handler of a kind by its name.
pub(crate) fn find(kind: &str) -> Option<Entry> {
    HANDLERS
        .into_iter()
        .find(|entry| (entry.info)().kind == kind)
}

/// What runs a kind of job.
pub(crate) trait Handler: JobKind {
    /// Runs one attempt to its outcome. It may be dropped at any await (time-out) and run again.
    fn run(self, worker: &Worker, attempt: &Attempt) -> impl Future<Output = Outcome> + Send;

    /// The job is over although no attempt said so: they are spent, the process died in the last one, or
    /// there is no row to try again from. Tells whoever waits, leaves nothing half done, and returns what
    /// the row shall say.
    fn gave_up(
        self,
        worker: &Worker,
        attempt: &Attempt,
        failure: Failure,
    ) -> impl Future<Output = Failure> + Send {
        let _ = (worker, attempt);
        std::future::ready(failure)
    }
}

type Run = fn(Arc<Worker>, Arc<Attempt>) -> BoxFuture<'static, Outcome>;
type GaveUp = fn(Arc<Worker>, Arc<Attempt>, Failure) -> BoxFuture<'static, Failure>;

/// A kind and its handler, without its type.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// The kind's constants.
    pub(crate) info: fn() -> KindInfo,
    /// See [`Handler::run`].
    pub(crate) run: Run,
    /// See [`Handler::gave_up`].
    pub(crate) gave_up: GaveUp,
}

/// The entry of a handler.
pub(crate) const fn entry<H: Handler>() -> Entry {
    Entry {
        info: H::info,
        run: |worker, attempt| {
            async move {
                match payload::<H>(&attempt.job) {
                    Ok(kind) => kind.run(&worker, &attempt).await,
                    Err(error) => Outcome::fail("INTERNAL", error),
                }
            }
            .boxed()
        },
        gave_up: |worker, attempt, failure| {
            async move {
                match payload::<H>(&attempt.job) {
                    Ok(kind) => kind.gave_up(&worker, &attempt, failure).await,
                    Err(_) => failure,
                }
            }
            .boxed()
        },
    }
}

fn payload<H: Handler>(job: &Job) -> Result<H, PayloadError> {
    job.payload::<H>()
}
