//! One escrow on one chain, checked once, then read at blocks named by their hash.

use crate::bindings::IChannelEscrow::{self, ChannelOpened};
use crate::bindings::{IChannelReserve, IToken};
use crate::calls::EscrowCalls;
use crate::fault::ChainFault;
use crate::reserve;
use crate::rpc::Rpc;
use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::{SolCall, SolEvent};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_core::terms::RESERVE_AMOUNT_MAX;
use weir_core::{ChainState, ChannelId, Cumulative, Domain, Terms, UnixSeconds};

/// The shortest grace period that leaves time to notice a payer's close and to collect, in seconds.
pub const CLOSE_GRACE_PERIOD_SECONDS_MIN: u64 = 600;
/// The grace period of our own escrow (`CLOSE_GRACE_PERIOD` of the contract), in seconds.
pub const CLOSE_GRACE_PERIOD_SECONDS: u64 = 900;
/// Most channels read by one call.
pub const CHANNELS_PER_CALL_MAX: usize = 256;

/// An escrow that was found to be the one configured. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Escrow {
    rpc: Rpc,
    address: Address,
    domain: Arc<Domain>,
    grace_period_seconds: u64,
}

/// A channel's birth, as `ChannelOpened` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedChannel {
    /// The channel.
    pub id: ChannelId,
    /// What was agreed on.
    pub terms: Terms,
    /// What told it from the payer's other channels.
    pub salt: B256,
    /// What was locked at once.
    pub deposit: Cumulative,
    /// In which block.
    pub block_number: u64,
    /// By which transaction.
    pub transaction: B256,
}

/// A channel as a block holds it; the reserve holds no terms.
pub(crate) type Held = (Option<Terms>, ChainState);

impl Escrow {
    /// Connects to `rpc` and checks the escrow at `address`: it is there, signs under `domain_name`, and leaves at least
    /// [`CLOSE_GRACE_PERIOD_SECONDS_MIN`].
    ///
    /// # Errors
    /// Each check has its [`ChainFault`].
    pub async fn connect(rpc: &str, address: Address, domain_name: &str) -> Result<Self, ChainFault> {
        Self::over(Rpc::new(rpc)?, address, domain_name).await
    }

    /// [`connect`](Self::connect) over a connection that exists already.
    ///
    /// # Errors
    /// Each check has its [`ChainFault`].
    pub async fn over(rpc: Rpc, address: Address, domain_name: &str) -> Result<Self, ChainFault> {
        let chain_id = rpc.chain_id().await?;
        let domain = Domain::new(domain_name, chain_id, address);
        // The reserve is part of the chain, and need not show code; it answers or it is not there.
        if !domain.is_reserve() && rpc.code_at_head(address).await?.is_empty() {
            return Err(ChainFault::NoCode { address, chain_id });
        }
        let mut escrow = Self {
            rpc,
            address,
            domain: Arc::new(domain),
            grace_period_seconds: 0,
        };
        let found = escrow.ask(&IChannelEscrow::domainSeparatorCall {}).await?;
        if found != escrow.domain.separator() {
            return Err(ChainFault::DomainMismatch {
                address,
                name: domain_name.to_owned(),
                expected: escrow.domain.separator(),
                found,
            });
        }
        escrow.grace_period_seconds = escrow.ask(&IChannelEscrow::CLOSE_GRACE_PERIODCall {}).await?;
        if escrow.grace_period_seconds < CLOSE_GRACE_PERIOD_SECONDS_MIN {
            return Err(ChainFault::GraceTooShort {
                found: escrow.grace_period_seconds,
                least: CLOSE_GRACE_PERIOD_SECONDS_MIN,
            });
        }
        Ok(escrow)
    }

    /// The connection.
    pub const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Where it is.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Under which domain its vouchers are signed.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// How long after a close request the payee still has the field to itself, in seconds.
    pub const fn grace_period_seconds(&self) -> u64 {
        self.grace_period_seconds
    }

