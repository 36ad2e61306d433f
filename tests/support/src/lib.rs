//! A chain of one's own for tests: anvil on a free port, an escrow, a token, a payer and a payee.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the helpers of tests fail as tests do"
)]

mod anvil;
mod world;

pub use anvil::Anvil;
pub use world::{DEPOSIT, World};

use alloy::primitives::B256;
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use weir_chain::Rpc;

/// A key, of so many same bytes.
pub fn key(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).expect("a key")
}

/// Until when a transaction of a test must have landed.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Asks the node, methods of its own included.
pub async fn ask(rpc: &Rpc, method: &'static str, params: Value) -> Value {
    rpc.provider()
        .raw_request::<_, Value>(method.into(), params)
        .await
        .unwrap()
}
