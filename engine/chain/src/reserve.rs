//! Tempo's channel reserve (TIP-1034): what it says otherwise than a contract with the draft's interface.
//!
//! It keeps two amounts and a time per channel, and nothing of the terms: whoever calls tells them again, and they are
//! known from `ChannelOpened` alone. When a channel ends its record is deleted, so that what it came to is known from
//! `ChannelClosed` alone. No id comes twice.

use crate::bindings::IChannelReserve::IChannelReserveEvents as Event;
use crate::bindings::IChannelReserve::{self, ChannelClosed, ChannelDescriptor, ChannelOpened, TopUp};
use crate::calls::{Call, EscrowCalls, RowEffect, SettleRow};
use crate::escrow::{CHANNELS_PER_CALL_MAX, Escrow, Held, OpenedChannel};
use crate::fault::ChainFault;
use crate::tempo::{ForeignDeed, ForeignOpen, ForeignRefusal, ForeignTopUp, ForeignTransaction, exactly};
use alloy::eips::BlockId;
use alloy::primitives::aliases::U96;
use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::{SolEvent, SolEventInterface};
use weir_core::{Amount, ChainState, ChannelId, Cumulative, Domain, ReserveTerms, Terms, UnixSeconds};

fn wide(amount: U96) -> u128 {
    // 96 bits fit 128.
    amount.to::<u128>()
}

fn narrow(amount: Cumulative) -> Option<U96> {
    U96::try_from(amount.base_units()).ok()
}

fn descriptor(terms: &Terms) -> Option<ChannelDescriptor> {
    let reserve = terms.reserve?;
    Some(ChannelDescriptor {
        payer: terms.payer,
        payee: terms.payee,
        operator: reserve.operator,
        token: terms.token,
        salt: reserve.salt,
        authorizedSigner: terms.authorized_signer,
        expiringNonceHash: reserve.expiring_nonce_hash,
    })
}

fn terms(descriptor: &ChannelDescriptor) -> Terms {
    Terms {
        payer: descriptor.payer,
        payee: descriptor.payee,
        token: descriptor.token,
        authorized_signer: descriptor.authorizedSigner,
        reserve: Some(ReserveTerms {
            operator: descriptor.operator,
            salt: descriptor.salt,
            expiring_nonce_hash: descriptor.expiringNonceHash,
        }),
    }
}

/// A channel's end, of which no record is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClosedChannel {
    /// The channel.
    pub(crate) id: ChannelId,
    /// What its record would say.
    pub(crate) state: ChainState,
    /// In which block.
    pub(crate) block_number: u64,
}

impl Escrow {
    /// What the block `at` holds of many channels of the reserve, in the given order.
    pub(crate) async fn reserved_at(
        &self,
        ids: &[ChannelId],
        at: B256,
    ) -> Result<Vec<Option<Held>>, ChainFault> {
        let mut held = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHANNELS_PER_CALL_MAX) {
            let call = IChannelReserve::getChannelStatesBatchCall {
                channelIds: chunk.iter().map(|id| id.0).collect(),
            };
            match self
                .rpc()
                .call_at(self.address(), &call, BlockId::hash(at))
                .await?
            {
                Some(states) => {
                    self.must_answer_all(chunk.len(), states.len())?;
                    held.extend(states.iter().map(|state| Some((None, read_state(state)?))));
                }
                // The reserve was not part of the chain yet at that block.
                None => held.extend(chunk.iter().map(|_| None)),
            }
        }
        Ok(held)
    }

    /// Every channel to `payee` that ended in these blocks and left no record: none of a contract's.
    pub(crate) async fn closed_to(
        &self,
        payee: Address,
        first: u64,
        last: u64,
    ) -> Result<Vec<ClosedChannel>, ChainFault> {
        if !self.domain().is_reserve() {
            return Ok(Vec::new());
        }
        let filter = Filter::new()
            .address(self.address())
            .event_signature(ChannelClosed::SIGNATURE_HASH)
            .topic3(payee.into_word());
        let logs = self.rpc().logs_between(filter, first, last).await?;
        let closed = logs.iter().filter_map(|log| read_closed(self.address(), log));
        Ok(closed.collect())
    }
}

impl EscrowCalls {
    /// The reserve's `settle`: takes all that the row's voucher authorises. `None` for terms or amounts that are not the
    /// reserve's.
    pub fn settle_reserved(&self, terms: &Terms, row: &SettleRow) -> Option<Call> {
        Some(self.call(&IChannelReserve::settleCall {
            descriptor: descriptor(terms)?,
            cumulativeAmount: narrow(row.cumulative)?,
            signature: row.signature(),
        }))
    }

    /// The reserve's `close`, at the row's capture. `None` for terms or amounts that are not the reserve's.
    pub fn close_reserved(&self, terms: &Terms, row: &SettleRow) -> Option<Call> {
        Some(self.call(&IChannelReserve::closeCall {
            descriptor: descriptor(terms)?,
            cumulativeAmount: narrow(row.cumulative)?,
            captureAmount: narrow(row.capture)?,
            signature: row.signature(),
        }))
    }
}

