//! The settler: plans, writes down, signs, sends, waits. The effect comes back as a fact from the watcher.
//!
//! One attempt lives at a time. A crash anywhere leaves either no envelope (the captures are let go) or a durable one
//! (it is sent again, unchanged): nothing is ever signed twice for one nonce without the first being on record.

use crate::attempt::{Attempt, Ended};
use crate::no::No;
use crate::settlement::{Batch, BatchRow, ChainTrouble, Landing, Settlement, Skipped};
use crate::till::Till;
use alloy_primitives::{Address, B256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};
use weir_core::planner::{Plan, Policy, Why, plan};
use weir_core::{Amount, Capture, ChannelId, Cumulative, Input};

/// Rows in one transaction: its envelope must fit one record of the books, and its gas a block by far.
pub const BATCH_ROWS_MAX: usize = 64;
/// How long one envelope is waited for before it is replaced by a dearer one.
pub const REPLACE_AFTER: Duration = Duration::from_secs(60);
/// How often the books are looked through when nothing calls.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after the chain failed us.
pub const TROUBLE_PAUSE: Duration = Duration::from_secs(2);
/// How often a channel's settlement may fail before it is left for a person (threat B2).
pub const STRIKES_MAX: u32 = 5;

/// The policy for channels that a person asked to settle.
const WHATEVER_IT_IS_WORTH: Policy = Policy {
    value_max: Amount::new(1),
    age_max_seconds: 0,
    value_min: Amount::ZERO,
};

/// Settlements that a slow listener may fall behind by before it misses some.
const SETTLED_BACKLOG: usize = 4096;

/// A settlement that reached a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The channel.
    pub channel: ChannelId,
    /// The transaction.
    pub transaction: B256,
    /// The settled total that was set.
    pub target: Cumulative,
    /// Whether it closed the channel.
    pub closed: bool,
}

/// Totals since the start, for metrics and the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Transactions mined.
    pub transactions: u64,
    /// Channels settled or closed by them.
    pub channels: u64,
    /// Gas they used.
    pub gas_used: u64,
    /// Rows that took no effect, in simulation or in a block.
    pub skipped: u64,
}

/// Calls the settler and hears from it.
#[derive(Debug, Clone)]
pub struct SettlerHandle {
    call: Arc<Notify>,
    asked: Arc<Mutex<HashSet<ChannelId>>>,
    closed: Arc<Mutex<HashMap<ChannelId, B256>>>,
    settled: broadcast::Sender<Settled>,
    tally: watch::Receiver<Tally>,
}

impl SettlerHandle {
    /// Has the books looked through soon.
    pub fn call(&self) {
        self.call.notify_one();
    }

    /// Has these channels settled at the next look, whatever the policy says of value and age.
    pub fn settle_now(&self, channels: impl IntoIterator<Item = ChannelId>) {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(channels);
        self.call();
    }

    /// The transaction that closed a channel, when it was one of ours.
    pub fn closed_by(&self, channel: ChannelId) -> Option<B256> {
        self.closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&channel)
            .copied()
    }

    /// Hears of every settlement from now on.
    pub fn listen(&self) -> broadcast::Receiver<Settled> {
        self.settled.subscribe()
    }

    /// Totals since the start.
    pub fn tally(&self) -> Tally {
        *self.tally.borrow()
    }
}

/// How the settler works.
#[derive(Debug, Clone)]
pub struct SettlerConfig {
    /// When a channel is settled.
    pub policy: Policy,
    /// How long a call waits for company, so that closes asked for together share a transaction.
    pub gather: Duration,
}

/// The settler.
pub struct Settler {
    till: Till,
    chain: Arc<dyn Settlement>,
    config: SettlerConfig,
    handle: SettlerHandle,
    tally: watch::Sender<Tally>,
    strikes: HashMap<ChannelId, u32>,
    /// In a block, but not final: a reorg may take them out again.
    landed: Vec<Attempt>,
    next_attempt: u64,
}

