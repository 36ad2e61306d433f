//! Why a deposit is not pulled, or a payment not sent.

use super::{PULLS_PER_PAYER_MAX, VALIDITY_SECONDS_MIN};
use crate::charge_rows::OWED_SECONDS;
use crate::no::No;
use crate::settlement::ChainTrouble;
use weir_core::Amount;

/// Why a deposit or a payment is not on its way, or did not come about.
#[derive(Debug, thiserror::Error)]
pub enum FundNo {
    /// Below what is worth the gas.
    #[error("this server pulls deposits of {minimum} base units and more; sign for that much")]
    TooSmall {
        /// The least.
        minimum: Amount,
    },
    /// The payer did not sign it.
    #[error("what was signed was not signed by its payer, an account with a key of its own; sign it again")]
    NotThePayers,
    /// It does not count, or not for long enough.
    #[error("the signature must count now, and for {VALIDITY_SECONDS_MIN} s more; sign a new one")]
    Window,
    /// It counts for too long.
    #[error(
        "the signature must not count for more than {OWED_SECONDS} s after its challenge; sign one that ends with it"
    )]
    Outlasts,
    /// Other payments of this account must be seen first.
    #[error("other payments of this account are on their way; send the same credential again")]
    Waits,
    /// The payer has less.
    #[error("the payer holds {balance} base units of the token, and signed for {amount}")]
    Balance {
        /// What it has.
        balance: Amount,
        /// What it signed for.
        amount: Amount,
    },
    /// There is such a channel, with less in it.
    #[error("the channel is open already with a deposit of {deposit}; name that, or choose another salt")]
    OtherDeposit {
        /// What it holds.
        deposit: Amount,
    },
    /// It cannot land, or was mined in vain.
    #[error("{0}")]
    Reverted(String),
    /// The fee is not ours to pay now: a way that the challenge offers remains.
    #[error("{0}; send the transaction yourself, with type \"hash\"")]
    Unaffordable(&'static str),
    /// This payer has had its share.
    #[error(
        "{PULLS_PER_PAYER_MAX} deposits or failing payments of this account were sent within the hour; the first is forgotten in {free_in_seconds} s"
    )]
    TooMany {
        /// Until there is room for one, in seconds.
        free_in_seconds: u64,
    },
    /// Nothing is known yet: the same credential again.
    #[error(transparent)]
    Unknown(#[from] ChainTrouble),
    /// The books, the channel's rules, or a limit of ours.
    #[error(transparent)]
    No(#[from] No),
}

impl FundNo {
    /// Whether what was to be sent may have been written down all the same.
    pub const fn may_be_sent(&self) -> bool {
        matches!(self, Self::No(No::Books(_) | No::Stopping))
    }
}
