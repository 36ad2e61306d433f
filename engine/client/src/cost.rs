//! What a request cost, as far as the payer can know.

use core::fmt;
use weir_core::Amount;

/// What one request cost, as far as receipts tell. Amounts are base units of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Charged for it.
    pub charged: Amount,
    /// How many units of the offered price that is.
    pub units: u64,
    /// Charged for earlier requests, as it turned out now: their answers were lost.
    pub earlier: Amount,
    /// What may have been charged for it beyond that: nobody told. The next receipt does.
    pub uncertain: Amount,
}

impl Default for Cost {
    /// Nothing.
    fn default() -> Self {
        Self {
            charged: Amount::ZERO,
            units: 0,
            earlier: Amount::ZERO,
            uncertain: Amount::ZERO,
        }
    }
}

impl Cost {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sum = |one: Amount, two| one.checked_add(two).unwrap_or(one);
        Self {
            charged: sum(self.charged, other.charged),
            units: self.units.saturating_add(other.units),
            earlier: sum(self.earlier, other.earlier),
            uncertain: sum(self.uncertain, other.uncertain),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.units == 1 { "" } else { "s" };
        write!(f, "{} was paid for {} unit{plural}", self.charged, self.units)?;
        if !self.uncertain.is_zero() {
            write!(f, ", and up to {} more may have been charged", self.uncertain)?;
        }
        Ok(())
    }
}
