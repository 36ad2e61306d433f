//! An answer as it comes, and paying for it while it flows (draft-evm-session-00, Insufficient Balance During
//! Streaming).
//!
//! Nobody knows before the answer whether it is a stream that is sold by the unit. Such a stream pauses when what is
//! authorised is used up; a voucher on another request to the same URL lets it go on.

use crate::account::Outcome;
use crate::buy::{Paid, Session};
use crate::charge::{ChargePaid, Payment};
use crate::cost::Cost;
use crate::credential::Action;
use crate::error::Error;
use crate::http::{Request, chunk};
use crate::payer::{Core, Payer};
use crate::receipt::Overcharged;
use end::{NO_RECEIPT, RECKONING};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use std::collections::VecDeque;
use std::sync::Arc;
use weir_core::{ChannelId, Cumulative};
use weir_protocol::SessionReceipt;
use weir_protocol::splitter::{SseEvent, SseSplitter};
use weir_protocol::sse::{NEED_VOUCHER_EVENT, NeedVoucher, RECEIPT_EVENT};

/// What a paid stream yields.
#[derive(Debug)]
pub enum StreamEvent {
    /// An event of the service.
    Message(SseEvent),
    /// The server needed a voucher, and got one for this total.
    Authorised(Cumulative),
    /// The final receipt, checked.
    Receipt(SessionReceipt),
}

/// An answer whose body is still to be read. A stream of events is paid for while it is read.
#[derive(Debug)]
pub struct PaidStream {
    core: Arc<Core>,
    request: Request,
    status: StatusCode,
    headers: HeaderMap,
    channel: Option<ChannelId>,
    response: Option<reqwest::Response>,
    /// What is still to be accounted for.
    session: Option<Session>,
    /// Why it is not read although it is here.
    refusal: Option<Error>,
    splitter: SseSplitter,
    ready: VecDeque<SseEvent>,
    /// It asked for a voucher, so it is sold by the unit.
    asked: bool,
    events: u64,
    receipt: Option<SessionReceipt>,
    charge: Option<ChargePaid>,
    /// What paid at once, kept until the answer has been read.
    payment: Option<Payment>,
    cost: Cost,
}

impl Payer {
    /// Gets a resource as it comes, and pays for it as it flows, within the limits.
    ///
    /// Until it is over or dropped, nothing else is bought on its channel: it would use what that authorises.
    ///
    /// # Errors
    /// As [`Payer::request`]; [`Error::Streaming`] while another stream is under way.
    pub async fn stream(&self, url: &str) -> Result<PaidStream, Error> {
        self.stream_request(Method::GET, url, HeaderMap::new(), Vec::new())
            .await
    }

