//! One channel in memory: its account, its record, and the order in which both reach the disk.

use crate::account::{Account, Held, Outcome, Steps};
use crate::error::Error;
use crate::limits::LimitExceeded;
use crate::receipt::Overcharged;
use crate::state::{ChannelRecord, StateDir};
use std::sync::{Arc, Mutex as BriefMutex, MutexGuard, PoisonError};
use tokio::sync::Mutex;
use weir_core::{Amount, ChannelId, Cumulative};

/// What all requests of one payer cost together.
#[derive(Debug)]
pub(crate) struct RunTotal {
    limit: Option<Amount>,
    agreed: BriefMutex<Amount>,
}

impl RunTotal {
    pub(crate) const fn new(limit: Option<Amount>) -> Self {
        Self {
            limit,
            agreed: BriefMutex::new(Amount::ZERO),
        }
    }

    pub(crate) fn agree(&self, amount: Amount) -> Result<(), Error> {
        let mut agreed = brief(&self.agreed);
        let next = agreed.checked_add(amount).ok_or(Error::Overflow)?;
        if let Some(limit) = self.limit.filter(|limit| next > *limit) {
            return Err(LimitExceeded::Total { offered: next, limit }.into());
        }
        *agreed = next;
        Ok(())
    }

    fn take_back(&self, amount: Amount) {
        let mut agreed = brief(&self.agreed);
        *agreed = agreed.checked_sub(amount).unwrap_or(Amount::ZERO);
    }
}

#[derive(Debug)]
struct Inside {
    record: ChannelRecord,
    account: Account,
}

/// One channel. Memory changes under a brief lock; what must be durable is written under `writing`, in order.
#[derive(Debug)]
pub(crate) struct Purse {
    id: ChannelId,
    inside: BriefMutex<Inside>,
    writing: Mutex<()>,
    /// Held while the channel is announced to the server: no voucher may overtake its open.
    pub(crate) announcing: Arc<Mutex<()>>,
    /// Held while the channel is topped up: two requests that need more share one top-up.
    pub(crate) moving: Mutex<()>,
    state: Arc<StateDir>,
}

impl Purse {
    pub(crate) fn new(record: ChannelRecord, state: Arc<StateDir>) -> Self {
        let mut account = Account::load(record.deposit, record.signed, record.agreed, record.spent);
        account.stopped = record.stopped;
        let id = record.channel;
        let inside = BriefMutex::new(Inside { record, account });
        Self {
            id,
            inside,
            writing: Mutex::new(()),
            announcing: Arc::new(Mutex::new(())),
            moving: Mutex::new(()),
            state,
        }
    }

    pub(crate) const fn id(&self) -> ChannelId {
        self.id
    }

    /// The record as it would be written now.
    pub(crate) fn record(&self) -> ChannelRecord {
        snapshot(&brief(&self.inside))
    }

    /// Changes memory and returns when the result is on disk. A refusal changes nothing and writes nothing.
    pub(crate) async fn change<T>(
        &self,
        act: impl FnOnce(&mut ChannelRecord, &mut Account) -> Result<T, Held>,
    ) -> Result<T, Error> {
        let _order = self.writing.lock().await;
        let (done, record) = {
            let mut inside = brief(&self.inside);
            let Inside { record, account } = &mut *inside;
            let done = act(record, account).map_err(|held| self.refusal(held))?;
            (done, snapshot(&inside))
        };
        // `done` may hold a ticket: should this future be dropped here, the ticket ends as unknown.
        let state = Arc::clone(&self.state);
        let written = tokio::task::spawn_blocking(move || state.save(&record)).await;
        written.map_err(|_| Error::Protocol("the state's writer was cancelled"))??;
        Ok(done)
    }

    /// Changes the record and returns when it is on disk.
    pub(crate) async fn mark(&self, act: impl FnOnce(&mut ChannelRecord, &mut Account)) -> Result<(), Error> {
        let all = |record: &mut ChannelRecord, account: &mut Account| {
            act(record, account);
            Ok(())
        };
        self.change(all).await
    }

