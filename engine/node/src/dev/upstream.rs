//! A sample service to sell: short answers, and a story that is told token by token.

use axum::extract::Query;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use axum::{Json, Router};
use core::convert::Infallible;
use core::time::Duration;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How many tokens a story has when the request does not say.
pub const STORY_TOKENS: usize = 60;
/// The longest story.
pub const STORY_TOKENS_MAX: usize = 100_000;

const TOLD: &str = "A miller built a weir across the river and the water that had always run past him turned his \
                    wheel all day . Each evening he counted the sacks and each sack was paid for by the turn of the \
                    wheel that had ground it , no more and no less . ";

/// The sample service; it stops when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Upstream {
    /// Starts the service at an address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router()).await {
                tracing::error!(%error, "the sample service stopped");
            }
        });
        Ok(Self { address, serving })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The service's routes.
pub fn router() -> Router {
    Router::new()
        .route("/v1/answer", get(answer).post(answer))
        .route("/v1/once", get(answer))
        .route("/v1/story", get(story))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
}

#[derive(Debug, Deserialize)]
struct Question {
    q: Option<String>,
}

async fn answer(Query(question): Query<Question>) -> Json<Value> {
    let asked = question.q.unwrap_or_else(|| "nothing".to_owned());
    let words = asked.split_whitespace().count();
    Json(
        json!({ "question": asked, "answer": format!("That is a question of {words} words, and worth asking.") }),
    )
}

#[derive(Debug, Deserialize)]
struct Telling {
    tokens: Option<usize>,
    delay_ms: Option<u64>,
}

async fn story(Query(telling): Query<Telling>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let count = telling.tokens.unwrap_or(STORY_TOKENS).min(STORY_TOKENS_MAX);
    let pause = Duration::from_millis(telling.delay_ms.unwrap_or_default());
    let tokens = TOLD
        .split_inclusive(' ')
        .cycle()
        .take(count)
        .map(|token| json!({ "token": token }).to_string());
    let events = stream::iter(tokens).then(move |data| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(Event::default().data(data))
    });
    let end = stream::once(async { Ok(Event::default().data("[DONE]")) });
    Sse::new(events.chain(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn the_sample_service_answers_and_tells() {
        let upstream = Upstream::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let get = |path: &str| reqwest::get(format!("{}{path}", upstream.url()));
        let health: Value = get("/health").await.unwrap().json().await.unwrap();
        assert_eq!(health, json!({ "status": "ok" }));
        let answer: Value = get("/v1/answer?q=why%20so%20dear")
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer["question"], "why so dear");

        let story = get("/v1/story?tokens=3&delay_ms=1").await.unwrap();
        assert_eq!(story.headers()["content-type"], "text/event-stream");
        let told = story.text().await.unwrap();
        let expected = "data: {\"token\":\"A \"}\n\ndata: {\"token\":\"miller \"}\n\n\
                        data: {\"token\":\"built \"}\n\ndata: [DONE]\n\n";
        assert_eq!(told, expected);
    }
}