    /// [`Payer::stream`] of any request.
    ///
    /// # Errors
    /// As [`Payer::request`].
    pub async fn stream_request(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<PaidStream, Error> {
        let request = Request {
            method,
            url: self.core.http.url(url)?,
            headers,
            body,
        };
        let Paid {
            response,
            session,
            charged,
        } = self.core.pay(&request).await?;
        let mut answer = PaidStream {
            core: Arc::clone(&self.core),
            request,
            status: response.status(),
            headers: response.headers().clone(),
            channel: session.as_ref().map(|session| session.purse.id()),
            response: Some(response),
            session,
            refusal: None,
            splitter: SseSplitter::default(),
            ready: VecDeque::new(),
            asked: false,
            events: 0,
            receipt: None,
            charge: None,
            payment: None,
            cost: Cost::default(),
        };
        answer.take_charge(charged).await?;
        answer.begin().await?;
        Ok(answer)
    }
}

impl PaidStream {
    /// HTTP status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Headers of the answer.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// True when the answer is a stream of events.
    pub fn is_events(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
        kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"text/event-stream"))
    }

    /// The channel that pays for it; `None` when it is free.
    pub const fn channel(&self) -> Option<ChannelId> {
        self.channel
    }

    /// What it cost. A stream's cost is known at its end, however it ends.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The last receipt, checked; `None` before a stream's end, and when nothing was charged.
    pub const fn receipt(&self) -> Option<&SessionReceipt> {
        self.receipt.as_ref()
    }

    /// What it was paid with at once; `None` when it is free, or a channel pays.
    pub const fn charge(&self) -> Option<&ChargePaid> {
        self.charge.as_ref()
    }

    /// The next event; `None` at the end, and for an answer that is no stream of events. Vouchers that the server needs
    /// are sent on the way, within the limits.
    ///
    /// # Errors
    /// [`Error`]; the stream is over then, and [`PaidStream::cost`] tells what is known of its cost. [`Error::Cut`]
    /// when it ended without its receipt.
    pub async fn next(&mut self) -> Option<Result<StreamEvent, Error>> {
        let event = match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => self.next_event().await,
        };
        let taken = match event {
            Ok(Some(event)) => self.take(event).await.map(Some),
            // Everything is accounted for: how the connection ends does not matter any more.
            Err(Error::Http(_)) if self.receipt.is_some() => Ok(None),
            other => other.map(|_| None),
        };
        match taken {
            Ok(Some(event)) => Some(Ok(event)),
            Ok(None) => self.finish().await.err().map(Err),
            Err(error) => Some(Err(self.break_off(error).await)),
        }
    }

    /// All that is left of the body, up to [`HttpOptions::body_bytes_max`](crate::HttpOptions::body_bytes_max). Of a
    /// stream of events these are the service's.
    ///
    /// # Errors
    /// As [`PaidStream::next`]; [`Error::TooLarge`].
    pub async fn body(&mut self) -> Result<Vec<u8>, Error> {
        if !self.is_events() {
            let Some(response) = self.response.take() else {
                return Ok(Vec::new());
            };
            let read = self.core.http.read(response).await;
            return match read {
                Ok(answer) => {
                    self.read_whole().await;
                    Ok(answer.body)
                }
                Err(error) => Err(self.cut(error)),
            };
        }
        let (mut body, most) = (Vec::new(), self.core.http.body_bytes_max());
        while let Some(event) = self.next().await {
            let StreamEvent::Message(event) = event? else {
                continue;
            };
            if body.len() + event.bytes().len() > most {
                return Err(self.break_off(Error::TooLarge(most)).await);
            }
            body.extend_from_slice(event.bytes());
        }
        Ok(body)
    }

    /// Accounts for what is known with the answer's head.
    async fn begin(&mut self) -> Result<(), Error> {
        if !self.is_events() {
            return self.settle().await;
        }
        if let Some(session) = &mut self.session {
            let bounds = self.core.bounds(&session.offer);
            // The caller learns of it with the first event, and of what it cost.
            self.refusal = session.ticket.widen(bounds).await.err();
        }
        Ok(())
    }

    /// Ends the purchase by what its receipt says.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        let told = session.receipt.as_ref().map(|receipt| receipt.spent);
        let outcome = told.map_or(Outcome::Unknown, Outcome::Charged);
        self.cost = session.ticket.end(outcome).await?;
        if let Some(receipt) = &session.receipt {
            self.core.log_receipt(receipt).await?;
        }
        self.receipt = session.receipt;
        Ok(())
    }

    async fn next_event(&mut self) -> Result<Option<SseEvent>, Error> {
        let is_events = self.is_events();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(response) = self.response.as_mut().filter(|_| is_events) else {
                return Ok(None);
            };
            let Some(piece) = chunk(response).await? else {
                return Ok(None);
            };
            let mut found = Vec::new();
            let fed = self.splitter.feed(&piece, &mut found);
            self.ready.extend(found);
            fed.map_err(|_| Error::Protocol("an event of the stream is too long"))?;
        }
    }

    async fn take(&mut self, event: SseEvent) -> Result<StreamEvent, Error> {
        let name = event.name().map(<[u8]>::to_vec).unwrap_or_default();
        if name == NEED_VOUCHER_EVENT.as_bytes() {
            let need = NeedVoucher::from_data(&event.data().unwrap_or_default());
            let need = need.map_err(|_| Error::Protocol("a request for a voucher cannot be read"))?;
            return self.authorise(need).await.map(StreamEvent::Authorised);
        }
        if name == RECEIPT_EVENT.as_bytes() {
            let receipt = SessionReceipt::from_json(&event.data().unwrap_or_default());
            let receipt = receipt.map_err(|_| Error::Protocol("the receipt cannot be read"))?;
            return self.conclude(receipt).await.map(StreamEvent::Receipt);
        }
        self.events += u64::from(event.has_data());
        Ok(StreamEvent::Message(event))
    }

    async fn authorise(&mut self, need: NeedVoucher) -> Result<Cumulative, Error> {
        let session = self
            .session
            .as_mut()
            .ok_or(Error::Protocol("a free stream asks for a voucher"))?;
        if need.channel_id != session.purse.id() {
            return Err(Error::Protocol(
                "the stream asks for a voucher of another channel",
            ));
        }
        self.asked = true;
        let (signed, accepted) = (session.purse.record().signed, need.accepted_cumulative);
        if accepted > signed {
            let sent = session.ticket.total();
            let why = Overcharged::Accepted {
                accepted,
                sent,
                signed,
            };
            return Err(session.purse.stop(why).await);
        }
        let bounds = self.core.bounds(&session.offer);
        let required = need.required_cumulative;
        match session.ticket.extend(required, bounds).await {
            Err(Error::DepositTooSmall { needed, .. }) => {
                let (offer, url) = (&session.offer, &self.request.url);
                self.core.cover(&session.purse, offer, needed, url).await?;
                session.ticket.extend(required, bounds).await?;
            }
            done => done?,
        }
        let total = session.ticket.total();
        self.core
            .manage(&self.request.url, &session.purse, Action::Voucher, total)
            .await?;
        Ok(total)
    }

    async fn conclude(&mut self, receipt: SessionReceipt) -> Result<SessionReceipt, Error> {
        let session = self
            .session
            .as_mut()
            .ok_or(Error::Protocol("a second receipt, or one for a free stream"))?;
        let voucher = Some(session.ticket.total());
        self.core.check_receipt(session, &receipt, voucher).await?;
        session.receipt = Some(receipt.clone());
        self.settle().await?;
        Ok(receipt)
    }

    /// The connection ended in order.
    async fn finish(&mut self) -> Result<(), Error> {
        if !self.is_events() {
            return Ok(());
        }
        self.response = None;
        let Some(session) = &self.session else {
            self.read_whole().await;
            return Ok(());
        };
        let told = session.receipt.as_ref().map(|receipt| receipt.spent);
        let whole = match told {
            // Not a sale: an error in the form of a stream.
            None => !self.status.is_success(),
            // Sold whole, by the request: its receipt came with its head, and nothing was charged since.
            Some(_) if self.asked => false,
            Some(spent) => {
                session.ticket.is_charged_at(spent) || self.reckon(RECKONING).await? == Some(spent)
            }
        };
        if whole {
            return self.settle().await;
        }
        Err(self.break_off(Error::Protocol(NO_RECEIPT)).await)
    }
}

#[path = "stream_end.rs"]
mod end;