    /// Calldata for this escrow.
    pub const fn calls(&self) -> EscrowCalls {
        EscrowCalls::new(self.address)
    }

    async fn ask<C: SolCall>(&self, call: &C) -> Result<C::Return, ChainFault> {
        let answer = self.rpc.call_at(self.address, call, BlockId::latest()).await?;
        answer.ok_or(ChainFault::NoCode {
            address: self.address,
            chain_id: self.domain.chain_id(),
        })
    }

    /// The most that one channel may hold of `token`.
    ///
    /// # Errors
    /// [`ChainFault::TokenNotServed`] when the escrow does not list it.
    pub async fn max_deposit(&self, token: Address) -> Result<Cumulative, ChainFault> {
        if self.domain.is_reserve() {
            return Ok(Cumulative::new(RESERVE_AMOUNT_MAX));
        }
        let cap = self.ask(&IChannelEscrow::maxDepositOfCall { token }).await?;
        if cap == 0 {
            return Err(ChainFault::TokenNotServed { token });
        }
        Ok(Cumulative::new(cap))
    }

    /// All tokens served.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn listed_tokens(&self) -> Result<Vec<Address>, ChainFault> {
        self.ask(&IChannelEscrow::listedTokensCall {}).await
    }

    /// What `account` holds of `token` at the newest block.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn token_balance(&self, token: Address, account: Address) -> Result<U256, ChainFault> {
        let call = IToken::balanceOfCall { account };
        Ok(self
            .rpc
            .call_at(token, &call, BlockId::latest())
            .await?
            .unwrap_or(U256::ZERO))
    }

    /// What `payer` can collect as refused refund pushes of `token`.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn refund_credit(&self, token: Address, payer: Address) -> Result<U256, ChainFault> {
        self.ask(&IChannelEscrow::refundCreditCall { token, payer }).await
    }

    /// Whether there is a channel of this id after the block `at`; in the reserve, one that has not ended.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`] when the node does not have that block's state.
    pub async fn holds_at(&self, id: ChannelId, at: B256) -> Result<bool, ChainFault> {
        Ok(self.state_at(id, at).await?.is_some())
    }

    /// A channel's state after the block `at`; `None` when it did not exist then, or its record was deleted.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`] when the node does not have that block's state.
    pub async fn state_at(&self, id: ChannelId, at: B256) -> Result<Option<ChainState>, ChainFault> {
        let held = self.held_at(&[id], at).await?.pop().flatten();
        Ok(held.map(|(_, state)| state))
    }

    /// What the block `at` holds of many channels, in the given order.
    pub(crate) async fn held_at(&self, ids: &[ChannelId], at: B256) -> Result<Vec<Option<Held>>, ChainFault> {
        if !self.domain.is_reserve() {
            let read = self.channels_at(ids, at).await?;
            let held = |(terms, state)| (Some(terms), state);
            return Ok(read.into_iter().map(|channel| channel.map(held)).collect());
        }
        self.reserved_at(ids, at).await
    }

    /// A contract's terms and state of a channel after the block `at`; `None` when it did not exist then.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`] when the node does not have that block's state.
    pub async fn channel_at(
        &self,
        id: ChannelId,
        at: B256,
    ) -> Result<Option<(Terms, ChainState)>, ChainFault> {
        Ok(self.channels_at(&[id], at).await?.pop().flatten())
    }

    /// [`channel_at`](Self::channel_at) for many, in the given order; all answers are of the one block.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`] when the node does not have that block's state.
    pub async fn channels_at(
        &self,
        ids: &[ChannelId],
        at: B256,
    ) -> Result<Vec<Option<(Terms, ChainState)>>, ChainFault> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHANNELS_PER_CALL_MAX) {
            let call = IChannelEscrow::getChannelsBatchCall {
                channelIds: chunk.iter().map(|id| id.0).collect(),
            };
            match self.rpc.call_at(self.address, &call, BlockId::hash(at)).await? {
                Some(states) => {
                    self.must_answer_all(chunk.len(), states.len())?;
                    found.extend(states.iter().map(read_channel));
                }
                // The escrow was not deployed yet at that block.
                None => found.extend(chunk.iter().map(|_| None)),
            }
        }
        Ok(found)
    }

    pub(crate) fn must_answer_all(&self, asked: usize, answered: usize) -> Result<(), ChainFault> {
        if asked == answered {
            return Ok(());
        }
        Err(ChainFault::Undecodable {
            doing: "reading many channels",
            address: self.address,
            cause: format!("{answered} answers to {asked} questions"),
        })
    }

    /// Every channel that `payer` ever opened here from block `from_block` on, for a payer that lost its books.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn channels_of_payer(
        &self,
        payer: Address,
        from_block: u64,
    ) -> Result<Vec<OpenedChannel>, ChainFault> {
        let filter = Filter::new().address(self.address).topic2(payer.into_word());
        let last = self.rpc.head().await?.number;
        self.opened(filter, from_block, last).await
    }

    /// Every channel that was ever opened to `payee` here from block `from_block` on.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn channels_of_payee(
        &self,
        payee: Address,
        from_block: u64,
    ) -> Result<Vec<OpenedChannel>, ChainFault> {
        let last = self.rpc.head().await?.number;
        self.opened_to(payee, from_block, last).await
    }

    pub(crate) async fn opened_to(
        &self,
        payee: Address,
        first: u64,
        last: u64,
    ) -> Result<Vec<OpenedChannel>, ChainFault> {
        let filter = Filter::new().address(self.address).topic3(payee.into_word());
        self.opened(filter, first, last).await
    }

    async fn opened(&self, filter: Filter, first: u64, last: u64) -> Result<Vec<OpenedChannel>, ChainFault> {
        let opened = if self.domain.is_reserve() {
            IChannelReserve::ChannelOpened::SIGNATURE_HASH
        } else {
            ChannelOpened::SIGNATURE_HASH
        };
        let filter = filter.event_signature(opened);
        let logs = self.rpc.logs_between(filter, first, last).await?;
        Ok(logs
            .iter()
            .filter_map(|log| read_opened(self.address, log))
            .collect())
    }
}

