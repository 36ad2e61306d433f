//! The interface that the rest of Weir sees.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::{Identity, Row, StoreFault, Table, Ticket};

/// Is called with each key and value of a scan; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Whether the store still takes rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
    /// It does not, and won't until the process is started again.
    Poisoned {
        /// The first failure.
        why: Arc<str>,
    },
    /// It was closed.
    Closed,
}

/// What a journal has made durable since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTally {
    /// Groups of rows, one sync each.
    pub groups: u64,
    /// Rows in them.
    pub rows: u64,
    /// Time that writing and syncing them took.
    pub busy: Duration,
}

/// A durable, ordered journal of rows.
///
/// Promises of every implementation, checked by `conformance`:
/// - the rows of one submission become durable together or not at all;
/// - a later submission is never durable before an earlier one;
/// - a ticket resolves well only when its rows, and all submitted before them, survive a power cut;
/// - once a ticket has failed, every later one fails.
pub trait Journal: Send + Sync + 'static {
    /// Takes rows, without waiting for the disk.
    ///
    /// Among rows with the same key the last one counts. An empty list is a barrier: its ticket resolves once
    /// everything submitted earlier is durable.
    ///
    /// # Errors
    /// `Full` when too much is waiting (try again), `TooLarge` and `Reserved` for rows that can't be taken,
    /// `Poisoned` and `Closed`. After an error none of the rows will be written.
    fn submit(&self, rows: Vec<Row>) -> Result<Ticket, StoreFault>;

    /// The value of a row as submitted, durable or not: a credential that is still on its way to the disk is
    /// already seen as used. Never act towards the outside on a read alone, take a [`Durable`](crate::Durable).
    ///
    /// # Errors
    /// `Poisoned`, `Closed`, or `Disk`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault>;

    /// Visits a table in the order of its keys, as submitted. Made for the start of the process: rows submitted
    /// while it runs may be seen or not.
    ///
    /// # Errors
    /// `Poisoned`, `Closed`, or `Disk`.
    fn scan(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreFault>;

    /// Whether the store still takes rows.
    fn health(&self) -> Health;

    /// What was made durable since the start.
    fn tally(&self) -> CommitTally {
        CommitTally::default()
    }

    /// Format, birth and id of the store.
    fn identity(&self) -> Identity;

    /// Refuses new rows, waits until those already taken are durable, and lets go of the files. Blocks. May be
    /// called more than once.
    ///
    /// # Errors
    /// `Poisoned` when not everything taken became durable.
    fn close(&self) -> Result<(), StoreFault>;
}