    /// Reads or changes memory alone; the next write takes it along.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Account) -> T) -> T {
        act(&mut brief(&self.inside).account)
    }

    /// Takes note of a reported total.
    pub(crate) fn see_spent(&self, spent: Cumulative) -> Result<(), Error> {
        self.with(|account| account.see_spent(spent))
            .map_err(|agreed| self.overspent(spent, agreed))
    }

    /// Stops the channel for good, because of `why`, and gives the error that says so.
    pub(crate) async fn stop(&self, why: Overcharged) -> Error {
        match self.mark(|_, account| account.stopped = true).await {
            Ok(()) => Error::Overcharged {
                channel: self.id,
                why,
            },
            Err(error) => error,
        }
    }

    pub(crate) fn overspent(&self, spent: Cumulative, agreed: Cumulative) -> Error {
        Error::Overcharged {
            channel: self.id,
            why: Overcharged::Spent { spent, agreed },
        }
    }

    fn refusal(&self, held: Held) -> Error {
        match held {
            Held::Limit(why) => why.into(),
            Held::Demand { required, agreed } => Error::Demand {
                channel: self.id,
                required,
                agreed,
            },
            Held::Stopped => Error::Stopped(self.id),
            Held::Overflow => Error::Overflow,
            // Callers cover the deposit first, within the limit.
            Held::Deposit(needed) => Error::DepositTooSmall {
                channel: self.id,
                needed,
            },
        }
    }
}

fn snapshot(inside: &Inside) -> ChannelRecord {
    let Inside { record, account } = inside;
    ChannelRecord {
        deposit: account.deposit,
        signed: account.signed,
        agreed: account.agreed,
        spent: account.spent,
        stopped: account.stopped,
        ..record.clone()
    }
}

/// The lock is never held across anything that can fail, so a poisoned one is whole.
pub(crate) fn brief<T>(mutex: &BriefMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one request agreed to. Dropped without an ending, its outcome is unknown.
#[derive(Debug)]
#[must_use = "a ticket is ended with what became of its request"]
pub(crate) struct Ticket {
    purse: Arc<Purse>,
    run: Arc<RunTotal>,
    amount: Amount,
    total: Cumulative,
    ended: bool,
}

impl Ticket {
    /// Agrees to one more `price`; durable when this returns.
    pub(crate) async fn agree(
        purse: &Arc<Purse>,
        run: &Arc<RunTotal>,
        price: Amount,
        steps: Steps,
    ) -> Result<Self, Error> {
        run.agree(price)?;
        let made = purse.change(|_, account| {
            let total = account.agree(price, steps)?;
            Ok(Self {
                purse: Arc::clone(purse),
                run: Arc::clone(run),
                amount: price,
                total,
                ended: false,
            })
        });
        // When nothing was agreed there is no ticket that could take it back.
        made.await.inspect_err(|error| {
            if !matches!(error, Error::State(_)) {
                run.take_back(price);
            }
        })
    }

    /// The total to sign.
    pub(crate) const fn total(&self) -> Cumulative {
        self.total
    }

    /// What was agreed for this request so far.
    pub(crate) const fn amount(&self) -> Amount {
        self.amount
    }

    /// Signs as much as the server says it needs, within what was agreed for all requests.
    pub(crate) async fn concede(&mut self, required: Cumulative, steps: Steps) -> Result<(), Error> {
        self.total = self
            .purse
            .change(|_, account| account.concede(required, steps))
            .await?;
        Ok(())
    }

    /// Agrees to what a stream needs next, within the rest of its budget.
    pub(crate) async fn extend(
        &mut self,
        required: Option<Cumulative>,
        limit: Amount,
        steps: Steps,
    ) -> Result<(), Error> {
        let budget = limit.checked_sub(self.amount).unwrap_or(Amount::ZERO);
        let run = Arc::clone(&self.run);
        let (total, added) = {
            let (amount, total) = (&mut self.amount, self.total);
            let changed = self.purse.change(|_, account| {
                let required = required.unwrap_or(total);
                let (next, added) = account.stream(required, budget, steps)?;
                *amount = amount.checked_add(added).ok_or(Held::Overflow)?;
                Ok((next, added))
            });
            changed.await?
        };
        self.total = total;
        run.agree(added)
    }

    /// Ends the request.
    pub(crate) fn end(mut self, outcome: Outcome) -> Result<(), Error> {
        self.finish(outcome)
    }

    fn finish(&mut self, outcome: Outcome) -> Result<(), Error> {
        if core::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        if outcome == Outcome::Refused {
            self.run.take_back(self.amount);
        }
        let ended = self.purse.with(|account| account.end(self.amount, outcome));
        ended.map_err(|agreed| match outcome {
            Outcome::Charged(spent) => self.purse.overspent(spent, agreed),
            Outcome::Refused | Outcome::Unknown => Error::Overflow,
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Ending as unknown never fails; there is nobody left to tell.
        let _ = self.finish(Outcome::Unknown);
    }
}
