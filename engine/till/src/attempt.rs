//! Attempts as they are written down: what will be broadcast is durable before it is (TX-2).

use crate::books::{BooksFault, read_all, spell};
use crate::no::No;
use crate::settlement::{Batch, Envelope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use weir_store::{Durable, Journal, Row, StoreFault, Table};

/// Pause before a full journal is asked again.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Version of the attempt record.
pub const ATTEMPT_RECORD_VERSION: u8 = 1;
/// Version of the envelope record.
pub const ENVELOPE_RECORD_VERSION: u8 = 1;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It is in a block and took effect, but for rows the contract skipped.
    Mined,
    /// It is in a block without effect.
    Reverted,
    /// It was never signed.
    Abandoned,
    /// A transaction that is not of these books used its nonce: the key is in use elsewhere.
    Displaced,
}

/// One batch's way to the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, counted from 0.
    pub id: u64,
    /// What it carries.
    pub batch: Batch,
    /// Every envelope signed for it, oldest first; all under one nonce, so at most one can land. Kept in rows of
    /// their own.
    #[serde(skip)]
    pub envelopes: Vec<Envelope>,
    /// How it ended; `None` while it lives.
    pub ended: Option<Ended>,
}

impl Attempt {
    /// Writes the attempt down, with its newest envelope: durable before it is sent (TX-2).
    pub async fn write(&self, journal: &dyn Journal) -> Result<Durable<()>, No> {
        let mut rows = vec![spell(
            Table::Attempts,
            ATTEMPT_RECORD_VERSION,
            self.id.to_be_bytes().to_vec(),
            self,
        )?];
        if let Some((envelope, index)) = self.envelopes.last().zip(self.envelopes.len().checked_sub(1)) {
            let key = envelope_key(self.id, index);
            rows.push(spell(Table::Envelopes, ENVELOPE_RECORD_VERSION, key, envelope)?);
        }
        write_patiently(journal, rows).await
    }

    /// Reads every attempt, oldest first.
    pub fn read_all(journal: &dyn Journal) -> Result<Vec<Self>, BooksFault> {
        let attempts = read_all::<Self>(journal, Table::Attempts, ATTEMPT_RECORD_VERSION)?;
        let mut attempts: BTreeMap<u64, Self> = attempts
            .into_iter()
            .map(|(_, attempt)| (attempt.id, attempt))
            .collect();
        for (key, envelope) in read_all(journal, Table::Envelopes, ENVELOPE_RECORD_VERSION)? {
            let owner = key.first_chunk().map(|id| u64::from_be_bytes(*id));
            if let Some(attempt) = owner.and_then(|id| attempts.get_mut(&id)) {
                attempt.envelopes.push(envelope);
            }
        }
        Ok(attempts.into_values().collect())
    }
}

/// Takes an attempt that has ended, and its envelopes, off the record.
pub(crate) async fn forget(journal: &dyn Journal, id: u64, envelopes: usize) -> Result<Durable<()>, No> {
    let mut rows = vec![Row::delete(Table::Attempts, id.to_be_bytes())];
    rows.extend((0..envelopes).map(|index| Row::delete(Table::Envelopes, envelope_key(id, index))));
    write_patiently(journal, rows).await
}

/// Waits for a disk that is behind.
pub(crate) async fn write_patiently(journal: &dyn Journal, rows: Vec<Row>) -> Result<Durable<()>, No> {
    loop {
        match journal.submit(rows.clone()) {
            Ok(ticket) => return Ok(ticket.with(()).await?),
            // The disk is behind, not broken; a signed envelope must not be lost to that.
            Err(StoreFault::Full { .. }) => tokio::time::sleep(FULL_PAUSE).await,
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// Keys sort by attempt, then by age.
fn envelope_key(attempt: u64, index: usize) -> Vec<u8> {
    [attempt.to_be_bytes(), (index as u64).to_be_bytes()].concat()
}
