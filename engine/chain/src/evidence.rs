//! A payer says "I sent this transaction": what it really did (draft-evm-session-00, Transaction Outcome Checks).
//!
//! Judged by the escrow's own logs, not by the transaction's target, so that an open through an ERC-4337 entry
//! point or a wallet counts alike.

use crate::bindings::IChannelEscrow::TopUp;
use crate::escrow::{Escrow, OpenedChannel, read_opened};
use crate::fault::ChainFault;
use crate::reserve;
use crate::rpc::{BlockRef, Rpc};
use crate::sender::Landed;
use alloy::primitives::B256;
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use weir_core::{Amount, ChainState, ChannelId, Cumulative};

/// Why a transaction is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceFault {
    /// It is not mined, as far as this node knows: ask again, for a bounded time.
    #[error("the transaction is not mined yet")]
    NotMined,
    /// It was mined and reverted: definitively no.
    #[error("the transaction was mined and reverted")]
    Reverted,
    /// It was mined, and did nothing of the kind to this channel of this escrow: definitively no.
    #[error("the transaction did not do this to this channel")]
    OtherEffect,
    /// The chain could not be read.
    #[error(transparent)]
    Chain(#[from] ChainFault),
}

/// An open that happened. It is not final: a reorg can undo it until the watcher says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEvidence {
    /// What the event told.
    pub opened: OpenedChannel,
    /// The block.
    pub block: BlockRef,
    /// The channel's state after that block.
    pub state: ChainState,
}

/// A top-up that happened. It is not final: a reorg can undo it until the watcher says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpEvidence {
    /// What was added, over all top-ups of this channel in the transaction.
    pub added: Amount,
    /// The deposit right after it.
    pub deposit: Cumulative,
    /// The block.
    pub block: BlockRef,
    /// The channel's state after that block.
    pub state: ChainState,
}

impl Rpc {
    /// A transaction that took effect.
    pub(crate) async fn effect_of(&self, transaction: B256) -> Result<Landed, EvidenceFault> {
        let landed = self.landed(transaction).await?.ok_or(EvidenceFault::NotMined)?;
        if landed.success {
            Ok(landed)
        } else {
            Err(EvidenceFault::Reverted)
        }
    }

    /// Its block, which must still be the chain's at that height.
    pub(crate) async fn block_of(&self, landed: &Landed) -> Result<BlockRef, ChainFault> {
        let number = landed.block_number;
        let block = self.header_at(number).await?.block;
        if block.hash == landed.block_hash {
            Ok(block)
        } else {
            Err(ChainFault::Moved { number })
        }
    }
}

impl Escrow {
    async fn after(&self, id: ChannelId, landed: &Landed) -> Result<(BlockRef, ChainState), EvidenceFault> {
        let block = self.rpc().block_of(landed).await?;
        // Its event was in the block: a state without it is another node's, which lags.
        let state = self
            .state_at(id, landed.block_hash)
            .await?
            .ok_or(ChainFault::Moved {
                number: landed.block_number,
            })?;
        Ok((block, state))
    }

    /// Whether `transaction` opened the channel `id` here.
    ///
    /// # Errors
    /// See [`EvidenceFault`]; only `NotMined` and transient chain faults are worth another try.
    pub async fn opened_by(&self, transaction: B256, id: ChannelId) -> Result<OpenEvidence, EvidenceFault> {
        let landed = self.rpc().effect_of(transaction).await?;
        let opened = landed
            .logs
            .iter()
            .filter_map(|log| read_opened(self.address(), log));
        let opened = opened.into_iter().find(|opened| opened.id == id);
        let opened = opened.ok_or(EvidenceFault::OtherEffect)?;
        let (block, state) = self.after(id, &landed).await?;
        Ok(OpenEvidence { opened, block, state })
    }

    /// Whether, and by how much, `transaction` topped up the channel `id` here.
    ///
    /// # Errors
    /// See [`EvidenceFault`]; only `NotMined` and transient chain faults are worth another try.
    pub async fn topped_up_by(
        &self,
        transaction: B256,
        id: ChannelId,
    ) -> Result<TopUpEvidence, EvidenceFault> {
        let landed = self.rpc().effect_of(transaction).await?;
        let (mut added, mut deposit) = (Amount::ZERO, None);
        for log in landed.logs.iter().filter(|log| log.address() == self.address()) {
            let Some((channel, more, after)) = read_top_up(log).or_else(|| reserve::read_top_up(log)) else {
                continue;
            };
            if channel == id {
                added = added.checked_add(more).ok_or(EvidenceFault::OtherEffect)?;
                deposit = Some(after);
            }
        }
        let deposit = deposit.ok_or(EvidenceFault::OtherEffect)?;
        let (block, state) = self.after(id, &landed).await?;
        Ok(TopUpEvidence {
            added,
            deposit,
            block,
            state,
        })
    }
}

/// Reads a contract's `TopUp`: the channel, what was added, and the deposit then.
fn read_top_up(log: &Log) -> Option<(ChannelId, Amount, Cumulative)> {
    let event = TopUp::decode_log(&log.inner).ok()?.data;
    let added = u128::try_from(event.additionalDeposit).ok()?;
    let deposit = u128::try_from(event.newDeposit).ok()?;
    Some((
        ChannelId(event.channelId),
        Amount::new(added),
        Cumulative::new(deposit),
    ))
}
