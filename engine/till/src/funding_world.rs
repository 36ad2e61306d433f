//! A gas key that tells what it was asked, and a till before it.

use super::super::*;
use crate::clock::Clock;
use crate::freshness::Budget;
use crate::till::TillConfig;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use async_trait::async_trait;
use k256::ecdsa::SigningKey;
use weir_chain::{Call, Envelope, Landed, Outcome, Permit2};
use weir_core::pull::{Leave, Pull};
use weir_core::{Cumulative, Domain, Signature, Terms};
use weir_protocol::ChallengeTag;
use weir_store::memory::{self, Image};
use weir_store::{Birth, Journal};

pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const BIRTH: Birth = Birth {
    unix_seconds: NOW,
    id: [7; 16],
};
pub(super) const ESCROW: Address = Address::repeat_byte(0xee);
pub(super) const TOKEN: Address = Address::repeat_byte(0x70);
pub(super) const SEPARATOR: B256 = B256::repeat_byte(0xd0);
pub(super) const CONFIG: FundingConfig = FundingConfig {
    deposit_min: Amount::new(100),
    fee_max: 1_000,
    gas_per_hour_max: 4_000_000,
    finality_blocks: 2,
};

#[derive(Debug)]
pub(super) struct TestClock(pub(super) AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// A chain as the gas key shows it, and what was sent to it.
#[derive(Default)]
pub(super) struct World {
    pub(super) journal: Option<Arc<dyn Journal>>,
    pub(super) channel: Option<u128>,
    pub(super) used_up: bool,
    pub(super) payer_has_code: bool,
    pub(super) would_revert: bool,
    pub(super) fee: u128,
    pub(super) gas_balance: u128,
    pub(super) address: Address,
    pub(super) nonces: u64,
    /// Every envelope that was sent, in order.
    pub(super) sent: Vec<Envelope>,
    /// Whether each stood in the books when it was sent.
    pub(super) written_first: bool,
    /// What a broadcast is answered with: false when the nonce is taken.
    pub(super) answer: Option<Result<bool, ChainTrouble>>,
    pub(super) outcome: Option<Outcome>,
    pub(super) height: u64,
    /// How often the chain was asked what bears on a pull.
    pub(super) asked: usize,
}

#[derive(Clone)]
pub(super) struct TestGas(Arc<Mutex<World>>);

impl TestGas {
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    pub(super) fn envelope(nonce: u64, fee: u128) -> Envelope {
        Envelope {
            nonce,
            hash: keccak256([nonce.to_be_bytes().as_slice(), &fee.to_be_bytes()].concat()),
            raw: Bytes::new(),
            gas_limit: 200_000,
            max_fee_per_gas: fee,
            to: Some(ESCROW),
        }
    }
}

#[async_trait]
impl Gas for TestGas {
    fn address(&self) -> Address {
        self.with(|world| world.address)
    }

    async fn situation(&self, _: &Pull, _: ChannelId) -> Result<Situation, ChainTrouble> {
        Ok(self.with(|world| {
            world.asked += 1;
            Situation {
                head: UnixSeconds(NOW),
                channel: world.channel.map(|deposit| weir_core::ChainState {
                    deposit: Cumulative::new(deposit),
                    settled: Cumulative::ZERO,
                    close_requested_at: None,
                    finalized: false,
                }),
                is_used_up: world.used_up,
                payer_has_code: world.payer_has_code,
                payer_balance: Amount::new(10_000),
                gas_balance: world.gas_balance,
            }
        }))
    }

    async fn balance(&self) -> Result<u128, ChainTrouble> {
        Ok(self.with(|world| world.gas_balance))
    }

    async fn price(&self, call: &Call) -> Result<Priced, ChainTrouble> {
        Ok(self.with(|world| {
            if world.would_revert {
                return Priced::WouldRevert("TransferFailed".to_owned());
            }
            Priced::At(Quote {
                call: call.clone(),
                gas_limit: 200_000,
                max_fee_per_gas: world.fee,
                max_priority_fee_per_gas: 1,
            })
        }))
    }

    async fn sign(&self, quote: &Quote) -> Result<Envelope, ChainTrouble> {
        Ok(self.with(|world| {
            world.nonces += 1;
            Self::envelope(world.nonces - 1, quote.max_fee_per_gas)
        }))
    }

    async fn bump(&self, stuck: &Envelope) -> Result<Envelope, ChainTrouble> {
        Ok(Self::envelope(stuck.nonce, stuck.max_fee_per_gas * 2))
    }

    async fn broadcast(&self, envelope: &Envelope) -> Result<bool, ChainTrouble> {
        let journal = self.with(|world| world.journal.clone()).unwrap();
        let written = read_records(&*journal).unwrap();
        let written = written
            .iter()
            .any(|record| record.envelopes.last() == Some(envelope) && record.challenge == credential(0).tag);
        self.with(|world| {
            world.written_first = written;
            world.sent.push(envelope.clone());
            world.answer.clone().unwrap_or(Ok(true))
        })
    }

    async fn outcome(&self, _: B256) -> Result<Outcome, ChainTrouble> {
        Ok(self.with(|world| world.outcome.clone().unwrap_or(Outcome::Pending)))
    }

    async fn height(&self) -> Result<u64, ChainTrouble> {
        Ok(self.with(|world| world.height))
    }

    fn remember(&self, nonce: u64) {
        self.with(|world| world.nonces = world.nonces.max(nonce + 1));
    }
}

pub(super) fn landed(success: bool) -> Outcome {
    Outcome::Landed(Landed {
        success,
        block_number: 10,
        block_hash: B256::ZERO,
        gas_used: 150_000,
        gas_price: 1,
        logs: Vec::new(),
        contract: None,
    })
}

pub(super) fn credential(channel: u8) -> UsedCredential {
    UsedCredential {
        expires: UnixSeconds(NOW + 300),
        channel: ChannelId(B256::repeat_byte(channel)),
        tag: ChallengeTag([5; 32]),
    }
}

/// An open, signed by the payer of this number.
pub(super) fn signed(payer: u8, salt: u8, change: impl FnOnce(&mut Pull)) -> SignedPull {
    let key = SigningKey::from_slice(&[payer; 32]).unwrap();
    let point = key.verifying_key().to_sec1_point(false);
    let from = Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..]);
    let terms = Terms {
        payer: from,
        payee: Address::repeat_byte(0xbb),
        token: TOKEN,
        authorized_signer: Address::ZERO,
        reserve: None,
    };
    let mut pull = Pull {
        from,
        amount: Amount::new(1_000),
        purpose: Purpose::Open {
            terms,
            salt: B256::repeat_byte(salt),
        },
        leave: Leave::Eip3009 {
            valid_after: U256::ZERO,
            valid_before: U256::from(NOW + 600),
        },
    };
    change(&mut pull);
    let separator = if matches!(pull.leave, Leave::Eip3009 { .. }) {
        SEPARATOR
    } else {
        B256::repeat_byte(0xd2)
    };
    let digest = pull.digest(separator, ESCROW);
    let (ecdsa, id) = key.sign_prehash_recoverable(digest.as_slice());
    let mut bytes = [0u8; 65];
    bytes[..64].copy_from_slice(&ecdsa.to_bytes());
    bytes[64] = 27 + id.to_byte();
    let signature = Signature::from_bytes(&bytes).unwrap();
    SignedPull { pull, signature }
}

