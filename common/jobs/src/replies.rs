//! [`Replies`] and [`Signals`]: how an answer finds the caller that waits, and how a change wakes those who
//! wait for it. Both are hints on top of rows: who misses one re-reads.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use latchkey_domain::ReplyId;

/// Brings answers to waiting callers.
pub trait Replies: fmt::Debug + Send + Sync + 'static {
    /// Sends the answer. Nobody may be waiting any more; that is no error.
    fn send(&self, id: ReplyId, answer: Bytes) -> BoxFuture<'_, ()>;

    /// Waits for the answer, at most this long from the first poll. It listens from this call on: whoever calls it
    /// before asking, and awaits it after, misses no answer.
    fn wait(&self, id: ReplyId, within: Duration) -> BoxFuture<'static, Option<Bytes>>;
}

/// A pending wake-up, subscribed before the row was read, so that none is missed in between.
pub trait Signal: Send {
    /// Waits for the wake-up, at most this long; tells whether it came.
    fn wait(self: Box<Self>, within: Duration) -> BoxFuture<'static, bool>;
}

/// Wakes those who wait for a row to change.
pub trait Signals: fmt::Debug + Send + Sync + 'static {
    /// Begins to listen for `key` (an id's 128 bits).
    fn subscribe(&self, key: u128) -> Box<dyn Signal>;

    /// Wakes every listener of `key`.
    fn publish(&self, key: u128) -> BoxFuture<'_, ()>;
}
