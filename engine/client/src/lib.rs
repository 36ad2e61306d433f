//! The payer of Weir: opens channels, pays with vouchers, tops up, closes and recovers, under its own limits.
//!
//! | module | what it answers |
//! |---|---|
//! | [`limits`] | what the payer agrees to at most |
//! | [`payer`] | the handle: request, close, request a close, withdraw, recover |
//! | [`state`] | what a restart must know, and the order in which it reaches the disk |
//! | [`receipt`] | what a server must not claim |
//! | [`charge`] | answers that are paid for at once, each by a payment of its own |
//! | [`stream`] | an answer as it comes, and paying for it while it flows |
//! | [`error`], [`onchain`] | every typed no |
//!
//! Promises: nothing is signed past what is on disk; nothing is broadcast before what it does is on disk; nothing is
//! signed by which anything could cost more than the limits; a request whose outcome is unknown is never paid a second
//! time by itself.

mod account;
mod buy;
pub mod charge;
mod close;
mod cost;
mod credential;
pub mod error;
mod exit;
mod funding;
mod http;
mod left;
pub mod limits;
mod manage;
mod offer;
pub mod onchain;
pub mod payer;
mod purse;
pub mod receipt;
pub mod state;
pub mod stream;
mod tempo;
mod ticket;
mod ways;

pub use charge::{ChargePaid, PaymentRecord};
pub use close::CloseOutcome;
pub use cost::Cost;
pub use error::{Error, Unreached};
pub use exit::{CloseRequest, FoundChannel, Withdrawal};
pub use http::{HttpOptions, Wait};
pub use limits::{Allowed, AllowedEscrow, LimitExceeded, Limits};
pub use onchain::ChainError;
pub use payer::{Payer, Response};
pub use receipt::Overcharged;
pub use state::{ChannelRecord, LeftPull, Stage, StateError};
pub use stream::{PaidStream, StreamEvent};

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod chain_world;
#[cfg(test)]
mod second_channel_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod server_world;
