//! A journal in memory, for tests: the same queue and committer over a map that can lose what was not synced.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::{Backend, Why};
use crate::commit::{COMMIT_SECONDS_MAX, GroupCommit};
use crate::queue::Group;
use crate::row::address;
use crate::{Birth, Journal, StoreFault, Table, Visit, identity};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct Disk {
    applied: Rows,
    synced: Rows,
    /// Addresses applied since the last sync.
    dirty: Vec<Vec<u8>>,
}

/// The disk of a memory journal: outlives the journal, and can be taken as a crash would leave it.
#[derive(Clone, Debug, Default)]
pub struct Image(Arc<Mutex<Disk>>);

impl Image {
    /// What a power cut at this moment would leave: a new disk with only what was synced. The old one goes on.
    pub fn crash(&self) -> Self {
        let synced = self.lock().synced.clone();
        Self(Arc::new(Mutex::new(Disk {
            applied: synced.clone(),
            synced,
            dirty: Vec::new(),
        })))
    }

    pub(crate) fn backend(&self) -> MemoryBackend {
        MemoryBackend(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the journal on this image. The birth counts only when the image is new.
///
/// # Errors
/// `NewerFormat` or `Damaged`, as for a store on disk.
pub fn open(image: &Image, birth: Birth) -> Result<Arc<dyn Journal>, StoreFault> {
    start(image.backend(), birth, Duration::from_secs(COMMIT_SECONDS_MAX))
}

/// Opens the journal on this image with faults to come.
///
/// # Errors
/// As [`open`].
#[cfg(any(test, feature = "testing"))]
pub fn open_with_faults(
    image: &Image,
    birth: Birth,
    plan: crate::faults::Plan,
) -> Result<Arc<dyn Journal>, StoreFault> {
    let stall = plan.stall();
    start(plan.over(image.backend()), birth, stall)
}

fn start(backend: impl Backend, birth: Birth, stall: Duration) -> Result<Arc<dyn Journal>, StoreFault> {
    if identity::read(&backend)?.is_none() {
        identity::write(&backend, birth)?;
    }
    let identity = identity::read(&backend)?.ok_or_else(|| StoreFault::Damaged {
        why: "no meta rows".to_owned(),
    })?;
    Ok(Arc::new(GroupCommit::start(backend, identity, stall)?))
}

pub(crate) struct MemoryBackend(Image);

impl Backend for MemoryBackend {
    fn apply(&self, group: &Group) -> Result<(), Why> {
        let mut disk = self.0.lock();
        for (address, value) in group.rows() {
            match value {
                Some(value) => disk.applied.insert(address.to_vec(), value.to_vec()),
                None => disk.applied.remove(address),
            };
            disk.dirty.push(address.to_vec());
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Why> {
        let mut disk = self.0.lock();
        let disk = &mut *disk;
        for address in disk.dirty.drain(..) {
            match disk.applied.get(&address) {
                Some(value) => disk.synced.insert(address, value.clone()),
                None => disk.synced.remove(&address),
            };
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Why> {
        Ok(self.0.lock().applied.get(&address(table, key)).cloned())
    }

    fn scan(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), Why> {
        let range = (
            Bound::Included(vec![table.prefix()]),
            Bound::Excluded(vec![table.prefix() + 1]),
        );
        // Copied, so that the visitor may use the journal.
        let rows: Vec<_> = self
            .0
            .lock()
            .applied
            .range(range)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        for (address, value) in rows {
            if let ControlFlow::Break(()) = visit(&address[1..], &value) {
                break;
            }
        }
        Ok(())
    }
}
