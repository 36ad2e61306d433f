//! One paid request: challenge, voucher, answer, and what to do about each kind of no.

use crate::account::{Bounds, Outcome};
use crate::charge::Charged;
use crate::credential::Action;
use crate::error::Error;
use crate::http::{Answer, Patience, Request, Sending};
use crate::manage::PAYMENT_RECEIPT;
use crate::offer::{Complaint, Offer, words};
use crate::payer::Core;
use crate::purse::Purse;
use crate::state::Stage;
use crate::ticket::Ticket;
use crate::ways::Way;
use core::time::Duration;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use std::sync::Arc;
use weir_core::Cumulative;
use weir_protocol::problem::PROBLEM_CONTENT_TYPE;
use weir_protocol::{ProblemType, SessionReceipt};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Most times that one request answers a new challenge.
const ROUNDS_MAX: u32 = 8;
/// First wait for a server that has not seen yet what the chain shows; it doubles.
const LAG_WAIT_FIRST: Duration = Duration::from_millis(250);

const DEPOSIT_WAITS: &str = "the server waits until the deposit is final";

/// What a paid request leaves to be ended.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) purse: Arc<Purse>,
    pub(crate) ticket: Ticket,
    pub(crate) offer: Offer,
    pub(crate) receipt: Option<SessionReceipt>,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Paid {
    pub(crate) response: reqwest::Response,
    /// `None` when no channel paid.
    pub(crate) session: Option<Session>,
    /// What paid at once.
    pub(crate) charged: Option<Box<Charged>>,
}

impl Paid {
    /// An answer that a channel paid, or nobody.
    const fn by(response: reqwest::Response, session: Option<Session>) -> Self {
        Self {
            response,
            session,
            charged: None,
        }
    }
}

/// What an answer to a credential means.
enum Verdict {
    /// The answer is the caller's.
    Done(Paid),
    /// The server said why not.
    Complaint(Complaint, Answer, Session),
}

impl Core {
    /// Makes a request and pays for it.
    pub(crate) async fn pay(&self, request: &Request) -> Result<Paid, Error> {
        let mut patience = self.http.patience();
        match self.purchase(request, &mut patience).await {
            // Refused, so not paid for, unless the server took what the voucher was for all the same. Whether a new
            // channel may be opened, the chain tells.
            Err(Error::ChannelGone(id)) => {
                if let Some(purse) = self.purse(id) {
                    self.see_whether_closed(&purse).await?;
                }
                self.purchase(request, &mut patience).await
            }
            done => done,
        }
    }

    async fn purchase(&self, request: &Request, patience: &mut Patience) -> Result<Paid, Error> {
        if let Some(payment) = self.left_payment(request).await? {
            return self.show(request, (payment, true), patience).await;
        }
        let offer = match self.take_challenge(request) {
            Some(offer) => offer,
            None => {
                let preferences = self.preferences(request);
                let sending = self.http.send(request, &preferences, patience).await?;
                if sending.response.status() != StatusCode::PAYMENT_REQUIRED {
                    return Ok(Paid::by(sending.response, None));
                }
                match self.choose(sending.response.headers()).await? {
                    Way::Session(offer) => *offer,
                    Way::Charge(offer) => return self.charge(request, *offer, patience).await,
                }
            }
        };
        let purse = self.purse_for(&offer, &request.origin()).await?;
        // The request that announces a new channel goes alone: a voucher that overtook it would meet a server that
        // does not know the channel.
        let announcing = match purse.record().stage {
            Stage::Live => None,
            _ => Some(Arc::clone(&purse.announcing).lock_owned().await),
        };
        let _announcing = announcing.filter(|_| purse.record().stage != Stage::Live);
        let ticket = self.ticket(&purse, &offer, &request.url).await?;
        let session = Session {
            purse,
            ticket,
            offer,
            receipt: None,
        };
        self.rounds(request, session, patience).await
    }

