//! Transactions that payers signed and we broadcast: looked for, tried, written down with their credential, then sent
//! (TX-2).
//!
//! Each has one row, which says that it may be on its way; what became of it is asked of the chain alone. A row without
//! an outcome is therefore harmless after a crash: the payer sends the same credential again, or the watcher sees the
//! channel. Rows go when their credential has expired, and a margin later; those of
//! transactions that the node would not take go at once, so that nobody fills the books for nothing.

use crate::books::{BooksFault, UsedCredential, read_all, spell};
use crate::clock::Clock;
use crate::no::No;
use crate::settlement::ChainTrouble;
use crate::till::Till;
use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weir_chain::ForeignTransaction;
use weir_core::{ChannelId, UnixSeconds};
use weir_protocol::ChallengeTag;
use weir_store::{Journal, Row, Table, Ticket};

/// Version of the submission record.
pub const SUBMISSION_RECORD_VERSION: u8 = 1;
/// How long a row is kept once its credential can no longer be sent again, in seconds.
pub const KEPT_SECONDS: u64 = 600;
/// How far ahead a transaction's validity may end, in seconds: clients ask for a minute at most.
pub const VALIDITY_SECONDS_MAX: u64 = 900;
/// Most rows at a time: strangers make them, if they have something to deposit.
pub const SUBMISSIONS_MAX: usize = 16_384;
/// Most rows of one payer at a time: it takes many with deposits of their own to fill the books.
pub const SUBMISSIONS_PER_PAYER_MAX: usize = 64;
const _: () = assert!(SUBMISSIONS_PER_PAYER_MAX <= SUBMISSIONS_MAX / 256);
/// Rows that are forgotten with each new one: more than one, so that they get fewer.
const FORGET_PER_STEP: usize = 4;

/// What is known of a transaction and its channel before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whereabouts {
    /// It is in a block, or waits in our node's pool.
    pub is_known: bool,
    /// The channel exists.
    pub channel_exists: bool,
    /// The moment of our node's newest block.
    pub head: UnixSeconds,
}

/// What a node made of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It is, or was, on its way.
    Taken,
    /// It was not taken, for this reason.
    Refused(String),
}

/// Sends transactions that payers signed.
#[async_trait]
pub trait Relay: Send + Sync + 'static {
    /// Looks for a transaction, and for the channel that it is about.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn look_for(&self, transaction: B256, channel: ChannelId) -> Result<Whereabouts, ChainTrouble>;

    /// Tries it against the newest state; the contract's reason if it would revert. A node that cannot try it says
    /// nothing against it.
    async fn rehearse(&self, transaction: &ForeignTransaction) -> Option<String>;

    /// Sends it. Sending it again is harmless.
    ///
    /// # Errors
    /// [`ChainTrouble`] when it is not known whether it arrived.
    async fn send(&self, raw: &[u8], transaction: B256) -> Result<Sent, ChainTrouble>;
}

/// Why a transaction is not on its way.
#[derive(Debug, thiserror::Error)]
pub enum SubmitNo {
    /// It cannot land: definitively no. In words that follow "the transaction ".
    #[error("the transaction {0}")]
    Refused(String),
    /// It is not known whether it arrived, or will: the same credential again.
    #[error(transparent)]
    Unknown(#[from] ChainTrouble),
    /// Too many of this payer's are on record: later.
    #[error(
        "{SUBMISSIONS_PER_PAYER_MAX} transactions of this account are on record; the first is forgotten in {free_in_seconds} s"
    )]
    TooMany {
        /// Until there is room for one, in seconds.
        free_in_seconds: u64,
    },
    /// The books, or a limit of ours.
    #[error(transparent)]
    No(#[from] No),
}

impl From<BooksFault> for SubmitNo {
    fn from(fault: BooksFault) -> Self {
        Self::No(fault.into())
    }
}

/// A transaction to be sent, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// Its bytes.
    pub raw: &'a [u8],
    /// The same, read.
    pub transaction: &'a ForeignTransaction,
    /// The credential that brought it; its channel is the transaction's.
    pub credential: UsedCredential,
    /// Whether it opens the channel.
    pub opens: bool,
}

/// A submission as it is written down; its key is the transaction's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmissionRecord {
    /// The channel that it opens or tops up; zero where it pays at once.
    pub channel: ChannelId,
    /// The bytes that are broadcast.
    pub raw: Bytes,
    /// The challenge that the credential answered.
    pub challenge: ChallengeTag,
    /// When that challenge expires.
    pub challenge_expires: UnixSeconds,
    /// When the row may be forgotten.
    pub kept_until: UnixSeconds,
}

