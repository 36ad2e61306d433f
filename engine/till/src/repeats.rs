//! Requests that may be sent again: each is charged once and answered again (draft-evm-session-00 and
//! draft-tempo-session-00, Request Idempotency; docs/adr/0017-idempotency-keys.md).
//!
//! A key belongs to one channel, and stands for one request. Its row is written with the reservation, and says before
//! the first byte of an answer leaves whether that answer is kept: so a row that says neither after a crash is owed
//! its answer, which was charged and which nobody has seen.

use crate::books::{BooksFault, read_each, spell};
use crate::no::No;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Weak;
use weir_core::{Channel, ChannelId, ChargeId, Cumulative, Refusal, UnixSeconds};
use weir_store::{Journal, Row, Table, codec};

/// How long a key is remembered, in seconds.
pub const KEY_SECONDS: u64 = 3_600;
/// Keys of one channel; with more, the oldest is forgotten that is not under way.
pub const KEYS_PER_CHANNEL_MAX: usize = 64;
/// Keys of one lane; with more, the channel that has the most of them gives up its oldest.
pub const KEYS_PER_LANE_MAX: usize = 1_024;
/// The longest answer that is kept, head and body: it fits the journal's largest value.
pub const KEPT_BYTES_MAX: usize = 24 * 1024;

const _: () = assert!(KEPT_BYTES_MAX + 4 * 1024 <= weir_store::VALUE_BYTES_MAX);

/// Version of a key's record.
const REPEAT_RECORD_VERSION: u8 = 1;
/// Expired keys forgotten with each new one.
const FORGET_PER_STEP: usize = 4;

/// A request under a key. Both are hashes, so that neither's length matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: [u8; 32],
    /// All that the request asks for.
    pub request: [u8; 32],
    /// Whether its answer is to be kept. A stream that is sold by the event is told once.
    pub keeps: bool,
}

/// An answer that is told again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What a request that came again gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The answer that is kept here.
    Kept(Place),
    /// Its answer, which was charged and of which nothing left: the daemon was killed in between.
    Owed,
}

/// What became of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Nothing yet: no byte of it has left.
    Open,
    /// It left, and is not kept.
    Told,
    /// It is kept.
    Kept(KeptAnswer),
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    request: [u8; 32],
    voucher: Cumulative,
    charge: ChargeId,
    end: End,
}

/// Where a key's row stands. Keys sort by expiry, so that the expired ones are at the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    expires: UnixSeconds,
    channel: ChannelId,
    key: [u8; 32],
}

const PLACE_BYTES: usize = 8 + 32 + 32;

impl Place {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PLACE_BYTES);
        bytes.extend_from_slice(&self.expires.0.to_be_bytes());
        bytes.extend_from_slice(self.channel.as_bytes());
        bytes.extend_from_slice(&self.key);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let expires = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let channel: [u8; 32] = bytes.get(8..40)?.try_into().ok()?;
        Some(Self {
            expires: UnixSeconds(expires),
            channel: ChannelId(channel.into()),
            key: bytes.get(40..PLACE_BYTES)?.try_into().ok()?,
        })
    }
}

/// How far a key's answer has come, without the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    Told,
    Kept,
}

/// What is remembered of a key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    expires: UnixSeconds,
    request: [u8; 32],
    voucher: Cumulative,
    charge: ChargeId,
    progress: Progress,
    /// Whoever is at work for it holds the other end.
    at_work: Weak<()>,
}

impl Entry {
    fn is_under_way(&self) -> bool {
        self.progress == Progress::Open && self.at_work.strong_count() > 0
    }

    fn row(&self, place: Place, end: End) -> Result<Row, BooksFault> {
        let record = Record {
            request: self.request,
            voucher: self.voucher,
            charge: self.charge,
            end,
        };
        spell(Table::Idempotency, REPEAT_RECORD_VERSION, place.bytes(), &record)
    }
}

/// A change of what is remembered, made once its row is in the journal's hands.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Set(Place, Entry),
    Forget(Place),
}

impl Change {
    fn forget(place: Place) -> (Row, Self) {
        (
            Row::delete(Table::Idempotency, place.bytes()),
            Self::Forget(place),
        )
    }
}

