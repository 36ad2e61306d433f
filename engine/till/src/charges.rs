//! Charges: one payment buys one answer, durably.
//!
//! Each challenge that was paid has one row. It says which transaction paid, and whether the answer is still owed or was
//! delivered. It is written before the answer is fetched, and again before anything of the answer leaves; so after a
//! crash whatever did not leave is still owed, and the same credential gets it, once. A transaction pays for one challenge
//! and a challenge is paid by one transaction.
//!
//! A row is forgotten when its challenge can no longer be answered, and a margin later. What is owed can be asked for
//! beyond the end of its challenge ([`OWED_SECONDS`]): a service that was away must not cost the payer its money.

use crate::books::{BooksFault, read_all, spell};
use crate::clock::Clock;
use crate::no::No;
use crate::till::Till;
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weir_core::UnixSeconds;
use weir_protocol::ChallengeTag;
use weir_store::{Durable, Journal, Row, Table, Ticket};

/// Version of the charge record.
pub const CHARGE_RECORD_VERSION: u8 = 1;
/// The longest life of a challenge, in seconds. A payment without a memo answers challenges that are older than itself,
/// so its row outlives them all.
pub const CHALLENGE_SECONDS_MAX: u64 = 600;
/// How long what is owed can still be asked for once its challenge has expired, in seconds.
pub const OWED_SECONDS: u64 = 3_600;
/// How long a row is kept beyond that, in seconds: clocks are set.
pub const CHARGE_KEPT_SECONDS: u64 = 600;
/// Most rows of payments at a time.
pub const CHARGES_MAX: usize = 262_144;
/// Most rows of proofs at a time: these cost their makers nothing, and must not crowd payments out.
pub const PROOFS_MAX: usize = 16_384;
const _: () = assert!(PROOFS_MAX < CHARGES_MAX);
/// Rows that are forgotten with each new one: more than one, so that they get fewer.
const FORGET_PER_STEP: usize = 4;

/// Why a credential gets nothing for a payment.
#[derive(Debug, thiserror::Error)]
pub enum ChargeNo {
    /// Another request with the same credential is being answered.
    #[error("this payment is being used by another request; ask again if that one fails")]
    UnderWay,
    /// Its answer was delivered.
    #[error("this payment has bought its answer already")]
    Delivered,
    /// The transaction paid for another challenge.
    #[error("this transaction has paid for another challenge; pay each challenge anew")]
    OtherChallenge,
    /// The challenge was paid by another transaction, whose answer is still owed.
    #[error("this challenge was paid by another transaction; send that one's credential again")]
    OtherPayment,
    /// The books, or a limit of ours.
    #[error(transparent)]
    No(#[from] No),
}

impl From<BooksFault> for ChargeNo {
    fn from(fault: BooksFault) -> Self {
        Self::No(fault.into())
    }
}

/// A charge as it is written down; its key is the challenge's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeRecord {
    /// The transaction that paid; none where nothing was to be paid.
    pub payment: Option<B256>,
    /// Whether its answer has begun to leave.
    pub delivered: bool,
    /// When the row may be forgotten.
    pub kept_until: UnixSeconds,
}

/// What was paid, and what for. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Charges {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

/// The rows, by everything that they are looked for by.
#[derive(Default)]
struct Kept {
    rows: HashMap<ChallengeTag, ChargeRecord>,
    by_payment: HashMap<B256, ChallengeTag>,
    by_time: BTreeSet<(UnixSeconds, ChallengeTag)>,
    under_way: HashSet<ChallengeTag>,
}

impl Kept {
    fn put(&mut self, tag: ChallengeTag, record: ChargeRecord) {
        self.remove(tag);
        self.rows.insert(tag, record);
        self.by_time.insert((record.kept_until, tag));
        if let Some(payment) = record.payment {
            self.by_payment.insert(payment, tag);
        }
    }

    fn remove(&mut self, tag: ChallengeTag) {
        let Some(record) = self.rows.remove(&tag) else {
            return;
        };
        self.by_time.remove(&(record.kept_until, tag));
        if let Some(payment) = record.payment {
            self.by_payment.remove(&payment);
        }
    }

    /// Whether one more row of this kind may be kept, once some were forgotten.
    fn must_have_room(&self, payment: Option<B256>) -> Result<(), No> {
        let payments = self.by_payment.len();
        let is_full = match payment {
            Some(_) => payments >= CHARGES_MAX,
            None => self.rows.len() - payments >= PROOFS_MAX,
        };
        if is_full {
            tracing::warn!("{CHARGES_MAX} payments or {PROOFS_MAX} proofs are on record; no other is taken");
            return Err(No::Busy);
        }
        Ok(())
    }
}

impl fmt::Debug for Charges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Charges")
    }
}

