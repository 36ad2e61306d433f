//! The real chain behind the settler's and the till's parameters.

use crate::evidence::{Evidence, Sight};
use crate::facts::Birth;
use crate::settlement::{
    BATCH_ROWS_MAX, Batch, BatchRow, ChainTrouble, Envelope, Landing, Settlement, Skipped,
};
use crate::shard::Adoption;
use crate::submissions::{Relay, Sent, Whereabouts};
use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use std::time::Duration;
use tokio::time::Instant;
use weir_chain::{
    Broadcast, Call, ChainFault, Escrow, EscrowCalls, EvidenceFault, ForeignDeed, ForeignRefusal,
    ForeignTransaction, Landed, Outcome, RowEffect, SendFault, Sender, Transfer, Verdict,
};
use weir_core::{Amount, ChannelId};
use weir_protocol::charge::judge::Lands;
use weir_protocol::charge::{PaymentSeen, TransferSeen};
use weir_protocol::rails;

impl From<ChainFault> for ChainTrouble {
    fn from(fault: ChainFault) -> Self {
        Self(fault.to_string())
    }
}

impl From<SendFault> for ChainTrouble {
    fn from(fault: SendFault) -> Self {
        Self(fault.to_string())
    }
}

/// One escrow on one chain, with the payee's key.
#[derive(Debug, Clone)]
pub struct OnChain {
    escrow: Escrow,
    calls: EscrowCalls,
    sender: Sender,
    finality_blocks: u64,
    birth: Birth,
    token: Address,
}

impl OnChain {
    /// An escrow and a sender. Channels opened before `birth` are older than the books; an opening counts once
    /// `finality_blocks` stand on top of it. Top-ups that payers leave to us are in `token`.
    pub fn new(escrow: Escrow, sender: Sender, token: Address, finality_blocks: u64, birth: Birth) -> Self {
        let calls = EscrowCalls::new(escrow.address());
        Self {
            escrow,
            calls,
            sender,
            finality_blocks,
            birth,
            token,
        }
    }

    /// The reserve takes one channel per call, and is told its terms with it.
    fn call(&self, batch: &Batch) -> Result<Call, ChainTrouble> {
        if !self.escrow.domain().is_reserve() {
            return Ok(if batch.closes {
                self.calls.close_many(batch.token, &batch.rows)
            } else {
                self.calls.settle_many(batch.token, &batch.rows)
            });
        }
        let call = match (batch.terms.as_slice(), batch.rows.as_slice()) {
            ([terms], [row]) if batch.closes => self.calls.close_reserved(terms, row),
            ([terms], [row]) => self.calls.settle_reserved(terms, row),
            _ => None,
        };
        call.ok_or_else(|| ChainTrouble("the reserve settles one channel of its own at a time".to_owned()))
    }

    fn land(&self, batch: &Batch, landed: &Landed) -> Landing {
        if !landed.success {
            return Landing::Reverted;
        }
        let effects = self.calls.read_effects(&landed.logs);
        let took_effect = |row: &BatchRow| {
            effects.iter().any(|effect| match effect {
                RowEffect::Settled { channel, .. } => !batch.closes && *channel == row.channel,
                RowEffect::Closed { channel, .. } => *channel == row.channel,
                RowEffect::Skipped { .. } => false,
            })
        };
        let reason_of = |channel: ChannelId| {
            let skipped = effects.iter().find_map(|effect| match effect {
                RowEffect::Skipped {
                    channel: skipped,
                    reason,
                } if *skipped == channel => Some(*reason),
                _ => None,
            });
            skipped.map_or_else(|| "the transaction tells nothing of it".to_owned(), describe)
        };
        let skipped = batch.rows.iter().filter(|row| !took_effect(row));
        let skipped = skipped.map(|row| Skipped {
            channel: row.channel,
            reason: reason_of(row.channel),
        });
        Landing::Mined {
            skipped: skipped.collect(),
            gas_used: landed.gas_used,
        }
    }
}

/// A call of one row answers nothing: it takes effect or reverts.
fn doomed_alone(batch: &Batch, simulated: Result<Bytes, SendFault>) -> Result<Vec<Skipped>, ChainTrouble> {
    match simulated {
        Ok(_) => Ok(Vec::new()),
        Err(SendFault::WouldRevert(revert)) => {
            let skipped = |row: &BatchRow| Skipped {
                channel: row.channel,
                reason: format!("the reserve says: {revert}"),
            };
            Ok(batch.rows.iter().map(skipped).collect())
        }
        Err(fault) => Err(fault.into()),
    }
}

fn describe(verdict: Verdict) -> String {
    format!("the escrow says: {verdict:?}")
}

#[async_trait]
impl Settlement for OnChain {
    fn rows_max(&self) -> usize {
        if self.escrow.domain().is_reserve() {
            1
        } else {
            BATCH_ROWS_MAX
        }
    }

