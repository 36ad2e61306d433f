//! One look at the chain: from the remembered tip to the node's head, without a hole and without a mix of forks.

use super::Cursor;
use super::track::{Followed, Reading, Row, Track};
use crate::bindings::IChannelEscrow::IChannelEscrowEvents as Event;
use crate::escrow::{Escrow, OpenedChannel, read_opened};
use crate::fault::ChainFault;
use crate::reserve::{self, ClosedChannel, read_closed};
use crate::rpc::{BlockRef, Header};
use alloy::primitives::Address;
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEventInterface;
use std::collections::{BTreeSet, VecDeque};
use weir_core::ChannelId;

/// Looks once; `None` when there is nothing new, or nothing that may be believed.
pub(super) async fn look(
    escrow: &Escrow,
    payee: Address,
    track: &Track,
) -> Result<Option<Reading>, ChainFault> {
    let look = Look { escrow, payee, track };
    let latest = escrow.rpc().latest().await?;
    let Some(tip) = track.tip() else {
        return look.begin(latest).await;
    };
    if latest.block.hash == tip.hash {
        return Ok(None);
    }
    if latest.block.number < tip.number {
        // A lagging replica says the same as a chain that got shorter. Neither is progress: a fork that wins will
        // be longer, and until then the view ages.
        tracing::debug!(
            head = latest.block.number,
            tip = tip.number,
            "the node's head is behind what was read"
        );
        return Ok(None);
    }
    if latest.block.number - tip.number > track.remembers() {
        return look.begin(latest).await;
    }
    look.follow(tip, latest).await
}

struct Look<'a> {
    escrow: &'a Escrow,
    payee: Address,
    track: &'a Track,
}

/// What new blocks brought.
#[derive(Default)]
struct Found {
    blocks: Vec<Followed>,
    opened: Vec<OpenedChannel>,
    closed: Vec<ClosedChannel>,
    touched: BTreeSet<ChannelId>,
}

