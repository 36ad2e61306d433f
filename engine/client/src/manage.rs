//! What every request says beside its body, the check of what comes back, and requests that buy nothing.

use crate::buy::Session;
use crate::credential::Action;
use crate::error::Error;
use crate::http::Request;
use crate::offer::{Complaint, Offer};
use crate::payer::Core;
use crate::purse::Purse;
use crate::receipt::{self, Sent};
use crate::state::Stage;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use std::sync::Arc;
use weir_core::Cumulative;
use weir_protocol::{Intent, ProblemType, SessionReceipt};

const ACCEPT_PAYMENT: HeaderName = HeaderName::from_static("accept-payment");
const PAYMENT_SESSION: HeaderName = HeaderName::from_static("payment-session");
const OURS: HeaderValue = HeaderValue::from_static("evm/session, tempo/charge;q=0.5, evm/charge;q=0.5");
const SESSIONS: HeaderValue = HeaderValue::from_static("evm/session");
const CHARGES: HeaderValue = HeaderValue::from_static("tempo/charge, evm/charge");
/// Where receipts stand.
pub(crate) const PAYMENT_RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");

impl Core {
    /// What the payer would like to pay with, and the channel it has at this origin.
    pub(crate) fn preferences(&self, request: &Request) -> HeaderMap {
        let accepted = match self.limits.intent {
            None => OURS,
            Some(Intent::Session) => SESSIONS,
            Some(Intent::Charge) => CHARGES,
        };
        let mut headers = HeaderMap::from_iter([(ACCEPT_PAYMENT, accepted)]);
        let origin = request.origin();
        let live = self
            .purses()
            .into_iter()
            .map(|purse| purse.record())
            .find(|record| {
                record.stage == Stage::Live && record.is_usable() && record.origin.as_ref() == Some(&origin)
            });
        if let Some(value) = live.and_then(|record| HeaderValue::from_str(&record.channel.to_string()).ok()) {
            headers.insert(PAYMENT_SESSION, value);
        }
        headers
    }

    /// Checks a receipt; the channel is stopped when it claims what it must not.
    pub(crate) async fn check_receipt(
        &self,
        session: &Session,
        receipt: &SessionReceipt,
        voucher: Option<Cumulative>,
    ) -> Result<(), Error> {
        let chain_id = session.purse.record().chain_id;
        let challenge_id = &session.offer.challenge.id;
        self.check(
            &session.purse,
            receipt,
            Sent {
                channel: session.purse.id(),
                chain_id,
                challenge_id,
                voucher,
            },
        )
        .await
    }

    async fn check(&self, purse: &Arc<Purse>, receipt: &SessionReceipt, sent: Sent<'_>) -> Result<(), Error> {
        let signed = purse.with(|account| account.signed);
        if let Err(why) = receipt::check(receipt, sent, signed) {
            return Err(purse.stop(why).await);
        }
        if let Err(error) = purse.see_spent(receipt.spent) {
            purse.mark(|_, account| account.stopped = true).await?;
            return Err(error);
        }
        Ok(())
    }

    /// A management request to the same URL, paid for with nothing: a bare POST, or HEAD where a POST would buy content
    /// because the URL has a query. Gives its receipt.
    pub(crate) async fn manage(
        &self,
        url: &Url,
        purse: &Arc<Purse>,
        action: Action,
        total: Cumulative,
    ) -> Result<Option<SessionReceipt>, Error> {
        let mut request = Request::bare(url.clone());
        if matches!(action, Action::Voucher) && url.query().is_some() {
            request.method = Method::HEAD;
        }
        let mut patience = self.http.patience();
        let preferences = self.preferences(&request);
        let probe = self.http.send(&request, &preferences, &mut patience).await?;
        let offer = Offer::find(probe.response.headers(), &self.limits)?;
        let record = purse.record();
        if !offer.request.fits(&record.terms, record.escrow, record.chain_id) {
            return Err(Error::OfferChanged);
        }
        let header = self
            .pen
            .write(&offer.challenge, &record.domain(), purse.id(), (&action, total))?;
        let mut extra = preferences;
        extra.insert(AUTHORIZATION, header);
        let sending = self.http.send(&request, &extra, &mut patience).await?;
        let answer = self.http.read(sending.response).await?;
        if !answer.status.is_success() {
            let complaint = Complaint::read(&answer.body);
            let kind = complaint
                .as_ref()
                .map_or(ProblemType::Blank, |complaint| complaint.kind);
            let detail = complaint.map(|complaint| complaint.detail).unwrap_or_default();
            return Err(Error::Refused {
                status: answer.status.as_u16(),
                kind,
                detail,
            });
        }
        let Some(value) = answer.headers.get(PAYMENT_RECEIPT) else {
            return Ok(None);
        };
        let receipt = SessionReceipt::from_header(value.as_bytes());
        let receipt = receipt.map_err(|_| Error::Protocol("the receipt cannot be read"))?;
        let voucher = (!action.tops_up()).then_some(total);
        let challenge_id = &offer.challenge.id;
        self.check(
            purse,
            &receipt,
            Sent {
                channel: purse.id(),
                chain_id: record.chain_id,
                challenge_id,
                voucher,
            },
        )
        .await?;
        Ok(Some(receipt))
    }
}