    async fn simulate(&self, batch: &Batch) -> Result<Vec<Skipped>, ChainTrouble> {
        let simulated = self.sender.simulate(&self.call(batch)?).await;
        if self.escrow.domain().is_reserve() {
            return doomed_alone(batch, simulated);
        }
        let output = simulated?;
        let forecast = EscrowCalls::read_forecast(&output)
            .filter(|forecast| forecast.verdicts.len() == batch.rows.len())
            .ok_or_else(|| ChainTrouble("the escrow's answer to a batch cannot be read".to_owned()))?;
        let rows = batch.rows.iter().zip(forecast.verdicts);
        let doomed = rows.filter(|(_, verdict)| *verdict != Verdict::Landed);
        Ok(doomed
            .map(|(row, verdict)| Skipped {
                channel: row.channel,
                reason: describe(verdict),
            })
            .collect())
    }

    async fn sign(&self, batch: &Batch) -> Result<Envelope, ChainTrouble> {
        let quote = self.sender.quote(&self.call(batch)?).await?;
        let nonce = self.sender.next_nonce().await?;
        let envelope = self.sender.prepare(&quote, &nonce).await?;
        // Should the books refuse the envelope, the settler stops for good: the nonce is not wanted by another.
        nonce.keep();
        Ok(envelope)
    }

    async fn replace(&self, _: &Batch, stuck: &Envelope) -> Result<Envelope, ChainTrouble> {
        match self.sender.outcome(stuck.hash).await? {
            Outcome::Pending => Ok(self.sender.bump(stuck).await?),
            Outcome::Landed(_) => Err(ChainTrouble("the transaction has just landed".to_owned())),
            Outcome::NotSeen => Err(ChainTrouble(
                "the node does not hold the transaction; it is sent again as it is".to_owned(),
            )),
        }
    }

    fn remember(&self, nonce: u64) {
        self.sender.resume_after(nonce);
    }

    async fn is_displaced(&self, envelope: &Envelope) -> Result<bool, ChainTrouble> {
        Ok(matches!(
            self.sender.broadcast(envelope).await?,
            Broadcast::NonceTaken
        ))
    }

    async fn broadcast(&self, envelope: &Envelope) -> Result<(), ChainTrouble> {
        self.sender.resume_after(envelope.nonce);
        match self.sender.broadcast(envelope).await? {
            Broadcast::NonceTaken => Err(ChainTrouble(format!(
                "nonce {} of the payee's account was used by another transaction; is the key in use elsewhere?",
                envelope.nonce
            ))),
            Broadcast::Accepted | Broadcast::AlreadyKnown | Broadcast::Landed(_) | Broadcast::Underpriced => {
                Ok(())
            }
        }
    }

    async fn wait(
        &self,
        batch: &Batch,
        envelope: &Envelope,
        within: Duration,
    ) -> Result<Landing, ChainTrouble> {
        match self.sender.wait(envelope.hash, Instant::now() + within).await {
            Outcome::Landed(landed) => Ok(self.land(batch, &landed)),
            Outcome::Pending | Outcome::NotSeen => Ok(Landing::Pending),
        }
    }
}

impl OnChain {
    async fn is_final(&self, block: u64) -> Result<bool, ChainFault> {
        if self.finality_blocks == 0 {
            return Ok(true);
        }
        let head = self.escrow.rpc().head().await?;
        Ok(head.number >= block.saturating_add(self.finality_blocks))
    }

    async fn look_for_open(&self, transaction: B256, id: ChannelId) -> Result<Sight, EvidenceFault> {
        let found = self.escrow.opened_by(transaction, id).await?;
        if !self.is_final(found.block.number).await? {
            return Err(EvidenceFault::NotMined);
        }
        let seen = rails::Seen::Open(rails::OpenSeen {
            chain_id: self.escrow.domain().chain_id(),
            escrow: self.escrow.address(),
            terms: found.opened.terms.clone(),
            salt: found.opened.salt,
            deposit: Amount::new(found.opened.deposit.base_units()),
        });
        let adoption = Adoption {
            id,
            terms: found.opened.terms,
            seen: found.state,
            last_final: found.state,
            drain_only: found.block.number < self.birth.block(),
        };
        Ok(Sight {
            adoption: Some(adoption),
            ..Sight::of(seen)
        })
    }

    /// What a signed transaction would do; the chain is not asked.
    fn read(&self, raw: &[u8]) -> Result<Sight, ForeignRefusal> {
        let escrow = self.escrow.address();
        let transaction = ForeignTransaction::decode(raw)?;
        let chain_id = transaction.chain_id;
        let seen = match transaction.deed(self.escrow.domain(), self.token)? {
            ForeignDeed::Open(open) => rails::Seen::Open(rails::OpenSeen {
                chain_id,
                escrow,
                terms: open.terms,
                salt: open.salt,
                deposit: open.deposit,
            }),
            ForeignDeed::TopUp(top_up) => rails::Seen::TopUp(rails::TopUpSeen {
                chain_id,
                escrow,
                channel: top_up.channel,
                additional: top_up.additional,
            }),
        };
        Ok(Sight {
            unsent: Some(transaction),
            ..Sight::of(seen)
        })
    }

