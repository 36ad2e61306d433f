//! What waits for the disk, and who waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::row::{address, weight};
use crate::{CommitTally, Health, KEY_BYTES_MAX, Row, StoreFault, Table, VALUE_BYTES_MAX, identity};

/// The most rows in one group, and so in one submission.
pub const GROUP_ROWS_MAX: usize = 1024;

/// The most bytes in one group, and so in one submission. Small against a sled segment: see `disk`.
pub const GROUP_BYTES_MAX: usize = 256 * 1024;

/// The most rows waiting for the disk.
pub const QUEUE_ROWS_MAX: usize = 64 * GROUP_ROWS_MAX;

/// The most bytes waiting for the disk.
pub const QUEUE_BYTES_MAX: usize = 128 * GROUP_BYTES_MAX;

/// How long closing a poisoned store waits for its files.
const POISONED_CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Submissions that go to the disk together. Later rows have replaced earlier ones of the same address.
#[derive(Debug, Default)]
pub(crate) struct Group {
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    /// The last submission in it.
    sequence: u64,
}

impl Group {
    /// The rows by address; `None` deletes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows
            .iter()
            .map(|(address, value)| (address.as_slice(), value.as_deref()))
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let address = address(row.table, &row.key);
            let address_bytes = address.len();
            self.bytes += weight(row.table, address_bytes, row.value.as_deref());
            if let Some(replaced) = self.rows.insert(address, row.value) {
                self.bytes -= weight(row.table, address_bytes, replaced.as_deref());
            }
        }
    }

    fn has_room_for(&self, rows: usize, bytes: usize) -> bool {
        self.rows.len() + rows <= GROUP_ROWS_MAX && self.bytes + bytes <= GROUP_BYTES_MAX
    }
}

#[derive(Debug, Default)]
struct State {
    /// Groups that the committer has not taken, oldest first; the last one still grows.
    waiting: VecDeque<Group>,
    /// The group at the disk, and since when.
    committing: Option<(Arc<Group>, Instant)>,
    rows: usize,
    bytes: usize,
    submitted: u64,
    durable: u64,
    tickets: u64,
    tally: CommitTally,
    /// By sequence number and ticket.
    waiters: BTreeMap<(u64, u64), Waker>,
    poison: Option<Arc<str>>,
    closing: bool,
    /// The committer has left.
    stopped: bool,
}

impl State {
    fn usable(&self) -> Result<(), StoreFault> {
        match &self.poison {
            Some(why) => Err(StoreFault::Poisoned { why: why.clone() }),
            None if self.closing => Err(StoreFault::Closed),
            None => Ok(()),
        }
    }

    /// Groups as submitted, newest first.
    fn newest_first(&self) -> impl Iterator<Item = &Group> {
        let committing = self.committing.iter().map(|(group, _)| group.as_ref());
        self.waiting.iter().rev().chain(committing)
    }
}

/// The state that callers, tickets and the committer share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something to commit, or the end.
    work: Condvar,
    /// The committer has left.
    stopped: Condvar,
}

