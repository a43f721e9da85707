//! What both servers need of the system: a free port, waiting, signals, an end.

use std::{
    net::TcpListener,
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::ServerError;

/// How often a server that comes up or goes down is looked at, and how many times: 30 s in all.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS: usize = 1500;

/// A port that is free now. Should another process take it before the server does, the server says so and
/// the next try finds another one.
pub(crate) fn free_port() -> Result<u16, ServerError> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Looks until `there` says yes, at most 30 s; whether it did.
pub(crate) async fn until(
    mut there: impl FnMut() -> Result<Option<bool>, ServerError>,
) -> Result<bool, ServerError> {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    for _ in 0..LOOKS {
        tick.tick().await;
        if let Some(answer) = there()? {
            return Ok(answer);
        }
    }
    Ok(false)
}

/// Sends a signal to a child that was not waited for yet.
pub(crate) fn signal(child: &Child, signal: Signal) -> Result<(), ServerError> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    Ok(kill_process(pid, signal).map_err(std::io::Error::from)?)
}

/// Waits for a child that was told to end.
pub(crate) async fn ended(child: &mut Child) -> Result<Option<ExitStatus>, ServerError> {
    let mut status = None;
    until(|| {
        status = child.try_wait()?;
        Ok(status.map(|_| true))
    })
    .await?;
    Ok(status)
}
