//! The pure heart of Weir.
//!
//! Nothing here knows a clock, a socket, a disk or a random number: time and the chain's state arrive as
//! arguments, and what changed leaves as a value. A channel moves only through [`step`](step::step).
//!
//! | module | what it answers |
//! |---|---|
//! | [`amount`] | how much, in which kind of total |
//! | [`ids`], [`terms`] | which channel, between whom, under which signing domain |
//! | [`signature`], [`voucher`], [`recover`] | is this promise really the signer's |
//! | [`pull`] | what a payer signs whose deposit somebody else pulls |
//! | [`draw`] | what a payer signs for one payment that the seller sends |
//! | [`channel`], [`step`] | what may happen to a channel, and what then is true |
//! | [`planner`] | what is worth collecting now, and how much of it |
//! | [`refusal`] | every typed no |

pub mod amount;
pub mod channel;
pub mod draw;
pub mod ids;
pub mod planner;
pub mod pull;
pub mod recover;
pub mod refusal;
pub mod signature;
pub mod step;
pub mod terms;
pub mod time;
pub mod voucher;

pub use amount::{Amount, Cumulative};
pub use channel::{Capture, ChainState, Channel, Charge, ChargePhase, Closing, Standing};
pub use draw::Draw;
pub use ids::{ChannelId, ChargeId};
pub use pull::{Leave, Pull, Purpose};
pub use refusal::Refusal;
pub use signature::Signature;
pub use step::{Input, Outcome, Step, step};
pub use terms::{Domain, ReserveTerms, Terms};
pub use time::UnixSeconds;
pub use voucher::{Claimed, KeptVoucher, Proven, Voucher};
