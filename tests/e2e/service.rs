//! The services behind the daemon: one that answers, and others that fail in every way that services do.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode, header};
use axum::routing::any;
use futures_util::stream::{self, StreamExt};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the good route answers.
pub(crate) const ANSWER: &str = "because water runs downhill";

/// The pause before each event of a stream.
pub(crate) const EVENT_PAUSE: Duration = Duration::from_millis(50);

/// The pause before the first event of a stream that begins late: time enough, on a machine that has other work too, to
/// end it before.
const LATE: Duration = Duration::from_secs(30);

/// A service; it stops when this is dropped.
pub(crate) struct Service {
    /// Its base URL.
    pub(crate) url: String,
    counts: Arc<Counts>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    under_way: AtomicU64,
}

/// One request that is being answered, until it is answered or given up.
struct UnderWay(Arc<Counts>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::new(Counts::default());
        let router = Router::new()
            .route("/v1/{*path}", any(answer))
            .route("/broken/{*path}", any(broken))
            .route("/silent/{*path}", any(silent))
            .route("/cut/{*path}", any(cut))
            .route("/torn/{bytes}", any(torn))
            .route("/drip/{*path}", any(drip))
            .route("/events/{count}", any(events))
            .route("/cut-events/{count}", any(cut_events))
            .route("/late-events/{count}", any(late_events))
            .with_state(Arc::clone(&counts));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, counts, serving }
    }

    /// How many requests reached the good route.
    pub(crate) fn hits(&self) -> u64 {
        self.counts.hits.load(Ordering::SeqCst)
    }

    /// How many requests the good route is answering now.
    pub(crate) fn under_way(&self) -> u64 {
        self.counts.under_way.load(Ordering::SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Takes 0 to 15 ms, so that requests are really under way when something happens to the daemon.
async fn answer(State(counts): State<Arc<Counts>>) -> &'static str {
    let hit = counts.hits.fetch_add(1, Ordering::SeqCst);
    counts.under_way.fetch_add(1, Ordering::SeqCst);
    let _under_way = UnderWay(counts);
    tokio::time::sleep(Duration::from_millis(hit * 7 % 16)).await;
    ANSWER
}

async fn broken() -> (StatusCode, &'static str) {
    (StatusCode::INTERNAL_SERVER_ERROR, "it broke\n")
}

async fn silent() -> &'static str {
    tokio::time::sleep(Duration::from_secs(600)).await;
    "too late"
}

/// Promises a thousand bytes, sends ten and hangs up.
async fn cut() -> Response<Body> {
    let pieces = [
        Ok(Bytes::from_static(b"ten bytes!")),
        Err(io::Error::other("cut")),
    ];
    let pieces = stream::iter(pieces).then(|piece| async {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        piece
    });
    Response::builder()
        .header(header::CONTENT_LENGTH, 1000)
        .body(Body::from_stream(pieces))
        .unwrap()
}

/// Takes its time.
async fn drip() -> Response<Body> {
    let pieces = stream::iter(0..50).then(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, io::Error>(Bytes::from_static(b"drip\n"))
    });
    Response::new(Body::from_stream(pieces))
}

/// So many events, one every [`EVENT_PAUSE`].
async fn events(Path(count): Path<u64>) -> Response<Body> {
    event_stream(stream::iter(0..count).map(Ok))
}

/// Thinks for a while after the first bytes, sends so many more, and hangs up.
async fn torn(Path(bytes): Path<usize>) -> Response<Body> {
    let pieces = [
        Ok(Bytes::from_static(b"ten bytes!")),
        Ok(Bytes::from(vec![b'x'; bytes])),
        Err(io::Error::other("torn")),
    ];
    let pieces = stream::iter(pieces).enumerate().then(async |(at, piece)| {
        let pause = [0, 1_000, 200][at];
        tokio::time::sleep(Duration::from_millis(pause)).await;
        piece
    });
    Response::builder()
        .header(header::CONTENT_LENGTH, 1_000_000)
        .body(Body::from_stream(pieces))
        .unwrap()
}

/// So many events, then it breaks off.
async fn cut_events(Path(count): Path<u64>) -> Response<Body> {
    event_stream(stream::iter(0..=count).map(move |at| {
        if at < count {
            Ok(at)
        } else {
            Err(io::Error::other("cut"))
        }
    }))
}

/// So many events, of which the first takes long.
async fn late_events(Path(count): Path<u64>) -> Response<Body> {
    event_stream(stream::iter(0..count).then(async |number| {
        if number == 0 {
            tokio::time::sleep(LATE).await;
        }
        Ok(number)
    }))
}

fn event_stream(numbers: impl stream::Stream<Item = io::Result<u64>> + Send + 'static) -> Response<Body> {
    let events = numbers.then(async |number| {
        tokio::time::sleep(EVENT_PAUSE).await;
        number.map(|number| Bytes::from(format!("data: {number}\n\n")))
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(Body::from_stream(events))
        .unwrap()
}

/// A way to a chain that can be there or not.
pub(crate) struct Wire {
    serving: JoinHandle<()>,
}

impl Wire {
    /// Listens at `here` and passes everything on to `there`.
    pub(crate) async fn lay(here: u16, there: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", here)).await.unwrap();
        let there = there.trim_start_matches("http://").to_owned();
        let serving = tokio::spawn(async move {
            let mut passing = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let there = there.clone();
                passing.spawn(async move {
                    if let Ok(mut far) = tokio::net::TcpStream::connect(there).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { serving }
    }

    /// Cuts it, connections included.
    pub(crate) async fn cut(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}
