//! The payer's handle.

use crate::charge::{ChargePaid, PaymentRecord, Payments};
use crate::cost::Cost;
use crate::credential::Pen;
use crate::error::Error;
use crate::http::{Http, HttpOptions, Request};
use crate::limits::Limits;
use crate::offer::Offer;
use crate::onchain::Chain;
use crate::purse::{Purse, brief};
use crate::state::{ChannelRecord, ReceiptLog, StateDir};
use crate::ticket::RunTotal;
use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex as BriefMutex, OnceLock};
use tokio::sync::Mutex;
use weir_core::{Amount, ChannelId};
use weir_protocol::SessionReceipt;
use weir_protocol::receipt::ReceiptError;

/// Most challenges that are kept for a next request.
const CHALLENGES_KEPT_MAX: usize = 256;

/// A payer: one key, one chain, its channels. Cheap to clone; requests may run at once.
#[derive(Debug, Clone)]
pub struct Payer {
    pub(crate) core: Arc<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) chain: Chain,
    pub(crate) pen: Pen,
    pub(crate) limits: Limits,
    pub(crate) http: Http,
    pub(crate) state: Arc<StateDir>,
    pub(crate) run: Arc<RunTotal>,
    pub(crate) payments: Arc<Payments>,
    purses: BriefMutex<HashMap<ChannelId, Arc<Purse>>>,
    /// One channel is opened at a time, so that two first requests share one deposit.
    pub(crate) opening: Mutex<()>,
    /// Challenges that came with an answer, for the next request to the same place.
    challenges: BriefMutex<HashMap<(Method, String), Offer>>,
    receipts: OnceLock<Arc<BriefMutex<ReceiptLog>>>,
}

/// An answer, paid or free, with its body.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// The receipt of a session, checked; `None` when no channel paid.
    pub receipt: Option<SessionReceipt>,
    /// What it was paid with at once, when no channel paid.
    pub charge: Option<ChargePaid>,
    /// What it cost.
    pub cost: Cost,
}

impl Payer {
    /// A payer with this key, on the chain behind `rpc_url`, whose channels are kept under `state_dir`. The chain is
    /// first asked when something has to happen there, so that open channels pay also while the node is away.
    ///
    /// # Errors
    /// [`Error::State`] when another process pays with this key, or its state cannot be read; [`Error::Chain`] when
    /// `rpc_url` is no URL.
    pub async fn new(
        signer: PrivateKeySigner,
        rpc_url: &str,
        state_dir: &Path,
        limits: Limits,
        http: HttpOptions,
    ) -> Result<Self, Error> {
        let (root, payer) = (state_dir.to_owned(), signer.address());
        let taking = tokio::task::spawn_blocking(move || {
            let state = StateDir::take(&root, payer)?;
            let (records, payments) = (state.load()?, state.load_payments()?);
            Ok::<_, Error>((Arc::new(state), records, payments))
        });
        let taken = taking.await;
        let (state, records, payments) =
            taken.map_err(|_| Error::Protocol("the state's reader was cancelled"))??;
        let used = records.iter().flat_map(ChannelRecord::envelopes);
        let used = used.map(|envelope| envelope.nonce).collect();
        let chain = Chain::new(signer.clone(), rpc_url, used, http.on_wait)?;
        let purse =
            |record: ChannelRecord| (record.channel, Arc::new(Purse::new(record, Arc::clone(&state))));
        let purses = records.into_iter().map(purse).collect();
        let run = Arc::new(RunTotal::new(limits.max_total));
        let core = Core {
            chain,
            pen: Pen::new(signer),
            payments: Payments::new(payments, Arc::clone(&state), Arc::clone(&run)),
            run,
            limits,
            http: Http::new(http)?,
            state,
            purses: BriefMutex::new(purses),
            opening: Mutex::new(()),
            challenges: BriefMutex::new(HashMap::new()),
            receipts: OnceLock::new(),
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// The same, with every acknowledged receipt appended to `receipts.jsonl` in the state directory, and synced,
    /// before its answer is given to the caller.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn keeping_receipts(self) -> Result<Self, Error> {
        let log = Arc::new(BriefMutex::new(self.core.state.receipts()?));
        // A second call changes nothing.
        let _ = self.core.receipts.set(log);
        Ok(self)
    }

    /// The payer's address.
    pub fn address(&self) -> Address {
        self.core.chain.payer()
    }

    /// The payer's channels, as its books know them.
    pub fn channels(&self) -> Vec<ChannelRecord> {
        self.core.purses().iter().map(|purse| purse.record()).collect()
    }

    /// Payments for single answers that no request is at work with, and whose answers were not read.
    pub fn payments(&self) -> Vec<PaymentRecord> {
        self.core.payments.idle()
    }

    /// The directory that holds this payer's state.
    pub fn state_path(&self) -> &Path {
        self.core.state.path()
    }

    /// Gets a resource, and pays for it if it costs something within the limits.
    ///
    /// # Errors
    /// [`Error`]; an [`Error::Overcharged`] stops the channel for good.
    pub async fn get(&self, url: &str) -> Result<Response, Error> {
        self.request(Method::GET, url, HeaderMap::new(), Vec::new()).await
    }

    /// Makes a request, pays for it if it costs something within the limits, and reads its answer to the end; a stream
    /// of events is paid for while it flows. It is sent unpaid first, unless an earlier answer left a challenge for it.
    ///
    /// # Errors
    /// [`Error`]; an [`Error::Overcharged`] stops the channel for good.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response, Error> {
        let mut answer = self.stream_request(method, url, headers, body).await?;
        let body = answer.body().await?;
        Ok(Response {
            status: answer.status(),
            headers: answer.headers().clone(),
            body,
            receipt: answer.receipt().cloned(),
            charge: answer.charge().cloned(),
            cost: answer.cost(),
        })
    }
}