/// Sends payers' transactions. Cheap to share.
pub struct Submissions {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    relay: Arc<dyn Relay>,
    kept: Mutex<Kept>,
}

/// The rows, by when they may be forgotten.
#[derive(Default)]
struct Kept {
    payers: BTreeMap<(UnixSeconds, B256), Address>,
    /// The same by payer, so that nobody's share is counted by looking through everybody's.
    by_payer: BTreeSet<(Address, UnixSeconds, B256)>,
}

impl Kept {
    fn insert(&mut self, (until, hash): (UnixSeconds, B256), payer: Address) {
        self.payers.insert((until, hash), payer);
        self.by_payer.insert((payer, until, hash));
    }

    fn remove(&mut self, (until, hash): (UnixSeconds, B256)) {
        if let Some(payer) = self.payers.remove(&(until, hash)) {
            self.by_payer.remove(&(payer, until, hash));
        }
    }

    /// Whether one more row of this payer may be kept. Those whose time is over do not count, forgotten or not.
    fn must_have_room(&self, payer: Address, now: UnixSeconds) -> Result<(), SubmitNo> {
        let own = self.by_payer.range((payer, now, B256::ZERO)..);
        let own = own.take_while(|(of, ..)| *of == payer);
        let own: Vec<UnixSeconds> = own
            .take(SUBMISSIONS_PER_PAYER_MAX)
            .map(|(_, until, _)| *until)
            .collect();
        match own.first() {
            Some(first) if own.len() >= SUBMISSIONS_PER_PAYER_MAX => Err(SubmitNo::TooMany {
                free_in_seconds: first.seconds_since(now).saturating_add(1),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Submissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Submissions")
    }
}

impl Submissions {
    /// Reads what was sent before.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn open(till: &Till, relay: Arc<dyn Relay>) -> Result<Self, No> {
        let mut kept = Kept::default();
        for (hash, record) in read_records(&**till.journal())? {
            kept.insert((record.kept_until, hash), record.payer());
        }
        Ok(Self {
            journal: Arc::clone(till.journal()),
            clock: Arc::clone(till.clock()),
            relay,
            kept: Mutex::new(kept),
        })
    }

    /// Sees to it that a transaction is on its way, or was. What becomes of it is for the caller to look up.
    ///
    /// The credential's voucher must be proven: from here on the payer's deposit may be locked.
    ///
    /// # Errors
    /// [`SubmitNo`].
    pub async fn submit(&self, submission: Submission<'_>) -> Result<(), SubmitNo> {
        let Submission {
            transaction,
            credential,
            ..
        } = submission;
        let hash = transaction.hash;
        let was_sent = self.journal.get(Table::Submissions, hash.as_slice());
        let was_sent = was_sent.map_err(No::from)?.is_some();
        if !was_sent {
            // Asked again when the row is written; here so that whoever has no room costs no RPC call.
            self.kept().must_have_room(transaction.sender, self.clock.now())?;
        }
        let found = self.relay.look_for(hash, credential.channel).await?;
        if found.is_known {
            return Ok(());
        }
        self.must_be_landable(transaction, found.head)?;
        if submission.opens && found.channel_exists {
            // Another transaction opened it: the watcher tells of it in a moment, and this one would only cost a fee.
            return Err(No::NotSeenYet.into());
        }
        if !was_sent {
            if let Some(reason) = self.relay.rehearse(transaction).await {
                return Err(SubmitNo::Refused(format!("would revert: {reason}")));
            }
            self.write(submission).await?;
        }
        match self.relay.send(submission.raw, hash).await? {
            Sent::Taken => Ok(()),
            Sent::Refused(words) => {
                let found = self.relay.look_for(hash, credential.channel).await?;
                if found.is_known {
                    Ok(())
                } else if was_sent {
                    // It was on its way once, and another node may hold it.
                    Err(ChainTrouble("it is not known yet what became of the transaction".to_owned()).into())
                } else {
                    self.forget(hash, credential).await?;
                    Err(SubmitNo::Refused(format!("was refused by the node: {words}")))
                }
            }
        }
    }

    /// Judged by the chain's own time: a transaction that expired by our clock may be in a block not seen yet.
    fn must_be_landable(&self, transaction: &ForeignTransaction, head: UnixSeconds) -> Result<(), SubmitNo> {
        if transaction.valid_before.is_some_and(|before| head >= before) {
            let words = "has expired without an effect; sign a new one";
            return Err(SubmitNo::Refused(words.to_owned()));
        }
        let now = self.clock.now();
        if transaction.valid_before.is_some_and(|before| now >= before) {
            let words = "the transaction has expired, and it is not known yet whether it landed";
            return Err(ChainTrouble(words.to_owned()).into());
        }
        if transaction
            .valid_before
            .is_some_and(|before| before > now.after(VALIDITY_SECONDS_MAX))
        {
            return Err(SubmitNo::Refused(format!(
                "is valid for more than {VALIDITY_SECONDS_MAX} s; sign one that expires sooner"
            )));
        }
        if transaction.valid_after.is_some_and(|after| after > now) {
            return Err(SubmitNo::Refused(
                "is not valid yet; send it when it is".to_owned(),
            ));
        }
        Ok(())
    }

    /// Durable when this returns.
    async fn write(&self, submission: Submission<'_>) -> Result<(), SubmitNo> {
        let now = self.clock.now();
        let hash = submission.transaction.hash;
        let kept_until = kept_until(submission.credential);
        let record = SubmissionRecord {
            channel: submission.credential.channel,
            raw: Bytes::copy_from_slice(submission.raw),
            challenge: submission.credential.tag,
            challenge_expires: submission.credential.expires,
            kept_until,
        };
        let mut rows = vec![spell(
            Table::Submissions,
            SUBMISSION_RECORD_VERSION,
            hash.to_vec(),
            &record,
        )?];
        let ticket = {
            let mut kept = self.kept();
            let over = kept.payers.keys().take_while(|(until, _)| *until < now);
            let over: Vec<_> = over.take(FORGET_PER_STEP).copied().collect();
            if kept.payers.len() - over.len() >= SUBMISSIONS_MAX {
                tracing::warn!("{SUBMISSIONS_MAX} transactions of payers are on record; no other is sent");
                return Err(No::Busy.into());
            }
            kept.must_have_room(submission.transaction.sender, now)?;
            let forget = |(_, hash): &(UnixSeconds, B256)| Row::delete(Table::Submissions, hash.to_vec());
            rows.extend(over.iter().map(forget));
            let ticket = self.journal.submit(rows).map_err(No::from)?;
            for row in over {
                kept.remove(row);
            }
            kept.insert((kept_until, hash), submission.transaction.sender);
            ticket
        };
        Ok(ticket.await.map_err(No::from)?)
    }

    /// The node would not have it, and nobody else was sent it.
    async fn forget(&self, hash: B256, credential: UsedCredential) -> Result<(), SubmitNo> {
        Ok(self.remove(hash, credential)?.await.map_err(No::from)?)
    }

    /// It is in a block that is final, and other books remember it: it counts no longer against its sender's share.
    ///
    /// # Errors
    /// The books.
    pub fn settle(&self, hash: B256, credential: UsedCredential) -> Result<(), No> {
        // Nobody waits for that: a row too many does no harm.
        self.remove(hash, credential).map(drop)
    }

    fn remove(&self, hash: B256, credential: UsedCredential) -> Result<Ticket, No> {
        let row = Row::delete(Table::Submissions, hash.to_vec());
        let ticket = self.journal.submit(vec![row])?;
        self.kept().remove((kept_until(credential), hash));
        Ok(ticket)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubmissionRecord {
    /// Who signed the transaction. Nobody, if a later version of this program cannot read it any more.
    fn payer(&self) -> Address {
        ForeignTransaction::decode(&self.raw).map_or(Address::ZERO, |transaction| transaction.sender)
    }
}

/// The row serves nothing but its credential's return.
fn kept_until(credential: UsedCredential) -> UnixSeconds {
    credential.expires.after(KEPT_SECONDS)
}

/// Reads every submission that is kept.
///
/// # Errors
/// The books cannot be read.
pub fn read_records(journal: &dyn Journal) -> Result<Vec<(B256, SubmissionRecord)>, BooksFault> {
    let records = read_all(journal, Table::Submissions, SUBMISSION_RECORD_VERSION)?;
    let hashed =
        |(key, record): (Vec<u8>, SubmissionRecord)| Some((B256::try_from(key.as_slice()).ok()?, record));
    Ok(records.into_iter().filter_map(hashed).collect())
}

#[cfg(test)]
#[path = "submissions_tests.rs"]
mod tests;
