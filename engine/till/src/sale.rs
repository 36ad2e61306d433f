//! One sale: reserved durably, then committed or released exactly once (CH-6).
//!
//! The two types carry the two halves. A [`Sale`] is reserved and undelivered; committing it yields a [`Delivery`],
//! whose body is on its way. Dropping either decides too, so that a cancelled task leaves no charge open.

use crate::no::No;
use crate::shard::Answer;
use crate::till::Till;
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
        }
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
    pub async fn commit(mut self) -> Result<(Durable<Answer>, Delivery), No> {
        let Some(open) = self.open.take() else {
            return Err(No::Stopping);
        };
        let input = Input::Commit {
            charge: open.charge,
            amount: open.amount,
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
