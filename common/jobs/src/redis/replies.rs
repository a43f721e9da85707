//! [`RedisReplies`] and [`RedisSignals`]: answers and wake-ups between processes. Publishing carries the id
//! alone; an answer itself is a key that its caller takes. So an answer of any size arrives (a large message
//! would disconnect subscribers), also one that came while the subscription was broken: whoever waits listens
//! before asking, and looks after each wake-up and once more near the end.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use latchkey_domain::ReplyId;
use redis::RedisError;
use tokio::time::timeout;

use super::link::{REPLY, Redis, SIGNAL};
use crate::replies::{Replies, Signal, Signals};

/// How long an answer waits for its caller, in seconds: longer than any caller waits.
const KEPT_S: u64 = 60;
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
        redis::pipe()
            .cmd("SET")
            .arg(self.key(id))
            .arg(answer)
            .arg("EX")
            .arg(KEPT_S)
            .ignore()
            .cmd("PUBLISH")
            .arg(self.redis.key(REPLY))
            .arg(&id.as_u128().to_be_bytes())
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

    async fn awaited(&self, id: ReplyId, mut woken: Box<dyn Signal>) -> Bytes {
        loop {
            woken.wait(Duration::MAX).await;
            // Before the look, so that no answer falls in between.
            woken = self.listen(id);
            if let Some(answer) = self.take(id).await {
                return answer;
            }
        }
    }

    fn listen(&self, id: ReplyId) -> Box<dyn Signal> {
        self.redis.ears().replies.subscribe(id.as_u128())
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
        let (this, woken) = (self.clone(), self.listen(id));
        async move {
            let last = LAST_LOOK.min(within / 2);
            match timeout(within.saturating_sub(last), this.awaited(id, woken)).await {
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