/// The pending rows of one table, by key; `None` for those that will be deleted.
pub(crate) type Pending = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Shared {
    /// A panic while the lock is held leaves no half-done change behind that matters more than going on: the
    /// committer's own panic poisons the store.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues rows. Gives the sequence number to wait for, and a ticket number.
    pub(crate) fn submit(&self, rows: Vec<Row>) -> Result<(u64, u64), StoreFault> {
        let bytes = check(&rows)?;
        let mut state = self.lock();
        state.usable()?;
        if state.rows + rows.len() > QUEUE_ROWS_MAX || state.bytes + bytes > QUEUE_BYTES_MAX {
            return Err(StoreFault::Full {
                rows: state.rows,
                bytes: state.bytes,
            });
        }
        state.tickets += 1;
        let ticket = state.tickets;
        // A barrier waits for the last submission; it needs no write of its own.
        if rows.is_empty() {
            return Ok((state.submitted, ticket));
        }
        state.submitted += 1;
        let sequence = state.submitted;
        if !state
            .waiting
            .back()
            .is_some_and(|group| group.has_room_for(rows.len(), bytes))
        {
            state.waiting.push_back(Group::default());
        }
        if let Some(group) = state.waiting.back_mut() {
            let before = (group.rows.len(), group.bytes);
            group.add(rows);
            group.sequence = sequence;
            let after = (group.rows.len(), group.bytes);
            state.rows = state.rows + after.0 - before.0;
            state.bytes = state.bytes + after.1 - before.1;
        }
        drop(state);
        self.work.notify_one();
        Ok((sequence, ticket))
    }

    /// Waits for the next group; `None` when there will be no more.
    pub(crate) fn next_group(&self) -> Option<Arc<Group>> {
        let mut state = self.lock();
        loop {
            if state.poison.is_some() {
                return None;
            }
            if let Some(group) = state.waiting.pop_front() {
                let group = Arc::new(group);
                state.committing = Some((group.clone(), Instant::now()));
                return Some(group);
            }
            if state.closing {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The group is on the disk: resolve its tickets. Never after poisoning: those tickets have failed.
    pub(crate) fn acknowledge(&self, group: &Group) {
        let mut state = self.lock();
        if state.poison.is_some() {
            return;
        }
        state.durable = group.sequence;
        let took = state.committing.take().map(|(_, since)| since.elapsed());
        state.tally.groups += 1;
        state.tally.rows += group.rows.len() as u64;
        state.tally.busy += took.unwrap_or_default();
        state.rows -= group.rows.len();
        state.bytes -= group.bytes;
        let later = state.waiters.split_off(&(group.sequence + 1, 0));
        let resolved = std::mem::replace(&mut state.waiters, later);
        drop(state);
        resolved.into_values().for_each(Waker::wake);
    }

    /// What was acknowledged so far.
    pub(crate) fn tally(&self) -> CommitTally {
        self.lock().tally
    }

    /// Fails every waiter and everything to come. The first reason stays.
    pub(crate) fn poison(&self, why: &str) {
        let mut state = self.lock();
        if state.poison.is_some() {
            return;
        }
        tracing::error!(
            why,
            waiters = state.waiters.len(),
            "the store is poisoned, nothing more is accepted"
        );
        state.poison = Some(why.into());
        state.waiting.clear();
        state.committing = None;
        let failed = std::mem::take(&mut state.waiters);
        drop(state);
        self.work.notify_all();
        self.stopped.notify_all();
        failed.into_values().for_each(Waker::wake);
    }

    pub(crate) fn poll(&self, sequence: u64, ticket: u64, waker: &Waker) -> Poll<Result<(), StoreFault>> {
        let mut state = self.lock();
        if state.durable >= sequence {
            return Poll::Ready(Ok(()));
        }
        if let Some(why) = &state.poison {
            return Poll::Ready(Err(StoreFault::Poisoned { why: why.clone() }));
        }
        state.waiters.insert((sequence, ticket), waker.clone());
        Poll::Pending
    }

    pub(crate) fn forget(&self, sequence: u64, ticket: u64) {
        self.lock().waiters.remove(&(sequence, ticket));
    }

    /// The pending value: outer `None` when the row is not pending, inner `None` when it will be deleted.
    pub(crate) fn pending(&self, address: &[u8]) -> Result<Option<Option<Vec<u8>>>, StoreFault> {
        let state = self.lock();
        state.usable()?;
        Ok(state
            .newest_first()
            .find_map(|group| group.rows.get(address).cloned()))
    }

    pub(crate) fn pending_of(&self, table: Table) -> Result<Pending, StoreFault> {
        let state = self.lock();
        state.usable()?;
        let range = (
            Bound::Included(vec![table.prefix()]),
            Bound::Excluded(vec![table.prefix() + 1]),
        );
        let mut pending = Pending::new();
        for group in state.newest_first() {
            for (address, value) in group.rows.range(range.clone()) {
                pending
                    .entry(address[1..].to_vec())
                    .or_insert_with(|| value.clone());
            }
        }
        Ok(pending)
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.lock();
        match &state.poison {
            Some(why) => Health::Poisoned { why: why.clone() },
            None if state.closing => Health::Closed,
            None => Health::Healthy,
        }
    }

    /// Since when the disk has been at work on one group; `None` once the committer has left.
    pub(crate) fn busy_since(&self) -> Option<Option<Instant>> {
        let state = self.lock();
        let over = state.stopped || state.poison.is_some();
        (!over).then(|| state.committing.as_ref().map(|(_, since)| *since))
    }

    /// No more rows; the committer leaves after the last group.
    pub(crate) fn start_closing(&self) {
        self.lock().closing = true;
        self.work.notify_all();
    }

    /// Said by the committer as its last word.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.stopped.notify_all();
    }

    /// Waits for the committer; not for long when the store is poisoned, for then it may hang in the disk.
    pub(crate) fn wait_stopped(&self) -> Result<(), StoreFault> {
        let mut state = self.lock();
        while !state.stopped && state.poison.is_none() {
            state = self.stopped.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(why) = state.poison.clone() else {
            return Ok(());
        };
        drop(
            self.stopped
                .wait_timeout_while(state, POISONED_CLOSE_LIMIT, |state| !state.stopped),
        );
        Err(StoreFault::Poisoned { why })
    }

    /// Waits for a stop, at most this long: the watchdog's sleep.
    pub(crate) fn sleep_until_stopped(&self, limit: Duration) {
        let state = self.lock();
        drop(
            self.stopped
                .wait_timeout_while(state, limit, |state| !state.stopped && state.poison.is_none()),
        );
    }
}

/// Refuses what can never be written, and weighs the rest.
fn check(rows: &[Row]) -> Result<usize, StoreFault> {
    let limit = |what, size, max| {
        if size > max {
            Err(StoreFault::TooLarge { what, size, max })
        } else {
            Ok(())
        }
    };
    limit("a submission (rows)", rows.len(), GROUP_ROWS_MAX)?;
    for row in rows {
        limit("a key (bytes)", row.key.len(), KEY_BYTES_MAX)?;
        limit(
            "a value (bytes)",
            row.value.as_ref().map_or(0, Vec::len),
            VALUE_BYTES_MAX,
        )?;
        if identity::reserved(row) {
            return Err(StoreFault::Reserved {
                key: String::from_utf8_lossy(&row.key).into_owned(),
            });
        }
    }
    let bytes = rows.iter().map(Row::bytes).sum();
    limit("a submission (bytes)", bytes, GROUP_BYTES_MAX)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the groups that so many deletions go to the disk in.
    fn groups(table: Table, deletions: u8) -> Vec<usize> {
        let shared = Shared::default();
        for key in 0..deletions {
            shared.submit(vec![Row::delete(table, [key])]).unwrap();
        }
        shared.start_closing();
        std::iter::from_fn(|| shared.next_group())
            .map(|group| group.rows().count())
            .collect()
    }

    #[test]
    fn a_group_touches_few_rows_where_leaves_are_heavy() {
        let heavy = GROUP_BYTES_MAX / VALUE_BYTES_MAX;
        assert_eq!(heavy, 8);
        assert_eq!(groups(Table::Idempotency, 20), [heavy, heavy, 4]);
        assert_eq!(groups(Table::UsedCredentials, 20), [20]);
    }
}
