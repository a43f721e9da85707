//! A client that costs as little as one can: requests written down beforehand, one connection a caller, answers
//! read to their length and not looked into. What it reaches against the sandbox alone is the measure of the
//! rest.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use latchkey_domain::{Clock, SystemClock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use url::Url;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// One kind of request, as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    address: String,
    bytes: Arc<[u8]>,
    /// The status of an answer that counts as success.
    expected: u16,
}

impl Shot {
    /// A GET of this address with these headers.
    pub(super) fn get(url: &Url, headers: &[(&str, &str)], expected: u16) -> anyhow::Result<Self> {
        let host = url.host_str().context("an address without a host")?;
        let port = url.port_or_known_default().context("no port")?;
        let mut text = format!("GET {} HTTP/1.1\r\nhost: {host}:{port}\r\n", url.path());
        for (name, value) in headers {
            text = text + name + ": " + value + "\r\n";
        }
        text.push_str("\r\n");
        Ok(Self {
            address: format!("{host}:{port}"),
            bytes: text.into_bytes().into(),
            expected,
        })
    }
}

/// What callers met.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// How long each answer took, in order.
    took: Vec<Duration>,
    /// Answers with another status, and connections that broke.
    pub(super) errors: u64,
    /// From the first request to the last answer.
    pub(super) lasted: Duration,
}

impl Met {
    /// Answers as expected.
    pub(super) fn answered(&self) -> usize {
        self.took.len()
    }

    /// Answers a second.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.lasted.as_secs_f64().max(1e-9)
    }

    /// The time within which this share of the answers came, in milliseconds.
    pub(super) fn within(&self, percent: usize) -> f64 {
        let at = (self.took.len() * percent / 100).min(self.took.len().saturating_sub(1));
        let took = self.took.get(at).copied().unwrap_or_default();
        took.as_secs_f64() * 1000.0
    }
}

/// So many callers at once, each asking again as soon as it was answered, for so long.
pub(super) async fn fire(shot: &Shot, callers: usize, lasting: Duration) -> anyhow::Result<Met> {
    let began = SystemClock.monotonic();
    let mut all = JoinSet::new();
    for _ in 0..callers {
        let shot = shot.clone();
        all.spawn(async move { caller(&shot, began + lasting).await });
    }
    let mut met = Met::default();
    while let Some(one) = all.join_next().await {
        let one = one.context("a caller panicked")??;
        met.took.extend(one.took);
        met.errors += one.errors;
    }
    met.lasted = SystemClock.monotonic().saturating_sub(began);
    met.took.sort_unstable();
    Ok(met)
}

async fn caller(shot: &Shot, until: Duration) -> anyhow::Result<Met> {
    let mut met = Met::default();
    let mut connection = Connection::open(&shot.address).await?;
    loop {
        let began = SystemClock.monotonic();
        if began >= until {
            return Ok(met);
        }
        match connection.ask(&shot.bytes).await {
            Ok(status) if status == shot.expected => {
                met.took.push(SystemClock.monotonic().saturating_sub(began));
            }
            Ok(_) => met.errors += 1,
            Err(_) => {
                met.errors += 1;
                connection = Connection::open(&shot.address).await?;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("{address} does not answer"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::with_capacity(CHUNK),
        })
    }

    /// Sends the request and reads the answer to its end; its status.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let (status, whole) = loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                let (status, length) = head(&self.read[..end])?;
                break (status, end + 4 + length);
            }
            self.more().await?;
        };
        while self.read.len() < whole {
            self.more().await?;
        }
        Ok(status)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the connection ended");
        }
        Ok(())
    }
}

/// The status and the length of the body. Servers of ours always say it.
fn head(bytes: &[u8]) -> anyhow::Result<(u16, usize)> {
    let text = std::str::from_utf8(bytes)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.context("no status")?.parse()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Ok((status, length.context("no content-length")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_status_and_length() {
        let read = head(b"HTTP/1.1 202 Accepted\r\nDate: x\r\nContent-Length: 17");
        assert_eq!(read.unwrap(), (202, 17));
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked").is_err());
    }

    #[test]
    fn percentiles_are_of_what_came() {
        let met = Met {
            took: (1..=100).map(Duration::from_millis).collect(),
            errors: 0,
            lasted: Duration::from_secs(2),
        };
        let found = [met.within(50), met.within(99), met.per_second()];
        assert_eq!(found.map(|f| format!("{f:.1}")), ["51.0", "100.0", "50.0"]);
        assert!(Met::default().within(50) < 1e-9);
    }
}
