//! What must hold of payers' transactions before and after they are sent, on a relay that tells what it was asked.

use super::*;
use crate::freshness::Budget;
use crate::till::TillConfig;
use alloy_primitives::{Address, U256, address, hex};
use std::sync::atomic::{AtomicU64, Ordering};
use weir_core::Domain;
use weir_store::Birth;
use weir_store::faults::{Fault, Place, Plan};
use weir_store::memory::{self, Image};

const NOW: u64 = 1_700_000_000;
const BIRTH: Birth = Birth {
    unix_seconds: NOW,
    id: [7; 16],
};

/// What a payer sent once: mppx 0.11.0's open, whose sender is [`SENDER`].
const RAW: &[u8] = &hex!(
    "76f901b3820539843b9aca008447868cd5830c0a08f9011cf85c9420c000000000000000000000000000000000000080b844095ea7b30000000000000000000000001234567890abcdef1234567890abcdef1234567800000000000000000000000000000000000000000000000000000000000f4240f8bc941234567890abcdef1234567890abcdef1234567880b8a4c79ea48500000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000000020c000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000f42407acb8e5c1923ff87f269288c71c99fd2362a06231d8cefc0928ff252f12edc6a000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266c0a0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff80846b0198d6809420c000000000000000000000000000000000000080c0b84181cabf9385c5f6b01dd3523d59ece9d0c89a4f5b7de75cee530d687628363f8a7e7937fab61dbe647049cc31f9cc77be83ec7370f2c19edf2184f9af76093ef51c"
);
const SENDER: Address = address!("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");

#[derive(Debug)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// A chain as the relay shows it, and what was sent to it.
#[derive(Default)]
struct World {
    known: bool,
    exists: bool,
    head: u64,
    would_revert: Option<String>,
    answer: Option<Result<Sent, ChainTrouble>>,
    /// Becomes known by being sent, whatever the answer says.
    arrives: bool,
    sent: usize,
    /// How often the chain was asked anything.
    asked: usize,
    /// Whether the row stood in the books whenever something was sent.
    written_first: bool,
}

#[derive(Clone, Default)]
struct TestRelay {
    world: Arc<Mutex<World>>,
    journal: Arc<Mutex<Option<Arc<dyn Journal>>>>,
}

impl TestRelay {
    fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap())
    }
}

#[async_trait]
impl Relay for TestRelay {
    async fn look_for(&self, _: B256, _: ChannelId) -> Result<Whereabouts, ChainTrouble> {
        Ok(self.with(|world| {
            world.asked += 1;
            Whereabouts {
                is_known: world.known,
                channel_exists: world.exists,
                head: UnixSeconds(world.head),
            }
        }))
    }

    async fn rehearse(&self, _: &ForeignTransaction) -> Option<String> {
        self.with(|world| {
            world.asked += 1;
            world.would_revert.clone()
        })
    }

    async fn send(&self, raw: &[u8], transaction: B256) -> Result<Sent, ChainTrouble> {
        let journal = self.journal.lock().unwrap().clone().unwrap();
        let records = read_records(&*journal).unwrap();
        let written = records.iter().any(|(hash, record)| {
            *hash == transaction && *record.raw == *raw && record.challenge == credential().tag
        });
        self.with(|world| {
            world.sent += 1;
            world.written_first = written;
            world.known |= world.arrives;
            world.answer.clone().unwrap_or(Ok(Sent::Taken))
        })
    }
}

fn credential() -> UsedCredential {
    UsedCredential {
        expires: UnixSeconds(NOW + 300),
        channel: ChannelId(B256::repeat_byte(3)),
        tag: ChallengeTag([5; 32]),
    }
}

fn transaction(seed: u8) -> ForeignTransaction {
    ForeignTransaction {
        hash: B256::repeat_byte(seed),
        sender: Address::repeat_byte(1),
        expiring_nonce_hash: B256::repeat_byte(seed),
        chain_id: 1,
        max_fee_per_gas: 1,
        max_priority_fee_per_gas: 1,
        gas_limit: 1,
        nonce_key: U256::MAX,
        nonce: 0,
        valid_before: Some(UnixSeconds(NOW + 25)),
        valid_after: None,
        fee_token: None,
        calls: Vec::new(),
    }
}

