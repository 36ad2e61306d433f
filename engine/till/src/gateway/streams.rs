//! The streams that are sold by the event now. A channel has one at a time: a new one ends the one before it
//! (draft-evm-session-00 and draft-tempo-session-00, Concurrency Model).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use weir_core::ChannelId;

/// How far the daemon is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It sells.
    Selling,
    /// Nothing new is sold; streams go on while their vouchers come quickly.
    Draining,
    /// Streams end now, each with its receipt.
    Concluding,
}

/// Why a stream has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MustEnd {
    /// The channel has a newer one.
    Replaced,
    /// The daemon ends.
    Shutdown,
}

/// One entry: its number, and how it hears of its end.
type Entry = (u64, watch::Sender<Option<MustEnd>>);

/// The streams of all channels. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Streams {
    stage: Arc<watch::Sender<Stage>>,
    running: Arc<Mutex<HashMap<ChannelId, Entry>>>,
    next: Arc<AtomicU64>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            stage: Arc::new(watch::Sender::new(Stage::Selling)),
            running: Arc::default(),
            next: Arc::default(),
        }
    }
}

/// One stream's place among them; dropped when it is over.
#[derive(Debug)]
pub struct Running {
    streams: Streams,
    channel: ChannelId,
    number: u64,
    ends: watch::Receiver<Option<MustEnd>>,
}

impl Streams {
    /// Begins a stream on a channel and has the one before it end.
    pub fn begin(&self, channel: ChannelId) -> Running {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, ends) = watch::channel(None);
        // The stage is read under the lock: whoever ends all streams afterwards finds this one among them.
        let mut running = self.lock();
        if self.stage() >= Stage::Concluding {
            tell.send_replace(Some(MustEnd::Shutdown));
        }
        if let Some((_, before)) = running.insert(channel, (number, tell)) {
            before.send_replace(Some(MustEnd::Replaced));
        }
        drop(running);
        Running {
            streams: self.clone(),
            channel,
            number,
            ends,
        }
    }

    /// Whether one runs: on this channel, or on any when none is named.
    pub fn run_on(&self, channel: Option<ChannelId>) -> bool {
        let running = self.lock();
        channel.map_or(!running.is_empty(), |channel| running.contains_key(&channel))
    }

    /// How many run.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Goes on to a stage; there is no way back.
    pub fn enter(&self, stage: Stage) {
        self.stage.send_modify(|now| *now = stage.max(*now));
        if stage >= Stage::Concluding {
            for (_, tell) in self.lock().values() {
                tell.send_replace(Some(MustEnd::Shutdown));
            }
        }
    }

    /// The stage.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Whether nothing new is sold any more.
    pub fn ends(&self) -> bool {
        self.stage() > Stage::Selling
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Entry>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Waits until the stream has to end.
    pub async fn must_end(&self) -> MustEnd {
        let mut ends = self.ends.clone();
        let ended = ends.wait_for(Option::is_some).await;
        // Its entry goes when a newer one takes the place, which tells it first; so a sender that is gone means that.
        ended.ok().and_then(|why| *why).unwrap_or(MustEnd::Replaced)
    }

    /// The daemon's stage.
    pub fn stage(&self) -> Stage {
        self.streams.stage()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.streams.lock();
        if running
            .get(&self.channel)
            .is_some_and(|(number, _)| *number == self.number)
        {
            running.remove(&self.channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn channel(byte: u8) -> ChannelId {
        ChannelId(B256::repeat_byte(byte))
    }

    #[tokio::test]
    async fn a_channel_has_one_stream_and_the_newest_stays() {
        let streams = Streams::default();
        let (first, other) = (streams.begin(channel(1)), streams.begin(channel(2)));
        let second = streams.begin(channel(1));
        assert_eq!(first.must_end().await, MustEnd::Replaced);
        assert_eq!(streams.count(), 2);
        drop(first);
        assert!(
            streams.run_on(Some(channel(1))),
            "the older one's end leaves the newer"
        );
        drop(second);
        assert!(!streams.run_on(Some(channel(1))) && streams.run_on(None));
        drop(other);
        assert!(!streams.run_on(None));
    }

    #[tokio::test]
    async fn streams_hear_of_the_end_when_they_run_and_when_they_begin_late() {
        let streams = Streams::default();
        let running = streams.begin(channel(1));
        streams.enter(Stage::Draining);
        assert!(streams.ends());
        assert!(
            running.ends.borrow().is_none(),
            "draining ends no stream by itself"
        );
        streams.enter(Stage::Concluding);
        streams.enter(Stage::Draining);
        assert_eq!(running.stage(), Stage::Concluding, "no way back");
        assert_eq!(running.must_end().await, MustEnd::Shutdown);
        assert_eq!(streams.begin(channel(2)).must_end().await, MustEnd::Shutdown);
    }
}
