//! What a run has paid, and how it is told.

use super::at_once::{AtOnce, payment_json};
use super::{count, note};
use crate::commands::channels::short;
use crate::commands::payer::Again;
use crate::table::Output;
use alloy_primitives::{Address, hex};
use core::time::Duration;
use reqwest::StatusCode;
use serde_json::{Value, json};
use weir_client::{ChannelRecord, CloseOutcome, Cost, PaidStream, Payer, PaymentRecord, Wait};
use weir_core::{ChannelId, Cumulative};
use weir_protocol::SessionReceipt;

/// What a run has paid.
#[derive(Debug, Default)]
pub(super) struct Bill {
    answers: u64,
    cost: Cost,
    pub(super) channel: Option<ChannelId>,
    at_once: AtOnce,
}

/// What is on the disk before a request.
#[derive(Debug)]
pub(super) struct Before {
    channels: Vec<ChannelRecord>,
    payments: Vec<PaymentRecord>,
}

impl Before {
    pub(super) fn of(payer: &Payer) -> Self {
        Self {
            channels: payer.channels(),
            payments: payer.payments(),
        }
    }
}

impl Bill {
    /// Adds an answer, also one that broke off.
    pub(super) fn add(&mut self, answer: &PaidStream) {
        if let Some(paid) = answer.charge() {
            return self.at_once.add(paid.clone(), answer.cost());
        }
        self.answers += 1;
        self.cost = self.cost.and(answer.cost());
        self.channel = answer.channel().or(self.channel);
    }

    /// A request that was given up before its answer came: what it agreed to may have been charged.
    pub(super) fn unanswered(before: &Before, payer: &Payer) -> Self {
        let mut bill = Self::default();
        let payments = payer.payments();
        let new = payments
            .into_iter()
            .filter(|payment| !before.payments.contains(payment));
        bill.at_once.open.extend(new);
        for record in payer.channels() {
            let old = before.channels.iter().find(|old| old.channel == record.channel);
            let agreed = old.map_or(Cumulative::ZERO, |old| old.agreed);
            match record.agreed.since(agreed) {
                Some(more) if !more.is_zero() => {
                    bill.channel = Some(record.channel);
                    bill.cost.uncertain = more;
                }
                _ => {}
            }
        }
        bill
    }

    /// Both together.
    pub(super) fn join(&mut self, other: Self) {
        self.answers += other.answers;
        self.cost = self.cost.and(other.cost);
        self.channel = other.channel.or(self.channel);
        self.at_once.join(other.at_once);
    }

    /// Tells people what the run has paid.
    pub(super) fn print(&self, payer: &Payer, output: Output) {
        if output.json {
            return;
        }
        self.at_once.lines().iter().for_each(|line| note(line));
        if self.answers == 0 && self.cost == Cost::default() {
            return;
        }
        let known = payer.channels();
        let record = known.iter().find(|record| Some(record.channel) == self.channel);
        self.lines(record).iter().for_each(|line| note(line));
    }

    /// One statement: what receipts say was charged, then what they said of earlier runs, then what none tells of yet.
    fn lines(&self, record: Option<&ChannelRecord>) -> Vec<String> {
        let Some(record) = record else {
            return vec!["nothing was charged".to_owned()];
        };
        let Cost {
            charged,
            units,
            earlier,
            uncertain,
        } = self.cost;
        let place = format!(
            "to {} · channel {} · {} of {} used",
            record.terms.payee,
            short(&record.channel.to_string()),
            record.spent,
            record.deposit,
        );
        let mut lines = Vec::new();
        if !charged.is_zero() {
            let answers = count(self.answers, "answer");
            let what = if units == self.answers {
                answers
            } else {
                format!("{} in {answers}", count(units, "unit"))
            };
            lines.push(format!("paid {charged} for {what} {place}"));
        } else if uncertain.is_zero() {
            lines.push("nothing was charged".to_owned());
        } else {
            lines.push(format!("no receipt tells of a payment {place}"));
        }
        if !earlier.is_zero() {
            lines.push(format!(
                "{earlier} more were charged for earlier requests whose answers were lost"
            ));
        }
        if !uncertain.is_zero() {
            let more = if charged.is_zero() { "" } else { " more" };
            lines.push(format!(
                "up to {uncertain}{more} may have been charged; the next receipt tells"
            ));
        }
        lines
    }
}

/// Tells people why a purchase takes longer.
pub(super) fn tell_wait(wait: &Wait<'_>) {
    let (why, left) = (wait.why, seconds(wait.left));
    match wait.pause {
        None => note(&format!("{why}, which may take another {left}")),
        // What comes again at once is not worth a line.
        Some(pause) if pause < Duration::from_millis(500) => {}
        Some(pause) => {
            let until = match wait.tries {
                Some(1) => "for the last time".to_owned(),
                Some(tries) => format!("{tries} times at most"),
                None => format!("for another {left} at most (--max-wait)"),
            };
            note(&format!("{why}; trying again in {}, {until}", seconds(pause)));
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis().div_ceil(1000))
}

pub(super) fn refusal(status: StatusCode) -> String {
    match status {
        StatusCode::PAYMENT_REQUIRED => {
            "the server wants a payment and did not take this one; its answer says why".to_owned()
        }
        status => format!("the server answered {status}"),
    }
}

fn receipt_json(receipt: Option<&SessionReceipt>) -> Value {
    parsed(receipt.and_then(|receipt| receipt.to_json().ok()))
}

fn parsed(spelled: Option<String>) -> Value {
    spelled
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null)
}

