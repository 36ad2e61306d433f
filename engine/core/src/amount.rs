//! Money in integer base units, in two types that cannot be mixed up.
//!
//! [`Amount`] is a quantity (a price, a delta, a refund); [`Cumulative`] is a running total since the channel
//! was opened (deposit, accepted, spent, credited, settled). The width is the voucher's `uint128`.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest decimal string that can be a `uint128`.
pub const AMOUNT_DIGITS_MAX: usize = 39;

/// Why a decimal string is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The string is empty.
    #[error("an amount is empty")]
    Empty,
    /// A character other than `0`–`9` is present (signs, spaces, points and exponents included).
    #[error("an amount has a character that is not a decimal digit")]
    NotDecimal,
    /// A leading zero would give one amount two spellings.
    #[error("an amount has a leading zero")]
    LeadingZero,
    /// The value does not fit `uint128`.
    #[error("an amount does not fit 128 bits")]
    Overflow,
}

fn parse_base_units(text: &str) -> Result<u128, AmountError> {
    if text.is_empty() {
        return Err(AmountError::Empty);
    }
    if text.len() > AMOUNT_DIGITS_MAX {
        // Checked before the digits: ten thousand of them cost nothing.
        return Err(AmountError::Overflow);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AmountError::NotDecimal);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(AmountError::LeadingZero);
    }
    text.parse().map_err(|_| AmountError::Overflow)
}

macro_rules! base_units {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u128);

        impl $name {
            /// No base units.
            pub const ZERO: Self = Self(0);

            /// Wraps a count of base units.
            pub const fn new(base_units: u128) -> Self {
                Self(base_units)
            }

            /// The count of base units, for an edge (ABI, display) that needs the bare integer.
            pub const fn base_units(self) -> u128 {
                self.0
            }

            /// True when it is zero.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = AmountError;

            /// Reads a canonical decimal string: digits only, no leading zero, at most `uint128`.
            fn from_str(text: &str) -> Result<Self, AmountError> {
                parse_base_units(text).map(Self)
            }
        }

        /// Decimal string for people's formats (JSON, TOML), integer for compact ones.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(&self.0)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    u128::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

base_units! {
    /// A quantity of base units: a price, a delta, a refund.
    Amount
}

base_units! {
    /// A running total of base units since the channel was opened.
    Cumulative
}

impl Amount {
    /// The sum, unless it does not fit 128 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless it is negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// So many times this price, unless it does not fit 128 bits.
    pub fn times(self, units: u64) -> Option<Self> {
        self.0.checked_mul(u128::from(units)).map(Self)
    }
}

impl Cumulative {
    /// What was added since an earlier total; `None` when `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Option<Amount> {
        self.0.checked_sub(earlier.0).map(Amount)
    }

    /// The total after adding, unless it does not fit 128 bits.
    pub fn plus(self, amount: Amount) -> Option<Self> {
        self.0.checked_add(amount.0).map(Self)
    }

    /// The total net of another running total (spent − credited); `None` when that is negative.
    pub fn net_of(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The total less an amount; `None` when that is negative.
    pub fn minus(self, amount: Amount) -> Option<Self> {
        self.0.checked_sub(amount.0).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_v7_amount_strings_have_one_spelling() {
        let refused = [
            ("", AmountError::Empty),
            ("+1", AmountError::NotDecimal),
            ("-1", AmountError::NotDecimal),
            (" 1", AmountError::NotDecimal),
            ("1 ", AmountError::NotDecimal),
            ("1e3", AmountError::NotDecimal),
            ("1.0", AmountError::NotDecimal),
            ("0x1", AmountError::NotDecimal),
            ("١", AmountError::NotDecimal),
            ("00", AmountError::LeadingZero),
            ("01", AmountError::LeadingZero),
            ("340282366920938463463374607431768211456", AmountError::Overflow),
        ];
        for (text, why) in refused {
            assert_eq!(text.parse::<Cumulative>(), Err(why), "{text:?}");
        }
        let long = "9".repeat(10_000);
        assert_eq!(long.parse::<Cumulative>(), Err(AmountError::Overflow));
        assert_eq!("0".parse(), Ok(Cumulative::ZERO));
        assert_eq!(u128::MAX.to_string().parse(), Ok(Cumulative::new(u128::MAX)));
    }

    #[test]
    fn totals_and_quantities_meet_only_where_it_makes_sense() {
        let earlier = Cumulative::new(10);
        let later = earlier.plus(Amount::new(5)).unwrap();
        assert_eq!(later.since(earlier), Some(Amount::new(5)));
        assert_eq!(earlier.since(later), None);
        assert_eq!(Cumulative::new(u128::MAX).plus(Amount::new(1)), None);
        assert_eq!(Amount::new(u128::MAX).times(2), None);
    }

    #[test]
    fn json_spells_amounts_as_strings() {
        assert_eq!(serde_json::to_string(&Amount::new(25)).unwrap(), "\"25\"");
        assert_eq!(serde_json::from_str::<Amount>("\"25\"").unwrap(), Amount::new(25));
        assert!(serde_json::from_str::<Amount>("25").is_err());
    }
}
