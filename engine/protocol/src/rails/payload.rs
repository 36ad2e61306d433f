//! Reads the fields of a payload, each with a name in its refusal.

use super::{RawTransaction, SignatureForms};
use crate::hex;
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::problem::{Problem, ProblemType};
use alloy_primitives::{Address, B256, U256};
use serde_json::{Map, Value};
use weir_core::signature::{SIGNATURE_BYTES, SignatureError};
use weir_core::voucher::Claimed;
use weir_core::{Amount, ChannelId, Cumulative, Signature, Voucher};

/// Why a decoded payload is not a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A required field is not there.
    #[error("the payload has no {0}")]
    Missing(&'static str),
    /// A field has another type, length, range or spelling.
    #[error("the payload's {0} is malformed")]
    Malformed(&'static str),
    /// An amount is higher than the channel reserve can count.
    #[error("the payload's {0} does not fit 96 bits, in which the channel reserve counts")]
    Above96Bits(&'static str),
    /// The channel's id is not that of the descriptor, on this chain and in this escrow.
    #[error(
        "the payload's channelId does not follow from its descriptor and the challenge's escrow and chain"
    )]
    Descriptor,
    /// Two fields, or a field and the challenge, contradict each other.
    #[error("the payload's {0} is not what the channel's terms and the challenge give; sign it for those")]
    Disagrees(&'static str),
    /// A field says something else than the challenge asks for.
    #[error("the payload's {0} is not what the challenge asks for; sign what it says, to the unit")]
    NotAsked(&'static str),
    /// What is signed names no challenge, or another.
    #[error(
        "the payload's challenge hash is not of this challenge; sign keccak256 of its id followed by its realm"
    )]
    OfAnotherChallenge,
    /// `action` is none of the four.
    #[error("the payload's action is unknown")]
    UnknownAction,
    /// `type` is not one that the challenge accepts, or asks for something that is not built.
    #[error("the payload's {0} is not accepted here")]
    NotAccepted(&'static str),
    /// The credential has no `source`, or one of another kind or chain, and this action needs it.
    #[error("the credential's source must be an account on the challenge's chain")]
    Source,
    /// 65 bytes that cannot be a signature: v, s or r is out of range.
    #[error("the payload's signature is invalid: {0}")]
    Signature(SignatureError),
}

/// A payload that is decoded and wrong is 400 for a session; a signature that is none is 402
/// (draft-evm-session-00 and draft-tempo-session-00, Error Responses).
impl From<&PayloadError> for Problem {
    fn from(error: &PayloadError) -> Self {
        match error {
            PayloadError::Disagrees(_) | PayloadError::NotAsked(_) | PayloadError::OfAnotherChallenge => {
                Self::new(ProblemType::VerificationFailed, error.to_string())
            }
            PayloadError::Signature(_) => Self::new(ProblemType::InvalidSignature, error.to_string()),
            _ => Self::new(ProblemType::MalformedCredential, error.to_string()).with_status(400),
        }
    }
}

/// A payload's fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// A string, if the field is there; `null` counts as absent.
    pub(crate) fn optional(self, name: &'static str) -> Result<Option<&'a str>, PayloadError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(PayloadError::Malformed(name)),
        }
    }

    /// A string.
    pub(crate) fn text(self, name: &'static str) -> Result<&'a str, PayloadError> {
        self.optional(name)?.ok_or(PayloadError::Missing(name))
    }

    pub(crate) fn has(self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn channel(self) -> Result<ChannelId, PayloadError> {
        let name = "channelId";
        self.text(name)?
            .parse()
            .map_err(|_| PayloadError::Malformed(name))
    }

    pub(crate) fn amount(self, name: &'static str) -> Result<Amount, PayloadError> {
        self.text(name)?
            .parse()
            .map_err(|_| PayloadError::Malformed(name))
    }

    pub(crate) fn word(self, name: &'static str) -> Result<B256, PayloadError> {
        hex::word(self.text(name)?).map_err(|_| PayloadError::Malformed(name))
    }

    /// A whole number of up to 256 bits, in decimal digits without a leading zero.
    pub(crate) fn number(self, name: &'static str) -> Result<U256, PayloadError> {
        let text = self.text(name)?;
        let one_spelling =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let read = U256::from_str_radix(text, 10).ok();
        read.filter(|_| one_spelling && !text.is_empty())
            .ok_or(PayloadError::Malformed(name))
    }

    pub(crate) fn required_address(self, name: &'static str) -> Result<Address, PayloadError> {
        self.address(name)?.ok_or(PayloadError::Missing(name))
    }

    pub(crate) fn address(self, name: &'static str) -> Result<Option<Address>, PayloadError> {
        let read = self.optional(name)?.map(hex::address).transpose();
        read.map_err(|_| PayloadError::Malformed(name))
    }

    /// The fields of an object.
    pub(crate) fn object(self, name: &'static str) -> Result<Self, PayloadError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Err(PayloadError::Missing(name)),
            Some(Value::Object(fields)) => Ok(Fields(fields)),
            Some(_) => Err(PayloadError::Malformed(name)),
        }
    }

    /// The fields of the one object in an array.
    pub(crate) fn sole(self, name: &'static str) -> Result<Self, PayloadError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Err(PayloadError::Missing(name)),
            Some(Value::Array(items)) => match items.as_slice() {
                [Value::Object(fields)] => Ok(Fields(fields)),
                _ => Err(PayloadError::Malformed(name)),
            },
            Some(_) => Err(PayloadError::Malformed(name)),
        }
    }

    pub(crate) fn transaction(self, name: &'static str) -> Result<RawTransaction, PayloadError> {
        let bytes = hex::bytes(self.text(name)?, TRANSACTION_BYTES_MAX);
        let bytes = bytes.map_err(|_| PayloadError::Malformed(name))?;
        if bytes.is_empty() {
            Err(PayloadError::Malformed(name))
        } else {
            Ok(RawTransaction(bytes))
        }
    }

    /// `channelId`, `cumulativeAmount` and `signature`, as every action but topUp carries them.
    pub(crate) fn voucher(self, forms: SignatureForms) -> Result<Voucher<Claimed>, PayloadError> {
        self.voucher_signed_in("signature", forms)
    }

    /// The same with the signature in a field of this name.
    pub(crate) fn voucher_signed_in(
        self,
        signature: &'static str,
        forms: SignatureForms,
    ) -> Result<Voucher<Claimed>, PayloadError> {
        let channel = self.channel()?;
        let name = "cumulativeAmount";
        let cumulative: Cumulative = self
            .text(name)?
            .parse()
            .map_err(|_| PayloadError::Malformed(name))?;
        Ok(Voucher::claimed(
            channel,
            cumulative,
            self.signature(signature, forms)?,
        ))
    }

    pub(crate) fn signature(
        self,
        name: &'static str,
        forms: SignatureForms,
    ) -> Result<Signature, PayloadError> {
        let bytes =
            hex::bytes(self.text(name)?, SIGNATURE_BYTES).map_err(|_| PayloadError::Malformed(name))?;
        let signature = match forms {
            SignatureForms::Full => Signature::from_bytes(&bytes),
            SignatureForms::FullOrCompact => Signature::from_bytes_or_compact(&bytes),
        };
        signature.map_err(|error| match error {
            SignatureError::Length => PayloadError::Malformed(name),
            _ => PayloadError::Signature(error),
        })
    }
}
