//! Streams of server-sent events that are charged event by event (draft-evm-session-00, Insufficient Balance During
//! Streaming): each event is charged durably before it is sent; when what is authorised is used up, the stream asks
//! for a voucher and waits for one to arrive on another request.

use crate::gateway::Gateway;
use crate::gateway::answer::Paper;
use crate::gateway::streams::{MustEnd, Running, Stage};
use crate::{Answer, No, Sale};
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use core::convert::Infallible;
use core::pin::pin;
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval};
use weir_core::{Amount, ChannelId, Cumulative, Refusal};
use weir_protocol::splitter::{SseEvent, SseSplitter};
use weir_protocol::sse::{NeedVoucher, receipt_event};
use weir_store::Durable;

/// How long a stream waits for a voucher before it ends.
pub const VOUCHER_WAIT: Duration = Duration::from_secs(60);
/// The same while the daemon ends.
pub const VOUCHER_WAIT_ENDING: Duration = Duration::from_secs(2);
/// How often it looks for one.
const VOUCHER_POLL: Duration = Duration::from_millis(25);
/// How long an upstream may be silent in the middle of a stream.
pub const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How often a payer hears a comment while its service has no event for it: proxies and clients hang up on a connection
/// that is silent for long, commonly after 30 or 60 s, and a payer would pay for the event that it missed.
pub const COMMENT_PAUSE: Duration = Duration::from_secs(15);
const _: () = assert!(COMMENT_PAUSE.as_secs() < SILENCE_MAX.as_secs());
/// The comment: every reader of server-sent events passes over it, and it is neither metered nor charged.
const COMMENT: &[u8] = b": waiting for the service\n\n";
/// How long a client that reads slowly may take for what is left when its stream has to end.
const LAST_WORDS: Duration = Duration::from_secs(1);
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
    /// Pays for the first event; when none comes, [`Over::is_of_the_payers_making`] says whether it is released.
    first: Option<Sale>,
    /// The state of the last charge: what the final receipt tells.
    last: Durable<Answer>,
    units: u64,
    out: mpsc::Sender<Bytes>,
    running: Running,
}

/// Why a stream is over. What was delivered is charged, whatever it is.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the service ended it")]
    Finished,
    #[error("the payer went away")]
    PayerGone,
    #[error("the service cut it")]
    Cut,
    #[error("the service fell silent")]
    Silent,
    #[error("an event of the service is too long")]
    TooLong,
    #[error("no voucher came in time")]
    NoVoucher,
    #[error("the channel has a newer stream")]
    Replaced,
    #[error("the daemon ends")]
    Shutdown,
    #[error("{0}")]
    Refused(No),
    #[error("an event for the payer could not be written")]
    Unwritable,
}

impl Over {
    /// Whether the payer ended it: it hung up, or began a newer one. The service was at work for it all the same, so the
    /// first event is charged even if it did not come; otherwise a payer could have it work for nothing.
    const fn is_of_the_payers_making(&self) -> bool {
        matches!(self, Self::PayerGone | Self::Replaced)
    }
}

impl From<MustEnd> for Over {
    fn from(why: MustEnd) -> Self {
        match why {
            MustEnd::Replaced => Self::Replaced,
            MustEnd::Shutdown => Self::Shutdown,
        }
    }
}

/// The service's side of a stream.
struct Service {
    pieces: BodyDataStream,
    comments: Interval,
}

impl Service {
    fn new(body: Body) -> Self {
        Self {
            pieces: body.into_data_stream(),
            comments: tokio::time::interval_at(Instant::now() + COMMENT_PAUSE, COMMENT_PAUSE),
        }
    }

