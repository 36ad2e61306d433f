//! Deposits that a payer signs for and somebody else pulls: EIP-3009 and Permit2 (draft-evm-session-00, Fee Payment).
//!
//! Both sides compute the same digest: the payer signs it, and the seller recovers the payer from it before a unit of
//! gas is spent.

use crate::amount::Amount;
use crate::ids::ChannelId;
use crate::terms::Terms;
use alloy_primitives::{Address, B256, U256, keccak256};
use serde::{Deserialize, Serialize};

/// What an EIP-3009 token has signed when the recipient itself pulls.
const RECEIVE_TYPE: &str = "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
pub(crate) const PERMISSIONS_TYPE: &str = "TokenPermissions(address token,uint256 amount)";
const OPEN_WITNESS_TYPE: &str = "ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)";
const OPEN_PERMIT_TYPE: &str = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,ChannelOpenWitness witness)ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)TokenPermissions(address token,uint256 amount)";
const TOP_UP_WITNESS_TYPE: &str = "ChannelTopUpWitness(bytes32 channelId)";
const TOP_UP_PERMIT_TYPE: &str = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,ChannelTopUpWitness witness)ChannelTopUpWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)";
const PERMIT2_DOMAIN_TYPE: &str = "EIP712Domain(string name,uint256 chainId,address verifyingContract)";

/// What a deposit is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A new channel of these terms, whose payer is who signed.
    Open {
        /// The parties and the token.
        terms: Terms,
        /// The salt in the channel's id.
        salt: B256,
    },
    /// More in a channel that exists.
    TopUp {
        /// The channel.
        channel: ChannelId,
        /// Its token.
        token: Address,
        /// Tells this top-up from others of the same amount; unused with Permit2.
        salt: B256,
    },
}

/// What a payer's signature covers beside parties and amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leave {
    /// The token itself checks it.
    Eip3009 {
        /// It does not count until after this moment, in Unix seconds.
        valid_after: U256,
        /// It counts before this moment, in Unix seconds.
        valid_before: U256,
    },
    /// Permit2 checks it, which the payer has approved.
    Permit2 {
        /// Any number that the payer has not used there.
        nonce: U256,
        /// It counts until this moment, in Unix seconds.
        deadline: U256,
    },
}

impl Leave {
    /// The first moment at which it does not count any more, in Unix seconds.
    pub fn ends(&self) -> u64 {
        match self {
            Self::Eip3009 { valid_before, .. } => valid_before.saturating_to(),
            Self::Permit2 { deadline, .. } => deadline.saturating_to::<u64>().saturating_add(1),
        }
    }

    /// The last moment at which it does not count yet; zero with Permit2.
    pub fn starts_after(&self) -> u64 {
        match self {
            Self::Eip3009 { valid_after, .. } => valid_after.saturating_to(),
            Self::Permit2 { .. } => 0,
        }
    }
}

/// A deposit that a payer signs for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Whose money it is.
    pub from: Address,
    /// How much, in base units.
    pub amount: Amount,
    /// What for.
    pub purpose: Purpose,
    /// Until when, and by which nonce.
    pub leave: Leave,
}

impl Pull {
    /// The token.
    pub const fn token(&self) -> Address {
        match &self.purpose {
            Purpose::Open { terms, .. } => terms.token,
            Purpose::TopUp { token, .. } => *token,
        }
    }

    /// The one nonce under which the escrow takes an EIP-3009 signature for this purpose: it binds what that standard
    /// has no field for (draft-evm-session-00, Front-Running Protection).
    pub fn bound_nonce(&self) -> B256 {
        match &self.purpose {
            Purpose::Open { terms, salt } => keccak256(words([
                self.from.into_word(),
                terms.payee.into_word(),
                terms.token.into_word(),
                *salt,
                terms.authorized_signer.into_word(),
            ])),
            Purpose::TopUp { channel, salt, .. } => keccak256(words([
                channel.0,
                word(self.amount),
                self.from.into_word(),
                *salt,
            ])),
        }
    }

    /// What the payer signs. `separator` is the token's for EIP-3009, and [`permit2_separator`] for Permit2.
    pub fn digest(&self, separator: B256, escrow: Address) -> B256 {
        let structure = match self.leave {
            Leave::Eip3009 {
                valid_after,
                valid_before,
            } => keccak256(words([
                keccak256(RECEIVE_TYPE),
                self.from.into_word(),
                escrow.into_word(),
                word(self.amount),
                valid_after.into(),
                valid_before.into(),
                self.bound_nonce(),
            ])),
            Leave::Permit2 { nonce, deadline } => {
                let permitted = [
                    keccak256(PERMISSIONS_TYPE),
                    self.token().into_word(),
                    word(self.amount),
                ];
                let (permit_type, witness) = self.witness();
                keccak256(words([
                    keccak256(permit_type),
                    keccak256(words(permitted)),
                    escrow.into_word(),
                    nonce.into(),
                    deadline.into(),
                    witness,
                ]))
            }
        };
        signing_hash(separator, structure)
    }

    /// The type of a permit for this purpose, and the hash of its witness.
    fn witness(&self) -> (&'static str, B256) {
        match &self.purpose {
            Purpose::Open { terms, salt } => {
                let witness = [
                    keccak256(OPEN_WITNESS_TYPE),
                    terms.payee.into_word(),
                    *salt,
                    terms.authorized_signer.into_word(),
                ];
                (OPEN_PERMIT_TYPE, keccak256(words(witness)))
            }
            Purpose::TopUp { channel, .. } => {
                let witness = [keccak256(TOP_UP_WITNESS_TYPE), channel.0];
                (TOP_UP_PERMIT_TYPE, keccak256(words(witness)))
            }
        }
    }
}

/// The domain separator of the Permit2 at this address.
pub fn permit2_separator(chain_id: u64, permit2: Address) -> B256 {
    keccak256(words([
        keccak256(PERMIT2_DOMAIN_TYPE),
        keccak256("Permit2"),
        U256::from(chain_id).into(),
        permit2.into_word(),
    ]))
}

/// EIP-712: what is signed of a structure in a domain.
pub(crate) fn signing_hash(separator: B256, structure: B256) -> B256 {
    let mut message = [0u8; 66];
    message[..2].copy_from_slice(b"\x19\x01");
    message[2..34].copy_from_slice(separator.as_slice());
    message[34..].copy_from_slice(structure.as_slice());
    keccak256(message)
}

pub(crate) fn word(amount: Amount) -> B256 {
    U256::from(amount.base_units()).into()
}

/// `abi.encode` of static values.
pub(crate) fn words<const N: usize>(words: [B256; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.0).collect()
}
