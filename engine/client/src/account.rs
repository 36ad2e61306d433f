//! What the payer signs next on one channel, and what it believes of the answers: pure bookkeeping.
//!
//! Two totals bound everything. `signed` is the highest cumulative amount that a voucher may exist for: the most
//! that can ever be captured. `agreed` is what the payer agreed to pay for all its requests together: the most that
//! a server may honestly report as spent. A request whose outcome is unknown stays in `agreed`, but the next request
//! uses its authorisation first, and raises it only when the server says that it was indeed charged.
//!
//! Any answer may turn out to be a stream, and a stream uses whatever is authorised without asking. So each new
//! signature is held against the limit on streams before it is made, whatever was asked for (promise PAY-1); and while
//! a stream is under way nothing else is bought, because it would use what that authorises too.

use crate::cost::Cost;
use crate::limits::LimitExceeded;
use weir_core::{Amount, Cumulative};

/// Within what vouchers are raised. Amounts are base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Price of one unit.
    pub(crate) price: Amount,
    /// Least raise that the server takes.
    pub(crate) step: Amount,
    /// Most that is authorised ahead of the unit that is paid for.
    pub(crate) ahead_max: Amount,
    /// Most that one stream may use.
    pub(crate) stream_max: Amount,
}

/// One request's part of an account. Amounts are base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Price of one unit.
    pub(crate) price: Amount,
    /// Its part of `agreed`.
    agreed: Amount,
    /// Most that its answer may use: what the limits on streams and runs are held against.
    pub(crate) reach: Amount,
    /// Its answer is a stream, and under way.
    streams: bool,
    /// What was known to be spent when it began.
    spent_before: Cumulative,
    /// What was of unknown outcome when it began.
    unknown_before: Amount,
}

impl Share {
    /// Whether a reported total holds one unit for this request already.
    pub(crate) fn is_charged_at(&self, spent: Cumulative) -> bool {
        spent
            .since(self.spent_before)
            .is_some_and(|charged| charged >= self.price)
    }
}

/// Why nothing is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The deposit is too small: it has to grow to this total first.
    Deposit(Cumulative),
    /// The payer's own limit.
    Limit(LimitExceeded),
    /// The server wants more than was agreed.
    Demand {
        required: Cumulative,
        agreed: Cumulative,
    },
    /// A stream is under way, or this answer is one while other requests are: it would use what they authorise.
    Streaming,
    /// The channel's server overcharged once: nothing more is signed.
    Stopped,
    /// A total does not fit 128 bits.
    Overflow,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A receipt says so: the total spent.
    Charged(Cumulative),
    /// The server refused before it charged.
    Refused,
    /// No answer that tells.
    Unknown,
}

/// The money side of one channel, in memory. Amounts are base units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// The deposit as last seen on the chain.
    pub(crate) deposit: Cumulative,
    /// Highest total for which a signature may exist.
    pub(crate) signed: Cumulative,
    /// Most that may be spent.
    pub(crate) agreed: Cumulative,
    /// Highest total that a receipt reported as spent.
    pub(crate) spent: Cumulative,
    /// The server overcharged.
    pub(crate) stopped: bool,
    /// Part of `agreed` whose requests got no answer that tells.
    unknown: Amount,
    /// Part of `agreed` whose requests are on their way.
    in_flight: Amount,
    /// A stream is under way.
    streaming: bool,
    /// A stream was given up as it began: it may have used all that is signed, and its server is no cheat for that.
    strayed: bool,
}

impl Account {
    /// An account as the disk knows it: whatever no receipt confirmed may or may not have been charged.
    pub(crate) fn load(
        deposit: Cumulative,
        signed: Cumulative,
        agreed: Cumulative,
        spent: Cumulative,
    ) -> Self {
        let unknown = agreed.since(spent).unwrap_or(Amount::ZERO);
        Self {
            deposit,
            signed,
            agreed,
            spent,
            stopped: false,
            unknown,
            in_flight: Amount::ZERO,
            streaming: false,
            strayed: false,
        }
    }

    /// Agrees to one more unit and gives its share and the total to sign for it. `claim` takes its price from what
    /// the run may cost.
    ///
    /// # Errors
    /// [`Held`]; nothing has changed then.
    pub(crate) fn agree(
        &mut self,
        bounds: Bounds,
        claim: impl FnOnce(Amount) -> Result<(), LimitExceeded>,
    ) -> Result<(Share, Cumulative), Held> {
        if self.streaming {
            return Err(Held::Streaming);
        }
        let price = bounds.price;
        let settled = self.agreed.minus(self.unknown).ok_or(Held::Overflow)?;
        let agreed = self.agreed.plus(price).ok_or(Held::Overflow)?;
        let needed = settled.plus(price).ok_or(Held::Overflow)?;
        let next = self.next(needed, needed, bounds)?;
        self.may_sign(next, next.since(settled), bounds)?;
        let in_flight = self.in_flight.checked_add(price).ok_or(Held::Overflow)?;
        claim(price).map_err(Held::Limit)?;
        (self.agreed, self.signed, self.in_flight) = (agreed, next, in_flight);
        let share = Share {
            price,
            agreed: price,
            reach: price,
            streams: false,
            spent_before: self.spent,
            unknown_before: self.unknown,
        };
        Ok((share, next))
    }