/// A request that may be repeated, on its way to a lane.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What is asked under which key.
    pub keyed: Keyed,
    /// Lives as long as somebody is at work for it.
    pub at_work: Weak<()>,
}

/// The keys of one lane's channels.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_channel: HashMap<ChannelId, HashMap<[u8; 32], Entry>>,
    by_expiry: BTreeSet<Place>,
}

impl Keys {
    /// Whether this request was taken before, and what it gets then.
    pub(crate) fn find(
        &self,
        channel: &Channel,
        claim: &Claim,
        voucher: Cumulative,
        now: UnixSeconds,
    ) -> Result<Option<(Repeat, Change)>, No> {
        let (id, keyed) = (channel.id(), claim.keyed);
        let Some(entry) = self.entry(id, &keyed.key).filter(|entry| entry.expires >= now) else {
            return Ok(None);
        };
        // Whoever saw an old voucher, in a settlement on the chain for one, learns nothing by it.
        if voucher < entry.voucher {
            return Err(Refusal::Stale {
                accepted: entry.voucher,
            }
            .into());
        }
        if entry.request != keyed.request {
            return Err(No::KeyOfAnother);
        }
        let place = Place {
            expires: entry.expires,
            channel: id,
            key: keyed.key,
        };
        let is_open = channel.charges().iter().any(|charge| charge.id == entry.charge);
        let repeat = match entry.progress {
            Progress::Kept => Repeat::Kept(place),
            Progress::Told => return Err(No::KeyTold),
            // A charge that is not over may yet be let go or credited, and then nothing is owed for it.
            Progress::Open if entry.is_under_way() || is_open => return Err(No::KeyUnderWay),
            Progress::Open => Repeat::Owed,
        };
        let mut entry = entry.clone();
        entry.at_work = claim.at_work.clone();
        Ok(Some((repeat, Change::Set(place, entry))))
    }

    /// Remembers a request with its reservation, and forgets what has no more room.
    pub(crate) fn begin(
        &self,
        (id, charge): (ChannelId, ChargeId),
        claim: &Claim,
        voucher: Cumulative,
        now: UnixSeconds,
    ) -> Result<Vec<(Row, Change)>, BooksFault> {
        let place = Place {
            expires: now.after(KEY_SECONDS),
            channel: id,
            key: claim.keyed.key,
        };
        let (progress, end) = match claim.keyed.keeps {
            true => (Progress::Open, End::Open),
            false => (Progress::Told, End::Told),
        };
        let entry = Entry {
            expires: place.expires,
            request: claim.keyed.request,
            voucher,
            charge,
            progress,
            at_work: claim.at_work.clone(),
        };
        let expired = self.by_expiry.iter().take_while(|place| place.expires < now);
        let mut forgotten: Vec<Place> = expired.take(FORGET_PER_STEP).copied().collect();
        let of_channel = self.by_channel.get(&id).map_or(0, HashMap::len);
        if of_channel >= KEYS_PER_CHANNEL_MAX {
            forgotten.extend(self.oldest(|place| place.channel == id));
        } else if self.by_expiry.len() >= KEYS_PER_LANE_MAX {
            // Not the oldest of all: whoever opens channels would push everybody else's keys out.
            let fullest = self.by_channel.iter().max_by_key(|(id, keys)| (keys.len(), **id));
            let of_fullest = fullest.and_then(|(id, _)| self.oldest(|place| place.channel == *id));
            forgotten.extend(of_fullest.or_else(|| self.oldest(|_| true)));
        }
        let mut changes: Vec<_> = forgotten.into_iter().map(Change::forget).collect();
        changes.push((entry.row(place, end)?, Change::Set(place, entry)));
        Ok(changes)
    }

    /// The oldest that nobody is at work for.
    fn oldest(&self, wanted: impl Fn(&Place) -> bool) -> Option<Place> {
        let idle = |place: &Place| {
            let entry = self.entry(place.channel, &place.key);
            !entry.is_some_and(Entry::is_under_way)
        };
        let mut places = self.by_expiry.iter();
        places.find(|place| wanted(place) && idle(place)).copied()
    }

