//! Follows the chain block by block and tells what became of a payee's channels.
//!
//! What it tells is contiguous: a sighting is handed over, and only when the sink has taken it does the cursor move
//! on. What takes credit away shows in `seen` at once; what adds credit counts once it shows in `last_final`
//! ([`ChainState::cautious`]). When the node fails or lags, nothing is told and the view ages: it fails closed.

mod read;
mod track;

use crate::escrow::Escrow;
use crate::fault::ChainFault;
use crate::rpc::BlockRef;
use alloy::primitives::Address;
use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::watch;
use track::Track;
use weir_core::{ChainState, ChannelId, Terms, UnixSeconds};

/// Blocks remembered beyond the finality depth: a reorg that is not deeper is followed block by block.
pub const REORG_BLOCKS_REMEMBERED: u64 = 64;
/// Longest pause after failures, in milliseconds.
pub const BACKOFF_MILLISECONDS_MAX: u64 = 15_000;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// At this height, inclusive: the escrow's birth, or that of the books.
    From(u64),
    /// After this block, the head of the last sighting that was taken.
    After(BlockRef),
}

/// A channel that the books hold already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// The channel.
    pub id: ChannelId,
    /// What was agreed on.
    pub terms: Terms,
    /// In which block it was opened, if that is known.
    pub opened_in: Option<u64>,
}

/// How to watch.
#[derive(Debug, Clone)]
pub struct WatcherConfig {
    /// Pause between two looks at the head.
    pub poll_interval: Duration,
    /// How many blocks must lie on top of a block until it is final; 0 makes the newest final.
    pub finality_blocks: u64,
    /// Where to begin.
    pub cursor: Cursor,
    /// The books' channels that are not finalized: read again at the start, whatever was missed.
    pub tracked: Vec<Tracked>,
}

/// One channel, read at the newest block and at the newest final one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The channel.
    pub id: ChannelId,
    /// What was agreed on.
    pub terms: Terms,
    /// After the newest block. A channel that a reorg removed is all zeros.
    pub seen: ChainState,
    /// After the newest final block. A channel that did not exist there is all zeros.
    pub last_final: ChainState,
    /// In which block it was opened; `None` when that was before the cursor and nobody told.
    pub opened_in: Option<u64>,
}

/// What one look at the chain brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The newest block: the cursor once this is taken.
    pub head: BlockRef,
    /// The newest final block.
    pub last_final: BlockRef,
    /// Every channel whose facts are new since the last sighting.
    pub observations: Vec<Observation>,
    /// Blocks that were told of before are no longer part of the chain.
    pub reorged: bool,
}

/// Who takes sightings, in order. The next one is read only when this one is taken.
pub trait Sink: Send {
    /// Why a sighting could not be taken; the same facts are then told again later.
    type Fault: fmt::Display + Send;

    /// Takes a sighting. When this returns `Ok`, the facts are durable as far as the watcher is concerned.
    fn take(&mut self, sighting: &Sighting) -> impl Future<Output = Result<(), Self::Fault>> + Send;
}

/// How far the chain has been followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainView {
    /// The newest block that was taken.
    pub head: BlockRef,
    /// The newest final block then.
    pub last_final: BlockRef,
}

impl ChainView {
    /// How old the view is: since the timestamp of its newest block, in seconds.
    pub const fn age_seconds(&self, now: UnixSeconds) -> u64 {
        now.seconds_since(self.head.timestamp)
    }
}

/// Watches one escrow for one payee.
#[derive(Debug)]
pub struct Watcher {
    escrow: Escrow,
    payee: Address,
    poll_interval: Duration,
    track: Track,
    view: watch::Sender<Option<ChainView>>,
}

impl Watcher {
    /// A watcher that has not looked yet.
    pub fn new(escrow: Escrow, payee: Address, config: WatcherConfig) -> Self {
        Self {
            escrow,
            payee,
            poll_interval: config.poll_interval,
            track: Track::new(config.finality_blocks, config.cursor, config.tracked),
            view: watch::Sender::new(None),
        }
    }

    /// The view as it moves on; `None` until the first sighting is taken.
    pub fn view(&self) -> watch::Receiver<Option<ChainView>> {
        self.view.subscribe()
    }

    /// Watches until `shutdown` completes. A sighting under way is taken to its end.
    pub async fn run<S: Sink>(mut self, mut sink: S, shutdown: impl Future<Output = ()> + Send) {
        tokio::pin!(shutdown);
        let mut failures = 0u32;
        loop {
            // Reading changes nothing, so it may be abandoned; taking is not.
            let read = tokio::select! {
                () = &mut shutdown => return,
                read = self.look() => read,
            };
            let taken = match read {
                Ok(None) => Ok(()),
                Ok(Some(reading)) => self.hand_over(&mut sink, reading).await,
                Err(fault) => Err(fault.to_string()),
            };
            let pause = match taken {
                Ok(()) => {
                    failures = 0;
                    self.poll_interval
                }
                Err(cause) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(%cause, failures, "the chain could not be followed; the view ages");
                    backoff(self.poll_interval, failures)
                }
            };
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks once and hands over what is new; says whether anything was. For callers with a loop of their own.
    ///
    /// # Errors
    /// [`StepFault`]; nothing has moved then, and the next call tells the same facts again.
    pub async fn step<S: Sink>(&mut self, sink: &mut S) -> Result<bool, StepFault> {
        let Some(reading) = self.look().await? else {
            return Ok(false);
        };
        self.hand_over(sink, reading).await.map_err(StepFault::Sink)?;
        Ok(true)
    }

    async fn look(&self) -> Result<Option<track::Reading>, ChainFault> {
        read::look(&self.escrow, self.payee, &self.track).await
    }

    async fn hand_over<S: Sink>(&mut self, sink: &mut S, reading: track::Reading) -> Result<(), String> {
        let sighting = self.track.sighting(&reading);
        sink.take(&sighting).await.map_err(|fault| fault.to_string())?;
        self.track.advance(reading);
        self.view.send_replace(Some(ChainView {
            head: sighting.head,
            last_final: sighting.last_final,
        }));
        Ok(())
    }
}

/// Why a step did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StepFault {
    /// The chain could not be read.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// The sink did not take the sighting.
    #[error("the sighting was not taken: {0}")]
    Sink(String),
}

/// The poll interval doubled with every failure, bounded, and between half and all of that by chance.
fn backoff(poll_interval: Duration, failures: u32) -> Duration {
    let longest = Duration::from_millis(BACKOFF_MILLISECONDS_MAX);
    let doubled = poll_interval.saturating_mul(1u32 << failures.min(16));
    let pause = doubled.min(longest).max(poll_interval);
    // The hasher's random keys are all the chance that is needed here.
    let chance = RandomState::new().hash_one(failures) % 1_000;
    pause.mul_f64(0.5 + chance as f64 / 2_000.0)
}
