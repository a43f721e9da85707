//! [`Ends`]: the reasons to stop.

use std::io;

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// SIGTERM, Ctrl-C and, if asked for, the end of standard input. Listening begins when this is made, so that
/// no signal is lost between one wait and the next. Whoever sends a signal and then waits closes standard input
/// as well: the two together, in whichever order they are seen, are one reason.
#[derive(Debug)]
pub(crate) struct Ends {
    terminate: Signal,
    interrupt: Signal,
    eof: Option<oneshot::Receiver<()>>,
    /// Standard input ended, and the signal that may go with it was not seen yet.
    owed: bool,
}

impl Ends {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn listen(until_eof: bool) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            eof: until_eof.then(end_of_stdin),
            owed: false,
        })
    }

    /// Waits for the next reason.
    pub(crate) async fn next(&mut self) -> &'static str {
        if std::mem::take(&mut self.owed) {
            self.signal().await;
        }
        let Some(mut eof) = self.eof.take() else {
            return self.signal().await;
        };
        tokio::select! {
            signal = self.signal() => signal,
            _ = &mut eof => {
                self.owed = true;
                "the end of standard input"
            }
        }
    }

    async fn signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}

/// Reads standard input to its end on a thread of its own: it cannot be waited for otherwise everywhere.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, eof) = oneshot::channel();
    std::thread::spawn(move || {
        // An input that cannot be read has ended as well.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        // An error says that nobody listens any more.
        let _ = ended.send(());
    });
    eof
}
