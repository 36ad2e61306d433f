//! What the gas key has promised and used lately, and the bounds on it.

use super::record::{Deed, FundingRecord, KEPT_SECONDS, Standing, Wanted, What};
use super::{FundNo, FundingConfig, FundingTally};
use crate::no::No;
use alloy_primitives::{Address, B256};
use std::collections::BTreeMap;
use weir_core::{Amount, UnixSeconds};

/// Most pulls of one account within an hour: it takes as many deposits of its own to have more gas spent. Of payments only
/// those count that were made in vain, or may be yet.
pub const PULLS_PER_PAYER_MAX: usize = 16;
/// Most payments of one account on their way at once.
pub const PAYMENTS_AT_ONCE_MAX: usize = 8;
/// Most pulls on record at once. Each costs about a kilobyte of memory.
pub const PULLS_KEPT_MAX: usize = 65_536;
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

    pub(crate) fn record(&self, deed: &Deed) -> Option<FundingRecord> {
        self.records.get(deed).cloned()
    }

    /// Those that wait for a block.
    pub(crate) fn waiting(&self) -> Vec<Deed> {
        let waiting = |record: &&FundingRecord| record.standing == Standing::Pending;
        let waiting = self.records.values().filter(waiting);
        waiting.map(|record| record.deed).collect()
    }

    /// Those that are in a block which may still be taken back.
    pub(crate) fn unsettled(&self) -> Vec<Deed> {
        let unsettled = |record: &&FundingRecord| !record.is_over && record.standing != Standing::Pending;
        let unsettled = self.records.values().filter(unsettled);
        unsettled.map(|record| record.deed).collect()
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
        let recent = move |record: &&FundingRecord| record.counts() && record.recent_until() > now;
        self.records.values().filter(recent)
    }

    /// Whether one more pull may be sent, by a payer that holds so much.
    pub(crate) fn must_have_room(
        &self,
        wanted: &Wanted,
        balance: Amount,
        now: UnixSeconds,
    ) -> Result<(), FundNo> {
        self.must_not_wait(wanted, balance)?;
        if self.pending().count() >= PENDING_MAX || self.is_full(now) {
            tracing::warn!(
                on_record = self.records.len(),
                "{PENDING_MAX} pulls are on their way, or {PULLS_KEPT_MAX} on record; no other is sent"
            );
            return Err(No::Busy.into());
        }
        let own = self
            .within_the_hour(now)
            .filter(|record| record.payer == wanted.payer);
        let mut own: Vec<UnixSeconds> = own.map(FundingRecord::recent_until).collect();
        own.sort_unstable();
        match own.first() {
            Some(first) if own.len() >= PULLS_PER_PAYER_MAX => Err(FundNo::TooMany {
                free_in_seconds: first.seconds_since(now).saturating_add(1),
            }),
            _ => Ok(()),
        }
    }

    /// Whether there is no row for another, beside those that would be forgotten with it.
    fn is_full(&self, now: UnixSeconds) -> bool {
        self.records.len() >= PULLS_KEPT_MAX && self.records.len() - self.past(now).len() >= PULLS_KEPT_MAX
    }

    /// Whether another record uses up, or has used up, the same: our node may not know that yet.
    fn is_in_use(&self, deed: &Deed, uses: &B256) -> bool {
        self.records.values().any(|record| {
            record.uses == *uses
                && record.deed != *deed
                && matches!(record.standing, Standing::Pending | Standing::Mined { .. })
        })
    }

    /// What is on its way is not in the state that the next one is tried on: one channel takes one state, one balance
    /// pays once, and one nonce. The next would be paid for and revert.
    fn must_not_wait(&self, wanted: &Wanted, balance: Amount) -> Result<(), FundNo> {
        let (what, payer) = (wanted.what, wanted.payer);
        let own: Vec<&FundingRecord> = self.pending().filter(|record| record.payer == payer).collect();
        match what {
            What::Deposit(_) if !own.is_empty() || self.pending().any(|record| record.what == what) => {
                Err(No::NotSeenYet.into())
            }
            What::Payment => {
                let deposits = own.iter().any(|record| record.what != What::Payment);
                let sum = own
                    .iter()
                    .try_fold(wanted.amount, |sum, record| sum.checked_add(record.amount));
                let covered = sum.is_some_and(|sum| sum <= balance);
                let is_crowded = !own.is_empty() && !covered || own.len() >= PAYMENTS_AT_ONCE_MAX;
                if deposits || is_crowded || self.is_in_use(&wanted.deed, &wanted.uses) {
                    return Err(FundNo::Waits);
                }
                Ok(())
            }
            What::Deposit(_) => Ok(()),
        }
    }

    /// Whether this account sends, or has sent, pulls.
    pub(crate) fn is_gas_key(&self, address: Address) -> bool {
        address == self.gas_key || self.records.values().any(|record| record.gas_key == address)
    }

    /// Whether so much more gas may be spent within this hour. Payments have a bound of their own beside the common one:
    /// those that were made count against it too, since none pays for its gas by itself.
    pub(crate) fn must_have_gas(
        &self,
        (what, gas): (What, u64),
        config: &FundingConfig,
        now: UnixSeconds,
    ) -> Result<(), FundNo> {
        let used: u64 = self.within_the_hour(now).map(FundingRecord::gas_limit).sum();
        must_be_within(
            "gas_per_hour_max",
            used.saturating_add(gas),
            config.gas_per_hour_max,
        )?;
        if what != What::Payment {
            return Ok(());
        }
        let payments = self.records.values();
        let payments = payments.filter(|record| record.what == What::Payment && record.recent_until() > now);
        let used: u64 = payments.map(FundingRecord::gas_limit).sum();
        let most = config.charge_gas_per_hour_max;
        must_be_within("charge_gas_per_hour_max", used.saturating_add(gas), most)
    }

    /// Some that are over and whose hour is over too.
    pub(crate) fn past(&self, now: UnixSeconds) -> Vec<Deed> {
        let past = self.records.values().filter(|record| record.is_past(now));
        past.map(|record| record.deed).take(FORGET_PER_STEP).collect()
    }

    pub(crate) fn forget(&mut self, deeds: &[Deed]) {
        for deed in deeds {
            self.records.remove(deed);
        }
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

fn must_be_within(key: &str, used: u64, most: u64) -> Result<(), FundNo> {
    if used <= most {
        return Ok(());
    }
    tracing::warn!(
        used,
        most,
        hour_seconds = KEPT_SECONDS,
        "the gas of this hour is used up; payers are asked to send what they sign themselves, or raise funding.{key}"
    );
    Err(FundNo::Unaffordable(
        "this server has spent its gas for this hour",
    ))
}
