//! Defaults and bounds of the configuration, units last.

use crate::http::CONNECTIONS_MAX;
use core::ops::RangeInclusive;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use weir_till::funding::{GAS_MAX, VALIDITY_SECONDS_MIN};
use weir_till::gateway::offer::CHALLENGE_SECONDS;
pub use weir_till::shop::{
    CLOSE_BATCH_MS, FINALITY_BLOCKS, POLL_MS, SETTLE_AGE_SECONDS_MAX, SETTLE_VALUE_MAX,
};

/// Where payers connect.
pub const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8402));
/// Where the operator's commands connect.
pub const OPERATOR_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8403));
/// The protection space that challenges name.
pub const REALM: &str = "localhost";
/// Where the books are kept, beside the configuration.
pub const DATA_DIR: &str = "weir-data";
/// The file in the data directory that holds the generated challenge secret.
pub const SECRET_FILE: &str = "challenge-secret";
/// What one unit is, when a route does not say.
pub const UNIT: &str = "request";
/// The same with `meter = "event"`.
pub const EVENT_UNIT: &str = "event";
/// The version of the service's API, when `[discovery]` does not say.
pub const API_VERSION: &str = "1.0.0";

/// How long a challenge to pay by charge may be answered.
pub const CHARGE_CHALLENGE_SECONDS: u64 = CHALLENGE_SECONDS;
/// Vouchers that one channel may send per second.
pub const VOUCHERS_PER_SECOND: u32 = 10;
/// Connections of one peer to the payers' listener. Generous: whole offices share an address, and HTTP/2 needs one
/// connection for each payer.
pub const CONNECTIONS_PER_PEER: u64 = 256;
/// How long the upstream may take to begin its answer.
pub const UPSTREAM_TIMEOUT_SECONDS: u64 = 60;
/// The longest request body.
pub const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How old the view of the chain may get before payments are refused.
pub const VIEW_AGE_SECONDS_MAX: u64 = 60;
/// The least deposit that is pulled for a payer, in base units: 1.00 of a token with 6 decimals.
pub const FUNDING_DEPOSIT_MIN: u128 = 1_000_000;
/// The least payment that is sent for a payer, in base units: 0.01 of a token with 6 decimals.
pub const FUNDING_CHARGE_MIN: u128 = 10_000;
/// The most that a unit of gas for a pull may cost.
pub const FUNDING_FEE_MAX_GWEI: u64 = 100;
/// The most gas for all pulls of an hour: about eighty of them.
pub const FUNDING_GAS_PER_HOUR_MAX: u64 = 20_000_000;
/// The most gas for all payments of an hour: about 1,250 of them.
pub const FUNDING_CHARGE_GAS_PER_HOUR_MAX: u64 = 100_000_000;

/// A payment that is signed and sent at once takes some seconds; and no challenge outlives the change of the secret.
pub(super) const CHARGE_CHALLENGE_SECONDS_RANGE: RangeInclusive<u64> = 10..=CHALLENGE_SECONDS;
/// Clients sign payments that count as long as their challenge: what a signature must count for when it is sent, and half a
/// minute to sign it and to bring it.
pub(super) const SIGNED_CHALLENGE_SECONDS_MIN: u64 = VALIDITY_SECONDS_MIN + 30;
pub(super) const FUNDING_FEE_GWEI_RANGE: RangeInclusive<u64> = 1..=1_000_000;
pub(super) const FUNDING_GAS_PER_HOUR_RANGE: RangeInclusive<u64> = GAS_MAX..=1_000_000_000_000;
pub(super) const VOUCHERS_PER_SECOND_RANGE: RangeInclusive<u64> = 1..=1_000_000;
pub(super) const CONNECTIONS_PER_PEER_RANGE: RangeInclusive<u64> = 0..=CONNECTIONS_MAX as u64;
pub(super) const UPSTREAM_TIMEOUT_SECONDS_RANGE: RangeInclusive<u64> = 1..=3_600;
pub(super) const BODY_BYTES_RANGE: RangeInclusive<u64> = 1..=4 * 1024 * 1024 * 1024;
pub(super) const POLL_MS_RANGE: RangeInclusive<u64> = 50..=60_000;
pub(super) const FINALITY_BLOCKS_RANGE: RangeInclusive<u64> = 0..=10_000;
pub(super) const VIEW_AGE_SECONDS_RANGE: RangeInclusive<u64> = 1..=3_600;
pub(super) const SETTLE_AGE_SECONDS_RANGE: RangeInclusive<u64> = 1..=30 * 24 * 3_600;
pub(super) const CLOSE_BATCH_MS_RANGE: RangeInclusive<u64> = 0..=60_000;
/// The longest name or description: each travels in a header of every challenge.
pub(super) const TEXT_BYTES_MAX: usize = 200;
/// The longest description of the service: crawlers read 64 KB, and the routes must fit too.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 4_000;
