//! The way out alone: the payer's own close request and withdrawal, and the channels found on the chain when the state
//! directory is gone (threat P1). No server is asked.

use crate::close::{closed_before, closed_in};
use crate::error::Error;
use crate::onchain::{ChainError, OnChain};
use crate::payer::{Core, Payer};
use crate::receipt::Overcharged;
use crate::state::Stage;
use alloy::primitives::{Address, B256};
use std::time::{SystemTime, UNIX_EPOCH};
use weir_chain::Escrow;
use weir_core::{Amount, ChainState, ChannelId, Cumulative, Terms};

/// A close request that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseRequest {
    /// The channel.
    pub channel: ChannelId,
    /// When it was made, in Unix seconds of the chain's clock.
    pub requested_at: u64,
    /// When `withdraw` will work, in Unix seconds of the chain's clock.
    pub ready_at: u64,
    /// True when it stood already, and nothing was sent.
    pub stood: bool,
}

/// What a withdrawal brought. Amounts are base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// The channel, now closed.
    pub channel: ChannelId,
    /// Its token.
    pub token: Address,
    /// The transaction; `None` when the channel was closed before, and nothing was sent.
    pub tx_hash: Option<B256>,
    /// What the payee had settled by then.
    pub settled: Cumulative,
    /// What came back.
    pub refunded: Amount,
    /// True when the token refused the refund, which now waits for `withdraw_refund`.
    pub credited: bool,
    /// What is wrong with `settled`, where the books know what was agreed.
    pub overcharged: Option<Overcharged>,
}

/// A channel of this payer, as the chain tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundChannel {
    /// Its id.
    pub channel: ChannelId,
    /// The escrow that holds it.
    pub escrow: Address,
    /// Who pays whom, in which token.
    pub terms: Terms,
    /// Its state after the newest block.
    pub state: ChainState,
    /// The block in which it was opened.
    pub opened_at_block: u64,
    /// When `withdraw` works, in Unix seconds of the chain's clock; `None` while no close request stands.
    pub ready_at: Option<u64>,
    /// Whether the payer's books know it.
    pub in_books: bool,
}

impl FoundChannel {
    /// What the escrow still holds of it, in base units.
    pub fn held(&self) -> Amount {
        if self.state.finalized {
            return Amount::ZERO;
        }
        self.state
            .deposit
            .since(self.state.settled)
            .unwrap_or(Amount::ZERO)
    }
}

impl Payer {
    /// Starts the grace period of a channel, known to the books or not. Asking again changes nothing. From then on the
    /// next request to its server opens a new channel, unless this one is stopped: then it must be over first.
    ///
    /// # Errors
    /// [`Error::AlreadyClosed`], or [`Error::Overcharged`] when that captured more than was agreed;
    /// [`Error::NoChannel`]; [`Error::Chain`].
    pub async fn request_close(&self, channel: ChannelId) -> Result<CloseRequest, Error> {
        let core = &self.core;
        let (escrow, found) = core.locate(channel).await?;
        if found.state.finalized {
            if let Some(purse) = core.purse(channel) {
                purse.finalize(found.state.settled).await?;
            }
            let (settled, refunded, _) = closed_before(&escrow, &found).await?;
            return Err(Error::AlreadyClosed {
                channel,
                settled,
                refunded,
            });
        }
        // From here on nothing may be bought with it: the payee would rightly refuse.
        core.set_stage(channel, Stage::Closing).await?;
        let stood = found.state.close_requested_at.is_some();
        if !stood {
            core.chain
                .act(&escrow.calls().request_close(channel), "requesting the close")
                .await?;
        }
        let (_, found) = core.locate(channel).await?;
        let gone = || Error::ChannelGone(channel);
        Ok(CloseRequest {
            channel,
            requested_at: found.state.close_requested_at.ok_or_else(gone)?.0,
            ready_at: ready_at(&escrow, &found.state).ok_or_else(gone)?,
            stood,
        })
    }

