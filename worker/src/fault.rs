//! Crash points of jobs, for the fault tests (cargo feature `fault`; without it they are nothing).
//! `FAILPOINTS="call::begun=1*return"` makes the first job that reaches the point kill this process with
//! SIGKILL; the other actions of the `fail` crate work as it says. Those of the refresh protocol are listed
//! in `refresh/fault.rs`.
//!
//! | name | where the process stops |
//! | --- | --- |
//! | `job::claimed` | a job's row is claimed, its handler has not begun |
//! | `job::ended` | the handler is done, its outcome is not in the row |
//! | `exchange::marked` | the code is marked as sent and was not sent |
//! | `exchange::answered` | the provider answered the exchange, nothing is stored |
//! | `exchange::stored` | the connection is stored, nobody was told |
//! | `call::begun` | an unsafe call's receipt says `sent`, and it was not sent |
//! | `call::answered` | the provider answered, the receipt does not say so |
//! | `call::recorded` | the receipt is final, the caller has no answer |
//! | `revoke::confirmed` | the provider revoked, the grant is not forgotten |

/// Stops here if the point is armed.
#[cfg(feature = "fault")]
pub(crate) fn point(name: &'static str) {
    fail::fail_point!(name, |_| die());
}

/// Stops here if the point is armed.
#[cfg(not(feature = "fault"))]
pub(crate) fn point(_name: &'static str) {}

/// Ends this process as a crash does.
#[cfg(feature = "fault")]
pub(crate) fn die() {
    // There is no way on from here: a handler or a destructor would not be a crash.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
