//! Transactions of Tempo as a payer of ours signs them: calls that take effect together or not at all, under a nonce that
//! expires, so that what did not land in time never does.

use super::TEMPO_TRANSACTION_TYPE;
use crate::calls::Call;
use crate::fault::ChainFault;
use crate::rpc::Rpc;
use crate::sender::SendFault;
use alloy::primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy::providers::Provider;
use alloy_rlp::{Encodable, Header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_core::UnixSeconds;

/// How long a transaction may wait for its block, in seconds. Chains take at most 30.
pub const TEMPO_VALID_SECONDS: u64 = 25;
/// What is added to the node's reckoning of gas, in percent.
const GAS_MARGIN_PERCENT: u64 = 25;

/// A transaction that is to be signed. Its sender pays its fees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TempoTransaction {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Of the fee for a unit of gas the block's maker gets so much, in attodollars.
    pub max_priority_fee_per_gas: u128,
    /// The most that a unit of gas may cost, in attodollars.
    pub max_fee_per_gas: u128,
    /// Gas.
    pub gas_limit: u64,
    /// Its calls.
    pub calls: Vec<Call>,
    /// It lands before this moment or not at all.
    pub valid_before: UnixSeconds,
    /// The token that fees are paid in.
    pub fee_token: Address,
}

/// A signed transaction: what must be durable before it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedTempo {
    /// The transaction's hash: how it is looked up.
    pub hash: B256,
    /// The bytes that are handed over.
    pub raw: Bytes,
    /// It lands before this moment or not at all.
    pub valid_before: UnixSeconds,
}

impl TempoTransaction {
    /// What its sender signs.
    pub fn signing_hash(&self) -> B256 {
        keccak256(typed(&self.fields()))
    }

    /// What tells it from every other transaction of this sender: channels of the reserve are named after it (TIP-1034).
    pub fn expiring_nonce_hash(&self, sender: Address) -> B256 {
        keccak256([typed(&self.fields()).as_slice(), sender.as_slice()].concat())
    }

    /// The transaction with its sender's signature: r, s, and v as 27 or 28.
    pub fn signed(&self, signature: &[u8; 65]) -> SignedTempo {
        let mut fields = self.fields();
        signature.as_slice().encode(&mut fields);
        let raw = typed(&fields);
        SignedTempo {
            hash: keccak256(&raw),
            raw: raw.into(),
            valid_before: self.valid_before,
        }
    }

    /// The most that it can cost, in attodollars.
    pub const fn cost_max(&self) -> u128 {
        self.max_fee_per_gas.saturating_mul(self.gas_limit as u128)
    }

    /// All fields before the signature.
    fn fields(&self) -> Vec<u8> {
        let mut calls = Vec::new();
        for call in &self.calls {
            let mut fields = Vec::new();
            let to = call.to.as_ref().map_or(&[][..], |to| to.as_slice());
            to.encode(&mut fields);
            U256::ZERO.encode(&mut fields);
            call.input.encode(&mut fields);
            list(&mut calls, &fields);
        }
        let mut out = Vec::new();
        self.chain_id.encode(&mut out);
        self.max_priority_fee_per_gas.encode(&mut out);
        self.max_fee_per_gas.encode(&mut out);
        self.gas_limit.encode(&mut out);
        list(&mut out, &calls);
        // No access list.
        list(&mut out, &[]);
        // The row of nonces that expire, and the only number in it.
        U256::MAX.encode(&mut out);
        0_u64.encode(&mut out);
        self.valid_before.0.encode(&mut out);
        // Valid from now on.
        0_u64.encode(&mut out);
        self.fee_token.as_slice().encode(&mut out);
        // No fee payer, and no authorisations.
        [].as_slice().encode(&mut out);
        list(&mut out, &[]);
        out
    }
}

impl Rpc {
    /// The same transaction with its gas and the fees of the moment. Nodes that reckon too low are told by
    /// `gas_least`: what is not used is not paid.
    ///
    /// # Errors
    /// [`SendFault::WouldRevert`] with the decoded reason, [`SendFault::Refused`] or [`SendFault::Chain`].
    pub async fn priced(
        &self,
        transaction: TempoTransaction,
        sender: Address,
        gas_least: u64,
    ) -> Result<TempoTransaction, SendFault> {
        let call = |call: &Call| json!({"to": call.to, "value": "0x0", "data": call.input});
        let request = json!({
            "type": U64::from(TEMPO_TRANSACTION_TYPE),
            "chainId": U64::from(transaction.chain_id),
            "from": sender,
            "calls": transaction.calls.iter().map(call).collect::<Vec<_>>(),
            "nonceKey": U256::MAX,
            "nonce": "0x0",
            "validBefore": U64::from(transaction.valid_before.0),
            "feeToken": transaction.fee_token,
        });
        let gas = self
            .provider()
            .raw_request::<_, U64>("eth_estimateGas".into(), [request])
            .await
            .map_err(|error| SendFault::of_execution("estimating gas", error))?
            .to::<u64>();
        let fees = self.provider().estimate_eip1559_fees().await;
        let fees = fees.map_err(ChainFault::rpc("reading the fees of the moment"))?;
        let gas_limit = gas.saturating_add(gas.saturating_mul(GAS_MARGIN_PERCENT) / 100);
        Ok(TempoTransaction {
            gas_limit: gas_limit.max(gas_least),
            max_fee_per_gas: fees.max_fee_per_gas,
            max_priority_fee_per_gas: fees.max_priority_fee_per_gas,
            ..transaction
        })
    }
}

fn typed(fields: &[u8]) -> Vec<u8> {
    let mut out = vec![TEMPO_TRANSACTION_TYPE];
    list(&mut out, fields);
    out
}

fn list(out: &mut Vec<u8>, payload: &[u8]) {
    let payload_length = payload.len();
    Header {
        list: true,
        payload_length,
    }
    .encode(out);
    out.extend_from_slice(payload);
}
