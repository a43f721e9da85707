//! The connection loop. It is our own instead of `axum::serve` because a fault must be able to close a
//! socket without an answer, which takes an error from the service.

use std::{fmt, io, sync::Arc};

use axum::{Router, body::Body, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use crate::{
    counters::Counter,
    faults::Cut,
    limits::{ACCEPT_PAUSE, HEAD_TIMEOUT, MAX_CONNECTIONS, STOP_GRACE},
    state::Shared,
};

/// Why a request has no answer.
#[derive(Debug)]
struct ConnectionCut;

impl fmt::Display for ConnectionCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault cut the connection")
    }
}

impl std::error::Error for ConnectionCut {}

/// Counts a request that is dropped before its answer: its client has gone away.
struct Unanswered<'a>(Option<&'a Shared>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.counters.add(Counter::Abandoned, 1);
        }
    }
}

/// Serves until the sandbox is stopped, then lets requests in flight end within the grace.
pub(crate) async fn serve(listener: TcpListener, router: Router, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), shared.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, ended).await.is_err() {
        tracing::debug!("requests were still in flight when the sandbox stopped");
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, router: Router, shared: Arc<Shared>) {
    if let Err(error) = talk(stream, router, &shared).await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn talk(stream: TcpStream, router: Router, shared: &Shared) -> Result<(), io::Error> {
    stream.set_nodelay(true)?;
    let service = service_fn(|request| answer(router.clone(), shared, request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shared.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    ended.map_err(io::Error::other)
}

async fn answer(
    router: Router,
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response, ConnectionCut> {
    // Declared first, so that it counts after the request's own parts are dropped.
    let mut unanswered = Unanswered(Some(shared));
    let answer = match router.oneshot(request.map(Body::new)).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    unanswered.0 = None;
    match answer.extensions().get::<Cut>() {
        Some(Cut) => Err(ConnectionCut),
        None => Ok(answer),
    }
}
