//! Why the store says no.

use std::path::PathBuf;
use std::sync::Arc;

/// A failure of the store. Cheap to clone: one failed sync is told to every waiter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreFault {
    /// An earlier write failed or its outcome is unknown; nothing is accepted until the process is restarted.
    #[error("the store is poisoned, restart to read back what is on the disk: {why}")]
    Poisoned {
        /// The first failure.
        why: Arc<str>,
    },
    /// More is waiting for the disk than the queue may hold; try again later.
    #[error("the store's queue is full: {rows} rows and {bytes} bytes wait for the disk")]
    Full {
        /// Rows waiting.
        rows: usize,
        /// Bytes waiting.
        bytes: usize,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// A key, a value or a whole submission is above its limit.
    #[error("{what} is too large: {size}, at most {max}")]
    TooLarge {
        /// What was too large, with its unit.
        what: &'static str,
        /// How large it was.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The row belongs to the store itself.
    #[error("meta row {key:?} is written by the store alone")]
    Reserved {
        /// The key.
        key: String,
    },
    /// Another process has the store open.
    #[error(
        "the store at {path} is in use by process {}: stop that process or use another directory; the lock ends \
         with its process, so never delete the LOCK file", pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process named in the lock file.
        pid: Option<u32>,
    },
    /// The store was written by a newer version of this program.
    #[error("the store has format {found}, this program knows up to {newest}: use the newer program")]
    NewerFormat {
        /// The format on disk.
        found: u32,
        /// The newest format that this program knows.
        newest: u32,
    },
    /// What is on the disk is not a complete store.
    #[error("the store is damaged: {why}")]
    Damaged {
        /// What was found.
        why: String,
    },
    /// The disk said no while the store was being opened or read.
    #[error("{doing} failed: {why}")]
    Disk {
        /// What was being done, with its path.
        doing: String,
        /// What the system said.
        why: String,
    },
}

impl StoreFault {
    /// A fault of the disk, with what was being done.
    pub(crate) fn disk(doing: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Disk {
            doing: doing.into(),
            why: why.to_string(),
        }
    }
}
