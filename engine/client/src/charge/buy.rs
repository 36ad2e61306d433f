//! Shows a payment to the server until it answers, and judges the answer.

use super::offer::{ChargeOffer, Mode};
use super::record::fingerprint;
use super::sign::{Standing, spelled};
use super::{ChargePaid, Charged, Payment};
use crate::buy::{Paid, is_problem};
use crate::cost::Cost;
use crate::error::Error;
use crate::http::{Answer, Patience, Request, Sending};
use crate::manage::PAYMENT_RECEIPT;
use crate::offer::{Complaint, words};
use crate::payer::Core;
use alloy::primitives::hex;
use core::time::Duration;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value, json};
use weir_core::Amount;
use weir_protocol::charge::proof::proof_digests;
use weir_protocol::charge::{ChargeReceipt, TYPE_HASH, TYPE_PROOF};
use weir_protocol::rails::tempo_session_v1::TYPE_TRANSACTION;
use weir_protocol::{Challenge, ProblemType};

/// First wait for a server that is at work with the same payment; it doubles.
const BUSY_WAIT_FIRST: Duration = Duration::from_millis(250);
const BUSY: &str = "the server is at work with this payment already";

impl Core {
    /// A payment for the same request whose answer never came, if it paid or may yet. What never will is forgotten.
    pub(crate) async fn left_payment(&self, request: &Request) -> Result<Option<Payment>, Error> {
        while let Some(mut payment) = self.payments.take(fingerprint(request)) {
            match self.chain.standing(&payment.record).await? {
                Standing::Paid => return Ok(Some(payment)),
                Standing::Open => {
                    payment.claim()?;
                    return Ok(Some(payment));
                }
                Standing::Never => payment.undo().await?,
            }
        }
        Ok(None)
    }

    /// Pays for a request at once.
    pub(crate) async fn charge(
        &self,
        request: &Request,
        offer: ChargeOffer,
        patience: &mut Patience,
    ) -> Result<Paid, Error> {
        if offer.mode == Mode::Proof {
            return self.prove(request, &offer, patience).await;
        }
        let payment = self.make_payment(request, &offer).await?;
        self.show(request, (payment, false), patience).await
    }

    /// Shows a signature where nothing is to be paid.
    async fn prove(
        &self,
        request: &Request,
        offer: &ChargeOffer,
        patience: &mut Patience,
    ) -> Result<Paid, Error> {
        self.limits.check_realm(&offer.challenge.realm, &request.url)?;
        let asked = &offer.request;
        let (chain_id, payer) = (asked.method_details.chain_id, self.chain.payer());
        self.chain.must_be(chain_id).await?;
        // The version of the servers as they are published; ours takes the draft's too.
        let [_, digest] = proof_digests(payer, chain_id, &offer.challenge);
        let signature = self.pen.sign_digest(digest)?;
        let payload = json!({"type": TYPE_PROOF, "signature": signature.to_string()});
        let header = self.said(&offer.challenge, chain_id, payload)?;
        let sending = self.send_payment(request, header, patience).await?;
        let paid = ChargePaid {
            chain_id,
            token: asked.currency,
            recipient: asked.recipient,
            amount: asked.amount,
            transaction: None,
            earlier: false,
            receipt: None,
        };
        self.take_answer(sending, (&offer.challenge, paid), None).await
    }

    /// Shows a payment, of now or of an earlier request.
    pub(crate) async fn show(
        &self,
        request: &Request,
        (payment, earlier): (Payment, bool),
        patience: &mut Patience,
    ) -> Result<Paid, Error> {
        let record = payment.record.clone();
        let transaction = record.transaction.hash;
        let payload = if record.is_pushed {
            json!({"type": TYPE_HASH, "hash": spelled(transaction)})
        } else {
            let raw = hex::encode_prefixed(&record.transaction.raw);
            json!({"type": TYPE_TRANSACTION, "signature": raw})
        };
        let header = self.said(&record.challenge, record.chain_id, payload)?;
        if record.is_pushed
            && let Err(error) = self.push(&record).await
        {
            return Err(self.unpaid(payment, error).await);
        }
        let sending = match self.send_payment(request, header, patience).await {
            Ok(sending) => sending,
            // Nothing was ever sent, so that nobody can broadcast it.
            Err(error @ Error::Http(_)) if !earlier && !record.is_pushed => {
                payment.undo().await?;
                return Err(error);
            }
            Err(error) => return Err(open(&payment, &error.to_string())),
        };
        let paid = ChargePaid {
            chain_id: record.chain_id,
            token: record.token,
            recipient: record.recipient,
            amount: record.amount,
            transaction: Some(transaction),
            earlier,
            receipt: None,
        };
        self.take_answer(sending, (&record.challenge, paid), Some(payment))
            .await
    }

    /// A payment of the payer's own that is not in a block: forgotten when it never will be.
    async fn unpaid(&self, payment: Payment, error: Error) -> Error {
        match self.chain.standing(&payment.record).await {
            Ok(Standing::Never) => payment.undo().await.err().unwrap_or(error),
            Ok(Standing::Paid | Standing::Open) | Err(_) => open(&payment, &error.to_string()),
        }
    }

    fn said(&self, challenge: &Challenge, chain_id: u64, payload: Value) -> Result<HeaderValue, Error> {
        let payload = match payload {
            Value::Object(payload) => payload,
            _ => Map::new(),
        };
        self.pen.say(challenge, chain_id, payload)
    }

