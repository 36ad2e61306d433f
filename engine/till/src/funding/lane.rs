//! The one task that owns the gas key's nonces: signs, writes down, sends, replaces what is stuck, and follows what landed.
//!
//! It waits for no block: what is asked for next gets the next nonce at once.

use super::record::{FundingRecord, Standing};
use super::{Ask, FundNo, Inner};
use crate::no::No;
use crate::settlement::ChainTrouble;
use crate::settler::{REPLACE_AFTER, told};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_chain::{Envelope, Landed, Outcome};
use weir_store::{Health, StoreFault};

/// How often what is on its way is asked after.
const FOLLOW_EVERY: Duration = Duration::from_millis(400);
/// How often the gas key's balance is read.
const BALANCE_EVERY: Duration = Duration::from_secs(15);
/// Most envelopes of one pull: each is dearer than the one before, and their row has to fit.
const ENVELOPES_MAX: usize = 16;

/// What a node knows of a pull's envelopes.
enum Found {
    /// This one is in a block.
    InABlock(alloy_primitives::B256, Landed),
    /// One waits to be mined.
    Waiting,
    /// The node knows none.
    Nowhere,
}

/// Sends what [`Funding`](super::Funding) is asked for.
pub struct Funder {
    inner: Arc<Inner>,
    asked: mpsc::Receiver<Ask>,
    /// When each pull on its way was last sent.
    sent: HashMap<super::Deed, Instant>,
}

impl std::fmt::Debug for Funder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Funder")
    }
}

impl Funder {
    pub(super) fn new(inner: Arc<Inner>, asked: mpsc::Receiver<Ask>) -> Self {
        Self {
            inner,
            asked,
            sent: HashMap::new(),
        }
    }

