//! A modelled chain with the escrow on it: blocks, a mempool, reorganisations of up to two blocks.

use crate::random::Random;
use alloy_primitives::{B256, keccak256};
use std::collections::BTreeMap;
use weir_chain::BlockRef;
use weir_chain::watcher::{Observation, Sighting};
use weir_core::recover::K256;
use weir_core::{Amount, ChainState, ChannelId, Cumulative, Domain, Terms, UnixSeconds, Voucher};
use weir_till::Adoption;
use weir_till::settlement::{Batch, BatchRow, Skipped};

/// A block is final when so many stand on top of it; reorganisations replace no more than these.
pub(crate) const FINALITY_BLOCKS: usize = 2;
pub(crate) const BLOCK_SECONDS: u64 = 2;
/// The escrow's grace period.
pub(crate) const GRACE_SECONDS: u64 = 900;

const NOTHING: ChainState = ChainState {
    deposit: Cumulative::ZERO,
    settled: Cumulative::ZERO,
    close_requested_at: None,
    finalized: false,
};

/// A call that waits for a block.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Open(Amount),
    TopUp(Amount),
    RequestClose,
    Withdraw,
}

#[derive(Debug, Clone)]
enum Call {
    Payer(ChannelId, Act),
    Settle { nonce: u64, batch: Batch },
}

#[derive(Debug, Clone)]
struct Waiting {
    hash: B256,
    call: Call,
    /// A reorganisation put it back: nodes keep such a transaction.
    was_mined: bool,
}

#[derive(Debug, Clone, Default)]
struct Block {
    timestamp: u64,
    states: BTreeMap<ChannelId, ChainState>,
    mined: Vec<Waiting>,
    skipped: BTreeMap<B256, Vec<Skipped>>,
    /// The payee's next nonce.
    nonce: u64,
}

pub(crate) struct Chain {
    pub(crate) domain: Domain,
    pub(crate) terms: BTreeMap<ChannelId, (Terms, B256)>,
    blocks: Vec<Block>,
    mempool: Vec<Waiting>,
    hashes: u64,
}

impl Chain {
    pub(crate) fn new(domain: Domain, timestamp: u64) -> Self {
        let genesis = Block {
            timestamp,
            ..Block::default()
        };
        Self {
            domain,
            terms: BTreeMap::new(),
            blocks: vec![genesis; FINALITY_BLOCKS + 1],
            mempool: Vec::new(),
            hashes: 0,
        }
    }

    pub(crate) fn fresh_hash(&mut self) -> B256 {
        self.hashes += 1;
        keccak256(self.hashes.to_be_bytes())
    }

    fn head(&self) -> &Block {
        self.blocks.last().unwrap()
    }

    fn last_final(&self) -> &Block {
        &self.blocks[self.blocks.len() - 1 - FINALITY_BLOCKS]
    }

    pub(crate) fn timestamp(&self) -> UnixSeconds {
        UnixSeconds(self.head().timestamp)
    }

    pub(crate) fn state(&self, id: ChannelId) -> ChainState {
        self.head().states.get(&id).copied().unwrap_or(NOTHING)
    }

    pub(crate) fn final_state(&self, id: ChannelId) -> ChainState {
        self.last_final().states.get(&id).copied().unwrap_or(NOTHING)
    }

    pub(crate) fn final_nonce(&self) -> u64 {
        self.last_final().nonce
    }

    pub(crate) fn send(&mut self, id: ChannelId, act: Act) -> B256 {
        let hash = self.fresh_hash();
        self.wait_for_block(hash, Call::Payer(id, act));
        hash
    }

    fn wait_for_block(&mut self, hash: B256, call: Call) {
        let known = self.mempool.iter().any(|waiting| waiting.hash == hash);
        if !known {
            let was_mined = false;
            self.mempool.push(Waiting {
                hash,
                call,
                was_mined,
            });
        }
    }

    /// Takes a settlement into the mempool; false when its nonce was used by another transaction.
    pub(crate) fn take(&mut self, hash: B256, nonce: u64, batch: Batch) -> bool {
        if self.landed(hash).is_some() {
            return true;
        }
        if nonce < self.head().nonce {
            return false;
        }
        self.wait_for_block(hash, Call::Settle { nonce, batch });
        true
    }

