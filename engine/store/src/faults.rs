//! Faults on demand: the k-th apply or sync fails, panics or hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::{Backend, Why};
use crate::queue::Group;
use crate::{COMMIT_SECONDS_MAX, Table, Visit};

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the group is applied.
    Apply,
    /// After it is applied, instead of the sync.
    Sync,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error is returned.
    Fail,
    /// The thread panics.
    Panic,
    /// Nothing happens for this long, then the call goes on.
    Hang(Duration),
}

/// At most one fault to come, and counters of what was asked of the disk. Clones share the counters.
#[derive(Clone, Debug)]
pub struct Plan {
    fault: Option<(Place, u64, Fault)>,
    stall: Duration,
    counters: Arc<[AtomicU64; 2]>,
}

impl Default for Plan {
    fn default() -> Self {
        let stall = Duration::from_secs(COMMIT_SECONDS_MAX);
        Self {
            fault: None,
            stall,
            counters: Arc::default(),
        }
    }
}

impl Plan {
    /// The fault at the k-th call of one kind, counted from 1.
    #[must_use]
    pub fn at(place: Place, call: u64, fault: Fault) -> Self {
        Self {
            fault: Some((place, call, fault)),
            ..Self::default()
        }
    }

    /// How long one group may take before the store is poisoned.
    #[must_use]
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// How often this kind of call was made.
    pub fn calls(&self, place: Place) -> u64 {
        self.counters[place as usize].load(Ordering::SeqCst)
    }

    pub(crate) fn stall(&self) -> Duration {
        self.stall
    }

    pub(crate) fn over<B: Backend>(self, backend: B) -> Faulty<B> {
        Faulty { backend, plan: self }
    }

    #[allow(clippy::panic, reason = "a panic is what was asked for")]
    fn strike(&self, place: Place) -> Result<(), Why> {
        let call = self.counters[place as usize].fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Some((at, k, fault)) if at == place && k == call => match fault {
                Fault::Fail => Err(format!("injected at {place:?} {call}")),
                Fault::Panic => panic!("injected at {place:?} {call}"),
                Fault::Hang(limit) => {
                    std::thread::sleep(limit);
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }
}

pub(crate) struct Faulty<B> {
    backend: B,
    plan: Plan,
}

impl<B: Backend> Backend for Faulty<B> {
    fn apply(&self, group: &Group) -> Result<(), Why> {
        self.plan.strike(Place::Apply)?;
        self.backend.apply(group)
    }

    fn sync(&self) -> Result<(), Why> {
        self.plan.strike(Place::Sync)?;
        self.backend.sync()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Why> {
        self.backend.get(table, key)
    }

    fn scan(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), Why> {
        self.backend.scan(table, visit)
    }
}