struct Bench {
    submissions: Submissions,
    relay: TestRelay,
    clock: Arc<TestClock>,
    journal: Arc<dyn Journal>,
}

impl Bench {
    async fn over(journal: Arc<dyn Journal>) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(NOW)));
        let config = TillConfig {
            domain: Domain::new("Tempo Stream Channel", 1, Address::ZERO),
            budget: Budget {
                view_age_seconds_max: 60,
            },
            vouchers_per_second: 10,
        };
        let (till, _) = Till::open(config, Arc::clone(&journal), clock.clone())
            .await
            .unwrap();
        let relay = TestRelay::default();
        relay.with(|world| world.head = NOW);
        *relay.journal.lock().unwrap() = Some(Arc::clone(&journal));
        Self {
            submissions: Submissions::open(&till, Arc::new(relay.clone())).unwrap(),
            relay,
            clock,
            journal,
        }
    }

    async fn new() -> Self {
        Self::over(memory::open(&Image::default(), BIRTH).unwrap()).await
    }

    async fn submit(&self, transaction: &ForeignTransaction) -> Result<(), SubmitNo> {
        let submission = Submission {
            raw: RAW,
            transaction,
            credential: credential(),
            opens: true,
        };
        self.submissions.submit(submission).await
    }

    fn sent(&self) -> usize {
        self.relay.with(|world| world.sent)
    }

    fn rows(&self) -> usize {
        read_records(&*self.journal).unwrap().len()
    }
}

#[tokio::test]
async fn tx_2_a_payers_transaction_and_its_credential_are_durable_before_it_is_sent() {
    let bench = Bench::new().await;
    bench.submit(&transaction(1)).await.unwrap();
    assert!(bench.relay.with(|world| world.written_first));
    assert_eq!((bench.sent(), bench.rows()), (1, 1));
    for place in [Place::Apply, Place::Sync] {
        // The first call writes the store's identity.
        let plan = Plan::at(place, 2, Fault::Fail);
        let bench = Bench::over(memory::open_with_faults(&Image::default(), BIRTH, plan).unwrap()).await;
        let no = bench.submit(&transaction(1)).await.unwrap_err();
        assert!(matches!(no, SubmitNo::No(No::Books(_))), "{no:?}");
        assert_eq!(bench.sent(), 0, "{place:?}");
    }
}

#[tokio::test]
async fn threat_t6_what_may_be_on_its_way_is_resumed_and_never_judged_as_failed() {
    let bench = Bench::new().await;
    let lost = ChainTrouble("the connection broke".to_owned());
    bench.relay.with(|world| world.answer = Some(Err(lost)));
    assert!(matches!(
        bench.submit(&transaction(1)).await,
        Err(SubmitNo::Unknown(_))
    ));
    // Its row stands, so that even a refusal of the repetition is no verdict on the first broadcast.
    bench
        .relay
        .with(|world| world.answer = Some(Ok(Sent::Refused("nonce".to_owned()))));
    assert!(matches!(
        bench.submit(&transaction(1)).await,
        Err(SubmitNo::Unknown(_))
    ));
    // A refusal of what has arrived meanwhile is none.
    bench.relay.with(|world| world.arrives = true);
    bench.submit(&transaction(1)).await.unwrap();
    let sent = bench.sent();
    // Once it is known nothing is sent again, and past its validity our clock alone says nothing.
    bench.submit(&transaction(1)).await.unwrap();
    bench
        .relay
        .with(|world| (world.known, world.arrives) = (false, false));
    bench.clock.0.store(NOW + 26, Ordering::SeqCst);
    assert!(matches!(
        bench.submit(&transaction(1)).await,
        Err(SubmitNo::Unknown(_))
    ));
    bench.relay.with(|world| world.head = NOW + 25);
    assert!(matches!(
        bench.submit(&transaction(1)).await,
        Err(SubmitNo::Refused(_))
    ));
    assert_eq!(bench.sent(), sent);
}

