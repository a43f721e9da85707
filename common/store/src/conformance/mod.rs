//! The store's conformance suite: what must hold on both engines. Every case runs on a SQLite file of its
//! own and, where `LATCHKEY_TEST_DATABASE_URL` names a PostgreSQL server, in a database of its own there.

mod accounts;
mod calls;
mod connections;
mod dead_jobs;
mod fixture;
mod grants;
mod jobs;
mod listing;
mod offers;
mod partners;
mod quotas;
mod sessions;
mod tenants;
mod usage;
mod writer;

pub(crate) use fixture::{Fixture, job_of};

/// Makes a test of each case, which runs it on every engine.
macro_rules! on_every_engine {
    ($($case:ident),+ $(,)?) => { $(
        #[test]
        fn $case() {
            crate::conformance::fixture::on_every_engine(stringify!($case), |fixture| {
                Box::pin(async move { super::$case(&fixture).await })
            });
        }
    )+ };
}
pub(crate) use on_every_engine;