/// An answer for machines; `complete` is false when it broke off.
pub(super) fn answer_json(answer: &PaidStream, body: &[u8], complete: bool) -> Value {
    let parts = (Some(answer.status()), answer.receipt());
    let mut object = document(parts, answer.cost(), (body, complete));
    if let Some(paid) = answer.charge() {
        object["payment"] = payment_json(paid);
        let receipt = paid.receipt.as_ref();
        object["receipt"] = parsed(receipt.and_then(|receipt| receipt.to_json().ok()));
    }
    object
}

/// What machines are told of a request that was given up before its answer came.
pub(super) fn unanswered_json(bill: &Bill) -> Value {
    document(
        (None, None),
        bill.cost.and(bill.at_once.open_cost()),
        (&[], false),
    )
}

fn document(
    (status, receipt): (Option<StatusCode>, Option<&SessionReceipt>),
    cost: Cost,
    (body, complete): (&[u8], bool),
) -> Value {
    let mut object = json!({
        "status": status.map(|status| status.as_u16()),
        "complete": complete,
        "charged": cost.charged,
        "units": cost.units,
        "charged_for_earlier": cost.earlier,
        "perhaps_charged": cost.uncertain,
        "receipt": receipt_json(receipt),
    });
    let (key, body) = match str::from_utf8(body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_hex", hex::encode_prefixed(body)),
    };
    object[key] = Value::String(body);
    object
}

/// What a close brought, for people and for machines.
pub(in crate::commands) fn print_closed(closed: &CloseOutcome, again: &Again, output: Output) {
    if output.json {
        return output.json(&json!({
            "closed": closed.channel.to_string(),
            "captured": closed.captured,
            "refunded": closed.refunded,
            "credited": closed.credited,
            "tx_hash": closed.tx_hash,
            "receipt": receipt_json(closed.receipt.as_ref()),
        }));
    }
    let transaction = closed.tx_hash.map(|hash| format!(" · transaction {hash}"));
    note(&format!(
        "closed channel {} · the server got {} · {} came back{}{}",
        short(&closed.channel.to_string()),
        closed.captured,
        closed.refunded,
        transaction.unwrap_or_default(),
        credit_hint(closed.credited, closed.token, again),
    ));
}

/// What to do about a refund that the token refused.
pub(in crate::commands) fn credit_hint(credited: bool, token: Address, again: &Again) -> String {
    if !credited {
        return String::new();
    }
    format!(
        "\nthe token refused the transfer, so the escrow keeps the refund for you; run: {}",
        again.payer(format_args!("collect-refund --token {token}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use weir_core::{Amount, Terms};

    fn receipt() -> SessionReceipt {
        SessionReceipt {
            method: "evm".to_owned(),
            timestamp: weir_core::UnixSeconds(1_800_000_000),
            challenge_id: "c".to_owned(),
            channel: ChannelId(B256::repeat_byte(7)),
            accepted: Cumulative::new(300),
            spent: Cumulative::new(300),
            chain_id: Some(31337),
            units: None,
            tx_hash: None,
            confirmations: None,
        }
    }

    fn cost(charged: u128, units: u64) -> Cost {
        Cost {
            charged: Amount::new(charged),
            units,
            ..Cost::default()
        }
    }

    #[test]
    fn an_answers_json_has_status_receipt_and_body() {
        let text = document(
            (Some(StatusCode::OK), Some(&receipt())),
            cost(200, 2),
            (b"hello", true),
        );
        assert_eq!(text["status"], 200);
        assert_eq!((&text["charged"], &text["units"]), (&json!("200"), &json!(2)));
        assert_eq!(
            (&text["body"], &text["complete"]),
            (&json!("hello"), &json!(true))
        );
        assert_eq!(text["receipt"]["spent"], "300");
        let odd = document((Some(StatusCode::OK), None), Cost::default(), (&[0xff], false));
        assert_eq!(
            (&odd["body_hex"], &odd["complete"]),
            (&json!("0xff"), &json!(false))
        );
        assert_eq!(odd["receipt"], Value::Null);
    }

    #[test]
    fn the_bill_says_units_and_what_is_not_known_yet() {
        let terms = Terms {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            token: Address::repeat_byte(3),
            authorized_signer: Address::ZERO,
            reserve: None,
        };
        let id = ChannelId(B256::repeat_byte(7));
        let record = ChannelRecord::planned(id, 1, Address::ZERO, terms, Cumulative::new(5000));
        let said = |answers, cost| {
            let bill = Bill {
                answers,
                cost,
                channel: Some(id),
                ..Bill::default()
            };
            bill.lines(Some(&record))
        };
        assert!(said(1, cost(100, 1))[0].starts_with("paid 100 for 1 answer to 0x0202"));
        assert!(said(1, cost(6000, 60))[0].starts_with("paid 6000 for 60 units in 1 answer to"));
        assert!(said(2, cost(100, 1))[0].starts_with("paid 100 for 1 unit in 2 answers to"));
        let open = Cost {
            earlier: Amount::new(30),
            uncertain: Amount::new(40),
            ..cost(100, 1)
        };
        let lines = said(1, open);
        assert!(
            lines[1].starts_with("30 more were charged for earlier requests"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("up to 40 more may have been charged"),
            "{lines:?}"
        );
        // Nothing is said to be paid, or not to be charged, where nobody told.
        let unknown = Cost {
            uncertain: Amount::new(100),
            ..Cost::default()
        };
        let lines = said(1, unknown);
        assert!(
            lines[0].starts_with("no receipt tells of a payment to 0x0202"),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("up to 100 may have been charged"),
            "{lines:?}"
        );
        assert_eq!(said(1, Cost::default()), ["nothing was charged"]);
        assert_eq!(Bill::default().lines(None), ["nothing was charged"]);
    }
}