    /// The next nonce as a node tells it: after everything mined or waiting.
    pub(crate) fn next_nonce(&self) -> u64 {
        let waiting = self.mempool.iter().filter_map(|waiting| match waiting.call {
            Call::Settle { nonce, .. } => Some(nonce + 1),
            Call::Payer(..) => None,
        });
        waiting.fold(self.head().nonce, u64::max)
    }

    /// The rows without effect of a settlement in a block.
    pub(crate) fn landed(&self, hash: B256) -> Option<Vec<Skipped>> {
        let found = self
            .blocks
            .iter()
            .rev()
            .find_map(|block| block.skipped.get(&hash));
        found.cloned()
    }

    /// Whether a transaction is in a final block.
    pub(crate) fn is_final(&self, hash: B256) -> bool {
        let end = self.blocks.len() - FINALITY_BLOCKS;
        let mut mined = self.blocks[..end].iter().flat_map(|block| &block.mined);
        mined.any(|waiting| waiting.hash == hash)
    }

    /// The deposit that an opening or a top-up of this hash named.
    pub(crate) fn amount_of(&self, hash: B256) -> Option<Amount> {
        let mut mined = self.blocks.iter().flat_map(|block| &block.mined);
        mined.find_map(|waiting| match &waiting.call {
            Call::Payer(_, Act::Open(amount) | Act::TopUp(amount)) if waiting.hash == hash => Some(*amount),
            _ => None,
        })
    }

    fn block(&self, depth: usize) -> BlockRef {
        let index = self.blocks.len() - 1 - depth;
        BlockRef {
            number: index as u64,
            hash: keccak256((index as u64).to_le_bytes()),
            timestamp: UnixSeconds(self.blocks[index].timestamp),
        }
    }

    /// What the watcher tells, of every channel.
    pub(crate) fn sighting(&self) -> Sighting {
        let observations = self.terms.iter().map(|(id, (terms, _))| Observation {
            id: *id,
            terms: terms.clone(),
            seen: self.state(*id),
            last_final: self.final_state(*id),
            opened_in: Some(1),
        });
        Sighting {
            head: self.block(0),
            last_final: self.block(FINALITY_BLOCKS),
            observations: observations.collect(),
            reorged: false,
        }
    }

    pub(crate) fn adoption(&self, id: ChannelId) -> Adoption {
        Adoption {
            id,
            terms: self.terms[&id].0.clone(),
            seen: self.state(id),
            last_final: self.final_state(id),
            drain_only: false,
        }
    }

    /// Loses one transaction that waits, as a full mempool does; never one that was in a block.
    pub(crate) fn evict(&mut self, random: &mut Random) {
        if self.mempool.is_empty() {
            return;
        }
        let index = random.below(self.mempool.len() as u64) as usize;
        let settles = matches!(self.mempool[index].call, Call::Settle { .. });
        if settles && !self.mempool[index].was_mined {
            self.mempool.remove(index);
        }
    }

    /// Makes a block of some of what waits.
    pub(crate) fn mine(&mut self, now: u64, percent: u64, random: &mut Random) -> Result<(), String> {
        let mut block = Block {
            timestamp: now.max(self.head().timestamp),
            mined: Vec::new(),
            skipped: BTreeMap::new(),
            ..self.head().clone()
        };
        let waiting = std::mem::take(&mut self.mempool);
        for tx in waiting {
            if !random.percent(percent) || !self.include(&mut block, &tx)? {
                self.mempool.push(tx);
            }
        }
        let nonce = block.nonce;
        self.mempool.retain(|tx| match tx.call {
            Call::Settle { nonce: used, .. } => used >= nonce,
            Call::Payer(..) => true,
        });
        self.blocks.push(block);
        Ok(())
    }

