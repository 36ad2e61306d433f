//! What a payment is for, and what it led to.

use crate::books::UsedCredential;
use crate::repeats::{KeptAnswer, Keyed};
use crate::sale::{ChargeOn, Hold, Sale};
use crate::shard::Answer;
use weir_core::step::VoucherRules;
use weir_core::{Amount, Cumulative};
use weir_store::Durable;

/// What a payment is for.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// The price, when something is bought.
    pub price: Option<Amount>,
    /// The route's voucher rules.
    pub rules: VoucherRules,
    /// The credential that buys; `None` for what buys nothing.
    pub credential: Option<UsedCredential>,
    /// When the route charges.
    pub charge_on: ChargeOn,
    /// By which the request may be repeated.
    pub keyed: Option<Keyed>,
}

/// What a payment led to. Each carries the durable state that a receipt is made of.
#[derive(Debug)]
pub enum Paid {
    /// Set aside: deliver now.
    Sale(Sale, Durable<Answer>),
    /// Bought before: this is the answer.
    Kept(KeptAnswer, Durable<Answer>),
    /// Bought before, and never answered: deliver now. It is charged already.
    Owed(Hold, Durable<Answer>),
    /// The voucher counts; nothing was bought.
    Accepted(Durable<Answer>),
    /// The voucher counts, but does not cover the price.
    Short {
        /// The total that the next voucher must reach.
        required: Cumulative,
        /// The channel's state.
        answer: Durable<Answer>,
    },
}