    async fn rounds(
        &self,
        request: &Request,
        mut session: Session,
        patience: &mut Patience,
    ) -> Result<Paid, Error> {
        let key = format!("{:x}", crate::credential::random_word()?);
        let mut lag_wait = LAG_WAIT_FIRST;
        for _ in 0..ROUNDS_MAX {
            let header = self.authorization(&session)?;
            let mut extra = self.preferences(request);
            extra.insert(AUTHORIZATION, header);
            if !request.headers.contains_key(IDEMPOTENCY_KEY) {
                extra.insert(
                    IDEMPOTENCY_KEY,
                    HeaderValue::from_str(&key).map_err(|_| Error::Overflow)?,
                );
            }
            let sent = self.send_aloud(request, &extra, (&session, &mut *patience)).await;
            let sending = match sent {
                Ok(sending) => sending,
                // Nothing was ever sent.
                Err(error @ Error::Http(_)) => return refused(session, error).await,
                Err(error) => return Err(error),
            };
            let repeated = sending.repeated;
            let (complaint, answer, mut left) = match self.judge(request, sending, session).await? {
                Verdict::Done(paid) => return Ok(paid),
                Verdict::Complaint(complaint, answer, left) => (complaint, answer, left),
            };
            let lags = self
                .adjust(request, &mut left, (complaint, answer), repeated)
                .await;
            session = match lags {
                Ok(lags) => {
                    if lags && !patience.wait(DEPOSIT_WAITS, lag_wait).await {
                        return refused(left, Error::NotSeen).await;
                    }
                    lag_wait = lag_wait.saturating_mul(if lags { 2 } else { 1 });
                    left
                }
                // The answer to an earlier copy of this credential was lost: it may have been charged.
                Err(Error::OutcomeUnknown) => return Err(Error::OutcomeUnknown),
                Err(Error::ChannelGone(_)) if repeated => return Err(Error::OutcomeUnknown),
                Err(error) => return refused(left, error).await,
            };
        }
        refused(
            session,
            Error::Protocol("the server asks for another payment again and again"),
        )
        .await
    }

    /// Sends a credential. A server may hold the one that announces a deposit back until that is final.
    async fn send_aloud(
        &self,
        request: &Request,
        extra: &HeaderMap,
        (session, patience): (&Session, &mut Patience),
    ) -> Result<Sending, Error> {
        if session.purse.record().stage == Stage::Live {
            return self.http.send(request, extra, patience).await;
        }
        let aloud = patience.aloud(DEPOSIT_WAITS);
        aloud.wait(self.http.send(request, extra, patience)).await
    }

    async fn judge(
        &self,
        request: &Request,
        sending: Sending,
        mut session: Session,
    ) -> Result<Verdict, Error> {
        let Sending { response, .. } = sending;
        let status = response.status();
        if let Some(value) = response.headers().get(PAYMENT_RECEIPT) {
            let receipt = SessionReceipt::from_header(value.as_bytes());
            let receipt = receipt.map_err(|_| Error::Protocol("the receipt cannot be read"))?;
            let voucher = Some(session.ticket.total());
            self.check_receipt(&session, &receipt, voucher).await?;
            session.receipt = Some(receipt);
        }
        if session.receipt.is_some() || status.is_success() {
            if matches!(session.purse.record().stage, Stage::Opening | Stage::Mined) {
                self.announced(&session.purse).await?;
            }
            self.keep_challenge(request, response.headers());
            return Ok(Verdict::Done(Paid::by(response, Some(session))));
        }
        if status.is_server_error() {
            // Perhaps from a gateway in between, after the charge: the ticket ends as unknown.
            return Ok(Verdict::Done(Paid::by(response, Some(session))));
        }
        if status == StatusCode::PAYMENT_REQUIRED || status == StatusCode::GONE || is_problem(&response) {
            let answer = self.http.read(response).await?;
            let blank = Complaint {
                kind: ProblemType::PaymentRequired,
                detail: String::new(),
                required: None,
            };
            match Complaint::read(&answer.body) {
                Some(complaint) => return Ok(Verdict::Complaint(complaint, answer, session)),
                None if status == StatusCode::PAYMENT_REQUIRED => {
                    return Ok(Verdict::Complaint(blank, answer, session));
                }
                None => {
                    let detail = words(&String::from_utf8_lossy(&answer.body));
                    let kind = ProblemType::Blank;
                    session.ticket.end(Outcome::Refused).await?;
                    return Err(Error::Refused {
                        status: status.as_u16(),
                        kind,
                        detail,
                    });
                }
            }
        }
        // The service's own no, without a receipt: nothing was charged.
        session.ticket.end(Outcome::Refused).await?;
        Ok(Verdict::Done(Paid::by(response, None)))
    }

