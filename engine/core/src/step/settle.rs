//! Closes, settlements, and what the chain shows.

use super::Outcome;
use super::sell::accept;
use crate::amount::Cumulative;
use crate::channel::{Capture, ChainState, Channel, ChargePhase, Closing};
use crate::refusal::Refusal;
use crate::time::UnixSeconds;
use crate::voucher::{Proven, Voucher};

pub(super) fn begin_close(
    channel: &mut Channel,
    voucher: Option<Voucher<Proven>>,
    now: UnixSeconds,
) -> Result<Outcome, Refusal> {
    if channel.chain.finalized {
        return Err(Refusal::ChannelFinalized);
    }
    if let Some(voucher) = voucher {
        if voucher.channel() != channel.id {
            return Err(Refusal::WrongChannel);
        }
        if voucher.cumulative() > channel.accepted {
            accept(channel, voucher)?;
        }
        if channel.drain_only {
            // What was delivered is not known here; the payer says it with the total that it asks to close at.
            channel.raise_committed(voucher.cumulative())?;
        }
    }
    let asked = voucher.map(|voucher| voucher.cumulative());
    // A second request changes nothing: the first one's moment and total are what was answered.
    channel.closing.get_or_insert(Closing { since: now, asked });
    Ok(Outcome::Done)
}

pub(super) fn begin_capture(
    channel: &mut Channel,
    capture: Capture,
    now: UnixSeconds,
) -> Result<Outcome, Refusal> {
    if channel.capture.is_some() {
        return Err(Refusal::CaptureUnderWay);
    }
    if channel.chain.finalized {
        return Err(Refusal::ChannelFinalized);
    }
    let settled = channel.chain.settled;
    let pays = capture.target > settled;
    let closes_without_paying = capture.closes && capture.target == settled;
    let limit = if capture.closes {
        channel.collectible()
    } else {
        channel.settleable()
    };
    if !(pays || closes_without_paying) || capture.target > limit.max(settled) {
        return Err(Refusal::NotCollectible {
            collectible: channel.collectible(),
        });
    }
    // What leaves a channel of the reserve open takes a voucher whole: one that was earned since it was planned, too.
    let takes_whole = channel.terms.reserve.is_some() && !capture.closes;
    let capture = Capture {
        target: if takes_whole { limit } else { capture.target },
        ..capture
    };
    channel.capture = Some(capture);
    channel.accounted = channel.accounted.max(capture.target);
    if capture.closes {
        // What is delivered after the last settlement cannot be collected: from here on nothing is sold (CH-5, C3).
        channel.closing.get_or_insert(Closing {
            since: now,
            asked: None,
        });
    }
    Ok(Outcome::Done)
}

pub(super) fn observe(
    channel: &mut Channel,
    seen: ChainState,
    last_final: ChainState,
) -> Result<Outcome, Refusal> {
    channel.chain = ChainState::cautious(seen, last_final);
    channel.over = last_final.finalized;
    let settled = seen.settled.max(last_final.settled);
    let outcome = if settled > channel.accounted && !channel.drain_only {
        channel.drain_only = true;
        Outcome::Unaccounted { settled }
    } else {
        Outcome::Done
    };
    channel.accounted = channel.accounted.max(settled);
    if channel.drain_only && channel.chain.settled > channel.accepted {
        // Whoever settled it holds vouchers that these books don't: follow the chain.
        channel.accepted = channel.chain.settled;
        channel.raise_committed(channel.chain.settled)?;
    }
    if channel.payer_leaves() {
        // It may not hold back what it bought by reading slowly: charged before delivered is final.
        channel
            .charges
            .retain(|charge| charge.phase == ChargePhase::Reserved);
    }
    let landed = last_final.finalized || channel.capture.is_some_and(|it| last_final.settled >= it.target);
    // A settlement ends when its effect is final, never because somebody said it was sent: a reorg may bring a
    // transaction back that was seen to land, beside a second attempt (TX-1).
    if landed {
        channel.capture = channel.capture.filter(|capture| capture.closes);
    }
    channel.end_final_close();
    Ok(outcome)
}

impl Channel {
    /// Counts as spent what is missing until all that is committed reaches `total`, which is at most what is accepted.
    fn raise_committed(&mut self, total: Cumulative) -> Result<(), Refusal> {
        let committed = self.net_spent().plus(self.reserved()).ok_or(Refusal::Overflow)?;
        if let Some(missing) = total.since(committed) {
            self.spent = self.spent.plus(missing).ok_or(Refusal::Overflow)?;
        }
        Ok(())
    }

    /// A close of ours is over when it is final and its transaction is known, not between the two: whoever asks again
    /// then is to wait for the receipt, and not to hear that nobody knows of one.
    pub(super) fn end_final_close(&mut self) {
        if self.over && self.closed_by.is_some() {
            self.capture = None;
        }
    }
}