impl Core {
    pub(crate) fn purses(&self) -> Vec<Arc<Purse>> {
        brief(&self.purses).values().cloned().collect()
    }

    pub(crate) fn purse(&self, channel: ChannelId) -> Option<Arc<Purse>> {
        brief(&self.purses).get(&channel).cloned()
    }

    pub(crate) fn keep(&self, purse: &Arc<Purse>) {
        brief(&self.purses).insert(purse.id(), Arc::clone(purse));
    }

    /// A challenge left by an earlier answer, once.
    pub(crate) fn take_challenge(&self, request: &Request) -> Option<Offer> {
        let key = (request.method.clone(), request.url.to_string());
        brief(&self.challenges)
            .remove(&key)
            .filter(|offer| offer.is_fresh(crate::offer::now()))
    }

    /// Keeps the challenge of an answer for the next request, unless it is bound to this one's body.
    pub(crate) fn keep_challenge(&self, request: &Request, headers: &HeaderMap) {
        let Ok(offer) = Offer::find(headers, &self.limits) else {
            return;
        };
        let mut kept = brief(&self.challenges);
        if offer.challenge.digest.is_none() && kept.len() < CHALLENGES_KEPT_MAX {
            kept.insert((request.method.clone(), request.url.to_string()), offer);
        }
    }

    /// Appends a receipt to the log, where one is kept.
    pub(crate) async fn log_receipt(&self, receipt: &SessionReceipt) -> Result<(), Error> {
        self.log(receipt.to_json()).await
    }

    /// Appends a receipt, as one line of JSON.
    pub(crate) async fn log(&self, line: Result<String, ReceiptError>) -> Result<(), Error> {
        let Some(log) = self.receipts.get().cloned() else {
            return Ok(());
        };
        let line = line.map_err(|_| Error::Protocol("the receipt cannot be spelled again"))?;
        let written = tokio::task::spawn_blocking(move || brief(&log).append(&line)).await;
        Ok(written.map_err(|_| Error::Protocol("the receipts' writer was cancelled"))??)
    }

    /// What one unit of an offer costs, at least the smallest step: what a fresh deposit has to cover.
    pub(crate) fn least_deposit(&self, offer: &Offer) -> Amount {
        offer.request.amount.max(offer.request.min_voucher_delta())
    }
}
