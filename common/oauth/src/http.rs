//! The only sender of provider requests in the project.
//!
//! A request is sent once: no redirects, no retries by reqwest. What remains is hyper-util's own second try,
//! which takes place only for a request that hyper hands back unstarted from a reused connection that had
//! closed (`hyper/src/proto/h1/dispatch.rs`: the message is returned only if it never left the channel), so
//! nothing of it was written. A test counts.
//!
//! Requests with effects use a pool of their own whose connections are reused only within
//! [`HttpLimits::unsafe_idle`]: a server that closes an idle connection at the very moment we write on it
//! leaves the outcome unknown, and for a rotating refresh token that costs far more than a TLS handshake.

use std::{
    convert::Infallible,
    error::Error,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderValue, Method, header::CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use url::{Host, Url};

use crate::{
    egress::Egress,
    message::{HttpAnswer, HttpRequest},
    resolve::{Guard, GuardError, Lookup, system_lookup},
};

/// What every request carries, unless the catalogue or a partner says otherwise (GitHub demands one).
const USER_AGENT: &str = concat!("latchkey/", env!("CARGO_PKG_VERSION"));

/// Room made at once for an answer whose length is announced, in bytes; the rest grows as it comes.
const FIRST_ROOM: usize = 64 * 1024;

/// How long a process that stood still reads what came meanwhile.
const LAST_LOOK: Duration = Duration::from_millis(250);

/// Limits of the sender that are the same for every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Longest time for resolving, connecting and TLS.
    pub connect_timeout: Duration,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    /// How long an idle connection is kept for GET and HEAD.
    pub safe_idle: Duration,
    /// How long an idle connection is kept for everything else: less than any server keeps it.
    pub unsafe_idle: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_per_host: 32,
            safe_idle: Duration::from_secs(30),
            // The shortest default keep-alive in wide use is gunicorn's 2 s.
            unsafe_idle: Duration::from_secs(1),
        }
    }
}

