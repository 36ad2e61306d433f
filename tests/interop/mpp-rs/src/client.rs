// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pays a devnet with mpp as published.
//!
//!     mpp-client charge|v1|v2 READY_FILE
//!
//! READY_FILE is what `weir dev --chain tempo --ready-file` wrote. By sessions, one payer opens a channel, pays for three
//! answers and closes; a second one reads a stream that is paid by the event, and closes. By v2 alone, for mpp does neither on
//! channels of v1: a third one locks too little, tops up by itself when it has to, and closes; a fourth one forgets all but
//! its store of channels, goes on, and closes. What came back is printed as one JSON document, as the scripts beside this
//! folder do.

use alloy::signers::local::PrivateKeySigner;
use mpp::client::tempo::session::store::MemoryChannelStore;
use mpp::client::{Fetch, TempoProvider, TempoSessionProvider};
use mpp::server::sse::{SseEvent, parse_event};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::error::Error;
use std::sync::Arc;

const ANSWERS: usize = 3;
/// What a payer trusts a seller with, in base units.
const MAX_DEPOSIT: u128 = 1_000_000;
/// Two answers' worth, and that of three more, in base units.
const SMALL_DEPOSIT: u128 = 200;
const TOP_UP: u128 = 300;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Ready {
    rpc_url: String,
    escrow: String,
    charge_url: String,
    session_v1_url: String,
    sse_url: String,
    session_v2_url: String,
    sse_v2_url: String,
    payer_keys: Vec<String>,
}

/// What a session is paid on.
struct Shop<'a> {
    ready: &'a Ready,
    is_v1: bool,
    http: Client,
}

struct Payer<'a> {
    shop: &'a Shop<'a>,
    session: TempoSessionProvider,
}

fn receipt(response: &Response) -> Value {
    let header = response.headers().get("payment-receipt");
    json!(header.and_then(|value| value.to_str().ok()))
}

impl<'a> Shop<'a> {
    fn url(&self) -> &str {
        if self.is_v1 {
            &self.ready.session_v1_url
        } else {
            &self.ready.session_v2_url
        }
    }

