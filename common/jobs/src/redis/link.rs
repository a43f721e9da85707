//! [`Redis`]: this process's way to the server: connections that come back by themselves, and one
//! subscriber that hears every bell, answer and wake-up, and knows when it may have missed some.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Context,
    time::Duration,
};

use futures::{StreamExt, task::AtomicWaker};
use redis::{
    Client, IntoConnectionInfo, Msg, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSub},
    io::tcp::TcpSettings,
};
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use super::{replies::Callers, scripts};
use crate::{Urgency, memory::MemorySignals};

/// How long an answer of the server is waited for. redis-rs' own 500 ms ends a worker at every pause.
pub(super) const RESPONSE: Duration = Duration::from_secs(5);
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(2);
/// How long sent bytes may stay unacknowledged before the kernel gives a connection up: a network that
/// swallows packets looks like a server that thinks.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// How often the subscriber, which only listens, asks whether its connection still is one.
const PING: Duration = Duration::from_secs(2);
/// The wait before another try to reach a server that is away.
pub(super) const AGAIN: Duration = Duration::from_millis(250);
/// Tries to have the shared connection back: the first one starts a new connection, the next waits for it.
const REVIVALS: usize = 4;
/// What keys and channels begin with unless another name is given.
pub const NAMESPACE: &str = "latchkey";

/// Why the server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address does not read, or the server does not answer.
    #[error("Redis cannot be reached")]
    Unreachable(#[from] RedisError),
    /// It answers, and its settings would lose jobs or lack commands.
    #[error("Redis is not fit for use: {0}")]
    Unfit(String),
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version, such as `7.0.15`.
    pub version: String,
    /// What it does when its memory is full. Anything but `noeviction` throws jobs away.
    pub maxmemory_policy: String,
    /// Whether it is part of a cluster, whose scripts cannot reach what apalis-redis' scripts reach for.
    pub cluster: bool,
}

impl ServerFacts {
    /// The server's facts from what it answers to `INFO`.
    fn parse(info: &str) -> Self {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or("")
                .trim()
                .to_owned()
        };
        Self {
            version: field("redis_version"),
            maxmemory_policy: field("maxmemory_policy"),
            cluster: field("cluster_enabled") == "1",
        }
    }

    /// Whether jobs are safe there.
    ///
    /// # Errors
    /// [`LinkError::Unfit`] with what to change.
    pub fn check(&self) -> Result<(), LinkError> {
        let major = self.version.split('.').next().and_then(|n| n.parse().ok());
        let problem = if major.is_none_or(|major: u32| major < 7) {
            format!("version {} is older than 7", self.version)
        } else if self.maxmemory_policy != "noeviction" {
            format!(
                "maxmemory-policy is {}, which throws jobs away; set noeviction",
                self.maxmemory_policy
            )
        } else if self.cluster {
            "it is a cluster; use one server with replicas".to_owned()
        } else {
            return Ok(());
        };
        Err(LinkError::Unfit(problem))
    }
}

/// One server, seen from one process. Clones share its connection and its subscriber.
#[derive(Clone)]
pub struct Redis(Arc<Link>);

struct Link {
    client: Client,
    namespace: String,
    connection: ConnectionManager,
    ears: Arc<Ears>,
    subscriber: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.subscriber.abort();
    }
}

impl fmt::Debug for Redis {
    // The address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("namespace", &self.0.namespace)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects and begins to listen. `namespace` is what keys and channels begin with ([`NAMESPACE`]):
    /// deployments that share a server have different ones.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if the address does not read or nobody answers there.
    pub async fn open(url: &str, namespace: &str) -> Result<Self, LinkError> {
        let client = client(url).map_err(LinkError::Unreachable)?;
        let connection = manager(&client).map_err(LinkError::Unreachable)?;
        ping(&connection).await.map_err(LinkError::Unreachable)?;
        let ears = Arc::new(Ears::default());
        let (listening, mut listens) = watch::channel(false);
        let subscriber = tokio::spawn(listen(
            client.clone(),
            namespace.to_owned(),
            connection.clone(),
            Arc::clone(&ears),
            listening,
        ));
        // Nothing that is said from here on is missed.
        let listens = timeout(RESPONSE, listens.wait_for(|is| *is))
            .await
            .is_ok_and(|l| l.is_ok());
        let link = Link {
            client,
            namespace: namespace.to_owned(),
            connection,
            ears,
            subscriber: subscriber.abort_handle(),
        };
        if listens {
            Ok(Self(Arc::new(link)))
        } else {
            let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(LinkError::Unreachable(error.into()))
        }
    }

    /// What the server says of itself, for the start's checks and for `doctor`.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub async fn facts(&self) -> Result<ServerFacts, LinkError> {
        let info: String = redis::cmd("INFO")
            .query_async(&mut self.connection())
            .await
            .map_err(LinkError::Unreachable)?;
        Ok(ServerFacts::parse(&info))
    }

    /// A text that changes when the server lost, or may have lost, what it held: after FLUSHALL, a restart
    /// or a failover. Who remembers it knows when everything must be said again.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub async fn epoch(&self) -> Result<String, LinkError> {
        scripts::EPOCH
            .key(self.key("epoch"))
            .invoke_async(&mut self.connection())
            .await
            .map_err(LinkError::Unreachable)
    }

    /// The shared connection.
    pub(super) fn connection(&self) -> ConnectionManager {
        self.0.connection.clone()
    }

    /// A connection of one's own, which comes up when it is first used.
    pub(super) fn own_connection(&self) -> Result<ConnectionManager, RedisError> {
        manager(&self.0.client)
    }

    /// A key or channel of ours.
    pub(super) fn key(&self, name: &str) -> String {
        key(&self.0.namespace, name)
    }

    /// What this process hears.
    pub(super) fn ears(&self) -> &Arc<Ears> {
        &self.0.ears
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}:{name}")
}

