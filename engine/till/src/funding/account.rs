//! What the gas key has promised and used lately, and the bounds on it.

use super::record::{Deed, FundingRecord, KEPT_SECONDS, Standing};
use super::{FundNo, FundingTally};
use crate::no::No;
use alloy_primitives::Address;
use std::collections::BTreeMap;
use weir_core::{ChannelId, UnixSeconds};

/// Most pulls of one account within an hour: it takes as many deposits of its own to have more gas spent.
pub const PULLS_PER_PAYER_MAX: usize = 16;
/// Most pulls on their way at once: nodes hold few transactions of one account.
pub const PENDING_MAX: usize = 64;
/// Rows that are forgotten with each new one: more than one, so that they get fewer.
const FORGET_PER_STEP: usize = 4;

/// The pulls of the last hour, and those that are not over.
#[derive(Debug)]
pub(crate) struct Account {
    gas_key: Address,
    records: BTreeMap<Deed, FundingRecord>,
    tally: FundingTally,
}

impl Account {
    pub(crate) fn of(gas_key: Address) -> Self {
        Self {
            gas_key,
            records: BTreeMap::new(),
            tally: FundingTally::default(),
        }
    }

    pub(crate) fn put(&mut self, record: FundingRecord) {
        self.records.insert(record.deed, record);
    }

    pub(crate) fn standing(&self, deed: &Deed) -> Option<Standing> {
        self.records.get(deed).map(|record| record.standing)
    }

    /// Those that are still followed.
    pub(crate) fn live(&self) -> Vec<FundingRecord> {
        let live = self.records.values().filter(|record| !record.is_over);
        live.cloned().collect()
    }

    /// Those of this gas key alone: an older one's may wait for good, for a coin that nobody sends there any more.
    fn pending(&self) -> impl Iterator<Item = &FundingRecord> {
        let pending =
            |record: &&FundingRecord| record.standing == Standing::Pending && record.gas_key == self.gas_key;
        self.records.values().filter(pending)
    }

    /// What those on their way can cost at most, in wei.
    pub(crate) fn promised(&self) -> u128 {
        self.pending()
            .fold(0, |sum, record| sum.saturating_add(record.cost_max()))
    }

    fn within_the_hour(&self, now: UnixSeconds) -> impl Iterator<Item = &FundingRecord> {
        let recent = move |record: &&FundingRecord| record.kept_until() > now;
        self.records.values().filter(recent)
    }

    /// Whether one more pull of this payer may be sent.
    pub(crate) fn must_have_room(
        &self,
        (payer, channel): (Address, ChannelId),
        now: UnixSeconds,
    ) -> Result<(), FundNo> {
        // A second one would be paid for and revert, because the first is not in the state that it is tried on: one
        // channel takes one state, and one balance pays once.
        if self
            .pending()
            .any(|record| record.channel == channel || record.payer == payer)
        {
            return Err(No::NotSeenYet.into());
        }
        if self.pending().count() >= PENDING_MAX {
            tracing::warn!("{PENDING_MAX} deposits are on their way at once; no other is pulled");
            return Err(No::Busy.into());
        }
        let own = self.within_the_hour(now).filter(|record| record.payer == payer);
        let mut own: Vec<UnixSeconds> = own.map(FundingRecord::kept_until).collect();
        own.sort_unstable();
        match own.first() {
            Some(first) if own.len() >= PULLS_PER_PAYER_MAX => Err(FundNo::TooMany {
                free_in_seconds: first.seconds_since(now).saturating_add(1),
            }),
            _ => Ok(()),
        }
    }

    /// Whether so much more gas may be spent within this hour.
    pub(crate) fn must_have_gas(&self, gas: u64, most: u64, now: UnixSeconds) -> Result<(), FundNo> {
        let used: u64 = self.within_the_hour(now).map(FundingRecord::gas_limit).sum();
        if used.saturating_add(gas) > most {
            tracing::warn!(
                used,
                most,
                hour_seconds = KEPT_SECONDS,
                "the gas of this hour is used up; payers are asked to send their deposits themselves"
            );
            return Err(FundNo::Unaffordable(
                "this server has spent its gas for this hour",
            ));
        }
        Ok(())
    }

    /// Takes some off that are over and whose hour is over too.
    pub(crate) fn forget_some(&mut self, now: UnixSeconds) -> Vec<Deed> {
        let old = |record: &&FundingRecord| record.is_over && record.kept_until() <= now;
        let old = self.records.values().filter(old).map(|record| record.deed);
        let old: Vec<Deed> = old.take(FORGET_PER_STEP).collect();
        for deed in &old {
            self.records.remove(deed);
        }
        old
    }

    pub(crate) fn count(&mut self, success: bool, gas_used: u64) {
        let tally = &mut self.tally;
        *if success {
            &mut tally.pulled
        } else {
            &mut tally.reverted
        } += 1;
        tally.gas_used = tally.gas_used.saturating_add(gas_used);
    }

    pub(crate) const fn has_balance(&mut self, wei: u128) {
        self.tally.balance = wei;
    }

    pub(crate) fn tally(&self) -> FundingTally {
        FundingTally {
            pending: self.pending().count() as u64,
            ..self.tally
        }
    }
}
