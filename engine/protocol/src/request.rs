//! What a session challenge asks for: the price of one unit, and the channel that may pay it
//! (draft-evm-session-00 and draft-tempo-session-00, Request Schema).

use crate::hex;
use crate::json::{self, JsonError};
use crate::limits::{CHALLENGE_BYTES_MAX, JSON_INTEGER_MAX};
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::{Amount, ChannelId};

/// How addresses are written into a request. They are read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressSpelling {
    /// EIP-55, as the EVM draft recommends.
    Checksummed,
    /// Lowercase, as the Tempo draft demands.
    Lowercase,
}

/// The decoded `request` parameter of a session challenge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRequest {
    /// Price of one unit, in base units of the token.
    pub amount: Amount,
    /// The token.
    #[serde(deserialize_with = "hex::de_address")]
    pub currency: Address,
    /// The payee.
    #[serde(deserialize_with = "hex::de_address")]
    pub recipient: Address,
    /// What one unit is: `request`, `llm_token`, `byte`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_type: Option<String>,
    /// The deposit that the server suggests, in base units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggested_deposit: Option<Amount>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The merchant's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Where and how the channel lives.
    pub method_details: MethodDetails,
}

/// The `methodDetails` of a session request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodDetails {
    /// The escrow contract.
    #[serde(deserialize_with = "hex::de_address")]
    pub escrow_contract: Address,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Tempo: `v1` for a contract, `v2` for the channel reserve. Absent means `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_protocol: Option<String>,
    /// True when the server pays the fees of open and topUp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_payer: Option<bool>,
    /// Least amount, in base units, by which a voucher must raise the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_voucher_delta: Option<Amount>,
    /// A channel that may be resumed.
    #[serde(
        default,
        deserialize_with = "hex::de_channel_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub channel_id: Option<ChannelId>,
    /// EVM: accepted values of `payload.type`, preferred first. Absent means `["hash"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_types: Option<Vec<String>>,
    /// EVM: the Permit2 contract, when it is not the canonical one.
    #[serde(
        default,
        deserialize_with = "hex::de_address_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub permit2_contract: Option<Address>,
    /// Tempo v2: the operator that clients put into the channel's descriptor.
    #[serde(
        default,
        deserialize_with = "hex::de_address_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub operator: Option<Address>,
    /// Tempo: the token in which a client pays fees.
    #[serde(
        default,
        deserialize_with = "hex::de_address_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub fee_token: Option<Address>,
    /// Tempo v2: what the server knows of a reusable channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_snapshot: Option<Value>,
}

impl MethodDetails {
    /// An escrow on a chain, and nothing that is optional.
    pub const fn new(escrow_contract: Address, chain_id: u64) -> Self {
        Self {
            escrow_contract,
            chain_id,
            session_protocol: None,
            fee_payer: None,
            min_voucher_delta: None,
            channel_id: None,
            credential_types: None,
            permit2_contract: None,
            operator: None,
            fee_token: None,
            session_snapshot: None,
        }
    }
}

/// Why a request cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not bounded JSON in base64url.
    #[error("the request is not JSON in base64url: {0}")]
    Json(#[from] JsonError),
    /// A required field is missing, or a field has the wrong type or spelling.
    #[error("a field of the request is missing or malformed")]
    Field,
    /// No chain id, where the method has no default.
    #[error("the request names no chain")]
    NoChain,
    /// A chain id that not every client's JSON number can carry.
    #[error("the chain id does not fit a JSON number")]
    ChainId,
}

impl SessionRequest {
    /// Writes the `request` parameter: canonical JSON in base64url. Unset fields are left out.
    ///
    /// # Errors
    /// [`RequestError::ChainId`] above 2^53 − 1; [`RequestError::Json`] when a snapshot cannot be written.
    pub fn encode(&self, spelling: AddressSpelling) -> Result<String, RequestError> {
        if self.method_details.chain_id > JSON_INTEGER_MAX {
            return Err(RequestError::ChainId);
        }
        let mut value = serde_json::to_value(self).map_err(|_| RequestError::Field)?;
        if spelling == AddressSpelling::Checksummed {
            let details = &self.method_details;
            respell(&mut value, "/currency", Some(self.currency));
            respell(&mut value, "/recipient", Some(self.recipient));
            respell(
                &mut value,
                "/methodDetails/escrowContract",
                Some(details.escrow_contract),
            );
            respell(
                &mut value,
                "/methodDetails/permit2Contract",
                details.permit2_contract,
            );
            respell(&mut value, "/methodDetails/operator", details.operator);
            respell(&mut value, "/methodDetails/feeToken", details.fee_token);
        }
        Ok(json::canonical_b64(&value)?)
    }

    /// Reads the `request` parameter; unknown fields are ignored.
    ///
    /// `default_chain_id` stands in for an absent `chainId`, where the method has one (Tempo: 4217).
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(request: &str, default_chain_id: Option<u64>) -> Result<Self, RequestError> {
        let mut object = json::parse_object_b64(request.as_bytes(), CHALLENGE_BYTES_MAX)?;
        let details = object
            .get_mut("methodDetails")
            .and_then(Value::as_object_mut)
            .ok_or(RequestError::Field)?;
        if !details.contains_key("chainId") {
            let default = default_chain_id.ok_or(RequestError::NoChain)?;
            details.insert("chainId".to_owned(), Value::from(default));
        }
        let read: Self = serde_json::from_value(Value::Object(object)).map_err(|_| RequestError::Field)?;
        if read.method_details.chain_id > JSON_INTEGER_MAX {
            return Err(RequestError::ChainId);
        }
        Ok(read)
    }

    /// The least raise of a voucher, in base units; zero when the request names none.
    pub fn min_voucher_delta(&self) -> Amount {
        self.method_details.min_voucher_delta.unwrap_or(Amount::ZERO)
    }

    /// True when `payload.type` may have this value (draft-evm-session-00, Method Details).
    pub fn accepts_type(&self, kind: &str) -> bool {
        match &self.method_details.credential_types {
            None => kind == "hash",
            Some(kinds) => kinds.iter().any(|known| known == kind),
        }
    }
}

pub(crate) fn respell(value: &mut Value, pointer: &str, address: Option<Address>) {
    if let (Some(place), Some(address)) = (value.pointer_mut(pointer), address) {
        *place = Value::String(address.to_checksum(None));
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
pub(crate) mod tests;
