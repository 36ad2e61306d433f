//! `0x` hexadecimal of fixed or bounded length, in any case (draft-evm-session-00, Hexadecimal Values).
//!
//! Clients mix cases although the drafts say lowercase, so values are compared as bytes and written lowercase.

use alloy_primitives::{Address, B256, hex as digits};
use serde::{Deserialize, Deserializer};
use weir_core::ChannelId;

/// A string is not `0x` and the expected number of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 0x and the expected number of hexadecimal digits")]
pub struct HexError;

/// Reads `0x` + an even number of hexadecimal digits, at most `bytes_max` bytes.
///
/// # Errors
/// [`HexError`] on a missing prefix, an odd or excessive length, or a character that is no digit.
pub fn bytes(text: &str, bytes_max: usize) -> Result<Vec<u8>, HexError> {
    let bare = text.strip_prefix("0x").ok_or(HexError)?;
    // The decoder would skip a second prefix; "0x0x…" is one spelling too many.
    if bare.len() > bytes_max.saturating_mul(2) || !bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(HexError);
    }
    digits::decode(bare).map_err(|_| HexError)
}

/// Reads exactly `N` bytes.
///
/// # Errors
/// [`HexError`] when the string holds anything else.
pub fn fixed<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    bytes(text, N)?.try_into().map_err(|_| HexError)
}

/// Reads a 20-byte address; a checksum in its casing is not looked at.
///
/// # Errors
/// [`HexError`] when the string is not `0x` and 40 hexadecimal digits.
pub fn address(text: &str) -> Result<Address, HexError> {
    fixed(text).map(Address::new)
}

/// Reads a 32-byte word.
///
/// # Errors
/// [`HexError`] when the string is not `0x` and 64 hexadecimal digits.
pub fn word(text: &str) -> Result<B256, HexError> {
    fixed(text).map(B256::new)
}

/// For `#[serde(deserialize_with)]`: an address, spelled strictly.
pub(crate) fn de_address<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
    address(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]`: an address that may be absent.
pub(crate) fn de_address_option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Address>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| address(&text))
        .transpose()
        .map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]`: a channel id.
pub(crate) fn de_channel<'de, D: Deserializer<'de>>(from: D) -> Result<ChannelId, D::Error> {
    String::deserialize(from)?
        .parse()
        .map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]`: a channel id that may be absent.
pub(crate) fn de_channel_option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ChannelId>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| text.parse())
        .transpose()
        .map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]`: a 32-byte word that may be absent.
pub(crate) fn de_word_option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<B256>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| word(&text))
        .transpose()
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn threat_v4_case_is_no_part_of_a_value() {
        let lower = "0x742d35cc6634c0532925a3b844bc9e7595f8fe00";
        assert_eq!(
            address(lower),
            address("0x742D35CC6634C0532925A3B844BC9E7595F8FE00")
        );
        assert_eq!(address(lower).unwrap().to_string().to_lowercase(), lower);
    }

    #[test]
    fn only_the_exact_length_with_a_prefix_is_taken() {
        for bad in [
            "", "0x", "0X00", "00", "0x0", "0x0x00", "0xzz", "0x 0", "0x00\n", "0x0000",
        ] {
            assert_eq!(fixed::<1>(bad), Err(HexError), "{bad:?}");
        }
        assert_eq!(fixed::<1>("0xfF"), Ok([255]));
        assert_eq!(bytes("0x", 4), Ok(vec![]));
        assert_eq!(bytes("0x0102030405", 4), Err(HexError));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}") {
            let _ = (bytes(&text, 16), address(&text), word(&text));
        }
    }
}