fn client(url: &str) -> Result<Client, RedisError> {
    // For rediss://; whoever was first in this process chose the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    // No delay: a script's answer is one small packet, and Nagle's algorithm would hold it back.
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let tcp = tcp.set_user_timeout(UNACKNOWLEDGED);
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp))
}

fn manager(client: &Client) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(RESPONSE))
        .set_connection_timeout(Some(CONNECT))
        // One try for each command: whoever sends it knows best whether to try again.
        .set_number_of_retries(0);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

async fn ping(connection: &ConnectionManager) -> Result<(), RedisError> {
    redis::cmd("PING").exec_async(&mut connection.clone()).await
}

/// The channels. Everybody hears all of them: a message is an id of 16 bytes, or one with a small answer, and a
/// subscription for each waiting caller would cost two commands and a moment in which it hears nothing.
pub(super) const BELL: &str = "bell";
pub(super) const REPLY: &str = "reply";
pub(super) const SIGNAL: &str = "signal";

/// Whom to wake in this process.
#[derive(Debug, Default)]
pub(super) struct Ears {
    bells: [Bells; 3],
    pub(super) replies: Callers,
    pub(super) signals: MemorySignals,
}

impl Ears {
    /// A bell that rings when there is work of this urgency.
    pub(super) fn bell(&self, urgency: Urgency) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        let mut bells = crate::memory::locked(&self.bells[urgency as usize]);
        bells.retain(|known| known.strong_count() > 0);
        bells.push(Arc::downgrade(&bell));
        bell
    }

    fn ring(&self, urgency: Urgency) {
        let bells = crate::memory::locked(&self.bells[urgency as usize]);
        bells
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .for_each(|bell| bell.ring());
    }

    /// What was said meanwhile is unknown: everybody looks again.
    fn wake_all(&self) {
        for urgency in Urgency::ALL {
            self.ring(urgency);
        }
        self.replies.look_all();
        self.signals.wake_all();
    }

    fn hear(&self, namespace: &str, message: &Msg) {
        let channel = message
            .get_channel_name()
            .strip_prefix(namespace)
            .unwrap_or("");
        let said = message.get_payload_bytes();
        let split = said.split_first_chunk::<16>();
        match (channel.trim_start_matches(':'), split) {
            (REPLY, Some((id, answer))) => self.replies.hear(u128::from_be_bytes(*id), answer),
            (SIGNAL, Some((id, []))) => self.signals.wake(u128::from_be_bytes(*id)),
            (BELL, _) => {
                if let Some(urgency) = std::str::from_utf8(said).ok().and_then(Urgency::parse) {
                    self.ring(urgency);
                }
            }
            _ => tracing::debug!(channel, "a message that nobody here understands"),
        }
    }
}

type Bells = std::sync::Mutex<Vec<std::sync::Weak<Bell>>>;

/// Rings once for any number of messages until it is asked.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it rang since the last time; the task is woken when it next does.
    pub(super) fn rang(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.rung.swap(false, Ordering::AcqRel)
    }
}

/// Listens for ever: over one connection after the other.
async fn listen(
    client: Client,
    namespace: String,
    connection: ConnectionManager,
    ears: Arc<Ears>,
    listening: watch::Sender<bool>,
) {
    loop {
        match subscribe(&client, &namespace).await {
            Ok(heard) => {
                revive(&connection).await;
                ears.wake_all();
                listening.send_replace(true);
                let why = hear(heard, &namespace, &ears).await;
                tracing::warn!(why, "the subscription to Redis broke; it is made again");
            }
            Err(error) => tracing::debug!(%error, "no subscription to Redis yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Has the shared connection come back too: it tries that only when a command failed, so the first one after an
/// outage would fail whenever it comes, though the server is there.
async fn revive(connection: &ConnectionManager) {
    for _ in 0..REVIVALS {
        if ping(connection).await.is_ok() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn subscribe(client: &Client, namespace: &str) -> Result<PubSub, RedisError> {
    let channels = [BELL, REPLY, SIGNAL].map(|name| key(namespace, name));
    let subscribe = async {
        let mut heard = client.get_async_pubsub().await?;
        heard.subscribe(&channels).await?;
        Ok(heard)
    };
    timeout(RESPONSE, subscribe)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

/// Hears messages until the connection ends or does not answer; tells which.
async fn hear(heard: PubSub, namespace: &str, ears: &Ears) -> &'static str {
    let (mut asks, mut messages) = heard.split();
    let mut ask = tokio::time::interval(PING);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => ears.hear(namespace, &message),
                None => return "the connection ended",
            },
            _ = ask.tick() => match timeout(RESPONSE, asks.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return "the connection failed",
                Err(_) => return "the server does not answer",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: &str, maxmemory_policy: &str, cluster: bool) -> ServerFacts {
        ServerFacts {
            version: version.into(),
            maxmemory_policy: maxmemory_policy.into(),
            cluster,
        }
    }

    #[test]
    fn servers_that_lose_jobs_are_refused_by_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
                    # Cluster\r\ncluster_enabled:0\r\n";
        let good = ServerFacts::parse(info);
        assert_eq!(good, facts("7.0.15", "noeviction", false));
        good.check().unwrap();
        for (bad, word) in [
            (facts("6.2.14", "noeviction", false), "older"),
            (facts("7.2.1", "allkeys-lru", false), "allkeys-lru"),
            (facts("8.0.0", "noeviction", true), "cluster"),
            (facts("", "", false), "older"),
        ] {
            assert!(
                bad.check().unwrap_err().to_string().contains(word),
                "{bad:?}"
            );
        }
    }
}
