//! What became of a transaction. Not knowing is an answer of its own (threat T1).

use super::Sender;
use super::envelope::Envelope;
use super::fault::SendFault;
use crate::fault::{ChainFault, describe};
use crate::rpc::Rpc;
use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use alloy::rpc::types::Log;
use alloy::transports::RpcError;
use core::time::Duration;
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep};

/// How often [`Sender::wait`] asks, in milliseconds.
const WAIT_POLL_MILLISECONDS: u64 = 250;

/// A mined transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// Whether it took effect; false means that it reverted, which is definitive on this fork.
    pub success: bool,
    /// Who sent it.
    pub sender: Address,
    /// Height of its block.
    pub block_number: u64,
    /// Its block.
    pub block_hash: B256,
    /// Gas used.
    pub gas_used: u64,
    /// What a unit of gas cost, in wei.
    pub gas_price: u128,
    /// What it told.
    pub logs: Vec<Log>,
    /// The contract it created.
    pub contract: Option<Address>,
}

/// What a node knows of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was mined.
    Landed(Landed),
    /// It waits to be mined, or nothing was heard in time.
    Pending,
    /// This node does not know it. It may still land: another node may hold it.
    NotSeen,
}

/// What a node made of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broadcast {
    /// It was taken.
    Accepted,
    /// It had been taken before: sending is idempotent.
    AlreadyKnown,
    /// It was mined before.
    Landed(Landed),
    /// Its nonce was used by another transaction, so that it cannot land on this fork.
    NonceTaken,
    /// A replacement of the same nonce is in the pool and pays more than this one.
    Underpriced,
}

impl Sender {
    /// Sends an envelope. Sending it again is harmless.
    ///
    /// # Errors
    /// As [`Rpc::broadcast`].
    pub async fn broadcast(&self, envelope: &Envelope) -> Result<Broadcast, SendFault> {
        self.rpc.broadcast(&envelope.raw, envelope.hash).await
    }

    /// What this node knows of the transaction now.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn outcome(&self, hash: B256) -> Result<Outcome, ChainFault> {
        self.rpc.outcome(hash).await
    }

    /// Waits until it is mined, or until the deadline: then, whatever went wrong meanwhile, it is pending.
    ///
    /// The node is always asked at least once, and to the end: a deadline that has passed must not hide what landed.
    pub async fn wait(&self, hash: B256, deadline: Instant) -> Outcome {
        loop {
            match self.outcome(hash).await {
                Ok(Outcome::Landed(landed)) => return Outcome::Landed(landed),
                Ok(Outcome::Pending | Outcome::NotSeen) => {}
                Err(fault) => tracing::debug!(%hash, %fault, "the outcome could not be read"),
            }
            if Instant::now() >= deadline {
                return Outcome::Pending;
            }
            sleep(Duration::from_millis(WAIT_POLL_MILLISECONDS)).await;
        }
    }
}

impl Rpc {
    /// Sends a signed transaction, whoever signed it. Sending it again is harmless.
    ///
    /// # Errors
    /// [`SendFault::Refused`] when the node said no, [`SendFault::Chain`] when it is not known whether it arrived.
    pub async fn broadcast(&self, raw: &[u8], hash: B256) -> Result<Broadcast, SendFault> {
        let doing = "sending a transaction";
        let error = match self.provider().send_raw_transaction(raw).await {
            Ok(_) => return Ok(Broadcast::Accepted),
            Err(error) => error,
        };
        let RpcError::ErrorResp(payload) = &error else {
            return Err(ChainFault::rpc(doing)(error).into());
        };
        // Nodes agree on the words better than on the codes.
        let words = payload.message.to_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
        if says(&[
            "already known",
            "already imported",
            "known transaction",
            "already exists",
        ]) {
            return Ok(Broadcast::AlreadyKnown);
        }
        if says(&[
            "nonce too low",
            "nonce is too low",
            "invalid nonce",
            "nonce has already been used",
        ]) {
            return Ok(match self.outcome(hash).await? {
                Outcome::Landed(landed) => Broadcast::Landed(landed),
                Outcome::Pending => Broadcast::AlreadyKnown,
                Outcome::NotSeen => Broadcast::NonceTaken,
            });
        }
        if says(&["underpriced"]) {
            return Ok(match self.outcome(hash).await? {
                Outcome::Landed(landed) => Broadcast::Landed(landed),
                Outcome::Pending => Broadcast::AlreadyKnown,
                Outcome::NotSeen => Broadcast::Underpriced,
            });
        }
        Err(SendFault::Refused {
            doing,
            message: describe(error),
        })
    }

    /// What this node knows of the transaction now.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn outcome(&self, hash: B256) -> Result<Outcome, ChainFault> {
        if let Some(landed) = self.landed(hash).await? {
            return Ok(Outcome::Landed(landed));
        }
        // Whether it is there is all that is asked: its form may be one that only its chain knows.
        let known = self
            .provider()
            .raw_request::<_, Option<IgnoredAny>>("eth_getTransactionByHash".into(), [hash]);
        let known = known.await.map_err(ChainFault::rpc("looking up a transaction"))?;
        Ok(known.map_or(Outcome::NotSeen, |_| Outcome::Pending))
    }

    /// The transaction's receipt, once it is mined.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn landed(&self, hash: B256) -> Result<Option<Landed>, ChainFault> {
        let receipt = self.provider().get_transaction_receipt(hash).await;
        let receipt = receipt.map_err(ChainFault::rpc("reading a receipt"))?;
        Ok(receipt.and_then(|receipt| {
            let receipt = &receipt.inner;
            // A receipt without a block is of a transaction that is not mined.
            let (block_number, block_hash) = (receipt.block_number?, receipt.block_hash?);
            Some(Landed {
                success: receipt.inner.status(),
                sender: receipt.from,
                block_number,
                block_hash,
                gas_used: receipt.gas_used,
                gas_price: receipt.effective_gas_price,
                contract: receipt.contract_address,
                logs: receipt.inner.logs().to_vec(),
            })
        }))
    }
}