    /// The next piece. Until it is there, the payer hears comments, which stand between events only.
    async fn next(&mut self, payer: &mpsc::Sender<Bytes>) -> Result<Bytes, Over> {
        let mut silence = pin!(tokio::time::sleep(SILENCE_MAX));
        loop {
            tokio::select! {
                piece = self.pieces.next() => return match piece {
                    Some(Ok(piece)) => Ok(piece),
                    Some(Err(_)) => Err(Over::Cut),
                    None => Err(Over::Finished),
                },
                () = &mut silence => return Err(Over::Silent),
                // A payer that has yet to read what is there needs none.
                _ = self.comments.tick() => drop(payer.try_send(Bytes::from_static(COMMENT))),
            }
        }
    }

    /// The payer has just heard something.
    fn passed_on(&mut self) {
        self.comments.reset();
    }
}

impl Metered {
    /// Sells an upstream's stream. `opening` is the durable state that reserved the first event. A stream that the
    /// channel has already is ended.
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
        let running = gateway.streams().begin(channel);
        let metered = Self {
            running,
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
        let why = self.flow(body).await;
        self.conclude(&why).await;
    }

    async fn flow(&mut self, body: Body) -> Over {
        let mut service = Service::new(body);
        let mut splitter = SseSplitter::default();
        let mut events = Vec::new();
        loop {
            let piece = tokio::select! {
                piece = service.next(&self.out) => piece,
                () = self.out.closed() => return Over::PayerGone,
                why = self.running.must_end() => return why.into(),
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(over) => return over,
            };
            let fed = splitter.feed(&piece, &mut events);
            for event in events.drain(..) {
                if let Err(over) = self.pass(event).await {
                    return over;
                }
                service.passed_on();
            }
            if fed.is_err() {
                return Over::TooLong;
            }
        }
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

    /// Sends what was charged. A payer that reads slowly holds up its own stream, but not its end.
    async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Over> {
        let too_late = async {
            let why = self.running.must_end().await;
            tokio::time::sleep(LAST_WORDS).await;
            why
        };
        tokio::select! {
            sent = self.out.send(bytes.into()) => sent.map_err(|_| Over::PayerGone),
            why = too_late => Err(why.into()),
        }
    }

    /// Charges one event durably, however long its voucher takes.
    async fn charge(&mut self) -> Result<Durable<Answer>, Over> {
        if let Some(sale) = self.first.take() {
            let (answer, delivery) = sale.commit().await.map_err(Over::Refused)?;
            delivery.finish();
            self.gateway.watch().sold();
            return Ok(answer);
        }
        let till = self.gateway.till().clone();
        loop {
            match till.charge(self.channel, self.price).await {
                Ok(answer) => {
                    self.gateway.watch().unit_sold();
                    return Ok(answer);
                }
                Err(No::Refused(Refusal::InsufficientBalance { required, accepted })) => {
                    self.ask_for(required, accepted).await?;
                }
                Err(no) => return Err(Over::Refused(no)),
            }
        }
    }

    /// Asks for a voucher and waits until it is there.
    async fn ask_for(&self, required: Cumulative, accepted: Cumulative) -> Result<(), Over> {
        let till = self.gateway.till();
        let state = till.read(self.channel).await.map_err(Over::Refused)?;
        let need = NeedVoucher {
            channel_id: self.channel,
            required_cumulative: required,
            accepted_cumulative: accepted,
            deposit: state.get().channel.chain().deposit,
        };
        self.send(need.to_event().map_err(|_| Over::Unwritable)?).await?;
        let asked = Instant::now();
        loop {
            tokio::select! {
                () = self.out.closed() => return Err(Over::PayerGone),
                why = self.running.must_end() => return Err(why.into()),
                () = tokio::time::sleep(VOUCHER_POLL) => {}
            }
            let state = till.read(self.channel).await.map_err(Over::Refused)?;
            let channel = &state.get().channel;
            if channel.available() >= self.price {
                return Ok(());
            }
            channel.must_be_live().map_err(|no| Over::Refused(no.into()))?;
            let patience = if self.running.stage() > Stage::Selling {
                VOUCHER_WAIT_ENDING
            } else {
                VOUCHER_WAIT
            };
            if asked.elapsed() >= patience {
                return Err(Over::NoVoucher);
            }
        }
    }

    /// Decides over the first event's reservation, if none came: before the receipt, which tells of it.
    async fn end_first(&mut self, why: &Over) {
        if self.first.is_some() && why.is_of_the_payers_making() {
            match self.charge().await {
                Ok(charged) => {
                    self.last = charged;
                    self.units += 1;
                }
                Err(no) => {
                    tracing::warn!(channel = %self.channel, %no, "a stream's first event was not charged")
                }
            }
        }
        if let Some(sale) = self.first.take() {
            let _ = sale.release().await;
        }
    }

    /// Ends the stream with a receipt.
    async fn conclude(mut self, why: &Over) {
        self.end_first(why).await;
        let mut receipt = self.paper.receipt(&self.last);
        receipt.units = Some(self.units);
        let (channel, units, spent) = (self.channel, self.units, receipt.spent);
        match why {
            Over::Finished => tracing::debug!(%channel, units, %spent, %why, "a stream is over"),
            _ => tracing::info!(%channel, units, %spent, %why, "a stream was cut"),
        }
        match receipt_event(&receipt) {
            Ok(event) => {
                let _ = tokio::time::timeout(LAST_WORDS, self.out.send(event.into())).await;
            }
            Err(error) => tracing::error!(%error, "a receipt could not be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// What a service says, after so many seconds each; then it is silent for good.
    fn service(said: &'static [(u64, &'static str)]) -> Service {
        let said = stream::iter(said).then(async |(seconds, piece)| {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Ok::<_, io::Error>(Bytes::from_static(piece.as_bytes()))
        });
        Service::new(Body::from_stream(said.chain(stream::pending())))
    }

    #[tokio::test(start_paused = true)]
    async fn while_its_service_is_silent_a_payer_hears_comments_and_no_events() {
        let (payer, mut hears) = mpsc::channel(EVENTS_AHEAD);
        let began = Instant::now();
        let over = service(&[]).next(&payer).await.unwrap_err();
        assert!(matches!(over, Over::Silent), "{over}");
        assert_eq!(
            began.elapsed(),
            SILENCE_MAX,
            "comments are no word of the service's"
        );
        drop(payer);
        let (mut splitter, mut comments) = (SseSplitter::default(), Vec::new());
        while let Some(piece) = hears.recv().await {
            splitter.feed(&piece, &mut comments).unwrap();
        }
        let each = SILENCE_MAX.as_secs() / COMMENT_PAUSE.as_secs();
        assert!(
            (each - 1..=each).contains(&(comments.len() as u64)),
            "{comments:?}"
        );
        assert!(splitter.finish().is_empty());
        assert!(
            !comments
                .iter()
                .any(|event| event.has_data() || event.is_reserved())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn comments_come_so_long_after_the_last_event_and_wait_for_nobody() {
        let (payer, mut hears) = mpsc::channel(1);
        // An event that comes in pieces is no event until it is whole.
        let mut service = service(&[
            (14, "data: 1\n\n"),
            (10, "data:"),
            (10, " 2\n\n"),
            (119, "data: 3\n\n"),
        ]);
        assert_eq!(service.next(&payer).await.unwrap(), "data: 1\n\n");
        service.passed_on();
        assert_eq!(service.next(&payer).await.unwrap(), "data:");
        assert!(hears.try_recv().is_err(), "10 s of silence are not long");
        assert_eq!(service.next(&payer).await.unwrap(), " 2\n\n");
        assert_eq!(hears.try_recv().unwrap(), COMMENT);
        // This payer reads nothing, and the service is heard all the same.
        assert_eq!(service.next(&payer).await.unwrap(), "data: 3\n\n");
        assert_eq!(hears.try_recv().unwrap(), COMMENT);
        assert!(hears.try_recv().is_err());
    }
}
