//! What is said to the escrow: calldata out of the core's types, and what a landed batch answered.

use crate::bindings::{IChannelEscrow, IToken};
use crate::reserve;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::{SolCall, SolEventInterface};
use serde::{Deserialize, Serialize};
use weir_core::{Amount, ChannelId, Cumulative, Signature};

pub use crate::bindings::IChannelEscrow::Verdict;

/// A call that is ready to be simulated, priced and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The contract; `None` creates one.
    pub to: Option<Address>,
    /// The calldata, or the creation code.
    pub input: Bytes,
}

impl Call {
    pub(crate) fn new(to: Address, call: &impl SolCall) -> Self {
        Self {
            to: Some(to),
            input: call.abi_encode().into(),
        }
    }

    /// A call without effect, for a nonce that must be used up: from `own` to itself.
    pub const fn nothing(own: Address) -> Self {
        Self {
            to: Some(own),
            input: Bytes::new(),
        }
    }
}

/// One collection: a voucher and what to take of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleRow {
    /// The channel.
    pub channel: ChannelId,
    /// What the voucher was signed for.
    pub cumulative: Cumulative,
    /// The absolute settled total to set.
    pub capture: Cumulative,
    /// The voucher's signature; `None` only to close at what is settled already.
    pub signature: Option<Signature>,
}

impl SettleRow {
    pub(crate) fn signature(&self) -> Bytes {
        self.signature
            .map_or_else(Bytes::new, |bytes| Bytes::copy_from_slice(bytes.as_bytes()))
    }

    fn row(&self) -> IChannelEscrow::Row {
        IChannelEscrow::Row {
            channelId: self.channel.0,
            cumulativeAmount: self.cumulative.base_units(),
            captureAmount: self.capture.base_units(),
            signature: self.signature(),
        }
    }
}

/// What a payer opens a channel with; the payer is whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Who is paid.
    pub payee: Address,
    /// The token.
    pub token: Address,
    /// What to lock at once.
    pub deposit: Amount,
    /// Tells this channel from the payer's others with the same terms.
    pub salt: B256,
    /// Who signs vouchers; zero means the payer.
    pub authorized_signer: Address,
    /// The payer's own cap on all deposits of this channel.
    pub max_deposit: Option<Amount>,
}

/// Calldata for one escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EscrowCalls {
    escrow: Address,
}

impl EscrowCalls {
    /// For the escrow at this address.
    pub const fn new(escrow: Address) -> Self {
        Self { escrow }
    }

    pub(crate) fn call(&self, call: &impl SolCall) -> Call {
        Call::new(self.escrow, call)
    }

    /// The draft's `settle`: takes all that the voucher authorises; the row's capture is not looked at.
    pub fn settle(&self, row: &SettleRow) -> Call {
        self.call(&IChannelEscrow::settleCall {
            channelId: row.channel.0,
            cumulativeAmount: row.cumulative.base_units(),
            signature: row.signature(),
        })
    }

    /// The draft's `close`: takes all that the voucher authorises; the row's capture is not looked at.
    pub fn close(&self, row: &SettleRow) -> Call {
        self.call(&IChannelEscrow::closeCall {
            channelId: row.channel.0,
            cumulativeAmount: row.cumulative.base_units(),
            signature: row.signature(),
        })
    }

    /// Settles one channel to the row's capture.
    pub fn settle_capture(&self, row: &SettleRow) -> Call {
        self.call(&IChannelEscrow::settleCaptureCall {
            channelId: row.channel.0,
            cumulativeAmount: row.cumulative.base_units(),
            captureAmount: row.capture.base_units(),
            signature: row.signature(),
        })
    }

    /// Closes one channel at the row's capture.
    pub fn close_capture(&self, row: &SettleRow) -> Call {
        self.call(&IChannelEscrow::closeCaptureCall {
            channelId: row.channel.0,
            cumulativeAmount: row.cumulative.base_units(),
            captureAmount: row.capture.base_units(),
            signature: row.signature(),
        })
    }

    /// Settles many channels of one token.
    pub fn settle_many(&self, token: Address, rows: &[SettleRow]) -> Call {
        let rows = rows.iter().map(SettleRow::row).collect();
        self.call(&IChannelEscrow::settleManyCall { token, rows })
    }

    /// Closes many channels of one token.
    pub fn close_many(&self, token: Address, rows: &[SettleRow]) -> Call {
        let rows = rows.iter().map(SettleRow::row).collect();
        self.call(&IChannelEscrow::closeManyCall { token, rows })
    }

