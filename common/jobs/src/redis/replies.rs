//! [`RedisReplies`] and [`RedisSignals`]: answers and wake-ups between processes. An answer is a key that its caller
//! takes, and publishing its id is the hint to look. So an answer of any size arrives (a large message would disconnect
//! subscribers), also one that came while the subscription was broken: whoever waits listens before asking, and looks
//! after each hint and once more near the end. A small answer is also in the message itself: most are, and their
//! callers need not look.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::ReplyId;
use redis::RedisError;
use tokio::{sync::Notify, time::timeout};

use super::link::{Ears, REPLY, Redis, SIGNAL};
use crate::{
    memory::locked,
    replies::{Replies, Signal, Signals},
};

/// How long an answer waits for its caller, in seconds: longer than any caller waits.
const KEPT_S: u64 = 60;
/// The largest answer that is sent along with its id, in bytes: every process that serves the API hears it.
const SMALL: usize = 1024;
/// How long such an answer waits for a caller that did not hear it, in seconds: until a broken subscription is back.
/// Nobody takes it away, so that they add up to this many seconds of answers.
const SMALL_KEPT_S: u64 = 10;
/// How long a taken answer stays, in milliseconds: long enough for another process that was woken by the same
/// message, and short enough that answers do not add up.
const TAKEN_MS: u64 = 1000;
/// How often an answer is sent before its caller is left to its time-out, and the wait in between. With the
/// response time-out that bridges a server that pauses or restarts.
const TRIES: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(500);
/// The last look of a wait is this long before its end, if the wait is not shorter still.
const LAST_LOOK: Duration = Duration::from_millis(200);

/// Answers over Redis.
#[derive(Clone, Debug)]
pub struct RedisReplies {
    redis: Redis,
}

impl RedisReplies {
    /// Over this link.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    fn key(&self, id: ReplyId) -> String {
        self.redis.key(&format!("reply:{id}"))
    }

    async fn try_send(&self, id: ReplyId, answer: &[u8]) -> Result<(), RedisError> {
        let mut message = id.as_u128().to_be_bytes().to_vec();
        let mut kept = KEPT_S;
        if answer.len() <= SMALL {
            message.extend_from_slice(answer);
            kept = SMALL_KEPT_S;
        }
        redis::pipe()
            .cmd("SET")
            .arg(self.key(id))
            .arg(answer)
            .arg("EX")
            .arg(kept)
            .ignore()
            .cmd("PUBLISH")
            .arg(self.redis.key(REPLY))
            .arg(message)
            .ignore()
            .exec_async(&mut self.redis.connection())
            .await
    }

    /// Takes the answer if it is there.
    async fn take(&self, id: ReplyId) -> Option<Bytes> {
        let taken = redis::cmd("GETEX")
            .arg(self.key(id))
            .arg("PX")
            .arg(TAKEN_MS)
            .query_async::<Option<Vec<u8>>>(&mut self.redis.connection())
            .await;
        match taken {
            Ok(answer) => answer.map(Bytes::from),
            Err(error) => {
                // The subscription breaks too, and its return wakes this caller for another look.
                tracing::debug!(%error, %id, "no look at an answer");
                None
            }
        }
    }

    async fn awaited(&self, caller: &Waiting) -> Bytes {
        loop {
            caller.heard.hint.notified().await;
            // The guard goes before the look.
            let said = locked(&caller.heard.answer).take();
            match said {
                Some(answer) => return answer,
                None => {
                    if let Some(answer) = self.take(caller.id).await {
                        return answer;
                    }
                }
            }
        }
    }

    fn listen(&self, id: ReplyId) -> Waiting {
        let heard = Arc::<Heard>::default();
        let ears = Arc::clone(self.redis.ears());
        locked(&ears.replies.0).insert(id.as_u128(), Arc::clone(&heard));
        Waiting { ears, id, heard }
    }
}

/// Who waits for an answer in this process.
#[derive(Debug, Default)]
pub(super) struct Callers(Mutex<HashMap<u128, Arc<Heard>>>);

/// What a caller has heard.
#[derive(Debug, Default)]
struct Heard {
    answer: Mutex<Option<Bytes>>,
    /// Kept for a caller that is about to wait.
    hint: Notify,
}

/// A caller that waits, until this is dropped.
struct Waiting {
    ears: Arc<Ears>,
    id: ReplyId,
    heard: Arc<Heard>,
}

impl Callers {
    /// An answer is there: this one, or one to look for if it is empty.
    pub(super) fn hear(&self, id: u128, answer: &[u8]) {
        let Some(caller) = locked(&self.0).get(&id).cloned() else {
            return;
        };
        if !answer.is_empty() {
            *locked(&caller.answer) = Some(Bytes::copy_from_slice(answer));
        }
        caller.hint.notify_one();
    }

    /// Every answer may be there.
    pub(super) fn look_all(&self) {
        for caller in locked(&self.0).values() {
            caller.hint.notify_one();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        locked(&self.ears.replies.0).remove(&self.id.as_u128());
    }
}

impl Replies for RedisReplies {
    fn send(&self, id: ReplyId, answer: Bytes) -> BoxFuture<'_, ()> {
        async move {
            for rest in (0..TRIES).rev() {
                match self.try_send(id, &answer).await {
                    Ok(()) => return,
                    Err(error) if rest == 0 => {
                        tracing::warn!(%error, %id, "an answer could not be sent; its caller times out");
                    }
                    Err(_) => tokio::time::sleep(BETWEEN).await,
                }
            }
        }
        .boxed()
    }

    fn wait(&self, id: ReplyId, within: Duration) -> BoxFuture<'static, Option<Bytes>> {
        let (this, caller) = (self.clone(), self.listen(id));
        async move {
            let last = LAST_LOOK.min(within / 2);
            match timeout(within.saturating_sub(last), this.awaited(&caller)).await {
                Ok(answer) => Some(answer),
                Err(_) => timeout(last, this.take(id)).await.ok().flatten(),
            }
        }
        .boxed()
    }
}

/// Wake-ups over Redis. While Redis is away none arrive, and its return wakes everybody: who waits re-reads
/// its row after any wake-up, and after its own patience without one.
#[derive(Clone, Debug)]
pub struct RedisSignals {
    redis: Redis,
}

impl RedisSignals {
    /// Over this link.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }
}

impl Signals for RedisSignals {
    fn subscribe(&self, key: u128) -> Box<dyn Signal> {
        self.redis.ears().signals.subscribe(key)
    }

    fn publish(&self, key: u128) -> BoxFuture<'_, ()> {
        async move {
            let said = redis::cmd("PUBLISH")
                .arg(self.redis.key(SIGNAL))
                .arg(&key.to_be_bytes())
                .exec_async(&mut self.redis.connection())
                .await;
            if let Err(error) = said {
                tracing::debug!(%error, "a wake-up was lost");
            }
        }
        .boxed()
    }
}
