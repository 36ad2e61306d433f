//! What must hold of pulled deposits before and after they are sent, on a gas key that tells what it was asked.

#[path = "funding_draws_tests.rs"]
mod draws;
#[path = "funding_world.rs"]
mod world;

use super::*;
use alloy_primitives::{Address, U256};
use std::sync::atomic::Ordering;
use weir_chain::Outcome;
use weir_core::pull::{Leave, Pull};
use weir_protocol::charge::SignedDraw;
use weir_protocol::rails::SignedPull;
use weir_store::faults::{Fault, Place, Plan};
use weir_store::memory::{self, Image};
use world::{BIRTH, Bench, NOW, TestGas, landed, order, signed};

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn tx_2_a_pull_and_its_credential_are_durable_before_it_is_sent() {
    let bench = Bench::new().await;
    let permit = |pull: &mut Pull| {
        pull.leave = Leave::Permit2 {
            nonce: U256::from(7),
            deadline: U256::from(NOW + 600),
        };
    };
    for (at, signed) in [signed(1, 1, |_| ()), signed(2, 2, permit)].iter().enumerate() {
        bench.submit(signed, at as u8).await.unwrap();
        assert!(bench.gas.with(|world| world.written_first));
    }
    assert_eq!(bench.sent(), [0, 1], "nobody waited for a block");
    for place in [Place::Apply, Place::Sync] {
        // The first call writes the store's identity.
        let plan = Plan::at(place, 2, Fault::Fail);
        let bench = Bench::over(memory::open_with_faults(&Image::default(), BIRTH, plan).unwrap()).await;
        let no = bench.submit(&signed(1, 1, |_| ()), 1).await.unwrap_err();
        assert!(matches!(no, FundNo::No(No::Books(_))), "{no:?}");
        assert!(bench.sent().is_empty(), "{place:?}");
    }
}

#[tokio::test]
async fn tx_2_a_pull_on_record_is_taken_up_with_its_nonce_and_not_made_again() {
    let bench = Bench::new().await;
    let signed = signed(1, 1, |_| ());
    // Not knowing is no failure: whoever asks again waits for the same one.
    bench
        .gas
        .with(|world| world.answer = Some(Err(ChainTrouble("the connection broke".to_owned()))));
    bench.submit(&signed, 1).await.unwrap();
    bench.submit(&signed, 1).await.unwrap();
    let none = bench.funding.outcome(order(&signed, 1), Duration::ZERO).await;
    assert!(matches!(none, Err(FundNo::Unknown(_))), "{none:?}");
    // The next run sends what the node does not have, as it is.
    let later = Bench::over(Arc::clone(&bench.journal)).await;
    later.gas.with(|world| world.outcome = Some(Outcome::NotSeen));
    while later.sent().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    later.gas.with(|world| world.outcome = Some(landed(true)));
    later.submit(&signed, 1).await.unwrap();
    let hash = later.funding.outcome(order(&signed, 1), PATIENCE).await.unwrap();
    assert_eq!(hash, Some(TestGas::envelope(0, 100).hash));
    assert!(later.sent().iter().all(|nonce| *nonce == 0), "{:?}", later.sent());
    // Another's nonce follows.
    later.submit(&self::signed(2, 2, |_| ()), 2).await.unwrap();
    assert_eq!(later.sent().last(), Some(&1));
}

#[tokio::test]
async fn what_was_mined_in_vain_is_told_and_what_somebody_else_did_is_as_good() {
    let bench = Bench::new().await;
    bench.gas.with(|world| world.outcome = Some(landed(false)));
    let signed = signed(1, 1, |_| ());
    bench.submit(&signed, 1).await.unwrap();
    let vain = bench.funding.outcome(order(&signed, 1), PATIENCE).await;
    assert!(matches!(vain, Err(FundNo::Reverted(_))), "{vain:?}");
    bench.gas.with(|world| world.channel = Some(999));
    let other = bench.funding.outcome(order(&signed, 1), PATIENCE).await;
    assert!(matches!(other, Err(FundNo::OtherDeposit { .. })), "{other:?}");
    bench.gas.with(|world| world.channel = Some(1_000));
    assert_eq!(
        bench.funding.outcome(order(&signed, 1), PATIENCE).await.unwrap(),
        None
    );
    assert_eq!(bench.sent().len(), 1);
}