/// Reads a `ChannelOpened` of the escrow at `address`; `None` for any other log.
pub(crate) fn read_opened(address: Address, log: &Log) -> Option<OpenedChannel> {
    if log.address() != address || log.removed {
        return None;
    }
    read_contract_opened(log).or_else(|| reserve::read_opened(log))
}

fn read_contract_opened(log: &Log) -> Option<OpenedChannel> {
    let event = ChannelOpened::decode_log(&log.inner).ok()?.data;
    Some(OpenedChannel {
        id: ChannelId(event.channelId),
        terms: Terms {
            payer: event.payer,
            payee: event.payee,
            token: event.token,
            authorized_signer: event.authorizedSigner,
            reserve: None,
        },
        salt: event.salt,
        deposit: Cumulative::new(u128::try_from(event.deposit).ok()?),
        block_number: log.block_number?,
        transaction: log.transaction_hash?,
    })
}

fn read_channel(channel: &IChannelEscrow::Channel) -> Option<(Terms, ChainState)> {
    // The escrow refuses the zero payee, so it marks a channel that never was.
    if channel.payee.is_zero() {
        return None;
    }
    let terms = Terms {
        payer: channel.payer,
        payee: channel.payee,
        token: channel.token,
        authorized_signer: channel.authorizedSigner,
        reserve: None,
    };
    let state = ChainState {
        deposit: Cumulative::new(channel.deposit),
        settled: Cumulative::new(channel.settled),
        close_requested_at: (channel.closeRequestedAt != 0).then_some(UnixSeconds(channel.closeRequestedAt)),
        finalized: channel.finalized,
    };
    Some((terms, state))
}