    /// Writes down what became of an answer; nothing where the key is forgotten by now.
    pub(crate) fn end(
        &self,
        channel: ChannelId,
        key: &[u8; 32],
        end: &End,
    ) -> Result<Option<(Row, Change)>, BooksFault> {
        // What nothing left of is open still; only what was told can be owed again.
        let changes = |entry: &&Entry| *end != End::Open || entry.progress == Progress::Told;
        let Some(entry) = self.entry(channel, key).filter(changes) else {
            return Ok(None);
        };
        let place = Place {
            expires: entry.expires,
            channel,
            key: *key,
        };
        let progress = match end {
            End::Open => Progress::Open,
            End::Told => Progress::Told,
            End::Kept(_) => Progress::Kept,
        };
        let mut entry = entry.clone();
        entry.progress = progress;
        let row = entry.row(place, end.clone())?;
        Ok(Some((row, Change::Set(place, entry))))
    }

    /// Forgets the key of a charge that was given back: its request may buy anew.
    pub(crate) fn give_back(&self, channel: ChannelId, charge: ChargeId) -> Option<(Row, Change)> {
        let keys = self.by_channel.get(&channel)?;
        let (key, entry) = keys.iter().find(|(_, entry)| entry.charge == charge)?;
        Some(Change::forget(Place {
            expires: entry.expires,
            channel,
            key: *key,
        }))
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Set(place, entry) => {
                self.by_expiry.insert(*place);
                let keys = self.by_channel.entry(place.channel).or_default();
                keys.insert(place.key, entry.clone());
            }
            Change::Forget(place) => {
                self.by_expiry.remove(place);
                // Of a key that was used again after its time, the newer row counts.
                let keys = self.by_channel.entry(place.channel).or_default();
                if keys
                    .get(&place.key)
                    .is_some_and(|entry| entry.expires == place.expires)
                {
                    keys.remove(&place.key);
                }
                if keys.is_empty() {
                    self.by_channel.remove(&place.channel);
                }
            }
        }
    }

    fn entry(&self, channel: ChannelId, key: &[u8; 32]) -> Option<&Entry> {
        self.by_channel.get(&channel)?.get(key)
    }
}

/// The answer that is kept in a place, unless it was forgotten by now.
pub(crate) fn read_kept(journal: &dyn Journal, place: &Place) -> Result<Option<KeptAnswer>, No> {
    let Some(value) = journal.get(Table::Idempotency, &place.bytes())? else {
        return Ok(None);
    };
    let record: Record =
        codec::decode(REPEAT_RECORD_VERSION, &value).map_err(|fault| BooksFault::Record {
            table: Table::Idempotency,
            fault,
        })?;
    Ok(match record.end {
        End::Kept(answer) => Some(answer),
        End::Open | End::Told => None,
    })
}

/// Reads every key, oldest first.
pub(crate) fn read_keys(
    journal: &dyn Journal,
    mut each: impl FnMut(ChannelId, Change),
) -> Result<(), BooksFault> {
    let read = |value: &[u8]| codec::decode::<Record>(REPEAT_RECORD_VERSION, value);
    read_each(journal, Table::Idempotency, read, |key, record| {
        let Some(place) = Place::read(key) else { return };
        let entry = Entry {
            expires: place.expires,
            request: record.request,
            voucher: record.voucher,
            charge: record.charge,
            progress: match record.end {
                End::Open => Progress::Open,
                End::Told => Progress::Told,
                End::Kept(_) => Progress::Kept,
            },
            at_work: Weak::new(),
        };
        each(place.channel, Change::Set(place, entry));
    })
}

/// Deletes the keys whose time is over, as many at once as one group takes.
pub(crate) async fn forget_expired(journal: &dyn Journal, now: UnixSeconds) -> Result<(), No> {
    let mut expired = Vec::new();
    journal.scan(Table::Idempotency, &mut |key, _| {
        // They sort by expiry.
        if Place::read(key).is_none_or(|place| place.expires >= now) {
            return ControlFlow::Break(());
        }
        expired.push(Row::delete(Table::Idempotency, key));
        ControlFlow::Continue(())
    })?;
    for chunk in expired.chunks(weir_store::GROUP_BYTES_MAX / weir_store::VALUE_BYTES_MAX) {
        journal.submit(chunk.to_vec())?.await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "repeats_tests.rs"]
mod tests;
