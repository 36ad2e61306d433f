//! How others call the settler and hear from it.

use alloy_primitives::B256;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, broadcast, watch};
use weir_core::{ChannelId, Cumulative};

/// Settlements that a slow listener may fall behind by before it misses some.
const SETTLED_BACKLOG: usize = 4096;

/// A settlement that reached a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The channel.
    pub channel: ChannelId,
    /// The transaction.
    pub transaction: B256,
    /// The settled total that was set.
    pub target: Cumulative,
    /// Whether it closed the channel.
    pub closed: bool,
}

/// Totals since the start, for metrics and the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Transactions mined.
    pub transactions: u64,
    /// Channels settled or closed by them.
    pub channels: u64,
    /// Gas they used.
    pub gas_used: u64,
    /// Rows that took no effect, in simulation or in a block.
    pub skipped: u64,
}

/// Calls the settler and hears from it.
#[derive(Debug, Clone)]
pub struct SettlerHandle {
    call: Arc<Notify>,
    asked: Arc<Mutex<HashSet<ChannelId>>>,
    settled: broadcast::Sender<Settled>,
    tally: watch::Receiver<Tally>,
}

impl SettlerHandle {
    pub(super) fn new(tally: watch::Receiver<Tally>) -> Self {
        Self {
            call: Arc::default(),
            asked: Arc::default(),
            settled: broadcast::channel(SETTLED_BACKLOG).0,
            tally,
        }
    }

    /// Has the books looked through soon.
    pub fn call(&self) {
        self.call.notify_one();
    }

    /// Has these channels settled at the next look, whatever the policy says of value and age.
    pub fn settle_now(&self, channels: impl IntoIterator<Item = ChannelId>) {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(channels);
        self.call();
    }

    /// Hears of every settlement from now on.
    pub fn listen(&self) -> broadcast::Receiver<Settled> {
        self.settled.subscribe()
    }

    /// Totals since the start.
    pub fn tally(&self) -> Tally {
        *self.tally.borrow()
    }

    pub(super) async fn called(&self) {
        self.call.notified().await;
    }

    /// The channels that were asked for since this was last called.
    pub(super) fn take_asked(&self) -> HashSet<ChannelId> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// These were asked for and are still to be settled, at the next look.
    pub(super) fn keep_asked(&self, channels: impl Iterator<Item = ChannelId>) {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(channels);
    }

    pub(super) fn tell(&self, settled: Settled) {
        // Nobody may be listening; the watcher tells the lanes in any case.
        let _ = self.settled.send(settled);
    }
}
