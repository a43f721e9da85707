//! The sender against real sockets: servers that answer, hang, cut, redirect, flood and lie; and addresses
//! that must not be reached.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use latchkey_oauth::{
    AllowedHosts, Egress, HttpAnswer, HttpError, HttpLimits, HttpRequest, Lost, NotSent,
    ProviderHttp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};
use url::Url;

/// Longer than anything a passing test takes.
const LONG: Duration = Duration::from_secs(20);
/// For servers that never answer.
const SHORT: Duration = Duration::from_millis(200);
const CAP: usize = 64 * 1024;

fn loopback() -> ProviderHttp {
    let egress = Egress::new(vec!["127.0.0.0/8".parse().unwrap()]);
    ProviderHttp::new(HttpLimits::default(), egress).unwrap()
}

fn request(method: Method, url: &str, body: &'static str) -> HttpRequest {
    let parsed = Url::parse(url).unwrap();
    HttpRequest {
        request: Request::builder()
            .method(method)
            .uri(url)
            .body(Bytes::from(body))
            .unwrap(),
        hosts: AllowedHosts::of([&parsed]),
    }
}

async fn post(http: &ProviderHttp, url: &str, timeout: Duration) -> Result<HttpAnswer, HttpError> {
    http.send(request(Method::POST, url, "token=t"), timeout, CAP)
        .await
}

/// A server that hands each connection to `serve`, in a task of its own.
async fn server<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads one request, head and body, as text. Empty when the peer closed.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")
                        .map(str::to_owned)
                })
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return String::new(),
            Ok(n) => got.extend_from_slice(&buffer[..n]),
        }
    }
}

