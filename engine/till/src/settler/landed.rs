//! Attempts in a block: told, followed until they are final, and forgotten much later.

use super::send::Whereabouts;
use super::{Settled, Settler, log_trouble};
use crate::attempt::{self, Attempt, Ended};
use crate::no::No;
use crate::settlement::{BatchRow, Skipped};
use alloy_primitives::B256;
use weir_core::Input;

/// Attempts that have ended and stay on record, for whoever asks what was sent lately. What a close's receipt needs
/// stands in the channel's own row.
pub const ATTEMPTS_KEPT_MAX: usize = 1_000;

/// An attempt in a block that is not final yet.
#[derive(Debug)]
pub(super) struct Landed {
    attempt: Attempt,
    /// The envelope that was in the block when last looked.
    hash: B256,
}

/// An attempt on record that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    id: u64,
    envelopes: usize,
}

impl Kept {
    pub(super) const fn of(attempt: &Attempt) -> Self {
        Self {
            id: attempt.id,
            envelopes: attempt.envelopes.len(),
        }
    }
}

impl Settler {
    /// An envelope of this attempt is in a block, with effect but for the rows that were skipped.
    pub(super) async fn mined(
        &mut self,
        attempt: Attempt,
        hash: B256,
        skipped: &[Skipped],
        gas_used: u64,
    ) -> Result<(), No> {
        for Skipped { channel, reason } in skipped {
            self.strike(*channel, reason).await?;
        }
        let mut landed = 0;
        for row in &attempt.batch.rows {
            if skipped.iter().any(|skipped| skipped.channel == row.channel) {
                continue;
            }
            landed += 1;
            self.row_landed(row, attempt.batch.closes, hash).await?;
        }
        tracing::info!(channels = landed, transaction = %hash, gas_used, attempt = attempt.id, "a settlement is in a block");
        self.tally.send_modify(|tally| {
            tally.transactions += 1;
            tally.channels += landed;
            tally.gas_used += gas_used;
        });
        self.landed.push(Landed { attempt, hash });
        Ok(())
    }

    /// The close is in the books before anybody hears of it: its receipt can be asked for again after any crash.
    async fn row_landed(&mut self, row: &BatchRow, closed: bool, transaction: B256) -> Result<(), No> {
        self.strikes.remove(&row.channel);
        if closed {
            self.till
                .tell_patiently(row.channel, Input::ClosedBy(transaction))
                .await
                .map(drop)?;
        }
        self.handle.tell(Settled {
            channel: row.channel,
            transaction,
            target: row.capture,
            closed,
        });
        Ok(())
    }

    /// Ends attempts whose effect is final, and sends those again that a reorg took out.
    pub(super) async fn follow_landed(&mut self) -> Result<(), No> {
        for mut landed in std::mem::take(&mut self.landed) {
            if !self.waits_for_finality(&landed.attempt).await {
                self.end(landed.attempt, Ended::Mined).await?;
                continue;
            }
            match self.find_in_a_block(&landed.attempt).await {
                Whereabouts::InABlock(hash) if hash != landed.hash => {
                    self.name_close(&landed, hash).await?;
                    landed.hash = hash;
                }
                Whereabouts::InABlock(_) | Whereabouts::Unknown => {}
                Whereabouts::InNone => self.send_again(&landed.attempt).await,
            }
            self.landed.push(landed);
        }
        Ok(())
    }

    async fn send_again(&self, attempt: &Attempt) {
        tracing::warn!(
            attempt = attempt.id,
            "a settlement is in no block any more; it is sent again"
        );
        if let Some(newest) = attempt.envelopes.last() {
            let _ = self.chain.broadcast(newest).await.inspect_err(log_trouble);
        }
    }

    /// After a reorg another envelope of the same attempt took the place of the one whose hash was told.
    async fn name_close(&self, told: &Landed, now: B256) -> Result<(), No> {
        for row in &told.attempt.batch.rows {
            let answer = self.till.read(row.channel).await?;
            if answer.get().channel.closed_by() == Some(told.hash) {
                self.till
                    .tell_patiently(row.channel, Input::ClosedBy(now))
                    .await
                    .map(drop)?;
            }
        }
        Ok(())
    }

    async fn waits_for_finality(&self, attempt: &Attempt) -> bool {
        for row in &attempt.batch.rows {
            // What cannot be read now may still wait.
            let waits = self.till.read(row.channel).await.map_or(true, |answer| {
                let capture = answer.get().channel.capture();
                capture.is_some_and(|capture| capture.target == row.capture)
            });
            if waits {
                return true;
            }
        }
        false
    }

    /// Writes down how an attempt ended.
    pub(super) async fn end(&mut self, mut attempt: Attempt, ended: Ended) -> Result<(), No> {
        attempt.ended = Some(ended);
        attempt.write(&**self.till.journal()).await.map(drop)?;
        self.kept.push_back(Kept::of(&attempt));
        self.forget_oldest().await
    }

    /// Takes the oldest ended attempts off the record once there are too many. The newest stay, and with them the
    /// highest number and the highest nonce.
    pub(super) async fn forget_oldest(&mut self) -> Result<(), No> {
        while self.kept.len() > ATTEMPTS_KEPT_MAX {
            let Some(oldest) = self.kept.pop_front() else {
                return Ok(());
            };
            attempt::forget(&**self.till.journal(), oldest.id, oldest.envelopes)
                .await
                .map(drop)?;
        }
        Ok(())
    }
}
