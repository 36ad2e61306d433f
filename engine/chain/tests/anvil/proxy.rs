//! A replica that can lag, fail, or recover, in front of a node that is well.

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How the replica misbehaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mood {
    /// It says that this is the newest block.
    pub(crate) head: Option<u64>,
    /// It answers nothing but 503.
    pub(crate) down: bool,
}

pub(crate) struct Replica {
    pub(crate) url: String,
    mood: Arc<Mutex<Mood>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replica {
    pub(crate) async fn of(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mood = Arc::new(Mutex::new(Mood::default()));
        let shared = Arc::clone(&mood);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mood = *shared.lock().unwrap();
                tokio::spawn(async move { serve(client, port, mood).await });
            }
        });
        Self { url, mood, task }
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

/// One request per connection.
async fn serve(mut client: TcpStream, port: u16, mood: Mood) -> Option<()> {
    let body = read_body(&mut client).await?;
    if mood.down {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return client.write_all(answer).await.ok();
    }
    let mut request: Value = serde_json::from_slice(&body).ok()?;
    if let (Some(head), "eth_getBlockByNumber") = (mood.head, request["method"].as_str()?)
        && request["params"][0] == "latest"
    {
        request["params"][0] = json!(format!("{head:#x}"));
    }
    let body = request.to_string();
    let mut node = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    node.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    tokio::io::copy(&mut node, &mut client).await.ok()?;
    client.shutdown().await.ok()
}

async fn read_body(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0u8; 4096];
        let read = client.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length?.trim().parse().ok()?;
        let start = head.len() + 4;
        if bytes.len() >= start + length {
            return Some(bytes[start..start + length].to_vec());
        }
    }
}
