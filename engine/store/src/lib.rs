//! The journal: opaque rows go in, and a proof comes out once they are on the disk.
//!
//! [`Journal::submit`] never waits for the disk. It hands back a [`Ticket`], and awaiting the ticket gives a
//! [`Durable`] value, which nothing outside this crate can make. A receipt that can only be built from a
//! `Durable` therefore cannot be built before the sync.
//!
//! ```
//! use weir_store::{Birth, Row, Table, memory};
//!
//! let journal = memory::open(&memory::Image::default(), Birth { unix_seconds: 0, id: [7; 16] })?;
//! let ticket = journal.submit(vec![Row::put(Table::Channels, b"channel", b"row")])?;
//! let kept = ticket.wait_with("what the rows stand for")?;
//! assert_eq!(*kept.get(), "what the rows stand for");
//! # Ok::<(), weir_store::StoreFault>(())
//! ```
//!
//! **Group commit.** One committer thread takes whatever has been submitted since it last looked (it never waits
//! for a group to fill), applies it as one atomic batch, syncs once, and only then resolves the tickets. Under
//! load the groups grow by themselves, and the cost of the sync is shared.
//!
//! **Poisoning.** After a failed apply or sync nobody knows what is on the disk (a second `fsync` may report
//! success for pages that the first one dropped). The store then refuses everything until the process is started
//! again, and reads back what is really there.

mod backend;
pub mod codec;
mod commit;
pub mod disk;
mod durable;
mod error;
mod files;
mod identity;
mod journal;
pub mod memory;
mod queue;
mod row;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod faults;
#[cfg(any(test, feature = "testing"))]
pub mod load;

pub use commit::COMMIT_SECONDS_MAX;
pub use durable::{Durable, Ticket};
pub use error::StoreFault;
pub use identity::{Birth, FORMAT_NEWEST, Identity};
pub use journal::{CommitTally, Health, Journal, Visit};
pub use queue::{GROUP_BYTES_MAX, GROUP_ROWS_MAX, QUEUE_BYTES_MAX, QUEUE_ROWS_MAX};
pub use row::{KEY_BYTES_MAX, Row, Table, VALUE_BYTES_MAX};
