//! How old our view of the chain is, and how old it may be.
//!
//! A payer that asked the escrow to close gets its rest back after the grace period. If the chain is not seen in time,
//! credit given meanwhile is lost; so past [`Budget::view_age_seconds_max`] nothing is sold (DESIGN §3, Freshness).

use std::sync::atomic::{AtomicU64, Ordering};
use weir_core::UnixSeconds;

/// Largest age of the newest block at which credit is still given, unless configured lower, in seconds.
pub const VIEW_AGE_SECONDS_MAX: u64 = 60;
/// From seeing a close request to having its settlement signed, in seconds. A close that waits for open charges is among
/// it.
pub const CLOSE_REACTION_SECONDS_MAX: u64 = 60;
/// From broadcast to inclusion, replacements included, in seconds.
pub const INCLUSION_SECONDS_MAX: u64 = 240;
/// Spare for a reorganisation that takes the settlement out again, in seconds.
pub const REORG_MARGIN_SECONDS: u64 = 90;

/// The draft's reference grace period, in seconds: our own numbers must fit half of it.
pub const GRACE_PERIOD_SECONDS_REFERENCE: u64 = 15 * 60;

const _: () = assert!(weir_core::planner::CLOSE_IDLE_WAIT_SECONDS_MAX < CLOSE_REACTION_SECONDS_MAX);
const _: () = assert!(
    VIEW_AGE_SECONDS_MAX + CLOSE_REACTION_SECONDS_MAX + INCLUSION_SECONDS_MAX + REORG_MARGIN_SECONDS
        <= GRACE_PERIOD_SECONDS_REFERENCE / 2
);

/// The time that may pass between a payer's close request and our capture being safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Largest age of the newest block at which credit is still given, in seconds.
    pub view_age_seconds_max: u64,
}

/// The escrow's grace period leaves too little time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GraceTooShort {
    /// For noticing and answering a close request.
    #[error(
        "a close can take {needed_seconds} s to be noticed and answered, which is more than half of the escrow's \
         grace period of {grace_seconds} s; lower chain.view_age_max_seconds or use an escrow with a longer grace period"
    )]
    ForAnswer {
        /// What our reaction can take, in seconds.
        needed_seconds: u64,
        /// The escrow's grace period, in seconds.
        grace_seconds: u64,
    },
    /// For the settlement before it, which must be final first.
    #[error(
        "a settlement can take {finality_seconds} s to be final, and only then can a close request be answered, which \
         takes up to {needed_seconds} s more: together more than the escrow's grace period of {grace_seconds} s; lower \
         chain.finality_blocks or use an escrow with a longer grace period"
    )]
    ForFinality {
        /// Until a block is final, in seconds.
        finality_seconds: u64,
        /// What our reaction can take, in seconds.
        needed_seconds: u64,
        /// The escrow's grace period, in seconds.
        grace_seconds: u64,
    },
}

impl Budget {
    /// Checks that a close request is answered in time.
    ///
    /// What is sold until a close request is seen needs no finality: what takes credit away counts at first sight, and
    /// so does the time that it costs. But a channel takes no second settlement before its last one is final (TX-1), and
    /// what was sold meanwhile waits for that. So the answer alone must fit half of the grace period, and the answer
    /// after such a wait all of it. `finality_seconds` is how long the chain takes until a block is final.
    ///
    /// # Errors
    /// [`GraceTooShort`].
    pub fn fits(&self, grace_seconds: u64, finality_seconds: u64) -> Result<(), GraceTooShort> {
        let needed_seconds = self
            .view_age_seconds_max
            .saturating_add(CLOSE_REACTION_SECONDS_MAX)
            .saturating_add(INCLUSION_SECONDS_MAX)
            .saturating_add(REORG_MARGIN_SECONDS);
        if needed_seconds > grace_seconds / 2 {
            return Err(GraceTooShort::ForAnswer {
                needed_seconds,
                grace_seconds,
            });
        }
        if needed_seconds.saturating_add(finality_seconds) > grace_seconds {
            return Err(GraceTooShort::ForFinality {
                finality_seconds,
                needed_seconds,
                grace_seconds,
            });
        }
        Ok(())
    }
}

/// The timestamp of the newest block whose facts have all reached the lanes.
#[derive(Debug, Default)]
pub struct Freshness {
    newest: AtomicU64,
}

impl Freshness {
    /// Records a processed block. An older one changes nothing, and one from the future counts as of now: it must not
    /// keep the view fresh beyond its time.
    pub fn saw_block(&self, timestamp: UnixSeconds, now: UnixSeconds) {
        self.newest.fetch_max(timestamp.min(now).0, Ordering::AcqRel);
    }

    /// Age of the view, in seconds; `None` when no block has been seen yet.
    pub fn age_seconds(&self, now: UnixSeconds) -> Option<u64> {
        let newest = self.newest.load(Ordering::Acquire);
        (newest > 0).then(|| now.seconds_since(UnixSeconds(newest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_t5_the_answer_fits_half_the_grace_period_and_finality_the_rest() {
        let budget = Budget {
            view_age_seconds_max: VIEW_AGE_SECONDS_MAX,
        };
        let grace = GRACE_PERIOD_SECONDS_REFERENCE;
        assert_eq!(budget.fits(grace, 0), Ok(()));
        assert_eq!(
            budget.fits(grace - 1, 0),
            Err(GraceTooShort::ForAnswer {
                needed_seconds: 450,
                grace_seconds: 899
            })
        );
        // Twelve blocks of twelve seconds fit, sixty-four do not.
        assert_eq!(budget.fits(grace, 12 * 12), Ok(()));
        assert_eq!(budget.fits(grace, 450), Ok(()));
        assert_eq!(
            budget.fits(grace, 64 * 12),
            Err(GraceTooShort::ForFinality {
                finality_seconds: 768,
                needed_seconds: 450,
                grace_seconds: 900
            })
        );
    }

    #[test]
    fn threat_t5_a_lagging_replica_does_not_refresh_the_view() {
        let view = Freshness::default();
        assert_eq!(view.age_seconds(UnixSeconds(1_000)), None);
        view.saw_block(UnixSeconds(1_000), UnixSeconds(1_001));
        view.saw_block(UnixSeconds(900), UnixSeconds(1_002));
        assert_eq!(view.age_seconds(UnixSeconds(1_010)), Some(10));
        assert_eq!(view.age_seconds(UnixSeconds(990)), Some(0));
        view.saw_block(UnixSeconds(9_999), UnixSeconds(1_020));
        assert_eq!(
            view.age_seconds(UnixSeconds(1_100)),
            Some(80),
            "a block from the future is of now"
        );
    }
}
