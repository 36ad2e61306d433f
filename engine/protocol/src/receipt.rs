//! The session receipt (draft-evm-session-00 and draft-tempo-session-00, Receipt Generation).

use crate::hex;
use crate::json::{self, JsonError};
use crate::limits::{JSON_INTEGER_MAX, RECEIPT_BYTES_MAX};
use crate::timestamp;
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::{ChannelId, Cumulative, UnixSeconds};

const INTENT: &str = "session";
const STATUS: &str = "success";

/// Why a receipt cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not bounded JSON in base64url.
    #[error("the receipt is not JSON in base64url: {0}")]
    Json(#[from] JsonError),
    /// A field is missing or malformed, or a constant has another value.
    #[error("a field of the receipt is missing or malformed")]
    Field,
    /// `reference` is not the channel's id.
    #[error("the receipt refers to something else than its channel")]
    Reference,
    /// A moment or a number that the wire cannot spell.
    #[error("the receipt holds a value that the wire cannot spell")]
    Unspellable,
}

/// What was accepted and charged, as the payer is told. The wire's constants (`intent`, `status`) and its
/// `reference`, which repeats the channel id, are written and checked, not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReceipt {
    /// The payment method: `evm` or `tempo`.
    pub method: String,
    /// When the answer was given.
    pub timestamp: UnixSeconds,
    /// The challenge that the credential answered.
    pub challenge_id: String,
    /// The channel.
    pub channel: ChannelId,
    /// Highest total accepted on it.
    pub accepted: Cumulative,
    /// Total charged on it.
    pub spent: Cumulative,
    /// EIP-155 chain id: required by `evm`, unknown to `tempo`.
    pub chain_id: Option<u64>,
    /// Units consumed.
    pub units: Option<u64>,
    /// The transaction, where one settled or closed the channel.
    pub tx_hash: Option<B256>,
    /// Blocks on top of it, when known.
    pub confirmations: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    method: String,
    intent: String,
    status: String,
    timestamp: String,
    #[serde(deserialize_with = "hex::de_channel")]
    reference: ChannelId,
    challenge_id: String,
    #[serde(deserialize_with = "hex::de_channel")]
    channel_id: ChannelId,
    accepted_cumulative: Cumulative,
    spent: Cumulative,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chain_id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    units: Option<u64>,
    #[serde(
        default,
        deserialize_with = "hex::de_word_option",
        skip_serializing_if = "Option::is_none"
    )]
    tx_hash: Option<B256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirmations: Option<u64>,
}

impl SessionReceipt {
    /// Writes the receipt as canonical JSON, as it stands in an SSE event.
    ///
    /// # Errors
    /// [`ReceiptError::Unspellable`] past the year 9999 or above 2^53 − 1 in a JSON number.
    pub fn to_json(&self) -> Result<String, ReceiptError> {
        self.wire().and_then(|wire| Ok(json::canonical(&wire)?))
    }

    /// Writes the value of the `Payment-Receipt` header.
    ///
    /// # Errors
    /// As [`SessionReceipt::to_json`].
    pub fn to_header(&self) -> Result<String, ReceiptError> {
        self.wire().and_then(|wire| Ok(json::canonical_b64(&wire)?))
    }