/// Why there is no complete answer. The refresh protocol rests on this distinction (`architecture.md` §6.4).
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No byte of the request left this process, so the provider did nothing.
    #[error("the request was not sent: {reason}")]
    NotSent {
        /// Why.
        reason: NotSent,
        /// The cause, if another error is.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The request may have arrived; its answer did not.
    #[error("the answer was lost: {reason}")]
    Lost {
        /// Why.
        reason: Lost,
        /// The cause, if another error is.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The provider acted and answered more than we take.
    #[error("the answer (status {status}) is larger than {limit} bytes")]
    TooLarge {
        /// The status of the answer.
        status: u16,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The address is none, or not http(s).
    #[error("its address is not usable")]
    Address,
    /// The host is not one of the catalogue entry.
    #[error("its host does not belong to the provider")]
    Host,
    /// Plain http to an address outside the operator's list.
    #[error("plain http is allowed only to addresses of the egress list")]
    Plain,
    /// A private or special address outside the operator's list.
    #[error("its address is private and not in the egress list")]
    Private,
    /// The name did not resolve.
    #[error("the name did not resolve")]
    Dns,
    /// No connection, or no TLS, within the time.
    #[error("no connection could be made")]
    Connect,
    /// The machine has no CA certificates, so no server can be verified.
    #[error("this machine has no CA certificates (install the package ca-certificates)")]
    NoRoots,
}

/// Why an answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The time ran out.
    #[error("the time ran out")]
    TimedOut,
    /// The connection ended or broke, or what came was not HTTP.
    #[error("the connection broke")]
    Cut,
}

/// The sender could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be set up")]
pub struct SetupError(#[source] reqwest::Error);

/// The sender. Clones share its pools of connections.
#[derive(Clone, Debug)]
pub struct ProviderHttp {
    egress: Arc<Egress>,
    /// `None` on a machine without CA certificates.
    https: Option<Pools>,
    plain: Pools,
}

#[derive(Clone, Debug)]
struct Pools {
    /// GET and HEAD.
    safe: reqwest::Client,
    /// Everything that acts.
    acting: reqwest::Client,
}

impl ProviderHttp {
    /// A sender with these limits and this guard.
    pub fn new(limits: HttpLimits, egress: Egress) -> Result<Self, SetupError> {
        Self::with_lookup(limits, egress, &system_lookup())
    }

    /// A sender that resolves names by `lookup`.
    pub(crate) fn with_lookup(
        limits: HttpLimits,
        egress: Egress,
        lookup: &Lookup,
    ) -> Result<Self, SetupError> {
        // An error says that a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let egress = Arc::new(egress);
        let pools = |plain: bool| {
            let pool = |idle: Duration| {
                let resolver = Guard {
                    egress: Arc::clone(&egress),
                    plain,
                    lookup: Arc::clone(lookup),
                };
                client(&limits, idle, plain, resolver)
            };
            Ok::<_, reqwest::Error>(Pools {
                safe: pool(limits.safe_idle)?,
                acting: pool(limits.unsafe_idle)?,
            })
        };
        let https = pools(false)
            .inspect_err(|error| {
                tracing::warn!(%error, "no CA certificates: no https request can be sent");
            })
            .ok();
        let plain = pools(true).map_err(SetupError)?;
        Ok(Self {
            egress,
            https,
            plain,
        })
    }

    /// Sends a request once and collects the answer. `timeout` spans resolving to the last byte; `max_body`
    /// is in bytes.
    pub async fn send(
        &self,
        request: HttpRequest,
        timeout: Duration,
        max_body: usize,
    ) -> Result<HttpAnswer, HttpError> {
        let (parts, body) = request.request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| not_sent(NotSent::Address))?;
        if !request.hosts.contains(&url) {
            return Err(not_sent(NotSent::Host));
        }
        let pools = self.pools(&url)?;
        let pool = if parts.method.is_safe() {
            &pools.safe
        } else {
            &pools.acting
        };
        let sent_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let began = Arc::new(AtomicBool::new(body.is_empty()));
        let mut outgoing = reqwest::Request::new(parts.method.clone(), url);
        *outgoing.headers_mut() = parts.headers;
        if !body.is_empty() {
            let watched = Watched {
                bytes: Some(body),
                began: Arc::clone(&began),
            };
            *outgoing.body_mut() = Some(reqwest::Body::wrap(watched));
        } else if !parts.method.is_safe() && parts.method != Method::DELETE {
            // Some servers answer 411 to a POST that does not say that it is empty.
            let none = HeaderValue::from_static("0");
            outgoing.headers_mut().insert(CONTENT_LENGTH, none);
        }
        let exchange = exchange(pool, outgoing, max_body, &parts.method);
        match in_time(timeout, exchange).await {
            Some(Ok((status, headers, body))) => Ok(HttpAnswer {
                status,
                headers,
                body,
                sent_bytes,
            }),
            Some(Err(Failure::TooLarge { status })) => Err(HttpError::TooLarge {
                status,
                limit: max_body,
            }),
            Some(Err(Failure::Broke(error))) => Err(judge(error, began.load(Ordering::Acquire))),
            None if began.load(Ordering::Acquire) => Err(HttpError::Lost {
                reason: Lost::TimedOut,
                source: None,
            }),
            None => Err(not_sent(NotSent::Connect)),
        }
    }

    /// The pools for an address, once its scheme and, where it is a literal one, its IP are checked. Names
    /// are checked as they resolve.
    fn pools(&self, url: &Url) -> Result<&Pools, HttpError> {
        let literal = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            Some(Host::Domain(_)) => None,
            None => return Err(not_sent(NotSent::Address)),
        };
        match url.scheme() {
            "https" if literal.is_some_and(|ip| !self.egress.allows(ip)) => {
                Err(not_sent(NotSent::Private))
            }
            "https" => self
                .https
                .as_ref()
                .ok_or_else(|| not_sent(NotSent::NoRoots)),
            "http" if literal.is_some_and(|ip| !self.egress.lists(ip)) => {
                Err(not_sent(NotSent::Plain))
            }
            "http" => Ok(&self.plain),
            _ => Err(not_sent(NotSent::Address)),
        }
    }
}

/// Waits for an exchange, or gives none when its time is up. A process that stood still finds its time up before it
/// has read what lies in its sockets, so the last of the time counts from then on: a rotated token that has arrived
/// must not be thrown away.
async fn in_time<T>(time: Duration, exchange: impl Future<Output = T>) -> Option<T> {
    let last_look = LAST_LOOK.min(time / 4);
    tokio::pin!(exchange);
    match tokio::time::timeout(time.saturating_sub(last_look), &mut exchange).await {
        Ok(done) => Some(done),
        Err(_) => tokio::time::timeout(last_look, exchange).await.ok(),
    }
}

fn client(
    limits: &HttpLimits,
    idle: Duration,
    plain: bool,
    resolver: Guard,
) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .connect_timeout(limits.connect_timeout)
        .pool_max_idle_per_host(limits.idle_per_host)
        .pool_idle_timeout(idle)
        .tcp_nodelay(true)
        .dns_resolver(resolver);
    // A client for plain http verifies nobody, and must come up where there are no CA certificates.
    let builder = if plain {
        builder.tls_certs_only([])
    } else {
        builder.https_only(true)
    };
    builder.build()
}

enum Failure {
    TooLarge { status: u16 },
    Broke(reqwest::Error),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The address may hold a secret in its query.
        Self::Broke(error.without_url())
    }
}

