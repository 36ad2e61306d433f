//! Weir's eyes and hands on the chain.
//!
//! | module | what it does |
//! |---|---|
//! | [`rpc`] | the few questions asked of a node, each with its typed fault |
//! | [`escrow`] | one checked escrow, read at blocks named by their hash |
//! | [`evidence`], [`payment`] | what a payer's transaction really did, and what it paid |
//! | [`calls`], [`deploy`] | what is said to the escrow, and what a landed batch answered |
//! | [`sender`] | simulate, price, sign, send, look up; nonces without gaps |
//! | [`watcher`] | follows the chain, through reorgs, and tells what became of a payee's channels |
//! | [`relayed`] | deposits that a payer signed for and anybody may send |
//! | [`tempo`] | Tempo's transactions: what one would do that a payer signed for us to broadcast, and how ours are made |
//! | [`revert`], [`fault`] | why the contract, or the node, said no |
//!
//! Nothing here judges what a fact means: that is the core's [`step`](weir_core::step()).

mod bindings;
pub mod calls;
pub mod deploy;
pub mod draws;
pub mod escrow;
pub mod evidence;
pub mod fault;
pub mod payment;
pub mod relayed;
mod reserve;
pub mod revert;
pub mod rpc;
pub mod sender;
pub mod tempo;
pub mod watcher;

pub use bindings::{IChannelEscrow, IMemoToken, IRelayedEscrow, IToken};
pub use calls::{Call, EscrowCalls, Forecast, Opening, RowEffect, SettleRow, Verdict};
pub use draws::{Drawn, draw_call};
pub use escrow::{Escrow, OpenedChannel};
pub use evidence::{EvidenceFault, OpenEvidence, TopUpEvidence};
pub use fault::ChainFault;
pub use payment::{PaymentEvidence, Transfer};
pub use relayed::{Permit2, PullPaths};
pub use revert::{EscrowError, RelayedError, ReserveError, Revert};
pub use rpc::{BlockRef, Rpc};
pub use sender::{Broadcast, Envelope, Landed, Nonce, Outcome, Quote, SendFault, Sender};
pub use tempo::{
    ForeignDeed, ForeignOpen, ForeignRefusal, ForeignTopUp, ForeignTransaction, SignedTempo,
    TEMPO_VALID_SECONDS, TempoTransaction,
};
pub use watcher::{
    ChainView, Cursor, Observation, Sighting, Sink, StepFault, Tracked, Watcher, WatcherConfig,
};
