//! A payer's load on a journal, for measurements. Needs no runtime: spawn as many as there are waiters.

use crate::{Journal, Row, StoreFault, Table};

/// Submits one row after the other, each after the one before is durable, as a channel's lane does for its
/// vouchers. Gives the number of accepted rows.
///
/// # Errors
/// The first fault of the store.
pub async fn accept(
    journal: &dyn Journal,
    channel: u32,
    rounds: u32,
    value_bytes: usize,
) -> Result<u32, StoreFault> {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&channel.to_be_bytes());
    for round in 0..rounds {
        let mut value = vec![0x5a; value_bytes.max(4)];
        value[..4].copy_from_slice(&round.to_be_bytes());
        let ticket = journal.submit(vec![Row::put(Table::Channels, key, value)])?;
        let _kept = ticket.with(round).await?;
    }
    Ok(rounds)
}
