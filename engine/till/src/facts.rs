//! The world re-enters only as a fact: sightings of the watcher go through the same lanes as vouchers.

use crate::books::{read_all, spell};
use crate::no::No;
use crate::shard::Adoption;
use crate::till::Till;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_chain::watcher::{Cursor, Observation, Sighting, Sink, Tracked};
use weir_chain::{BlockRef, Rpc};
use weir_core::{ChannelId, Input, Outcome, Refusal};
use weir_store::{Journal, Table};

/// Version of the cursor record.
pub const CURSOR_RECORD_VERSION: u8 = 1;
const CURSOR_KEY: &[u8] = b"cursor";

/// How far the chain was followed, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The newest block whose facts are in the books.
    pub head: BlockRef,
    /// Channels opened before this block are older than the books (threat C7).
    pub born_in: u64,
}

impl Followed {
    /// Reads how far the last run came; a new store is born at the chain's newest block.
    ///
    /// # Errors
    /// The books, or on the first start the chain, cannot be read.
    pub async fn read_or_begin(journal: &dyn Journal, rpc: &Rpc) -> Result<Self, BeginFault> {
        let known = read_all::<Self>(journal, Table::ChainCursor, CURSOR_RECORD_VERSION).map_err(No::from)?;
        if let Some((_, followed)) = known.into_iter().next() {
            return Ok(followed);
        }
        let head = rpc.head().await?;
        let followed = Self {
            head,
            born_in: head.number.saturating_add(1),
        };
        followed.write(journal).await?;
        Ok(followed)
    }

    async fn write(&self, journal: &dyn Journal) -> Result<(), No> {
        let row = spell(
            Table::ChainCursor,
            CURSOR_RECORD_VERSION,
            CURSOR_KEY.to_vec(),
            self,
        )?;
        Ok(journal.submit(vec![row])?.await?)
    }

    /// The same books, known to be a restored copy: they are born anew after this block, and what was opened until
    /// then is older than they are.
    #[must_use]
    const fn restored_before(self, head: BlockRef) -> Self {
        Self {
            born_in: head.number.saturating_add(1),
            ..self
        }
    }

    /// Where the watcher goes on.
    pub const fn cursor(&self) -> Cursor {
        Cursor::After(self.head)
    }
}

/// The block before which channels are older than the books. Clones share it; it rises when the books turn out to be a
/// restored copy.
#[derive(Debug, Clone)]
pub struct Birth(Arc<AtomicU64>);

impl Birth {
    /// Books that were born in this block.
    pub fn in_block(block: u64) -> Self {
        Self(Arc::new(AtomicU64::new(block)))
    }

    /// The block.
    pub fn block(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn rise_to(&self, block: u64) {
        self.0.fetch_max(block, Ordering::AcqRel);
    }
}

/// Why it is not known how far the chain was followed.
#[derive(Debug, thiserror::Error)]
pub enum BeginFault {
    /// The books.
    #[error(transparent)]
    Books(#[from] No),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] weir_chain::ChainFault),
}

/// The channels that the watcher reads again at the start, whatever was missed: all that a block can still change. One
/// whose end was seen but is not final is among them, because a reorganisation may have taken it back meanwhile.
pub async fn tracked(till: &Till) -> Result<Vec<Tracked>, No> {
    let channels = till.channels().await?;
    let open = channels.iter().filter(|channel| !channel.is_over());
    Ok(open
        .map(|channel| Tracked {
            id: channel.id(),
            terms: channel.terms().clone(),
            opened_in: None,
        })
        .collect())
}

/// Takes sightings into the till.
#[derive(Debug)]
pub struct Facts {
    till: Till,
    followed: Followed,
    birth: Birth,
    /// The first sighting since the start reads every channel that is not over: if the books are a restored copy, and
    /// it can be known at all, it is known then.
    is_first: bool,
}

impl Facts {
    /// Facts for a till that has followed the chain so far. Whoever adopts channels too shares `birth`.
    pub fn new(till: Till, followed: Followed) -> Self {
        Self {
            till,
            followed,
            birth: Birth::in_block(followed.born_in),
            is_first: true,
        }
    }

    /// The block before which channels are older than the books.
    pub fn birth(&self) -> Birth {
        self.birth.clone()
    }

    /// Channels on which a sighting shows a settlement that these books never decided, although they sell on them.
    async fn unaccounted(&self, sighting: &Sighting) -> Result<HashSet<ChannelId>, No> {
        let mut found = HashSet::new();
        for observation in &sighting.observations {
            let settled = observation.seen.settled.max(observation.last_final.settled);
            let unaccounted = match self.till.read(observation.id).await {
                Ok(known) => {
                    let channel = &known.get().channel;
                    !channel.is_drain_only() && settled > channel.accounted()
                }
                Err(No::Refused(Refusal::ChannelNotFound)) => {
                    !self.adoption(observation).drain_only && !settled.is_zero()
                }
                Err(no) => return Err(no),
            };
            if unaccounted {
                found.insert(observation.id);
            }
        }
        Ok(found)
    }

    /// Nothing that was opened until this block is sold on any more (threat C7).
    ///
    /// The channels that gave it away are left to their own observation, which comes last: a crash before that finds
    /// them again, and drains the rest again.
    async fn begin_anew(&mut self, head: BlockRef, gave_it_away: &HashSet<ChannelId>) -> Result<(), No> {
        tracing::error!(
            head = head.number,
            channels = gave_it_away.len(),
            "these books are older than the chain: it shows settlements that they never decided. Were they restored \
             from a backup, or is the payee's key in use elsewhere? Channels opened until now are settled and closed, \
             and not sold on; new ones are"
        );
        for channel in self.till.channels().await? {
            let id = channel.id();
            if !(channel.is_over() || channel.is_drain_only() || gave_it_away.contains(&id)) {
                self.till.tell_patiently(id, Input::Drain).await.map(drop)?;
            }
        }
        self.followed = self.followed.restored_before(head);
        self.followed.write(&**self.till.journal()).await?;
        self.birth.rise_to(self.followed.born_in);
        Ok(())
    }

    fn adoption(&self, observation: &Observation) -> Adoption {
        Adoption {
            id: observation.id,
            terms: observation.terms.clone(),
            seen: observation.seen,
            last_final: observation.last_final,
            drain_only: observation
                .opened_in
                .is_none_or(|block| block < self.followed.born_in),
        }
    }
}

impl Sink for Facts {
    type Fault = No;

    async fn take(&mut self, sighting: &Sighting) -> Result<(), No> {
        if sighting.reorged {
            tracing::warn!(
                head = sighting.head.number,
                "blocks were replaced; their channels are read again"
            );
        }
        if self.is_first {
            let unaccounted = self.unaccounted(sighting).await?;
            if !unaccounted.is_empty() {
                self.begin_anew(sighting.head, &unaccounted).await?;
            }
        }
        for observation in &sighting.observations {
            let answer = self.till.observe(self.adoption(observation)).await?;
            let channel = &answer.get().channel;
            if let Outcome::Unaccounted { settled } = answer.get().outcome {
                tracing::error!(
                    channel = %channel.id(), %settled,
                    "a settlement that is not in these books is on the chain; the channel is not sold on"
                );
            }
            tracing::debug!(channel = %channel.id(), standing = ?channel.standing(), "observed");
        }
        self.is_first = false;
        self.followed.head = sighting.head;
        self.followed.write(&**self.till.journal()).await?;
        self.till
            .freshness()
            .saw_block(sighting.head.timestamp, self.till.clock().now());
        Ok(())
    }
}
