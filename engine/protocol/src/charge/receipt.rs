//! The receipt of a charge (draft-tempo-charge-00 and draft-evm-charge-00, Receipt Generation).

use super::ChargeRules;
use crate::json::{self, JsonError};
use crate::limits::RECEIPT_BYTES_MAX;
use crate::receipt::ReceiptError;
use crate::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::UnixSeconds;

const STATUS: &str = "success";

/// What was paid with, as the payer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeReceipt {
    /// The payment method.
    pub method: String,
    /// The transaction's hash; the challenge's id where nothing was to be paid.
    pub reference: String,
    /// When the answer was given.
    pub timestamp: UnixSeconds,
    /// The challenge that was answered: `evm` tells it.
    pub challenge_id: Option<String>,
    /// EIP-155 chain id: `evm` tells it.
    pub chain_id: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    method: String,
    reference: String,
    status: String,
    timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    challenge_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chain_id: Option<u64>,
}

impl ChargeReceipt {
    /// The receipt of one payment, with the fields that its method tells.
    pub fn new(
        rules: &ChargeRules,
        reference: String,
        challenge: (&str, u64),
        timestamp: UnixSeconds,
    ) -> Self {
        Self {
            method: rules.method.to_owned(),
            reference,
            timestamp,
            challenge_id: rules.is_explicit.then(|| challenge.0.to_owned()),
            chain_id: rules.is_explicit.then_some(challenge.1),
        }
    }

    /// Writes the value of the `Payment-Receipt` header.
    ///
    /// # Errors
    /// [`ReceiptError::Unspellable`] past the year 9999.
    pub fn to_header(&self) -> Result<String, ReceiptError> {
        json::canonical_b64(&self.wire()?).map_err(|error: JsonError| error.into())
    }

    /// Writes the receipt as canonical JSON.
    ///
    /// # Errors
    /// As [`ChargeReceipt::to_header`].
    pub fn to_json(&self) -> Result<String, ReceiptError> {
        json::canonical(&self.wire()?).map_err(|error: JsonError| error.into())
    }

    fn wire(&self) -> Result<Wire, ReceiptError> {
        Ok(Wire {
            method: self.method.clone(),
            reference: self.reference.clone(),
            status: STATUS.to_owned(),
            timestamp: timestamp::write(self.timestamp).map_err(|_| ReceiptError::Unspellable)?,
            challenge_id: self.challenge_id.clone(),
            chain_id: self.chain_id,
        })
    }

    /// Reads the value of a `Payment-Receipt` header; unknown fields are ignored.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn from_header(value: &[u8]) -> Result<Self, ReceiptError> {
        let object = json::parse_object_b64(value, RECEIPT_BYTES_MAX)?;
        let wire: Wire = serde_json::from_value(Value::Object(object)).map_err(|_| ReceiptError::Field)?;
        if wire.status != STATUS {
            return Err(ReceiptError::Field);
        }
        Ok(Self {
            method: wire.method,
            reference: wire.reference,
            timestamp: timestamp::read(&wire.timestamp).map_err(|_| ReceiptError::Field)?,
            challenge_id: wire.challenge_id,
            chain_id: wire.chain_id,
        })
    }
}