/// A server that reads one request, reports it, and writes `answer` as it stands; then closes.
async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (seen, requests) = mpsc::unbounded_channel();
    let answer = Arc::new(answer.into());
    let address = server(move |mut stream| {
        let (seen, answer) = (seen.clone(), Arc::clone(&answer));
        async move {
            let _ = seen.send(read_request(&mut stream).await);
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (address, requests)
}

#[tokio::test]
async fn a_request_goes_out_once_and_whole() {
    let (address, mut seen) =
        answering("HTTP/1.1 201 Created\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello").await;
    let answer = post(&loopback(), &format!("http://{address}/t?q=1"), LONG)
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (201, &b"hello"[..])
    );
    assert_eq!(
        (answer.headers["x-a"].as_bytes(), answer.sent_bytes),
        (&b"b"[..], 7)
    );
    let seen = seen.recv().await.unwrap().to_ascii_lowercase();
    let mut lines: Vec<_> = seen
        .split("\r\n")
        .map(|line| line.replace(&address.to_string(), "HOST"))
        .collect();
    lines[1..].sort();
    let version = env!("CARGO_PKG_VERSION");
    let agent = format!("user-agent: latchkey/{version}");
    assert_eq!(
        lines,
        [
            "post /t?q=1 http/1.1",
            "",
            "accept: */*",
            "content-length: 7",
            "host: HOST",
            "token=t",
            &agent
        ]
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = post(&loopback(), &format!("http://{address}/"), LONG).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::NotSent {
                reason: NotSent::Connect,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn failed_tls_is_not_sent() {
    let address = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let outcome = post(&loopback(), &format!("https://{address}/"), LONG).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::NotSent {
                reason: NotSent::Connect,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn tls_that_hangs_is_not_sent() {
    let address = server(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let outcome = post(&loopback(), &format!("https://{address}/"), SHORT).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::NotSent {
                reason: NotSent::Connect,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_loses_the_answer() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let outcome = post(&loopback(), &format!("http://{address}/"), SHORT).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::Lost {
                reason: Lost::TimedOut,
                ..
            })
        ),
        "{outcome:?}"
    );
    let get = request(Method::GET, &format!("http://{address}/"), "");
    let outcome = loopback().send(get, SHORT, CAP).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::Lost {
                reason: Lost::TimedOut,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_body_that_hangs_loses_the_answer() {
    let address = server(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    let outcome = post(&loopback(), &format!("http://{address}/"), SHORT).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::Lost {
                reason: Lost::TimedOut,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn cuts_and_garbage_lose_the_answer() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "\u{0}\u{1}\u{2}\u{3}",
        "<html>",
    ] {
        let (address, _seen) = answering(answer).await;
        let outcome = post(&loopback(), &format!("http://{address}/"), LONG).await;
        assert!(
            matches!(
                outcome,
                Err(HttpError::Lost {
                    reason: Lost::Cut,
                    ..
                })
            ),
            "{answer:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn floods_are_stopped_at_the_cap() {
    const FLOOD: usize = 10 * 1024 * 1024;
    for head in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
    ] {
        let mut answer = head.into_bytes();
        answer.resize(answer.len() + FLOOD, b'x');
        let (address, _seen) = answering(answer).await;
        let outcome = post(&loopback(), &format!("http://{address}/"), LONG).await;
        assert!(
            matches!(
                outcome,
                Err(HttpError::TooLarge {
                    status: 200,
                    limit: CAP
                })
            ),
            "{outcome:?}"
        );
    }
    let mut exact = format!("HTTP/1.1 200 OK\r\ncontent-length: {CAP}\r\n\r\n").into_bytes();
    exact.resize(exact.len() + CAP, b'x');
    let (address, _seen) = answering(exact).await;
    let answer = post(&loopback(), &format!("http://{address}/"), LONG)
        .await
        .unwrap();
    assert_eq!(answer.body.len(), CAP);
    let mut headers = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    headers.resize(headers.len() + FLOOD, b'x');
    let (address, _seen) = answering(headers).await;
    let outcome = post(&loopback(), &format!("http://{address}/"), LONG).await;
    assert!(
        matches!(outcome, Err(HttpError::Lost { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (honey, mut visited) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} X\r\nlocation: http://{honey}/\r\ncontent-length: 0\r\n\r\n"
        );
        let (address, _seen) = answering(answer).await;
        let answer = post(&loopback(), &format!("http://{address}/"), LONG)
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
    assert!(visited.try_recv().is_err());
}

#[tokio::test]
async fn empty_bodies_have_a_length_and_heads_have_no_body() {
    let (address, mut seen) =
        answering("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n").await;
    let url = format!("http://{address}/");
    let head = loopback()
        .send(request(Method::HEAD, &url, ""), LONG, CAP)
        .await
        .unwrap();
    assert!(head.body.is_empty());
    assert!(!seen.recv().await.unwrap().contains("content-length"));
    let (address, mut seen) = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let url = format!("http://{address}/");
    loopback()
        .send(request(Method::POST, &url, ""), LONG, CAP)
        .await
        .unwrap();
    assert!(seen.recv().await.unwrap().contains("content-length: 0"));
}

/// A server that answers the first request of each connection with keep-alive and cuts the connection at
/// the second, as one that closes idle connections at the wrong moment does. Counts requests.
async fn cutting_the_second() -> (SocketAddr, Arc<Mutex<usize>>) {
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    let address = server(move |mut stream| {
        let count = Arc::clone(&counted);
        async move {
            for turn in 0..2 {
                if read_request(&mut stream).await.is_empty() {
                    return;
                }
                *count.lock().await += 1;
                if turn == 0 {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        }
    })
    .await;
    (address, count)
}

#[tokio::test]
async fn a_request_on_a_dying_connection_is_presented_once() {
    let (address, count) = cutting_the_second().await;
    let (http, url) = (loopback(), format!("http://{address}/"));
    post(&http, &url, LONG).await.unwrap();
    let outcome = post(&http, &url, LONG).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::Lost {
                reason: Lost::Cut,
                ..
            })
        ),
        "{outcome:?}"
    );
    assert_eq!(*count.lock().await, 2);
    // GET and HEAD have their own pool; they too are sent once.
    let get = || request(Method::GET, &url, "");
    http.send(get(), LONG, CAP).await.unwrap();
    assert!(http.send(get(), LONG, CAP).await.is_err());
    assert_eq!(*count.lock().await, 4);
}

#[tokio::test]
async fn connections_are_reused_and_closed_ones_replaced() {
    let (opened, mut connections) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let _ = opened.send(());
        async move {
            while read_request(&mut stream).await.contains("POST /again") {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let http = loopback();
    for (path, expected) in [("again", 1), ("again", 0), ("last", 0), ("again", 1)] {
        post(&http, &format!("http://{address}/{path}"), LONG)
            .await
            .unwrap();
        let mut new = 0;
        while connections.try_recv().is_ok() {
            new += 1;
        }
        assert_eq!(new, expected, "{path}");
    }
}

#[tokio::test]
async fn private_addresses_get_no_connection() {
    let (address, mut seen) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let port = address.port();
    let closed = ProviderHttp::new(HttpLimits::default(), Egress::default()).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "[64:ff9b::7f00:1]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00::1]",
        "\u{ff11}27.0.0.1",
    ] {
        let https = post_to(&closed, &format!("https://{host}:{port}/")).await;
        let private = NotSent::Private;
        assert!(
            matches!(https, Err(HttpError::NotSent { reason, .. }) if reason == private),
            "{host}: {https:?}"
        );
        let plain = post_to(&closed, &format!("http://{host}:{port}/")).await;
        assert!(
            matches!(
                plain,
                Err(HttpError::NotSent {
                    reason: NotSent::Plain,
                    ..
                })
            ),
            "{host}: {plain:?}"
        );
    }
    // Plain http stays shut to public addresses even where a list opens others.
    let public = post_to(&loopback(), "http://8.8.8.8:9/").await;
    assert!(
        matches!(
            public,
            Err(HttpError::NotSent {
                reason: NotSent::Plain,
                ..
            })
        ),
        "{public:?}"
    );
    assert!(seen.try_recv().is_err());
    // The same forms reach the server once the list names loopback.
    for host in ["127.0.0.1", "127.1", "2130706433", "localhost"] {
        post_to(&loopback(), &format!("http://{host}:{port}/"))
            .await
            .unwrap();
    }
}

/// A request whose address is written as given, which `http::Uri` may refuse and `Url` may read otherwise.
async fn post_to(http: &ProviderHttp, url: &str) -> Result<HttpAnswer, HttpError> {
    let parsed = Url::parse(url).unwrap();
    let hosts = AllowedHosts::of([&parsed]);
    let uri = url
        .parse()
        .unwrap_or_else(|_| parsed.as_str().parse::<http::Uri>().unwrap());
    let request = Request::post(uri).body(Bytes::from_static(b"x")).unwrap();
    http.send(HttpRequest { request, hosts }, LONG, CAP).await
}

#[tokio::test]
async fn only_the_provider_s_hosts_are_reached() {
    let (address, mut seen) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let hosts =
        AllowedHosts::of([
            &Url::parse(&format!("http://127.0.0.1:{}", address.port() ^ 1)).unwrap(),
        ]);
    let request = Request::get(format!("http://{address}/"))
        .body(Bytes::new())
        .unwrap();
    let outcome = loopback()
        .send(HttpRequest { request, hosts }, LONG, CAP)
        .await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::NotSent {
                reason: NotSent::Host,
                ..
            })
        ),
        "{outcome:?}"
    );
    let relative = HttpRequest {
        request: Request::get("/path").body(Bytes::new()).unwrap(),
        hosts: AllowedHosts::default(),
    };
    let outcome = loopback().send(relative, LONG, CAP).await;
    assert!(
        matches!(
            outcome,
            Err(HttpError::NotSent {
                reason: NotSent::Address,
                ..
            })
        ),
        "{outcome:?}"
    );
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn errors_hold_no_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x?secret=hush", listener.local_addr().unwrap());
    drop(listener);
    let error = post(&loopback(), &url, LONG).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hush"));
}
