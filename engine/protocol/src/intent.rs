//! What a payment is meant as (draft-httpauth-payment-00, Payment Intents).

use core::fmt;
use core::str::FromStr;
use serde::Serialize;

/// An intent that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// Vouchers on a channel.
    Session,
    /// One payment for one answer.
    Charge,
}

impl Intent {
    /// As challenges spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Charge => "charge",
        }
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Intent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "session" => Ok(Self::Session),
            "charge" => Ok(Self::Charge),
            _ => Err("is not one of session, charge"),
        }
    }
}
