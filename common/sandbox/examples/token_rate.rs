//! How fast the sandbox answers refreshes, beside a bare axum handler that answers every POST with the
//! same bytes: both in one run, with one client loop, in turns. Prints one JSON object. A sandbox that is
//! slow would make benches measure itself instead of Latchkey.
//!
//! `cargo run --release -p latchkey-sandbox --example token_rate`

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::post};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use latchkey_domain::{Clock, SystemClock, SystemEntropy};
use latchkey_sandbox::{Counter, Sandbox, SandboxConfig, SandboxHandle, Seed};
use tokio::net::{TcpListener, TcpStream};

/// Connections at once, each with one request in flight.
const CONNECTIONS: usize = 32;
/// Length of one turn.
const TURN: Duration = Duration::from_secs(2);
/// Turns of each server. The middle one counts.
const TURNS: usize = 7;
/// What the bare handler answers: as long as an answer of the sandbox, with the same fields.
const BARE: &str = r#"{"access_token":"sbx_at_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","token_type":"Bearer","expires_in":3600,"refresh_token":"sbx_rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","scope":"profile messages.read messages.write"}"#;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let bare = bare_server().await?;
    let sandbox = sandbox().await?;
    let address = sandbox.base_url().trim_start_matches("http://").to_owned();
    let (mut bare_rates, mut sandbox_rates) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        bare_rates.push(turn(&bare, &[]).await?);
        let seeds = sandbox.seed(&Seed::new(CONNECTIONS))?;
        let tokens: Vec<_> = seeds.into_iter().filter_map(|g| g.refresh_token).collect();
        sandbox_rates.push(turn(&address, &tokens).await?);
    }
    let (bare, ours) = (middle(&mut bare_rates), middle(&mut sandbox_rates));
    report(&serde_json::json!({
        "connections": CONNECTIONS,
        "turns": TURNS,
        "turn_s": TURN.as_secs(),
        "bare_axum_per_s": bare.round(),
        "sandbox_per_s": ours.round(),
        "ratio": (ours / bare * 1000.0).round() / 1000.0,
        "token_refresh": sandbox.count(Counter::TokenRefresh),
        "token_refused": sandbox.count(Counter::TokenRefused),
    }));
    sandbox.stop().await;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the figure is what this program is for"
)]
fn report(figures: &serde_json::Value) {
    println!("{figures}");
}

async fn bare_server() -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let answer = |_body: Bytes| async { ([(header::CONTENT_TYPE, "application/json")], BARE) };
    let router = Router::new().route("/oauth/token", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn sandbox() -> Result<SandboxHandle, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let config = SandboxConfig::default();
    Ok(Sandbox::start(config, listener, clock, entropy)?)
}

/// Requests per second over one turn: every connection refreshes again and again with the token it was
/// given last.
async fn turn(address: &str, tokens: &[String]) -> Result<f64, Failure> {
    let began = SystemClock.monotonic();
    let clients = (0..CONNECTIONS).map(|n| {
        let first = tokens.get(n).map_or("sbx_rt_none", |token| token);
        tokio::spawn(client(address.to_owned(), first.to_owned(), began + TURN))
    });
    let mut answers = 0_u32;
    for client in clients.collect::<Vec<_>>() {
        answers += client.await??;
    }
    let took = SystemClock.monotonic().saturating_sub(began);
    Ok(f64::from(answers) / took.as_secs_f64())
}

async fn client(address: String, mut token: String, until: Duration) -> Result<u32, Failure> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut answers = 0;
    while SystemClock.monotonic() < until {
        token = refresh(&mut sender, &address, &token).await?;
        answers += 1;
    }
    Ok(answers)
}

/// One refresh; gives the next refresh token.
async fn refresh(
    sender: &mut SendRequest<Full<Bytes>>,
    address: &str,
    token: &str,
) -> Result<String, Failure> {
    let form = format!(
        "grant_type=refresh_token&refresh_token={token}\
         &client_id=sandbox-client&client_secret=sandbox-secret"
    );
    let request = Request::post("/oauth/token")
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)))?;
    let answer = sender.send_request(request).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    let text = std::str::from_utf8(&body)?;
    let (_, rest) = text
        .split_once("\"refresh_token\":\"")
        .ok_or_else(|| format!("no refresh token in {} bytes", body.len()))?;
    let (next, _) = rest.split_once('"').ok_or("a broken answer")?;
    Ok(next.to_owned())
}

fn middle(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
