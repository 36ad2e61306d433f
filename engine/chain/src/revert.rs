//! Why the escrow said no, in its own errors.

use alloy::primitives::Bytes;
use alloy::sol_types::{ContractError, SolInterface};
use core::fmt;

pub use crate::bindings::IChannelEscrow::IChannelEscrowErrors as EscrowError;
pub use crate::bindings::IChannelReserve::IChannelReserveErrors as ReserveError;
pub use crate::bindings::IRelayedEscrow::IRelayedEscrowErrors as RelayedError;

/// A decoded revert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revert {
    /// One of the escrow's errors, with its values.
    Escrow(Box<EscrowError>),
    /// One of its errors about what others send and about its constructor, with its values.
    Relayed(Box<RelayedError>),
    /// One of the channel reserve's errors.
    Reserve(Box<ReserveError>),
    /// A message: `require` with a string, or what the node says of a halt (out of gas, for one).
    Message(String),
    /// An error of another contract, such as the token's: its raw data.
    Other(Bytes),
}

impl Revert {
    /// Reads revert data.
    pub fn decode(data: &[u8]) -> Self {
        if let Ok(error) = RelayedError::abi_decode(data) {
            return Self::Relayed(Box::new(error));
        }
        match ContractError::<EscrowError>::abi_decode(data) {
            Ok(ContractError::CustomError(error)) => Self::Escrow(Box::new(error)),
            Ok(ContractError::Revert(revert)) => Self::Message(revert.reason),
            Ok(ContractError::Panic(panic)) => Self::Message(panic.to_string()),
            // Where the two spell an error alike, it says the same.
            Err(_) => match ReserveError::abi_decode(data) {
                Ok(error) => Self::Reserve(Box::new(error)),
                Err(_) => Self::Other(Bytes::copy_from_slice(data)),
            },
        }
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escrow(error) => write!(f, "{error:?}"),
            Self::Relayed(error) => write!(f, "{error:?}"),
            Self::Reserve(error) => write!(f, "{error:?}"),
            Self::Message(message) => f.write_str(message),
            Self::Other(data) => write!(f, "undecoded revert {data}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::{IChannelEscrow, IChannelReserve, IRelayedEscrow};
    use alloy::primitives::Address;
    use alloy::sol_types::SolError;

    #[test]
    fn errors_of_both_interfaces_are_told_with_their_values() {
        let permit2 = Address::repeat_byte(7);
        let revert = Revert::decode(&IRelayedEscrow::InvalidPermit2 { permit2 }.abi_encode());
        let said = revert.to_string();
        assert!(matches!(revert, Revert::Relayed(_)), "{said}");
        assert!(
            said.contains("InvalidPermit2") && said.contains(&format!("{permit2:?}")),
            "{said}"
        );
        let unknown = IChannelEscrow::ChannelNotFound {
            channelId: [9; 32].into(),
        };
        let revert = Revert::decode(&unknown.abi_encode());
        assert!(matches!(revert, Revert::Escrow(_)), "{revert}");
        let revert = Revert::decode(&IChannelReserve::AmountNotIncreasing {}.abi_encode());
        assert!(matches!(revert, Revert::Reserve(_)), "{revert}");
        // An error of neither: nothing is guessed.
        let foreign = Revert::decode(&[1, 2, 3, 4]);
        assert_eq!(foreign, Revert::Other(vec![1, 2, 3, 4].into()));
    }
}
