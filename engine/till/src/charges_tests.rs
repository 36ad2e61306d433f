//! What must hold of payments and what they bought, over restarts and broken books.

use super::*;
use crate::freshness::Budget;
use crate::till::TillConfig;
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
    assert!(!turn.claim(PAYMENT, EXPIRES).await.unwrap());
    // Another challenge does not get what this one's payment paid.
    assert!(matches!(
        no(other.claim(PAYMENT, EXPIRES).await),
        ChargeNo::OtherChallenge
    ));
    drop(turn.deliver().await.unwrap());
    assert!(matches!(no(charges.begin(TAG)), ChargeNo::Delivered));
    assert!(matches!(
        no(other.claim(PAYMENT, EXPIRES).await),
        ChargeNo::OtherChallenge
    ));
}

#[tokio::test]
async fn threat_h7_what_was_delivered_stays_so_over_restarts_until_no_challenge_could_bring_it_back() {
    let world = World::new();
    let charges = world.open().await;
    let turn = charges.begin(TAG).unwrap();
    turn.claim(PAYMENT, EXPIRES).await.unwrap();
    drop(turn.deliver().await.unwrap());
    // As long as any challenge lives that is not younger than the payment.
    world.pass(CHALLENGE_SECONDS_MAX);
    for _ in 0..2 {
        let charges = world.open().await;
        assert!(matches!(no(charges.begin(TAG)), ChargeNo::Delivered));
        let other = charges.begin(OTHER).unwrap();
        assert!(matches!(
            no(other.claim(PAYMENT, EXPIRES).await),
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
    charges.begin(TAG).unwrap().claim(PAYMENT, EXPIRES).await.unwrap();
    world.pass(OWED_SECONDS);
    let charges = world.open().await;
    assert!(charges.moment_for(TAG) < EXPIRES, "it is still live");
    assert_eq!(charges.moment_for(OTHER), world.clock.now(), "others are not");
    let turn = charges.begin(TAG).unwrap();
    assert!(turn.claim(PAYMENT, EXPIRES).await.unwrap(), "it is known");
    let another = Some(B256::repeat_byte(4));
    assert!(matches!(
        no(turn.claim(another, EXPIRES).await),
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
    turn.claim(PAYMENT, EXPIRES).await.unwrap();
    let handover = turn.deliver().await.unwrap().into_inner();
    assert!(matches!(no(charges.begin(TAG)), ChargeNo::Delivered));
    handover.fail();
    for _ in 0..100 {
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if charges.begin(TAG).is_ok() {
            break;
        }
    }
    for charges in [charges, world.open().await] {
        let turn = charges.begin(TAG).unwrap();
        assert!(turn.claim(PAYMENT, EXPIRES).await.unwrap());
    }
}

#[tokio::test]
async fn what_never_landed_is_let_go() {
    let world = World::new();
    let charges = world.open().await;
    let turn = charges.begin(TAG).unwrap();
    turn.claim(PAYMENT, EXPIRES).await.unwrap();
    turn.let_go().await.unwrap();
    drop(turn);
    for charges in [charges, world.open().await] {
        assert_eq!(charges.moment_for(TAG), world.clock.now());
        let another = Some(B256::repeat_byte(4));
        let turn = charges.begin(TAG).unwrap();
        assert!(!turn.claim(another, EXPIRES).await.unwrap());
        turn.let_go().await.unwrap();
    }
}

#[tokio::test]
async fn rows_are_forgotten_and_proofs_crowd_no_payment_out() {
    let world = World::new();
    let charges = world.open().await;
    let tag = |number: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        ChallengeTag(bytes)
    };
    let kept_until = EXPIRES.after(OWED_SECONDS + CHARGE_KEPT_SECONDS);
    for number in 0..PROOFS_MAX {
        let record = ChargeRecord {
            payment: None,
            delivered: true,
            kept_until,
        };
        charges.kept().put(tag(number), record);
    }
    let turn = charges.begin(OTHER).unwrap();
    assert!(matches!(
        no(turn.claim(None, EXPIRES).await),
        ChargeNo::No(No::Busy)
    ));
    assert!(!turn.claim(PAYMENT, EXPIRES).await.unwrap(), "who pays is served");
    drop(turn);
    world.pass(CHALLENGE_SECONDS_MAX + OWED_SECONDS + CHARGE_KEPT_SECONDS + 1);
    let turn = charges.begin(tag(PROOFS_MAX)).unwrap();
    turn.claim(Some(B256::repeat_byte(8)), world.clock.now().after(300))
        .await
        .unwrap();
    drop(turn);
    let kept = charges.kept();
    assert_eq!(kept.rows.len(), PROOFS_MAX + 2 - FORGET_PER_STEP);
    assert_eq!(kept.rows.len(), kept.by_time.len());
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
        let claimed = turn.claim(PAYMENT, EXPIRES).await;
        assert_eq!(claimed.is_ok(), call == 3, "{place:?} {call}");
        assert!(
            matches!(no(turn.deliver().await), ChargeNo::No(No::Books(_))),
            "{place:?} {call}"
        );
    }
}
