//! A channel under a story, and the short words in which stories are told.

use super::keys::{Mint, Whose};
use weir_core::step::{Body, LowerVoucher, VoucherRules};
use weir_core::{
    Amount, Capture, ChainState, Channel, ChargeId, Cumulative, Input, Outcome, Refusal, UnixSeconds, step,
};

pub(crate) const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
pub(crate) const RULES: VoucherRules = VoucherRules {
    delta_min: Amount::ZERO,
    lower: LowerVoucher::Unchanged,
};

pub(crate) fn state(deposit: u128, settled: u128) -> ChainState {
    ChainState {
        deposit: Cumulative::new(deposit),
        settled: Cumulative::new(settled),
        close_requested_at: None,
        finalized: false,
    }
}

/// A channel under a story, with what signs its vouchers.
pub(crate) struct Story {
    pub(crate) mint: Mint,
    pub(crate) channel: Channel,
}

impl Story {
    pub(crate) fn of(chain: ChainState, drain_only: bool) -> Self {
        let mint = Mint::new();
        let channel = Channel::adopt(mint.id(Whose::Ours), mint.terms(Whose::Ours), chain, drain_only);
        Self { mint, channel }
    }

    /// A deposit of 100, a voucher over `accepted`, and `spent` delivered.
    pub(crate) fn sold(accepted: u128, spent: u128) -> Self {
        let mut story = Self::of(state(100, 0), false);
        story.pay(accepted, None).unwrap();
        let id = story.reserve(spent);
        story.commit(id, spent, Body::Delivered).unwrap();
        story
    }

    pub(crate) fn tell(&mut self, input: Input) -> Result<Outcome, Refusal> {
        let before = self.channel.clone();
        let answer = step(&self.channel, input, NOW);
        assert_eq!(self.channel, before);
        answer.map(|step| {
            self.channel = step.channel;
            step.outcome
        })
    }

    pub(crate) fn pay(&mut self, total: u128, price: Option<u128>) -> Result<Outcome, Refusal> {
        let voucher = self.mint.proven(Whose::Ours, total);
        self.tell(Input::Pay {
            voucher,
            rules: RULES,
            price: price.map(Amount::new),
        })
    }

    pub(crate) fn reserve(&mut self, price: u128) -> ChargeId {
        match self.tell(Input::Reserve {
            price: Amount::new(price),
        }) {
            Ok(Outcome::Reserved(id)) => id,
            other => unreachable!("not set aside: {other:?}"),
        }
    }

    pub(crate) fn commit(&mut self, charge: ChargeId, amount: u128, body: Body) -> Result<Outcome, Refusal> {
        self.tell(Input::Commit {
            charge,
            amount: Amount::new(amount),
            body,
        })
    }

    pub(crate) fn capture(&mut self, target: u128, closes: bool) -> Result<Outcome, Refusal> {
        self.tell(Input::BeginCapture(Capture {
            target: Cumulative::new(target),
            closes,
        }))
    }

    pub(crate) fn observe(&mut self, seen: ChainState, last_final: ChainState) {
        self.tell(Input::Observe { seen, last_final }).unwrap();
    }

    pub(crate) fn close(&mut self) {
        self.tell(Input::BeginClose { voucher: None }).unwrap();
    }
}
