//! A signed transaction as it is written down, and the price it was made for.

use super::fault::SendFault;
use crate::calls::Call;
use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::network::TxSigner;
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use serde::{Deserialize, Serialize};

/// What is added to the node's gas estimate, in percent: state may change between the estimate and the inclusion.
const GAS_MARGIN_PERCENT: u64 = 25;

/// A priced call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The call.
    pub call: Call,
    /// Gas, margin included.
    pub gas_limit: u64,
    /// The most that a unit of gas may cost, in wei.
    pub max_fee_per_gas: u128,
    /// Of which the block's maker gets, in wei.
    pub max_priority_fee_per_gas: u128,
}

impl Quote {
    pub(super) fn new(call: Call, gas: u64, fee: u128, tip: u128) -> Self {
        Self {
            call,
            gas_limit: gas.saturating_add(gas.saturating_mul(GAS_MARGIN_PERCENT) / 100),
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: tip,
        }
    }

    /// The most that it can cost, in wei.
    pub const fn cost_max(&self) -> u128 {
        self.max_fee_per_gas.saturating_mul(self.gas_limit as u128)
    }

    pub(super) fn transaction(&self, chain_id: u64, nonce: u64) -> TxEip1559 {
        TxEip1559 {
            chain_id,
            nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            to: self.call.to.map_or(TxKind::Create, TxKind::Call),
            value: U256::ZERO,
            access_list: Default::default(),
            input: self.call.input.clone(),
        }
    }
}

/// A signed transaction: what must be durable before it is sent (TX-2). It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The account's nonce.
    pub nonce: u64,
    /// The transaction's hash: how it is looked up.
    pub hash: B256,
    /// The bytes that are broadcast.
    pub raw: Bytes,
    /// Gas, margin included.
    pub gas_limit: u64,
    /// The most that a unit of gas may cost, in wei.
    pub max_fee_per_gas: u128,
    /// The contract called; `None` creates one.
    pub to: Option<Address>,
}

impl Envelope {
    /// The unsigned transaction inside.
    pub(super) fn transaction(&self) -> Result<TxEip1559, SendFault> {
        let envelope = TxEnvelope::decode_2718(&mut self.raw.as_ref())
            .map_err(|error| SendFault::Envelope(error.to_string()))?;
        match envelope {
            TxEnvelope::Eip1559(signed) => Ok(signed.strip_signature()),
            other => Err(SendFault::Envelope(format!("type {}", other.tx_type()))),
        }
    }
}

/// Signs.
pub(super) async fn seal(
    signer: &(dyn TxSigner<Signature> + Send + Sync),
    mut transaction: TxEip1559,
) -> Result<Envelope, SendFault> {
    let signature = signer.sign_transaction(&mut transaction).await;
    let signature = signature.map_err(|error| SendFault::Signer(error.to_string()))?;
    let (nonce, gas_limit) = (transaction.nonce, transaction.gas_limit);
    let (max_fee_per_gas, to) = (transaction.max_fee_per_gas, transaction.to.to().copied());
    let signed = transaction.into_signed(signature);
    let hash = *signed.hash();
    Ok(Envelope {
        nonce,
        hash,
        raw: TxEnvelope::Eip1559(signed).encoded_2718().into(),
        gas_limit,
        max_fee_per_gas,
        to,
    })
}

/// 12.5 % more, rounded up, and never the same.
pub(super) const fn raised(fee: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(8)).saturating_add(1)
}
