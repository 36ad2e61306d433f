//! A stand-in for Tempo's channel reserve, for a devnet whose chain does not have it: our own Solidity, written from
//! TIP-1034, at the reserve's address.
//!
//! The reserve's ids bind what the payer signed, which a contract does not see. So transactions go to the node by way of
//! a [`Scribe`], which reads each one and tells the stand-in before the node has it. And where the reserve moves tokens
//! by itself, the stand-in needs the payers' approval.

use crate::commands::Failure;
use crate::keys::SecretKey;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_chain::{EscrowCalls, ForeignTransaction, Rpc, Sender};
use weir_core::Amount;
use weir_core::terms::TEMPO_RESERVE;

const STAND_IN: &str = include_str!("../../../../contracts/abi/TempoChannelReserve.json");
/// The slot of the stand-in's `_announced`.
const ANNOUNCED_SLOT: u64 = 3;
/// How long each approval may take.
const APPROVAL: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    deployed_bytecode: Bytes,
}

/// Puts the stand-in's code where Tempo has its reserve, and has the payers approve it.
///
/// # Errors
/// The node is not anvil, or an approval did not land.
pub async fn install(url: &str, token: Address, payers: &[SecretKey]) -> Result<(), Failure> {
    let artifact: Artifact = serde_json::from_str(STAND_IN).map_err(Failure::failed)?;
    let node = Node::new(url);
    node.ask(
        "anvil_setCode",
        json!([TEMPO_RESERVE, artifact.deployed_bytecode]),
    )
    .await?;
    let rpc = Rpc::new(url).map_err(Failure::failed)?;
    let approve = EscrowCalls::new(TEMPO_RESERVE).approve(token, Amount::new(u128::MAX));
    let approvals = payers.iter().map(|payer| {
        let (rpc, approve) = (rpc.clone(), &approve);
        async move {
            let payer = Sender::connect(rpc, payer.signer().clone()).await?;
            payer.land(approve, Instant::now() + APPROVAL).await
        }
    });
    futures_util::future::try_join_all(approvals)
        .await
        .map_err(Failure::failed)?;
    Ok(())
}

/// A node's RPC.
struct Node {
    url: String,
    http: Client,
}

impl Node {
    fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            http: Client::new(),
        }
    }

    async fn pass(&self, question: Bytes) -> Result<Vec<u8>, reqwest::Error> {
        let asked = self.http.post(&self.url).body(question.to_vec());
        let answer = asked
            .header(header::CONTENT_TYPE, "application/json")
            .send()
            .await?;
        Ok(answer.bytes().await?.to_vec())
    }

    async fn ask(&self, method: &str, params: Value) -> Result<(), Failure> {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.pass(question.to_string().into_bytes().into()).await;
        let answer: Value =
            serde_json::from_slice(&answer.map_err(Failure::failed)?).map_err(Failure::failed)?;
        match answer.get("error") {
            Some(error) => Err(Failure::failed(format_args!("{method}: {error}"))),
            None => Ok(()),
        }
    }

    /// Tells the stand-in what the transaction's sender signed.
    async fn announce(&self, transaction: &ForeignTransaction) -> Result<(), Failure> {
        let slot = announced_slot(transaction.sender);
        self.ask(
            "anvil_setStorageAt",
            json!([
                TEMPO_RESERVE,
                U256::from_be_bytes(slot.0),
                transaction.expiring_nonce_hash
            ]),
        )
        .await
    }
}

fn announced_slot(origin: Address) -> B256 {
    let mut key = [0; 64];
    key[12..32].copy_from_slice(origin.as_slice());
    key[32..].copy_from_slice(&U256::from(ANNOUNCED_SLOT).to_be_bytes::<32>());
    keccak256(key)
}

/// The way to a node by which the stand-in hears what was signed; it ends when this is dropped.
pub struct Scribe {
    /// Where the node seems to be.
    pub url: String,
    serving: JoinHandle<()>,
}

impl Scribe {
    /// Stands before the node at `url`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn before(url: &str) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Failure::failed)?;
        let at = listener.local_addr().map_err(Failure::failed)?;
        let router = Router::new().fallback(relay).with_state(Arc::new(Node::new(url)));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            url: format!("http://{at}"),
            serving,
        })
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn relay(State(node): State<Arc<Node>>, question: axum::body::Bytes) -> Response<Body> {
    if let Some(transaction) = broadcast(&question) {
        // Untold, the open makes a channel of another id, and whoever waits for it says so.
        let _ = node
            .announce(&transaction)
            .await
            .inspect_err(|failure| tracing::error!(%failure, "the stand-in was not told what was signed"));
    }
    let (status, answer) = match node.pass(question.into()).await {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => (
            StatusCode::BAD_GATEWAY,
            error.without_url().to_string().into_bytes(),
        ),
    };
    let mut response = Response::new(Body::from(answer));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The Tempo transaction that a question to the node broadcasts.
fn broadcast(question: &[u8]) -> Option<ForeignTransaction> {
    let question: Value = serde_json::from_slice(question).ok()?;
    let sends = matches!(
        question["method"].as_str(),
        Some("eth_sendRawTransaction" | "eth_sendRawTransactionSync")
    );
    let raw: Bytes = question["params"][0].as_str().filter(|_| sends)?.parse().ok()?;
    ForeignTransaction::decode(&raw).ok()
}
