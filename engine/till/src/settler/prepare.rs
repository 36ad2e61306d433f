//! From a plan to a signed batch.

use super::{Settler, TROUBLE_PAUSE, log_trouble};
use crate::attempt::Attempt;
use crate::no::No;
use crate::settlement::{Batch, BatchRow, Skipped};
use alloy_primitives::Address;
use std::collections::BTreeMap;
use weir_core::planner::Plan;
use weir_core::{Capture, ChannelId, Input, KeptVoucher};

/// How often a channel's settlement may fail before it is left for a person (threat B2).
pub const STRIKES_MAX: u32 = 5;

impl Settler {
    /// One transaction is of one token, and either closes all its channels or none.
    pub(super) fn group(&self, plans: Vec<Plan>) -> BTreeMap<(Address, bool), Vec<Plan>> {
        let mut groups: BTreeMap<(Address, bool), Vec<Plan>> = BTreeMap::new();
        for plan in plans {
            if let Some(terms) = self.till.terms(plan.channel) {
                groups.entry((terms.token, plan.closes)).or_default().push(plan);
            }
        }
        groups
    }

    /// Takes one chunk of plans from intent to landing.
    pub(super) async fn settle(&mut self, token: Address, closes: bool, plans: &[Plan]) -> Result<(), No> {
        let mut batch = Batch {
            token,
            closes,
            rows: Vec::with_capacity(plans.len()),
            terms: Vec::with_capacity(plans.len()),
        };
        for plan in plans {
            let terms = self.till.terms(plan.channel);
            if let Some((terms, row)) = terms.zip(self.begin(plan).await?) {
                batch.terms.push(terms);
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
        let Ok(envelope) = self.chain.sign(&batch).await.inspect_err(log_trouble) else {
            return self.let_go(&batch).await;
        };
        let attempt = Attempt {
            id: self.next_attempt,
            batch,
            envelopes: vec![envelope],
            ended: None,
        };
        self.next_attempt += 1;
        attempt.write(&**self.till.journal()).await.map(drop)?;
        self.see_through(attempt).await
    }

    /// Marks a channel as under settlement, durably, and makes its row; `None` when the channel moved meanwhile.
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
                // The next look judges it anew.
                tracing::debug!(channel = %plan.channel, %refusal, "not settled now");
                return Ok(None);
            }
            Err(no) => return Err(no),
        };
        let channel = &answer.get().channel;
        let pays = plan.target > channel.chain().settled;
        let voucher = channel.voucher_for(&capture).filter(|_| pays);
        Ok(Some(BatchRow {
            channel: plan.channel,
            cumulative: voucher.map_or(plan.target, KeptVoucher::cumulative),
            capture: plan.target,
            signature: voucher.map(|voucher| *voucher.signature()),
        }))
    }

    /// Takes doomed rows out, so that they neither cost gas nor hold the others up (threat B1).
    async fn quarantine(&mut self, batch: &mut Batch, doomed: &[Skipped]) -> Result<(), No> {
        for Skipped { channel, reason } in doomed {
            batch.remove(*channel);
            self.strike(*channel, reason).await?;
        }
        Ok(())
    }

    /// Counts a settlement that took no effect, and lets its capture go.
    pub(super) async fn strike(&mut self, channel: ChannelId, reason: &str) -> Result<(), No> {
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

    pub(super) fn is_struck_out(&self, channel: ChannelId) -> bool {
        self.strikes
            .get(&channel)
            .is_some_and(|strikes| *strikes >= STRIKES_MAX)
    }

    async fn let_go(&self, batch: &Batch) -> Result<(), No> {
        self.end_captures(batch).await?;
        // The chain was in the way: a person's word stands until it is done.
        let rows = batch.rows.iter().map(|row| row.channel);
        self.handle
            .keep_asked(rows.filter(|channel| self.asked.contains(channel)));
        tokio::time::sleep(TROUBLE_PAUSE).await;
        Ok(())
    }

    pub(super) async fn end_captures(&self, batch: &Batch) -> Result<(), No> {
        for row in &batch.rows {
            self.till
                .tell_patiently(row.channel, Input::EndCapture)
                .await
                .map(drop)?;
        }
        Ok(())
    }
}