    /// Reads the value of a `Payment-Receipt` header; unknown fields are ignored.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn from_header(value: &[u8]) -> Result<Self, ReceiptError> {
        Self::from_object(json::parse_object_b64(value, RECEIPT_BYTES_MAX)?)
    }

    /// Reads the data of a `payment-receipt` event.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn from_json(data: &[u8]) -> Result<Self, ReceiptError> {
        Self::from_object(json::parse_object(data, RECEIPT_BYTES_MAX)?)
    }

    fn wire(&self) -> Result<Wire, ReceiptError> {
        let numbers = [self.chain_id, self.units, self.confirmations];
        if numbers
            .into_iter()
            .flatten()
            .any(|number| number > JSON_INTEGER_MAX)
        {
            return Err(ReceiptError::Unspellable);
        }
        Ok(Wire {
            method: self.method.clone(),
            intent: INTENT.to_owned(),
            status: STATUS.to_owned(),
            timestamp: timestamp::write(self.timestamp).map_err(|_| ReceiptError::Unspellable)?,
            reference: self.channel,
            challenge_id: self.challenge_id.clone(),
            channel_id: self.channel,
            accepted_cumulative: self.accepted,
            spent: self.spent,
            chain_id: self.chain_id,
            units: self.units,
            tx_hash: self.tx_hash,
            confirmations: self.confirmations,
        })
    }

    fn from_object(object: serde_json::Map<String, Value>) -> Result<Self, ReceiptError> {
        let wire: Wire = serde_json::from_value(Value::Object(object)).map_err(|_| ReceiptError::Field)?;
        if wire.intent != INTENT || wire.status != STATUS {
            return Err(ReceiptError::Field);
        }
        if wire.reference != wire.channel_id {
            return Err(ReceiptError::Reference);
        }
        Ok(Self {
            method: wire.method,
            timestamp: timestamp::read(&wire.timestamp).map_err(|_| ReceiptError::Field)?,
            challenge_id: wire.challenge_id,
            channel: wire.channel_id,
            accepted: wire.accepted_cumulative,
            spent: wire.spent,
            chain_id: wire.chain_id,
            units: wire.units,
            tx_hash: wire.tx_hash,
            confirmations: wire.confirmations,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    pub(crate) fn sample() -> SessionReceipt {
        SessionReceipt {
            method: "evm".into(),
            timestamp: UnixSeconds(1_736_165_100),
            challenge_id: "x7Tg".into(),
            channel: ChannelId(B256::repeat_byte(0xab)),
            accepted: Cumulative::new(u128::MAX),
            spent: Cumulative::new(25),
            chain_id: Some(196),
            units: Some(1),
            tx_hash: None,
            confirmations: None,
        }
    }

    #[test]
    fn every_field_has_the_drafts_name_and_type() {
        let receipt = SessionReceipt {
            tx_hash: Some(B256::repeat_byte(0xcd)),
            ..sample()
        };
        let wire: Value = serde_json::from_str(&receipt.to_json().unwrap()).unwrap();
        let id = format!("0x{}", "ab".repeat(32));
        let expected = json!({
            "method": "evm", "intent": "session", "status": "success", "timestamp": "2025-01-06T12:05:00Z",
            "reference": id, "challengeId": "x7Tg", "channelId": id,
            "acceptedCumulative": "340282366920938463463374607431768211455", "spent": "25",
            "chainId": 196, "units": 1, "txHash": format!("0x{}", "cd".repeat(32))
        });
        assert_eq!(wire, expected);
        let tempo = SessionReceipt {
            method: "tempo".into(),
            chain_id: None,
            units: None,
            ..sample()
        };
        let wire: Value = serde_json::from_str(&tempo.to_json().unwrap()).unwrap();
        assert_eq!(wire.as_object().unwrap().len(), 9);
    }

    #[test]
    fn a_receipt_that_contradicts_itself_is_refused() {
        let good: Value = serde_json::from_str(&sample().to_json().unwrap()).unwrap();
        let other = json!(format!("0x{}", "cd".repeat(32)));
        for (field, value, why) in [
            ("reference", other, ReceiptError::Reference),
            ("status", json!("failed"), ReceiptError::Field),
            ("intent", json!("charge"), ReceiptError::Field),
            ("spent", json!(25), ReceiptError::Field),
            ("units", json!("1"), ReceiptError::Field),
            ("timestamp", json!("now"), ReceiptError::Field),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert_eq!(
                SessionReceipt::from_json(bad.to_string().as_bytes()),
                Err(why),
                "{field}"
            );
        }
        let far = SessionReceipt {
            units: Some(u64::MAX),
            ..sample()
        };
        assert_eq!(far.to_header(), Err(ReceiptError::Unspellable));
    }

    proptest! {
        #[test]
        fn it_goes_there_and_back(
            seconds in 0u64..253_402_300_800, spent: u128, units: Option<u32>, id: [u8; 32], challenge_id in ".{0,20}",
        ) {
            let receipt = SessionReceipt {
                timestamp: UnixSeconds(seconds),
                spent: Cumulative::new(spent),
                units: units.map(u64::from),
                channel: ChannelId(B256::new(id)),
                challenge_id,
                ..sample()
            };
            let header = receipt.to_header().unwrap();
            prop_assert_eq!(SessionReceipt::from_header(header.as_bytes()), Ok(receipt));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (SessionReceipt::from_header(&bytes), SessionReceipt::from_json(&bytes));
        }
    }
}
