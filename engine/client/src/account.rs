//! What the payer signs next on one channel, and what it believes of the answers: pure bookkeeping.
//!
//! Two totals bound everything. `signed` is the highest cumulative amount that a voucher may exist for: the most
//! that can ever be captured. `agreed` is what the payer agreed to pay for all its requests together: the most that
//! a server may honestly report as spent. A request whose outcome is unknown stays in `agreed`, but the next request
//! uses its authorisation first, and raises it only when the server says that it was indeed charged.

use crate::limits::LimitExceeded;
use weir_core::{Amount, Cumulative};

/// Terms under which vouchers are raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Least raise that the server takes.
    pub(crate) least: Amount,
    /// Most that the payer authorises ahead of what it agreed.
    pub(crate) ahead_max: Amount,
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
        }
    }

    /// Agrees to one more `price` and gives the total to sign for it.
    ///
    /// # Errors
    /// [`Held`]; nothing has changed then.
    pub(crate) fn agree(&mut self, price: Amount, steps: Steps) -> Result<Cumulative, Held> {
        if self.stopped {
            return Err(Held::Stopped);
        }
        let agreed = self.agreed.plus(price).ok_or(Held::Overflow)?;
        let needed = agreed.minus(self.unknown).ok_or(Held::Overflow)?;
        let next = self.next(needed, steps)?;
        self.in_flight = self.in_flight.checked_add(price).ok_or(Held::Overflow)?;
        (self.agreed, self.signed) = (agreed, next);
        Ok(next)
    }

    /// Raises what is signed to a total that the server says it needs, within what was agreed: so it turns out that
    /// requests of unknown outcome were charged.
    ///
    /// # Errors
    /// [`Held`]; nothing has changed then.
    pub(crate) fn concede(&mut self, required: Cumulative, steps: Steps) -> Result<Cumulative, Held> {
        if self.stopped {
            return Err(Held::Stopped);
        }
        if required > self.agreed.max(self.signed) {
            return Err(Held::Demand {
                required,
                agreed: self.agreed,
            });
        }
        let next = self.next(required, steps)?;
        let left = self.agreed.since(required).unwrap_or(Amount::ZERO);
        self.unknown = self.unknown.min(left);
        self.signed = next;
        Ok(next)
    }

    /// Agrees to all that a stream may use once `required` is signed, and gives the total to sign and what was added
    /// to the agreement. A stream uses whatever is authorised without asking, so everything signed is agreed.
    ///
    /// # Errors
    /// [`Held`]; nothing has changed then.
    pub(crate) fn stream(
        &mut self,
        required: Cumulative,
        budget: Amount,
        steps: Steps,
    ) -> Result<(Cumulative, Amount), Held> {
        if self.stopped {
            return Err(Held::Stopped);
        }
        let next = self.next(required, steps)?;
        let added = next.since(self.agreed).unwrap_or(Amount::ZERO);
        if added > budget {
            return Err(Held::Limit(LimitExceeded::Stream {
                offered: added,
                limit: budget,
            }));
        }
        self.in_flight = self.in_flight.checked_add(added).ok_or(Held::Overflow)?;
        (self.agreed, self.signed) = (self.agreed.max(next), next);
        Ok((next, added))
    }

    /// Ends a request that had agreed to `price`.
    ///
    /// # Errors
    /// The most that may be spent, when the receipt says more; the account is stopped then.
    pub(crate) fn end(&mut self, price: Amount, outcome: Outcome) -> Result<(), Cumulative> {
        self.in_flight = self.in_flight.checked_sub(price).unwrap_or(Amount::ZERO);
        match outcome {
            Outcome::Charged(spent) => {
                self.see_spent(spent)?;
                self.tighten();
            }
            Outcome::Refused => self.agreed = self.agreed.minus(price).unwrap_or(self.agreed),
            Outcome::Unknown => self.unknown = self.unknown.checked_add(price).unwrap_or(self.unknown),
        }
        Ok(())
    }

    /// Takes note of a reported total.
    ///
    /// # Errors
    /// As [`Account::end`].
    pub(crate) fn see_spent(&mut self, spent: Cumulative) -> Result<(), Cumulative> {
        if spent > self.agreed || spent > self.signed {
            self.stopped = true;
            return Err(self.agreed.min(self.signed));
        }
        self.spent = self.spent.max(spent);
        Ok(())
    }

    /// With nothing on its way, what was answered is in `spent`: what is agreed beyond it and not of unknown outcome
    /// was credited, and is not owed any more.
    fn tighten(&mut self) {
        if self.in_flight.is_zero() {
            let slack = self.agreed.since(self.spent).unwrap_or(Amount::ZERO);
            self.unknown = self.unknown.min(slack);
            self.agreed = self.spent.plus(self.unknown).unwrap_or(self.agreed);
        }
    }

    fn next(&self, needed: Cumulative, steps: Steps) -> Result<Cumulative, Held> {
        if needed <= self.signed {
            return Ok(self.signed);
        }
        let least = self.signed.plus(steps.least).ok_or(Held::Overflow)?;
        let next = needed.max(least);
        let ahead = next.since(needed).unwrap_or(Amount::ZERO);
        if ahead > steps.ahead_max {
            return Err(Held::Limit(LimitExceeded::Ahead {
                offered: ahead,
                limit: steps.ahead_max,
            }));
        }
        if next > self.deposit {
            return Err(Held::Deposit(next));
        }
        Ok(next)
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
