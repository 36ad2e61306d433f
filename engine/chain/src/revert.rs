//! Why the escrow said no, in its own errors.

use crate::bindings::IChannelEscrow::IChannelEscrowErrors;
use alloy::primitives::Bytes;
use alloy::sol_types::{ContractError, SolInterface};
use core::fmt;

pub use crate::bindings::IChannelEscrow::IChannelEscrowErrors as EscrowError;

/// A decoded revert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revert {
    /// One of the escrow's errors, with its values.
    Escrow(Box<EscrowError>),
    /// A message: `require` with a string, or what the node says of a halt (out of gas, for one).
    Message(String),
    /// An error of another contract, such as the token's: its raw data.
    Other(Bytes),
}

impl Revert {
    /// Reads revert data.
    pub fn decode(data: &[u8]) -> Self {
        match ContractError::<IChannelEscrowErrors>::abi_decode(data) {
            Ok(ContractError::CustomError(error)) => Self::Escrow(Box::new(error)),
            Ok(ContractError::Revert(revert)) => Self::Message(revert.reason),
            Ok(ContractError::Panic(panic)) => Self::Message(panic.to_string()),
            Err(_) => Self::Other(Bytes::copy_from_slice(data)),
        }
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escrow(error) => write!(f, "{error:?}"),
            Self::Message(message) => f.write_str(message),
            Self::Other(data) => write!(f, "undecoded revert {data}"),
        }
    }
}
