//! A signed batch on its way to a block. Not knowing is no outcome: it goes on (threat T1).

use super::{Settler, TROUBLE_PAUSE, log_trouble};
use crate::attempt::{Attempt, Ended};
use crate::no::No;
use crate::settlement::{Envelope, Landing};
use alloy_primitives::B256;
use std::time::Duration;

/// How long one envelope is waited for before it is replaced by a dearer one.
pub const REPLACE_AFTER: Duration = Duration::from_secs(60);

/// Where an attempt's envelopes are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// This one is in a block.
    InABlock(B256),
    /// The node was asked after all of them, and none is.
    InNone,
    /// The node could not be asked.
    Unknown,
}

impl Settler {
    /// Sends an attempt's envelopes until one is in a block, or until none can be.
    pub(super) async fn see_through(&mut self, mut attempt: Attempt) -> Result<(), No> {
        loop {
            match self.try_envelopes(&attempt).await {
                Some((hash, Landing::Mined { skipped, gas_used })) => {
                    return self.mined(attempt, hash, &skipped, gas_used).await;
                }
                Some((_, Landing::Reverted)) => return self.reverted(attempt).await,
                Some((_, Landing::Pending)) | None => {}
            }
            let Some(stuck) = attempt.envelopes.last() else {
                return Ok(());
            };
            if self.is_displaced(&attempt, stuck).await {
                return self.displaced(attempt).await;
            }
            match self.chain.replace(&attempt.batch, stuck).await {
                Ok(dearer) => {
                    attempt.envelopes.push(dearer);
                    attempt.write(&**self.till.journal()).await.map(drop)?;
                }
                Err(trouble) => log_trouble(&trouble),
            }
        }
    }

    /// Sends the newest envelope and waits for it, then asks after the older ones: any of them may be the one that
    /// lands.
    async fn try_envelopes(&self, attempt: &Attempt) -> Option<(B256, Landing)> {
        for (older, envelope) in attempt.envelopes.iter().rev().enumerate() {
            let newest = older == 0;
            if newest {
                let _ = self.chain.broadcast(envelope).await.inspect_err(log_trouble);
            }
            let patience = if newest { REPLACE_AFTER } else { Duration::ZERO };
            match self.chain.wait(&attempt.batch, envelope, patience).await {
                Ok(Landing::Pending) => {}
                Ok(landing) => return Some((envelope.hash, landing)),
                Err(trouble) => {
                    log_trouble(&trouble);
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
        None
    }

    async fn is_displaced(&self, attempt: &Attempt, stuck: &Envelope) -> bool {
        match self.chain.is_displaced(stuck).await {
            // Asked once more: what landed a moment ago has used its nonce too.
            Ok(displaced) => displaced && self.find_in_a_block(attempt).await == Whereabouts::InNone,
            Err(trouble) => {
                log_trouble(&trouble);
                false
            }
        }
    }

    /// Asks after every envelope of an attempt.
    pub(super) async fn find_in_a_block(&self, attempt: &Attempt) -> Whereabouts {
        for envelope in &attempt.envelopes {
            match self.chain.wait(&attempt.batch, envelope, Duration::ZERO).await {
                Ok(Landing::Pending) => {}
                Ok(Landing::Mined { .. } | Landing::Reverted) => {
                    return Whereabouts::InABlock(envelope.hash);
                }
                Err(_) => return Whereabouts::Unknown,
            }
        }
        Whereabouts::InNone
    }

    async fn displaced(&mut self, attempt: Attempt) -> Result<(), No> {
        tracing::error!(
            attempt = attempt.id,
            "a transaction that is not in these books used a settlement's nonce; use the payee's key nowhere else"
        );
        self.end_captures(&attempt.batch).await?;
        self.end(attempt, Ended::Displaced).await
    }

    async fn reverted(&mut self, attempt: Attempt) -> Result<(), No> {
        for row in &attempt.batch.rows {
            self.strike(row.channel, "the transaction reverted").await?;
        }
        self.end(attempt, Ended::Reverted).await
    }
}