async fn exchange(
    pool: &reqwest::Client,
    request: reqwest::Request,
    max_body: usize,
    method: &Method,
) -> Result<(::http::StatusCode, ::http::HeaderMap, Bytes), Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that sends"
    )]
    let mut response = pool.execute(request).await?;
    let status = response.status();
    let too_large = || Failure::TooLarge {
        status: status.as_u16(),
    };
    let announced = response
        .content_length()
        .filter(|_| method != Method::HEAD)
        .unwrap_or(0);
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > max_body {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(announced.min(FIRST_ROOM));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_body {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    let headers = std::mem::take(response.headers_mut());
    Ok((status, headers, body.freeze()))
}

fn not_sent(reason: NotSent) -> HttpError {
    HttpError::NotSent {
        reason,
        source: None,
    }
}

/// What a failure means. `began` says whether hyper had taken up the body, which it does before the first
/// byte of the request is flushed; a request without a body counts as begun once it has a connection.
fn judge(error: reqwest::Error, began: bool) -> HttpError {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(guard) = source.downcast_ref::<GuardError>() {
            let reason = match guard {
                GuardError::Private => NotSent::Private,
                GuardError::Plain => NotSent::Plain,
                GuardError::Lookup(_) => NotSent::Dns,
            };
            return HttpError::NotSent {
                reason,
                source: Some(Box::new(error)),
            };
        }
        cause = source.source();
    }
    if error.is_connect() || !began {
        return HttpError::NotSent {
            reason: NotSent::Connect,
            source: Some(Box::new(error)),
        };
    }
    let reason = if error.is_timeout() {
        Lost::TimedOut
    } else {
        Lost::Cut
    };
    HttpError::Lost {
        reason,
        source: Some(Box::new(error)),
    }
}

impl reqwest::dns::Resolve for Guard {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let found = self.addresses(name.as_str());
        Box::pin(async move { Ok(Box::new(found.await?.into_iter()) as reqwest::dns::Addrs) })
    }
}

/// A body that notes when it is taken up.
struct Watched {
    bytes: Option<Bytes>,
    began: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.began.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let len = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use ::http::Request;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::message::AllowedHosts;

    /// A name that resolves to `answers[n]` the n-th time, and to the last one ever after.
    fn changing(answers: &'static [&'static [&'static str]]) -> Lookup {
        let turn = AtomicUsize::new(0);
        Arc::new(move |_| {
            let turn = turn.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let found = answers[turn].iter().map(|ip| ip.parse().unwrap()).collect();
            Box::pin(std::future::ready(Ok(found)))
        })
    }

    /// A sender that may reach 127.0.0.1 alone.
    fn sender(lookup: &Lookup) -> ProviderHttp {
        let egress = Egress::new(vec!["127.0.0.1".parse().unwrap()]);
        ProviderHttp::with_lookup(HttpLimits::default(), egress, lookup).unwrap()
    }

    /// Two listeners on one port: on an address that is listed and on one that is not.
    async fn listeners() -> (TcpListener, TcpListener, u16) {
        loop {
            let listed = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listed.local_addr().unwrap().port();
            if let Ok(other) = TcpListener::bind(("127.0.0.2", port)).await {
                return (listed, other, port);
            }
        }
    }

    async fn ask(http: &ProviderHttp, port: u16) -> Result<HttpAnswer, HttpError> {
        let url = Url::parse(&format!("http://rebinding.example:{port}/")).unwrap();
        let request = HttpRequest {
            request: Request::post(url.as_str())
                .body(Bytes::from_static(b"x"))
                .unwrap(),
            hosts: AllowedHosts::of([&url]),
        };
        http.send(request, Duration::from_secs(20), 1024).await
    }

    async fn answer_once(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        // Reads what is left, so that closing does not reset the connection.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }

    #[tokio::test]
    async fn a_name_that_turns_private_gets_no_connection() {
        let (listed, other, port) = listeners().await;
        let http = sender(&changing(&[&["127.0.0.1"], &["127.0.0.2"]]));
        let served = tokio::spawn(answer_once(listed));
        assert!(ask(&http, port).await.is_ok());
        served.await.unwrap();
        let second = ask(&http, port).await;
        assert!(
            matches!(
                second,
                Err(HttpError::NotSent {
                    reason: NotSent::Plain,
                    ..
                })
            ),
            "{second:?}"
        );
        let nobody = ready_now(other.accept());
        assert!(nobody.await.is_none());
    }

    #[tokio::test]
    async fn of_several_addresses_only_the_allowed_are_tried() {
        let (listed, other, port) = listeners().await;
        let http = sender(&changing(&[&["127.0.0.2", "10.0.0.1", "127.0.0.1"]]));
        let served = tokio::spawn(answer_once(listed));
        assert!(ask(&http, port).await.is_ok());
        served.await.unwrap();
        assert!(ready_now(other.accept()).await.is_none());
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_not_sent() {
        let nowhere: Lookup = Arc::new(|_| {
            Box::pin(std::future::ready(Err(std::io::Error::other(
                "no such name",
            ))))
        });
        let outcome = ask(&sender(&nowhere), 9).await;
        assert!(
            matches!(
                outcome,
                Err(HttpError::NotSent {
                    reason: NotSent::Dns,
                    ..
                })
            ),
            "{outcome:?}"
        );
    }

    /// What a future gives if it is ready now.
    async fn ready_now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            Poll::Ready(match future.as_mut().poll(cx) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            })
        })
        .await
    }
}
