//! What must hold of payments and what they bought, over restarts and broken books.

use super::*;
use crate::charge_rows::{CHARGE_KEPT_SECONDS, FORGET_PER_STEP, PROOFS_MAX};
use crate::freshness::Budget;
use crate::till::TillConfig;
use alloy_primitives::B256;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_core::Domain;
use weir_store::Birth;
use weir_store::faults::{Fault, Place, Plan};
use weir_store::memory::{self, Image};

const NOW: u64 = 1_700_000_000;
const EXPIRES: UnixSeconds = UnixSeconds(NOW + 300);
const TAG: ChallengeTag = ChallengeTag([1; 32]);
const OTHER: ChallengeTag = ChallengeTag([2; 32]);
const PAYMENT: Option<B256> = Some(B256::repeat_byte(3));

#[derive(Debug)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    image: Mutex<Image>,
    clock: Arc<TestClock>,
}

impl World {
    fn new() -> Self {
        Self {
            image: Mutex::default(),
            clock: Arc::new(TestClock(AtomicU64::new(NOW))),
        }
    }

    /// The books, opened anew from what was durable.
    async fn open(&self) -> Charges {
        self.open_with(Plan::default()).await
    }

    async fn open_with(&self, plan: Plan) -> Charges {
        let birth = Birth {
            unix_seconds: NOW,
            id: [7; 16],
        };
        let config = TillConfig {
            domain: Domain::new(
                "EVM Payment Channel",
                1,
                alloy_primitives::Address::repeat_byte(9),
            ),
            budget: Budget {
                view_age_seconds_max: 60,
            },
            vouchers_per_second: 10,
        };
        // As a crash would leave it.
        let image = self.image.lock().unwrap().crash();
        *self.image.lock().unwrap() = image.clone();
        let journal = memory::open_with_faults(&image, birth, plan).unwrap();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let (till, _) = Till::open(config, journal, clock).await.unwrap();
        Charges::open(&till).unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// By a payment that names no challenge.
fn paid(payment: Option<B256>) -> Claim {
    Claim {
        payment,
        expires: EXPIRES,
        is_bound: payment.is_none(),
    }
}

/// A number's own challenge.
fn tag(number: usize) -> ChallengeTag {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ChallengeTag(bytes)
}

/// As many proofs as there is room for.
fn fill(charges: &Charges) {
    let record = ChargeRecord {
        payment: None,
        is_bound: true,
        ends: EXPIRES,
        delivered: true,
        owed_again: 0,
    };
    let mut kept = charges.kept();
    for number in 0..PROOFS_MAX {
        kept.put(tag(number), record);
    }
}

/// Until the answer that broke off is written down as owed.
async fn must_be_owed(charges: &Charges) -> Turn {
    for _ in 0..200 {
        if let Ok(turn) = charges.begin(TAG) {
            return turn;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it is not owed again");
}

fn no<T>(outcome: Result<T, ChargeNo>) -> ChargeNo {
    match outcome {
        Ok(_) => panic!("it was granted"),
        Err(no) => no,
    }
}

#[tokio::test]
async fn threat_h5_of_many_that_show_one_payment_one_has_its_turn() {
    let world = World::new();
    let charges = world.open().await;
    let turn = charges.begin(TAG).unwrap();
    for _ in 0..100 {
        assert!(matches!(no(charges.begin(TAG)), ChargeNo::UnderWay));
    }
    let other = charges.begin(OTHER).unwrap();
    assert!(!turn.claim(paid(PAYMENT)).await.unwrap());
    // Another challenge does not get what this one's payment paid.
    assert!(matches!(
        no(other.claim(paid(PAYMENT)).await),
        ChargeNo::OtherChallenge
    ));
    drop(turn.deliver().await.unwrap());
    assert!(matches!(no(charges.begin(TAG)), ChargeNo::Delivered));
    assert!(matches!(
        no(other.claim(paid(PAYMENT)).await),
        ChargeNo::OtherChallenge
    ));
}

#[tokio::test]
async fn threat_h7_what_was_delivered_stays_so_over_restarts_until_no_challenge_could_bring_it_back() {
    let world = World::new();
    let charges = world.open().await;
    let turn = charges.begin(TAG).unwrap();
    turn.claim(paid(PAYMENT)).await.unwrap();
    drop(turn.deliver().await.unwrap());
    // As long as any challenge lives that is not younger than the payment.
    world.pass(CHALLENGE_SECONDS_MAX);
    for number in 0..2 {
        let charges = world.open().await;
        // With another row, what is over is forgotten.
        let another = charges.begin(tag(number)).unwrap();
        let payment = Some(B256::with_last_byte(u8::try_from(number).unwrap()));
        another.claim(paid(payment)).await.unwrap();
        assert!(matches!(no(charges.begin(TAG)), ChargeNo::Delivered));
        let other = charges.begin(OTHER).unwrap();
        assert!(matches!(
            no(other.claim(paid(PAYMENT)).await),
            ChargeNo::OtherChallenge
        ));
        assert_eq!(
            charges.moment_for(TAG),
            world.clock.now(),
            "its challenge is over"
        );
    }
}

#[tokio::test]
async fn what_is_owed_is_owed_over_a_restart_and_beyond_its_challenge() {
    let world = World::new();
    let charges = world.open().await;
    charges.begin(TAG).unwrap().claim(paid(PAYMENT)).await.unwrap();
    world.pass(OWED_SECONDS);
    let charges = world.open().await;
    assert!(charges.moment_for(TAG) < EXPIRES, "it is still live");
    assert_eq!(charges.moment_for(OTHER), world.clock.now(), "others are not");
    let turn = charges.begin(TAG).unwrap();
    assert!(turn.is_claimed() && !charges.begin(OTHER).unwrap().is_claimed());
    assert!(turn.claim(paid(PAYMENT)).await.unwrap(), "it is known");
    let another = Some(B256::repeat_byte(4));
    assert!(matches!(
        no(turn.claim(paid(another)).await),
        ChargeNo::OtherPayment
    ));
    let _ = turn.deliver().await.unwrap();
    world.pass(300 + CHARGE_KEPT_SECONDS);
    assert_eq!(charges.moment_for(TAG), world.clock.now());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_owed_again() {
    let world = World::new();
    let charges = world.open().await;
    let turn = charges.begin(TAG).unwrap();
    turn.claim(paid(PAYMENT)).await.unwrap();
    let handover = turn.deliver().await.unwrap().into_inner();
    assert!(matches!(no(charges.begin(TAG)), ChargeNo::Delivered));
    handover.fail();
    drop(must_be_owed(&charges).await);
    for charges in [charges, world.open().await] {
        let turn = charges.begin(TAG).unwrap();
        assert!(turn.claim(paid(PAYMENT)).await.unwrap());
    }
}

#[tokio::test]
async fn threat_c6_an_answer_that_breaks_off_is_owed_again_so_often_and_no_more() {
    let world = World::new();
    let mut charges = world.open().await;
    charges.begin(TAG).unwrap().claim(paid(PAYMENT)).await.unwrap();
    for _ in 0..OWED_AGAIN_MAX {
        let turn = must_be_owed(&charges).await;
        turn.deliver().await.unwrap().into_inner().fail();
        drop(must_be_owed(&charges).await);
        // A restart forgets none.
        charges = world.open().await;
    }
    let turn = charges.begin(TAG).unwrap();
    let handover = turn.deliver().await.unwrap().into_inner();
    handover.fail();
    while !charges.kept().under_way.is_empty() {
        tokio::task::yield_now().await;
    }
    for charges in [charges, world.open().await] {
        assert!(matches!(no(charges.begin(TAG)), ChargeNo::Delivered));
    }
}

#[tokio::test]
async fn what_names_its_challenge_is_forgotten_with_it_and_nothing_is_owed_for_a_proof() {
    for (payment, delivers) in [(None, true), (None, false), (PAYMENT, true), (PAYMENT, false)] {
        let world = World::new();
        let charges = world.open().await;
        let turn = charges.begin(TAG).unwrap();
        let claim = Claim {
            is_bound: true,
            ..paid(payment)
        };
        turn.claim(claim).await.unwrap();
        if delivers {
            drop(turn.deliver().await.unwrap());
        } else {
            drop(turn);
        }
        let is_owed = payment.is_some() && !delivers;
        assert_eq!(charges.moment_for(TAG) < world.clock.now(), is_owed, "{claim:?}");
        world.pass(300 + CHARGE_KEPT_SECONDS);
        assert!(
            world.open().await.kept().rows.contains_key(&TAG),
            "{claim:?}: clocks are set"
        );
        world.pass(1);
        // By another row of its kind, and at a start.
        let other = charges.begin(OTHER).unwrap();
        let another = payment.map(|_| B256::repeat_byte(4));
        other.claim(paid(another)).await.unwrap();
        for charges in [charges, world.open().await] {
            assert_eq!(
                charges.kept().rows.contains_key(&TAG),
                is_owed,
                "{claim:?} delivered: {delivers}"
            );
        }
    }
}

#[tokio::test]
async fn what_never_landed_is_let_go() {
    let world = World::new();
    let charges = world.open().await;
    let turn = charges.begin(TAG).unwrap();
    turn.claim(paid(PAYMENT)).await.unwrap();
    turn.let_go().await.unwrap();
    drop(turn);
    for charges in [charges, world.open().await] {
        assert_eq!(charges.moment_for(TAG), world.clock.now());
        let another = Some(B256::repeat_byte(4));
        let turn = charges.begin(TAG).unwrap();
        assert!(!turn.claim(paid(another)).await.unwrap());
        turn.let_go().await.unwrap();
    }
}

#[tokio::test]
async fn threat_h4_proofs_crowd_no_payment_out_and_a_full_table_comes_free_again() {
    let world = World::new();
    let charges = world.open().await;
    fill(&charges);
    let turn = charges.begin(OTHER).unwrap();
    assert!(matches!(no(turn.claim(paid(None)).await), ChargeNo::No(No::Busy)));
    assert!(!turn.claim(paid(PAYMENT)).await.unwrap(), "who pays is served");
    drop(turn);
    world.pass(300 + CHARGE_KEPT_SECONDS + 1);
    let turn = charges.begin(TAG).unwrap();
    assert!(!turn.claim(paid(None)).await.unwrap(), "there is room again");
    let kept = charges.kept();
    assert_eq!(kept.rows.len(), PROOFS_MAX + 2 - FORGET_PER_STEP);
    assert_eq!(kept.rows.len(), kept.by_time.len());
}

#[tokio::test]
async fn what_is_over_is_forgotten_at_a_start() {
    let world = World::new();
    let charges = world.open().await;
    charges.begin(TAG).unwrap().claim(paid(None)).await.unwrap();
    world.pass(300 + CHARGE_KEPT_SECONDS + 1);
    let charges = world.open().await;
    assert!(charges.kept().rows.is_empty());
    // It is a row less on the disk too, once something else is written.
    let turn = charges.begin(OTHER).unwrap();
    turn.claim(paid(PAYMENT)).await.unwrap();
    let rows: Vec<(Vec<u8>, ChargeRecord)> =
        read_all(&*charges.inner.journal, Table::Charges, CHARGE_RECORD_VERSION).unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn threat_s3_nothing_is_handed_over_that_is_not_written_down() {
    // The first call writes the store's identity, and each step has one of its own.
    for (place, call) in [
        (Place::Apply, 2),
        (Place::Sync, 2),
        (Place::Apply, 3),
        (Place::Sync, 3),
    ] {
        let world = World::new();
        let charges = world.open_with(Plan::at(place, call, Fault::Fail)).await;
        let turn = charges.begin(TAG).unwrap();
        let claimed = turn.claim(paid(PAYMENT)).await;
        assert_eq!(claimed.is_ok(), call == 3, "{place:?} {call}");
        assert!(
            matches!(no(turn.deliver().await), ChargeNo::No(No::Books(_))),
            "{place:?} {call}"
        );
    }
}
