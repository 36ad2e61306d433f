//! The chain crate against a real node: anvil 1.7.1, one per test.
// The helpers are tests too, though not by attribute: they may panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod evidence;
mod proxy;
mod recorder;
mod sending;
mod tempo;
mod tempo_wallet;
mod twin;
mod watching;