impl Look<'_> {
    /// From the tip, or from where the forks part, to the head.
    async fn follow(&self, tip: BlockRef, latest: Header) -> Result<Option<Reading>, ChainFault> {
        let mut headers = self
            .headers(tip.number.saturating_add(1).min(latest.block.number), latest)
            .await?;
        while let Some(lowest) = headers.front().copied() {
            let Some(below) = lowest.block.number.checked_sub(1) else {
                break;
            };
            match self.track.at(below) {
                Some(parent) if parent.hash == lowest.parent => break,
                Some(_) => headers.push_front(self.parent_of(&lowest).await?),
                None => {
                    tracing::error!(
                        below,
                        "a reorg is deeper than what is remembered: all channels are read anew"
                    );
                    return self.begin(latest).await;
                }
            }
        }
        let replaces_from = headers
            .front()
            .map_or(latest.block.number, |lowest| lowest.block.number);
        let found = self.logs_of(&headers, 0).await?;
        let mut ids = self.track.due(replaces_from);
        ids.extend(&found.touched);
        let reorged = replaces_from <= tip.number;
        let last_final = self.final_below(latest.block, |number| {
            let new = headers.iter().find(|header| header.block.number == number);
            new.map(|header| header.block).or_else(|| self.track.at(number))
        })?;
        self.read(found, ids, (replaces_from, reorged), (latest.block, last_final))
            .await
    }

    /// From the cursor, with everything known read anew: at the start, after a long sleep, after a deep reorg.
    async fn begin(&self, latest: Header) -> Result<Option<Reading>, ChainFault> {
        let remembers = self.track.remembers();
        let first = latest.block.number.saturating_sub(remembers - 1);
        let headers = self.headers(first, latest).await?;
        let (mut from, mut reorged) = match self.track.cursor {
            Cursor::From(number) => (number, false),
            // A lagging replica: what was read before is ahead of it.
            Cursor::After(block) if block.number > latest.block.number => return Ok(None),
            Cursor::After(block) => (
                block.number.saturating_add(1),
                !self.is_canonical(block, &headers).await?,
            ),
        };
        // What ended in the reserve is known from its event alone, also when that was told of before.
        if reorged || self.escrow.domain().is_reserve() {
            from = from.saturating_sub(remembers);
        }
        let mut found = self.logs_of(&headers, from).await?;
        if from < first {
            let old = self.escrow.opened_to(self.payee, from, first - 1).await?;
            found.touched.extend(old.iter().map(|opened| opened.id));
            found.opened.splice(0..0, old);
            let ended = self.escrow.closed_to(self.payee, from, first - 1).await?;
            found.touched.extend(ended.iter().map(|closed| closed.id));
            found.closed.splice(0..0, ended);
        }
        let mut ids = self.track.all();
        ids.extend(&found.touched);
        reorged |= self.track.tip().is_some_and(|tip| {
            headers
                .iter()
                .any(|header| header.block.number == tip.number && header.block.hash != tip.hash)
        });
        let last_final = self.final_below(latest.block, |number| {
            let header = headers.iter().find(|header| header.block.number == number);
            header.map(|header| header.block)
        })?;
        self.read(found, ids, (0, reorged), (latest.block, last_final))
            .await
    }

    async fn is_canonical(&self, block: BlockRef, headers: &VecDeque<Header>) -> Result<bool, ChainFault> {
        let read = headers.iter().find(|header| header.block.number == block.number);
        let found = match read {
            Some(header) => header.block,
            None => self.escrow.rpc().header_at(block.number).await?.block,
        };
        Ok(found.hash == block.hash)
    }

    /// The headers from `first` to `latest`, each the parent of the next.
    async fn headers(&self, first: u64, latest: Header) -> Result<VecDeque<Header>, ChainFault> {
        let mut headers = VecDeque::from([latest]);
        let mut lowest = latest;
        while lowest.block.number > first {
            lowest = self.parent_of(&lowest).await?;
            headers.push_front(lowest);
        }
        Ok(headers)
    }

    async fn parent_of(&self, child: &Header) -> Result<Header, ChainFault> {
        let number = child.block.number.saturating_sub(1);
        let parent = self.escrow.rpc().header_at(number).await?;
        if parent.block.hash == child.parent {
            Ok(parent)
        } else {
            Err(ChainFault::Moved { number })
        }
    }

    /// What the blocks from height `from` on did to the payee's channels. Older ones are remembered without.
    async fn logs_of(&self, headers: &VecDeque<Header>, from: u64) -> Result<Found, ChainFault> {
        let mut found = Found::default();
        let filter = Filter::new().address(self.escrow.address());
        // The reserve has everybody's channels, and the payee in the same place of all its events.
        let filter = if self.escrow.domain().is_reserve() {
            filter.topic3(self.payee.into_word())
        } else {
            filter
        };
        for header in headers {
            let block = header.block;
            let mut touched = Vec::new();
            if block.number >= from {
                for log in self.escrow.rpc().logs_in(filter.clone(), block.hash).await? {
                    let Some(id) = touches(&log, self.payee) else {
                        continue;
                    };
                    touched.push(id);
                    found.opened.extend(read_opened(self.escrow.address(), &log));
                    found.closed.extend(read_closed(self.escrow.address(), &log));
                }
            }
            found.touched.extend(&touched);
            found.blocks.push(Followed { block, touched });
        }
        Ok(found)
    }

    fn final_below(
        &self,
        head: BlockRef,
        at: impl Fn(u64) -> Option<BlockRef>,
    ) -> Result<BlockRef, ChainFault> {
        let number = head.number.saturating_sub(self.track.finality_blocks);
        // What is remembered reaches below the finality depth, or to the first block there is; were it ever not so,
        // nothing may pass for final.
        at(number).ok_or(ChainFault::Moved { number })
    }

    async fn read(
        &self,
        found: Found,
        ids: BTreeSet<ChannelId>,
        (replaces_from, reorged): (u64, bool),
        (head, last_final): (BlockRef, BlockRef),
    ) -> Result<Option<Reading>, ChainFault> {
        let ids: Vec<ChannelId> = ids.into_iter().collect();
        let seen = self.escrow.held_at(&ids, head.hash).await?;
        let finals = if last_final.hash == head.hash {
            seen.clone()
        } else {
            self.escrow.held_at(&ids, last_final.hash).await?
        };
        let rows = ids.into_iter().zip(seen.into_iter().zip(finals));
        let rows = rows.map(|(id, (seen, last_final))| Row { id, seen, last_final });
        Ok(Some(Reading {
            blocks: found.blocks,
            replaces_from,
            reorged,
            head,
            last_final,
            opened: found.opened,
            closed: found.closed,
            rows: rows.collect(),
        }))
    }
}

/// The payee's channel whose state a log tells a change of.
fn touches(log: &Log, payee: Address) -> Option<ChannelId> {
    let (id, paid) = contract_touches(log).or_else(|| reserve::touches(log))?;
    (paid == payee).then_some(id)
}

fn contract_touches(log: &Log) -> Option<(ChannelId, Address)> {
    let (id, payee) = match Event::decode_log(&log.inner).ok()?.data {
        Event::ChannelOpened(event) => (event.channelId, event.payee),
        Event::Settled(event) => (event.channelId, event.payee),
        Event::RowSettled(event) => (event.channelId, event.payee),
        Event::TopUp(event) => (event.channelId, event.payee),
        Event::CloseRequested(event) => (event.channelId, event.payee),
        Event::CloseRequestCancelled(event) => (event.channelId, event.payee),
        Event::ChannelClosed(event) => (event.channelId, event.payee),
        Event::ChannelExpired(event) => (event.channelId, event.payee),
        _ => return None,
    };
    Some((ChannelId(id), payee))
}
