//! The accounts that every development chain funds, derived from the mnemonic that everybody knows. Worth nothing.

use crate::keys::SecretKey;
use bip32::XPrv;
use sha2::Sha512;

/// The mnemonic of anvil, hardhat and their like.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// BIP-39: how a mnemonic without a passphrase is stretched to a seed.
const SEED_SALT: &[u8] = b"mnemonic";
const SEED_ROUNDS: u32 = 2048;
const SEED_BYTES: usize = 64;

/// The key of account `index` (BIP-44 path m/44'/60'/0'/0/index).
pub fn account(index: u32) -> Option<SecretKey> {
    let seed: [u8; SEED_BYTES] =
        pbkdf2::pbkdf2_hmac_array::<Sha512, SEED_BYTES>(MNEMONIC.as_bytes(), SEED_SALT, SEED_ROUNDS);
    let path = format!("m/44'/60'/0'/0/{index}").parse().ok()?;
    let key = XPrv::derive_from_path(&seed, &path).ok()?;
    SecretKey::from_bytes(key.to_bytes())
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
