//! Answers that are paid for at once, each by a payment of its own (draft-tempo-charge-00).
//!
//! | module | what it does |
//! |---|---|
//! | [`offer`] | which charges this payer can pay, and within which limits |
//! | [`record`] | what a restart must know of a payment under way |
//! | [`sign`] | makes the payment, and asks the chain what became of it |
//! | [`buy`] | shows it to the server, and judges the answer |
//!
//! The money of a charge is gone before the answer is here, and only the payment itself can be shown for it. So a payment
//! is on disk before it leaves, and until its answer has been read: the same request then shows the same payment again,
//! and nothing is paid anew while the first may have been taken. That ends: a transaction of Tempo lands within moments or
//! never. One of another chain may land for ever, so `evm`/`charge` is not paid.

mod buy;
mod offer;
mod record;
mod sign;

pub(crate) use offer::ChargeOffer;
pub use record::PaymentRecord;
pub(crate) use record::{Payment, Payments};

use crate::cost::Cost;
use alloy::primitives::{Address, B256};
use weir_core::Amount;
use weir_protocol::charge::ChargeReceipt;

/// What an answer was paid with, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargePaid {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
    /// Who was paid.
    pub recipient: Address,
    /// How much, in base units.
    pub amount: Amount,
    /// The transaction; `None` where nothing was to be paid but shown.
    pub transaction: Option<B256>,
    /// True when an earlier request paid, whose answer never came.
    pub earlier: bool,
    /// The receipt, checked; `None` when the server gave none.
    pub receipt: Option<ChargeReceipt>,
}

/// A paid answer, and the payment that is kept until it has been read.
#[derive(Debug)]
pub(crate) struct Charged {
    pub(crate) paid: ChargePaid,
    pub(crate) payment: Option<Payment>,
    pub(crate) cost: Cost,
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
