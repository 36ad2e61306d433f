//! Payers: their keys, and what they do at the till.

use crate::ledger::Stage;
use crate::operator::{Operator, SharedWorld};
use alloy_primitives::{Address, B256, keccak256};
use k256::ecdsa::SigningKey;
use std::time::Duration;
use tokio::time::sleep;
use weir_core::step::{LowerVoucher, VoucherRules};
use weir_core::voucher::voucher_digest;
use weir_core::{
    Amount, ChannelId, Claimed, Cumulative, Domain, Refusal, Signature, Terms, UnixSeconds, Voucher,
};
use weir_protocol::{ChallengeTag, rails};
use weir_till::books::UsedCredential;
use weir_till::{ChargeOn, Delivery, Evidence, No, Order, Paid, Sale, Till};

/// A payer and its one channel.
pub(crate) struct Payer {
    key: SigningKey,
    domain: Domain,
    pub(crate) terms: Terms,
    pub(crate) salt: B256,
    pub(crate) channel: ChannelId,
    pub(crate) opened_by: Option<B256>,
    /// The highest total signed.
    pub(crate) signed: u128,
    pub(crate) leaving: bool,
    /// Credentials that have bought, as acknowledged.
    pub(crate) next_credential: u64,
}

impl Payer {
    pub(crate) fn new(number: u8, domain: &Domain) -> Self {
        let key = SigningKey::from_slice(&[number; 32]).unwrap();
        let public = key.verifying_key().to_sec1_point(false);
        let terms = Terms {
            payer: Address::from_slice(&keccak256(&public.as_bytes()[1..])[12..]),
            payee: Address::repeat_byte(0xaa),
            // Two tokens, so that batches differ.
            token: Address::repeat_byte(0x70 + number % 2),
            authorized_signer: Address::ZERO,
        };
        let salt = B256::repeat_byte(number);
        let channel = terms.channel_id(salt, domain);
        Self {
            key,
            domain: domain.clone(),
            terms,
            salt,
            channel,
            opened_by: None,
            signed: 0,
            leaving: false,
            next_credential: 0,
        }
    }

    pub(crate) fn voucher(&self, cumulative: u128) -> Voucher<Claimed> {
        let cumulative = Cumulative::new(cumulative);
        let digest = voucher_digest(&self.domain, self.channel, cumulative);
        let (signature, id) = self.key.sign_prehash_recoverable(digest.as_slice());
        let bytes = [signature.to_bytes().as_slice(), &[27 + id.to_byte()]].concat();
        Voucher::claimed(self.channel, cumulative, Signature::from_bytes(&bytes).unwrap())
    }

    pub(crate) fn order(&self, price: u128, credential: u64) -> Order {
        let mut tag = [0; 32];
        tag[..8].copy_from_slice(&credential.to_be_bytes());
        Order {
            price: Some(Amount::new(price)),
            rules: VoucherRules {
                delta_min: Amount::ZERO,
                lower: LowerVoucher::Unchanged,
            },
            credential: Some(UsedCredential {
                expires: UnixSeconds(crate::NOW + 1_000_000),
                channel: self.channel,
                tag: ChallengeTag(tag),
            }),
            charge_on: ChargeOn::Success,
        }
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
