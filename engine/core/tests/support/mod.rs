//! What the tests of the core share. Each test crate uses its part of it.
#![allow(
    dead_code,
    reason = "every test crate compiles the whole of it and uses a part"
)]

pub(crate) mod charges;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod life;
pub(crate) mod reachable;
pub(crate) mod resolve;
pub(crate) mod story;
pub(crate) mod table;