impl Settler {
    /// A settler over a till and a chain.
    pub fn new(till: Till, chain: Arc<dyn Settlement>, config: SettlerConfig) -> (Self, SettlerHandle) {
        let (tally, tally_seen) = watch::channel(Tally::default());
        let handle = SettlerHandle {
            call: Arc::new(Notify::new()),
            asked: Arc::default(),
            closed: Arc::default(),
            settled: broadcast::channel(SETTLED_BACKLOG).0,
            tally: tally_seen,
        };
        let settler = Self {
            till,
            chain,
            config,
            handle: handle.clone(),
            tally,
            strikes: HashMap::new(),
            landed: Vec::new(),
            next_attempt: 0,
        };
        (settler, handle)
    }

    /// Takes up what the last run left, then settles until `stop` turns true. A live attempt is left on record.
    ///
    /// # Errors
    /// The books cannot be written.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), No> {
        tokio::select! {
            result = self.take_up() => result?,
            () = told(&mut stop) => return Ok(()),
        }
        loop {
            tokio::select! {
                () = self.handle.call.notified() => tokio::time::sleep(self.config.gather).await,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = told(&mut stop) => return Ok(()),
            }
            tokio::select! {
                result = self.look_through() => result?,
                () = told(&mut stop) => return Ok(()),
            }
        }
    }

    /// Resumes envelopes that were durable at a crash; lets go of captures that were never signed.
    async fn take_up(&mut self) -> Result<(), No> {
        let attempts = Attempt::read_all(&**self.till.journal())?;
        self.next_attempt = attempts.last().map_or(0, |last| last.id + 1);
        for envelope in attempts.iter().flat_map(|attempt| &attempt.envelopes) {
            self.chain.remember(envelope.nonce);
        }
        let (signed, unsigned): (Vec<_>, Vec<_>) = attempts
            .into_iter()
            .filter(|attempt| attempt.ended.is_none())
            .partition(|a| !a.envelopes.is_empty());
        let resumed: HashSet<ChannelId> = signed
            .iter()
            .flat_map(|attempt| attempt.batch.rows.iter().map(|row| row.channel))
            .collect();
        for attempt in unsigned {
            self.end(attempt, Ended::Abandoned).await?;
        }
        for channel in self.till.channels().await? {
            if channel.capture().is_some() && !resumed.contains(&channel.id()) {
                self.till
                    .tell_patiently(channel.id(), Input::EndCapture)
                    .await
                    .map(drop)?;
            }
        }
        for attempt in signed {
            tracing::info!(
                attempt = attempt.id,
                rows = attempt.batch.rows.len(),
                "resuming a settlement"
            );
            self.see_through(attempt).await?;
        }
        Ok(())
    }

    async fn look_through(&mut self) -> Result<(), No> {
        self.follow_landed().await?;
        let channels = self.till.channels().await?;
        let now = self.till.clock().now();
        let asked = std::mem::take(&mut *self.handle.asked.lock().unwrap_or_else(PoisonError::into_inner));
        let (now_please, in_time): (Vec<_>, Vec<_>) = channels.iter().partition(|c| asked.contains(&c.id()));
        let mut plans = plan(in_time, &self.config.policy, now);
        plans.extend(plan(now_please, &WHATEVER_IT_IS_WORTH, now));
        // A deadline or a person's word outweighs what failed before.
        plans.retain(|plan| {
            let struck_out = self
                .strikes
                .get(&plan.channel)
                .is_some_and(|strikes| *strikes >= STRIKES_MAX);
            !struck_out || plan.why == Why::Deadline || asked.contains(&plan.channel)
        });
        for ((token, closes), plans) in self.group(plans) {
            for chunk in plans.chunks(BATCH_ROWS_MAX) {
                self.settle(token, closes, chunk).await?;
            }
        }
        Ok(())
    }

    fn group(&self, plans: Vec<Plan>) -> BTreeMap<(Address, bool), Vec<Plan>> {
        let mut groups: BTreeMap<(Address, bool), Vec<Plan>> = BTreeMap::new();
        for plan in plans {
            if let Some(terms) = self.till.terms(plan.channel) {
                groups.entry((terms.token, plan.closes)).or_default().push(plan);
            }
        }
        groups
    }

    /// Takes one chunk of plans from intent to landing.
    async fn settle(&mut self, token: Address, closes: bool, plans: &[Plan]) -> Result<(), No> {
        let mut batch = Batch {
            token,
            closes,
            rows: Vec::with_capacity(plans.len()),
        };
        for plan in plans {
            if let Some(row) = self.begin(plan).await? {
                batch.rows.push(row);
            }
        }
        let Ok(doomed) = self.chain.simulate(&batch).await.inspect_err(log_trouble) else {
            return self.let_go(&batch).await;
        };
        self.quarantine(&mut batch, &doomed).await?;
        if batch.rows.is_empty() {
            return Ok(());
        }
        let mut attempt = Attempt {
            id: self.next_attempt,
            batch,
            envelopes: Vec::new(),
            ended: None,
        };
        let Ok(envelope) = self.chain.sign(&attempt.batch).await.inspect_err(log_trouble) else {
            return self.let_go(&attempt.batch).await;
        };
        self.next_attempt += 1;
        attempt.envelopes.push(envelope);
        attempt.write(&**self.till.journal()).await.map(drop)?;
        self.see_through(attempt).await
    }

    async fn begin(&self, plan: &Plan) -> Result<Option<BatchRow>, No> {
        let capture = Capture {
            target: plan.target,
            closes: plan.closes,
        };
        let answer = match self
            .till
            .tell_patiently(plan.channel, Input::BeginCapture(capture))
            .await
        {
            Ok(answer) => answer,
            Err(No::Refused(refusal)) => {
                // The channel moved since the snapshot; the next look judges it anew.
                tracing::debug!(channel = %plan.channel, %refusal, "not settled now");
                return Ok(None);
            }
            Err(no) => return Err(no),
        };
        let channel = &answer.get().channel;
        let pays = plan.target > channel.chain().settled;
        let voucher = channel.best().filter(|_| pays);
        Ok(Some(BatchRow {
            channel: plan.channel,
            cumulative: voucher.map_or(plan.target, weir_core::KeptVoucher::cumulative),
            capture: plan.target,
            signature: voucher.map(|voucher| *voucher.signature()),
        }))
    }

    /// Takes doomed rows out, so that they neither cost gas nor hold the others up (threat B1).
    async fn quarantine(&mut self, batch: &mut Batch, doomed: &[Skipped]) -> Result<(), No> {
        for Skipped { channel, reason } in doomed {
            batch.rows.retain(|row| row.channel != *channel);
            self.strike(*channel, reason).await?;
        }
        Ok(())
    }

    async fn strike(&mut self, channel: ChannelId, reason: &str) -> Result<(), No> {
        let strikes = self.strikes.entry(channel).or_default();
        *strikes += 1;
        self.tally.send_modify(|tally| tally.skipped += 1);
        if *strikes >= STRIKES_MAX {
            tracing::error!(%channel, reason, strikes, "a settlement failed too often and waits for a person");
        } else {
            tracing::warn!(%channel, reason, strikes, "a settlement would not take effect");
        }
        self.till
            .tell_patiently(channel, Input::EndCapture)
            .await
            .map(drop)
    }

    async fn let_go(&self, batch: &Batch) -> Result<(), No> {
        self.end_captures(batch).await?;
        tokio::time::sleep(TROUBLE_PAUSE).await;
        Ok(())
    }

    async fn end_captures(&self, batch: &Batch) -> Result<(), No> {
        for row in &batch.rows {
            self.till
                .tell_patiently(row.channel, Input::EndCapture)
                .await
                .map(drop)?;
        }
        Ok(())
    }

    /// Sends an attempt's envelopes until one is in a block. Not knowing is no outcome: it goes on.
    async fn see_through(&mut self, mut attempt: Attempt) -> Result<(), No> {
        loop {
            for index in (0..attempt.envelopes.len()).rev() {
                let Some(envelope) = attempt.envelopes.get(index) else {
                    break;
                };
                let newest = index + 1 == attempt.envelopes.len();
                if newest {
                    let _ = self.chain.broadcast(envelope).await.inspect_err(log_trouble);
                }
                let patience = if newest { REPLACE_AFTER } else { Duration::ZERO };
                match self.chain.wait(&attempt.batch, envelope, patience).await {
                    Ok(Landing::Mined { skipped, gas_used }) => {
                        let hash = envelope.hash;
                        return self.mined(attempt, hash, &skipped, gas_used).await;
                    }
                    Ok(Landing::Reverted) => return self.reverted(attempt).await,
                    Ok(Landing::Pending) => {}
                    Err(trouble) => {
                        log_trouble(&trouble);
                        tokio::time::sleep(TROUBLE_PAUSE).await;
                    }
                }
            }
            let Some(stuck) = attempt.envelopes.last() else {
                return Ok(());
            };
            match self.chain.is_displaced(stuck).await {
                // Asked once more: what landed a moment ago has used its nonce too.
                Ok(true) if !self.is_in_a_block(&attempt).await => return self.displaced(attempt).await,
                Ok(_) => {}
                Err(trouble) => log_trouble(&trouble),
            }
            match self.chain.replace(&attempt.batch, stuck).await {
                Ok(dearer) => {
                    attempt.envelopes.push(dearer);
                    attempt.write(&**self.till.journal()).await.map(drop)?;
                }
                Err(trouble) => log_trouble(&trouble),
            }
        }
    }

    async fn mined(
        &mut self,
        attempt: Attempt,
        hash: B256,
        skipped: &[Skipped],
        gas_used: u64,
    ) -> Result<(), No> {
        for Skipped { channel, reason } in skipped {
            self.strike(*channel, reason).await?;
        }
        let mut landed = 0;
        for row in &attempt.batch.rows {
            if skipped.iter().any(|skipped| skipped.channel == row.channel) {
                continue;
            }
            landed += 1;
            self.strikes.remove(&row.channel);
            let (channel, target, closed) = (row.channel, row.capture, attempt.batch.closes);
            if closed {
                self.handle
                    .closed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(channel, hash);
            }
            // Nobody may be listening; the watcher tells the lanes in any case.
            let _ = self.handle.settled.send(Settled {
                channel,
                transaction: hash,
                target,
                closed,
            });
        }
        tracing::info!(attempt = attempt.id, transaction = %hash, landed, gas_used, "settled");
        self.tally.send_modify(|tally| {
            tally.transactions += 1;
            tally.channels += landed;
            tally.gas_used += gas_used;
        });
        self.landed.push(attempt);
        Ok(())
    }

    /// Ends attempts whose effect is final, and sends those again that a reorg took out.
    async fn follow_landed(&mut self) -> Result<(), No> {
        for attempt in std::mem::take(&mut self.landed) {
            let mut waits = false;
            for row in &attempt.batch.rows {
                // What cannot be read now may still wait.
                waits |= self.till.read(row.channel).await.map_or(true, |answer| {
                    let capture = answer.get().channel.capture();
                    capture.is_some_and(|capture| capture.target == row.capture)
                });
            }
            if !waits {
                self.end(attempt, Ended::Mined).await?;
            } else if self.is_in_a_block(&attempt).await {
                self.landed.push(attempt);
            } else {
                tracing::warn!(
                    attempt = attempt.id,
                    "a settlement is in no block any more; it is sent again"
                );
                if let Some(newest) = attempt.envelopes.last() {
                    let _ = self.chain.broadcast(newest).await.inspect_err(log_trouble);
                }
                self.landed.push(attempt);
            }
        }
        Ok(())
    }

    /// Whether any of its envelopes is in a block now. Trouble with the node counts as yes: nothing is known.
    async fn is_in_a_block(&self, attempt: &Attempt) -> bool {
        for envelope in &attempt.envelopes {
            match self.chain.wait(&attempt.batch, envelope, Duration::ZERO).await {
                Ok(Landing::Pending) => {}
                Ok(Landing::Mined { .. } | Landing::Reverted) | Err(_) => return true,
            }
        }
        false
    }

    async fn displaced(&mut self, attempt: Attempt) -> Result<(), No> {
        tracing::error!(
            attempt = attempt.id,
            "a transaction that is not in these books used a settlement's nonce; use the payee's key nowhere else"
        );
        self.end_captures(&attempt.batch).await?;
        self.end(attempt, Ended::Displaced).await
    }

    async fn reverted(&mut self, attempt: Attempt) -> Result<(), No> {
        for row in &attempt.batch.rows {
            self.strike(row.channel, "the transaction reverted").await?;
        }
        self.end(attempt, Ended::Reverted).await
    }

    async fn end(&self, mut attempt: Attempt, ended: Ended) -> Result<(), No> {
        attempt.ended = Some(ended);
        attempt.write(&**self.till.journal()).await.map(drop)
    }
}

/// Waits until `stop` turns true, or nobody is left who could turn it.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn log_trouble(trouble: &ChainTrouble) {
    tracing::warn!(%trouble, "the chain could not be used; trying again");
}
