//! What the watcher remembers between two looks, and how it moves on. Pure: no node is asked here.

use super::{Cursor, Observation, REORG_BLOCKS_REMEMBERED, Sighting, Tracked};
use crate::escrow::{Held, OpenedChannel};
use crate::reserve::ClosedChannel;
use crate::rpc::BlockRef;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use weir_core::{ChainState, ChannelId, Cumulative, Terms};

/// A channel that was never opened, as a state.
const NOTHING: ChainState = ChainState {
    deposit: Cumulative::ZERO,
    settled: Cumulative::ZERO,
    close_requested_at: None,
    finalized: false,
};

/// A block that was followed, and whose facts it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) block: BlockRef,
    pub(super) touched: Vec<ChannelId>,
}

/// A channel as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: ChannelId,
    pub(super) seen: Option<Held>,
    pub(super) last_final: Option<Held>,
}

/// What one look at the chain read, before anything is believed.
#[derive(Debug)]
pub(super) struct Reading {
    /// New blocks, oldest first, linked by their parents; never empty.
    pub(super) blocks: Vec<Followed>,
    /// Remembered blocks at this height and above are no longer part of the chain, or are read anew.
    pub(super) replaces_from: u64,
    pub(super) reorged: bool,
    pub(super) head: BlockRef,
    pub(super) last_final: BlockRef,
    pub(super) opened: Vec<OpenedChannel>,
    /// Ends that left no record.
    pub(super) closed: Vec<ClosedChannel>,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Known {
    terms: Terms,
    opened_in: Option<u64>,
    closed: Option<ClosedChannel>,
}

/// Facts that can still change although no block touches the channel: they are not final yet.
#[derive(Debug, Clone)]
struct Unsettled {
    touched_in: u64,
    told: Option<(ChainState, ChainState)>,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) finality_blocks: u64,
    pub(super) cursor: Cursor,
    chain: VecDeque<Followed>,
    known: HashMap<ChannelId, Known>,
    unsettled: BTreeMap<ChannelId, Unsettled>,
}

impl Track {
    pub(super) fn new(finality_blocks: u64, cursor: Cursor, tracked: Vec<Tracked>) -> Self {
        let known = tracked.into_iter().map(|tracked| {
            let Tracked { id, terms, opened_in } = tracked;
            let closed = None;
            let known = Known {
                terms,
                opened_in,
                closed,
            };
            (id, known)
        });
        Self {
            finality_blocks,
            cursor,
            chain: VecDeque::new(),
            known: known.collect(),
            unsettled: BTreeMap::new(),
        }
    }

    /// How many blocks are remembered.
    pub(super) const fn remembers(&self) -> u64 {
        self.finality_blocks.saturating_add(REORG_BLOCKS_REMEMBERED)
    }

    pub(super) fn tip(&self) -> Option<BlockRef> {
        self.chain.back().map(|followed| followed.block)
    }

    /// The remembered block at this height.
    pub(super) fn at(&self, number: u64) -> Option<BlockRef> {
        let first = self.chain.front()?.block.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.chain.get(index).map(|followed| followed.block)
    }

    /// Every channel that is watched.
    pub(super) fn all(&self) -> BTreeSet<ChannelId> {
        self.known.keys().copied().collect()
    }

    /// What must be read again when blocks from `replaces_from` on are given up, besides what new blocks touch.
    pub(super) fn due(&self, replaces_from: u64) -> BTreeSet<ChannelId> {
        let abandoned = self
            .chain
            .iter()
            .filter(|followed| followed.block.number >= replaces_from);
        let abandoned = abandoned.flat_map(|followed| followed.touched.iter().copied());
        self.unsettled.keys().copied().chain(abandoned).collect()
    }

    /// What is new in a reading: rows that differ from what was told last.
    pub(super) fn sighting(&self, reading: &Reading) -> Sighting {
        let mut observations = Vec::new();
        for row in &reading.rows {
            let Some(terms) = self.terms_of(row, reading) else {
                continue;
            };
            let states = self.states_of(row, reading);
            let states = (states.0.unwrap_or(NOTHING), states.1.unwrap_or(NOTHING));
            if self.unsettled.get(&row.id).and_then(|facts| facts.told) == Some(states) {
                continue;
            }
            let opened = reading.opened.iter().rfind(|opened| opened.id == row.id);
            let known = self.known.get(&row.id).and_then(|known| known.opened_in);
            observations.push(Observation {
                id: row.id,
                terms,
                seen: states.0,
                last_final: states.1,
                opened_in: opened.map(|opened| opened.block_number).or(known),
            });
        }
        Sighting {
            head: reading.head,
            last_final: reading.last_final,
            observations,
            reorged: reading.reorged,
        }
    }

