//! Public-key recovery behind one small trait, with two backends that must agree.
//!
//! The escrow recovers the signer from (digest, v, r, s) and compares. So does this module: checking against a
//! known key would ignore `v` and accept what the contract refuses (docs/adr/0004).

use crate::signature::Signature;
use alloy_primitives::{Address, B256, keccak256};

/// Recovers the address whose key made a signature, exactly as the EVM's `ecrecover` does.
pub trait Recover: Send + Sync {
    /// The signer's address; `None` when no key can have made this signature over this digest.
    fn recover(&self, digest: B256, signature: &Signature) -> Option<Address>;

    /// The backend's name, for logs and benchmarks.
    fn name(&self) -> &'static str;
}

/// The address of an uncompressed public key without its leading `0x04`.
fn address_of(public_key: &[u8]) -> Address {
    Address::from_slice(&keccak256(public_key)[12..])
}

/// The pure-Rust backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct K256;

impl Recover for K256 {
    fn recover(&self, digest: B256, signature: &Signature) -> Option<Address> {
        use k256::ecdsa::{RecoveryId, Signature as Ecdsa, VerifyingKey};
        let ecdsa = Ecdsa::from_slice(signature.rs()).ok()?;
        let id = RecoveryId::from_byte(signature.parity())?;
        let key = VerifyingKey::recover_from_prehash(digest.as_slice(), &ecdsa, id).ok()?;
        let point = key.to_sec1_point(false);
        Some(address_of(point.as_bytes().get(1..)?))
    }

    fn name(&self) -> &'static str {
        "k256"
    }
}

/// Bitcoin Core's library: the fastest here.
#[cfg(feature = "libsecp256k1")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Libsecp256k1;

#[cfg(feature = "libsecp256k1")]
impl Recover for Libsecp256k1 {
    fn recover(&self, digest: B256, signature: &Signature) -> Option<Address> {
        use secp256k1::Message;
        use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
        let id = RecoveryId::try_from(i32::from(signature.parity())).ok()?;
        let ecdsa = RecoverableSignature::from_compact(signature.rs(), id).ok()?;
        let key = ecdsa.recover_ecdsa(Message::from_digest(digest.0)).ok()?;
        Some(address_of(key.serialize_uncompressed().get(1..)?))
    }

    fn name(&self) -> &'static str {
        "libsecp256k1"
    }
}

/// The backend that this build prefers.
#[cfg(feature = "libsecp256k1")]
pub const fn default_backend() -> impl Recover + Copy {
    Libsecp256k1
}

/// The backend that this build prefers.
#[cfg(not(feature = "libsecp256k1"))]
pub const fn default_backend() -> impl Recover + Copy {
    K256
}
