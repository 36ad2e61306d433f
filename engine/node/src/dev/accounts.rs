//! The accounts that every development chain funds, derived from the mnemonic that everybody knows. Worth nothing.

use crate::keys::SecretKey;
use hmac::{Hmac, KeyInit, Mac};
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::sec1::ToSec1Point;
use k256::{ProjectivePoint, Scalar};
use sha2::Sha512;

/// The mnemonic of anvil, hardhat and their like.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Rounds of BIP-39's key stretching.
const STRETCHING_ROUNDS: usize = 2048;
/// BIP-32: from here on an index is hardened.
const HARDENED: u32 = 1 << 31;

/// The key of account `index` (BIP-44 path m/44'/60'/0'/0/index).
pub fn account(index: u32) -> Option<SecretKey> {
    let path = [HARDENED + 44, HARDENED + 60, HARDENED, 0, index];
    let master = Extended::new(hmac(b"Bitcoin seed", &[&seed(MNEMONIC)?])?)?;
    let key = path.into_iter().try_fold(master, Extended::child)?;
    SecretKey::from_bytes(key.scalar.to_repr().into())
}

/// A private key and its chain code.
struct Extended {
    scalar: Scalar,
    chain_code: [u8; 32],
}

impl Extended {
    fn new(derived: [u8; 64]) -> Option<Self> {
        let (left, right) = derived.split_at(32);
        let left: [u8; 32] = left.try_into().ok()?;
        let scalar = Option::from(Scalar::from_repr(left.into()))?;
        Some(Self {
            scalar,
            chain_code: right.try_into().ok()?,
        })
    }

    fn child(self, index: u32) -> Option<Self> {
        let secret = self.scalar.to_repr();
        let public = (ProjectivePoint::GENERATOR * self.scalar)
            .to_affine()
            .to_sec1_point(true);
        let index_bytes = index.to_be_bytes();
        let derived = if index >= HARDENED {
            hmac(&self.chain_code, &[&[0], secret.as_slice(), &index_bytes])
        } else {
            hmac(&self.chain_code, &[public.as_bytes(), &index_bytes])
        };
        let child = Self::new(derived?)?;
        Some(Self {
            scalar: child.scalar + self.scalar,
            ..child
        })
    }
}

/// PBKDF2 with HMAC-SHA512 and no passphrase, as BIP-39 has it; one block is all that is needed.
fn seed(mnemonic: &str) -> Option<[u8; 64]> {
    let mut round = hmac(mnemonic.as_bytes(), &[b"mnemonic", &1u32.to_be_bytes()])?;
    let mut seed = round;
    for _ in 1..STRETCHING_ROUNDS {
        round = hmac(mnemonic.as_bytes(), &[&round])?;
        for (byte, other) in seed.iter_mut().zip(round) {
            *byte ^= other;
        }
    }
    Some(seed)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 64]> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_are_those_that_every_dev_chain_funds() {
        for (index, key, address) in [
            (
                0,
                "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            ),
            (
                1,
                "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
                "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            ),
        ] {
            let account = account(index).unwrap();
            assert_eq!(account.expose_hex(), key);
            assert_eq!(account.address().to_string(), address);
        }
    }
}
