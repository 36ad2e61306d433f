//! The channels of one lane, moved by one writer; no clock, no disk, no task.
//!
//! [`Shard::judge`] says what an ask leads to and which rows it writes; [`Shard::apply`] makes it so. Between the
//! two, the lane hands the rows to the journal: what cannot be written never happened.

use crate::books::{UsedCredential, channel_row};
use crate::no::No;
use crate::repeats::{Change, Claim, End, Keys, Repeat};
use std::collections::{BTreeSet, HashMap};
use weir_core::{ChainState, Channel, ChannelId, Input, Outcome, Refusal, Terms, UnixSeconds, step};
use weir_store::Row;

/// Expired credentials forgotten with each new one: more than one, so that the set shrinks.
const FORGET_PER_STEP: usize = 4;

/// A channel found on the chain.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The channel.
    pub id: ChannelId,
    /// What it binds.
    pub terms: Terms,
    /// State at the newest block.
    pub seen: ChainState,
    /// State at the newest final block.
    pub last_final: ChainState,
    /// Older than these books.
    pub drain_only: bool,
}

/// What a lane can be asked.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Move a channel. With a credential, a reservation uses it up.
    Move {
        /// The channel.
        channel: ChannelId,
        /// The input.
        input: Input,
        /// The credential that pays for content.
        credential: Option<UsedCredential>,
        /// By which the request may be repeated.
        claim: Option<Claim>,
    },
    /// Note what became of the answer to a request that may be repeated.
    EndKey {
        /// The channel.
        channel: ChannelId,
        /// The key.
        key: [u8; 32],
        /// What became of it.
        end: End,
    },
    /// Take a channel in, unless it is known: a payer pointed at its opening.
    Introduce(Adoption),
    /// Take a channel in, or observe it when it is known. The watcher alone does this, in the order of blocks, so that
    /// no older reading overwrites a newer one.
    Observe(Adoption),
    /// Tell a channel's state.
    Read(ChannelId),
}

/// What an ask led to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The channel after it.
    pub channel: Channel,
    /// What it led to.
    pub outcome: Outcome,
    /// What a request that came before gets; nothing was taken or set aside for it then.
    pub repeat: Option<Repeat>,
}

/// An answer that is not applied yet, with what it writes.
#[derive(Debug)]
pub struct Judged {
    /// The answer.
    pub answer: Answer,
    /// The rows to write; none when nothing changes.
    pub rows: Vec<Row>,
    used: Option<UsedCredential>,
    forgotten: Vec<UsedCredential>,
    keys: Vec<Change>,
    changed: bool,
}

impl Judged {
    fn note(&mut self, keys: impl IntoIterator<Item = (Row, Change)>) {
        for (row, change) in keys {
            self.rows.push(row);
            self.keys.push(change);
        }
    }
}

/// The channels of one lane.
#[derive(Debug)]
pub struct Shard {
    channels: HashMap<ChannelId, Channel>,
    keys: Keys,
    used: BTreeSet<UsedCredential>,
    rates: Rates,
    vouchers_per_second: u32,
}

/// The vouchers of one second, by channel. Those of the second before are forgotten, so that the channels of all time
/// don't pile up.
#[derive(Debug)]
struct Rates {
    second: UnixSeconds,
    taken: HashMap<ChannelId, u32>,
}

impl Rates {
    /// Counts one more voucher; tells how many came before it in this second.
    fn count(&mut self, id: ChannelId, now: UnixSeconds) -> u32 {
        if self.second != now {
            self.second = now;
            self.taken.clear();
        }
        let taken = self.taken.entry(id).or_default();
        let before = *taken;
        *taken = taken.saturating_add(1);
        before
    }
}

impl Shard {
    /// An empty shard that takes so many vouchers a second on one channel.
    pub fn new(vouchers_per_second: u32) -> Self {
        Self {
            channels: HashMap::new(),
            keys: Keys::default(),
            used: BTreeSet::new(),
            rates: Rates {
                second: UnixSeconds(0),
                taken: HashMap::new(),
            },
            vouchers_per_second,
        }
    }

    /// Puts back a channel that was read from the books.
    pub fn restore(&mut self, channel: Channel) {
        self.channels.insert(channel.id(), channel);
    }

    /// Puts back a key that was read from the books.
    pub(crate) fn restore_key(&mut self, key: &Change) {
        self.keys.apply(key);
    }

    /// Puts back a used credential that was read from the books.
    pub fn restore_used(&mut self, used: UsedCredential) {
        self.used.insert(used);
    }

