//! Pulls as they are written down: what will be sent, and the credential that it came from, are durable before it is sent
//! (TX-2).

use crate::attempt::write_patiently;
use crate::books::{BooksFault, UsedCredential, read_all, spell};
use crate::charge_rows::OWED_SECONDS;
use crate::no::No;
use alloy_primitives::{Address, B256, keccak256};
use serde::{Deserialize, Serialize};
use weir_chain::{Call, Envelope};
use weir_core::pull::{Leave, Pull, Purpose};
use weir_core::{Amount, ChannelId, Draw, UnixSeconds};
use weir_protocol::ChallengeTag;
use weir_store::{Journal, Row, Table};

/// Version of the funding record.
pub(super) const FUNDING_RECORD_VERSION: u8 = 3;
/// How long a row is kept at least: bounds are per hour.
pub(super) const KEPT_SECONDS: u64 = 3_600;

/// Which deposit or payment of which payer: the same for every credential and signature that stands for it. One that is
/// signed for again, for longer, is another: the token lets only one of them land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Deed(pub B256);

impl Deed {
    /// The deed that a deposit's signature is for.
    pub fn of(pull: &Pull) -> Self {
        let (kind, nonce) = match pull.leave {
            Leave::Eip3009 { .. } => (0, pull.bound_nonce()),
            Leave::Permit2 { nonce, .. } => (1, nonce.into()),
        };
        // A permit's nonce says nothing of what it is for.
        let purpose = match &pull.purpose {
            Purpose::Open { .. } => pull.bound_nonce(),
            Purpose::TopUp { channel, .. } => channel.0,
        };
        let (token, ends) = (pull.token(), pull.leave.ends().to_be_bytes());
        let parts: [&[u8]; 7] = [
            &[kind],
            pull.from.as_slice(),
            token.as_slice(),
            nonce.as_slice(),
            purpose.as_slice(),
            &pull.amount.base_units().to_be_bytes(),
            &ends,
        ];
        Self(keccak256(parts.concat()))
    }

    /// The deed that a payment's signature is for.
    pub fn of_draw(draw: &Draw) -> Self {
        let (key, ends) = (draw.key(), draw.leave.ends().to_be_bytes());
        let amount = draw.amount.base_units().to_be_bytes();
        Self(keccak256(
            [key.as_slice(), draw.to.as_slice(), &amount, &ends].concat(),
        ))
    }

    /// The change that forgets its row.
    pub(super) fn deleted(&self) -> Row {
        Row::delete(Table::Fundings, self.0.to_vec())
    }
}

/// What a pull is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A deposit in this channel.
    Deposit(ChannelId),
    /// One payment.
    Payment,
}

/// What a payer wants to have sent, as far as the bounds ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(super) deed: Deed,
    /// What its transaction uses up: a payment's nonce, whatever it is signed for. A deposit's is its deed alone, since no
    /// two of one payer are on their way.
    pub(super) uses: B256,
    pub(super) what: What,
    pub(super) payer: Address,
    pub(super) amount: Amount,
}

impl Wanted {
    pub(super) fn deposit(pull: &Pull, channel: ChannelId) -> Self {
        let deed = Deed::of(pull);
        Self {
            deed,
            uses: deed.0,
            what: What::Deposit(channel),
            payer: pull.from,
            amount: pull.amount,
        }
    }

    pub(super) fn payment(draw: &Draw) -> Self {
        Self {
            deed: Deed::of_draw(draw),
            uses: draw.uses(),
            what: What::Payment,
            payer: draw.from,
            amount: draw.amount,
        }
    }
}

/// What is to be sent, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(super) wanted: Wanted,
    /// The first moment at which the signature does not count any more, in Unix seconds.
    pub(super) ends: u64,
    pub(super) call: Call,
    pub(super) credential: UsedCredential,
}

/// What became of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It may be on its way.
    Pending,
    /// It is in a block, with effect.
    Mined {
        /// The transaction.
        hash: B256,
        /// Its block's height.
        block: u64,
    },
    /// It is in a block, in vain.
    Reverted {
        /// Its block's height.
        block: u64,
    },
    /// A transaction that is not of these books used its nonce.
    Displaced,
}

