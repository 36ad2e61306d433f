//! Serves HTTP with every wait bounded: a client that is slow to ask costs one connection for a few seconds
//! (threat H4).

use crate::peers::Peers;
use crate::tls::Tls;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
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
/// What every HTTP/2 connection begins with (RFC 9113, 3.4), and no request of HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause after a connection could not be accepted: usually no descriptor was free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from, and what is spoken on them.
pub struct Door {
    /// The socket.
    pub listener: TcpListener,
    /// With it, nothing else is spoken.
    pub tls: Option<Tls>,
    /// Bounds each peer's connections; `None` where all come from one address, that of a proxy or of this machine.
    pub peers: Option<Peers>,
}

/// Serves until `stopped` turns true, then lets the requests under way end.
///
/// # Errors
/// None at present: what fails is one connection.
pub async fn serve(door: Door, router: Router, mut stopped: watch::Receiver<bool>) -> Result<(), String> {
    let Door { listener, tls, peers } = door;
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
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = match &peers {
            None => None,
            Some(peers) => match peers.admit(from.ip()) {
                Some(place) => Some(place),
                // Hung up, and told to the operator: whoever has so many open can use one of them.
                None => continue,
            },
        };
        // Small answers are common here, and each waits for nobody.
        let _ = stream.set_nodelay(true);
        let attended = Attended {
            server: server.clone(),
            service: TowerToHyperService::new(router.clone()),
            watcher: under_way.watcher(),
            stopped: stopped.clone(),
        };
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => attended.to(stream).await,
                Some(tls) => {
                    if let Some(stream) = attended.first(tls.accept(stream)).await {
                        attended.to(stream).await;
                    }
                }
            }
            drop((turn, place));
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
    stopped: watch::Receiver<bool>,
}

impl Attended {
    async fn to(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        // The head's deadline, and HTTP/2's pings, begin when it is known which is spoken; until then this one runs.
        let (mut read, write) = tokio::io::split(stream);
        let begun = tokio::time::timeout(Duration::from_secs(HEAD_SECONDS_MAX), begin(&mut read));
        let Some(begun) = self.first(async { begun.await.ok()? }).await else {
            return;
        };
        let stream = tokio::io::join(Cursor::new(begun).chain(read), write);
        let connection = self
            .server
            .serve_connection(TokioIo::new(stream), self.service)
            .into_owned();
        // A client that breaks off is no event.
        let _ = self.watcher.watch(connection).await;
    }

    /// What a client does before it asks for anything. When the daemon stops, that is not waited for.
    async fn first<T>(&self, done: impl Future<Output = Option<T>>) -> Option<T> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            done = done => done,
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }
}

/// Reads until it is known whether HTTP/2 is spoken; `None` when the client leaves before.
async fn begin(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut begun = Vec::with_capacity(1024);
    while begun.len() < PREFACE.len() && PREFACE.starts_with(&begun) {
        if stream.read_buf(&mut begun).await.ok()? == 0 {
            return None;
        }
    }
    Some(begun)
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
    use crate::config::limits::CONNECTIONS_PER_PEER;
    use axum::routing::get;
    use prometheus_client::metrics::counter::Counter;
    use std::net::SocketAddr;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    /// How long anything may take on a machine that has other work too.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn router() -> Router {
        Router::new().route("/", get(|| async { "here" }))
    }

    /// By then every client here must have been let go; without a timer, paused time stands still.
    const CLOSED_MAX: Duration = Duration::from_secs(600);

    /// What is answered to these bytes until the connection ends, and when that is. Time passes by itself.
    async fn until_closed(said: &[u8]) -> (Vec<u8>, Duration) {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let (under_way, running) = (GracefulShutdown::new(), watch::Sender::new(false));
        let attended = Attended {
            server: builder(),
            service: TowerToHyperService::new(router()),
            watcher: under_way.watcher(),
            stopped: running.subscribe(),
        };
        let serving = tokio::spawn(attended.to(server));
        client.write_all(said).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(CLOSED_MAX, client.read_to_end(&mut answer)).await;
        assert!(closed.is_ok_and(|read| read.is_ok()), "{said:?} is waited for");
        serving.await.unwrap();
        (answer, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn threat_h4_who_is_silent_or_slow_to_ask_is_let_go() {
        let bound = Duration::from_secs(HEAD_SECONDS_MAX + 1);
        for slow in [
            &b""[..],
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            // It may yet be either version of HTTP.
            b"P",
            &PREFACE[..PREFACE.len() - 1],
        ] {
            let (answer, took) = until_closed(slow).await;
            assert!(!answer.ends_with(b"here") && took < bound, "{slow:?}: {took:?}");
        }
        // One that began HTTP/2 and then says nothing is asked whether it is still there, and does not answer.
        let (_, took) = until_closed(PREFACE).await;
        assert!(took <= 2 * PING, "{took:?}");
        for quick in [
            &b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"[..],
            b"GET / HTTP/1.0\r\n\r\n",
        ] {
            let (answer, took) = until_closed(quick).await;
            assert!(answer.ends_with(b"here") && took.is_zero(), "{answer:?}");
        }
    }

    /// A listener that gives each peer so many connections.
    async fn open(
        each_max: Option<usize>,
    ) -> (SocketAddr, watch::Sender<bool>, JoinHandle<Result<(), String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let door = Door {
            listener,
            tls: None,
            peers: each_max.map(|each_max| Peers::new(each_max, Counter::default())),
        };
        (address, stop, tokio::spawn(serve(door, router(), stopped)))
    }

    async fn ask(stream: &mut TcpStream) -> bool {
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = Vec::new();
        while asked.is_ok() && !answer.ends_with(b"here") {
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                break;
            }
        }
        answer.ends_with(b"here")
    }

    async fn connect(from: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        socket.connect(to).await.unwrap()
    }

    #[tokio::test]
    async fn threat_h4_one_peer_does_not_take_every_connection() {
        let (address, stop, serving) = open(Some(2)).await;
        let mut first = connect("127.0.0.1", address).await;
        let mut second = connect("127.0.0.1", address).await;
        assert!(ask(&mut first).await && ask(&mut second).await);
        assert!(
            !ask(&mut connect("127.0.0.1", address).await).await,
            "its share is taken"
        );
        assert!(
            ask(&mut connect("127.0.0.2", address).await).await,
            "others have theirs"
        );
        assert!(ask(&mut first).await, "what it has goes on");
        drop(first);
        let deadline = Instant::now() + PATIENCE;
        while !ask(&mut connect("127.0.0.1", address).await).await {
            assert!(Instant::now() < deadline, "its place comes free");
        }
        stop.send_replace(true);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_has_asked_for_nothing_is_not_waited_for_at_the_end() {
        let (address, stop, serving) = open(None).await;
        let _silent = connect("127.0.0.1", address).await;
        // They are accepted in this order.
        assert!(ask(&mut connect("127.0.0.1", address).await).await);
        stop.send_replace(true);
        let ended = tokio::time::timeout(PATIENCE, serving).await;
        assert_eq!(ended.unwrap().unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn behind_a_proxy_every_connection_comes_from_one_peer() {
        let (address, stop, serving) = open(None).await;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS_PER_PEER + 10 {
            open.push(connect("127.0.0.1", address).await);
        }
        for stream in &mut open {
            assert!(ask(stream).await);
        }
        drop(open);
        stop.send_replace(true);
        serving.await.unwrap().unwrap();
    }
}
