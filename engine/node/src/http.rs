//! Serves HTTP with every wait bounded: a client that is slow to ask costs one connection for a few seconds
//! (threat H4).

use crate::tls::Tls;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Connections open at once on one listener; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long a client may take to send a request's head.
pub const HEAD_SECONDS_MAX: u64 = 10;
/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
pub const STREAMS_MAX: u32 = 128;
/// How often a silent HTTP/2 connection is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// Pause after a connection could not be accepted: usually no descriptor was free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopped` turns true, then lets the requests under way end. With TLS, nothing else is spoken.
///
/// # Errors
/// None at present: what fails is one connection.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let server = builder();
    let open = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let under_way = GracefulShutdown::new();
    loop {
        let turn = Arc::clone(&open).acquire_owned();
        let accepted = async {
            let turn = turn.await;
            (turn, listener.accept().await)
        };
        let (turn, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Small answers are common here, and each waits for nobody.
        let _ = stream.set_nodelay(true);
        let attended = Attended {
            server: server.clone(),
            service: TowerToHyperService::new(router.clone()),
            watcher: under_way.watcher(),
        };
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => attended.to(stream).await,
                Some(tls) => {
                    if let Some(stream) = tls.accept(stream).await {
                        attended.to(stream).await;
                    }
                }
            }
            drop(turn);
        });
    }
    under_way.shutdown().await;
    Ok(())
}

/// One connection's service.
struct Attended {
    server: auto::Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
}

impl Attended {
    async fn to(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        // The head's deadline runs from its first byte; until that comes, this one does.
        let mut stream = BufReader::new(stream);
        let first_byte = tokio::time::timeout(Duration::from_secs(HEAD_SECONDS_MAX), stream.fill_buf()).await;
        if !matches!(first_byte, Ok(Ok([_, ..]))) {
            return;
        }
        let connection = self
            .server
            .serve_connection(TokioIo::new(stream), self.service)
            .into_owned();
        // A client that breaks off is no event.
        let _ = self.watcher.watch(connection).await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_SECONDS_MAX))
        .max_buf_size(HEAD_BYTES_MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING);
    server
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn until_closed(said: &[u8]) -> (Vec<u8>, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().route("/", get(|| async { "here" }));
        let serving = tokio::spawn(serve(listener, None, router, stopped));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(said).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        let took = began.elapsed();
        stop.send_replace(true);
        serving.await.unwrap().unwrap();
        (answer, took)
    }

    #[tokio::test]
    async fn threat_h4_who_is_silent_or_slow_to_ask_is_let_go() {
        let silent = until_closed(b"");
        let slow = until_closed(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
        let quick = until_closed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (silent, slow, quick) = tokio::join!(silent, slow, quick);
        let bound = Duration::from_secs(HEAD_SECONDS_MAX + 5);
        assert!(silent.0.is_empty() && silent.1 < bound, "{silent:?}");
        assert!(!slow.0.ends_with(b"here") && slow.1 < bound, "{slow:?}");
        assert!(quick.0.ends_with(b"here"), "{quick:?}");
    }
}
