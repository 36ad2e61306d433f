//! The one form in which a voucher signature is kept: 65 bytes `r ‖ s ‖ v`, low-s, v ∈ {27, 28}.
//!
//! It is exactly what the escrow takes; anything else is refused here, so that nothing is accepted that the
//! contract would refuse (CH-5) and no two encodings of one signature exist (threat V5).

use alloy_primitives::FixedBytes;
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of a canonical signature.
pub const SIGNATURE_BYTES: usize = 65;
/// Length of the compact form (EIP-2098) that only the Tempo draft accepts.
pub const COMPACT_SIGNATURE_BYTES: usize = 64;

/// Order of the secp256k1 group, big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
    0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];
/// Half of it, rounded down: the largest `s` that is low (draft-evm-session-00, Signature Verification).
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// Why bytes are not a canonical signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not 65 bytes (or, where the compact form is allowed, not 64 either).
    #[error("a signature is 65 bytes: r, s and v")]
    Length,
    /// v is neither 27 nor 28.
    #[error("a signature's v is 27 or 28")]
    RecoveryId,
    /// s is above half the group order.
    #[error("a signature's s is in the upper half of the group order")]
    HighS,
    /// r or s is zero or not below the group order.
    #[error("a signature's r or s is out of range")]
    Range,
}

/// A canonical secp256k1 signature. Its bytes are in range; whose it is, only recovery tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; SIGNATURE_BYTES]);

impl Signature {
    /// Takes 65 bytes `r ‖ s ‖ v` in canonical form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: [u8; SIGNATURE_BYTES] = bytes.try_into().map_err(|_| SignatureError::Length)?;
        if !matches!(bytes[64], 27 | 28) {
            return Err(SignatureError::RecoveryId);
        }
        let (r, s) = (&bytes[..32], &bytes[32..64]);
        let zero = [0u8; 32];
        if r == zero || s == zero || r >= ORDER.as_slice() || s >= ORDER.as_slice() {
            return Err(SignatureError::Range);
        }
        if s > HALF_ORDER.as_slice() {
            return Err(SignatureError::HighS);
        }
        Ok(Self(bytes))
    }

    /// Takes the canonical form or the 64 bytes of EIP-2098, which it normalises to 65.
    pub fn from_bytes_or_compact(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() != COMPACT_SIGNATURE_BYTES {
            return Self::from_bytes(bytes);
        }
        let mut full = [0u8; SIGNATURE_BYTES];
        full[..64].copy_from_slice(bytes);
        full[64] = 27 + (full[32] >> 7);
        full[32] &= 0x7f;
        Self::from_bytes(&full)
    }

    /// The 65 canonical bytes.
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }

    /// `r ‖ s`.
    pub fn rs(&self) -> &[u8] {
        &self.0[..64]
    }

    /// The parity bit that recovery needs: v − 27.
    pub const fn parity(&self) -> u8 {
        self.0[64] - 27
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", FixedBytes::<SIGNATURE_BYTES>(self.0))
    }
}

/// A voucher's signature is worth money: logs get its first bytes only (threat K1).
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FixedBytes::<SIGNATURE_BYTES>(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = FixedBytes::<SIGNATURE_BYTES>::deserialize(deserializer)?;
        Self::from_bytes(bytes.as_slice()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> [u8; 65] {
        let mut bytes = [1u8; 65];
        bytes[64] = 27;
        bytes
    }

    #[test]
    fn threat_v5_only_the_canonical_form_is_a_signature() {
        assert!(Signature::from_bytes(&valid()).is_ok());
        assert_eq!(Signature::from_bytes(&valid()[..64]), Err(SignatureError::Length));
        assert_eq!(
            Signature::from_bytes(&[valid().as_slice(), &[0]].concat()),
            Err(SignatureError::Length)
        );
        assert_eq!(Signature::from_bytes(&[]), Err(SignatureError::Length));
        for v in [0u8, 1, 26, 29, 35, 255] {
            let mut bytes = valid();
            bytes[64] = v;
            assert_eq!(
                Signature::from_bytes(&bytes),
                Err(SignatureError::RecoveryId),
                "v = {v}"
            );
        }
        let mut bytes = valid();
        bytes[32..64].copy_from_slice(&HALF_ORDER);
        assert!(Signature::from_bytes(&bytes).is_ok());
        bytes[63] += 1;
        assert_eq!(Signature::from_bytes(&bytes), Err(SignatureError::HighS));
        bytes[32..64].copy_from_slice(&ORDER);
        assert_eq!(Signature::from_bytes(&bytes), Err(SignatureError::Range));
        bytes[32..64].fill(0);
        assert_eq!(Signature::from_bytes(&bytes), Err(SignatureError::Range));
        let mut bytes = valid();
        bytes[..32].copy_from_slice(&ORDER);
        assert_eq!(Signature::from_bytes(&bytes), Err(SignatureError::Range));
    }

    #[test]
    fn the_compact_form_is_normalised_where_it_is_allowed() {
        let mut compact = valid()[..64].to_vec();
        assert_eq!(
            Signature::from_bytes_or_compact(&compact).unwrap().as_bytes()[64],
            27
        );
        compact[32] |= 0x80;
        let full = Signature::from_bytes_or_compact(&compact).unwrap();
        assert_eq!((full.as_bytes()[64], full.as_bytes()[32]), (28, 1));
        assert!(Signature::from_bytes(&compact).is_err());
    }

    #[test]
    fn threat_k1_debug_does_not_show_a_whole_signature() {
        assert_eq!(
            format!("{:?}", Signature::from_bytes(&valid()).unwrap()),
            "Signature(0101…)"
        );
    }
}
