//! base64url without padding, read strictly (RFC 4648 Section 5; draft-httpauth-payment-00, Credentials).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A string is not base64url without padding, or its last character carries stray bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64url without padding")]
pub struct B64Error;

/// Spells bytes in base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads base64url without padding.
///
/// # Errors
/// Anything else is refused: padding, the other alphabet, white space, and a last character whose unused bits
/// are not zero (they would give one value several spellings).
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, B64Error> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| B64Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_value_has_one_spelling() {
        assert_eq!(decode("AA"), Ok(vec![0]));
        for alias in ["AB", "AA==", "AA=", " AA", "AA\n", "A", "A+", "A/"] {
            assert_eq!(decode(alias), Err(B64Error), "{alias:?}");
        }
        assert_eq!(encode([0xfb, 0xff]), "-_8");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_go_there_and_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(text in "[A-Za-z0-9_-]{0,12}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(bytes), text);
            }
        }
    }
}