    /// The reserve holds no terms: they are those that its opening told.
    fn terms_of(&self, row: &Row, reading: &Reading) -> Option<Terms> {
        let held = [&row.seen, &row.last_final];
        let read = held
            .into_iter()
            .find_map(|held| held.as_ref().and_then(|(terms, _)| terms.as_ref()));
        let told = || {
            let opened = reading.opened.iter().rfind(|opened| opened.id == row.id);
            opened.map(|opened| &opened.terms)
        };
        read.or_else(told)
            .or_else(|| self.known.get(&row.id).map(|known| &known.terms))
            .cloned()
    }

    /// An end that left no record, unless the block that told of it was given up.
    fn end_of(&self, row: &Row, reading: &Reading) -> Option<ClosedChannel> {
        let read = reading.closed.iter().rfind(|closed| closed.id == row.id).copied();
        let known = || self.known.get(&row.id).and_then(|known| known.closed);
        read.or_else(|| known().filter(|closed| closed.block_number < reading.replaces_from))
    }

    /// At the newest block and at the newest final one; where a record was deleted, what its end told.
    fn states_of(&self, row: &Row, reading: &Reading) -> (Option<ChainState>, Option<ChainState>) {
        let end = self.end_of(row, reading);
        let state = |held: &Option<Held>, at: BlockRef| {
            let held = held.as_ref().map(|(_, state)| *state);
            let end = end.filter(|end| end.block_number <= at.number);
            held.or(end.map(|end| end.state))
        };
        (
            state(&row.seen, reading.head),
            state(&row.last_final, reading.last_final),
        )
    }

    /// Moves on: the sighting of this reading was taken.
    pub(super) fn advance(&mut self, reading: Reading) {
        let touched_now = self.touched_in(&reading);
        for row in &reading.rows {
            let Some(terms) = self.terms_of(row, &reading) else {
                continue;
            };
            let (closed, states) = (self.end_of(row, &reading), self.states_of(row, &reading));
            let opened = reading.opened.iter().rfind(|opened| opened.id == row.id);
            let known = self.known.entry(row.id).or_insert(Known {
                terms,
                opened_in: None,
                closed: None,
            });
            known.opened_in = opened.map(|opened| opened.block_number).or(known.opened_in);
            known.closed = closed;

            let before = self.unsettled.get(&row.id).map(|facts| facts.touched_in);
            let touched_in = touched_now
                .get(&row.id)
                .copied()
                .or(before)
                .unwrap_or(reading.head.number);
            if touched_in > reading.last_final.number {
                let told = Some((states.0.unwrap_or(NOTHING), states.1.unwrap_or(NOTHING)));
                self.unsettled.insert(row.id, Unsettled { touched_in, told });
                continue;
            }
            self.unsettled.remove(&row.id);
            // What is final and over, or never was, needs no watching.
            if states.1.is_none_or(|state| state.finalized) {
                self.known.remove(&row.id);
            }
        }
        while self.tip().is_some_and(|tip| tip.number >= reading.replaces_from) {
            self.chain.pop_back();
        }
        self.chain.extend(reading.blocks);
        while self.chain.len() as u64 > self.remembers() {
            self.chain.pop_front();
        }
        self.cursor = Cursor::After(reading.head);
    }

    /// In which block each channel was touched last; what an abandoned block touched counts as touched just now.
    fn touched_in(&self, reading: &Reading) -> BTreeMap<ChannelId, u64> {
        let mut touched = BTreeMap::new();
        for followed in self
            .chain
            .iter()
            .filter(|followed| followed.block.number >= reading.replaces_from)
        {
            touched.extend(followed.touched.iter().map(|id| (*id, reading.head.number)));
        }
        for followed in &reading.blocks {
            for id in &followed.touched {
                let latest = touched.entry(*id).or_insert(followed.block.number);
                *latest = followed.block.number.max(*latest);
            }
        }
        touched
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
