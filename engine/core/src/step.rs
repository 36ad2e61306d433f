//! The one transition: what an input makes of a channel.
//!
//! `step(channel, input, now)` is a function: no clock, no disk, no chain. Commands come from payers through the
//! till, facts from the watcher, and both pass here, so every promise about a channel is kept in this file.

use crate::amount::{Amount, Cumulative};
use crate::channel::{CHARGES_OPEN_MAX, Capture, ChainState, Channel, Charge, ChargePhase, Closing};
use crate::ids::ChargeId;
use crate::refusal::Refusal;
use crate::time::UnixSeconds;
use crate::voucher::{KeptVoucher, Proven, Voucher};
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
        } => pay(&mut next, voucher, rules, price)?,
        Input::Reserve { price } => {
            next.must_be_live()?;
            match reserve(&mut next, price)? {
                Outcome::Short { required } => {
                    return Err(Refusal::InsufficientBalance {
                        required,
                        accepted: next.accepted,
                    });
                }
                reserved => reserved,
            }
        }
        Input::Commit { charge, amount, body } => commit(&mut next, charge, amount, body)?,
        Input::Release { charge } => {
            take_charge(&mut next, charge, ChargePhase::Reserved)?;
            Outcome::Done
        }
        Input::Finish { charge } => {
            take_charge(&mut next, charge, ChargePhase::Creditable)?;
            Outcome::Done
        }
        Input::Credit { charge } => {
            let charge = take_charge(&mut next, charge, ChargePhase::Creditable)?;
            next.credited = next.credited.plus(charge.amount).ok_or(Refusal::Overflow)?;
            Outcome::Done
        }
        Input::Recover => recover(&mut next)?,
        Input::BeginClose { voucher } => begin_close(&mut next, voucher, now)?,
        Input::BeginCapture(capture) => begin_capture(&mut next, capture, now)?,
        Input::EndCapture => {
            next.capture = None;
            Outcome::Done
        }
        Input::ClosedBy(transaction) => {
            next.closed_by = Some(transaction);
            Outcome::Done
        }
        Input::Drain => {
            next.drain_only = true;
            Outcome::Done
        }
        Input::Observe { seen, last_final } => observe(&mut next, seen, last_final)?,
    };
    next.retain_earned();
    next.mark_uncollected(now);
    Ok(Step {
        channel: next,
        outcome,
    })
}

fn pay(
    channel: &mut Channel,
    voucher: Voucher<Proven>,
    rules: VoucherRules,
    price: Option<Amount>,
) -> Result<Outcome, Refusal> {
    channel.must_be_live()?;
    if voucher.channel() != channel.id {
        return Err(Refusal::WrongChannel);
    }
    if voucher.cumulative() < channel.accepted && rules.lower == LowerVoucher::Refused {
        return Err(Refusal::Stale {
            accepted: channel.accepted,
        });
    }
    if let Some(raise) = voucher
        .cumulative()
        .since(channel.accepted)
        .filter(|raise| !raise.is_zero())
    {
        if raise < rules.delta_min && !channel.accepted.is_zero() {
            return Err(Refusal::DeltaTooSmall {
                minimum: rules.delta_min,
            });
        }
        accept(channel, voucher)?;
    }
    match price {
        None => Ok(Outcome::Accepted),
        Some(price) => reserve(channel, price),
    }
}

/// Raises the accepted total. The voucher is known to be higher.
fn accept(channel: &mut Channel, voucher: Voucher<Proven>) -> Result<(), Refusal> {
    if voucher.cumulative() > channel.chain.deposit {
        return Err(Refusal::ExceedsDeposit {
            deposit: channel.chain.deposit,
        });
    }
    channel.accepted = voucher.cumulative();
    channel.best = Some(KeptVoucher::from(voucher));
    Ok(())
}

fn reserve(channel: &mut Channel, price: Amount) -> Result<Outcome, Refusal> {
    let required = channel.required_for(price).ok_or(Refusal::Overflow)?;
    if required > channel.accepted {
        return Ok(Outcome::Short { required });
    }
    if channel.charges.len() >= CHARGES_OPEN_MAX {
        return Err(Refusal::TooManyCharges);
    }
    let id = ChargeId(channel.next_charge);
    channel.next_charge = channel.next_charge.checked_add(1).ok_or(Refusal::Overflow)?;
    channel.charges.push(Charge {
        id,
        amount: price,
        phase: ChargePhase::Reserved,
    });
    Ok(Outcome::Reserved(id))
}

fn find_charge(channel: &Channel, id: ChargeId, phase: ChargePhase) -> Result<usize, Refusal> {
    let found = channel
        .charges
        .iter()
        .position(|charge| charge.id == id && charge.phase == phase);
    found.ok_or(Refusal::ChargeNotOpen)
}

fn take_charge(channel: &mut Channel, id: ChargeId, phase: ChargePhase) -> Result<Charge, Refusal> {
    find_charge(channel, id, phase).map(|index| channel.charges.remove(index))
}

