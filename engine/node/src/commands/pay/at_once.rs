//! What a run paid for at once, and how it is told.

use serde_json::{Value, json};
use weir_client::{ChargePaid, Cost, PaymentRecord};

/// Answers that were paid for at once, each by a payment of its own.
#[derive(Debug, Default)]
pub(super) struct AtOnce {
    paid: Vec<(ChargePaid, Cost)>,
    /// Payments for answers that never came.
    pub(super) open: Vec<PaymentRecord>,
}

impl AtOnce {
    pub(super) fn add(&mut self, paid: ChargePaid, cost: Cost) {
        self.paid.push((paid, cost));
    }

    pub(super) fn join(&mut self, other: Self) {
        self.paid.extend(other.paid);
        self.open.extend(other.open);
    }

    /// What the payments that are open may have cost.
    pub(super) fn open_cost(&self) -> Cost {
        let uncertain = |payment: &PaymentRecord| Cost {
            uncertain: payment.amount,
            ..Cost::default()
        };
        self.open.iter().map(uncertain).fold(Cost::default(), Cost::and)
    }

    /// A line for each answer, and for each payment whose answer never came.
    pub(super) fn lines(&self) -> Vec<String> {
        let paid = self.paid.iter().map(|(paid, cost)| line(paid, cost));
        let open = self.open.iter().map(|payment| {
            let (amount, hash) = (payment.amount, payment.transaction.hash);
            format!(
                "{amount} may have been paid at once · transaction {hash} · the same request again finds out"
            )
        });
        paid.chain(open).collect()
    }
}

fn line(paid: &ChargePaid, cost: &Cost) -> String {
    let Some(hash) = paid.transaction else {
        return "nothing was charged: the answer wanted a proof of who asks".to_owned();
    };
    let amount = match (cost.charged.is_zero(), cost.uncertain.is_zero()) {
        (false, _) => format!("paid {}", cost.charged),
        (true, false) => format!("up to {} may have been paid", cost.uncertain),
        (true, true) => return "nothing was charged".to_owned(),
    };
    let earlier = if paid.earlier {
        " · by an earlier request, whose answer was lost"
    } else {
        ""
    };
    let told = if paid.receipt.is_some() {
        ""
    } else {
        " · without a receipt"
    };
    format!(
        "{amount} at once to {} · transaction {hash}{told}{earlier}",
        paid.recipient
    )
}

/// The same for machines.
pub(super) fn payment_json(paid: &ChargePaid) -> Value {
    json!({
        "chain_id": paid.chain_id,
        "token": paid.token,
        "recipient": paid.recipient,
        "amount": paid.amount,
        "transaction": paid.transaction,
        "earlier": paid.earlier,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256};
    use weir_core::Amount;

    #[test]
    fn the_bill_tells_what_was_paid_at_once_and_what_nobody_knows() {
        let paid = |transaction, earlier| ChargePaid {
            chain_id: 1,
            token: Address::repeat_byte(3),
            recipient: Address::repeat_byte(2),
            amount: Amount::new(100),
            transaction,
            earlier,
            receipt: None,
        };
        let (amount, none) = (Amount::new(100), Amount::ZERO);
        let cost = |charged, uncertain| Cost {
            charged,
            uncertain,
            ..Cost::default()
        };
        let hash = Some(B256::repeat_byte(7));
        let mut bill = AtOnce::default();
        bill.add(paid(hash, false), cost(amount, none));
        bill.add(paid(hash, true), cost(none, amount));
        bill.add(paid(hash, false), cost(none, none));
        bill.add(paid(None, false), cost(none, none));
        let lines = bill.lines();
        assert!(lines[0].starts_with("paid 100 at once to 0x0202"), "{lines:?}");
        assert!(lines[0].contains("transaction 0x0707"), "{lines:?}");
        assert!(lines[1].starts_with("up to 100 may have been paid"), "{lines:?}");
        assert!(lines[1].contains("earlier request"), "{lines:?}");
        assert_eq!(lines[2], "nothing was charged");
        assert!(lines[3].contains("a proof"), "{lines:?}");
    }
}