    /// Raises what is signed to a total that the server says it needs, within what was agreed: so it turns out that
    /// requests of unknown outcome were charged.
    ///
    /// # Errors
    /// [`Held`]; nothing has changed then.
    pub(crate) fn concede(
        &mut self,
        share: &Share,
        required: Cumulative,
        bounds: Bounds,
    ) -> Result<Cumulative, Held> {
        if required > self.agreed.max(self.signed) {
            return Err(Held::Demand {
                required,
                agreed: self.agreed,
            });
        }
        let next = self.next(required, required, bounds)?;
        let left = self.agreed.since(required).unwrap_or(Amount::ZERO);
        let unknown = self.unknown.min(left);
        let others = self.others(share, unknown)?;
        self.may_sign(next, next.since(others), bounds)?;
        (self.unknown, self.signed) = (unknown, next);
        Ok(next)
    }

    /// The answer is a stream: agrees to all that is signed already, because the stream uses it without asking.
    ///
    /// # Errors
    /// [`Held::Limit`] when that is more than one stream may use, [`Held::Streaming`] while other requests are under
    /// way; nothing more is agreed to then, but the stream may have used what is signed before it is cut.
    pub(crate) fn widen(
        &mut self,
        share: &mut Share,
        bounds: Bounds,
        claim: impl FnOnce(Amount) -> Result<(), LimitExceeded>,
    ) -> Result<(), Held> {
        let widened = self.make_room(share, bounds, claim);
        share.streams = widened.is_ok();
        self.streaming |= share.streams;
        self.strayed |= widened.is_err();
        widened
    }

    fn make_room(
        &mut self,
        share: &mut Share,
        bounds: Bounds,
        claim: impl FnOnce(Amount) -> Result<(), LimitExceeded>,
    ) -> Result<(), Held> {
        if self.in_flight > share.agreed {
            return Err(Held::Streaming);
        }
        let others = self.others(share, self.unknown)?;
        // The answer's first receipt may tell that what was unknown was spent. It may hold this request's first unit.
        let own = Some(self.spent) >= others.plus(bounds.price);
        let told = if own {
            self.spent.minus(bounds.price)
        } else {
            Some(self.spent)
        };
        let free = self.signed.since(others.max(told.unwrap_or(others)));
        let reach = free.unwrap_or(Amount::ZERO).max(share.reach);
        within_stream(reach, bounds.stream_max)?;
        let grown = reach.checked_sub(share.reach).unwrap_or(Amount::ZERO);
        self.take_up(share, (self.signed, reach), || claim(grown))
    }

    /// Agrees to what a stream needs next, and gives the total to sign. A demand of more than one unit beyond all
    /// that is signed counts as authorised ahead.
    ///
    /// # Errors
    /// [`Held`]; nothing has changed then.
    pub(crate) fn extend(
        &mut self,
        share: &mut Share,
        required: Cumulative,
        bounds: Bounds,
        claim: impl FnOnce(Amount) -> Result<(), LimitExceeded>,
    ) -> Result<Cumulative, Held> {
        let unit = self.signed.plus(bounds.price).ok_or(Held::Overflow)?;
        let next = self.next(required, required.min(unit), bounds)?;
        let grown = next.since(self.signed).unwrap_or(Amount::ZERO);
        let reach = share.reach.checked_add(grown).ok_or(Held::Overflow)?;
        within_stream(reach, bounds.stream_max)?;
        self.is_covered(next)?;
        self.take_up(share, (next, reach), || claim(grown))?;
        self.signed = next;
        Ok(next)
    }

    /// Raises the agreement, and a share of it, to what a stream may use.
    fn take_up(
        &mut self,
        share: &mut Share,
        (total, reach): (Cumulative, Amount),
        claim: impl FnOnce() -> Result<(), LimitExceeded>,
    ) -> Result<(), Held> {
        let added = total.since(self.agreed).unwrap_or(Amount::ZERO);
        let agreed = share.agreed.checked_add(added).ok_or(Held::Overflow)?;
        let in_flight = self.in_flight.checked_add(added).ok_or(Held::Overflow)?;
        claim().map_err(Held::Limit)?;
        (self.agreed, self.in_flight) = (self.agreed.max(total), in_flight);
        (share.agreed, share.reach) = (agreed, reach);
        Ok(())
    }

