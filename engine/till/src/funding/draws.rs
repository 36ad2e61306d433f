//! Payments: what is asked before one is sent, and which transaction made it (draft-evm-charge-00, Permit2 Verification and
//! Authorization Verification).
//!
//! An authorisation may be sent by anybody, and somebody may be faster: the payment is the payer's all the same, and is
//! found by the token's own event.

use super::record::{Deed, Errand, Standing, Wanted};
use super::{Fresh, FundNo, Funding, Ready, Situation, trouble};
use crate::books::UsedCredential;
use crate::charge_rows::OWED_SECONDS;
use alloy_primitives::{Address, B256};
use std::time::Duration;
use weir_chain::{Drawn, draw_call};
use weir_core::draw::Spelling;
use weir_core::recover::{Recover, default_backend};
use weir_core::{Leave, UnixSeconds};
use weir_protocol::charge::SignedDraw;

/// A payment to be sent, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct DrawOrder<'a> {
    /// What the payer signed.
    pub signed: &'a SignedDraw,
    /// The credential that brought it.
    pub credential: UsedCredential,
    /// Before which nobody can have signed it.
    pub since: UnixSeconds,
    /// The spender that its challenge names for permits.
    pub spender: Option<Address>,
}

impl Funding {
    /// Finds out what is left to do so that a payment is on its way, or was, or was made by somebody else's doing.
    ///
    /// # Errors
    /// [`FundNo`].
    pub async fn prepare_draw(&self, order: DrawOrder<'_>) -> Result<Ready, FundNo> {
        let draw = &order.signed.draw;
        let spelling = self.judge_draw(order)?;
        let known = self.inner.standing(&Deed::of_draw(draw));
        if known.is_some_and(|standing| standing != Standing::Displaced) {
            return Ok(Ready::OnItsWay);
        }
        let found = self.inner.gas.draw_situation(draw).await?;
        if found.is_used_up {
            return self.done(order).await.map(|hash| Ready::Done(Some(hash)));
        }
        self.must_be_drawable(order, &found)?;
        let call = draw_call(draw, &order.signed.signature, spelling);
        let quote = match self.price(&call, found.gas_balance).await {
            // It is tried on what waits for a block too, and that may be this very payment, sent by somebody else.
            Err(FundNo::Reverted(_)) if self.inner.gas.is_being_drawn(draw).await? => {
                return Err(trouble(
                    "the signature is used by a transaction that waits for a block",
                ));
            }
            quote => quote?,
        };
        let errand = Errand {
            wanted: Wanted::payment(draw),
            ends: draw.leave.ends(),
            call,
            credential: order.credential,
        };
        Ok(Ready::Fresh(Box::new(Fresh {
            errand,
            quote,
            balance: found.payer_balance,
        })))
    }

    /// Whether the payer signed it, for no longer than its answer can be asked for; and how it was spelled.
    fn judge_draw(&self, order: DrawOrder<'_>) -> Result<Spelling, FundNo> {
        let SignedDraw { draw, signature } = order.signed;
        let separator = self.inner.paths.draws.separator_of(&draw.leave);
        let separator = separator.ok_or(FundNo::Unaffordable("this server takes no payments so"))?;
        let spender = self.spender(order)?;
        let signs = |spelling: &Spelling| {
            let digest = draw.digest(separator, spender, *spelling);
            default_backend().recover(digest, signature) == Some(draw.from)
        };
        let spelling = Spelling::ALL.into_iter().find(signs);
        let spelling = spelling
            .filter(|_| !draw.from.is_zero())
            .ok_or(FundNo::NotThePayers)?;
        // What lands later than its answer can be asked for would be lost to the payer.
        if draw.leave.ends() > order.credential.expires.after(OWED_SECONDS).0 {
            return Err(FundNo::Outlasts);
        }
        Ok(spelling)
    }

    /// Who sends what was signed: for a permit whom its challenge names, who may have been replaced since it was sent.
    fn spender(&self, order: DrawOrder<'_>) -> Result<Address, FundNo> {
        if matches!(order.signed.draw.leave, Leave::Eip3009 { .. }) {
            return Ok(self.gas_key());
        }
        let spender = order.spender.filter(|spender| self.is_gas_key(*spender));
        spender.ok_or_else(of_another_key)
    }

    fn must_be_drawable(&self, order: DrawOrder<'_>, found: &Situation) -> Result<(), FundNo> {
        let (inner, draw) = (&self.inner, &order.signed.draw);
        if self.spender(order)? != self.gas_key() {
            return Err(of_another_key());
        }
        let now = inner.till.clock().now();
        inner.must_be_in_time(&draw.leave, now)?;
        inner.must_be_in_time(&draw.leave, found.head)?;
        // The token may ask the account's code whether it signed, and the code may say otherwise in the block.
        if found.payer_has_code {
            return Err(FundNo::Unaffordable(
                "this server sends no payment of an account that has code",
            ));
        }
        if found.payer_balance < draw.amount {
            return Err(FundNo::Balance {
                balance: found.payer_balance,
                amount: draw.amount,
            });
        }
        let wanted = Wanted::payment(draw);
        inner.account().must_have_room(&wanted, found.payer_balance, now)
    }

    /// Waits so long for the transaction that made a payment, whoever sent it.
    ///
    /// # Errors
    /// [`FundNo`].
    pub async fn drawn(&self, order: DrawOrder<'_>, patience: Duration) -> Result<B256, FundNo> {
        match self.wait(&Deed::of_draw(&order.signed.draw), patience).await? {
            Some(Standing::Mined { hash, .. }) => Ok(hash),
            Some(standing) => {
                let found = self.inner.gas.draw_situation(&order.signed.draw).await?;
                if found.is_used_up {
                    return self.done(order).await;
                }
                // The node may lag behind whoever was faster, and the block may be taken back.
                let deep = |block: u64| block.saturating_add(self.inner.config.finality_blocks);
                if standing.block().is_none_or(|block| found.height < deep(block)) {
                    return Err(trouble(
                        "the payment's transaction reverted, and its block is not final",
                    ));
                }
                let why = "the payment's transaction was mined and reverted; pay a new challenge";
                Err(FundNo::Reverted(why.to_owned()))
            }
            None => Err(trouble("the payment is not on record")),
        }
    }

    /// Which transaction used the signature up.
    async fn done(&self, order: DrawOrder<'_>) -> Result<B256, FundNo> {
        let draw = &order.signed.draw;
        if matches!(draw.leave, Leave::Permit2 { .. }) {
            // Nobody but us can have sent it, and ours are on record: the nonce was used for something else.
            let why = "the permit's nonce was used, or taken back, before; sign with another";
            return Err(FundNo::Reverted(why.to_owned()));
        }
        match self.inner.gas.drawn(draw, order.since).await? {
            Drawn::By(hash) => Ok(hash),
            Drawn::TakenBack => {
                let why = "the signature for the payment was taken back; pay a new challenge";
                Err(FundNo::Reverted(why.to_owned()))
            }
            // Another node may tell more: not knowing is no failure.
            Drawn::Unknown => Err(trouble(
                "the signature was used, and our node does not tell by which transaction",
            )),
        }
    }
}

/// Nobody can send it any more: a permit is its spender's alone.
fn of_another_key() -> FundNo {
    FundNo::Reverted("the permit names a spender that sends no more; pay a new challenge".to_owned())
}
