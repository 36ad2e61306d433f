//! A chain that does what a test says: every envelope is mined when it is asked after, unless told otherwise.

use super::Payer;
use alloy_primitives::{B256, Bytes, keccak256};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use weir_chain::Envelope;
use weir_core::{ChainState, ChannelId};
use weir_till::settlement::{BATCH_ROWS_MAX, Batch, ChainTrouble, Landing, Settlement, Skipped};

#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Why a channel's row would take no effect.
    pub(crate) doomed: HashMap<ChannelId, &'static str>,
    /// How often the chain cannot be reached yet.
    pub(crate) away: u32,
    /// Whether a transaction takes one channel only.
    pub(crate) takes_one: bool,
    /// Whether nothing gets into a block now.
    pub(crate) stands_still: bool,
    /// How often each channel was in a batch that was tried.
    pub(crate) tried: HashMap<ChannelId, u32>,
    /// Everything that was signed, by its nonce.
    pub(crate) signed: BTreeMap<u64, (B256, Batch)>,
    /// Nonces of earlier runs.
    pub(crate) remembered: HashSet<u64>,
}

/// A chain under a script.
#[derive(Debug, Default)]
pub(crate) struct Script(Mutex<Said>);

impl Script {
    pub(crate) fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap()
    }

    /// What the chain shows of a payer's channel after everything that was signed.
    pub(crate) fn state(&self, payer: &Payer, deposit: u128) -> ChainState {
        let mut state = payer.adoption(deposit).seen;
        for (_, batch) in self.said().signed.values() {
            for row in batch.rows.iter().filter(|row| row.channel == payer.channel) {
                state.settled = row.capture;
                state.finalized |= batch.closes;
            }
        }
        state
    }
}

#[async_trait]
impl Settlement for Script {
    fn rows_max(&self) -> usize {
        if self.said().takes_one { 1 } else { BATCH_ROWS_MAX }
    }

    async fn simulate(&self, batch: &Batch) -> Result<Vec<Skipped>, ChainTrouble> {
        let mut said = self.said();
        if let Some(fewer) = said.away.checked_sub(1) {
            said.away = fewer;
            return Err(ChainTrouble("nobody answers".to_owned()));
        }
        let mut doomed = Vec::new();
        for row in &batch.rows {
            *said.tried.entry(row.channel).or_default() += 1;
            doomed.extend(said.doomed.get(&row.channel).map(|reason| Skipped {
                channel: row.channel,
                reason: (*reason).to_owned(),
            }));
        }
        Ok(doomed)
    }

    async fn sign(&self, batch: &Batch) -> Result<Envelope, ChainTrouble> {
        let mut said = self.said();
        let highest = said.signed.keys().chain(&said.remembered).max();
        let nonce = highest.map_or(0, |highest| highest + 1);
        let hash = keccak256(nonce.to_be_bytes());
        said.signed.insert(nonce, (hash, batch.clone()));
        Ok(Envelope {
            nonce,
            hash,
            raw: Bytes::copy_from_slice(hash.as_slice()),
            gas_limit: 100_000,
            max_fee_per_gas: 1,
            to: None,
        })
    }

    async fn replace(&self, _: &Batch, _: &Envelope) -> Result<Envelope, ChainTrouble> {
        Err(ChainTrouble("nothing gets stuck here".to_owned()))
    }

    fn remember(&self, nonce: u64) {
        self.said().remembered.insert(nonce);
    }

    async fn broadcast(&self, _: &Envelope) -> Result<(), ChainTrouble> {
        Ok(())
    }

    async fn wait(&self, _: &Batch, _: &Envelope, _: Duration) -> Result<Landing, ChainTrouble> {
        while self.said().stands_still {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Landing::Mined {
            skipped: Vec::new(),
            gas_used: 50_000,
        })
    }
}
