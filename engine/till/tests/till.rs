//! The till over a journal in memory: sums, replays, crashes and faults, with really signed vouchers.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{BIRTH, NOW, Payer, TestClock, buy, fresh, open_on};
use weir_core::{Cumulative, Refusal, Standing, UnixSeconds};
use weir_store::faults::{Fault, Place, Plan};
use weir_store::memory::{self, Image};
use weir_till::freshness::Budget;
use weir_till::{Adoption, No, Paid, Till, TillConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threat_s1_sixty_four_tasks_lose_no_charge() {
    const TASKS: u64 = 64;
    const EACH: u64 = 1_000;
    let (till, _) = fresh().await;
    let payer = Payer::new(1);
    let total = u128::from(TASKS * EACH);
    let _ = till.observe(payer.adoption(total)).await.unwrap();
    let Paid::Short { .. } = buy(&till, &payer, total, total + 1, u64::MAX).await.unwrap() else {
        panic!()
    };
    let voucher = payer.voucher(total);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (till, payer) = (till.clone(), payer.clone());
            tokio::spawn(async move {
                for each in 0..EACH {
                    let paid = till
                        .pay(voucher, payer.order(1, task * EACH + each))
                        .await
                        .unwrap();
                    let Paid::Sale(sale, _) = paid else {
                        panic!("{paid:?}")
                    };
                    let (_, delivery) = sale.commit().await.unwrap();
                    delivery.finish();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let state = till.read(payer.channel).await.unwrap().into_inner().channel;
    assert_eq!(
        (state.spent(), state.accepted()),
        (Cumulative::new(total), Cumulative::new(total))
    );
    let Paid::Short { required, .. } = buy(&till, &payer, total, 1, u64::MAX - 1).await.unwrap() else {
        panic!()
    };
    assert_eq!(required, Cumulative::new(total + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threat_h5_concurrent_replay_of_one_credential_is_one_grant() {
    let (till, _) = fresh().await;
    let payer = Payer::new(1);
    let _ = till.observe(payer.adoption(1_000_000)).await.unwrap();
    let barrier = Arc::new(tokio::sync::Barrier::new(100));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (till, payer, barrier) = (till.clone(), payer.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                // The voucher authorises a thousand units; the credential buys one.
                buy(&till, &payer, 1_000, 1, 7).await
            })
        })
        .collect();
    let mut grants = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(Paid::Sale(sale, _)) => {
                grants += 1;
                let _ = sale.commit().await.unwrap();
            }
            Err(No::Refused(Refusal::CredentialUsed)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(grants, 1);
}

#[tokio::test]
async fn threat_h5_a_used_credential_is_remembered_over_a_restart() {
    let image = Image::default();
    let payer = Payer::new(1);
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    let Paid::Sale(sale, _) = buy(&till, &payer, 1_000, 1, 7).await.unwrap() else {
        panic!()
    };
    sale.release().await.unwrap();
    let (till, _) = open_on(memory::open(&image.crash(), BIRTH).unwrap()).await;
    let again = buy(&till, &payer, 1_000, 1, 7).await;
    assert!(
        matches!(again, Err(No::Refused(Refusal::CredentialUsed))),
        "{again:?}"
    );
    assert!(matches!(
        buy(&till, &payer, 1_000, 1, 8).await,
        Ok(Paid::Sale(..))
    ));
}

#[tokio::test]
async fn threat_v1_the_signature_comes_first_whatever_the_amount() {
    let (till, _) = fresh().await;
    let (payer, thief) = (Payer::new(1), Payer::new(2));
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    let Paid::Sale(sale, _) = buy(&till, &payer, 500, 1, 1).await.unwrap() else {
        panic!()
    };
    let _ = sale.commit().await.unwrap();
    let forger = Payer {
        channel: payer.channel,
        ..thief
    };
    for (nonce, cumulative) in [(2, 0), (3, 100), (4, 500), (5, 900), (6, 5_000)] {
        let no = buy(&till, &forger, cumulative, 1, nonce).await;
        assert!(
            matches!(no, Err(No::Refused(Refusal::SignerMismatch))),
            "{cumulative}: {no:?}"
        );
    }
    let stranger = Payer::new(3);
    let no = buy(&till, &stranger, 1, 1, 7).await;
    assert!(matches!(no, Err(No::Refused(Refusal::ChannelNotFound))), "{no:?}");
}

#[tokio::test]
async fn threat_s3_no_receipt_without_durable() {
    for (place, call) in [(Place::Apply, 3), (Place::Sync, 3)] {
        // Calls 1 and 2 write the store's identity and the adoption.
        let image = Image::default();
        let plan = Plan::at(place, call, Fault::Fail);
        let (till, _) = open_on(memory::open_with_faults(&image, BIRTH, plan).unwrap()).await;
        let payer = Payer::new(1);
        let mut faults = 0;
        for nonce in 0..4 {
            let adopted = till.observe(payer.adoption(1_000)).await;
            let paid = buy(&till, &payer, u128::from(nonce) + 1, 1, nonce).await;
            if matches!(adopted, Err(No::Books(_))) || matches!(paid, Err(No::Books(_))) {
                faults += 1;
            } else {
                assert_eq!(
                    faults, 0,
                    "a poisoned store took a payment after it had failed one"
                );
            }
        }
        assert!(faults >= 1, "{place:?}");
    }
}

#[tokio::test]
async fn threat_c6_a_charge_open_at_a_crash_is_committed_once() {
    let image = Image::default();
    let payer = Payer::new(1);
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    let Paid::Sale(reserved, _) = buy(&till, &payer, 30, 10, 1).await.unwrap() else {
        panic!()
    };
    let Paid::Sale(committed, _) = buy(&till, &payer, 30, 10, 2).await.unwrap() else {
        panic!()
    };
    let Paid::Sale(released, _) = buy(&till, &payer, 30, 10, 3).await.unwrap() else {
        panic!()
    };
    let (_, on_its_way) = committed.commit().await.unwrap();
    released.release().await.unwrap();
    let after_crash = image.crash();
    let (till, _) = open_on(memory::open(&after_crash, BIRTH).unwrap()).await;
    let state = till.read(payer.channel).await.unwrap().into_inner().channel;
    assert_eq!((state.spent(), state.charges().len()), (Cumulative::new(20), 0));
    assert_eq!(state.collectible(), Cumulative::new(20));
    let (till, _) = open_on(memory::open(&after_crash.crash(), BIRTH).unwrap()).await;
    let state = till.read(payer.channel).await.unwrap().into_inner().channel;
    assert_eq!(
        state.spent(),
        Cumulative::new(20),
        "a second restart charges nothing more"
    );
    drop((reserved, on_its_way));
}

#[tokio::test]
async fn threat_c6_a_dropped_sale_is_released_and_a_failed_delivery_credited() {
    let (till, _) = fresh().await;
    let payer = Payer::new(1);
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    let Paid::Sale(sale, _) = buy(&till, &payer, 10, 10, 1).await.unwrap() else {
        panic!()
    };
    drop(sale);
    tokio::task::yield_now().await;
    let Paid::Sale(sale, _) = buy(&till, &payer, 10, 10, 2).await.unwrap() else {
        panic!("the drop released it")
    };
    let (_, delivery) = sale.commit().await.unwrap();
    delivery.fail();
    tokio::task::yield_now().await;
    let Paid::Sale(sale, _) = buy(&till, &payer, 10, 10, 3).await.unwrap() else {
        panic!("the credit pays")
    };
    let (answer, delivery) = sale.commit().await.unwrap();
    delivery.finish();
    let state = &answer.get().channel;
    assert_eq!(
        (state.spent(), state.credited()),
        (Cumulative::new(20), Cumulative::new(10))
    );
}

#[tokio::test]
async fn threat_c3_nothing_is_sold_after_a_close_began() {
    let image = Image::default();
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let payer = Payer::new(1);
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    let _ = till.begin_close(payer.voucher(5)).await.unwrap();
    let no = buy(&till, &payer, 50, 1, 1).await;
    assert!(matches!(no, Err(No::Refused(Refusal::ChannelClosing))), "{no:?}");
    let (till, _) = open_on(memory::open(&image.crash(), BIRTH).unwrap()).await;
    let no = buy(&till, &payer, 50, 1, 1).await;
    assert!(
        matches!(no, Err(No::Refused(Refusal::ChannelClosing))),
        "closing is durable: {no:?}"
    );
}

#[tokio::test]
async fn threat_f2_a_stranger_cannot_close() {
    let (till, _) = fresh().await;
    let (payer, thief) = (Payer::new(1), Payer::new(2));
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    let forged = Payer {
        channel: payer.channel,
        ..thief
    }
    .voucher(0);
    let no = till.begin_close(forged).await;
    assert!(matches!(no, Err(No::Refused(Refusal::SignerMismatch))), "{no:?}");
    assert_eq!(
        till.read(payer.channel).await.unwrap().get().channel.standing(),
        Standing::Live
    );
}

#[tokio::test]
async fn threat_t5_an_old_view_gives_no_credit() {
    let (till, clock) = fresh().await;
    let payer = Payer::new(1);
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    clock.0.store(NOW + 60, Ordering::SeqCst);
    assert!(buy(&till, &payer, 1, 1, 1).await.is_ok());
    clock.0.store(NOW + 61, Ordering::SeqCst);
    let no = buy(&till, &payer, 2, 1, 2).await;
    assert!(matches!(no, Err(No::ViewStale { age_seconds: 61 })), "{no:?}");
    let closes = till.begin_close(payer.voucher(2)).await;
    assert!(
        closes.is_ok(),
        "a close takes no credit, so it is taken at any time"
    );
}

#[tokio::test]
async fn threat_c7_a_channel_older_than_the_books_is_not_sold_on() {
    let (till, _) = fresh().await;
    let payer = Payer::new(1);
    let _ = till
        .observe(Adoption {
            drain_only: true,
            ..payer.adoption(1_000)
        })
        .await
        .unwrap();
    let no = buy(&till, &payer, 50, 1, 1).await;
    assert!(
        matches!(no, Err(No::Refused(Refusal::ChannelDrainOnly))),
        "{no:?}"
    );
}

#[tokio::test]
async fn a_channel_is_held_to_its_vouchers_a_second() {
    let clock = Arc::new(TestClock(AtomicU64::new(NOW)));
    let config = TillConfig {
        domain: Payer::new(1).domain,
        budget: Budget {
            view_age_seconds_max: 60,
        },
        vouchers_per_second: 3,
    };
    let journal = memory::open(&Image::default(), BIRTH).unwrap();
    let (till, _) = Till::open(config, journal, clock.clone()).await.unwrap();
    till.freshness().saw_block(UnixSeconds(NOW), UnixSeconds(NOW));
    let (one, two) = (Payer::new(1), Payer::new(2));
    let _ = till.observe(one.adoption(1_000)).await.unwrap();
    let _ = till.observe(two.adoption(1_000)).await.unwrap();
    for nonce in 0..3 {
        assert!(buy(&till, &one, u128::from(nonce) + 1, 1, nonce).await.is_ok());
    }
    let no = buy(&till, &one, 4, 1, 4).await;
    assert!(matches!(no, Err(No::TooFast { per_second: 3 })), "{no:?}");
    assert!(
        buy(&till, &two, 1, 1, 1).await.is_ok(),
        "another channel has its own measure"
    );
    clock.0.fetch_add(1, Ordering::SeqCst);
    assert!(buy(&till, &one, 4, 1, 5).await.is_ok());
}
