//! The signature that answers a charge of nothing (draft-tempo-charge-00, Proof Payload): EIP-712 under the domain `MPP`.
//!
//! The draft's version 1 signs the challenge's id. Clients as published have moved on to version 3, which signs the
//! account and the realm too. Either is taken.

use super::judge::ChargeRefusal;
use crate::challenge::Challenge;
use alloy_primitives::{Address, B256, U256, keccak256};
use weir_core::Signature;
use weir_core::recover::{Recover, default_backend};

const DOMAIN_TYPE: &str = "EIP712Domain(string name,string version,uint256 chainId)";
const DOMAIN_NAME: &str = "MPP";
const PROOF_TYPE_1: &str = "Proof(string challengeId)";
const PROOF_TYPE_3: &str = "Proof(address account,string challengeId,string realm)";

/// The two digests of which one must be signed, version 1 first.
pub fn proof_digests(account: Address, chain_id: u64, challenge: &Challenge) -> [B256; 2] {
    let id = keccak256(&challenge.id);
    let realm = keccak256(&challenge.realm);
    let first = [keccak256(PROOF_TYPE_1), id];
    let third = [keccak256(PROOF_TYPE_3), account.into_word(), id, realm];
    [digest("1", chain_id, &first), digest("3", chain_id, &third)]
}

/// Whether this account signed for this challenge.
///
/// # Errors
/// [`ChargeRefusal::Proof`].
pub fn prove(
    account: Address,
    signature: &Signature,
    chain_id: u64,
    challenge: &Challenge,
) -> Result<(), ChargeRefusal> {
    let digests = proof_digests(account, chain_id, challenge);
    let signed = |digest| default_backend().recover(digest, signature) == Some(account);
    // Whoever recovers to zero is nobody.
    if !account.is_zero() && digests.into_iter().any(signed) {
        Ok(())
    } else {
        Err(ChargeRefusal::Proof)
    }
}

fn digest(version: &str, chain_id: u64, structure: &[B256]) -> B256 {
    let domain = [
        keccak256(DOMAIN_TYPE),
        keccak256(DOMAIN_NAME),
        keccak256(version),
        B256::from(U256::from(chain_id)),
    ];
    let hash = |words: &[B256]| keccak256(words.concat());
    let (domain, structure) = (hash(&domain), hash(structure));
    keccak256([b"\x19\x01".as_slice(), domain.as_slice(), structure.as_slice()].concat())
}
