//! Names of things: channels and charges.

use alloy_primitives::B256;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A channel's identifier, computed by the escrow from its terms (draft-evm-session-00, Channel State).
///
/// Held as bytes, so that the many spellings of one hexadecimal string are one channel; always printed lowercase.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelId(pub B256);

impl ChannelId {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelId({self})")
    }
}

/// A string is not `0x` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a channel id is 0x followed by 64 hexadecimal digits")]
pub struct ChannelIdError;

impl FromStr for ChannelId {
    type Err = ChannelIdError;

    /// Reads `0x` + 64 hexadecimal digits, in any case: clients mix cases although the draft says lowercase.
    fn from_str(text: &str) -> Result<Self, ChannelIdError> {
        if text.len() != 66 || !text.starts_with("0x") {
            return Err(ChannelIdError);
        }
        text.parse().map(Self).map_err(|_| ChannelIdError)
    }
}

/// One charge of a channel, numbered from 0 in the order in which they were reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChargeId(pub u64);

impl fmt::Display for ChargeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_v4_every_spelling_is_one_channel() {
        let lower = format!("0x{}", "ab".repeat(32));
        let upper = format!("0x{}", "AB".repeat(32));
        let one: ChannelId = lower.parse().unwrap();
        assert_eq!(one, upper.parse().unwrap());
        assert_eq!(one.to_string(), lower);
        for bad in [
            "",
            "0x",
            "ab",
            &lower[2..],
            &lower[..65],
            &format!("{lower}0"),
            &format!("0X{}", &lower[2..]),
        ] {
            assert_eq!(bad.parse::<ChannelId>(), Err(ChannelIdError), "{bad:?}");
        }
    }
}