    /// Takes up what the last run left, then works until `stop` turns true. What is on its way then is left on record.
    ///
    /// # Errors
    /// The books cannot be written.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), No> {
        let mut follow = tokio::time::interval(FOLLOW_EVERY);
        let mut look = tokio::time::interval(BALANCE_EVERY);
        loop {
            tokio::select! {
                () = told(&mut stop) => return Ok(()),
                Some(ask) = self.asked.recv() => {
                    let done = self.send(ask.record, &ask.quote).await;
                    // Books that cannot be written end the daemon: the nonce is taken.
                    let broken = matches!(&done, Err(FundNo::No(No::Books(_))));
                    // Whoever asked may have hung up; what was sent is followed all the same.
                    let _ = ask.answer.send(done);
                    if broken {
                        return Err(self.books_fault());
                    }
                }
                _ = follow.tick() => self.follow().await?,
                _ = look.tick() => self.look_at_balance().await,
            }
        }
    }

    fn books_fault(&self) -> No {
        match self.inner.till.journal().health() {
            Health::Poisoned { why } => StoreFault::Poisoned { why }.into(),
            Health::Healthy | Health::Closed => No::Stopping,
        }
    }

    /// Signs, writes down and sends. Sending may fail: it is tried again until it is known what became of it.
    async fn send(&mut self, mut record: FundingRecord, quote: &weir_chain::Quote) -> Result<(), FundNo> {
        let now = self.inner.till.clock().now();
        let over = {
            let mut account = self.inner.account();
            // Two credentials may stand for one deed, and the slower one comes here too.
            let known = account.standing(&record.deed);
            if known.is_some_and(|standing| standing != Standing::Displaced) {
                return Ok(());
            }
            account.must_have_room((record.payer, record.channel), now)?;
            account.must_have_gas(quote.gas_limit, self.inner.config.gas_per_hour_max, now)?;
            account.forget_some(now)
        };
        let envelope = self.inner.gas.sign(quote).await?;
        record.envelopes.push(envelope.clone());
        self.keep(&record, &over).await?;
        self.broadcast(&record, &envelope).await;
        Ok(())
    }

    async fn keep(&self, record: &FundingRecord, over: &[super::Deed]) -> Result<(), No> {
        record.write(&**self.inner.till.journal(), over).await?;
        self.inner.account().put(record.clone());
        self.inner
            .changed
            .send_modify(|turns| *turns = turns.wrapping_add(1));
        Ok(())
    }

    /// True unless another transaction has the nonce.
    async fn broadcast(&mut self, record: &FundingRecord, envelope: &Envelope) -> bool {
        self.sent.insert(record.deed, Instant::now());
        match self.inner.gas.broadcast(envelope).await {
            Ok(has_its_nonce) => has_its_nonce,
            Err(trouble) => {
                tracing::warn!(%trouble, transaction = %envelope.hash, "a deposit's transaction could not be sent; trying again");
                true
            }
        }
    }

    /// Asks after everything that is not over, all at once.
    async fn follow(&mut self) -> Result<(), No> {
        let live = self.inner.account().live();
        if live.is_empty() {
            return Ok(());
        }
        let Ok(height) = self.inner.gas.height().await else {
            return Ok(());
        };
        let mut asking = JoinSet::new();
        for record in live {
            let inner = Arc::clone(&self.inner);
            asking.spawn(async move {
                let found = inner.find(&record).await;
                (record, found)
            });
        }
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok((record, Ok(found))) => self.take(record, found, height).await?,
                Ok((_, Err(trouble))) => {
                    tracing::debug!(%trouble, "a deposit's transaction could not be looked up")
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn take(&mut self, mut record: FundingRecord, found: Found, height: u64) -> Result<(), No> {
        match found {
            Found::InABlock(hash, landed) => {
                let block = landed.block_number;
                let standing = if landed.success {
                    Standing::Mined { hash, block }
                } else {
                    Standing::Reverted { block }
                };
                let is_over = height >= block.saturating_add(self.inner.config.finality_blocks);
                if record.standing == standing && record.is_over == is_over {
                    return Ok(());
                }
                if record.standing == Standing::Pending {
                    self.inner.account().count(landed.success, landed.gas_used);
                    let (channel, gas_used) = (record.channel, landed.gas_used);
                    tracing::info!(%channel, transaction = %hash, success = landed.success, gas_used, "a deposit was pulled");
                }
                (record.standing, record.is_over) = (standing, is_over);
                self.sent.remove(&record.deed);
                self.keep(&record, &[]).await
            }
            Found::Waiting => self.replace_stuck(record).await,
            Found::Nowhere => self.send_again(record).await,
        }
    }

    /// Not in a block for too long: the same for a higher fee, within what the seller pays.
    async fn replace_stuck(&mut self, mut record: FundingRecord) -> Result<(), No> {
        let sent = *self.sent.entry(record.deed).or_insert_with(Instant::now);
        let Some(stuck) = record.envelopes.last() else {
            return Ok(());
        };
        // What another key signed, this one cannot make dearer: it goes on as it is.
        let is_ours = record.gas_key == self.inner.gas.address();
        if !is_ours || sent.elapsed() < REPLACE_AFTER || record.envelopes.len() >= ENVELOPES_MAX {
            return Ok(());
        }
        self.sent.insert(record.deed, Instant::now());
        let dearer = match self.inner.gas.bump(stuck).await {
            Ok(dearer) if dearer.max_fee_per_gas <= self.inner.config.fee_max => dearer,
            Ok(_) => {
                tracing::warn!(transaction = %stuck.hash, "a deposit waits for a block, and more than fee_max_gwei would hurry it");
                return Ok(());
            }
            Err(trouble) => {
                tracing::warn!(%trouble, transaction = %stuck.hash, "a deposit that waits for a block is not made dearer");
                return Ok(());
            }
        };
        record.envelopes.push(dearer.clone());
        record.standing = Standing::Pending;
        self.keep(&record, &[]).await?;
        self.broadcast(&record, &dearer).await;
        Ok(())
    }

    /// The node does not have it: it never came there, was dropped, or a reorganisation took it out.
    async fn send_again(&mut self, mut record: FundingRecord) -> Result<(), No> {
        let Some(newest) = record.envelopes.last().cloned() else {
            return Ok(());
        };
        if record.standing != Standing::Pending {
            tracing::warn!(transaction = %newest.hash, "a deposit is in no block any more; it is sent again");
            record.standing = Standing::Pending;
            self.keep(&record, &[]).await?;
        }
        if self.broadcast(&record, &newest).await {
            return Ok(());
        }
        // Asked once more: what landed a moment ago has used its nonce too.
        if matches!(self.inner.find(&record).await, Ok(Found::Nowhere)) {
            tracing::error!(
                transaction = %newest.hash,
                "a transaction that is not in these books used a deposit's nonce; use the gas key nowhere else"
            );
            (record.standing, record.is_over) = (Standing::Displaced, true);
            self.keep(&record, &[]).await?;
        }
        Ok(())
    }

    /// Remembers what the gas key has, and whether that is enough again.
    async fn look_at_balance(&self) {
        let Ok(balance) = self.inner.gas.balance().await else {
            return;
        };
        let promised = {
            let mut account = self.inner.account();
            account.has_balance(balance);
            account.promised()
        };
        let needed = u128::from(self.inner.lacks.load(Ordering::Relaxed)).max(1);
        if balance == 0 {
            self.inner.lacks(1);
        } else if balance >= promised.saturating_add(needed)
            && self.inner.lacks.swap(0, Ordering::Relaxed) > 0
        {
            tracing::info!(gas_key = %self.inner.gas.address(), balance, "the gas key has more; deposits are pulled again");
        }
    }
}

impl Inner {
    /// Asks after every envelope of a pull, newest first.
    async fn find(&self, record: &FundingRecord) -> Result<Found, ChainTrouble> {
        let mut found = Found::Nowhere;
        for envelope in record.envelopes.iter().rev() {
            match self.gas.outcome(envelope.hash).await? {
                Outcome::Landed(landed) => return Ok(Found::InABlock(envelope.hash, landed)),
                Outcome::Pending => found = Found::Waiting,
                Outcome::NotSeen => {}
            }
        }
        Ok(found)
    }
}
