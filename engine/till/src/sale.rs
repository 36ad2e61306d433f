//! One sale: reserved durably, then committed or released exactly once (CH-6).
//!
//! The two types carry the two halves. A [`Sale`] is reserved and undelivered; committing it yields a [`Delivery`],
//! whose body is on its way. Dropping either decides too, so that a cancelled task leaves no charge open.

use crate::no::No;
use crate::order::Paid;
use crate::repeats::{Claim, End, KeptAnswer, Keyed, Repeat, read_kept};
use crate::shard::{Answer, Ask};
use crate::till::Till;
use std::sync::Arc;
use weir_core::step::Body;
use weir_core::{Amount, ChannelId, ChargeId, Input};
use weir_store::Durable;

/// When a route charges (`charge_on`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChargeOn {
    /// When the upstream answers with success and its body arrives whole.
    #[default]
    Success,
    /// When the upstream's first byte arrives, whatever its status; a body cut later stays charged.
    FirstByte,
    /// As soon as the request is handed to the upstream.
    Always,
}

/// A reserved charge whose delivery has not begun.
#[derive(Debug)]
#[must_use = "a sale is committed or released"]
pub struct Sale {
    open: Option<Open>,
    charge_on: ChargeOn,
    hold: Option<Hold>,
}

/// The work for a request that may be repeated. While one is held, a repeat waits; once it is dropped without a word, the
/// answer is owed.
#[derive(Debug)]
#[must_use = "what became of the answer must be noted before any of it leaves"]
pub struct Hold {
    till: Till,
    channel: ChannelId,
    keyed: Keyed,
    at_work: Arc<()>,
}

impl Hold {
    pub(crate) fn new(till: Till, channel: ChannelId, keyed: Keyed) -> Self {
        Self {
            till,
            channel,
            keyed,
            at_work: Arc::default(),
        }
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim {
            keyed: self.keyed,
            at_work: Arc::downgrade(&self.at_work),
        }
    }

    /// Whether its answer is to be kept, where it is short and whole.
    pub const fn keeps(&self) -> bool {
        self.keyed.keeps
    }

    /// The debt that this work pays, where an answer was charged before.
    pub fn debt(&self) -> Debt {
        Debt {
            till: self.till.clone(),
            channel: self.channel,
            key: self.keyed.key,
        }
    }

    /// What a request gets that came before.
    pub(crate) fn repeated(self, repeat: Repeat, answer: Durable<Answer>) -> Result<Paid, No> {
        match repeat {
            Repeat::Owed => Ok(Paid::Owed(self, answer)),
            // If it is not there, it was forgotten for newer ones since the lane was asked.
            Repeat::Kept(place) => {
                let kept = read_kept(&**self.till.journal(), &place)?.ok_or(No::Busy)?;
                Ok(Paid::Kept(kept, answer))
            }
        }
    }

    /// Keeps the answer, durably.
    ///
    /// # Errors
    /// A fault of ours: nothing of it may leave then.
    pub async fn keep(self, answer: KeptAnswer) -> Result<(), No> {
        self.end(End::Kept(answer)).await
    }

    /// Notes, durably, that the answer leaves and is not kept.
    ///
    /// # Errors
    /// A fault of ours: nothing of it may leave then.
    pub async fn tell(self) -> Result<(), No> {
        self.end(End::Told).await
    }

    async fn end(self, end: End) -> Result<(), No> {
        // What is told once already stays so.
        if !self.keyed.keeps {
            return Ok(());
        }
        let ask = Ask::EndKey {
            channel: self.channel,
            key: self.keyed.key,
            end,
        };
        self.till.ask_patiently(ask).await.map(drop)
    }
}

/// An answer that was charged before, on its way to the payer. Nothing is credited for it, so one that breaks off is
/// owed again.
#[derive(Debug)]
pub struct Debt {
    till: Till,
    channel: ChannelId,
    key: [u8; 32],
}

impl Debt {
    /// The upstream failed after the answer had begun to leave.
    pub fn fail(self) {
        let ask = Ask::EndKey {
            channel: self.channel,
            key: self.key,
            end: End::Open,
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if let Err(no) = self.till.ask_patiently(ask).await {
                tracing::warn!(channel = %self.channel, %no, "an answer that broke off cannot be asked for again");
            }
        });
    }
}