#[tokio::test]
async fn threat_t8_nothing_is_sent_that_is_not_the_payers_or_not_worth_it() {
    let bench = Bench::new().await;
    let refused = async |signed: &SignedPull| bench.submit(signed, 1).await.unwrap_err();
    let dust = refused(&signed(1, 1, |pull| pull.amount = Amount::new(99))).await;
    assert!(matches!(dust, FundNo::TooSmall { .. }), "{dust:?}");
    let mut forged = signed(1, 1, |_| ());
    forged.signature = signed(2, 1, |_| ()).signature;
    assert!(matches!(refused(&forged).await, FundNo::NotThePayers));
    for (after, before) in [(0, NOW + 60), (0, NOW), (NOW, NOW + 600)] {
        let late = signed(1, 1, |pull| {
            pull.leave = Leave::Eip3009 {
                valid_after: U256::from(after),
                valid_before: U256::from(before),
            }
        });
        assert!(matches!(refused(&late).await, FundNo::Window), "{after} {before}");
    }
    assert_eq!(bench.gas.with(|world| world.asked), 0, "the node was asked");
    let rich = refused(&signed(1, 1, |pull| pull.amount = Amount::new(10_001))).await;
    assert!(matches!(rich, FundNo::Balance { .. }), "{rich:?}");
    let good = signed(1, 1, |_| ());
    bench.gas.with(|world| world.used_up = true);
    assert!(matches!(refused(&good).await, FundNo::Reverted(_)));
    bench
        .gas
        .with(|world| (world.used_up, world.would_revert) = (false, true));
    assert!(matches!(refused(&good).await, FundNo::Reverted(_)));
    bench
        .gas
        .with(|world| (world.would_revert, world.fee) = (false, 1_001));
    assert!(matches!(refused(&good).await, FundNo::Unaffordable(_)));
    assert!(bench.funding.is_able());
    bench
        .gas
        .with(|world| (world.fee, world.gas_balance) = (1_000, 199_999_999));
    assert!(matches!(refused(&good).await, FundNo::Unaffordable(_)));
    assert!(!bench.funding.is_able(), "it is offered no more");
    assert!(bench.sent().is_empty());
    bench.gas.with(|world| world.gas_balance = 200_000_000);
    bench.submit(&good, 1).await.unwrap();
    assert_eq!(bench.sent(), [0]);
}

#[tokio::test]
async fn threat_t8_gas_is_bounded_per_payer_per_channel_and_per_hour() {
    let bench = Bench::new().await;
    let one = async |payer: u8, salt: u8| bench.submit(&signed(payer, salt, |_| ()), salt).await;
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    for salt in 0..16 {
        one(1, salt).await.unwrap();
        let signed = signed(1, salt, |_| ());
        bench
            .funding
            .outcome(order(&signed, salt), PATIENCE)
            .await
            .unwrap();
    }
    let more = one(1, 99).await;
    assert!(
        matches!(
            more,
            Err(FundNo::TooMany {
                free_in_seconds: 3_601
            })
        ),
        "{more:?}"
    );
    // Others go on, until the hour's gas is used up: twenty times 200,000.
    for salt in 16..20 {
        one(salt, salt).await.unwrap();
    }
    let more = one(3, 99).await;
    assert!(matches!(more, Err(FundNo::Unaffordable(_))), "{more:?}");
    assert_eq!(bench.sent().len(), 20);
    bench.clock.0.store(NOW + 3_601, Ordering::SeqCst);
    bench.gas.with(|world| world.outcome = None);
    let later = |payer: u8, salt: u8| {
        signed(payer, salt, |pull| {
            pull.leave = Leave::Eip3009 {
                valid_after: U256::ZERO,
                valid_before: U256::from(NOW + 4_000),
            }
        })
    };
    bench.submit(&later(1, 100), 100).await.unwrap();
    // While it is on its way, no second one of its channel or its payer is tried on a state that lacks it.
    for (payer, channel) in [(2, 100), (1, 101)] {
        let beside = bench.submit(&later(payer, 101), channel).await;
        assert!(
            matches!(beside, Err(FundNo::No(No::NotSeenYet))),
            "{payer}: {beside:?}"
        );
    }
    assert_eq!(bench.sent().len(), 21);
}

