//! The embeddable till of a seller: vouchers in, durable rights to deliver out, settlements on their way.
//!
//! | module | what it does |
//! |---|---|
//! | [`till`] | the counter: proves vouchers, takes payments, adopts channels |
//! | [`order`] | what a payment is for, and what it led to |
//! | [`sale`] | one charge, from reserved to committed or released, exactly once |
//! | [`charges`] | what was paid at once, and whether its answer is still owed |
//! | [`charge_rows`] | how that is written down, how long it is kept, and how much of it |
//! | [`repeats`] | requests that come again: charged once, answered again |
//! | [`lane`], [`shard`] | the single writer of a shard of channels, with and without its queue |
//! | [`books`], [`attempt`] | how it is all written down |
//! | [`facts`] | what the watcher saw, into the same lanes |
//! | [`freshness`] | how old the view of the chain may be |
//! | [`evidence`] | what a transaction did to a channel |
//! | [`submissions`] | transactions that payers signed and we send |
//! | [`funding`] | deposits that payers signed for and we pull |
//! | [`settler`], [`settlement`] | from what is collectible to a transaction in a block |
//! | [`onchain`] | the real chain behind those, through `weir-chain` |
//! | [`gateway`] | HTTP before a service, wherever that is: challenge, credential, sale, receipt |
//! | [`shop`] | all of it put together, for the daemon and for services that sell themselves |
//! | [`clock`], [`no`] | time as a parameter; why something was not done |

pub mod attempt;
pub mod books;
pub mod charge_rows;
pub mod charges;
pub mod clock;
pub mod evidence;
pub mod facts;
pub mod freshness;
pub mod funding;
pub mod gateway;
pub mod lane;
pub mod no;
pub mod onchain;
pub mod order;
pub mod repeats;
pub mod sale;
pub mod settlement;
pub mod settler;
pub mod shard;
pub mod shop;
pub mod submissions;
pub mod till;

pub use charge_rows::Claim;
pub use charges::{ChargeNo, Charges, Handover, Turn};
pub use clock::{Clock, SystemClock};
pub use evidence::{Evidence, Sight};
pub use funding::{Funder, Funding};
pub use no::No;
pub use order::{Order, Paid};
pub use repeats::{KeptAnswer, Keyed};
pub use sale::{ChargeOn, Debt, Delivery, Hold, Sale};
pub use settler::{Settled, Settler, SettlerConfig, SettlerHandle};
pub use shard::{Adoption, Answer};
pub use shop::{Shop, ShopConfig};
pub use submissions::{Relay, Submissions};
pub use till::{Recovered, Till, TillConfig};
