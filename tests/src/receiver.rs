//! Where a partner's webhooks arrive: a small HTTP server that keeps what it was sent and answers as told.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::until;

/// One request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Headers by name in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// A running receiver. It ends with the test.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its address.
    pub url: String,
    kept: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Receiver {
    /// Starts one that answers 204, after these status lines with their headers (`"302 Found\r\nlocation: /"`).
    pub async fn start(first: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let receiver = Self {
            url: format!("http://{address}/hook?token=in-the-address"),
            kept: Arc::default(),
            answers: Arc::new(Mutex::new(first.iter().map(|s| (*s).to_owned()).collect())),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.answer(stream).await });
            }
        });
        receiver
    }

    /// Everything that arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.kept.lock().expect("no panic under it").clone()
    }

    /// Waits until so many arrived; all of them.
    pub async fn wait(&self, at_least: usize) -> Vec<Received> {
        until("webhooks", || async {
            let kept = self.received();
            (kept.len() >= at_least).then_some(kept)
        })
        .await
    }

    async fn answer(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let answer = {
            let mut kept = self.kept.lock().expect("no panic under it");
            kept.push(Received {
                headers,
                body: String::from_utf8(body).expect("UTF-8"),
            });
            let mut answers = self.answers.lock().expect("no panic under it");
            answers.pop_front()
        };
        let status = answer.unwrap_or_else(|| "204 No Content".to_owned());
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes()).await.ok()
    }
}
