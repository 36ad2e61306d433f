//! When what is on its way was sent, and when it is sent again.

use std::time::Duration;
use tokio::time::Instant;

/// The pause before a transaction is sent again that the node does not have: so long at first, then twice as long each time.
const AGAIN_AFTER: Duration = Duration::from_millis(400);
/// The longest such pause.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);

/// How an envelope was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post {
    /// When it was sent first.
    pub(super) first: Instant,
    /// When it was sent last.
    pub(super) last: Instant,
    /// How often it was sent again.
    pub(super) again: u32,
    /// How often in a row its nonce seemed taken.
    pub(super) displaced: u32,
}

impl Post {
    pub(super) fn now() -> Self {
        let now = Instant::now();
        Self {
            first: now,
            last: now,
            again: 0,
            displaced: 0,
        }
    }

    /// Whether it is time to send it once more.
    pub(super) fn is_due(&self) -> bool {
        let pause = AGAIN_AFTER.saturating_mul(1 << self.again.min(16));
        self.last.elapsed() >= pause.min(AGAIN_AFTER_MAX)
    }
}