    fn payer(&'a self, key: usize) -> Outcome<Payer<'a>> {
        let signer: PrivateKeySigner = self.ready.payer_keys[key].parse()?;
        let mut session =
            TempoSessionProvider::new(signer, &self.ready.rpc_url)?.with_max_deposit(MAX_DEPOSIT);
        if self.is_v1 {
            session = session.with_escrow_contract(self.ready.escrow.parse()?);
        }
        Ok(Payer { shop: self, session })
    }

    async fn answers(&'a self) -> Outcome<Value> {
        let payer = self.payer(0)?;
        let answers = payer.buy(ANSWERS).await?;
        payer.close(self.url(), json!({ "answers": answers })).await
    }

    async fn story(&'a self) -> Outcome<Value> {
        let url = if self.is_v1 {
            &self.ready.sse_url
        } else {
            &self.ready.sse_v2_url
        };
        let payer = self.payer(1)?;
        let response = payer.get(url).await?;
        let (told, receipts) = payer.read(url, response).await?;
        payer
            .close(url, json!({ "told": told, "receipts": receipts }))
            .await
    }

    /// A seller's suggestion comes before the client's own deposit, but not before its limit. So the limit is small until
    /// the deposit is used up.
    async fn raise(&'a self) -> Outcome<Value> {
        let store = Arc::new(MemoryChannelStore::default());
        let frugal = self.payer_with(2, &store)?.limited(SMALL_DEPOSIT);
        let mut answers = frugal.buy(ANSWERS - 1).await?;
        let payer = self.payer_with(2, &store)?;
        answers.extend(payer.buy(1).await?);
        payer.close(self.url(), json!({ "answers": answers })).await
    }

    async fn resume(&'a self) -> Outcome<Value> {
        let store = Arc::new(MemoryChannelStore::default());
        let mut answers = self.payer_with(3, &store)?.buy(1).await?;
        let payer = self.payer_with(3, &store)?;
        answers.extend(payer.buy(1).await?);
        payer.close(self.url(), json!({ "answers": answers })).await
    }

    /// A payer that remembers what is in the store.
    fn payer_with(&'a self, key: usize, store: &Arc<MemoryChannelStore>) -> Outcome<Payer<'a>> {
        let Payer { shop, session } = self.payer(key)?;
        let session = session
            .with_channel_store(store.clone())
            .with_top_up_amount(TOP_UP);
        Ok(Payer { shop, session })
    }
}

impl Payer<'_> {
    fn limited(self, most: u128) -> Self {
        Self {
            session: self.session.with_max_deposit(most),
            ..self
        }
    }

    async fn get(&self, url: &str) -> Outcome<Response> {
        let request = self.shop.http.get(url).header("Accept-Payment", "tempo/session");
        Ok(request.send_with_payment(&self.session).await?)
    }

    async fn buy(&self, count: usize) -> Outcome<Vec<Value>> {
        let mut answers = Vec::new();
        for _ in 0..count {
            let response = self.get(self.shop.url()).await?;
            let (status, receipt) = (response.status().as_u16(), receipt(&response));
            let authorised = self.session.cumulative().to_string();
            let body = response.text().await?;
            answers.push(
                json!({ "status": status, "body": body, "receipt": receipt, "authorised": authorised }),
            );
        }
        Ok(answers)
    }

    /// What a stream tells, and its receipts; vouchers that it asks for are sent.
    async fn read(&self, url: &str, mut response: Response) -> Outcome<(Vec<String>, Vec<Value>)> {
        let (mut told, mut receipts, mut buffer) = (Vec::new(), Vec::new(), String::new());
        while let Some(chunk) = response.chunk().await? {
            buffer.push_str(std::str::from_utf8(&chunk)?);
            while let Some(end) = buffer.find("\n\n") {
                let event: String = buffer.drain(..end + 2).collect();
                match parse_event(&event) {
                    Some(SseEvent::Message(value)) => told.push(value),
                    Some(SseEvent::PaymentNeedVoucher(wanted)) => {
                        let required = wanted.required_cumulative.parse()?;
                        self.session
                            .send_voucher(&self.shop.http, url, &wanted.channel_id, required)
                            .await?;
                    }
                    Some(SseEvent::PaymentReceipt(receipt)) => receipts.push(serde_json::to_value(receipt)?),
                    None => return Err(format!("an event that mpp cannot read: {event:?}").into()),
                }
            }
        }
        Ok((told, receipts))
    }

    async fn close(self, url: &str, mut done: Value) -> Outcome<Value> {
        let channels = self.session.channels();
        let channel = channels.values().next().ok_or("no channel was opened")?;
        done["channel"] = json!(channel.channel_id.to_string());
        done["authorised"] = json!(self.session.cumulative().to_string());
        let closed = self.session.close(&self.shop.http, url).await?;
        done["closed"] = serde_json::to_value(closed.ok_or("the close has no receipt")?)?;
        Ok(done)
    }
}

async fn charge(ready: &Ready) -> Outcome<Value> {
    let signer: PrivateKeySigner = ready.payer_keys[0].parse()?;
    let provider = TempoProvider::new(signer, &ready.rpc_url)?;
    let request = Client::new()
        .get(&ready.charge_url)
        .header("Accept-Payment", "tempo/charge");
    let response = request.send_with_payment(&provider).await?;
    let (status, receipt) = (response.status().as_u16(), receipt(&response));
    Ok(json!({ "status": status, "receipt": receipt, "body": response.text().await? }))
}

fn told(outcome: Outcome<Value>) -> Value {
    outcome.unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(what), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("mpp-client charge|v1|v2 READY_FILE".into());
    };
    let ready: Ready = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let done = if what == "charge" {
        charge(&ready).await?
    } else {
        let shop = Shop {
            ready: &ready,
            is_v1: what == "v1",
            http: Client::new(),
        };
        let mut done = json!({ "answers": told(shop.answers().await), "story": told(shop.story().await) });
        if !shop.is_v1 {
            done["raise"] = told(shop.raise().await);
            done["resume"] = told(shop.resume().await);
        }
        done
    };
    println!("{done}");
    Ok(())
}
