//! What the settler needs of a chain, as a parameter; `onchain` provides the real one.

use alloy_primitives::Address;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
pub use weir_chain::{Envelope, SettleRow as BatchRow};
use weir_core::{ChannelId, Terms};

/// Rows in one transaction: its envelope must fit one record of the books, and its gas a block by far.
pub const BATCH_ROWS_MAX: usize = 64;

/// One transaction's worth of settlements or closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The token of all rows.
    pub token: Address,
    /// Whether the channels are closed as well.
    pub closes: bool,
    /// The channels.
    pub rows: Vec<BatchRow>,
    /// What each of them binds, for escrows that are told so with every call. What is on record is signed, and needs
    /// it no more.
    #[serde(skip)]
    pub terms: Vec<Arc<Terms>>,
}

impl Batch {
    /// Takes a channel out.
    pub fn remove(&mut self, channel: ChannelId) {
        while let Some(at) = self.rows.iter().position(|row| row.channel == channel) {
            self.rows.remove(at);
            if at < self.terms.len() {
                self.terms.remove(at);
            }
        }
    }
}

/// A row that did not take effect, with the contract's reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The channel.
    pub channel: ChannelId,
    /// Why.
    pub reason: String,
}

/// What became of a broadcast envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landing {
    /// In a block. Rows that are not skipped took effect.
    Mined {
        /// Rows without effect.
        skipped: Vec<Skipped>,
        /// Gas used by the transaction.
        gas_used: u64,
    },
    /// In a block, without any effect.
    Reverted,
    /// Not in a block yet: no failure (threat T1).
    Pending,
}

/// The chain or the way to it failed; nothing is known about the outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChainTrouble(pub String);

/// Puts batches on a chain.
#[async_trait]
pub trait Settlement: Send + Sync + 'static {
    /// Most channels that one transaction may settle.
    fn rows_max(&self) -> usize {
        BATCH_ROWS_MAX
    }

    /// Tries a batch against the newest state without sending it; tells the rows that would not take effect.
    async fn simulate(&self, batch: &Batch) -> Result<Vec<Skipped>, ChainTrouble>;

    /// Signs a batch under the next nonce, without sending it.
    async fn sign(&self, batch: &Batch) -> Result<Envelope, ChainTrouble>;

    /// Signs a batch again under the same nonce and for a higher fee, if a higher fee can help: an envelope that the
    /// node does not hold is not made dearer, and no fee grows without bound.
    async fn replace(&self, batch: &Batch, stuck: &Envelope) -> Result<Envelope, ChainTrouble>;

    /// Remembers a nonce that an envelope on record uses, whatever the node says of it.
    fn remember(&self, _nonce: u64) {}

    /// Whether another transaction, not of these books, has used an envelope's nonce, so that it cannot land.
    async fn is_displaced(&self, _envelope: &Envelope) -> Result<bool, ChainTrouble> {
        Ok(false)
    }

    /// Sends an envelope. Sending it again is harmless.
    async fn broadcast(&self, envelope: &Envelope) -> Result<(), ChainTrouble>;

    /// Waits for an envelope's outcome, at most so long.
    async fn wait(
        &self,
        batch: &Batch,
        envelope: &Envelope,
        within: Duration,
    ) -> Result<Landing, ChainTrouble>;
}
