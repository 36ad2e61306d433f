//! What is worth collecting now, and how much of it: a pure question over the books.

use crate::amount::{Amount, Cumulative};
use crate::channel::{Channel, Standing};
use crate::ids::ChannelId;
use crate::time::UnixSeconds;
use core::cmp::Reverse;

/// How long the close of a channel whose payer leaves waits for open charges, in seconds since the payer asked: what is
/// earned meanwhile is taken along, and who reads slowly holds nothing back longer.
pub const CLOSE_IDLE_WAIT_SECONDS_MAX: u64 = 45;

/// When a channel is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Settle as soon as this much waits on one channel.
    pub value_max: Amount,
    /// Settle when something has waited this long, in seconds.
    pub age_max_seconds: u64,
    /// Less than this is not worth a transaction's gas: left until a deadline forces it (threat B3).
    pub value_min: Amount,
}

/// Why a channel is to be settled; the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The payer asked the escrow to close: after its grace period the rest is the payer's.
    Deadline,
    /// A close was asked for here.
    CloseAsked,
    /// Much waits.
    Value,
    /// It has waited long.
    Age,
}

/// One channel to collect from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The channel.
    pub channel: ChannelId,
    /// The settled total to set.
    pub target: Cumulative,
    /// What that pays.
    pub pays: Amount,
    /// Whether to close it as well.
    pub closes: bool,
    /// Why now.
    pub why: Why,
}

impl Plan {
    /// By which plans are taken: gravest reason first and, among equals, the largest value first.
    pub const fn rank(&self) -> (Why, Reverse<Amount>, ChannelId) {
        (self.why, Reverse(self.pays), self.channel)
    }

    /// The same without its close, where that pays anything: what a payer that leaves cannot be paid back must not keep
    /// the payee from what is its own.
    #[must_use]
    pub fn kept_open(self, channel: &Channel) -> Option<Self> {
        let target = channel.settleable();
        let pays = target.since(channel.chain().settled)?;
        (!pays.is_zero()).then_some(Self {
            target,
            pays,
            closes: false,
            ..self
        })
    }
}

/// What to collect now, by [`Plan::rank`].
///
/// A close waits until no charge is open, so that it carries everything that was earned (threat C4), but not beyond
/// [`CLOSE_IDLE_WAIT_SECONDS_MAX`] where the payer leaves. A channel with a settlement under way is left alone (TX-1).
pub fn plan<'a>(
    channels: impl IntoIterator<Item = &'a Channel>,
    policy: &Policy,
    now: UnixSeconds,
) -> Vec<Plan> {
    let mut plans: Vec<Plan> = channels
        .into_iter()
        .filter_map(|channel| judge(channel, policy, now))
        .collect();
    plans.sort_by_key(Plan::rank);
    plans
}

fn judge(channel: &Channel, policy: &Policy, now: UnixSeconds) -> Option<Plan> {
    if channel.capture().is_some() || channel.standing() == Standing::Finalized {
        return None;
    }
    let settled = channel.chain().settled;
    let idle = channel.charges().is_empty();
    let asked = channel.closing().is_some() && idle;
    let leaves_since = channel.chain().close_requested_at;
    let leaves = leaves_since.is_some();
    let waited_for = leaves_since.is_some_and(|at| now.seconds_since(at) >= CLOSE_IDLE_WAIT_SECONDS_MAX);
    // A call that can name no capture leaves something behind: what the payer would take with it is closed for.
    let at_once = channel.settleable().max(settled);
    let closes = asked || (leaves && (idle || waited_for) && at_once < channel.collectible());
    let target = if closes {
        channel.collectible().max(settled)
    } else {
        at_once
    };
    let pays = target.since(settled).unwrap_or(Amount::ZERO);
    let due = !pays.is_zero() && leaves;
    let waited = channel
        .uncollected_since()
        .map_or(0, |since| now.seconds_since(since));
    let worth = !pays.is_zero() && pays >= policy.value_min;
    let why = if due {
        Why::Deadline
    } else if asked {
        Why::CloseAsked
    } else if worth && pays >= policy.value_max {
        Why::Value
    } else if worth && waited >= policy.age_max_seconds {
        Why::Age
    } else {
        return None;
    };
    Some(Plan {
        channel: channel.id(),
        target,
        pays,
        closes,
        why,
    })
}