    /// Takes back what is left of a channel, once the grace period of its close request is over. Of one that is closed
    /// already, it tells where the money went, and sends nothing.
    ///
    /// # Errors
    /// [`Error::NotReady`] before that (with `ready_at` 0 when no request stands).
    pub async fn withdraw(&self, channel: ChannelId) -> Result<Withdrawal, Error> {
        let core = &self.core;
        let (escrow, found) = core.locate(channel).await?;
        let token = found.terms.token;
        let withdrawal = |tx_hash, (settled, refunded, credited)| Withdrawal {
            channel,
            token,
            tx_hash,
            settled,
            refunded,
            credited,
            overcharged: core.purse(channel).and_then(|purse| purse.overcapture(settled)),
        };
        if found.state.finalized {
            core.set_stage(channel, Stage::Closed).await?;
            return Ok(withdrawal(None, closed_before(&escrow, &found).await?));
        }
        let ready_at = ready_at(&escrow, &found.state).ok_or(Error::NotReady { ready_at: 0 })?;
        // An idle chain's newest block may be old: the next one will carry about this machine's time.
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_secs());
        if core.chain.now().await?.max(clock) < ready_at {
            return Err(Error::NotReady { ready_at });
        }
        let (tx_hash, landed) = core
            .chain
            .act(&escrow.calls().withdraw(channel), "withdrawing the deposit")
            .await?;
        core.set_stage(channel, Stage::Closed).await?;
        let seen = closed_in(&escrow, channel, &found.terms, &landed.logs);
        let seen = seen.ok_or(Error::CloseNotSeen { tx_hash })?;
        Ok(withdrawal(Some(tx_hash), seen))
    }

    /// Collects a refund of `token` that the token refused when it was pushed, and sends it to `to`.
    ///
    /// # Errors
    /// [`Error::Chain`], also when there is none.
    pub async fn withdraw_refund(&self, escrow: Address, token: Address, to: Address) -> Result<B256, Error> {
        let escrow = self.core.chain.escrow(escrow).await?;
        let call = escrow.calls().withdraw_refund(token, to);
        Ok(self.core.chain.act(&call, "collecting a refund").await?.0)
    }

    /// Finds every channel that this key ever opened in an allowed escrow, from a block on, without the books.
    /// Nothing is sent and nothing is written: `request_close` and `withdraw` take any of their ids. A channel without
    /// its books is never paid with again, because what was signed on it is unknown.
    ///
    /// # Errors
    /// [`Error::Chain`].
    pub async fn recover(&self, from_block: u64) -> Result<Vec<FoundChannel>, Error> {
        let core = &self.core;
        let mut all = Vec::new();
        for address in core.escrows() {
            let escrow = core.chain.escrow(address).await?;
            for opened in core.chain.opened(&escrow, from_block).await? {
                let found = core.chain.channel(&escrow, opened.id).await?;
                let found = found.ok_or(ChainError::NoChannel(opened.id))?;
                all.push(FoundChannel {
                    channel: opened.id,
                    escrow: address,
                    terms: found.terms,
                    state: found.state,
                    opened_at_block: opened.block_number,
                    ready_at: ready_at(&escrow, &found.state),
                    in_books: core.purse(opened.id).is_some(),
                });
            }
        }
        Ok(all)
    }
}

impl Core {
    /// The escrows that may hold a channel of this payer: those allowed, and those of the books.
    fn escrows(&self) -> Vec<Address> {
        let allowed = self.limits.escrows.iter().map(|escrow| escrow.address);
        let booked = self.purses().into_iter().map(|purse| purse.record().escrow);
        let mut all: Vec<Address> = allowed.chain(booked).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The escrow that holds a channel, and the channel there.
    async fn locate(&self, channel: ChannelId) -> Result<(Escrow, OnChain), Error> {
        let booked = self.purse(channel).map(|purse| purse.record());
        if let Some(record) = &booked {
            self.chain.must_be(record.chain_id).await?;
        }
        let booked = booked.map(|record| vec![record.escrow]);
        for address in booked.unwrap_or_else(|| self.escrows()) {
            let escrow = self.chain.escrow(address).await?;
            if let Some(found) = self.chain.channel(&escrow, channel).await? {
                return Ok((escrow, found));
            }
        }
        Err(Error::NoChannel)
    }

    async fn set_stage(&self, channel: ChannelId, stage: Stage) -> Result<(), Error> {
        match self.purse(channel) {
            Some(purse) => purse.mark(|record, _| record.stage = stage).await,
            None => Ok(()),
        }
    }
}

fn ready_at(escrow: &Escrow, state: &ChainState) -> Option<u64> {
    let requested = state.close_requested_at.filter(|_| !state.finalized)?;
    Some(requested.after(escrow.grace_period_seconds()).0)
}