    /// What a signed transaction would pay; the chain is not asked.
    fn read_payment(&self, raw: &[u8]) -> Result<Sight, ForeignRefusal> {
        let transaction = ForeignTransaction::decode(raw)?;
        let seen = rails::Seen::Payment(PaymentSeen {
            chain_id: transaction.chain_id,
            sender: Some(transaction.sender),
            transfers: vec![seen(transaction.transfer()?)],
            lands: Lands::Before(transaction.valid_before),
        });
        Ok(Sight {
            unsent: Some(transaction),
            ..Sight::of(seen)
        })
    }

    async fn look_for_payment(&self, transaction: B256) -> Result<Sight, EvidenceFault> {
        let found = self.escrow.paid_by(transaction).await?;
        let is_final = self.is_final(found.block.number).await?;
        let seen = rails::Seen::Payment(PaymentSeen {
            chain_id: self.escrow.domain().chain_id(),
            sender: Some(found.sender),
            transfers: found.transfers.into_iter().map(seen).collect(),
            lands: Lands::At(found.block.timestamp),
        });
        Ok(Sight {
            is_final,
            ..Sight::of(seen)
        })
    }

    async fn look_for_top_up(&self, transaction: B256, id: ChannelId) -> Result<Sight, EvidenceFault> {
        let found = self.escrow.topped_up_by(transaction, id).await?;
        let seen = rails::Seen::TopUp(rails::TopUpSeen {
            chain_id: self.escrow.domain().chain_id(),
            escrow: self.escrow.address(),
            channel: id,
            additional: found.added,
        });
        Ok(Sight {
            raised_to: Some(found.deposit),
            ..Sight::of(seen)
        })
    }
}

#[async_trait]
impl Evidence for OnChain {
    async fn look(&self, evidence: rails::Evidence<'_>) -> Result<Sight, ChainTrouble> {
        let found = match evidence {
            rails::Evidence::None => return Ok(Sight::NOTHING),
            rails::Evidence::OpenedBy { tx_hash, channel } => self.look_for_open(tx_hash, channel).await,
            rails::Evidence::ToppedUpBy { tx_hash, channel } => self.look_for_top_up(tx_hash, channel).await,
            rails::Evidence::PaidBy { tx_hash } => self.look_for_payment(tx_hash).await,
            rails::Evidence::RawTransaction { bytes } => {
                return Ok(self.read(bytes).unwrap_or_else(|no| Sight::of(unread(no))));
            }
            rails::Evidence::RawPayment { bytes } => {
                let read = self.read_payment(bytes);
                return Ok(read.unwrap_or_else(|no| Sight::of(unread(no))));
            }
        };
        let seen = match found {
            Ok(sight) => return Ok(sight),
            Err(EvidenceFault::NotMined) => rails::Seen::NotMined,
            Err(EvidenceFault::Reverted) => rails::Seen::Reverted,
            Err(EvidenceFault::OtherEffect) => rails::Seen::SomethingElse,
            Err(EvidenceFault::Chain(fault)) => return Err(fault.into()),
        };
        Ok(Sight::of(seen))
    }
}

fn seen(transfer: Transfer) -> TransferSeen {
    TransferSeen {
        token: transfer.token,
        from: transfer.from,
        to: transfer.to,
        amount: transfer.amount,
        memo: transfer.memo,
        authorized: transfer.authorized,
    }
}

const fn unread(refusal: ForeignRefusal) -> rails::Seen {
    if refusal.is_unreadable() {
        rails::Seen::Unreadable(refusal.says())
    } else {
        rails::Seen::Unfit(refusal.says())
    }
}

#[async_trait]
impl Relay for OnChain {
    async fn look_for(&self, transaction: B256, channel: ChannelId) -> Result<Whereabouts, ChainTrouble> {
        let rpc = self.escrow.rpc();
        let head = rpc.head().await?;
        let channel_exists = self.escrow.holds_at(channel, head.hash).await?;
        Ok(Whereabouts {
            is_known: rpc.outcome(transaction).await? != Outcome::NotSeen,
            channel_exists,
            head: head.timestamp,
        })
    }

    async fn rehearse(&self, transaction: &ForeignTransaction) -> Option<String> {
        match self.escrow.rpc().rehearse(transaction).await {
            Err(SendFault::WouldRevert(revert)) => Some(revert.to_string()),
            Err(fault) => {
                tracing::debug!(%fault, "a payer's transaction could not be tried before it was sent");
                None
            }
            Ok(()) => None,
        }
    }

    async fn send(&self, raw: &[u8], transaction: B256) -> Result<Sent, ChainTrouble> {
        match self.escrow.rpc().broadcast(raw, transaction).await {
            Ok(Broadcast::NonceTaken) => Ok(Sent::Refused(
                "its nonce was used by another transaction".to_owned(),
            )),
            Ok(
                Broadcast::Accepted | Broadcast::AlreadyKnown | Broadcast::Landed(_) | Broadcast::Underpriced,
            ) => Ok(Sent::Taken),
            Err(SendFault::Refused { message, .. }) => Ok(Sent::Refused(message)),
            Err(fault) => Err(fault.into()),
        }
    }
}
