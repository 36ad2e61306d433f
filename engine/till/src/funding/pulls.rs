//! Deposits: what is asked before one is pulled, and what became of it.

use super::record::{Deed, Errand, Standing, Wanted};
use super::{Fresh, FundNo, Funding, Inner, Ready, Situation};
use crate::books::UsedCredential;
use crate::no::No;
use alloy_primitives::B256;
use std::time::Duration;
use weir_chain::EscrowCalls;
use weir_core::pull::Purpose;
use weir_core::recover::{Recover, default_backend};
use weir_core::{Amount, ChannelId};
use weir_protocol::rails::SignedPull;

/// A deposit to be pulled, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct PullOrder<'a> {
    /// What the payer signed.
    pub signed: &'a SignedPull,
    /// The credential that brought it; its channel is the deposit's.
    pub credential: UsedCredential,
}

impl PullOrder<'_> {
    const fn channel(&self) -> ChannelId {
        self.credential.channel
    }

    const fn opens(&self) -> bool {
        matches!(self.signed.pull.purpose, Purpose::Open { .. })
    }
}

impl Funding {
    /// Finds out what is left to do so that a deposit is on its way, or was, or is there by somebody else's doing.
    ///
    /// An open's first voucher must be proven: once it is sent, the payer's deposit may be locked.
    ///
    /// # Errors
    /// [`FundNo`].
    pub async fn prepare(&self, order: PullOrder<'_>) -> Result<Ready, FundNo> {
        let pull = &order.signed.pull;
        let known = self.inner.standing(&Deed::of(pull));
        if known.is_some_and(|standing| standing != Standing::Displaced) {
            return Ok(Ready::OnItsWay);
        }
        self.judge(order)?;
        let found = self.inner.gas.situation(pull, order.channel()).await?;
        if self.inner.is_done(order, &found)? {
            return Ok(Ready::Done(None));
        }
        self.inner.must_be_pullable(order, &found)?;
        let calls = EscrowCalls::new(self.inner.till.domain().escrow());
        let call = calls.pull(pull, &order.signed.signature);
        let quote = self.price(&call, found.gas_balance).await?;
        let errand = Errand {
            wanted: Wanted::deposit(pull, order.channel()),
            ends: pull.leave.ends(),
            call,
            credential: order.credential,
        };
        Ok(Ready::Fresh(Box::new(Fresh {
            errand,
            quote,
            balance: found.payer_balance,
        })))
    }

    /// What can be told without asking anybody.
    fn judge(&self, order: PullOrder<'_>) -> Result<(), FundNo> {
        let SignedPull { pull, signature } = order.signed;
        let inner = &self.inner;
        let minimum = inner.config.deposit_min;
        if pull.amount < minimum {
            return Err(FundNo::TooSmall { minimum });
        }
        let separator = inner.paths.pulls.separator_of(&pull.leave);
        let separator = separator.ok_or(FundNo::Unaffordable("this server cannot pull deposits so"))?;
        let digest = pull.digest(separator, inner.till.domain().escrow());
        let signer = default_backend().recover(digest, signature);
        if signer.is_none_or(|signer| signer.is_zero() || signer != pull.from) {
            return Err(FundNo::NotThePayers);
        }
        let now = inner.till.clock().now();
        inner.must_be_in_time(&pull.leave, now)?;
        // Asked again when it is written down; here so that whoever has no room costs no RPC call.
        let wanted = Wanted::deposit(pull, order.channel());
        inner.account().must_have_room(&wanted, pull.amount, now)
    }

    /// Waits so long for what becomes of a deposit that was sent. Gives the hash of the transaction that did it; `None`
    /// for a channel that somebody else opened with the same terms and as much.
    ///
    /// # Errors
    /// [`FundNo`].
    pub async fn outcome(&self, order: PullOrder<'_>, patience: Duration) -> Result<Option<B256>, FundNo> {
        match self.wait(&Deed::of(&order.signed.pull), patience).await? {
            Some(Standing::Mined { hash, .. }) => Ok(Some(hash)),
            Some(_) => self.reverted(order).await,
            None => Ok(None),
        }
    }

    /// Mined in vain: perhaps because somebody else sent what the payer signed, which is as good.
    async fn reverted(&self, order: PullOrder<'_>) -> Result<Option<B256>, FundNo> {
        let (pull, channel) = (&order.signed.pull, order.channel());
        let found = self.inner.gas.situation(pull, channel).await?;
        if self.inner.is_done(order, &found)? {
            return Ok(None);
        }
        Err(FundNo::Reverted(
            "the deposit's transaction was mined and reverted".to_owned(),
        ))
    }
}

impl Inner {
    /// Whether an open has come about already, by whomever.
    fn is_done(&self, order: PullOrder<'_>, found: &Situation) -> Result<bool, FundNo> {
        let Some(state) = found.channel.filter(|_| order.opens()) else {
            return Ok(false);
        };
        // The id binds payer, payee, token, signer and salt: the deposit alone may be another.
        let deposit = Amount::new(state.deposit.base_units());
        if deposit < order.signed.pull.amount {
            return Err(FundNo::OtherDeposit { deposit });
        }
        Ok(true)
    }

    fn must_be_pullable(&self, order: PullOrder<'_>, found: &Situation) -> Result<(), FundNo> {
        let pull = &order.signed.pull;
        self.must_be_in_time(&pull.leave, found.head)?;
        // The token may ask the account's code whether it signed, and the code may say otherwise in the block.
        if found.payer_has_code {
            return Err(FundNo::Unaffordable(
                "this server pulls no deposit of an account that has code",
            ));
        }
        if !order.opens() {
            let state = found.channel.ok_or(No::NotSeenYet)?;
            if state.finalized {
                return Err(No::Refused(weir_core::Refusal::ChannelFinalized).into());
            }
            // A deposit that others send cancels no close request: it would be locked in vain.
            if state.close_requested_at.is_some() {
                return Err(No::Refused(weir_core::Refusal::ChannelClosing).into());
            }
        }
        if found.is_used_up {
            let why = "the signature for the deposit was used, or taken back, before; sign a new one";
            return Err(FundNo::Reverted(why.to_owned()));
        }
        if found.payer_balance < pull.amount {
            return Err(FundNo::Balance {
                balance: found.payer_balance,
                amount: pull.amount,
            });
        }
        Ok(())
    }
}
