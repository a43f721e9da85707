//! Tests of the worker on a real store, a real queue and a real provider (the sandbox, on a loopback
//! socket). Time stands still until a test moves it, and a job is run by calling the runner, so nothing is
//! waited for that did not happen.

mod bench;
mod caller;
mod calls;
mod contracts;
mod exchange;
mod queued_calls;
mod redaction;
mod refresh_job;
mod revoke;
mod run;
mod runner;