/// Reads a record; `None` where there is none, or none any more.
fn read_state(state: &IChannelReserve::ChannelState) -> Option<ChainState> {
    if state.deposit.is_zero() {
        return None;
    }
    let asked = u64::from(state.closeRequestedAt);
    Some(ChainState {
        deposit: Cumulative::new(wide(state.deposit)),
        settled: Cumulative::new(wide(state.settled)),
        close_requested_at: (asked != 0).then_some(UnixSeconds(asked)),
        finalized: false,
    })
}

/// Reads the reserve's `ChannelOpened`.
pub(crate) fn read_opened(log: &Log) -> Option<OpenedChannel> {
    let event = ChannelOpened::decode_log(&log.inner).ok()?.data;
    Some(OpenedChannel {
        id: ChannelId(event.channelId),
        salt: event.salt,
        deposit: Cumulative::new(wide(event.deposit)),
        terms: terms(&ChannelDescriptor {
            payer: event.payer,
            payee: event.payee,
            operator: event.operator,
            token: event.token,
            salt: event.salt,
            authorizedSigner: event.authorizedSigner,
            expiringNonceHash: event.expiringNonceHash,
        }),
        block_number: log.block_number?,
        transaction: log.transaction_hash?,
    })
}

/// Reads a `ChannelClosed` of the reserve at `address`: what the deleted record would say.
pub(crate) fn read_closed(address: Address, log: &Log) -> Option<ClosedChannel> {
    if log.address() != address || log.removed {
        return None;
    }
    let event = ChannelClosed::decode_log(&log.inner).ok()?.data;
    let settled = Cumulative::new(wide(event.settledToPayee));
    Some(ClosedChannel {
        id: ChannelId(event.channelId),
        state: ChainState {
            deposit: settled.plus(Amount::new(wide(event.refundedToPayer)))?,
            settled,
            close_requested_at: None,
            finalized: true,
        },
        block_number: log.block_number?,
    })
}

/// Reads the reserve's `TopUp`: the channel, what was added, and the deposit then.
pub(crate) fn read_top_up(log: &Log) -> Option<(ChannelId, Amount, Cumulative)> {
    let event = TopUp::decode_log(&log.inner).ok()?.data;
    let (added, deposit) = (wide(event.additionalDeposit), wide(event.newDeposit));
    Some((
        ChannelId(event.channelId),
        Amount::new(added),
        Cumulative::new(deposit),
    ))
}

/// The channel whose state a log of the reserve tells a change of, and who is paid by it.
pub(crate) fn touches(log: &Log) -> Option<(ChannelId, Address)> {
    let (id, payee) = match Event::decode_log(&log.inner).ok()?.data {
        Event::ChannelOpened(event) => (event.channelId, event.payee),
        Event::Settled(event) => (event.channelId, event.payee),
        Event::TopUp(event) => (event.channelId, event.payee),
        Event::CloseRequested(event) => (event.channelId, event.payee),
        Event::CloseRequestCancelled(event) => (event.channelId, event.payee),
        Event::ChannelClosed(event) => (event.channelId, event.payee),
    };
    Some((ChannelId(id), payee))
}

/// What a log of the reserve says became of a channel that was collected from.
pub(crate) fn read_effect(log: &Log) -> Option<RowEffect> {
    match Event::decode_log(&log.inner).ok()?.data {
        Event::Settled(event) => Some(RowEffect::Settled {
            channel: ChannelId(event.channelId),
            settled: Cumulative::new(wide(event.newSettled)),
            paid: Amount::new(wide(event.deltaPaid)),
        }),
        Event::ChannelClosed(event) => Some(RowEffect::Closed {
            channel: ChannelId(event.channelId),
            settled: Cumulative::new(wide(event.settledToPayee)),
            refunded: Amount::new(wide(event.refundedToPayer)),
        }),
        _ => None,
    }
}

impl ForeignTransaction {
    /// What it would do with the reserve: exactly one open or top-up, because the reserve needs no approval.
    pub(crate) fn reserve_deed(&self, domain: &Domain) -> Result<ForeignDeed, ForeignRefusal> {
        let [call] = self.calls.as_slice() else {
            return Err(ForeignRefusal::ReserveCalls);
        };
        if call.to != domain.escrow() {
            return Err(ForeignRefusal::OtherContract);
        }
        if let Some(open) = exactly::<IChannelReserve::openCall>(&call.input) {
            let terms = terms(&ChannelDescriptor {
                payer: self.sender,
                payee: open.payee,
                operator: open.operator,
                token: open.token,
                salt: open.salt,
                authorizedSigner: open.authorizedSigner,
                expiringNonceHash: self.expiring_nonce_hash,
            });
            return Ok(ForeignDeed::Open(ForeignOpen {
                terms,
                salt: open.salt,
                deposit: Amount::new(wide(open.deposit)),
            }));
        }
        let top_up =
            exactly::<IChannelReserve::topUpCall>(&call.input).ok_or(ForeignRefusal::ReserveCalls)?;
        let channel = terms(&top_up.descriptor).channel_id(top_up.descriptor.salt, domain);
        let additional = Amount::new(wide(top_up.additionalDeposit));
        Ok(ForeignDeed::TopUp(ForeignTopUp { channel, additional }))
    }
}

#[cfg(test)]
#[path = "reserve_tests.rs"]
mod tests;
