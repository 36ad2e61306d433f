//! Transactions of one key: simulated, priced, signed, sent, and looked up.
//!
//! The order is the caller's: `quote` → `next_nonce` → `prepare` → write the envelope down → [`Nonce::keep`] →
//! `broadcast` → `wait` (TX-2). [`Sender::land`] does it in one go for callers without books.

mod envelope;
mod fault;
mod nonces;
mod outcome;

pub use envelope::{Envelope, Quote};
pub use fault::SendFault;
pub use nonces::Nonce;
pub use outcome::{Broadcast, Landed, Outcome};

use crate::calls::Call;
use crate::fault::ChainFault;
use crate::rpc::Rpc;
use alloy::consensus::TxEip1559;
use alloy::network::TxSigner;
use alloy::primitives::{Address, B256, Bytes, Signature};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use core::fmt;
use nonces::Nonces;
use std::sync::Arc;
use tokio::time::Instant;

/// No replacement offers more than so many times the fee of the moment.
pub const FEE_FACTOR_MAX: u128 = 10;

/// One account that sends transactions. Clones share their nonces; two senders of one key would not.
#[derive(Clone)]
pub struct Sender {
    rpc: Rpc,
    chain_id: u64,
    signer: Arc<dyn TxSigner<Signature> + Send + Sync>,
    nonces: Nonces,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out (threat K1).
        write!(f, "Sender({} on chain {})", self.address(), self.chain_id)
    }
}

impl Sender {
    /// A sender over this connection, with a key held here or elsewhere.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`] when the chain's id cannot be read.
    pub async fn connect(
        rpc: Rpc,
        signer: impl TxSigner<Signature> + Send + Sync + 'static,
    ) -> Result<Self, ChainFault> {
        let chain_id = rpc.chain_id().await?;
        Ok(Self {
            rpc,
            chain_id,
            signer: Arc::new(signer),
            nonces: Nonces::default(),
        })
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// The connection.
    pub const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    fn request(&self, call: &Call) -> TransactionRequest {
        let mut request = TransactionRequest::default().from(self.address());
        request.to = Some(call.to.map_or(alloy::primitives::TxKind::Create, Into::into));
        request.input(call.input.clone().into())
    }

    /// What the call would answer on the state as it is, pending transactions included.
    ///
    /// # Errors
    /// [`SendFault::WouldRevert`] with the decoded reason, or [`SendFault::Chain`].
    pub async fn simulate(&self, call: &Call) -> Result<Bytes, SendFault> {
        let answer = self.rpc.provider().call(self.request(call).into()).await;
        answer.map_err(|error| SendFault::of_execution("simulating a call", error))
    }

    /// Prices the call: its gas with a margin, and the fees of the moment.
    ///
    /// # Errors
    /// [`SendFault::WouldRevert`] with the decoded reason, or [`SendFault::Chain`].
    pub async fn quote(&self, call: &Call) -> Result<Quote, SendFault> {
        let provider = self.rpc.provider();
        let gas = provider.estimate_gas(self.request(call).into()).await;
        let gas = gas.map_err(|error| SendFault::of_execution("estimating gas", error))?;
        let fees = provider.estimate_eip1559_fees().await;
        let fees = fees.map_err(ChainFault::rpc("reading the fees of the moment"))?;
        Ok(Quote::new(
            call.clone(),
            gas,
            fees.max_fee_per_gas,
            fees.max_priority_fee_per_gas,
        ))
    }

    /// What the account has to pay fees with, in wei; more than 128 bits hold counts as that much.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn balance(&self) -> Result<u128, ChainFault> {
        let balance = self.rpc.provider().get_balance(self.address()).await;
        let balance = balance.map_err(ChainFault::rpc("reading the account's balance"))?;
        Ok(balance.saturating_to())
    }

