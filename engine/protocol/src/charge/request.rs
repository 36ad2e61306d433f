//! What a charge challenge asks for (draft-payment-intent-charge-00, Request Schema; the methods' own `methodDetails`).

use crate::hex;
use crate::json;
use crate::limits::{CHALLENGE_BYTES_MAX, JSON_INTEGER_MAX};
use crate::request::{AddressSpelling, RequestError, respell};
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::Amount;

/// The decoded `request` parameter of a charge challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChargeRequest {
    /// What is to be paid, in base units of the token; zero asks for a proof alone.
    pub amount: Amount,
    /// The token.
    #[serde(deserialize_with = "hex::de_address")]
    pub currency: Address,
    /// Who is paid.
    #[serde(deserialize_with = "hex::de_address")]
    pub recipient: Address,
    /// Where and how.
    pub method_details: ChargeDetails,
}

/// The `methodDetails` of a charge request. What is not offered has no field: a fee payer, splits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChargeDetails {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Tempo: the memo that a transfer must carry, one for each challenge.
    #[serde(
        default,
        deserialize_with = "hex::de_word_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub memo: Option<B256>,
    /// EVM: where the chain has Permit2. The draft requires the field, whatever `credentialTypes` says.
    #[serde(
        default,
        deserialize_with = "hex::de_address_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub permit2_address: Option<Address>,
    /// EVM: who sends permits, which each names as its spender. The draft has no field for it; without one nobody could
    /// sign.
    #[serde(
        default,
        deserialize_with = "hex::de_address_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub permit2_spender: Option<Address>,
    /// EVM: accepted values of `payload.type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_types: Option<Vec<String>>,
}

impl ChargeRequest {
    /// Writes the `request` parameter: canonical JSON in base64url. Unset fields are left out.
    ///
    /// # Errors
    /// [`RequestError::ChainId`] above 2^53 − 1.
    pub fn encode(&self, spelling: AddressSpelling) -> Result<String, RequestError> {
        if self.method_details.chain_id > JSON_INTEGER_MAX {
            return Err(RequestError::ChainId);
        }
        let mut value = serde_json::to_value(self).map_err(|_| RequestError::Field)?;
        if spelling == AddressSpelling::Checksummed {
            respell(&mut value, "/currency", Some(self.currency));
            respell(&mut value, "/recipient", Some(self.recipient));
            respell(
                &mut value,
                "/methodDetails/permit2Address",
                self.method_details.permit2_address,
            );
            respell(
                &mut value,
                "/methodDetails/permit2Spender",
                self.method_details.permit2_spender,
            );
        }
        Ok(json::canonical_b64(&value)?)
    }

    /// Reads the `request` parameter; unknown fields are ignored.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(request: &str) -> Result<Self, RequestError> {
        let object = json::parse_object_b64(request.as_bytes(), CHALLENGE_BYTES_MAX)?;
        serde_json::from_value(Value::Object(object)).map_err(|_| RequestError::Field)
    }
}
