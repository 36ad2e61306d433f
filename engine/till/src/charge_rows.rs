//! The rows of charges: how they are written down, how long they are kept, and how many.

use crate::no::No;
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};
use weir_core::UnixSeconds;
use weir_protocol::ChallengeTag;

/// Version of the charge record.
pub const CHARGE_RECORD_VERSION: u8 = 1;
/// The longest life of a challenge, in seconds. A payment without a memo answers challenges that are older than itself,
/// so its row outlives them all.
pub const CHALLENGE_SECONDS_MAX: u64 = 600;
/// How long what is owed can still be asked for once its challenge has expired, in seconds.
pub const OWED_SECONDS: u64 = 3_600;
/// How long a row is kept beyond that, in seconds: clocks are set.
pub const CHARGE_KEPT_SECONDS: u64 = 600;
/// Most rows of payments at a time. Each costs about 300 bytes of memory, and 100 on the disk.
pub const CHARGES_MAX: usize = 262_144;
/// Most rows of proofs at a time: these cost their makers nothing, and must not crowd payments out. Each costs about 200
/// bytes of memory and is kept for a quarter of an hour, so this is enough for 145 a second.
pub const PROOFS_MAX: usize = 131_072;
const _: () = assert!(PROOFS_MAX < CHARGES_MAX);
/// How often an answer that breaks off is owed again: each time costs the service an answer.
pub const OWED_AGAIN_MAX: u8 = 3;
/// Rows that are forgotten with each new one: more than one, so that they get fewer.
pub(crate) const FORGET_PER_STEP: usize = 4;

/// What a challenge is paid with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The transaction that pays; none where nothing is to be paid.
    pub payment: Option<B256>,
    /// When the challenge expires.
    pub expires: UnixSeconds,
    /// Whether the payment names its challenge, and can answer no other.
    pub is_bound: bool,
}

/// A charge as it is written down; its key is the challenge's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeRecord {
    /// The transaction that paid; none where nothing was to be paid.
    pub payment: Option<B256>,
    /// Whether the payment names its challenge.
    pub is_bound: bool,
    /// When the last challenge expires that it can answer.
    pub ends: UnixSeconds,
    /// Whether its answer has begun to leave.
    pub delivered: bool,
    /// How often it broke off, and was owed again.
    pub owed_again: u8,
}

impl ChargeRecord {
    /// Whether its answer can be asked for beyond the end of its challenge.
    pub(crate) const fn is_owed(&self) -> bool {
        self.payment.is_some() && !self.delivered
    }

    /// When the row may be forgotten.
    pub(crate) fn kept_until(&self) -> UnixSeconds {
        let is_over = self.payment.is_none() || (self.is_bound && self.delivered);
        let owed = if is_over { 0 } else { OWED_SECONDS };
        self.ends.after(owed + CHARGE_KEPT_SECONDS)
    }
}

/// The rows, by everything that they are looked for by.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) rows: HashMap<ChallengeTag, ChargeRecord>,
    pub(crate) by_payment: HashMap<B256, ChallengeTag>,
    /// By when they may be forgotten, those of payments first: a full table of one kind empties by what comes of it.
    pub(crate) by_time: BTreeSet<(bool, UnixSeconds, ChallengeTag)>,
    pub(crate) under_way: HashSet<ChallengeTag>,
}

impl Kept {
    pub(crate) fn put(&mut self, tag: ChallengeTag, record: ChargeRecord) {
        self.remove(tag);
        self.rows.insert(tag, record);
        self.by_time
            .insert((record.payment.is_none(), record.kept_until(), tag));
        if let Some(payment) = record.payment {
            self.by_payment.insert(payment, tag);
        }
    }

    pub(crate) fn remove(&mut self, tag: ChallengeTag) {
        let Some(record) = self.rows.remove(&tag) else {
            return;
        };
        self.by_time
            .remove(&(record.payment.is_none(), record.kept_until(), tag));
        if let Some(payment) = record.payment {
            self.by_payment.remove(&payment);
        }
    }

    /// Some rows of one kind whose time is over. A turn that takes longer than its row is kept goes on with it.
    pub(crate) fn over(&self, is_proof: bool, now: UnixSeconds) -> Vec<ChallengeTag> {
        let first = (is_proof, UnixSeconds(0), ChallengeTag([0; 32]));
        let over = self.by_time.range(first..);
        let over = over.take_while(|(kind, until, _)| *kind == is_proof && *until < now);
        let over = over.map(|(.., tag)| *tag);
        over.filter(|tag| !self.under_way.contains(tag))
            .take(FORGET_PER_STEP)
            .collect()
    }

    /// Whether one more row of this kind may be kept, once so many of its kind are forgotten.
    pub(crate) fn must_have_room(&self, is_proof: bool, forgotten: usize) -> Result<(), No> {
        let payments = self.by_payment.len();
        let (kept, most) = if is_proof {
            (self.rows.len() - payments, PROOFS_MAX)
        } else {
            (payments, CHARGES_MAX)
        };
        if kept - forgotten >= most {
            tracing::warn!(
                is_proof,
                "{most} payments of this kind are on record; no other is taken"
            );
            return Err(No::Busy);
        }
        Ok(())
    }
}