    /// Ends a request; gives what it cost.
    ///
    /// # Errors
    /// The most that may be spent, when the receipt says more; the account is stopped then.
    pub(crate) fn end(&mut self, share: &Share, outcome: Outcome) -> Result<Cost, Cumulative> {
        self.in_flight = self.in_flight.checked_sub(share.agreed).unwrap_or(Amount::ZERO);
        self.streaming &= !share.streams;
        match outcome {
            Outcome::Charged(spent) => self.see_spent(spent)?,
            Outcome::Refused => {
                let agreed = self.agreed.minus(share.agreed).unwrap_or(self.agreed);
                self.agreed = agreed.max(self.spent);
            }
            Outcome::Unknown => {
                self.unknown = self.unknown.checked_add(share.agreed).unwrap_or(self.unknown);
            }
        }
        // No more is unknown than what no receipt accounts for.
        let slack = self.agreed.since(self.spent).unwrap_or(Amount::ZERO);
        self.unknown = self.unknown.min(slack);
        if matches!(outcome, Outcome::Charged(_)) && self.in_flight.is_zero() {
            // What was answered is in `spent`: what is agreed beyond it and not of unknown outcome was credited, and
            // is not owed any more.
            self.agreed = self.spent.plus(self.unknown).unwrap_or(self.agreed);
        }
        Ok(self.cost(share, outcome, slack))
    }

    fn cost(&self, share: &Share, outcome: Outcome, slack: Amount) -> Cost {
        if outcome == Outcome::Refused {
            return Cost::default();
        }
        let told = match outcome {
            Outcome::Charged(spent) => spent,
            Outcome::Refused | Outcome::Unknown => self.spent,
        };
        let told = told.since(share.spent_before).unwrap_or(Amount::ZERO);
        let charged = told.min(share.reach);
        let less = |from: Amount, part| from.checked_sub(part).unwrap_or(Amount::ZERO);
        let units = charged.base_units().checked_div(share.price.base_units());
        Cost {
            charged,
            units: units.and_then(|units| units.try_into().ok()).unwrap_or_default(),
            earlier: less(told, charged).min(share.unknown_before),
            uncertain: match outcome {
                Outcome::Unknown => less(share.reach, charged).min(slack),
                Outcome::Charged(_) | Outcome::Refused => Amount::ZERO,
            },
        }
    }

    /// Takes note of a reported total.
    ///
    /// # Errors
    /// As [`Account::end`].
    pub(crate) fn see_spent(&mut self, spent: Cumulative) -> Result<(), Cumulative> {
        let most = self.most();
        if spent > most {
            self.stopped = true;
            return Err(most);
        }
        self.spent = self.spent.max(spent);
        self.agreed = self.agreed.max(self.spent);
        Ok(())
    }

    /// The most that the server may honestly report as spent.
    pub(crate) fn most(&self) -> Cumulative {
        if self.strayed {
            self.signed
        } else {
            self.agreed.min(self.signed)
        }
    }

    /// The total that is spent or agreed for other requests, when so much is taken as unknown.
    fn others(&self, share: &Share, unknown: Amount) -> Result<Cumulative, Held> {
        let own = self
            .agreed
            .minus(unknown)
            .and_then(|total| total.minus(share.agreed));
        own.ok_or(Held::Overflow)
    }

    /// The total to sign so that `required` is authorised, of which `due` is owed for what was asked for.
    fn next(&self, required: Cumulative, due: Cumulative, bounds: Bounds) -> Result<Cumulative, Held> {
        if self.stopped {
            return Err(Held::Stopped);
        }
        if required <= self.signed {
            return Ok(self.signed);
        }
        let least = self.signed.plus(bounds.step).ok_or(Held::Overflow)?;
        let next = required.max(least);
        let ahead = next.since(due).unwrap_or(Amount::ZERO);
        if ahead > bounds.ahead_max {
            return Err(Held::Limit(LimitExceeded::Ahead {
                offered: ahead,
                limit: bounds.ahead_max,
            }));
        }
        Ok(next)
    }

    /// Holds a new signature against the limit on streams, of which one unit is bought in any case.
    fn may_sign(&self, next: Cumulative, reach: Option<Amount>, bounds: Bounds) -> Result<(), Held> {
        if next <= self.signed {
            return Ok(());
        }
        within_stream(reach.unwrap_or(Amount::ZERO), bounds.stream_max.max(bounds.price))?;
        self.is_covered(next)
    }

    fn is_covered(&self, next: Cumulative) -> Result<(), Held> {
        if next > self.deposit {
            return Err(Held::Deposit(next));
        }
        Ok(())
    }
}

fn within_stream(reach: Amount, limit: Amount) -> Result<(), Held> {
    if reach > limit {
        let offered = reach;
        return Err(Held::Limit(LimitExceeded::Stream { offered, limit }));
    }
    Ok(())
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "account_life_tests.rs"]
mod life_tests;
