//! A gas key that tells what it was asked, and a till before it.

use super::super::*;
use crate::books::UsedCredential;
use crate::clock::Clock;
use crate::freshness::Budget;
use crate::till::TillConfig;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use async_trait::async_trait;
use k256::ecdsa::SigningKey;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_chain::{Call, Drawn, Envelope, Landed, Outcome, Permit2};
use weir_core::draw::Spelling;
use weir_core::pull::Purpose;
use weir_core::pull::{Leave, Pull};
use weir_core::{ChannelId, Cumulative, Domain, Draw, Signature, Terms};
use weir_protocol::ChallengeTag;
use weir_protocol::charge::SignedDraw;
use weir_protocol::rails::SignedPull;
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
    charge_min: Amount::new(10),
    fee_max: 1_000,
    gas_per_hour_max: 4_000_000,
    charge_gas_per_hour_max: 10_000_000,
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
    /// The same once what waits for a block is in one.
    pub(super) being_used_up: bool,
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
    /// What a broadcast is answered with.
    pub(super) answer: Option<Result<Posted, ChainTrouble>>,
    /// What used a payment's signature up, as the node tells it.
    pub(super) drawn: Option<Drawn>,
    pub(super) outcome: Option<Outcome>,
    pub(super) height: u64,
    /// How often the chain was asked what bears on a pull.
    pub(super) asked: usize,
    /// How often it was asked what became of a transaction.
    pub(super) lookups: usize,
}

#[derive(Clone)]
pub(super) struct TestGas(Arc<Mutex<World>>);

impl TestGas {
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn look(&self) -> Situation {
        self.with(|world| {
            world.asked += 1;
            Situation {
                head: UnixSeconds(NOW),
                height: world.height,
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
        })
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
        Ok(self.look())
    }

    async fn draw_situation(&self, _: &Draw) -> Result<Situation, ChainTrouble> {
        let mut situation = self.look();
        situation.channel = None;
        Ok(situation)
    }

    async fn is_being_drawn(&self, _: &Draw) -> Result<bool, ChainTrouble> {
        Ok(self.with(|world| world.being_used_up))
    }

    async fn drawn(&self, _: &Draw, _: UnixSeconds) -> Result<Drawn, ChainTrouble> {
        Ok(self.with(|world| world.drawn).unwrap_or(Drawn::Unknown))
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
        Ok(Envelope {
            to: stuck.to,
            ..Self::envelope(stuck.nonce, stuck.max_fee_per_gas * 2)
        })
    }

    async fn make_room(&self, stuck: &Envelope) -> Result<Envelope, ChainTrouble> {
        let to = Some(self.address());
        let fee = stuck.max_fee_per_gas * 2;
        Ok(Envelope {
            to,
            ..Self::envelope(stuck.nonce, fee)
        })
    }

    async fn broadcast(&self, envelope: &Envelope) -> Result<Posted, ChainTrouble> {
        let journal = self.with(|world| world.journal.clone()).unwrap();
        let written = read_records(&*journal).unwrap();
        let written = written
            .iter()
            .any(|record| record.envelopes.last() == Some(envelope) && record.challenge == credential(0).tag);
        self.with(|world| {
            world.written_first = written;
            world.sent.push(envelope.clone());
            world.answer.clone().unwrap_or(Ok(Posted::Taken))
        })
    }

    async fn outcome(&self, _: B256) -> Result<Outcome, ChainTrouble> {
        Ok(self.with(|world| {
            world.lookups += 1;
            world.outcome.clone().unwrap_or(Outcome::Pending)
        }))
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
        sender: Address::ZERO,
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
    let signature = sign(&key, pull.digest(separator, ESCROW));
    SignedPull { pull, signature }
}

fn sign(key: &SigningKey, digest: B256) -> Signature {
    let (ecdsa, id) = key.sign_prehash_recoverable(digest.as_slice());
    let mut bytes = [0u8; 65];
    bytes[..64].copy_from_slice(&ecdsa.to_bytes());
    bytes[64] = 27 + id.to_byte();
    Signature::from_bytes(&bytes).unwrap()
}

/// A payment, signed by the payer of this number for a challenge of this one.
pub(super) fn signed_draw(payer: u8, challenge: u8, change: impl FnOnce(&mut Draw)) -> SignedDraw {
    signed_draw_spelled(payer, challenge, Spelling::Draft, change)
}

pub(super) fn signed_draw_spelled(
    payer: u8,
    challenge: u8,
    spelling: Spelling,
    change: impl FnOnce(&mut Draw),
) -> SignedDraw {
    let from = signed(payer, 0, |_| ()).pull.from;
    let mut draw = Draw {
        from,
        to: Address::repeat_byte(0xbb),
        token: TOKEN,
        amount: Amount::new(1_000),
        leave: Leave::Eip3009 {
            valid_after: U256::ZERO,
            valid_before: U256::from(NOW + 300),
        },
        binding: B256::repeat_byte(challenge),
    };
    change(&mut draw);
    let separator = match draw.leave {
        Leave::Eip3009 { .. } => SEPARATOR,
        Leave::Permit2 { .. } => B256::repeat_byte(0xd2),
    };
    let key = SigningKey::from_slice(&[payer; 32]).unwrap();
    let digest = draw.digest(separator, Address::repeat_byte(9), spelling);
    let signature = sign(&key, digest);
    SignedDraw { draw, signature }
}

pub(super) fn draw_order(signed: &SignedDraw) -> DrawOrder<'_> {
    DrawOrder {
        signed,
        credential: credential(0),
        since: UnixSeconds(NOW),
        spender: Some(Address::repeat_byte(9)),
    }
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
        let pulls = PullPaths {
            eip3009: Some(SEPARATOR),
            permit2: Some(Permit2 {
                address: Address::repeat_byte(0x22),
                separator: B256::repeat_byte(0xd2),
            }),
        };
        let paths = Paths { pulls, draws: pulls };
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
        match self.funding.prepare(order(signed, channel)).await? {
            Ready::Fresh(fresh) => self.funding.send(fresh).await,
            Ready::OnItsWay | Ready::Done(_) => Ok(()),
        }
    }

    pub(super) async fn draw(&self, signed: &SignedDraw) -> Result<Ready, FundNo> {
        self.funding.prepare_draw(draw_order(signed)).await
    }

    /// Sends what is left to be sent.
    pub(super) async fn pay(&self, signed: &SignedDraw) -> Result<(), FundNo> {
        match self.draw(signed).await? {
            Ready::Fresh(fresh) => self.funding.send(fresh).await,
            Ready::OnItsWay | Ready::Done(_) => Ok(()),
        }
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