    /// The same credential, until the server is not at work with it any more.
    async fn send_payment(
        &self,
        request: &Request,
        header: HeaderValue,
        patience: &mut Patience,
    ) -> Result<Sending, Error> {
        let mut extra = self.preferences(request);
        extra.insert(AUTHORIZATION, header);
        let (mut wait, mut reached) = (BUSY_WAIT_FIRST, false);
        loop {
            let sending = match self.http.send(request, &extra, patience).await {
                // Whoever was at work with it has it.
                Err(Error::Http(_)) if reached => return Err(Error::OutcomeUnknown),
                sent => sent?,
            };
            let busy = sending.response.status() == StatusCode::CONFLICT;
            if !busy || !patience.wait(BUSY, wait).await {
                return Ok(sending);
            }
            (wait, reached) = (wait.saturating_mul(2), true);
        }
    }

    async fn take_answer(
        &self,
        sending: Sending,
        (challenge, mut paid): (&Challenge, ChargePaid),
        payment: Option<Payment>,
    ) -> Result<Paid, Error> {
        let Sending { response, .. } = sending;
        let status = response.status();
        if let Some(value) = response.headers().get(PAYMENT_RECEIPT) {
            let receipt = ChargeReceipt::from_header(value.as_bytes()).map_err(|_| "spelling");
            let checked = receipt.and_then(|receipt| check(&receipt, challenge, &paid).map(|()| receipt));
            let wrong = |what| match &payment {
                Some(payment) => open(payment, &Error::WrongReceipt(what).to_string()),
                None => Error::WrongReceipt(what),
            };
            paid.receipt = Some(checked.map_err(wrong)?);
        }
        let standing = match (&payment, &paid.receipt) {
            (None, _) | (_, Some(_)) => Standing::Paid,
            (Some(payment), None) => self.standing_or_open(payment).await,
        };
        let refuses = status.is_client_error() && paid.receipt.is_none() && is_problem(&response);
        if status == StatusCode::PAYMENT_REQUIRED || refuses {
            let read = self.http.read(response).await;
            return Err(match read {
                Ok(answer) => self.refusal(answer, payment, standing).await,
                Err(error) => match &payment {
                    Some(payment) => open(payment, &error.to_string()),
                    None => error,
                },
            });
        }
        let (amount, none) = (paid.amount, Amount::ZERO);
        let (charged, uncertain) = match standing {
            Standing::Paid => (amount, none),
            Standing::Open => (none, amount),
            Standing::Never => (none, none),
        };
        let cost = Cost {
            charged,
            units: (standing == Standing::Paid).into(),
            uncertain,
            ..Cost::default()
        };
        // Where the service, or a gateway before it, said no, the answer may yet be owed.
        let payment = payment.filter(|_| status.is_success() || paid.receipt.is_some());
        let charged = Some(Box::new(Charged { paid, payment, cost }));
        Ok(Paid {
            response,
            session: None,
            charged,
        })
    }

    async fn standing_or_open(&self, payment: &Payment) -> Standing {
        let standing = self.chain.standing(&payment.record).await;
        standing.unwrap_or(Standing::Open)
    }

    /// The server said no to a payment: what that means for the money.
    async fn refusal(&self, answer: Answer, payment: Option<Payment>, standing: Standing) -> Error {
        let status = answer.status.as_u16();
        let (kind, detail) = match Complaint::read(&answer.body) {
            Some(complaint) => (complaint.kind, complaint.detail),
            None => (ProblemType::Blank, words(&String::from_utf8_lossy(&answer.body))),
        };
        let refused = Error::Refused {
            status,
            kind,
            detail: detail.clone(),
        };
        let Some(payment) = payment else {
            return refused;
        };
        let record = payment.record.clone();
        match standing {
            Standing::Open => open(&payment, &refused.to_string()),
            Standing::Never => payment.undo().await.err().unwrap_or(refused),
            Standing::Paid => {
                let in_vain = Error::PaidInVain {
                    amount: record.amount,
                    token: record.token,
                    transaction: record.transaction.hash,
                    detail,
                };
                // What is refused for good is not owed any more; what else went wrong may go better another time.
                if answer.status == StatusCode::PAYMENT_REQUIRED {
                    return payment.forget().await.err().unwrap_or(in_vain);
                }
                in_vain
            }
        }
    }
}

/// Compares a receipt with what was paid.
fn check(receipt: &ChargeReceipt, challenge: &Challenge, paid: &ChargePaid) -> Result<(), &'static str> {
    let reference = match paid.transaction {
        Some(hash) => receipt.reference.parse() == Ok(hash),
        None => receipt.reference == challenge.id,
    };
    let checks = [
        (receipt.method == challenge.method, "method"),
        (reference, "reference"),
        (
            receipt.challenge_id.as_ref().is_none_or(|id| *id == challenge.id),
            "challenge",
        ),
        (receipt.chain_id.is_none_or(|id| id == paid.chain_id), "chain"),
    ];
    let wrong = checks.into_iter().find(|(holds, _)| !holds);
    wrong.map_or(Ok(()), |(_, what)| Err(what))
}

/// Nobody knows yet whether a payment is taken.
fn open(payment: &Payment, why: &str) -> Error {
    Error::PaymentOpen {
        amount: payment.record.amount,
        token: payment.record.token,
        transaction: payment.record.transaction.hash,
        why: why.to_owned(),
    }
}
