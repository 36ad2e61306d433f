//! A gate before a node: broadcasts are counted there, and can be held up on their way in or out.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};
use reqwest::Client;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What becomes of broadcasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broadcasts {
    /// They pass, and so do their answers.
    Pass,
    /// The node never hears of them.
    HeldBefore,
    /// The node has them, and its answer never comes.
    HeldAfter,
    /// The node lags: it refuses them, and seems to know of no transaction.
    Lagging,
}

/// What has come to the gate.
#[derive(Debug, Default)]
struct Seen {
    /// What the node answered to each broadcast that it heard of: the transaction's hash, if it took it.
    heard: Vec<Value>,
    /// Broadcasts that are held up.
    held: usize,
}

struct Shared {
    node: String,
    http: Client,
    mood: Mutex<Broadcasts>,
    seen: Mutex<Seen>,
}

/// Stands until this is dropped.
pub(crate) struct Gate {
    /// Where the node seems to be.
    pub(crate) url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn before(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            node: node.to_owned(),
            http: Client::new(),
            mood: Mutex::new(Broadcasts::Pass),
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, shared, serving }
    }

    /// From now on.
    pub(crate) fn broadcasts(&self, mood: Broadcasts) {
        *self.shared.mood.lock().unwrap() = mood;
        self.shared.seen.lock().unwrap().held = 0;
    }

    /// Waits until a broadcast is held up.
    pub(crate) async fn holds_one(&self) {
        for _ in 0..600 {
            if self.shared.seen.lock().unwrap().held > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing is broadcast");
    }

    /// What the node answered to every broadcast that it heard of.
    pub(crate) fn heard(&self) -> Vec<Value> {
        self.shared.seen.lock().unwrap().heard.clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, body: Bytes) -> Response<axum::body::Body> {
    let question: Value = serde_json::from_slice(&body).unwrap();
    let broadcasts = question["method"] == "eth_sendRawTransaction";
    let mood = *shared.mood.lock().unwrap();
    if broadcasts && mood == Broadcasts::HeldBefore {
        return hold(&shared).await;
    }
    if mood == Broadcasts::Lagging {
        let answer = match question["method"].as_str() {
            Some("eth_sendRawTransaction") => {
                json!({ "error": { "code": -32_003, "message": "nonce too low" } })
            }
            Some("eth_getTransactionByHash" | "eth_getTransactionReceipt") => json!({ "result": null }),
            _ => Value::Null,
        };
        if let Value::Object(mut answer) = answer {
            answer.insert("jsonrpc".to_owned(), json!("2.0"));
            answer.insert("id".to_owned(), question["id"].clone());
            return respond(Value::Object(answer).to_string());
        }
    }
    let ask = shared.http.post(&shared.node).json(&question).send().await;
    let answer = ask.unwrap().bytes().await.unwrap();
    if broadcasts {
        let said: Value = serde_json::from_slice(&answer).unwrap();
        shared.seen.lock().unwrap().heard.push(said["result"].clone());
        if mood == Broadcasts::HeldAfter {
            return hold(&shared).await;
        }
    }
    respond(answer)
}

fn respond(answer: impl Into<axum::body::Body>) -> Response<axum::body::Body> {
    let mut response = Response::new(answer.into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn hold(shared: &Shared) -> Response<axum::body::Body> {
    shared.seen.lock().unwrap().held += 1;
    std::future::pending().await
}
