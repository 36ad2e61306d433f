//! What one request agreed to, from its first voucher to its end, and what all requests of a payer cost together.

use crate::account::{Bounds, Outcome, Share};
use crate::cost::Cost;
use crate::error::Error;
use crate::limits::LimitExceeded;
use crate::purse::{Purse, brief};
use std::sync::{Arc, Mutex as BriefMutex};
use weir_core::{Amount, Cumulative};

/// What all requests of one payer cost together.
#[derive(Debug)]
pub(crate) struct RunTotal {
    limit: Option<Amount>,
    claimed: BriefMutex<Amount>,
}

impl RunTotal {
    pub(crate) const fn new(limit: Option<Amount>) -> Self {
        Self {
            limit,
            claimed: BriefMutex::new(Amount::ZERO),
        }
    }

    /// Takes an amount from what the run may cost.
    ///
    /// # Errors
    /// [`LimitExceeded::Total`]; nothing is taken then.
    pub(crate) fn claim(&self, amount: Amount) -> Result<(), LimitExceeded> {
        let mut claimed = brief(&self.claimed);
        *claimed = self.with(*claimed, amount)?;
        Ok(())
    }

    /// Whether the run may cost an amount more; nothing is taken.
    ///
    /// # Errors
    /// As [`RunTotal::claim`].
    pub(crate) fn allows(&self, amount: Amount) -> Result<(), LimitExceeded> {
        self.with(*brief(&self.claimed), amount).map(drop)
    }

    fn with(&self, claimed: Amount, amount: Amount) -> Result<Amount, LimitExceeded> {
        let offered = claimed.checked_add(amount).unwrap_or(Amount::new(u128::MAX));
        match self.limit {
            Some(limit) if offered > limit => Err(LimitExceeded::Total { offered, limit }),
            _ => Ok(offered),
        }
    }

    /// Counts what was taken without being agreed to.
    pub(crate) fn lose(&self, amount: Amount) {
        let mut claimed = brief(&self.claimed);
        *claimed = claimed.checked_add(amount).unwrap_or(Amount::new(u128::MAX));
    }

    /// What was taken will not be paid.
    pub(crate) fn give_back(&self, amount: Amount) {
        let mut claimed = brief(&self.claimed);
        *claimed = claimed.checked_sub(amount).unwrap_or(Amount::ZERO);
    }
}

/// What one request agreed to. Dropped without an ending, its outcome is unknown.
#[derive(Debug)]
#[must_use = "a ticket is ended with what became of its request"]
pub(crate) struct Ticket {
    purse: Arc<Purse>,
    run: Arc<RunTotal>,
    share: Share,
    total: Cumulative,
    ended: bool,
}

impl Ticket {
    /// Agrees to one more unit; durable when this returns.
    pub(crate) async fn agree(
        purse: &Arc<Purse>,
        run: &Arc<RunTotal>,
        bounds: Bounds,
    ) -> Result<Self, Error> {
        let made = purse.change(|_, account| {
            let (share, total) = account.agree(bounds, |price| run.claim(price))?;
            Ok(Self {
                purse: Arc::clone(purse),
                run: Arc::clone(run),
                share,
                total,
                ended: false,
            })
        });
        made.await
    }

    /// The total to sign.
    pub(crate) const fn total(&self) -> Cumulative {
        self.total
    }

    /// Whether a reported total holds one unit for this request already.
    pub(crate) fn is_charged_at(&self, spent: Cumulative) -> bool {
        self.share.is_charged_at(spent)
    }

    /// Signs as much as the server says it needs, within what was agreed for all requests.
    pub(crate) async fn concede(&mut self, required: Cumulative, bounds: Bounds) -> Result<(), Error> {
        let share = self.share;
        let conceded = self
            .purse
            .change(|_, account| account.concede(&share, required, bounds));
        self.total = conceded.await?;
        Ok(())
    }

    /// The answer is a stream: agrees to all that it may use without asking.
    pub(crate) async fn widen(&mut self, bounds: Bounds) -> Result<(), Error> {
        let (share, run) = (&mut self.share, &self.run);
        // Also a refusal leaves something to write down: the stream is here already.
        let widened = self
            .purse
            .change(|_, account| Ok(account.widen(share, bounds, |grown| run.claim(grown))));
        widened.await?.map_err(|held| self.purse.refusal(held))
    }

    /// Agrees to what a stream needs next, within what one stream may cost.
    pub(crate) async fn extend(&mut self, required: Cumulative, bounds: Bounds) -> Result<(), Error> {
        let (share, run) = (&mut self.share, &self.run);
        let extended = self
            .purse
            .change(|_, account| account.extend(share, required, bounds, |grown| run.claim(grown)));
        self.total = extended.await?;
        Ok(())
    }

    /// Ends the request and gives what it cost; what is known of it is on disk when this returns.
    pub(crate) async fn end(mut self, outcome: Outcome) -> Result<Cost, Error> {
        self.ended = true;
        let ended = self.purse.note(|account| {
            let cost = account.end(&self.share, outcome);
            self.give_back(cost.unwrap_or_default());
            cost
        });
        ended.await?.map_err(|agreed| match outcome {
            Outcome::Charged(spent) => self.purse.overspent(spent, agreed),
            Outcome::Refused | Outcome::Unknown => Error::Overflow,
        })
    }

    /// What was not and will not be charged is the run's again.
    fn give_back(&self, cost: Cost) {
        let kept = cost.charged.checked_add(cost.uncertain);
        let back = kept.and_then(|kept| self.share.reach.checked_sub(kept));
        self.run.give_back(back.unwrap_or(Amount::ZERO));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            // Ending as unknown never fails, and the disk knows it already: what is agreed and not spent is unknown.
            let ended = self
                .purse
                .with(|account| account.end(&self.share, Outcome::Unknown));
            self.give_back(ended.unwrap_or_default());
        }
    }
}