    /// Opens a channel, with the payer's own cap when the opening names one.
    pub fn open(&self, opening: &Opening) -> Call {
        let Opening {
            payee,
            token,
            salt,
            authorized_signer,
            ..
        } = *opening;
        let deposit = opening.deposit.base_units();
        match opening.max_deposit {
            None => self.call(&IChannelEscrow::openCall {
                payee,
                token,
                deposit,
                salt,
                authorizedSigner: authorized_signer,
            }),
            Some(cap) => self.call(&IChannelEscrow::openWithCapCall {
                payee,
                token,
                deposit,
                salt,
                authorizedSigner: authorized_signer,
                maxDeposit: cap.base_units(),
            }),
        }
    }

    /// Adds to a deposit, and cancels the payer's own close request.
    pub fn top_up(&self, channel: ChannelId, additional: Amount) -> Call {
        // Of the two overloads this is the EVM draft's, with uint128.
        self.call(&IChannelEscrow::topUp_0Call {
            channelId: channel.0,
            additionalDeposit: additional.base_units(),
        })
    }

    /// Starts the grace period.
    pub fn request_close(&self, channel: ChannelId) -> Call {
        self.call(&IChannelEscrow::requestCloseCall { channelId: channel.0 })
    }

    /// Takes back what is left, after the grace period.
    pub fn withdraw(&self, channel: ChannelId) -> Call {
        self.call(&IChannelEscrow::withdrawCall { channelId: channel.0 })
    }

    /// Lowers the payer's own cap.
    pub fn lower_max_deposit(&self, channel: ChannelId, cap: Amount) -> Call {
        self.call(&IChannelEscrow::lowerMaxDepositCall {
            channelId: channel.0,
            maxDeposit: cap.base_units(),
        })
    }

    /// Collects a refund whose push the token refused.
    pub fn withdraw_refund(&self, token: Address, to: Address) -> Call {
        self.call(&IChannelEscrow::withdrawRefundCall { token, to })
    }

    /// Lets the escrow pull `amount` of `token` from whoever sends it.
    pub fn approve(&self, token: Address, amount: Amount) -> Call {
        let value = U256::from(amount.base_units());
        Call::new(
            token,
            &IToken::approveCall {
                spender: self.escrow,
                value,
            },
        )
    }

    /// What the simulation of a batch answered.
    ///
    /// `None` when the bytes are not the answer of a batch.
    pub fn read_forecast(output: &[u8]) -> Option<Forecast> {
        // Both batches answer alike.
        let answer = IChannelEscrow::settleManyCall::abi_decode_returns(output).ok()?;
        Some(Forecast {
            paid: Amount::new(u128::try_from(answer.paid).ok()?),
            verdicts: answer.verdicts,
        })
    }

    /// What a landed transaction did to channels of this escrow.
    pub fn read_effects(&self, logs: &[Log]) -> Vec<RowEffect> {
        let own = logs.iter().filter(|log| log.address() == self.escrow);
        own.filter_map(|log| read_effect(log).or_else(|| reserve::read_effect(log)))
            .collect()
    }
}

/// What a batch would do if it landed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// What would be transferred to the caller.
    pub paid: Amount,
    /// One verdict per row, in their order.
    pub verdicts: Vec<Verdict>,
}

/// What became of one row of a landed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowEffect {
    /// The channel's settled total was set.
    Settled {
        /// The channel.
        channel: ChannelId,
        /// Its new settled total.
        settled: Cumulative,
        /// What that paid.
        paid: Amount,
    },
    /// The channel was closed at this settled total.
    Closed {
        /// The channel.
        channel: ChannelId,
        /// Its final settled total.
        settled: Cumulative,
        /// What went back to the payer, pushed or credited.
        refunded: Amount,
    },
    /// The row was skipped.
    Skipped {
        /// The channel.
        channel: ChannelId,
        /// Why.
        reason: Verdict,
    },
}

fn read_effect(log: &Log) -> Option<RowEffect> {
    use IChannelEscrow::IChannelEscrowEvents as Event;
    let narrow = |amount: U256| u128::try_from(amount).ok();
    Some(match Event::decode_log(&log.inner).ok()?.data {
        Event::RowSettled(row) => RowEffect::Settled {
            channel: ChannelId(row.channelId),
            settled: Cumulative::new(row.newSettled),
            paid: Amount::new(row.deltaPaid),
        },
        Event::Settled(row) => RowEffect::Settled {
            channel: ChannelId(row.channelId),
            settled: Cumulative::new(narrow(row.newSettled)?),
            paid: Amount::new(narrow(row.deltaPaid)?),
        },
        Event::ChannelClosed(row) => RowEffect::Closed {
            channel: ChannelId(row.channelId),
            settled: Cumulative::new(narrow(row.settledToPayee)?),
            refunded: Amount::new(narrow(row.refundedToPayer)?),
        },
        Event::RowSkipped(row) => RowEffect::Skipped {
            channel: ChannelId(row.channelId),
            reason: row.reason,
        },
        _ => return None,
    })
}
