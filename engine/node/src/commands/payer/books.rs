//! How a payer's channels are shown.

use crate::commands::channels::short;
use crate::commands::pay::{count, note};
use crate::table::{Output, Table};
use crate::when::moment;
use alloy_primitives::Address;
use serde_json::{Value, json};
use weir_client::{ChannelRecord, FoundChannel, PaymentRecord, Stage};
use weir_core::UnixSeconds;
use weir_till::{Clock, SystemClock};

fn stage(record: &ChannelRecord) -> &'static str {
    match record.stage {
        _ if record.stopped => "stopped",
        Stage::Opening if record.deposit_open_until().is_some() => "signed",
        Stage::Opening => "opening",
        Stage::Mined => "mined",
        Stage::Live => "live",
        Stage::Closing => "closing",
        Stage::Closed => "closed",
    }
}

pub(super) fn print_books(books: &[ChannelRecord], payer: Address, output: Output) {
    if output.json {
        return output.json(&books.iter().map(record_json).collect::<Vec<_>>());
    }
    if books.is_empty() {
        note(&format!(
            "the books hold no channel of {payer}; `weir payer recover` looks for them on the chain"
        ));
        return;
    }
    output.text(&books_table(books).to_string());
}

fn books_table(books: &[ChannelRecord]) -> Table {
    let mut table = Table::new(&[
        "channel", "stage", "server", "paid to", ">deposit", ">signed", ">spent",
    ]);
    for record in books {
        table.row([
            short(&record.channel.to_string()),
            stage(record).to_owned(),
            record.origin.clone().unwrap_or_default(),
            short(&record.terms.payee.to_string()),
            record.deposit.to_string(),
            record.signed.to_string(),
            record.spent.to_string(),
        ]);
    }
    table
}

fn record_json(record: &ChannelRecord) -> Value {
    json!({
        "channel": record.channel.to_string(),
        "stage": stage(record),
        "origin": record.origin,
        "chain_id": record.chain_id,
        "escrow": record.escrow,
        "payee": record.terms.payee,
        "token": record.terms.token,
        "deposit": record.deposit,
        "signed": record.signed,
        "agreed": record.agreed,
        "spent": record.spent,
        // Until then the server may lock a deposit that was signed for and is not known to be locked.
        "deposit_open_until": record.deposit_open_until(),
    })
}

/// Payments for single answers that were not read.
pub(super) fn print_payments(payments: &[PaymentRecord], output: Output) {
    if output.json {
        return output.json(&payments.iter().map(payment_json).collect::<Vec<_>>());
    }
    if payments.is_empty() {
        return note("every answer that was paid for at once has been read");
    }
    output.text(&payments_table(payments).to_string());
}

fn payments_table(payments: &[PaymentRecord]) -> Table {
    let mut table = Table::new(&["transaction", "for", "paid to", ">amount"]);
    for payment in payments {
        table.row([
            payment.transaction.hash.to_string(),
            payment.place.clone(),
            short(&payment.recipient.to_string()),
            payment.amount.to_string(),
        ]);
    }
    table
}

fn payment_json(payment: &PaymentRecord) -> Value {
    json!({
        "transaction": payment.transaction.hash,
        "place": payment.place,
        "chain_id": payment.chain_id,
        "token": payment.token,
        "recipient": payment.recipient,
        "amount": payment.amount,
        // In no block before then, it never pays.
        "valid_before": payment.transaction.valid_before.0,
    })
}

pub(super) fn print_found(found: &[FoundChannel], output: Output) {
    if found.is_empty() {
        return note("no channel of this key was found; try an earlier --from-block, or another --escrow");
    }
    // Whole ids: the books may not know them, so nothing shorter would do for the next command.
    let mut table = Table::new(&["channel", "paid to", ">held", "books", "state"]);
    for channel in found {
        table.row([
            channel.channel.to_string(),
            short(&channel.terms.payee.to_string()),
            channel.held().to_string(),
            if channel.in_books { "yes" } else { "no" }.to_owned(),
            found_state(channel),
        ]);
    }
    output.text(&table.to_string());
    let open = found.iter().filter(|channel| !channel.state.finalized).count() as u64;
    note(&format!(
        "{}, {open} of them open",
        count(found.len() as u64, "channel")
    ));
}

fn found_state(channel: &FoundChannel) -> String {
    match channel.ready_at {
        _ if channel.state.finalized => "closed".to_owned(),
        None => "open".to_owned(),
        Some(ready_at) => format!("closing, {}", from(ready_at)),
    }
}

pub(super) fn found_json(channel: &FoundChannel) -> Value {
    json!({
        "channel": channel.channel.to_string(),
        "escrow": channel.escrow,
        "payee": channel.terms.payee,
        "token": channel.terms.token,
        "deposit": channel.state.deposit,
        "settled": channel.state.settled,
        "held": channel.held(),
        "finalized": channel.state.finalized,
        "ready_at": channel.ready_at,
        "opened_at_block": channel.opened_at_block,
        "in_books": channel.in_books,
    })
}

/// From when on something can be done: `now`, or `from 2026-11-21T13:00:00Z (in 14 min) on`.
pub(super) fn from(ready_at: u64) -> String {
    let (ready_at, now) = (UnixSeconds(ready_at), SystemClock.now());
    if ready_at <= now {
        return "now".to_owned();
    }
    format!("from {} on", moment(ready_at, now))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use alloy_primitives::B256;
    use weir_core::{ChannelId, Cumulative, Terms};

    pub(in crate::commands::payer) fn record(byte: u8, stage: Stage) -> ChannelRecord {
        let terms = Terms {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            token: Address::repeat_byte(3),
            authorized_signer: Address::ZERO,
            reserve: None,
        };
        let mut record = ChannelRecord::planned(
            ChannelId(B256::repeat_byte(byte)),
            31337,
            Address::repeat_byte(4),
            terms,
            Cumulative::new(5000),
        );
        record.stage = stage;
        record.origin = Some("https://api.example".to_owned());
        record.signed = Cumulative::new(300);
        record.spent = Cumulative::new(200);
        record
    }

    #[test]
    fn the_books_are_a_table_with_short_ids() {
        let mut stopped = record(0xcd, Stage::Live);
        stopped.stopped = true;
        let table = books_table(&[record(0xab, Stage::Live), stopped]).to_string();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[2],
            [
                "0xabababab…",
                "live",
                "https://api.example",
                "0x02020202…",
                "5000",
                "300",
                "200"
            ]
        );
        assert_eq!(rows[3][1], "stopped");
    }

    #[test]
    fn a_moment_to_come_is_a_date_and_a_wait() {
        assert_eq!(from(1_700_000_000), "now");
        let far = from(4_102_444_800);
        assert!(far.starts_with("from 2100-01-01T00:00:00Z (in "), "{far}");
        assert!(far.ends_with(" d) on"), "{far}");
    }
}