pub(super) struct Bench {
    pub(super) funding: Funding,
    pub(super) gas: TestGas,
    pub(super) clock: Arc<TestClock>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) _stop: watch::Sender<bool>,
}

impl Bench {
    pub(super) async fn over(journal: Arc<dyn Journal>) -> Self {
        Self::with_key(journal, Address::repeat_byte(9)).await
    }

    /// Pays from this account.
    pub(super) async fn with_key(journal: Arc<dyn Journal>, address: Address) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(NOW)));
        let config = TillConfig {
            domain: Domain::new("EVM Payment Channel", 1, ESCROW),
            budget: Budget {
                view_age_seconds_max: 60,
            },
            vouchers_per_second: 10,
        };
        let (till, _) = Till::open(config, Arc::clone(&journal), clock.clone())
            .await
            .unwrap();
        let gas = TestGas(Arc::new(Mutex::new(World {
            journal: Some(Arc::clone(&journal)),
            address,
            fee: 100,
            gas_balance: u128::MAX,
            height: 10,
            ..World::default()
        })));
        let paths = PullPaths {
            eip3009: Some(SEPARATOR),
            permit2: Some(Permit2 {
                address: Address::repeat_byte(0x22),
                separator: B256::repeat_byte(0xd2),
            }),
        };
        let (funding, funder) = Funding::open(&till, Arc::new(gas.clone()), paths, CONFIG).unwrap();
        let stop = watch::Sender::new(false);
        tokio::spawn(funder.run(stop.subscribe()));
        Self {
            funding,
            gas,
            clock,
            journal,
            _stop: stop,
        }
    }

    pub(super) async fn new() -> Self {
        Self::over(memory::open(&Image::default(), BIRTH).unwrap()).await
    }

    pub(super) async fn submit(&self, signed: &SignedPull, channel: u8) -> Result<(), FundNo> {
        self.funding.submit(order(signed, channel)).await
    }

    pub(super) fn sent(&self) -> Vec<u64> {
        self.gas
            .with(|world| world.sent.iter().map(|envelope| envelope.nonce).collect())
    }
}

pub(super) fn order(signed: &SignedPull, channel: u8) -> PullOrder<'_> {
    PullOrder {
        signed,
        credential: credential(channel),
    }
}
