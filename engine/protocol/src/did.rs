//! Who a credential says it comes from: `did:pkh:eip155:<chain id>:<address>`
//! (draft-evm-session-00, Credential Structure).

use crate::hex;
use alloy_primitives::Address;
use core::fmt;
use core::str::FromStr;

/// An account on an EVM chain, as a decentralised identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DidPkh {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The account.
    pub address: Address,
}

/// A string is not `did:pkh:eip155:<chain id>:<address>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not did:pkh:eip155 with a chain id and an address")]
pub struct DidError;

impl fmt::Display for DidPkh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did:pkh:eip155:{}:{:#x}", self.chain_id, self.address)
    }
}

impl FromStr for DidPkh {
    type Err = DidError;

    /// Reads the identifier; the address in any case, the chain id in its one decimal spelling.
    fn from_str(text: &str) -> Result<Self, DidError> {
        let rest = text.strip_prefix("did:pkh:eip155:").ok_or(DidError)?;
        let (chain, address) = rest.split_once(':').ok_or(DidError)?;
        let digits = !chain.is_empty() && chain.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (chain.len() > 1 && chain.starts_with('0')) {
            return Err(DidError);
        }
        let chain_id = chain.parse().map_err(|_| DidError)?;
        let address = hex::address(address).map_err(|_| DidError)?;
        Ok(Self { chain_id, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_accounts_of_evm_chains_are_taken() {
        let text = "did:pkh:eip155:196:0xaabbccddee11223344556677889900aabbccddee";
        let did: DidPkh = text.parse().unwrap();
        assert_eq!((did.chain_id, did.to_string().as_str()), (196, text));
        assert_eq!(text.replace("aabb", "AABB").parse(), Ok(did));
        for bad in [
            "",
            "did:key:z6Mk",
            &text.replace("196", ""),
            &text.replace("196", "0196"),
            &text.replace("196", "+196"),
            &text.replace("196", "99999999999999999999999"),
            &text.replace("eip155", "solana"),
            &format!("{text}0"),
            &format!("{text} "),
        ] {
            assert_eq!(bad.parse::<DidPkh>(), Err(DidError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn it_goes_there_and_back(chain_id: u64, bytes: [u8; 20]) {
            let did = DidPkh { chain_id, address: Address::new(bytes) };
            prop_assert_eq!(did.to_string().parse(), Ok(did));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(did:pkh:eip155:)?.{0,60}") {
            let _ = text.parse::<DidPkh>();
        }
    }
}
