//! Streams of server-sent events that are charged event by event (draft-evm-session-00, Insufficient Balance During
//! Streaming): each event is charged durably before it is sent; when what is authorised is used up, the stream asks
//! for a voucher and waits for one to arrive on another request.

use crate::gateway::Gateway;
use crate::gateway::answer::Paper;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use core::convert::Infallible;
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_core::{Amount, ChannelId, Cumulative, Refusal};
use weir_protocol::splitter::{SseEvent, SseSplitter};
use weir_protocol::sse::{NeedVoucher, receipt_event};
use weir_store::Durable;
use weir_till::{Answer, No, Sale};

/// How long a stream waits for a voucher before it ends.
pub const VOUCHER_WAIT: Duration = Duration::from_secs(60);
/// How often it looks for one.
const VOUCHER_POLL: Duration = Duration::from_millis(25);
/// How long an upstream may be silent in the middle of a stream.
pub const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Events that may wait for a slow client.
const EVENTS_AHEAD: usize = 16;
/// The data of the event by which services say that a stream is over; nobody buys it.
const DONE: &[u8] = b"[DONE]";

/// Whether an answer is a stream of events.
pub fn is_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"text/event-stream"))
}

/// One stream that is sold by the event.
pub struct Metered {
    gateway: Gateway,
    channel: ChannelId,
    price: Amount,
    paper: Paper,
    /// Pays for the first event; released when none comes.
    first: Option<Sale>,
    /// The state of the last charge: what the final receipt tells.
    last: Durable<Answer>,
    units: u64,
    out: mpsc::Sender<Bytes>,
}

/// The stream is over: the client left, or no more may be sold.
struct Over;

impl Metered {
    /// Sells an upstream's stream. `opening` is the durable state that reserved the first event.
    pub fn sell(
        gateway: Gateway,
        upstream: Response<Body>,
        paper: Paper,
        (sale, opening): (Sale, Durable<Answer>),
    ) -> Response<Body> {
        let (out, ready) = mpsc::channel(EVENTS_AHEAD);
        let channel = opening.get().channel.id();
        let (mut parts, body) = upstream.into_parts();
        // The till's own events are added.
        parts.headers.remove(header::CONTENT_LENGTH);
        let events = stream::unfold(ready, async |mut ready: mpsc::Receiver<Bytes>| {
            ready
                .recv()
                .await
                .map(|event| (Ok::<_, Infallible>(event), ready))
        });
        let mut response = Response::from_parts(parts, Body::from_stream(events));
        paper.stamp(&mut response, &opening);
        let metered = Self {
            gateway,
            channel,
            price: sale.amount(),
            paper,
            first: Some(sale),
            last: opening,
            units: 0,
            out,
        };
        tokio::spawn(metered.pump(body));
        response
    }

    async fn pump(mut self, body: Body) {
        let mut pieces = body.into_data_stream();
        let mut splitter = SseSplitter::default();
        let mut events = Vec::new();
        // A cut stream ends here like a finished one: what was delivered was charged, and nothing else was.
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = self.out.closed() => break,
                () = tokio::time::sleep(SILENCE_MAX) => {
                    tracing::warn!(channel = %self.channel, "the upstream fell silent; its stream is ended");
                    break;
                }
            };
            let Some(Ok(piece)) = piece else { break };
            let fed = splitter.feed(&piece, &mut events);
            for event in events.drain(..) {
                if self.pass(event).await.is_err() {
                    return self.conclude().await;
                }
            }
            if fed.is_err() {
                tracing::warn!(channel = %self.channel, "an event of the upstream is too long; its stream is ended");
                break;
            }
        }
        self.conclude().await;
    }

    async fn pass(&mut self, event: SseEvent) -> Result<(), Over> {
        if event.is_reserved() {
            tracing::warn!(channel = %self.channel, "the upstream sent a payment event of its own; it is dropped");
            return Ok(());
        }
        if event.has_data() && event.data().as_deref() != Some(DONE) {
            self.last = self.charge().await?;
            self.units += 1;
        }
        self.send(event.into_bytes()).await
    }

    async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Over> {
        self.out.send(bytes.into()).await.map_err(|_| Over)
    }

    /// Charges one event durably, however long its voucher takes.
    async fn charge(&mut self) -> Result<Durable<Answer>, Over> {
        if let Some(sale) = self.first.take() {
            let (answer, delivery) = sale.commit().await.map_err(|no| self.end(&no))?;
            delivery.finish();
            return Ok(answer);
        }
        let till = self.gateway.till().clone();
        loop {
            match till.charge(self.channel, self.price).await {
                Ok(answer) => return Ok(answer),
                Err(No::Refused(Refusal::InsufficientBalance { required, accepted })) => {
                    self.ask_for(required, accepted).await?;
                }
                Err(no) => return Err(self.end(&no)),
            }
        }
    }

    fn end(&self, no: &No) -> Over {
        tracing::info!(channel = %self.channel, %no, "a stream is ended");
        Over
    }

    /// Asks for a voucher and waits until it is there.
    async fn ask_for(&self, required: Cumulative, accepted: Cumulative) -> Result<(), Over> {
        let till = self.gateway.till();
        let state = till.read(self.channel).await.map_err(|no| self.end(&no))?;
        let need = NeedVoucher {
            channel_id: self.channel,
            required_cumulative: required,
            accepted_cumulative: accepted,
            deposit: state.get().channel.chain().deposit,
        };
        self.send(need.to_event().map_err(|_| Over)?).await?;
        let deadline = Instant::now() + VOUCHER_WAIT;
        loop {
            tokio::select! {
                () = self.out.closed() => return Err(Over),
                () = tokio::time::sleep(VOUCHER_POLL) => {}
            }
            let state = till.read(self.channel).await.map_err(|no| self.end(&no))?;
            let channel = &state.get().channel;
            if channel.available() >= self.price {
                return Ok(());
            }
            if channel.must_be_live().is_err() || Instant::now() >= deadline {
                return Err(Over);
            }
        }
    }

    /// Ends the stream with a receipt. The first event's reservation is let go if none came.
    async fn conclude(mut self) {
        if let Some(sale) = self.first.take() {
            // Dropped otherwise, to the same effect, but after the receipt.
            let _ = sale.release().await;
        }
        let mut receipt = self.paper.receipt(&self.last);
        receipt.units = Some(self.units);
        match receipt_event(&receipt) {
            Ok(event) => drop(self.send(event).await),
            Err(error) => tracing::error!(%error, "a receipt could not be written"),
        }
    }
}