fn commit(channel: &mut Channel, id: ChargeId, amount: Amount, body: Body) -> Result<Outcome, Refusal> {
    let index = find_charge(channel, id, ChargePhase::Reserved)?;
    let leaves = channel.payer_leaves();
    let charge = channel.charges.get_mut(index).ok_or(Refusal::ChargeNotOpen)?;
    if amount > charge.amount {
        return Err(Refusal::ExceedsReservation);
    }
    channel.spent = channel.spent.plus(amount).ok_or(Refusal::Overflow)?;
    match body {
        Body::OnItsWay if !leaves => {
            *charge = Charge {
                id,
                amount,
                phase: ChargePhase::Creditable,
            }
        }
        Body::OnItsWay | Body::Delivered => {
            channel.charges.remove(index);
        }
    }
    Ok(Outcome::Done)
}

fn recover(channel: &mut Channel) -> Result<Outcome, Refusal> {
    channel.spent = channel.spent.plus(channel.reserved()).ok_or(Refusal::Overflow)?;
    channel.charges.clear();
    Ok(Outcome::Done)
}

fn begin_close(
    channel: &mut Channel,
    voucher: Option<Voucher<Proven>>,
    now: UnixSeconds,
) -> Result<Outcome, Refusal> {
    if channel.chain.finalized {
        return Err(Refusal::ChannelFinalized);
    }
    if let Some(voucher) = voucher {
        if voucher.channel() != channel.id {
            return Err(Refusal::WrongChannel);
        }
        if voucher.cumulative() > channel.accepted {
            accept(channel, voucher)?;
        }
        if channel.drain_only {
            // What was delivered is not known here; the payer says it with the total that it asks to close at.
            channel.raise_committed(voucher.cumulative())?;
        }
    }
    let asked = voucher.map(|voucher| voucher.cumulative());
    // A second request changes nothing: the first one's moment and total are what was answered.
    channel.closing.get_or_insert(Closing { since: now, asked });
    Ok(Outcome::Done)
}

fn begin_capture(channel: &mut Channel, capture: Capture, now: UnixSeconds) -> Result<Outcome, Refusal> {
    if channel.capture.is_some() {
        return Err(Refusal::CaptureUnderWay);
    }
    if channel.chain.finalized {
        return Err(Refusal::ChannelFinalized);
    }
    let settled = channel.chain.settled;
    let pays = capture.target > settled;
    let closes_without_paying = capture.closes && capture.target == settled;
    if !(pays || closes_without_paying) || capture.target > channel.collectible().max(settled) {
        return Err(Refusal::NotCollectible {
            collectible: channel.collectible(),
        });
    }
    channel.capture = Some(capture);
    channel.accounted = channel.accounted.max(capture.target);
    if capture.closes {
        // What is delivered after the last settlement cannot be collected: from here on nothing is sold (CH-5, C3).
        channel.closing.get_or_insert(Closing {
            since: now,
            asked: None,
        });
    }
    Ok(Outcome::Done)
}

fn observe(channel: &mut Channel, seen: ChainState, last_final: ChainState) -> Result<Outcome, Refusal> {
    channel.chain = ChainState::cautious(seen, last_final);
    channel.over = last_final.finalized;
    let settled = seen.settled.max(last_final.settled);
    let outcome = if settled > channel.accounted && !channel.drain_only {
        channel.drain_only = true;
        Outcome::Unaccounted { settled }
    } else {
        Outcome::Done
    };
    channel.accounted = channel.accounted.max(settled);
    if channel.drain_only && channel.chain.settled > channel.accepted {
        // Whoever settled it holds vouchers that these books don't: follow the chain.
        channel.accepted = channel.chain.settled;
        channel.raise_committed(channel.chain.settled)?;
    }
    if channel.payer_leaves() {
        // It may not hold back what it bought by reading slowly: charged before delivered is final.
        channel
            .charges
            .retain(|charge| charge.phase == ChargePhase::Reserved);
    }
    let landed = |capture: Capture| !capture.closes && last_final.settled >= capture.target;
    // A settlement ends when its effect is final, never because somebody said it was sent: a reorg may bring a
    // transaction back that was seen to land, beside a second attempt (TX-1).
    if last_final.finalized || channel.capture.is_some_and(landed) {
        channel.capture = None;
    }
    Ok(outcome)
}

impl Channel {
    /// Counts as spent what is missing until all that is committed reaches `total`, which is at most what is accepted.
    fn raise_committed(&mut self, total: Cumulative) -> Result<(), Refusal> {
        let committed = self.net_spent().plus(self.reserved()).ok_or(Refusal::Overflow)?;
        if let Some(missing) = total.since(committed) {
            self.spent = self.spent.plus(missing).ok_or(Refusal::Overflow)?;
        }
        Ok(())
    }

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
