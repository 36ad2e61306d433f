//! Every typed no that the core can say: data, never prose.
//!
//! How each reads on the wire (status and problem type) is the protocol crate's business.

use crate::amount::{Amount, Cumulative};

/// Why an input did not move a channel. Nothing changes when one is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No channel of this id is known.
    #[error("no such channel")]
    ChannelNotFound,
    /// The channel is closed on-chain.
    #[error("the channel is finalized")]
    ChannelFinalized,
    /// The payer asked the escrow to close, or a close is under way here: no more credit.
    #[error("the channel is closing")]
    ChannelClosing,
    /// The chain contradicts the books; the channel is kept, and nothing is sold on it.
    #[error("the channel is frozen: the chain no longer covers what was accepted")]
    ChannelFrozen,
    /// The channel is older than these books: it may be settled and closed, never charged.
    #[error("the channel is older than this store and can only be settled or closed")]
    ChannelDrainOnly,
    /// The voucher names another channel than the one it was given to.
    #[error("the voucher is for another channel")]
    WrongChannel,
    /// No key can have made this signature over this voucher.
    #[error("the voucher's signature is invalid")]
    InvalidSignature,
    /// Somebody else than the channel's signer made it.
    #[error("the voucher was not signed by the channel's signer")]
    SignerMismatch,
    /// The voucher authorises more than the channel holds.
    #[error("the voucher exceeds the deposit of {deposit}")]
    ExceedsDeposit {
        /// The deposit that counts: final on the chain.
        deposit: Cumulative,
    },
    /// The voucher raises the total by less than the route's minimum.
    #[error("the voucher raises the total by less than {minimum}")]
    DeltaTooSmall {
        /// The route's `minVoucherDelta`.
        minimum: Amount,
    },
    /// The voucher is below the highest accepted one, on a rail that refuses that.
    #[error("the voucher is below the accepted total of {accepted}")]
    Stale {
        /// The highest total accepted so far.
        accepted: Cumulative,
    },
    /// What is authorised and unspent does not cover the price.
    #[error(
        "the authorised balance does not cover the price: {required} is required, {accepted} is accepted"
    )]
    InsufficientBalance {
        /// The total that the next voucher must reach.
        required: Cumulative,
        /// The highest total accepted so far.
        accepted: Cumulative,
    },
    /// The credential has bought its content already.
    #[error("the credential has been used")]
    CredentialUsed,
    /// More requests are in flight on this channel than the engine allows.
    #[error("too many requests are in flight on this channel")]
    TooManyCharges,
    /// No such charge is open: it was committed, released or credited before.
    #[error("the charge is not open")]
    ChargeNotOpen,
    /// More is to be committed than was reserved.
    #[error("more would be charged than was reserved")]
    ExceedsReservation,
    /// A settlement of this channel is under way.
    #[error("a settlement of this channel is under way")]
    CaptureUnderWay,
    /// The settled total asked for is not above the chain's, or not covered by what was earned.
    #[error("no more than {collectible} can be collected")]
    NotCollectible {
        /// The highest settled total that may be set.
        collectible: Cumulative,
    },
    /// A total would pass 128 bits.
    #[error("a total would not fit 128 bits")]
    Overflow,
}