impl Charges {
    /// Reads what was paid before.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn open(till: &Till) -> Result<Self, No> {
        let mut kept = Kept::default();
        let records = read_all(&**till.journal(), Table::Charges, CHARGE_RECORD_VERSION)?;
        for (key, record) in records {
            if let Ok(tag) = <[u8; 32]>::try_from(key.as_slice()) {
                kept.put(ChallengeTag(tag), record);
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                journal: Arc::clone(till.journal()),
                clock: Arc::clone(till.clock()),
                kept: Mutex::new(kept),
            }),
        })
    }

    /// The moment by which a challenge is held to be live: earlier than now where its answer is owed.
    pub fn moment_for(&self, tag: ChallengeTag) -> UnixSeconds {
        let now = self.inner.clock.now();
        let owed = self.kept().rows.get(&tag).is_some_and(|row| !row.delivered);
        if owed {
            UnixSeconds(now.0.saturating_sub(OWED_SECONDS))
        } else {
            now
        }
    }

    /// Takes the turn at a challenge: no other request with its credential has one until this is dropped.
    ///
    /// # Errors
    /// [`ChargeNo::UnderWay`], [`ChargeNo::Delivered`].
    pub fn begin(&self, tag: ChallengeTag) -> Result<Turn, ChargeNo> {
        let mut kept = self.kept();
        if kept.rows.get(&tag).is_some_and(|row| row.delivered) {
            return Err(ChargeNo::Delivered);
        }
        if !kept.under_way.insert(tag) {
            return Err(ChargeNo::UnderWay);
        }
        drop(kept);
        Ok(Turn {
            charges: self.clone(),
            tag,
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a row, in the order in which the rows change in memory.
    fn write(&self, kept: &mut Kept, tag: ChallengeTag, record: ChargeRecord) -> Result<Ticket, ChargeNo> {
        let now = self.inner.clock.now();
        let over = kept.by_time.iter().take_while(|(until, _)| *until < now);
        // A turn that takes longer than its row is kept goes on with it.
        let over = over.filter(|(_, old)| *old != tag && !kept.under_way.contains(old));
        let over: Vec<ChallengeTag> = over.take(FORGET_PER_STEP).map(|(_, old)| *old).collect();
        let mut rows = vec![spell(
            Table::Charges,
            CHARGE_RECORD_VERSION,
            tag.0.to_vec(),
            &record,
        )?];
        rows.extend(over.iter().map(|old| Row::delete(Table::Charges, old.0.to_vec())));
        let ticket = self.inner.journal.submit(rows).map_err(No::from)?;
        for old in over {
            kept.remove(old);
        }
        kept.put(tag, record);
        Ok(ticket)
    }
}

/// The turn at one challenge; others come when it is dropped.
#[must_use = "others wait for the end of this turn"]
pub struct Turn {
    charges: Charges,
    tag: ChallengeTag,
}

impl Turn {
    /// Writes down that this challenge, which expires then, is paid by this transaction, and its answer owed. Durable
    /// when this returns; harmless when it was done before. Tells whether it was.
    ///
    /// # Errors
    /// [`ChargeNo`]: the transaction or the challenge is taken, or there is no room.
    pub async fn claim(&self, payment: Option<B256>, expires: UnixSeconds) -> Result<bool, ChargeNo> {
        let now = self.charges.inner.clock.now();
        let ticket = {
            let mut kept = self.charges.kept();
            if payment
                .is_some_and(|payment| kept.by_payment.get(&payment).is_some_and(|tag| *tag != self.tag))
            {
                return Err(ChargeNo::OtherChallenge);
            }
            match kept.rows.get(&self.tag) {
                Some(row) if row.payment != payment => return Err(ChargeNo::OtherPayment),
                Some(_) => return Ok(true),
                None => {}
            }
            kept.must_have_room(payment)?;
            let ends = expires.max(now.after(CHALLENGE_SECONDS_MAX));
            let record = ChargeRecord {
                payment,
                delivered: false,
                kept_until: ends.after(OWED_SECONDS + CHARGE_KEPT_SECONDS),
            };
            self.charges.write(&mut kept, self.tag, record)?
        };
        ticket.await.map_err(No::from)?;
        Ok(false)
    }

    /// Forgets the claim: its transaction never took effect and never will.
    ///
    /// # Errors
    /// The books.
    pub async fn let_go(&self) -> Result<(), No> {
        let ticket = {
            let mut kept = self.charges.kept();
            let row = Row::delete(Table::Charges, self.tag.0.to_vec());
            let ticket = self.charges.inner.journal.submit(vec![row])?;
            kept.remove(self.tag);
            ticket
        };
        Ok(ticket.await?)
    }

    /// The answer leaves now. Durable when this returns: from here on the payment buys nothing more, unless the answer
    /// breaks off ([`Handover::fail`]).
    ///
    /// # Errors
    /// The books: nothing may leave then.
    pub async fn deliver(self) -> Result<Durable<Handover>, ChargeNo> {
        let ticket = self.set_delivered(true)?;
        let handover = Handover { turn: Some(self) };
        Ok(ticket.with(handover).await.map_err(No::from)?)
    }

    fn set_delivered(&self, delivered: bool) -> Result<Ticket, ChargeNo> {
        let mut kept = self.charges.kept();
        let claimed = kept.rows.get(&self.tag).copied().ok_or(No::Stopping)?;
        let record = ChargeRecord { delivered, ..claimed };
        self.charges.write(&mut kept, self.tag, record)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.charges.kept().under_way.remove(&self.tag);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turn").field(&self.tag).finish()
    }
}

/// An answer on its way. Dropped, it is over: what was sent was sent.
#[derive(Debug)]
pub struct Handover {
    turn: Option<Turn>,
}

impl Handover {
    /// The service broke its answer off: it is owed again.
    pub fn fail(mut self) {
        let Some(turn) = self.turn.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let written = match turn.set_delivered(false) {
                Ok(ticket) => ticket.await.map_err(|fault| ChargeNo::No(fault.into())),
                Err(no) => Err(no),
            };
            if let Err(no) = written {
                tracing::warn!(challenge = ?turn.tag, %no, "an answer broke off, and could not be written down as owed");
            }
        });
    }
}

#[cfg(test)]
#[path = "charges_tests.rs"]
mod tests;