#[tokio::test]
async fn threat_t8_two_pulls_of_one_balance_are_not_on_their_way_at_once() {
    let bench = Bench::new().await;
    // Both are asked for before either is written down: the lane looks again.
    let (first, second) = (signed(1, 1, |_| ()), signed(1, 2, |_| ()));
    let (first, second) = tokio::join!(bench.submit(&first, 1), bench.submit(&second, 2));
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(second, Err(FundNo::No(No::NotSeenYet))), "{second:?}");
    assert_eq!(bench.sent(), [0]);
}

#[tokio::test]
async fn threat_t8_no_pull_is_sent_for_an_account_that_has_code() {
    let bench = Bench::new().await;
    bench.gas.with(|world| world.payer_has_code = true);
    let no = bench.submit(&signed(1, 1, |_| ()), 1).await.unwrap_err();
    assert!(matches!(no, FundNo::Unaffordable(_)), "{no:?}");
    assert!(no.to_string().contains("\"hash\""), "{no}");
    assert!(bench.sent().is_empty());
}

#[tokio::test]
async fn a_new_gas_key_begins_with_its_own_nonces_and_sends_the_old_ones_pulls_as_they_are() {
    let bench = Bench::new().await;
    for payer in [1, 2] {
        bench.submit(&signed(payer, payer, |_| ()), payer).await.unwrap();
    }
    assert_eq!(bench.sent(), [0, 1]);
    let other = Address::repeat_byte(10);
    let later = Bench::with_key(Arc::clone(&bench.journal), other).await;
    assert_eq!(
        later.funding.tally().pending,
        0,
        "the new key owes nothing for them"
    );
    later.gas.with(|world| world.gas_balance = 200_000 * 100);
    later.submit(&signed(3, 3, |_| ()), 3).await.unwrap();
    assert_eq!(later.sent(), [0]);
    // What the old key signed is sent again all the same, and followed.
    later.gas.with(|world| world.outcome = Some(Outcome::NotSeen));
    while !later.sent().contains(&1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    later.gas.with(|world| world.outcome = Some(landed(true)));
    let old = signed(1, 1, |_| ());
    let hash = later.funding.outcome(order(&old, 1), PATIENCE).await.unwrap();
    assert_eq!(hash, Some(TestGas::envelope(0, 100).hash));
}

#[tokio::test(start_paused = true)]
async fn a_new_gas_key_makes_no_pull_of_the_old_one_dearer() {
    let bench = Bench::new().await;
    bench.submit(&signed(1, 1, |_| ()), 1).await.unwrap();
    let journal = Arc::clone(&bench.journal);
    drop(bench);
    let later = Bench::with_key(journal, Address::repeat_byte(10)).await;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(later.sent().is_empty(), "{:?}", later.sent());
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_is_stuck_is_replaced_under_its_nonce_up_to_the_fee_that_is_agreed() {
    let bench = Bench::new().await;
    bench.submit(&signed(1, 1, |_| ()), 1).await.unwrap();
    let sent = || bench.gas.with(|world| world.sent.clone());
    // The disk works in its own time, which does not stand still.
    for _ in 0..100_000 {
        if sent().len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let sent = sent();
    let fees: Vec<u128> = sent.iter().map(|envelope| envelope.max_fee_per_gas).collect();
    assert_eq!(fees, [100, 200, 400, 800]);
    assert!(sent.iter().all(|envelope| envelope.nonce == 0));
}

#[tokio::test]
async fn a_pull_whose_nonce_was_used_elsewhere_is_made_again_under_another() {
    let bench = Bench::new().await;
    bench.gas.with(|world| {
        world.outcome = Some(Outcome::NotSeen);
        world.answer = Some(Ok(Posted::NonceTaken));
    });
    let signed = signed(1, 1, |_| ());
    bench.submit(&signed, 1).await.unwrap();
    let none = bench.funding.outcome(order(&signed, 1), 4 * PATIENCE).await;
    assert!(matches!(none, Err(FundNo::Unknown(_))), "{none:?}");
    assert!(bench.sent().len() > 3, "it is asked again before it is believed");
    bench.gas.with(|world| world.answer = None);
    bench.submit(&signed, 1).await.unwrap();
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    assert!(
        bench
            .funding
            .outcome(order(&signed, 1), PATIENCE)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(bench.sent().last(), Some(&1));
}

#[tokio::test]
async fn a_pull_that_was_given_up_as_displaced_is_asked_after_before_another_is_made() {
    let bench = Bench::new().await;
    bench.gas.with(|world| {
        world.outcome = Some(Outcome::NotSeen);
        world.answer = Some(Ok(Posted::NonceTaken));
    });
    let signed = signed(1, 1, |_| ());
    bench.submit(&signed, 1).await.unwrap();
    let none = bench.funding.outcome(order(&signed, 1), 4 * PATIENCE).await;
    assert!(matches!(none, Err(FundNo::Unknown(_))), "{none:?}");
    // A reorganisation took out what had its nonce.
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    bench.submit(&signed, 1).await.unwrap();
    let hash = bench.funding.outcome(order(&signed, 1), PATIENCE).await.unwrap();
    assert_eq!(hash, Some(TestGas::envelope(0, 100).hash));
    assert!(bench.sent().iter().all(|nonce| *nonce == 0), "{:?}", bench.sent());
}

/// Puts so many on record that are over, and whose hour is over, as an earlier run left them.
fn fill(bench: &Bench, deed: &Deed, count: usize) {
    let mut account = bench.funding.inner.account();
    let first = account.record(deed).unwrap();
    for number in 0..count as u64 {
        let deed = Deed(B256::from(U256::from(number + 1)));
        account.put(FundingRecord {
            deed,
            uses: deed.0,
            payer: Address::repeat_byte(0x99),
            standing: Standing::Displaced,
            is_over: true,
            signed_at: UnixSeconds(NOW - 3_600),
            challenge_expires: UnixSeconds(NOW - 3_600),
            ..first.clone()
        });
    }
}

#[tokio::test]
async fn a_full_table_empties_by_what_comes_and_at_the_start() {
    let bench = Bench::new().await;
    let first = signed(1, 1, |_| ());
    bench.submit(&first, 1).await.unwrap();
    fill(&bench, &Deed::of(&first.pull), PULLS_KEPT_MAX - 1);
    bench.submit(&signed(2, 2, |_| ()), 2).await.unwrap();
    bench.pay(&world::signed_draw(3, 3, |_| ())).await.unwrap();
    assert_eq!(bench.sent(), [0, 1, 2]);
    // Those of this hour stay, and then there is no room.
    let bench = Bench::new().await;
    bench.submit(&first, 1).await.unwrap();
    fill(&bench, &Deed::of(&first.pull), PULLS_KEPT_MAX - 1);
    bench.clock.0.store(NOW - 1, Ordering::SeqCst);
    let full = bench.submit(&signed(2, 2, |_| ()), 2).await;
    assert!(matches!(full, Err(FundNo::No(No::Busy))), "{full:?}");
    // The next run begins without what is over.
    bench.clock.0.store(NOW, Ordering::SeqCst);
    let mut old = bench
        .funding
        .inner
        .account()
        .record(&Deed::of(&first.pull))
        .unwrap();
    old.deed = Deed(B256::repeat_byte(0x44));
    (old.standing, old.is_over) = (Standing::Displaced, true);
    (old.signed_at, old.challenge_expires) = (UnixSeconds(NOW - 3_600), UnixSeconds(NOW - 3_600));
    old.write(&*bench.journal, &[]).await.unwrap();
    assert_eq!(read_records(&*bench.journal).unwrap().len(), 2);
    let later = Bench::over(Arc::clone(&bench.journal)).await;
    assert!(later.funding.inner.account().record(&old.deed).is_none());
    later.submit(&signed(2, 2, |_| ()), 2).await.unwrap();
    let kept = read_records(&*bench.journal).unwrap();
    assert!(
        kept.iter().all(|record| record.deed != old.deed),
        "{}",
        kept.len()
    );
}

#[tokio::test]
async fn what_is_in_a_block_is_asked_after_once_for_each_height() {
    let bench = Bench::new().await;
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    let signed = signed(1, 1, |_| ());
    bench.submit(&signed, 1).await.unwrap();
    bench.funding.outcome(order(&signed, 1), PATIENCE).await.unwrap();
    let first = bench.gas.with(|world| world.lookups);
    // Two blocks on top are enough.
    for (height, more) in [(10, 0), (11, 1), (12, 2), (13, 2)] {
        bench.gas.with(|world| world.height = height);
        while bench.gas.with(|world| world.lookups) < first + more {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.gas.with(|world| world.lookups), first + more, "{height}");
    }
}