    /// All channels, in no order.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values()
    }

    fn find(&self, id: &ChannelId) -> Result<&Channel, Refusal> {
        self.channels.get(id).ok_or(Refusal::ChannelNotFound)
    }

    /// What an ask leads to. Nothing has changed yet.
    pub fn judge(&mut self, ask: &Ask, now: UnixSeconds) -> Result<Judged, No> {
        match ask {
            Ask::Read(id) => Ok(unchanged(self.find(id)?.clone())),
            Ask::Introduce(adoption) => match self.channels.get(&adoption.id) {
                Some(known) => Ok(unchanged(known.clone())),
                None => judge_new(adoption),
            },
            Ask::Observe(adoption) if self.channels.contains_key(&adoption.id) => {
                let observe = Input::Observe {
                    seen: adoption.seen,
                    last_final: adoption.last_final,
                };
                self.judge_move(adoption.id, observe, (None, None), now)
            }
            Ask::Observe(adoption) => judge_new(adoption),
            Ask::Move {
                channel,
                input,
                credential,
                claim,
            } => {
                if matches!(input, Input::Pay { .. }) {
                    self.must_not_be_too_fast(*channel, now)?;
                }
                match self.judge_repeat(*channel, input, claim.as_ref(), now)? {
                    Some(repeated) => Ok(repeated),
                    None => self.judge_move(*channel, *input, (*credential, claim.as_ref()), now),
                }
            }
            Ask::EndKey { channel, key, end } => {
                let mut judged = unchanged(self.find(channel)?.clone());
                judged.note(self.keys.end(*channel, key, end)?);
                Ok(judged)
            }
        }
    }

    /// What a request gets that came before: its voucher proves who asks, and is neither taken nor refused.
    fn judge_repeat(
        &self,
        id: ChannelId,
        input: &Input,
        claim: Option<&Claim>,
        now: UnixSeconds,
    ) -> Result<Option<Judged>, No> {
        let (Some(claim), Input::Pay { voucher, .. }) = (claim, input) else {
            return Ok(None);
        };
        let channel = self.find(&id)?;
        let Some((repeat, change)) = self.keys.find(channel, claim, voucher.cumulative(), now)? else {
            return Ok(None);
        };
        let mut judged = unchanged(channel.clone());
        judged.answer.repeat = Some(repeat);
        judged.keys.push(change);
        Ok(Some(judged))
    }

    fn judge_move(
        &self,
        id: ChannelId,
        input: Input,
        (credential, claim): (Option<UsedCredential>, Option<&Claim>),
        now: UnixSeconds,
    ) -> Result<Judged, No> {
        if credential.is_some_and(|credential| self.used.contains(&credential)) {
            return Err(Refusal::CredentialUsed.into());
        }
        let channel = self.find(&id)?;
        let moved = step(channel, input, now)?;
        let changed = moved.channel != *channel;
        let mut rows = if changed {
            vec![channel_row(&moved.channel)?]
        } else {
            Vec::new()
        };
        let used = credential.filter(|_| matches!(moved.outcome, Outcome::Reserved(_)));
        let mut forgotten = Vec::new();
        if let Some(used) = used {
            rows.push(used.remember());
            forgotten.extend(
                self.used
                    .iter()
                    .take_while(|old| old.expires < now)
                    .take(FORGET_PER_STEP),
            );
            rows.extend(forgotten.iter().map(UsedCredential::forget));
        }
        let outcome = moved.outcome;
        let mut judged = Judged {
            answer: Answer {
                channel: moved.channel,
                outcome,
                repeat: None,
            },
            rows,
            used,
            forgotten,
            keys: Vec::new(),
            changed,
        };
        match (input, outcome, claim) {
            (Input::Pay { voucher, .. }, Outcome::Reserved(charge), Some(claim)) => {
                judged.note(self.keys.begin((id, charge), claim, voucher.cumulative(), now)?);
            }
            (Input::Release { charge } | Input::Credit { charge }, ..) => {
                judged.note(self.keys.give_back(id, charge));
            }
            _ => {}
        }
        Ok(judged)
    }

    /// Makes a judgement so; its rows are in the journal's hands by now.
    pub fn apply(&mut self, judged: &Judged) {
        if judged.changed {
            self.channels
                .insert(judged.answer.channel.id(), judged.answer.channel.clone());
        }
        if let Some(used) = judged.used {
            self.used.insert(used);
        }
        for old in &judged.forgotten {
            self.used.remove(old);
        }
        for change in &judged.keys {
            self.keys.apply(change);
        }
    }

    fn must_not_be_too_fast(&mut self, id: ChannelId, now: UnixSeconds) -> Result<(), No> {
        if !self.channels.contains_key(&id) {
            return Ok(());
        }
        if self.rates.count(id, now) >= self.vouchers_per_second {
            return Err(No::TooFast {
                per_second: self.vouchers_per_second,
            });
        }
        Ok(())
    }
}

fn judge_new(adoption: &Adoption) -> Result<Judged, No> {
    let chain = ChainState::cautious(adoption.seen, adoption.last_final);
    let settled = adoption.seen.settled.max(adoption.last_final.settled);
    // Younger than the books, and settled already: whoever did that knows vouchers that these books don't.
    let unaccounted = !adoption.drain_only && !settled.is_zero();
    let drain_only = adoption.drain_only || unaccounted;
    let channel = Channel::adopt(adoption.id, adoption.terms.clone(), chain, drain_only);
    let rows = vec![channel_row(&channel)?];
    let outcome = if unaccounted {
        Outcome::Unaccounted { settled }
    } else {
        Outcome::Done
    };
    let answer = Answer {
        channel,
        outcome,
        repeat: None,
    };
    Ok(Judged {
        answer,
        rows,
        used: None,
        forgotten: Vec::new(),
        keys: Vec::new(),
        changed: true,
    })
}

fn unchanged(channel: Channel) -> Judged {
    let answer = Answer {
        channel,
        outcome: Outcome::Done,
        repeat: None,
    };
    Judged {
        answer,
        rows: Vec::new(),
        used: None,
        forgotten: Vec::new(),
        keys: Vec::new(),
        changed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    #[test]
    fn rates_are_kept_of_this_second_alone() {
        let mut shard = Shard::new(2);
        let channel = |byte| ChannelId(B256::repeat_byte(byte));
        let mut count = |byte, second| shard.rates.count(channel(byte), UnixSeconds(second));
        assert_eq!([count(1, 7), count(1, 7), count(2, 7), count(1, 7)], [0, 1, 0, 2]);
        assert_eq!(
            [count(3, 8), count(1, 8)],
            [0, 0],
            "a second later all begin anew"
        );
        let mut known: Vec<_> = shard.rates.taken.keys().copied().collect();
        known.sort();
        assert_eq!(known, [channel(1), channel(3)], "and nobody else is remembered");
    }
}
