//! A payer, a clock, a chain, and a till over whatever journal a test brings.
#![allow(dead_code, reason = "each test target uses its part")]

pub(crate) mod running;
pub(crate) mod script;

use alloy_primitives::{Address, B256, keccak256};
use k256::ecdsa::SigningKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_core::step::{LowerVoucher, VoucherRules};
use weir_core::voucher::voucher_digest;
use weir_core::{
    Amount, ChainState, ChannelId, Claimed, Cumulative, Domain, Signature, Terms, UnixSeconds, Voucher,
};
use weir_protocol::ChallengeTag;
use weir_store::memory::{self, Image};
use weir_store::{Birth, Journal};
use weir_till::books::UsedCredential;
use weir_till::freshness::Budget;
use weir_till::{Adoption, ChargeOn, Clock, No, Order, Paid, Till, TillConfig};

pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const BIRTH: Birth = Birth {
    unix_seconds: NOW,
    id: [7; 16],
};

/// A clock that the test moves.
#[derive(Debug)]
pub(crate) struct TestClock(pub(crate) AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// A payer with a key and one channel.
#[derive(Clone)]
pub(crate) struct Payer {
    pub(crate) key: SigningKey,
    pub(crate) terms: Terms,
    pub(crate) salt: B256,
    pub(crate) channel: ChannelId,
    pub(crate) domain: Domain,
}

pub(crate) fn domain() -> Domain {
    Domain::new("EVM Payment Channel", 31337, Address::repeat_byte(0xe5))
}

impl Payer {
    pub(crate) fn new(seed: u8) -> Self {
        Self::with_token(seed, Address::repeat_byte(0x70))
    }

    pub(crate) fn with_token(seed: u8, token: Address) -> Self {
        let domain = domain();
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let public = key.verifying_key().to_sec1_point(false);
        let payer = Address::from_slice(&keccak256(&public.as_bytes()[1..])[12..]);
        let terms = Terms {
            payer,
            payee: Address::repeat_byte(0xaa),
            token,
            authorized_signer: Address::ZERO,
            reserve: None,
        };
        let salt = B256::repeat_byte(seed);
        let channel = terms.channel_id(salt, &domain);
        Self {
            key,
            terms,
            salt,
            channel,
            domain,
        }
    }

    pub(crate) fn voucher(&self, cumulative: u128) -> Voucher<Claimed> {
        let cumulative = Cumulative::new(cumulative);
        let digest = voucher_digest(&self.domain, self.channel, cumulative);
        let (signature, id) = self.key.sign_prehash_recoverable(digest.as_slice());
        let bytes = [signature.to_bytes().as_slice(), &[27 + id.to_byte()]].concat();
        Voucher::claimed(self.channel, cumulative, Signature::from_bytes(&bytes).unwrap())
    }

    pub(crate) fn adoption(&self, deposit: u128) -> Adoption {
        let state = ChainState {
            deposit: Cumulative::new(deposit),
            settled: Cumulative::ZERO,
            close_requested_at: None,
            finalized: false,
        };
        Adoption {
            id: self.channel,
            terms: self.terms.clone(),
            seen: state,
            last_final: state,
            drain_only: false,
        }
    }

    pub(crate) fn order(&self, price: u128, nonce: u64) -> Order {
        let mut tag = [0; 32];
        tag[..8].copy_from_slice(&nonce.to_be_bytes());
        Order {
            price: Some(Amount::new(price)),
            rules: VoucherRules {
                delta_min: Amount::ZERO,
                lower: LowerVoucher::Unchanged,
            },
            credential: Some(UsedCredential {
                expires: UnixSeconds(NOW + 300),
                channel: self.channel,
                tag: ChallengeTag(tag),
            }),
            charge_on: ChargeOn::Success,
            keyed: None,
        }
    }
}

pub(crate) async fn open_on(journal: Arc<dyn Journal>) -> (Till, Arc<TestClock>) {
    let clock = Arc::new(TestClock(AtomicU64::new(NOW)));
    let config = TillConfig {
        domain: domain(),
        budget: Budget {
            view_age_seconds_max: 60,
        },
        vouchers_per_second: 1_000_000,
    };
    let (till, _) = Till::open(config, journal, clock.clone()).await.unwrap();
    till.freshness().saw_block(UnixSeconds(NOW), UnixSeconds(NOW));
    (till, clock)
}

pub(crate) async fn fresh() -> (Till, Arc<TestClock>) {
    open_on(memory::open(&Image::default(), BIRTH).unwrap()).await
}

pub(crate) async fn buy(
    till: &Till,
    payer: &Payer,
    cumulative: u128,
    price: u128,
    nonce: u64,
) -> Result<Paid, No> {
    till.pay(payer.voucher(cumulative), payer.order(price, nonce))
        .await
}
