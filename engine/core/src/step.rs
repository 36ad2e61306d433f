//! The one transition: what an input makes of a channel.
//!
//! `step(channel, input, now)` is a function: no clock, no disk, no chain. Commands come from payers through the
//! till, facts from the watcher, and both pass here, so every promise about a channel is kept here: what is sold in
//! `sell`, what is settled, closed and seen on the chain in `settle`.

mod sell;
mod settle;

use crate::amount::{Amount, Cumulative};
use crate::channel::{Capture, ChainState, Channel, ChargePhase};
use crate::ids::ChargeId;
use crate::refusal::Refusal;
use crate::time::UnixSeconds;
use crate::voucher::{Proven, Voucher};
use alloy_primitives::B256;

/// What a rail makes of a voucher below the accepted total. Its signature has been checked by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowerVoucher {
    /// Answered, without effect (draft-evm-session-00, Idempotency).
    Unchanged,
    /// Refused (draft-tempo-session-00).
    Refused,
}

/// A route's rules for vouchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoucherRules {
    /// The least that a higher voucher must add (`minVoucherDelta`) once something is accepted: the first voucher may be
    /// as low as its payer likes (draft-tempo-session-00, Open Verification). Refused after its opening, it would leave
    /// a deposit locked for nothing.
    pub delta_min: Amount,
    /// What becomes of a lower one.
    pub lower: LowerVoucher,
}

/// Whether a committed charge's body has all been handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// It has: the charge is over.
    Delivered,
    /// It is on its way: a failure from here on earns a credit.
    OnItsWay,
}

/// A command or a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A payer's voucher and, when it buys something, the price to set aside.
    Pay {
        /// The proven voucher.
        voucher: Voucher<Proven>,
        /// The route's rules.
        rules: VoucherRules,
        /// The price of what is asked for; `None` when nothing is.
        price: Option<Amount>,
    },
    /// One more charge out of what is already authorised: a stream's next units.
    Reserve {
        /// What to set aside.
        price: Amount,
    },
    /// The delivery succeeded: spend what it cost, let go of the rest.
    Commit {
        /// The charge.
        charge: ChargeId,
        /// What it cost, at most what was reserved.
        amount: Amount,
        /// Whether the body is all out.
        body: Body,
    },
    /// The delivery failed before anything was told: let go of the reservation.
    Release {
        /// The charge.
        charge: ChargeId,
    },
    /// A creditable charge's body is all out.
    Finish {
        /// The charge.
        charge: ChargeId,
    },
    /// A creditable charge's delivery failed: give its amount back.
    Credit {
        /// The charge.
        charge: ChargeId,
    },
    /// The process came back: what was reserved at the crash is committed, what was on its way is over
    /// (the drafts' rule: charged before delivered).
    Recover,
    /// Close, with the payer's last voucher when it sent one. From here on nothing is sold.
    BeginClose {
        /// The payer's close voucher.
        voucher: Option<Voucher<Proven>>,
    },
    /// A settlement was decided.
    BeginCapture(Capture),
    /// It is over, landed or definitively not.
    EndCapture,
    /// A transaction of ours that closes the channel is in a block. After a reorganisation it may be another one.
    ClosedBy(B256),
    /// These books are a restored copy: what was sold since the copy was made is not known, so nothing more is.
    Drain,
    /// The chain was read at its newest block and at its newest final one.
    Observe {
        /// State at the newest block.
        seen: ChainState,
        /// State at the newest final block.
        last_final: ChainState,
    },
}

/// What an input led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The voucher counts (or counted before); nothing was asked to be reserved.
    Accepted,
    /// The charge is set aside.
    Reserved(ChargeId),
    /// The voucher counts, but does not cover the price; nothing is set aside.
    Short {
        /// The total that the next voucher must reach.
        required: Cumulative,
    },
    /// Done; the channel's new state says the rest.
    Done,
    /// The chain shows a settlement that these books never decided: they are older than the chain, or the payee's key
    /// is in use elsewhere. The channel is drain-only from here on (threat C7).
    Unaccounted {
        /// The settled total seen.
        settled: Cumulative,
    },
}

/// A channel after an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its new state.
    pub channel: Channel,
    /// What the input led to.
    pub outcome: Outcome,
}

/// Moves a channel by one input.
///
/// # Errors
/// A [`Refusal`]; the channel is then as it was.
pub fn step(channel: &Channel, input: Input, now: UnixSeconds) -> Result<Step, Refusal> {
    let mut next = channel.clone();
    let outcome = match input {
        Input::Pay {
            voucher,
            rules,
            price,
        } => sell::pay(&mut next, voucher, rules, price)?,
        Input::Reserve { price } => {
            next.must_be_live()?;
            match sell::reserve(&mut next, price)? {
                Outcome::Short { required } => {
                    return Err(Refusal::InsufficientBalance {
                        required,
                        accepted: next.accepted,
                    });
                }
                reserved => reserved,
            }
        }
        Input::Commit { charge, amount, body } => sell::commit(&mut next, charge, amount, body)?,
        Input::Release { charge } => {
            sell::take_charge(&mut next, charge, ChargePhase::Reserved)?;
            Outcome::Done
        }
        Input::Finish { charge } => {
            sell::take_charge(&mut next, charge, ChargePhase::Creditable)?;
            Outcome::Done
        }
        Input::Credit { charge } => {
            let charge = sell::take_charge(&mut next, charge, ChargePhase::Creditable)?;
            next.credited = next.credited.plus(charge.amount).ok_or(Refusal::Overflow)?;
            Outcome::Done
        }
        Input::Recover => sell::recover(&mut next)?,
        Input::BeginClose { voucher } => settle::begin_close(&mut next, voucher, now)?,
        Input::BeginCapture(capture) => settle::begin_capture(&mut next, capture, now)?,
        Input::EndCapture => {
            next.capture = None;
            Outcome::Done
        }
        Input::ClosedBy(transaction) => {
            next.closed_by = Some(transaction);
            next.end_final_close();
            Outcome::Done
        }
        Input::Drain => {
            next.drain_only = true;
            Outcome::Done
        }
        Input::Observe { seen, last_final } => settle::observe(&mut next, seen, last_final)?,
    };
    next.retain_earned();
    next.mark_uncollected(now);
    Ok(Step {
        channel: next,
        outcome,
    })
}

impl Channel {
    /// Keeps the newest voucher that was the highest and earned whole, for calls that cannot name a capture.
    ///
    /// Earned beyond doubt: one that a credit could take back would push out a lower one that is safe.
    fn retain_earned(&mut self) {
        let limit = self.collectible();
        if self.best.is_some_and(|best| best.cumulative() <= limit) {
            self.earned = self.best;
        }
    }

    /// Keeps the moment since which something has been waiting to be collected.
    fn mark_uncollected(&mut self, now: UnixSeconds) {
        if self.uncollected().is_zero() {
            self.uncollected_since = None;
        } else if self.uncollected_since.is_none() {
            self.uncollected_since = Some(now);
        }
    }
}
