//! The one task that owns the gas key's nonces: signs, writes down, sends, replaces what is stuck, and follows what landed.
//!
//! It waits for no block: what is asked for next gets the next nonce at once.

use super::post::Post;
use super::record::{Deed, FundingRecord, Standing};
use super::{Ask, Fresh, FundNo, Inner, Posted};
use crate::no::No;
use crate::settlement::ChainTrouble;
use crate::settler::{REPLACE_AFTER, told};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
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
/// Most transactions that are asked after at once.
const ASKED_AT_ONCE_MAX: usize = 16;
/// Most of those in a block that are asked after in one turn: the lane sends nothing meanwhile.
const UNSETTLED_PER_TURN: usize = 64;
/// How often, in a row, a nonce must seem taken until that is believed: of several nodes behind one address, one may lag.
const DISPLACED_AFTER: u32 = 4;

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
    /// When each pull on its way was sent.
    sent: HashMap<Deed, Post>,
    /// The height at which what is in a block was last asked after.
    height: Option<u64>,
    /// Of that, what is left to be asked after.
    unsettled: VecDeque<Deed>,
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
            height: None,
            unsettled: VecDeque::new(),
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
                    let done = self.send(ask.fresh).await;
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
    async fn send(&mut self, fresh: Fresh) -> Result<(), FundNo> {
        let Fresh {
            errand,
            quote,
            balance,
        } = fresh;
        let (now, wanted) = (self.inner.till.clock().now(), errand.wanted);
        let known = self.inner.account().record(&wanted.deed);
        if let Some(record) = known {
            // Two credentials may stand for one deed, and the slower one comes here too.
            if record.standing != Standing::Displaced || self.is_seen_after_all(&record).await? {
                return Ok(());
            }
        }
        let past = {
            let account = self.inner.account();
            account.must_have_room(&wanted, balance, now)?;
            account.must_have_gas((wanted.what, quote.gas_limit), &self.inner.config, now)?;
            let mut past = account.past(now);
            past.retain(|deed| *deed != wanted.deed);
            past
        };
        let envelope = self.inner.gas.sign(&quote).await?;
        let mut record = FundingRecord::new(errand, self.inner.gas.address(), now);
        record.envelopes.push(envelope.clone());
        self.keep(&record, &past).await?;
        self.sent.insert(record.deed, Post::now());
        self.broadcast(&record, &envelope).await;
        Ok(())
    }

    /// Whether what was given up as displaced is known to the node now: after a reorganisation it may land yet, and is
    /// followed again.
    async fn is_seen_after_all(&self, record: &FundingRecord) -> Result<bool, FundNo> {
        if matches!(self.inner.find(record).await?, Found::Nowhere) {
            return Ok(false);
        }
        let followed = FundingRecord {
            standing: Standing::Pending,
            is_over: false,
            ..record.clone()
        };
        self.keep(&followed, &[]).await?;
        Ok(true)
    }

    async fn keep(&self, record: &FundingRecord, past: &[Deed]) -> Result<(), No> {
        record.write(&**self.inner.till.journal(), past).await?;
        let mut account = self.inner.account();
        account.forget(past);
        account.put(record.clone());
        drop(account);
        self.inner
            .changed
            .send_modify(|turns| *turns = turns.wrapping_add(1));
        Ok(())
    }

    /// What the node made of it; nothing where that is not known.
    async fn broadcast(&mut self, record: &FundingRecord, envelope: &Envelope) -> Option<Posted> {
        let post = self.sent.entry(record.deed).or_insert_with(Post::now);
        post.last = Instant::now();
        match self.inner.gas.broadcast(envelope).await {
            Ok(Posted::Refused(why)) => {
                tracing::warn!(why, transaction = %envelope.hash, "the node does not take a transaction that a payer signed for; trying again");
                Some(Posted::Refused(why))
            }
            Ok(posted) => Some(posted),
            Err(trouble) => {
                tracing::warn!(%trouble, transaction = %envelope.hash, "a transaction that a payer signed for could not be sent; trying again");
                None
            }
        }
    }

    /// Asks after everything that is not over: what waits each time, what is in a block once for each height.
    async fn follow(&mut self) -> Result<(), No> {
        let (mut due, unsettled) = {
            let account = self.inner.account();
            (account.waiting(), account.unsettled())
        };
        if due.is_empty() && unsettled.is_empty() {
            return Ok(());
        }
        let Ok(height) = self.inner.gas.height().await else {
            return Ok(());
        };
        if self.unsettled.is_empty() && self.height != Some(height) {
            (self.unsettled, self.height) = (unsettled.into(), Some(height));
        }
        let turn = self.unsettled.len().min(UNSETTLED_PER_TURN);
        let mut unsettled: Vec<Deed> = self.unsettled.drain(..turn).collect();
        unsettled.retain(|deed| !due.contains(deed));
        due.append(&mut unsettled);
        self.ask_after(due, height).await
    }

    async fn ask_after(&mut self, due: Vec<Deed>, height: u64) -> Result<(), No> {
        let (mut due, mut asking) = (due.into_iter(), JoinSet::new());
        loop {
            for deed in due.by_ref().take(ASKED_AT_ONCE_MAX - asking.len()) {
                let inner = Arc::clone(&self.inner);
                let Some(record) = inner.account().record(&deed) else {
                    continue;
                };
                asking.spawn(async move {
                    let found = inner.find(&record).await;
                    (record, found)
                });
            }
            let Some(asked) = asking.join_next().await else {
                return Ok(());
            };
            match asked {
                Ok((record, Ok(found))) => self.take(record, found, height).await?,
                Ok((_, Err(trouble))) => {
                    tracing::debug!(%trouble, "a transaction that a payer signed for could not be looked up")
                }
                Err(_) => {}
            }
        }
    }

    async fn take(&mut self, mut record: FundingRecord, found: Found, height: u64) -> Result<(), No> {
        match found {
            Found::InABlock(hash, landed) => {
                let block = landed.block_number;
                // What only made room for others did nothing for its payer.
                let made = record.envelopes.iter().find(|envelope| envelope.hash == hash);
                let took_effect =
                    landed.success && made.is_none_or(|envelope| envelope.to != Some(record.gas_key));
                let standing = if took_effect {
                    Standing::Mined { hash, block }
                } else {
                    Standing::Reverted { block }
                };
                let is_over = height >= block.saturating_add(self.inner.config.finality_blocks);
                if record.standing == standing && record.is_over == is_over {
                    return Ok(());
                }
                if record.standing == Standing::Pending {
                    self.inner.account().count(took_effect, landed.gas_used);
                    let (what, gas_used) = (record.what, landed.gas_used);
                    tracing::info!(?what, transaction = %hash, took_effect, gas_used, "what a payer signed for was sent");
                }
                (record.standing, record.is_over) = (standing, is_over);
                self.sent.remove(&record.deed);
                self.keep(&record, &[]).await
            }
            Found::Waiting => {
                let post = self.sent.entry(record.deed).or_insert_with(Post::now);
                post.displaced = 0;
                if post.first.elapsed() >= REPLACE_AFTER {
                    self.replace_stuck(record).await?;
                }
                Ok(())
            }
            Found::Nowhere => self.send_again(record).await,
        }
    }

    /// Not in a block for too long: the same for a higher fee, within what the seller pays. What its signature cannot bring
    /// about any more makes room for what waits behind it. Tells whether something was sent.
    async fn replace_stuck(&mut self, mut record: FundingRecord) -> Result<bool, No> {
        let Some(stuck) = record.envelopes.last().cloned() else {
            return Ok(false);
        };
        let is_late = record.ends <= self.inner.till.clock().now().0;
        let makes_room = is_late && !record.made_room();
        // What another key signed, this one cannot make dearer: it goes on as it is.
        let is_ours = record.gas_key == self.inner.gas.address();
        if !is_ours || record.envelopes.len() >= ENVELOPES_MAX && !makes_room {
            return Ok(false);
        }
        if let Some(post) = self.sent.get_mut(&record.deed) {
            // The next try is as far away, whatever comes of this one.
            post.first = Instant::now();
        }
        let gas = Arc::clone(&self.inner.gas);
        let dearer = if makes_room {
            gas.make_room(&stuck).await
        } else {
            gas.bump(&stuck).await
        };
        let dearer = match dearer {
            Ok(dearer) if dearer.max_fee_per_gas <= self.inner.config.fee_max => dearer,
            Ok(_) => {
                tracing::warn!(transaction = %stuck.hash, "a transaction waits for a block, and more than fee_max_gwei would hurry it");
                return Ok(false);
            }
            Err(trouble) => {
                tracing::warn!(%trouble, transaction = %stuck.hash, "a transaction that waits for a block is not made dearer");
                return Ok(false);
            }
        };
        record.envelopes.push(dearer.clone());
        record.standing = Standing::Pending;
        self.keep(&record, &[]).await?;
        self.sent.insert(record.deed, Post::now());
        self.broadcast(&record, &dearer).await;
        Ok(true)
    }

    /// The node does not have it: it never came there, was refused or dropped, or a reorganisation took it out. It is sent
    /// again, ever more slowly, and for a higher fee once it has taken too long.
    async fn send_again(&mut self, mut record: FundingRecord) -> Result<(), No> {
        let Some(newest) = record.envelopes.last().cloned() else {
            return Ok(());
        };
        if record.standing != Standing::Pending {
            tracing::warn!(transaction = %newest.hash, "a transaction is in no block any more; it is sent again");
            record.standing = Standing::Pending;
            self.keep(&record, &[]).await?;
        }
        let is_known = self.sent.contains_key(&record.deed);
        let post = self.sent.entry(record.deed).or_insert_with(Post::now);
        if is_known && !post.is_due() {
            return Ok(());
        }
        post.again = post.again.saturating_add(1);
        let is_late = record.ends <= self.inner.till.clock().now().0;
        if (post.first.elapsed() >= REPLACE_AFTER || is_late && !record.made_room())
            && self.replace_stuck(record.clone()).await?
        {
            return Ok(());
        }
        if is_late && !record.made_room() && record.gas_key != self.inner.gas.address() {
            return self
                .displace(record, "its signature counts no more, and its gas key is another")
                .await;
        }
        let taken = self.broadcast(&record, &newest).await == Some(Posted::NonceTaken);
        let post = self.sent.entry(record.deed).or_insert_with(Post::now);
        post.displaced = if taken { post.displaced + 1 } else { 0 };
        // Asked once more: what landed a moment ago has used its nonce too.
        if post.displaced >= DISPLACED_AFTER && matches!(self.inner.find(&record).await, Ok(Found::Nowhere)) {
            let why = "a transaction that is not in these books used its nonce; use the gas key nowhere else";
            return self.displace(record, why).await;
        }
        Ok(())
    }

    /// It cannot land any more.
    async fn displace(&mut self, mut record: FundingRecord, why: &str) -> Result<(), No> {
        tracing::error!(deed = ?record.deed, why, "what a payer signed for is given up");
        (record.standing, record.is_over) = (Standing::Displaced, true);
        self.sent.remove(&record.deed);
        self.keep(&record, &[]).await
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
        if balance == 0 {
            self.inner.lacks(1);
            return;
        }
        let needed = self.inner.lacking().map(|(wei, _)| wei);
        if needed.is_some_and(|needed| balance >= promised.saturating_add(needed)) {
            *self.inner.lacking() = None;
            tracing::info!(gas_key = %self.inner.gas.address(), balance, "the gas key has more; what payers sign is sent again");
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
