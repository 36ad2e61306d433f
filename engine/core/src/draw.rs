//! Payments that a payer signs for and the seller sends: EIP-3009 and Permit2 (draft-evm-charge-00, Authorization Payload
//! and Permit2 Payload).
//!
//! Either signature names one challenge, by its hash: as EIP-3009's nonce, or in the witness of a permit.

use crate::amount::Amount;
use crate::pull::{Leave, PERMISSIONS_TYPE, signing_hash, word, words};
use alloy_primitives::{Address, B256, keccak256};

/// What an EIP-3009 token has signed when anybody may send it.
const TRANSFER_TYPE: &str = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
/// How the type of a permit with a witness begins (Permit2, PermitHash).
const PERMIT_STUB: &str =
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";
/// The witness, as EIP-712 writes a type.
const WITNESS_TYPE: &str = "PaymentWitness(bytes32 challengeHash,string externalId)";
/// The witness, as the draft writes it: with a blank.
const WITNESS_TYPE_OF_THE_DRAFT: &str = "PaymentWitness(bytes32 challengeHash, string externalId)";

/// How the witness' type is spelled. The draft has a blank in it that EIP-712 does not, and libraries leave it out: the
/// digests differ, and the contract must be told the spelling that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Character by character as in draft-evm-charge-00, Witness Data.
    Draft,
    /// As libraries for EIP-712 derive it.
    Eip712,
}

impl Spelling {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Draft, Self::Eip712];

    const fn witness_type(self) -> &'static str {
        match self {
            Self::Draft => WITNESS_TYPE_OF_THE_DRAFT,
            Self::Eip712 => WITNESS_TYPE,
        }
    }

    /// What Permit2 is told of the witness: the rest of the permit's type.
    pub fn witness_type_string(self) -> String {
        format!("PaymentWitness witness){}{PERMISSIONS_TYPE}", self.witness_type())
    }
}

/// A payment that a payer signs for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// Whose money it is.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// The token.
    pub token: Address,
    /// How much, in base units.
    pub amount: Amount,
    /// Until when; with Permit2, by which nonce.
    pub leave: Leave,
    /// The hash of the challenge that it pays: the nonce of EIP-3009, and what is in the witness of a permit.
    pub binding: B256,
}

impl Draw {
    /// Names what the chain uses up when this is paid, together with the challenge: however often it is signed, one of it
    /// lands.
    pub fn key(&self) -> B256 {
        let (kind, nonce) = self.nonce();
        let parts: [&[u8]; 6] = [
            b"draw",
            &[kind],
            self.token.as_slice(),
            self.from.as_slice(),
            nonce.as_slice(),
            self.binding.as_slice(),
        ];
        keccak256(parts.concat())
    }

    /// Names what the chain uses up when this is paid, for whatever challenge: of all that is signed with one nonce, one
    /// lands.
    pub fn uses(&self) -> B256 {
        let (kind, nonce) = self.nonce();
        let parts: [&[u8]; 5] = [
            b"uses",
            &[kind],
            self.token.as_slice(),
            self.from.as_slice(),
            nonce.as_slice(),
        ];
        keccak256(parts.concat())
    }

    fn nonce(&self) -> (u8, B256) {
        match self.leave {
            Leave::Eip3009 { .. } => (0, self.binding),
            Leave::Permit2 { nonce, .. } => (1, nonce.into()),
        }
    }

    /// What the payer signs. `separator` is the token's for EIP-3009, and
    /// [`permit2_separator`](crate::pull::permit2_separator) for Permit2; `spender` sends a permit, and its witness is
    /// spelled so.
    pub fn digest(&self, separator: B256, spender: Address, spelling: Spelling) -> B256 {
        let structure = match self.leave {
            Leave::Eip3009 {
                valid_after,
                valid_before,
            } => keccak256(words([
                keccak256(TRANSFER_TYPE),
                self.from.into_word(),
                self.to.into_word(),
                word(self.amount),
                valid_after.into(),
                valid_before.into(),
                self.binding,
            ])),
            Leave::Permit2 { nonce, deadline } => {
                let permitted = [
                    keccak256(PERMISSIONS_TYPE),
                    self.token.into_word(),
                    word(self.amount),
                ];
                let permit_type = [PERMIT_STUB, &spelling.witness_type_string()].concat();
                keccak256(words([
                    keccak256(permit_type),
                    keccak256(words(permitted)),
                    spender.into_word(),
                    nonce.into(),
                    deadline.into(),
                    self.witness(spelling),
                ]))
            }
        };
        signing_hash(separator, structure)
    }

    /// The hash of a permit's witness. Our challenges have no `externalId`, which then is the empty string.
    pub fn witness(&self, spelling: Spelling) -> B256 {
        let witness = [keccak256(spelling.witness_type()), self.binding, keccak256("")];
        keccak256(words(witness))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    #[test]
    fn the_witness_is_told_character_by_character_as_the_draft_writes_it() {
        assert_eq!(
            Spelling::Draft.witness_type_string(),
            "PaymentWitness witness)PaymentWitness(bytes32 challengeHash, string externalId)TokenPermissions(address token,uint256 amount)"
        );
    }

    #[test]
    fn a_key_names_what_is_used_up_and_for_which_challenge() {
        let draw = |leave, binding| Draw {
            from: Address::repeat_byte(1),
            to: Address::repeat_byte(2),
            token: Address::repeat_byte(3),
            amount: Amount::new(7),
            leave,
            binding: B256::repeat_byte(binding),
        };
        let authorization = |until| Leave::Eip3009 {
            valid_after: U256::ZERO,
            valid_before: U256::from(until),
        };
        let permit = |nonce| Leave::Permit2 {
            nonce: U256::from(nonce),
            deadline: U256::from(9),
        };
        assert_eq!(draw(authorization(1), 4).key(), draw(authorization(2), 4).key());
        let keys = [
            draw(authorization(1), 4).key(),
            draw(authorization(1), 5).key(),
            draw(permit(1), 4).key(),
            draw(permit(1), 5).key(),
            draw(permit(2), 4).key(),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
        // What is used up is the same for every challenge that a permit is signed for.
        assert_eq!(draw(permit(1), 4).uses(), draw(permit(1), 5).uses());
        assert_ne!(draw(permit(1), 4).uses(), draw(permit(2), 4).uses());
        assert_eq!(draw(authorization(1), 4).uses(), draw(authorization(2), 4).uses());
        assert_ne!(draw(authorization(1), 4).uses(), draw(authorization(1), 5).uses());
    }
}
