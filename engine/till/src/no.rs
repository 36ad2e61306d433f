//! Why the till did not do what was asked.

use weir_core::Refusal;
use weir_store::StoreFault;

use crate::books::BooksFault;

/// A refusal (the payer's affair), a limit of ours, or a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum No {
    /// The channel's rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The lane's queue is full: come back in a moment.
    #[error("the engine is busy")]
    Busy,
    /// The channel sends vouchers faster than the engine takes them.
    #[error("more than {per_second} vouchers a second on one channel")]
    TooFast {
        /// The limit, in vouchers per second and channel.
        per_second: u32,
    },
    /// The chain has not been seen for too long to give credit on it.
    #[error("the newest block seen is {age_seconds} s old")]
    ViewStale {
        /// Age of the newest contiguously processed block, in seconds.
        age_seconds: u64,
    },
    /// No block of the chain has been seen since the start.
    #[error("no block of the chain has been seen yet")]
    NoViewYet,
    /// The books cannot be written: nothing is sold until the daemon is restarted on a healthy disk.
    #[error("the books cannot be kept: {0}")]
    Books(#[from] BooksFault),
    /// The idempotency key was sent with another request on this channel.
    #[error("the idempotency key was used for another request on this channel; nothing was charged")]
    KeyOfAnother,
    /// The request of this key is being answered now.
    #[error("the request of this idempotency key is still under way; ask again for its answer")]
    KeyUnderWay,
    /// The request of this key was answered, by more than is kept.
    #[error(
        "the request of this idempotency key was delivered and charged once; its answer was a stream, or too long or too \
         slow to be kept, and is not told again. Nothing more was charged"
    )]
    KeyTold,
    /// The chain has it, our watcher not yet: come back in a moment with the same credential.
    #[error("the deposit has not been seen on the chain yet")]
    NotSeenYet,
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Stopping,
}

impl From<StoreFault> for No {
    fn from(fault: StoreFault) -> Self {
        match fault {
            // The disk is behind, not broken: the same answer as a full lane.
            StoreFault::Full { .. } => Self::Busy,
            StoreFault::Closed => Self::Stopping,
            fault => Self::Books(fault.into()),
        }
    }
}