#[tokio::test]
async fn what_cannot_land_is_not_sent() {
    let bench = Bench::new().await;
    bench
        .relay
        .with(|world| world.would_revert = Some("no allowance".to_owned()));
    let no = bench.submit(&transaction(1)).await.unwrap_err();
    assert_eq!(no.to_string(), "the transaction would revert: no allowance");
    bench
        .relay
        .with(|world| (world.would_revert, world.exists) = (None, true));
    assert!(matches!(
        bench.submit(&transaction(1)).await,
        Err(SubmitNo::No(No::NotSeenYet))
    ));
    bench.relay.with(|world| world.exists = false);
    let later = ForeignTransaction {
        valid_after: Some(UnixSeconds(NOW + 1)),
        ..transaction(1)
    };
    assert!(matches!(bench.submit(&later).await, Err(SubmitNo::Refused(_))));
    assert_eq!((bench.sent(), bench.rows()), (0, 0));
    bench
        .relay
        .with(|world| world.answer = Some(Ok(Sent::Refused("no funds".to_owned()))));
    let no = bench.submit(&transaction(1)).await.unwrap_err();
    assert_eq!(
        no.to_string(),
        "the transaction was refused by the node: no funds"
    );
    assert_eq!(bench.rows(), 0, "threat H4: who has nothing fills nothing");
    let endless = ForeignTransaction {
        valid_before: Some(UnixSeconds(u64::MAX)),
        ..transaction(2)
    };
    assert!(matches!(bench.submit(&endless).await, Err(SubmitNo::Refused(_))));
    assert_eq!((bench.sent(), bench.rows()), (1, 0));
}

#[tokio::test]
async fn rows_are_forgotten_after_their_transactions_and_over_a_restart() {
    let bench = Bench::new().await;
    for seed in 1..=6 {
        bench.submit(&transaction(seed)).await.unwrap();
    }
    let bench = Bench::over(bench.journal).await;
    let late = NOW + 300 + KEPT_SECONDS + 1;
    bench.clock.0.store(late, Ordering::SeqCst);
    let unbounded = |seed| ForeignTransaction {
        valid_before: None,
        ..transaction(seed)
    };
    bench.submit(&unbounded(7)).await.unwrap();
    assert_eq!(bench.rows(), 6 + 1 - FORGET_PER_STEP);
    bench.submit(&unbounded(8)).await.unwrap();
    assert_eq!(bench.rows(), 1, "the seventh came with the same old credential");
}

#[tokio::test]
async fn threat_h4_one_payer_does_not_fill_the_books() {
    let of = |sender, seed| ForeignTransaction {
        sender,
        valid_before: None,
        ..transaction(seed)
    };
    let bench = Bench::new().await;
    let most = SUBMISSIONS_PER_PAYER_MAX as u8;
    for seed in 0..most {
        bench.submit(&of(SENDER, seed)).await.unwrap();
    }
    // What is counted is read back after a restart.
    let bench = Bench::over(bench.journal).await;
    let free_in_seconds = 300 + KEPT_SECONDS + 1;
    let no = bench.submit(&of(SENDER, most)).await.unwrap_err();
    assert!(
        matches!(no, SubmitNo::TooMany { free_in_seconds: told } if told == free_in_seconds),
        "{no:?}"
    );
    assert_eq!(
        no.to_string(),
        "64 transactions of this account are on record; the first is forgotten in 901 s"
    );
    assert_eq!(
        bench.relay.with(|world| world.asked),
        0,
        "whoever has no room costs no RPC call"
    );
    // What is on record already is sent again all the same, and others are not in its way.
    bench.submit(&of(SENDER, 0)).await.unwrap();
    bench.submit(&of(Address::ZERO, most)).await.unwrap();
    assert_eq!((bench.sent(), bench.rows()), (2, usize::from(most) + 1));
    // At the moment that was told there is room again.
    bench.clock.0.store(NOW + free_in_seconds - 1, Ordering::SeqCst);
    assert!(matches!(
        bench.submit(&of(SENDER, most + 1)).await,
        Err(SubmitNo::TooMany { free_in_seconds: 1 })
    ));
    bench.clock.0.store(NOW + free_in_seconds, Ordering::SeqCst);
    bench.submit(&of(SENDER, most + 1)).await.unwrap();
}
