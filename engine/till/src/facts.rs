//! The world re-enters only as a fact: sightings of the watcher go through the same lanes as vouchers.

use crate::books::{read_all_as, spell};
use crate::no::No;
use crate::shard::Adoption;
use crate::till::Till;
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_chain::watcher::{Cursor, Observation, Sighting, Sink, Tracked};
use weir_chain::{BlockRef, Rpc};
use weir_core::{ChannelId, Input, Outcome, Refusal};
use weir_store::{Journal, Table, codec};

/// Version of the cursor record.
///
/// Version 1 ended before `first_block`.
pub const CURSOR_RECORD_VERSION: u8 = 2;
/// None, as version 2 spells it after what version 1 kept.
const CURSOR_SINCE_VERSION_2: [u8; 1] = [0];
const CURSOR_KEY: &[u8] = b"cursor";

/// How far the chain was followed, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The newest block whose facts are in the books.
    pub head: BlockRef,
    /// Channels opened before this block are older than the books (threat C7).
    pub born_in: u64,
    /// The chain's first block: a devnet that was started anew has its old id, and another first block.
    pub first_block: Option<B256>,
}

impl Followed {
    /// Reads how far the last run came; a new store is born at the chain's newest block.
    ///
    /// # Errors
    /// The books, or on the first start the chain, cannot be read; or the chain is another one than theirs.
    pub async fn read_or_begin(journal: &dyn Journal, rpc: &Rpc) -> Result<Self, BeginFault> {
        let first_block = rpc.first_block().await;
        let followed = match Self::read(journal)? {
            Some(followed) => followed.on(first_block)?,
            None => {
                let head = rpc.head().await?;
                Self {
                    head,
                    born_in: head.number.saturating_add(1),
                    first_block,
                }
            }
        };
        followed.write(journal).await?;
        Ok(followed)
    }

    fn read(journal: &dyn Journal) -> Result<Option<Self>, No> {
        let known = read_all_as(journal, Table::ChainCursor, |value| {
            codec::decode_any(CURSOR_RECORD_VERSION, value, |version, body| match version {
                1 => codec::body::<Self>(&[body, &CURSOR_SINCE_VERSION_2].concat()),
                _ => codec::body(body),
            })
        })?;
        Ok(known.into_iter().next().map(|(_, followed)| followed))
    }

    /// These books on a chain that began with this block. Where they don't know theirs, it is this one.
    fn on(self, first_block: Option<B256>) -> Result<Self, BeginFault> {
        match (self.first_block, first_block) {
            (Some(ours), Some(nodes)) if ours != nodes => Err(BeginFault::OtherChain { ours, nodes }),
            (ours, nodes) => Ok(Self {
                first_block: ours.or(nodes),
                ..self
            }),
        }
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
    /// The books were kept on another chain, of the same id.
    #[error(
        "the books are of another chain: theirs began with block {ours}, and the node's with {nodes}. Name the \
         right node in chain.rpc_url; only for a chain that was made anew, use a fresh server.data_dir"
    )]
    OtherChain {
        /// The first block of the books' chain.
        ours: B256,
        /// The first block of the node's.
        nodes: B256,
    },
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
        // Our challenges name no operator: who has one could close the channel over our heads, and is not sold to.
        let reserve = observation.terms.reserve;
        let is_ours_alone = reserve.is_none_or(|reserve| reserve.operator.is_zero());
        Adoption {
            id: observation.id,
            terms: observation.terms.clone(),
            seen: observation.seen,
            last_final: observation.last_final,
            drain_only: !is_ours_alone
                || observation
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

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::Row;
    use weir_store::memory::{self, Image};

    fn followed(first_block: Option<u8>) -> Followed {
        let head = BlockRef {
            number: 7,
            hash: B256::repeat_byte(7),
            timestamp: weir_core::UnixSeconds(70),
        };
        Followed {
            head,
            born_in: 3,
            first_block: first_block.map(B256::repeat_byte),
        }
    }

    #[test]
    fn books_are_of_the_chain_that_they_were_begun_on() {
        let block = |byte| Some(B256::repeat_byte(byte));
        let on = |known: Option<u8>, found| followed(known).on(found).map(|on| on.first_block).ok();
        assert_eq!(on(Some(1), block(1)), Some(block(1)));
        assert_eq!(on(Some(1), block(2)), None);
        assert_eq!(on(None, block(2)), Some(block(2)), "it is learnt");
        assert_eq!(on(Some(1), None), Some(block(1)), "who does not tell is believed");
    }

    #[tokio::test]
    async fn a_cursor_of_version_1_is_read() {
        let birth = weir_store::Birth {
            unix_seconds: 1,
            id: [7; 16],
        };
        let journal = memory::open(&Image::default(), birth).unwrap();
        let mut old = codec::encode(1, &followed(None)).unwrap();
        old.truncate(old.len() - CURSOR_SINCE_VERSION_2.len());
        let row = Row::put(Table::ChainCursor, CURSOR_KEY, old);
        journal.submit(vec![row]).unwrap().await.unwrap();
        assert_eq!(Followed::read(&*journal).unwrap(), Some(followed(None)));
    }
}