    /// Makes the next round different from the last one. True when the server only lags behind the chain.
    async fn adjust(
        &self,
        request: &Request,
        session: &mut Session,
        (complaint, answer): (Complaint, Answer),
        repeated: bool,
    ) -> Result<bool, Error> {
        use ProblemType as P;
        let channel = session.purse.id();
        let record = session.purse.record();
        let opening = matches!(record.stage, Stage::Opening | Stage::Mined);
        let mut lags = false;
        if Self::is_left_in_vain(&record, &complaint) && !repeated {
            return self.open_alone(session, (complaint, answer)).await;
        }
        if complaint.kind == P::ChannelNotFound && opening {
            lags = true;
        } else if matches!(complaint.kind, P::ChannelNotFound | P::ChannelFinalized) {
            session
                .purse
                .mark(|record, _| record.stage = Stage::Closing)
                .await?;
            return Err(Error::ChannelGone(channel));
        }
        let fresh = Offer::find(&answer.headers, &self.limits);
        if !lags || fresh.is_ok() {
            let fresh = fresh?;
            let record = session.purse.record();
            let fits = fresh.request.fits(&record.terms, record.escrow, record.chain_id);
            if !fits || fresh.request.amount > session.offer.request.amount {
                return Err(Error::OfferChanged);
            }
            session.offer = fresh;
        }
        match (complaint.kind, complaint.required) {
            (P::InsufficientBalance, Some(required)) => {
                self.raise(session, required, &request.url).await?;
            }
            (P::AmountExceedsDeposit, _) => {
                let needed = session.ticket.total();
                lags = !self
                    .cover(&session.purse, &session.offer, needed, &request.url)
                    .await?;
            }
            (P::InvalidChallenge | P::ChallengeNotFound | P::PaymentExpired | P::PaymentRequired, _) => {
                if repeated {
                    return Err(Error::OutcomeUnknown);
                }
            }
            (P::ChannelNotFound, _) => {}
            (kind, _) => {
                return Err(Error::Refused {
                    status: answer.status.as_u16(),
                    kind,
                    detail: complaint.detail,
                });
            }
        }
        Ok(lags)
    }

    /// The server does not pull the opening deposit: the payer sends it itself, and announces it by the freshest challenge.
    async fn open_alone(
        &self,
        session: &mut Session,
        (complaint, answer): (Complaint, Answer),
    ) -> Result<bool, Error> {
        if let Ok(fresh) = Offer::find(&answer.headers, &self.limits) {
            let record = session.purse.record();
            let fits = fresh.request.fits(&record.terms, record.escrow, record.chain_id);
            if !fits || fresh.request.amount > session.offer.request.amount {
                return Err(Error::OfferChanged);
            }
            session.offer = fresh;
        }
        if !session.offer.takes_own() {
            return Err(Error::Refused {
                status: answer.status.as_u16(),
                kind: complaint.kind,
                detail: complaint.detail,
            });
        }
        session.purse.mark(|record, _| record.open_left = None).await?;
        self.bring_to_chain(&session.purse, &session.offer).await?;
        Ok(false)
    }

    /// Concedes a required total, topping up where the deposit is too small for it.
    async fn raise(&self, session: &mut Session, required: Cumulative, url: &Url) -> Result<(), Error> {
        let bounds = self.bounds(&session.offer);
        match session.ticket.concede(required, bounds).await {
            Err(Error::DepositTooSmall { needed, .. }) => {
                self.cover(&session.purse, &session.offer, needed, url).await?;
                session.ticket.concede(required, bounds).await
            }
            done => done,
        }
    }

    /// Agrees to the price of one unit, topping up where the deposit is too small for it.
    async fn ticket(&self, purse: &Arc<Purse>, offer: &Offer, url: &Url) -> Result<Ticket, Error> {
        let bounds = self.bounds(offer);
        match Ticket::agree(purse, &self.run, bounds).await {
            Err(Error::DepositTooSmall { needed, .. }) => {
                self.cover(purse, offer, needed, url).await?;
                Ticket::agree(purse, &self.run, bounds).await
            }
            done => done,
        }
    }

    /// Within what vouchers for an offer are raised.
    pub(crate) fn bounds(&self, offer: &Offer) -> Bounds {
        Bounds {
            price: offer.request.amount,
            step: offer.request.min_voucher_delta(),
            ahead_max: self.limits.max_ahead,
            stream_max: self.limits.max_stream,
        }
    }

    fn authorization(&self, session: &Session) -> Result<HeaderValue, Error> {
        let record = session.purse.record();
        let action = match (record.stage, record.open_hash, record.salt) {
            (Stage::Opening | Stage::Mined, ..) if record.open_left.is_some() => {
                let left = record.open_left.ok_or(Error::NoChannel)?;
                self.sign_open(&record, &left)?
            }
            (Stage::Mined, Some(hash), Some(salt)) => Action::Open { hash, salt },
            _ => Action::Voucher,
        };
        let said = (&action, session.ticket.total());
        self.pen.write(
            &session.offer.challenge,
            &record.domain(),
            session.purse.id(),
            said,
        )
    }
}

/// Whether a body is a problem of the payment drafts, or perhaps the service's own.
pub(crate) fn is_problem(response: &reqwest::Response) -> bool {
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(PROBLEM_CONTENT_TYPE.as_bytes()))
}

/// Ends a request that was certainly not charged.
async fn refused<T>(session: Session, error: Error) -> Result<T, Error> {
    session.ticket.end(Outcome::Refused).await?;
    Err(error)
}
