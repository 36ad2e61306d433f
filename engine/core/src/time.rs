//! Time as an argument.

use serde::{Deserialize, Serialize};

/// A moment, in whole seconds since 1970-01-01T00:00:00Z: the resolution of block timestamps and challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// The moment so many seconds later, at most the end of representable time.
    pub const fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds since an earlier moment; zero when that moment lies ahead (two clocks may disagree a little).
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
