//! The body that a challenge was made for (RFC 9530; draft-httpauth-payment-00, Request Body Digest Binding).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use core::str::FromStr;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Longest digest field that is looked at.
const DIGEST_BYTES_MAX: usize = 1024;

/// A string holds no sha-256 content digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no sha-256 content digest")]
pub struct DigestError;

/// The SHA-256 of a request body. Comparisons take the same time whatever differs.
#[derive(Clone, Copy, Debug)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// The digest of a whole body.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// A digest that was computed while the body passed by.
    pub const fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for ContentDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ContentDigest {}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha-256=:{}:", STANDARD.encode(self.0))
    }
}

impl FromStr for ContentDigest {
    type Err = DigestError;

    /// Reads the sha-256 member of a digest field; the peers write it without RFC 9530's colons.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.len() > DIGEST_BYTES_MAX {
            return Err(DigestError);
        }
        let mut members = text.split(',').map(str::trim);
        let value = members
            .find_map(|member| member.strip_prefix("sha-256="))
            .ok_or(DigestError)?;
        let inner = value
            .strip_prefix(':')
            .and_then(|rest| rest.strip_suffix(':'))
            .unwrap_or(value);
        let bytes = STANDARD.decode(inner).map_err(|_| DigestError)?;
        bytes.try_into().map(Self).map_err(|_| DigestError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_are_read_and_the_drafts_is_written() {
        let digest = ContentDigest::of(br#"{"hello": "world"}"#);
        // RFC 9530, Appendix B.1.
        assert_eq!(
            digest.to_string(),
            "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
        );
        for text in [
            "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=",
            "sha-512=:AAAA:, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        ] {
            assert_eq!(text.parse(), Ok(digest), "{text}");
        }
        assert_ne!(ContentDigest::of(b"{}"), digest);
        for bad in [
            "",
            "sha-256",
            "sha-256=",
            "sha-256=:AAAA:",
            "md5=:X48E:",
            "sha-256=:X48E",
        ] {
            assert_eq!(bad.parse::<ContentDigest>(), Err(DigestError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn it_goes_there_and_back(body: Vec<u8>) {
            let digest = ContentDigest::of(&body);
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(sha-256=)?.{0,60}") {
            let _ = text.parse::<ContentDigest>();
        }
    }
}
