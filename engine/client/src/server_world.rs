//! A server of the tests' own, honest or not: it answers the payer's requests as a script tells it to.

use crate::chain_world::{DEPOSIT, World};
use crate::{Limits, Payer};
use alloy::primitives::hex;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_core::{Amount, ChannelId, Cumulative, UnixSeconds};
use weir_protocol::sse::{NeedVoucher, receipt_event};
use weir_protocol::{Challenge, Credential, Problem, ProblemType, SessionReceipt, b64};

pub(crate) const PRICE: u128 = 10;

/// What came with a credential.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) method: String,
    pub(crate) channel: ChannelId,
    pub(crate) voucher: Cumulative,
    pub(crate) challenge: String,
}

impl Got {
    /// A receipt for it.
    pub(crate) fn receipt(&self, accepted: u128, spent: u128) -> SessionReceipt {
        SessionReceipt {
            method: "evm".into(),
            timestamp: UnixSeconds(1_800_000_000),
            challenge_id: self.challenge.clone(),
            channel: self.channel,
            accepted: Cumulative::new(accepted),
            spent: Cumulative::new(spent),
            chain_id: Some(31337),
            units: None,
            tx_hash: None,
            confirmations: None,
        }
    }

    /// What was authorised by it, in base units.
    pub(crate) fn total(&self) -> u128 {
        self.voucher.base_units()
    }

    /// A receipt that claims so much and accepts the voucher.
    pub(crate) fn spent(&self, spent: u128) -> SessionReceipt {
        self.receipt(self.total(), spent)
    }
}

/// One answer to a credential.
pub(crate) type Turn = Box<dyn FnOnce(&Got) -> Response<Body> + Send>;

/// A plain answer with a receipt.
pub(crate) fn sold(receipt: &SessionReceipt) -> Response<Body> {
    let header = receipt.to_header().unwrap();
    ([("payment-receipt", header)], "content").into_response()
}

/// A stream of these pieces under a receipt; `None` breaks the connection.
pub(crate) fn streamed(receipt: &SessionReceipt, pieces: Vec<Option<String>>) -> Response<Body> {
    let pieces = stream::iter(pieces).then(|piece| async {
        if piece.is_none() {
            // What came before has to be on its way.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        piece.ok_or_else(|| std::io::Error::other("cut"))
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .header("payment-receipt", receipt.to_header().unwrap())
        .body(Body::from_stream(pieces))
        .unwrap()
}

/// An event of the service.
pub(crate) fn unit() -> Option<String> {
    Some("data: unit\n\n".to_owned())
}

/// The event that asks for a voucher.
pub(crate) fn need(channel: ChannelId, required: u128, accepted: u128) -> Option<String> {
    let need = NeedVoucher {
        channel_id: channel,
        required_cumulative: Cumulative::new(required),
        accepted_cumulative: Cumulative::new(accepted),
        deposit: Cumulative::new(DEPOSIT),
    };
    Some(need.to_event().unwrap())
}

/// The event that ends a stream.
pub(crate) fn last(receipt: &SessionReceipt) -> Option<String> {
    Some(receipt_event(receipt).unwrap())
}

/// A no, because the voucher should authorise so much.
pub(crate) fn short(required: u128) -> Response<Body> {
    let problem = Problem::new(ProblemType::InsufficientBalance, "more")
        .with("requiredCumulative", required.to_string());
    (StatusCode::PAYMENT_REQUIRED, problem.body()).into_response()
}

/// A no, because the server does not know the channel, or not any more.
pub(crate) fn gone() -> Response<Body> {
    let problem = Problem::new(ProblemType::ChannelNotFound, "gone");
    (StatusCode::GONE, problem.body()).into_response()
}

/// The server; it stops when this is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Got>>>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Answers credentials by these turns, and everything else by a challenge; when they are used up, with 503.
    pub(crate) async fn start(world: &World, turns: Vec<Turn>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let turns = Arc::new(Mutex::new(VecDeque::from(turns)));
        let details = json!({"escrowContract": world.escrow, "chainId": 31337});
        let request = json!({"amount": PRICE.to_string(), "currency": world.token,
            "recipient": world.payee.address(), "suggestedDeposit": DEPOSIT.to_string(),
            "methodDetails": details});
        let offered = b64::encode(request.to_string());
        let seen = Arc::clone(&got);
        let answer = move |request: Request| {
            let (offered, seen, turns) = (offered.clone(), Arc::clone(&seen), Arc::clone(&turns));
            async move {
                let Some(header) = request.headers().get(header::AUTHORIZATION) else {
                    return challenge(&offered);
                };
                let credential = Credential::find([header.as_bytes()]).unwrap().unwrap();
                let text = |name: &str| {
                    let value = credential.payload.get(name).and_then(Value::as_str);
                    value.unwrap_or("0").to_owned()
                };
                let got = Got {
                    method: request.method().to_string(),
                    channel: text("channelId").parse().unwrap(),
                    voucher: text("cumulativeAmount").parse().unwrap(),
                    challenge: credential.challenge.id.clone(),
                };
                seen.lock().unwrap().push(got.clone());
                let turn = turns.lock().unwrap().pop_front();
                let Some(turn) = turn else {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                };
                let mut answer = turn(&got);
                if answer.status() == StatusCode::PAYMENT_REQUIRED {
                    answer.headers_mut().extend(challenge(&offered).headers().clone());
                }
                answer
            }
        };
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, Router::new().fallback(answer)).await;
        });
        Self { url, got, serving }
    }

    /// The credentials that came, in order.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The highest total that ever left the payer.
    pub(crate) fn authorised(&self) -> u128 {
        self.got().iter().map(Got::total).max().unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn challenge(offered: &str) -> Response<Body> {
    let mut id = [0u8; 8];
    getrandom::fill(&mut id).unwrap();
    let challenge = Challenge {
        id: hex::encode(id),
        realm: "r".into(),
        method: "evm".into(),
        intent: "session".into(),
        request: offered.to_owned(),
        expires: Some("2999-01-01T00:00:00Z".into()),
        digest: None,
        description: None,
        opaque: None,
    };
    let header = challenge.to_header().unwrap();
    (StatusCode::PAYMENT_REQUIRED, [(header::WWW_AUTHENTICATE, header)]).into_response()
}

/// A payer whose streams may cost so much.
pub(crate) async fn payer(world: &World, max_stream: u128) -> Payer {
    let limits = Limits {
        max_stream: Amount::new(max_stream),
        ..world.limits()
    };
    world.payer_with(limits).await
}
