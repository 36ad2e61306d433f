//! Paying for a stream while it flows (draft-evm-session-00, Insufficient Balance During Streaming).
//!
//! The stream pauses when what is authorised is used up; a voucher on another request to the same URL lets it go on.

use crate::account::Outcome;
use crate::buy::{Paid, Session};
use crate::credential::Action;
use crate::error::Error;
use crate::http::Request;
use crate::payer::{Core, Payer};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use std::collections::VecDeque;
use std::sync::Arc;
use weir_core::{Amount, Cumulative};
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

/// A stream that is paid for while it is read.
#[derive(Debug)]
pub struct PaidStream {
    core: Arc<Core>,
    request: Request,
    status: StatusCode,
    headers: HeaderMap,
    response: Option<reqwest::Response>,
    session: Option<Session>,
    splitter: SseSplitter,
    ready: VecDeque<SseEvent>,
}

impl Payer {
    /// Gets a resource as a stream of server-sent events, and pays for it as it flows, at most `max_stream` of the
    /// limits.
    ///
    /// # Errors
    /// As [`Payer::request`].
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
        let Paid { response, session } = self.core.pay(&request, true).await?;
        Ok(PaidStream {
            core: Arc::clone(&self.core),
            request,
            status: response.status(),
            headers: response.headers().clone(),
            response: Some(response),
            session,
            splitter: SseSplitter::default(),
            ready: VecDeque::new(),
        })
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

    /// What was agreed for this stream so far, in base units.
    pub fn agreed(&self) -> Amount {
        self.session
            .as_ref()
            .map_or(Amount::ZERO, |session| session.ticket.amount())
    }

    /// The next event; `None` at the end. Vouchers that the server needs are sent on the way, within the limits.
    ///
    /// # Errors
    /// [`Error`]; the stream is over then. What it cost is settled by the next request's receipt.
    pub async fn next(&mut self) -> Option<Result<StreamEvent, Error>> {
        let event = match self.next_event().await {
            Ok(Some(event)) => self.take(event).await,
            Ok(None) => {
                self.give_up();
                return None;
            }
            Err(error) => Err(error),
        };
        if event.is_err() {
            self.give_up();
        }
        Some(event)
    }

    /// Drops the connection; without a final receipt the outcome is unknown.
    fn give_up(&mut self) {
        self.response = None;
        self.session = None;
        self.ready.clear();
    }

    async fn next_event(&mut self) -> Result<Option<SseEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(response) = self.response.as_mut() else {
                return Ok(None);
            };
            let Some(piece) = response.chunk().await? else {
                return Ok(None);
            };
            let mut found = Vec::new();
            let fed = self.splitter.feed(&piece, &mut found);
            fed.map_err(|_| Error::Protocol("an event of the stream is too long"))?;
            self.ready.extend(found);
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
        let (limit, steps) = (self.core.limits.max_stream, self.core.steps(&session.offer));
        let required = Some(need.required_cumulative);
        match session.ticket.extend(required, limit, steps).await {
            Err(Error::DepositTooSmall { needed, .. }) => {
                let (offer, url) = (&session.offer, &self.request.url);
                self.core.cover(&session.purse, offer, needed, url).await?;
                session.ticket.extend(required, limit, steps).await?;
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
            .take()
            .ok_or(Error::Protocol("a second receipt, or one for a free stream"))?;
        let voucher = Some(session.ticket.total());
        self.core.check_receipt(&session, &receipt, voucher).await?;
        let Session { purse, ticket, .. } = session;
        if let Err(error) = ticket.end(Outcome::Charged(receipt.spent)) {
            purse.mark(|_, account| account.stopped = true).await?;
            return Err(error);
        }
        // A stream's last receipt settles many units at once: a restart must not take them for unpaid.
        purse.mark(|_, _| {}).await?;
        self.core.log_receipt(&receipt).await?;
        Ok(receipt)
    }
}
