//! Payers: their keys, and what they do at the till.

use crate::ledger::Stage;
use crate::operator::{Operator, SharedWorld};
use crate::support::Payer as Keys;
use alloy_primitives::{Address, B256};
use std::time::Duration;
use tokio::time::sleep;
use weir_core::{ChannelId, Claimed, Refusal, UnixSeconds, Voucher};
use weir_protocol::rails;
use weir_till::{Delivery, Evidence, No, Order, Paid, Sale, Till};

/// A payer, and what it has done with its one channel.
pub(crate) struct Payer {
    pub(crate) keys: Keys,
    pub(crate) opened_by: Option<B256>,
    /// The highest total signed.
    pub(crate) signed: u128,
    pub(crate) leaving: bool,
    /// Credentials that have bought, as acknowledged.
    pub(crate) next_credential: u64,
}

impl Payer {
    pub(crate) fn new(number: u8) -> Self {
        // Two tokens, so that batches differ.
        let token = Address::repeat_byte(0x70 + number % 2);
        Self {
            keys: Keys::with_token(number, token),
            opened_by: None,
            signed: 0,
            leaving: false,
            next_credential: 0,
        }
    }

    /// What a purchase is for. Its credential outlives the story.
    pub(crate) fn order(&self, price: u128, credential: u64) -> Order {
        let mut order = self.keys.order(price, credential);
        if let Some(used) = &mut order.credential {
            used.expires = UnixSeconds(crate::NOW + 1_000_000);
        }
        order
    }
}

/// What becomes of a sale.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delivered {
    Whole,
    Cut,
    GoneAway,
    Released,
    Dropped,
}

/// One purchase, drawn before it starts.
pub(crate) struct Purchase {
    pub(crate) world: SharedWorld,
    pub(crate) till: Till,
    pub(crate) voucher: Voucher<Claimed>,
    pub(crate) order: Order,
    pub(crate) number: u64,
    pub(crate) delivered: Delivered,
    pub(crate) takes: Duration,
}

impl Purchase {
    fn stage(&self, stage: Stage) {
        let id = self.voucher.channel();
        self.world.lock().unwrap().ledger.stage(id, self.number, stage);
    }

    fn forget(&self) {
        let id = self.voucher.channel();
        self.world.lock().unwrap().ledger.forget(id, self.number);
    }

    /// Pays, delivers and replays the credential, telling the ledger before each ask and after each answer.
    pub(crate) async fn run(self) {
        match self.till.pay(self.voucher, self.order).await {
            Ok(Paid::Sale(sale, answer)) => {
                self.stage(Stage::Reserved);
                self.world
                    .lock()
                    .unwrap()
                    .ledger
                    .acknowledged(&answer.get().channel);
                self.replay().await;
                sleep(self.takes).await;
                self.deliver(sale).await;
            }
            Ok(Paid::Short { answer, .. } | Paid::Accepted(answer)) => {
                self.forget();
                self.world
                    .lock()
                    .unwrap()
                    .ledger
                    .acknowledged(&answer.get().channel);
            }
            // No request here has a key.
            Ok(Paid::Kept(..) | Paid::Owed(..)) => self.forget(),
            // Poisoned: what was written is not known before the restart.
            Err(No::Books(_)) => {}
            Err(_) => self.forget(),
        }
    }

    async fn replay(&self) {
        let again = self.till.pay(self.voucher, self.order).await;
        if let Ok(Paid::Sale(..)) = again {
            let bought_twice = Err("CH-6: one credential has bought twice".to_owned());
            self.world.lock().unwrap().hold::<()>(bought_twice);
        }
    }

    async fn deliver(&self, sale: Sale) {
        match self.delivered {
            Delivered::Released => {
                self.stage(Stage::Releasing);
                if sale.release().await.is_ok() {
                    self.forget();
                }
            }
            Delivered::Dropped => {
                self.stage(Stage::Releasing);
                drop(sale);
            }
            Delivered::Whole | Delivered::Cut | Delivered::GoneAway => {
                self.stage(Stage::Committing);
                if let Ok((answer, delivery)) = sale.commit().await {
                    self.stage(Stage::Committed);
                    self.world
                        .lock()
                        .unwrap()
                        .ledger
                        .acknowledged(&answer.get().channel);
                    sleep(self.takes).await;
                    self.end(delivery);
                }
            }
        }
    }

    fn end(&self, delivery: Delivery) {
        match self.delivered {
            Delivered::Cut => {
                self.stage(Stage::Crediting);
                delivery.fail();
            }
            Delivered::GoneAway => {
                self.stage(Stage::Finishing);
                drop(delivery);
            }
            _ => {
                self.stage(Stage::Finishing);
                delivery.finish();
            }
        }
    }
}

/// Points the till at an opening, as the gateway does once a rail has judged it.
pub(crate) async fn introduce(till: Till, operator: &Operator, channel: ChannelId, tx_hash: B256) {
    let Ok(sight) = operator
        .look(rails::Evidence::OpenedBy { tx_hash, channel })
        .await
    else {
        return;
    };
    let (rails::Seen::Open(_), Some(adoption)) = (sight.seen, sight.adoption) else {
        return;
    };
    let deposit = adoption
        .seen
        .deposit
        .min(adoption.last_final.deposit)
        .base_units();
    {
        let mut world = operator.world.lock().unwrap();
        let account = world.ledger.account(channel);
        account.deposit = account.deposit.max(deposit);
        account.left |= adoption.seen.close_requested_at.is_some();
    }
    let _ = till.introduce(adoption).await;
}

/// Asks the till for a close with a voucher over everything signed.
pub(crate) async fn close(world: SharedWorld, till: Till, voucher: Voucher<Claimed>) {
    world.lock().unwrap().ledger.account(voucher.channel()).left = true;
    match till.begin_close(voucher).await {
        Ok(answer) => world.lock().unwrap().ledger.acknowledged(&answer.get().channel),
        Err(No::Refused(
            Refusal::ChannelNotFound | Refusal::ChannelFinalized | Refusal::ExceedsDeposit { .. },
        ))
        | Err(No::Books(_)) => {}
        Err(no) => world
            .lock()
            .unwrap()
            .hold::<()>(Err(format!("a close was refused: {no}"))),
    }
}