    /// The lowest nonce that is free, on loan.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn next_nonce(&self) -> Result<Nonce, ChainFault> {
        let count = self
            .rpc
            .provider()
            .get_transaction_count(self.address())
            .pending()
            .await;
        let count = count.map_err(ChainFault::rpc("reading the account's nonce"))?;
        Ok(self.nonces.take(count))
    }

    /// The lowest nonce that was given back after a higher one had been taken, if nobody has asked for one since.
    ///
    /// What uses the higher one waits for it: fill it, with [`Call::nothing`] if there is nothing better.
    pub fn hole(&self) -> Option<Nonce> {
        self.nonces.take_hole()
    }

    /// Remembers a nonce that an envelope of an earlier run holds: it may not have reached the chain.
    pub fn resume_after(&self, nonce: u64) {
        self.nonces.used(nonce);
    }

    /// Signs; nothing is sent.
    ///
    /// # Errors
    /// [`SendFault::Signer`].
    pub async fn prepare(&self, quote: &Quote, nonce: &Nonce) -> Result<Envelope, SendFault> {
        envelope::seal(
            self.signer.as_ref(),
            quote.transaction(self.chain_id, nonce.number()),
        )
        .await
    }

    /// The same call with the same nonce for at least 12.5 % more, which is what nodes demand of a replacement.
    ///
    /// # Errors
    /// [`SendFault::FeeCeiling`] when it already pays [`FEE_FACTOR_MAX`] times the fee of the moment, so that its fee
    /// is not what holds it up; [`SendFault::Chain`], [`SendFault::Envelope`] or [`SendFault::Signer`].
    pub async fn bump(&self, envelope: &Envelope) -> Result<Envelope, SendFault> {
        self.dearer(envelope.transaction()?, envelope.hash).await
    }

    /// A call of nothing with the same nonce, for more as [`bump`](Self::bump) does: what cannot have its effect any more
    /// makes room for what waits behind it. The node says how much gas that takes: on some chains it pays for another too.
    ///
    /// # Errors
    /// As [`bump`](Self::bump).
    pub async fn make_room(&self, envelope: &Envelope) -> Result<Envelope, SendFault> {
        let nothing = self.quote(&Call::nothing(self.address())).await?;
        let mut transaction = envelope.transaction()?;
        transaction.to = self.address().into();
        transaction.input = Bytes::new();
        transaction.gas_limit = nothing.gas_limit;
        self.dearer(transaction, envelope.hash).await
    }

    async fn dearer(&self, mut transaction: TxEip1559, hash: B256) -> Result<Envelope, SendFault> {
        let now = self.rpc.provider().estimate_eip1559_fees().await;
        let now = now.map_err(ChainFault::rpc("reading the fees of the moment"))?;
        let raised = envelope::raised(transaction.max_fee_per_gas).max(now.max_fee_per_gas);
        if raised > now.max_fee_per_gas.saturating_mul(FEE_FACTOR_MAX) {
            return Err(SendFault::FeeCeiling(hash));
        }
        transaction.max_fee_per_gas = raised;
        transaction.max_priority_fee_per_gas = envelope::raised(transaction.max_priority_fee_per_gas)
            .max(now.max_priority_fee_per_gas)
            .min(transaction.max_fee_per_gas);
        envelope::seal(self.signer.as_ref(), transaction).await
    }

    /// Quotes, signs, sends and waits: for callers that keep no books. `deadline` bounds the waiting alone.
    ///
    /// Who keeps books sends a dropped envelope again; here nobody holds it. After a reorg that dropped one, or after
    /// [`SendFault::Unknown`], look it up, and begin with a new sender if no node knows it any more.
    ///
    /// # Errors
    /// [`SendFault::Reverted`] when it was mined in vain, [`SendFault::Unknown`] when nothing was heard in time.
    pub async fn land(&self, call: &Call, deadline: Instant) -> Result<Landed, SendFault> {
        let quote = self.quote(call).await?;
        let nonce = self.next_nonce().await?;
        let envelope = self.prepare(&quote, &nonce).await?;
        nonce.keep();
        match self.broadcast(&envelope).await? {
            Broadcast::NonceTaken => return Err(SendFault::NonceTaken(envelope.hash)),
            Broadcast::Accepted | Broadcast::AlreadyKnown | Broadcast::Landed(_) | Broadcast::Underpriced => {
            }
        }
        match self.wait(envelope.hash, deadline).await {
            Outcome::Landed(landed) if landed.success => Ok(landed),
            Outcome::Landed(_) => Err(SendFault::Reverted(envelope.hash)),
            Outcome::Pending | Outcome::NotSeen => Err(SendFault::Unknown(envelope.hash)),
        }
    }
}
