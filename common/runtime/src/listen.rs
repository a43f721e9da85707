//! The HTTP listener of every port: bounded connections, a bound on slow heads and on answers that nobody
//! reads, and a stop that lets every request in flight finish.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{bounded_write::BoundedWrite, error::StartError};

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenLimits {
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
    /// How long a client may take to send a request's head.
    pub header_read_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_timeout: Duration,
}

/// Wait after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address.
///
/// # Errors
/// [`StartError::Listen`] naming it.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

/// Serves until `stop`, then lets requests in flight finish, at most for `grace`. Returns whether all did.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenLimits,
    stop: CancellationToken,
    grace: Duration,
) -> bool {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and somebody waits for each.
        drop(stream.set_nodelay(true));
        let service = router
            .clone()
            .map_request(move |mut request: http::Request<_>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request
            });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read_timeout)
            .serve_connection(
                TokioIo::new(BoundedWrite::new(stream, limits.write_timeout)),
                TowerToHyperService::new(service),
            );
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    tokio::time::timeout(grace, graceful.shutdown())
        .await
        .is_ok()
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMITS: ListenLimits = ListenLimits {
        connections: 8,
        header_read_timeout: Duration::from_millis(100),
        write_timeout: Duration::from_millis(100),
    };

    #[tokio::test]
    async fn a_client_that_never_reads_does_not_keep_its_slot() {
        // More than the buffers of both ends take.
        let router = Router::new().route("/big", get(|| async { vec![b'x'; 32 << 20] }));
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let limits = ListenLimits {
            connections: 1,
            ..LIMITS
        };
        let grace = Duration::from_secs(20);
        let served = tokio::spawn(serve(listener, router, limits, stop.clone(), grace));
        let ask = b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(ask).await.unwrap();
        // It waits for the one slot, which the silent client has.
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(ask).await.unwrap();
        let mut answer = Vec::new();
        next.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > 32 << 20);
        drop(silent);
        stop.cancel();
        assert!(served.await.unwrap());
    }

    #[tokio::test]
    async fn a_stop_lets_requests_finish_and_slow_heads_are_cut() {
        let (tx, rx) = tokio::sync::oneshot::channel::<()>();
        let (entered_tx, entered) = tokio::sync::oneshot::channel::<()>();
        let gates = Arc::new(tokio::sync::Mutex::new(Some((entered_tx, rx))));
        let router = Router::new().route(
            "/slow",
            get(move || async move {
                let (entered, gate) = gates.lock().await.take().unwrap();
                entered.send(()).unwrap();
                gate.await.unwrap();
                "done"
            }),
        );
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(
            listener,
            router,
            LIMITS,
            stop.clone(),
            Duration::from_secs(20),
        ));

        let mut lazy = TcpStream::connect(address).await.unwrap();
        lazy.write_all(b"GET / HT").await.unwrap();
        let mut rest = Vec::new();
        lazy.read_to_end(&mut rest).await.unwrap();

        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        entered.await.unwrap();
        stop.cancel();
        tx.send(()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
        assert!(served.await.unwrap());
        assert!(TcpStream::connect(address).await.is_err());
    }
}
