//! Charges: one payment buys one answer, durably.
//!
//! Each challenge that was paid has one row. It says which transaction paid, and whether the answer is still owed or was
//! delivered. It is written before the answer is fetched, and again before anything of the answer leaves; so what was not
//! written down as delivered is owed after a crash, and the same credential gets it, once. A kill between that and the
//! socket loses the answer: it is delivered once at most. A transaction pays for one challenge and a challenge is paid by
//! one transaction.
//!
//! A row is forgotten when its challenge can no longer be answered, and a margin later. What is owed can be asked for
//! beyond the end of its challenge ([`OWED_SECONDS`]): a service that was away must not cost the payer its money. Where
//! nothing was paid, nothing is owed beyond it.

use crate::books::{BooksFault, read_all, spell};
use crate::charge_rows::{
    CHALLENGE_SECONDS_MAX, CHARGE_RECORD_VERSION, ChargeRecord, Claim, Kept, OWED_AGAIN_MAX, OWED_SECONDS,
};
use crate::clock::Clock;
use crate::no::No;
use crate::till::Till;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weir_core::UnixSeconds;
use weir_protocol::ChallengeTag;
use weir_store::{Durable, Journal, Row, Table, Ticket};

/// Rows that are forgotten at the start; the rest goes with new ones.
const FORGET_AT_START_MAX: usize = 1_024;

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
        let (mut kept, mut over) = (Kept::default(), Vec::new());
        let now = till.clock().now();
        let records: Vec<(Vec<u8>, ChargeRecord)> =
            read_all(&**till.journal(), Table::Charges, CHARGE_RECORD_VERSION)?;
        for (key, record) in records {
            if record.kept_until() < now && over.len() < FORGET_AT_START_MAX {
                over.push(Row::delete(Table::Charges, key));
            } else if let Ok(tag) = <[u8; 32]>::try_from(key.as_slice()) {
                kept.put(ChallengeTag(tag), record);
            }
        }
        if !over.is_empty() {
            // Nobody waits for that: a row too many does no harm.
            till.journal().submit(over).map(drop)?;
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
        let owed = self.kept().rows.get(&tag).is_some_and(ChargeRecord::is_owed);
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

    /// Writes a row, if there is room, in the order in which the rows change in memory.
    fn write(&self, kept: &mut Kept, tag: ChallengeTag, record: ChargeRecord) -> Result<Ticket, ChargeNo> {
        let is_proof = record.payment.is_none();
        let over = kept.over(is_proof, self.inner.clock.now());
        if !kept.rows.contains_key(&tag) {
            kept.must_have_room(is_proof, over.len())?;
        }
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
    /// Writes down that this challenge is paid by this transaction, and its answer owed. Durable when this returns;
    /// harmless when it was done before. Tells whether it was.
    ///
    /// # Errors
    /// [`ChargeNo`]: the transaction or the challenge is taken, or there is no room.
    pub async fn claim(&self, claim: Claim) -> Result<bool, ChargeNo> {
        let Claim {
            payment,
            expires,
            is_bound,
        } = claim;
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
            // What is not bound answers all challenges that are as old as itself.
            let ends = if is_bound {
                expires
            } else {
                expires.max(now.after(CHALLENGE_SECONDS_MAX))
            };
            let record = ChargeRecord {
                payment,
                is_bound,
                ends,
                delivered: false,
                owed_again: 0,
            };
            self.charges.write(&mut kept, self.tag, record)?
        };
        ticket.await.map_err(No::from)?;
        Ok(false)
    }

    /// Whether it is written down that this challenge is paid, or will be.
    pub fn is_claimed(&self) -> bool {
        self.charges.kept().rows.contains_key(&self.tag)
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
        let ticket = {
            let mut kept = self.charges.kept();
            let record = ChargeRecord {
                delivered: true,
                ..self.claimed(&kept)?
            };
            self.charges.write(&mut kept, self.tag, record)?
        };
        let handover = Handover { turn: Some(self) };
        Ok(ticket.with(handover).await.map_err(No::from)?)
    }

    /// The answer broke off: it is owed again, unless that has happened too often.
    async fn owe_again(&self) -> Result<(), ChargeNo> {
        let ticket = {
            let mut kept = self.charges.kept();
            let claimed = self.claimed(&kept)?;
            if claimed.owed_again >= OWED_AGAIN_MAX {
                tracing::warn!(challenge = ?self.tag, "an answer broke off too often, and is owed no more");
                return Ok(());
            }
            let record = ChargeRecord {
                delivered: false,
                owed_again: claimed.owed_again + 1,
                ..claimed
            };
            self.charges.write(&mut kept, self.tag, record)?
        };
        Ok(ticket.await.map_err(No::from)?)
    }

    fn claimed(&self, kept: &Kept) -> Result<ChargeRecord, No> {
        kept.rows.get(&self.tag).copied().ok_or(No::Stopping)
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
    /// The service broke its answer off, or nobody was there to take it: it is owed again ([`OWED_AGAIN_MAX`]).
    pub fn fail(mut self) {
        let Some(turn) = self.turn.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if let Err(no) = turn.owe_again().await {
                tracing::warn!(challenge = ?turn.tag, %no, "an answer broke off, and could not be written down as owed");
            }
        });
    }
}

#[cfg(test)]
#[path = "charges_tests.rs"]
mod tests;