    /// Replaces the newest blocks by others and one more.
    pub(crate) fn reorganise(&mut self, depth: usize, now: u64, random: &mut Random) -> Result<(), String> {
        let depth = depth.min(self.blocks.len() - 1 - FINALITY_BLOCKS);
        for block in self.blocks.split_off(self.blocks.len() - depth) {
            for mut tx in block.mined {
                tx.was_mined = true;
                self.mempool.retain(|waiting| waiting.hash != tx.hash);
                self.mempool.push(tx);
            }
        }
        for _ in 0..=depth {
            self.mine(now, 60, random)?;
        }
        Ok(())
    }

    fn include(&self, block: &mut Block, tx: &Waiting) -> Result<bool, String> {
        match &tx.call {
            Call::Payer(id, act) => {
                if !apply_act(block, *id, act) {
                    return Ok(false);
                }
            }
            Call::Settle { nonce, batch } => {
                if *nonce != block.nonce {
                    return Ok(false);
                }
                // Of several envelopes under one nonce any may be the one that lands.
                block.nonce += 1;
                let skipped = self.apply_batch(&mut block.states, batch);
                for skipped in &skipped {
                    // A payer may have withdrawn first; nothing else can make a row of ours void.
                    if skipped.reason != "finalized" {
                        return Err(format!(
                            "TX-1, CH-5: row {} of a mined batch was skipped: {}",
                            skipped.channel, skipped.reason
                        ));
                    }
                }
                block.skipped.insert(tx.hash, skipped);
            }
        }
        block.mined.push(tx.clone());
        Ok(true)
    }

    /// The rows of a batch that would be without effect on the newest block.
    pub(crate) fn simulate(&self, batch: &Batch) -> Vec<Skipped> {
        self.apply_batch(&mut self.head().states.clone(), batch)
    }

    fn apply_batch(&self, states: &mut BTreeMap<ChannelId, ChainState>, batch: &Batch) -> Vec<Skipped> {
        let mut skipped = Vec::new();
        for row in &batch.rows {
            let state = states.entry(row.channel).or_insert(NOTHING);
            match self.judge(state, row, batch.closes) {
                Ok(()) => {
                    state.settled = row.capture;
                    state.finalized |= batch.closes;
                }
                Err(reason) => skipped.push(Skipped {
                    channel: row.channel,
                    reason: reason.to_owned(),
                }),
            }
        }
        skipped
    }

    /// The escrow's judgement of a row.
    fn judge(&self, state: &ChainState, row: &BatchRow, closes: bool) -> Result<(), &'static str> {
        let (terms, _) = self.terms.get(&row.channel).ok_or("unknown")?;
        if state.finalized {
            return Err("finalized");
        }
        if state.deposit == Cumulative::ZERO {
            return Err("unknown");
        }
        let unpaid_close = closes && row.capture == state.settled && row.cumulative == state.settled;
        if unpaid_close {
            return Ok(());
        }
        if row.capture <= state.settled {
            return Err("stale");
        }
        if row.capture > row.cumulative || row.capture > state.deposit {
            return Err("over");
        }
        let signature = row.signature.ok_or("unsigned")?;
        let voucher = Voucher::claimed(row.channel, row.cumulative, signature);
        let proven = voucher.prove(terms.signer(), &self.domain, &K256);
        proven.map(drop).map_err(|_| "badly signed")
    }
}

fn apply_act(block: &mut Block, id: ChannelId, act: &Act) -> bool {
    let timestamp = block.timestamp;
    let state = block.states.entry(id).or_insert(NOTHING);
    let opened = state.deposit > Cumulative::ZERO;
    match act {
        Act::Open(deposit) if !opened => {
            state.deposit = Cumulative::ZERO.plus(*deposit).unwrap();
        }
        Act::TopUp(more) if opened && !state.finalized => {
            state.deposit = state.deposit.plus(*more).unwrap();
            state.close_requested_at = None;
        }
        Act::RequestClose if opened && !state.finalized => {
            state.close_requested_at.get_or_insert(UnixSeconds(timestamp));
        }
        Act::Withdraw => {
            let asked = state.close_requested_at.filter(|_| !state.finalized);
            if asked.is_none_or(|asked| timestamp < asked.0 + GRACE_SECONDS) {
                return false;
            }
            state.finalized = true;
        }
        // It stays in the mempool until its turn comes.
        _ => return false,
    }
    true
}