#[derive(Debug, Clone)]
struct Open {
    till: Till,
    channel: ChannelId,
    charge: ChargeId,
    amount: Amount,
}

impl Open {
    async fn tell(self, input: Input) -> Result<Durable<Answer>, No> {
        self.till.tell_patiently(self.channel, input).await
    }

    fn tell_in_background(self, input: Input) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // No runtime is left to ask: the charge stays open in the books and is committed at the next start.
            return;
        };
        runtime.spawn(async move {
            let (channel, charge) = (self.channel, self.charge);
            if let Err(no) = self.tell(input).await {
                tracing::warn!(%channel, %charge, %no, "a charge could not be ended; it is committed at the next start");
            }
        });
    }
}

impl Sale {
    pub(crate) fn new(
        till: Till,
        channel: ChannelId,
        charge: ChargeId,
        amount: Amount,
        charge_on: ChargeOn,
    ) -> Self {
        Self {
            open: Some(Open {
                till,
                channel,
                charge,
                amount,
            }),
            charge_on,
            hold: None,
        }
    }

    pub(crate) fn held(mut self, hold: Option<Hold>) -> Self {
        self.hold = hold;
        self
    }

    /// The work for a request that may be repeated, where this is one.
    pub const fn take_hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }

    /// What is reserved.
    pub fn amount(&self) -> Amount {
        self.open.as_ref().map_or(Amount::ZERO, |open| open.amount)
    }

    /// When this sale's route charges.
    pub const fn charge_on(&self) -> ChargeOn {
        self.charge_on
    }

    /// Spends the reservation: delivery begins. The answer is what the receipt is made of.
    ///
    /// # Errors
    /// A fault of ours: nothing may be delivered then.
    pub async fn commit(self) -> Result<(Durable<Answer>, Delivery), No> {
        let amount = self.amount();
        self.commit_part(amount).await
    }

    /// Spends so much of the reservation, all of it at most, and lets the rest go: delivery begins.
    ///
    /// # Errors
    /// As [`Sale::commit`].
    pub async fn commit_part(mut self, amount: Amount) -> Result<(Durable<Answer>, Delivery), No> {
        let Some(open) = self.open.take() else {
            return Err(No::Stopping);
        };
        let input = Input::Commit {
            charge: open.charge,
            amount: amount.min(open.amount),
            body: Body::OnItsWay,
        };
        let answer = open.clone().tell(input).await?;
        Ok((
            answer,
            Delivery {
                open: Some(open),
                charge_on: self.charge_on,
            },
        ))
    }

    /// Lets the reservation go: nothing was delivered.
    pub async fn release(mut self) -> Result<(), No> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let input = Input::Release { charge: open.charge };
        open.tell(input).await.map(drop)
    }
}

impl Drop for Sale {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let input = match self.charge_on {
            ChargeOn::Always => Input::Commit {
                charge: open.charge,
                amount: open.amount,
                body: Body::Delivered,
            },
            ChargeOn::Success | ChargeOn::FirstByte => Input::Release { charge: open.charge },
        };
        open.tell_in_background(input);
    }
}

/// A committed charge whose body is on its way to the payer.
#[derive(Debug)]
#[must_use = "a delivery is finished or has failed"]
pub struct Delivery {
    open: Option<Open>,
    charge_on: ChargeOn,
}

impl Delivery {
    /// The body is all out: the charge is over. The books catch up on their own; losing this at a crash is harmless,
    /// because recovery ends the charge the same way.
    pub fn finish(mut self) {
        if let Some(open) = self.open.take() {
            let charge = open.charge;
            open.tell_in_background(Input::Finish { charge });
        }
    }

    /// The upstream failed after the receipt had left: the payer gets a credit, where the route charges on success.
    pub fn fail(mut self) {
        if let Some(open) = self.open.take() {
            let charge = open.charge;
            open.tell_in_background(match self.charge_on {
                ChargeOn::Success => Input::Credit { charge },
                ChargeOn::FirstByte | ChargeOn::Always => Input::Finish { charge },
            });
        }
    }
}

impl Drop for Delivery {
    /// The payer went away: what was sent was sent.
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let charge = open.charge;
            open.tell_in_background(Input::Finish { charge });
        }
    }
}
