//! The settler: plans, writes down, signs, sends, waits. The effect comes back as a fact from the watcher.
//!
//! One attempt at a time is on its way to a block. A crash anywhere leaves either no envelope (the captures are let
//! go) or a durable one (it is sent again, unchanged): nothing is ever signed twice for one nonce without the first
//! being on record.
//!
//! | room | what happens there |
//! |---|---|
//! | this one | takes up what the last run left, then looks through the books again and again |
//! | `prepare` | from a plan to a signed batch; doomed rows are taken out |
//! | `send` | a signed batch on its way to a block |
//! | `landed` | in a block: told, followed until final, forgotten much later |
//! | `handle` | how others call the settler and hear from it |

mod handle;
mod landed;
mod prepare;
mod send;

pub use crate::settlement::BATCH_ROWS_MAX;
pub use handle::{Settled, SettlerHandle, Tally};
pub use landed::ATTEMPTS_KEPT_MAX;
pub use prepare::STRIKES_MAX;
pub use send::REPLACE_AFTER;

use crate::attempt::{Attempt, Ended};
use crate::no::No;
use crate::settlement::{ChainTrouble, Settlement};
use crate::till::Till;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use weir_core::planner::{Plan, Policy, Why, plan};
use weir_core::{Amount, ChannelId, Input};

/// How often the books are looked through when nothing calls.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after the chain failed us.
pub const TROUBLE_PAUSE: Duration = Duration::from_secs(2);

/// The policy for channels that a person asked to settle.
const WHATEVER_IT_IS_WORTH: Policy = Policy {
    value_max: Amount::new(1),
    age_max_seconds: 0,
    value_min: Amount::ZERO,
};

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
    /// What a person asked to have settled at this look.
    asked: HashSet<ChannelId>,
    /// What is still to be settled for a person at the next look.
    asked_again: HashSet<ChannelId>,
    /// In a block, but not final: a reorg may take them out again.
    landed: Vec<landed::Landed>,
    /// Ended and still on record, oldest first.
    kept: VecDeque<landed::Kept>,
    next_attempt: u64,
}

impl Settler {
    /// A settler over a till and a chain.
    pub fn new(till: Till, chain: Arc<dyn Settlement>, config: SettlerConfig) -> (Self, SettlerHandle) {
        let (tally, tally_seen) = watch::channel(Tally::default());
        let handle = SettlerHandle::new(tally_seen);
        let settler = Self {
            till,
            chain,
            config,
            handle: handle.clone(),
            tally,
            strikes: HashMap::new(),
            asked: HashSet::new(),
            asked_again: HashSet::new(),
            landed: Vec::new(),
            kept: VecDeque::new(),
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
                () = self.handle.called() => tokio::time::sleep(self.config.gather).await,
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
        let (live, ended): (Vec<_>, Vec<_>) =
            attempts.into_iter().partition(|attempt| attempt.ended.is_none());
        self.kept.extend(ended.iter().map(landed::Kept::of));
        self.forget_oldest().await?;
        let (signed, unsigned): (Vec<_>, Vec<_>) = live.into_iter().partition(|a| !a.envelopes.is_empty());
        for attempt in unsigned {
            self.end(attempt, Ended::Abandoned).await?;
        }
        self.let_go_of_unsigned(&signed).await?;
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

    async fn let_go_of_unsigned(&self, signed: &[Attempt]) -> Result<(), No> {
        let rows = signed.iter().flat_map(|attempt| &attempt.batch.rows);
        let resumed: HashSet<ChannelId> = rows.map(|row| row.channel).collect();
        for channel in self.till.channels().await? {
            if channel.capture().is_some() && !resumed.contains(&channel.id()) {
                self.till
                    .tell_patiently(channel.id(), Input::EndCapture)
                    .await
                    .map(drop)?;
            }
        }
        Ok(())
    }

    /// Settles the gravest, and then chooses anew: while a transaction lands, a payer may ask for its money, and must not
    /// wait behind all that was planned before. Each channel is tried once, or again for a graver reason.
    async fn look_through(&mut self) -> Result<(), No> {
        self.follow_landed().await?;
        self.asked.clear();
        let mut tried = HashMap::new();
        loop {
            self.hear_asked(&tried);
            let mut plans = self.choose().await?;
            plans.retain(|plan| tried.get(&plan.channel).is_none_or(|why| plan.why < *why));
            let Some(chunk) = self.gravest(plans) else {
                break;
            };
            tried.extend(chunk.plans.iter().map(|plan| (plan.channel, plan.why)));
            self.settle(&chunk).await?;
        }
        self.handle.keep_asked(self.asked_again.drain());
        Ok(())
    }

    /// Takes in what a person asks for. What was tried before it was asked for waits for the next look.
    fn hear_asked(&mut self, tried: &HashMap<ChannelId, Why>) {
        let (again, now): (Vec<_>, Vec<_>) = self
            .handle
            .take_asked()
            .into_iter()
            .partition(|channel| tried.contains_key(channel));
        self.asked_again.extend(again);
        self.asked.extend(now);
    }

    /// What is worth settling now, and what a person asked for; the gravest first.
    async fn choose(&self) -> Result<Vec<Plan>, No> {
        let channels = self.till.channels().await?;
        let now = self.till.clock().now();
        let asked = &self.asked;
        let (now_please, in_time): (Vec<_>, Vec<_>) = channels.iter().partition(|c| asked.contains(&c.id()));
        let mut plans = plan(in_time, &self.config.policy, now);
        plans.extend(plan(now_please, &WHATEVER_IT_IS_WORTH, now));
        plans.sort_by_key(Plan::rank);
        // A deadline or a person's word outweighs what failed before.
        plans.retain(|plan| {
            !self.is_struck_out(plan.channel) || plan.why == Why::Deadline || asked.contains(&plan.channel)
        });
        // A close that failed may have failed for what it pays back, and that is no reason to lose what is earned.
        let failed = |plan: &&mut Plan| plan.closes && self.strikes.contains_key(&plan.channel);
        for plan in plans
            .iter_mut()
            .filter(failed)
            .filter(|plan| plan.why == Why::Deadline)
        {
            let channel = channels.iter().find(|channel| channel.id() == plan.channel);
            if let Some(open) = channel.and_then(|channel| plan.kept_open(channel)) {
                *plan = open;
            }
        }
        Ok(plans)
    }
}

/// Waits until `stop` turns true, or nobody is left who could turn it.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn log_trouble(trouble: &ChainTrouble) {
    tracing::warn!(%trouble, "the chain could not be used; trying again");
}