impl Standing {
    /// The height of the block that it is in.
    pub const fn block(&self) -> Option<u64> {
        match self {
            Self::Mined { block, .. } | Self::Reverted { block } => Some(*block),
            Self::Pending | Self::Displaced => None,
        }
    }
}

/// One pull. Its key is its deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundingRecord {
    /// Which one.
    pub deed: Deed,
    /// What its transaction uses up: of all that share it, one lands.
    pub uses: B256,
    /// What for.
    pub what: What,
    /// Who signed.
    pub payer: Address,
    /// How much moves.
    pub amount: Amount,
    /// The first moment at which the signature does not count any more, in Unix seconds.
    pub ends: u64,
    /// What is sent.
    pub call: Call,
    /// The account whose key signed: its nonces are its own.
    pub gas_key: Address,
    /// Every envelope signed for it, oldest first, all under one nonce: at most one can land.
    pub envelopes: Vec<Envelope>,
    /// The challenge that the credential answered.
    pub challenge: ChallengeTag,
    /// When that challenge expires.
    pub challenge_expires: UnixSeconds,
    /// When it was signed.
    pub signed_at: UnixSeconds,
    /// What became of it.
    pub standing: Standing,
    /// Whether it is too deep in the chain to be followed any more.
    pub is_over: bool,
}

impl FundingRecord {
    pub(super) fn new(errand: Errand, gas_key: Address, now: UnixSeconds) -> Self {
        let Wanted {
            deed,
            uses,
            what,
            payer,
            amount,
        } = errand.wanted;
        Self {
            deed,
            uses,
            what,
            payer,
            amount,
            ends: errand.ends,
            call: errand.call,
            gas_key,
            envelopes: Vec::new(),
            challenge: errand.credential.tag,
            challenge_expires: errand.credential.expires,
            signed_at: now,
            standing: Standing::Pending,
            is_over: false,
        }
    }

    /// Whether it counts against what one account, and all together, may have spent within an hour in vain. A payment that
    /// was made counts against a bound of its own, a deposit may go back whole.
    pub(super) fn counts(&self) -> bool {
        self.what != What::Payment || !matches!(self.standing, Standing::Mined { .. })
    }

    /// The envelope that made room, where one had to: it calls nothing.
    pub(super) fn made_room(&self) -> bool {
        self.envelopes
            .last()
            .is_some_and(|envelope| envelope.to == Some(self.gas_key))
    }

    /// The most that its newest envelope can cost, in wei.
    pub fn cost_max(&self) -> u128 {
        self.envelopes.last().map_or(0, |envelope| {
            envelope
                .max_fee_per_gas
                .saturating_mul(u128::from(envelope.gas_limit))
        })
    }

    /// The gas that it may use.
    pub fn gas_limit(&self) -> u64 {
        self.envelopes.last().map_or(0, |envelope| envelope.gas_limit)
    }

    /// Until when it counts as one of this hour.
    pub fn recent_until(&self) -> UnixSeconds {
        self.signed_at.after(KEPT_SECONDS)
    }

    /// When the row may be forgotten, if it is over by then: which transaction made a payment is asked for as long as its
    /// answer is owed.
    pub fn kept_until(&self) -> UnixSeconds {
        match self.what {
            What::Deposit(_) => self.recent_until(),
            What::Payment => self
                .recent_until()
                .max(self.challenge_expires.after(OWED_SECONDS)),
        }
    }

    /// Whether the row may be forgotten now.
    pub(super) fn is_past(&self, now: UnixSeconds) -> bool {
        self.is_over && self.kept_until() <= now
    }

    /// Durable when this returns; `over` are forgotten with it.
    pub(super) async fn write(&self, journal: &dyn Journal, over: &[Deed]) -> Result<(), No> {
        let mut rows = vec![spell(
            Table::Fundings,
            FUNDING_RECORD_VERSION,
            self.deed.0.to_vec(),
            self,
        )?];
        rows.extend(over.iter().map(Deed::deleted));
        write_patiently(journal, rows).await.map(drop)
    }
}

/// Reads every pull that is kept.
///
/// # Errors
/// The books cannot be read.
pub fn read_records(journal: &dyn Journal) -> Result<Vec<FundingRecord>, BooksFault> {
    let records = read_all(journal, Table::Fundings, FUNDING_RECORD_VERSION)?;
    Ok(records.into_iter().map(|(_, record)| record).collect())
}
