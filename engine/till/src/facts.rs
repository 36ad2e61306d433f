//! The world re-enters only as a fact: sightings of the watcher go through the same lanes as vouchers.

use crate::books::{read_all, spell};
use crate::no::No;
use crate::shard::Adoption;
use crate::till::Till;
use serde::{Deserialize, Serialize};
use weir_chain::watcher::{Cursor, Observation, Sighting, Sink, Tracked};
use weir_chain::{BlockRef, Rpc};
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

    /// Where the watcher goes on.
    pub const fn cursor(&self) -> Cursor {
        Cursor::After(self.head)
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

/// The channels that the watcher reads again at the start, whatever was missed.
pub async fn tracked(till: &Till) -> Result<Vec<Tracked>, No> {
    let channels = till.channels().await?;
    let open = channels.iter().filter(|channel| !channel.chain().finalized);
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
}

impl Facts {
    /// Facts for a till that has followed the chain so far.
    pub const fn new(till: Till, followed: Followed) -> Self {
        Self { till, followed }
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
        for observation in &sighting.observations {
            let answer = self.till.observe(self.adoption(observation)).await?;
            let channel = &answer.get().channel;
            tracing::debug!(channel = %channel.id(), standing = ?channel.standing(), "observed");
        }
        self.followed.head = sighting.head;
        self.followed.write(&**self.till.journal()).await?;
        self.till
            .freshness()
            .saw_block(sighting.head.timestamp, self.till.clock().now());
        Ok(())
    }
}
