//! The committer: the only thread that writes, and the only one that acknowledges.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::backend::{Backend, Why};
use crate::queue::{Pending, Shared};
use crate::row::address;
use crate::{CommitTally, Health, Identity, Journal, Row, StoreFault, Table, Ticket, Visit};

/// How long one group may take at the disk before the store is poisoned: no waiter hangs on a dead disk, and not
/// on a write error that the database forgets to report to the thread that waits for it.
pub const COMMIT_SECONDS_MAX: u64 = 30;

/// Every `Journal` of this crate: a queue, a committer thread, and a backend that is only told to apply and sync.
pub(crate) struct GroupCommit<B: Backend> {
    shared: Arc<Shared>,
    /// Gone after `close`, so that the files are free.
    backend: RwLock<Option<Arc<B>>>,
    identity: Identity,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl<B: Backend> GroupCommit<B> {
    pub(crate) fn start(backend: B, identity: Identity, stall: Duration) -> Result<Self, StoreFault> {
        let shared = Arc::new(Shared::default());
        let backend = Arc::new(backend);
        let committer = {
            let (shared, backend) = (shared.clone(), backend.clone());
            let work = move || {
                // Declared in this order, so that after a panic too the files go first and then the word: who
                // hears it may open the store again.
                let last_word = LastWord(shared);
                let backend = backend;
                run(&last_word.0, backend.as_ref());
                discard(backend);
            };
            spawn("weir-commit", work)?
        };
        let watched = shared.clone();
        spawn("weir-commit-watch", move || watch(&watched, stall))?;
        Ok(Self {
            shared,
            backend: RwLock::new(Some(backend)),
            identity,
            committer: Mutex::new(Some(committer)),
        })
    }

    fn read<T>(&self, doing: &str, read: impl FnOnce(&B) -> Result<T, Why>) -> Result<T, StoreFault> {
        let backend = self.backend.read().unwrap_or_else(PoisonError::into_inner);
        let backend = backend.as_deref().ok_or(StoreFault::Closed)?;
        read(backend).map_err(|why| StoreFault::disk(doing, why))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreFault> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| StoreFault::disk(format!("starting thread {name}"), error))
}

fn run<B: Backend>(shared: &Shared, backend: &B) {
    while let Some(group) = shared.next_group() {
        let written = backend
            .apply(&group)
            .map_err(|why| format!("a group could not be applied: {why}"));
        let synced = written.and_then(|()| {
            backend
                .sync()
                .map_err(|why| format!("a group could not be synced: {why}"))
        });
        match synced {
            Ok(()) => shared.acknowledge(&group),
            Err(why) => return shared.poison(&why),
        }
    }
}

/// Poisons when the disk has been silent for too long.
fn watch(shared: &Shared, stall: Duration) {
    while let Some(busy_since) = shared.busy_since() {
        let waited = busy_since.map_or(Duration::ZERO, |since| since.elapsed());
        if waited >= stall {
            return shared.poison(&format!(
                "the disk has not answered for {} seconds",
                waited.as_secs()
            ));
        }
        shared.sleep_until_stopped((stall - waited).min(Duration::from_secs(1)));
    }
}

/// However the committer ends, nobody waits for it in vain.
struct LastWord(Arc<Shared>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the committer panicked");
        }
        self.0.stop();
    }
}

/// sled panics when its last sync, on being dropped, fails. By then every acknowledged row is on the disk.
fn discard<B: Backend>(backend: Arc<B>) {
    if catch_unwind(AssertUnwindSafe(|| drop(backend))).is_err() {
        tracing::error!("the database panicked while it was being closed");
    }
}

impl<B: Backend> Journal for GroupCommit<B> {
    fn submit(&self, rows: Vec<Row>) -> Result<Ticket, StoreFault> {
        let (sequence, number) = self.shared.submit(rows)?;
        Ok(Ticket::new(self.shared.clone(), sequence, number))
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault> {
        // Pending first: a row leaves the queue only after it has been applied, so it is found in one of the two.
        match self.shared.pending(&address(table, key))? {
            Some(value) => Ok(value),
            None => self.read("reading a row", |backend| backend.get(table, key)),
        }
    }

    fn scan(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        let pending = self.shared.pending_of(table)?;
        self.read("scanning a table", |backend| {
            scan_merged(backend, table, pending, visit)
        })
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn tally(&self) -> CommitTally {
        self.shared.tally()
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn close(&self) -> Result<(), StoreFault> {
        self.shared.start_closing();
        let backend = self
            .backend
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(backend) = backend {
            discard(backend);
        }
        self.shared.wait_stopped()?;
        let committer = self
            .committer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A panic of the committer has poisoned the store, and was returned above.
        drop(committer.map(JoinHandle::join));
        Ok(())
    }
}

impl<B: Backend> Drop for GroupCommit<B> {
    fn drop(&mut self) {
        if let Err(fault) = self.close() {
            tracing::error!(%fault, "the store was dropped with rows that are not durable");
        }
    }
}

/// The applied rows with the pending ones laid over them, in the order of their keys.
fn scan_merged<B: Backend>(
    backend: &B,
    table: Table,
    pending: Pending,
    visit: &mut Visit<'_>,
) -> Result<(), Why> {
    let mut pending = pending.into_iter().peekable();
    let mut flow = ControlFlow::Continue(());
    backend.scan(table, &mut |key, value| {
        let mut replaced = false;
        while let Some((pending_key, pending_value)) = pending.next_if(|(next, _)| next.as_slice() <= key) {
            replaced |= pending_key == key;
            if let Some(pending_value) = pending_value {
                flow = visit(&pending_key, &pending_value);
                flow?;
            }
        }
        if !replaced {
            flow = visit(key, value);
        }
        flow
    })?;
    for (key, value) in pending {
        if flow.is_break() {
            break;
        }
        if let Some(value) = value {
            flow = visit(&key, &value);
        }
    }
    Ok(())
}
