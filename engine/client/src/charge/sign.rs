//! Makes a payment, within the limits and the fees, and asks the chain what became of one.

use super::offer::{ChargeOffer, Mode};
use super::record::{PAYMENT_FORMAT, fingerprint, shown};
use super::{Payment, PaymentRecord};
use crate::error::Error;
use crate::http::Request;
use crate::onchain::{Chain, ChainError};
use crate::payer::Core;
use crate::tempo::GAS_OF_TRANSFER;
use alloy::primitives::B256;
use weir_chain::{Landed, Outcome, Transfer};

const DOING: &str = "paying";
/// So long after its end a transaction that no block holds is given up, in seconds: another node may be behind.
const EXPIRED_SECONDS: u64 = 30;

/// What the chain says of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It paid.
    Paid,
    /// It may yet pay.
    Open,
    /// It did not pay, and never will.
    Never,
}

impl Core {
    /// Signs a payment and writes it down; nothing has left.
    pub(super) async fn make_payment(
        &self,
        request: &Request,
        offer: &ChargeOffer,
    ) -> Result<Payment, Error> {
        let asked = &offer.request;
        let chain_id = asked.method_details.chain_id;
        self.chain.must_be(chain_id).await?;
        self.run.allows(asked.amount)?;
        let transfer = Transfer {
            token: asked.currency,
            from: self.chain.payer(),
            to: asked.recipient,
            amount: asked.amount,
            memo: Some(offer.memo()),
            authorized: None,
        };
        let balance = self.chain.token_balance(transfer.token).await?;
        if balance < transfer.amount {
            return Err(Error::Balance {
                token: transfer.token,
                payer: transfer.from,
                balance,
                needed: transfer.amount,
            });
        }
        let calls = vec![transfer.call()];
        let priced = self
            .chain
            .tempo(calls, transfer.token, (offer.expires(), GAS_OF_TRANSFER));
        let transaction = self.chain.sign_tempo(&priced.await?)?;
        let record = PaymentRecord {
            format: PAYMENT_FORMAT,
            request: fingerprint(request),
            place: shown(request),
            challenge: offer.challenge.clone(),
            chain_id,
            token: transfer.token,
            recipient: transfer.to,
            amount: transfer.amount,
            is_pushed: offer.mode == Mode::Push,
            transaction,
        };
        self.payments.begin(record).await
    }

    /// Sees to it that a payment that the payer broadcasts itself is in a block. It ends with its challenge at the
    /// latest, so that none lands that buys nothing any more.
    pub(super) async fn push(&self, record: &PaymentRecord) -> Result<Landed, Error> {
        let (raw, hash) = (&record.transaction.raw, record.transaction.hash);
        // What the node says of a repetition means nothing: whether it landed does.
        if let Err(fault) = self.chain.rpc().broadcast(raw, hash).await {
            tracing::debug!(%fault, %hash, "the payment was not taken now");
        }
        Ok(self.chain.mined(hash, DOING).await?)
    }
}

impl Chain {
    /// What became of a payment, as far as the node knows. Nothing is sent.
    pub(super) async fn standing(&self, record: &PaymentRecord) -> Result<Standing, ChainError> {
        self.must_be(record.chain_id).await?;
        // The time first: what is in no block after it was in none before.
        let now = self.now().await?;
        let ends = record.transaction.valid_before.after(EXPIRED_SECONDS);
        Ok(match self.rpc().outcome(record.transaction.hash).await? {
            Outcome::Landed(landed) if landed.success => Standing::Paid,
            Outcome::Landed(_) => Standing::Never,
            Outcome::Pending | Outcome::NotSeen if now < ends.0 => Standing::Open,
            Outcome::Pending | Outcome::NotSeen => Standing::Never,
        })
    }
}

/// A hash as receipts spell it.
pub(super) fn spelled(hash: B256) -> String {
    format!("{hash:#x}")
}
