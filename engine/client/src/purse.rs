//! One channel in memory: its account, its record, and the order in which both reach the disk.

use crate::account::{Account, Held};
use crate::error::Error;
use crate::receipt::Overcharged;
use crate::state::{ChannelRecord, Stage, StateDir, StateError};
use std::sync::{Arc, Mutex as BriefMutex, MutexGuard, PoisonError};
use tokio::sync::Mutex;
use weir_core::{ChannelId, Cumulative};

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
        self.write(move |state| state.save(&record)).await?;
        Ok(done)
    }

    /// Changes what is known of answers, and returns when it is written down. A power failure may take it back: what
    /// the disk then holds is older, and as cautious.
    pub(crate) async fn note<T>(&self, act: impl FnOnce(&mut Account) -> T) -> Result<T, Error> {
        let _order = self.writing.lock().await;
        let (done, record) = {
            let mut inside = brief(&self.inside);
            let done = act(&mut inside.account);
            (done, snapshot(&inside))
        };
        self.write(move |state| state.note(&record)).await?;
        Ok(done)
    }

    async fn write(
        &self,
        how: impl FnOnce(&StateDir) -> Result<(), StateError> + Send + 'static,
    ) -> Result<(), Error> {
        let state = Arc::clone(&self.state);
        let written = tokio::task::spawn_blocking(move || how(&state)).await;
        Ok(written.map_err(|_| Error::Protocol("the state's writer was cancelled"))??)
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

    /// Takes note that the channel is closed on the chain, and compares what that captured with what was agreed for the
    /// requests that got what they paid for, or may have.
    ///
    /// # Errors
    /// [`Error::Overcharged`].
    pub(crate) async fn finalize(&self, captured: Cumulative) -> Result<(), Error> {
        self.mark(|record, _| record.stage = Stage::Closed).await?;
        match self.overcapture(captured) {
            Some(why) => Err(self.stop(why).await),
            None => Ok(()),
        }
    }

    /// What is wrong with a captured total, if anything is.
    pub(crate) fn overcapture(&self, captured: Cumulative) -> Option<Overcharged> {
        let agreed = self.with(|account| account.most());
        (captured > agreed).then_some(Overcharged::Captured { captured, agreed })
    }

    pub(crate) fn overspent(&self, spent: Cumulative, agreed: Cumulative) -> Error {
        Error::Overcharged {
            channel: self.id,
            why: Overcharged::Spent { spent, agreed },
        }
    }

    pub(crate) fn refusal(&self, held: Held) -> Error {
        match held {
            Held::Limit(why) => why.into(),
            Held::Demand { required, agreed } => Error::Demand {
                channel: self.id,
                required,
                agreed,
            },
            Held::Streaming => Error::Streaming(self.id),
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
        // A restart forgets that a stream went astray.
        agreed: account.agreed.max(account.most()),
        spent: account.spent,
        stopped: account.stopped,
        ..record.clone()
    }
}

/// The lock is never held across anything that can fail, so a poisoned one is whole.
pub(crate) fn brief<T>(mutex: &BriefMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
