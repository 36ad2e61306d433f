//! From a plan to a signed batch.

use super::{Settler, TROUBLE_PAUSE, log_trouble};
use crate::attempt::Attempt;
use crate::no::No;
use crate::settlement::{Batch, BatchRow, Skipped};
use alloy_primitives::Address;
use weir_core::planner::Plan;
use weir_core::{Capture, ChannelId, Input, KeptVoucher};

/// How often a channel's settlement may fail before it is left for a person (threat B2).
pub const STRIKES_MAX: u32 = 5;

/// What goes into one transaction.
#[derive(Debug)]
pub(super) struct Chunk {
    token: Address,
    closes: bool,
    /// The channels, the gravest first.
    pub(super) plans: Vec<Plan>,
}

impl Settler {
    /// The gravest plans that go into one transaction: it is of one token, and either closes all its channels or none.
    pub(super) fn gravest(&self, plans: Vec<Plan>) -> Option<Chunk> {
        let token_of = |plan: &Plan| self.till.terms(plan.channel).map(|terms| terms.token);
        let (token, closes) = plans
            .iter()
            .find_map(|plan| Some((token_of(plan)?, plan.closes)))?;
        let fits = |plan: &Plan| plan.closes == closes && token_of(plan) == Some(token);
        let plans = plans.into_iter().filter(fits).take(self.chain.rows_max());
        Some(Chunk {
            token,
            closes,
            plans: plans.collect(),
        })
    }

    /// Takes one chunk of plans from intent to landing.
    pub(super) async fn settle(&mut self, chunk: &Chunk) -> Result<(), No> {
        let mut batch = Batch {
            token: chunk.token,
            closes: chunk.closes,
            rows: Vec::with_capacity(chunk.plans.len()),
            terms: Vec::with_capacity(chunk.plans.len()),
        };
        for plan in &chunk.plans {
            let terms = self.till.terms(plan.channel);
            if let Some((terms, row)) = terms.zip(self.begin(plan).await?) {
                batch.terms.push(terms);
                batch.rows.push(row);
            }
        }
        if batch.rows.is_empty() {
            // All of them moved meanwhile.
            return Ok(());
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
        // More may have been earned since it was planned.
        let capture = *channel.capture().unwrap_or(&capture);
        let pays = capture.target > channel.chain().settled;
        let voucher = channel.voucher_for(&capture).filter(|_| pays);
        Ok(Some(BatchRow {
            channel: plan.channel,
            cumulative: voucher.map_or(capture.target, KeptVoucher::cumulative),
            capture: capture.target,
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

    async fn let_go(&mut self, batch: &Batch) -> Result<(), No> {
        self.end_captures(batch).await?;
        // The chain was in the way: a person's word stands until it is done.
        let rows = batch.rows.iter().map(|row| row.channel);
        self.asked_again
            .extend(rows.filter(|channel| self.asked.contains(channel)));
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
