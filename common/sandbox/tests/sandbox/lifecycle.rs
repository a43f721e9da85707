//! Starting and stopping.

use std::sync::Arc;

use latchkey_domain::{SystemClock, SystemEntropy};
use latchkey_sandbox::{
    Client, Counter, Fault, FaultKind, Sandbox, SandboxConfig, Settings, StartError, Target,
};
use reqwest::Method;
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Peer, sent};

#[tokio::test]
async fn a_stop_lets_requests_end_and_closes_the_port() {
    let peer = Peer::new().await;
    let address = peer
        .sandbox
        .base_url()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    let (access, _) = peer.seeded();
    peer.sandbox.change(|s| s.api_latency_ms = 300).unwrap();
    let call = tokio::spawn(sent(peer.api(Method::GET, "/api/me", &access)));
    peer.reach(Counter::ApiCalls, 1).await;
    peer.sandbox.stop().await;
    assert_eq!(call.await.unwrap().unwrap().status, 200);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_stop_cuts_what_hangs() {
    let peer = Peer::new().await;
    peer.fault(Fault::new(Target::Api, FaultKind::Hang));
    let call = tokio::spawn(sent(peer.request(Method::GET, "/api/me")));
    peer.reach(Counter::FaultsHit, 1).await;
    peer.sandbox.stop().await;
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_wrong_configuration_does_not_start() {
    let start = async |config| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        Sandbox::start(config, listener, clock, entropy)
    };
    let nameless = Client {
        client_id: String::new(),
        ..Client::default_client()
    };
    let config = SandboxConfig {
        clients: vec![nameless],
        ..SandboxConfig::default()
    };
    assert!(matches!(start(config).await, Err(StartError::Client(_))));
    let settings = Settings {
        access_lifetime_s: f64::NAN,
        ..Settings::default()
    };
    let config = SandboxConfig {
        settings,
        ..SandboxConfig::default()
    };
    assert!(matches!(start(config).await, Err(StartError::Settings(_))));
    let config = SandboxConfig {
        public_url: Some("https://sandbox.example/".into()),
        ..SandboxConfig::default()
    };
    assert_eq!(
        start(config).await.unwrap().base_url(),
        "https://sandbox.example"
    );
}
