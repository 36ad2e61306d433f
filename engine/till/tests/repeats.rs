//! Requests that come again under their key: charged once, answered again, over crashes too.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::{BIRTH, NOW, Payer, TestClock, fresh, open_on};
use weir_core::{Cumulative, Refusal, UnixSeconds, Voucher};
use weir_store::memory::{self, Image};
use weir_till::repeats::{KEY_SECONDS, KEYS_PER_CHANNEL_MAX};
use weir_till::{Hold, KeptAnswer, Keyed, No, Order, Paid, Sale, Till, TillConfig};

const PRICE: u128 = 10;

fn keyed(key: u8, request: u8) -> Keyed {
    Keyed {
        key: [key; 32],
        request: [request; 32],
        keeps: true,
    }
}

fn answer(text: &str) -> KeptAnswer {
    KeptAnswer {
        status: 200,
        headers: vec![("content-type".into(), b"text/plain".to_vec())],
        body: text.into(),
    }
}

/// Asks with a fresh credential each time, as a client does that got no answer.
struct Asks {
    till: Till,
    payer: Payer,
    nonce: u64,
}

impl Asks {
    async fn begin(till: Till, seed: u8) -> Self {
        let payer = Payer::new(seed);
        let _ = till.observe(payer.adoption(1_000_000)).await.unwrap();
        Self {
            till,
            payer,
            nonce: 0,
        }
    }

    async fn ask(&mut self, cumulative: u128, keyed: Keyed) -> Result<Paid, No> {
        self.nonce += 1;
        let order = Order {
            keyed: Some(keyed),
            ..self.payer.order(PRICE, self.nonce)
        };
        self.till.pay(self.payer.voucher(cumulative), order).await
    }

    async fn buy(&mut self, cumulative: u128, keyed: Keyed) -> (Sale, Hold) {
        match self.ask(cumulative, keyed).await.unwrap() {
            Paid::Sale(mut sale, _) => {
                let hold = sale.take_hold().unwrap();
                (sale, hold)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Buys, and keeps the answer.
    async fn buy_whole(&mut self, cumulative: u128, keyed: Keyed, text: &str) {
        let (sale, hold) = self.buy(cumulative, keyed).await;
        let (_, delivery) = sale.commit().await.unwrap();
        hold.keep(answer(text)).await.unwrap();
        delivery.finish();
    }

    async fn kept(&mut self, cumulative: u128, keyed: Keyed) -> KeptAnswer {
        match self.ask(cumulative, keyed).await.unwrap() {
            Paid::Kept(kept, told) => {
                assert!(told.get().repeat.is_some());
                kept
            }
            other => panic!("{other:?}"),
        }
    }

    async fn owed(&mut self, cumulative: u128, keyed: Keyed) -> Hold {
        match self.ask(cumulative, keyed).await.unwrap() {
            Paid::Owed(hold, _) => hold,
            other => panic!("{other:?}"),
        }
    }

    async fn no(&mut self, cumulative: u128, keyed: Keyed) -> No {
        self.ask(cumulative, keyed).await.unwrap_err()
    }

    async fn until_no_charge_is_open(&self) {
        let read = async || self.till.read(self.payer.channel).await.unwrap().into_inner();
        while !read().await.channel.charges().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    async fn totals(&self) -> (Cumulative, Cumulative) {
        let state = self
            .till
            .read(self.payer.channel)
            .await
            .unwrap()
            .into_inner()
            .channel;
        (state.accepted(), state.spent())
    }
}

fn total(units: u128) -> Cumulative {
    Cumulative::new(units)
}

#[tokio::test]
async fn ch_8_a_repeat_gets_the_kept_answer_and_moves_nothing() {
    let (till, _) = fresh().await;
    let mut asks = Asks::begin(till, 1).await;
    let (sale, hold) = asks.buy(PRICE, keyed(1, 1)).await;
    for again in [PRICE, PRICE * 2] {
        let no = asks.no(again, keyed(1, 1)).await;
        assert!(matches!(no, No::KeyUnderWay), "{no}");
    }
    let (_, delivery) = sale.commit().await.unwrap();
    let no = asks.no(PRICE, keyed(1, 1)).await;
    assert!(
        matches!(no, No::KeyUnderWay),
        "charged, and not answered yet: {no}"
    );
    hold.keep(answer("first")).await.unwrap();
    delivery.finish();

    for again in [PRICE, PRICE * 2] {
        assert_eq!(asks.kept(again, keyed(1, 1)).await, answer("first"));
    }
    assert_eq!(asks.totals().await, (total(PRICE), total(PRICE)));
    let no = asks.no(PRICE * 2, keyed(1, 2)).await;
    assert!(matches!(no, No::KeyOfAnother), "{no}");
    let no = asks.no(PRICE - 1, keyed(1, 1)).await;
    assert!(
        matches!(no, No::Refused(Refusal::Stale { accepted }) if accepted == total(PRICE)),
        "an older voucher: {no}"
    );
    assert_eq!(asks.totals().await, (total(PRICE), total(PRICE)));
    let no = asks.no(PRICE - 1, keyed(1, 2)).await;
    assert!(
        matches!(no, No::Refused(Refusal::Stale { .. })),
        "an older voucher learns nothing of the request either: {no}"
    );
    // Another key buys.
    asks.buy_whole(PRICE * 2, keyed(2, 1), "second").await;
    assert_eq!(asks.totals().await, (total(PRICE * 2), total(PRICE * 2)));
}

#[tokio::test]
async fn threat_h6_a_key_of_one_channel_says_nothing_on_another() {
    let (till, _) = fresh().await;
    let mut mine = Asks::begin(till.clone(), 1).await;
    let mut other = Asks::begin(till, 2).await;
    mine.buy_whole(PRICE, keyed(1, 1), "mine").await;
    other.buy_whole(PRICE, keyed(1, 1), "other").await;
    assert_eq!(mine.kept(PRICE, keyed(1, 1)).await, answer("mine"));
    assert_eq!(other.kept(PRICE, keyed(1, 1)).await, answer("other"));
    assert_eq!(other.totals().await, (total(PRICE), total(PRICE)));
    // Whoever is not the channel's signer does not even learn that there is such a key.
    let forged = Voucher::claimed(
        mine.payer.channel,
        total(PRICE),
        *other.payer.voucher(PRICE).signature(),
    );
    let order = Order {
        keyed: Some(keyed(1, 1)),
        ..mine.payer.order(PRICE, 99)
    };
    let no = mine.till.pay(forged, order).await.unwrap_err();
    assert!(matches!(no, No::Refused(Refusal::SignerMismatch)), "{no}");
}

#[tokio::test]
async fn what_was_given_back_may_be_bought_anew_under_its_key() {
    let (till, _) = fresh().await;
    let mut asks = Asks::begin(till, 1).await;
    let (sale, hold) = asks.buy(PRICE, keyed(1, 1)).await;
    sale.release().await.unwrap();
    drop(hold);
    let (sale, hold) = asks.buy(PRICE, keyed(1, 1)).await;
    let (_, delivery) = sale.commit().await.unwrap();
    hold.tell().await.unwrap();
    let no = asks.no(PRICE, keyed(1, 1)).await;
    assert!(matches!(no, No::KeyTold), "{no}");
    delivery.fail();
    while asks
        .till
        .read(asks.payer.channel)
        .await
        .unwrap()
        .get()
        .channel
        .credited()
        == total(0)
    {
        tokio::task::yield_now().await;
    }
    asks.buy_whole(PRICE, keyed(1, 1), "third").await;
    assert_eq!(asks.kept(PRICE, keyed(1, 1)).await, answer("third"));
}

#[tokio::test]
async fn ch_8_what_may_yet_be_credited_is_not_owed() {
    let (till, _) = fresh().await;
    let mut asks = Asks::begin(till, 1).await;
    let (sale, hold) = asks.buy(PRICE, keyed(1, 1)).await;
    let (_, delivery) = sale.commit().await.unwrap();
    drop(hold);
    let no = asks.no(PRICE, keyed(1, 1)).await;
    assert!(matches!(no, No::KeyUnderWay), "{no}");
    // The payer went away: what was charged is owed from now on.
    drop(delivery);
    asks.until_no_charge_is_open().await;
    drop(asks.owed(PRICE, keyed(1, 1)).await);
    assert_eq!(asks.totals().await.1, total(PRICE));
}

#[tokio::test]
async fn ch_8_an_owed_answer_that_breaks_off_is_owed_again() {
    let image = Image::default();
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let mut asks = Asks::begin(till, 1).await;
    let lost = asks.buy(PRICE, keyed(1, 1)).await;
    let image = image.crash();
    drop(lost);
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    asks.till = till;
    for _ in 0..2 {
        let hold = asks.owed(PRICE, keyed(1, 1)).await;
        let debt = hold.debt();
        hold.tell().await.unwrap();
        let no = asks.no(PRICE, keyed(1, 1)).await;
        assert!(matches!(no, No::KeyTold), "{no}");
        debt.fail();
        while let Err(no) = asks.ask(PRICE, keyed(1, 1)).await {
            assert!(matches!(no, No::KeyTold), "{no}");
            tokio::task::yield_now().await;
        }
    }
    let (till, _) = open_on(memory::open(&image.crash(), BIRTH).unwrap()).await;
    asks.till = till;
    let hold = asks.owed(PRICE, keyed(1, 1)).await;
    hold.keep(answer("at last")).await.unwrap();
    assert_eq!(asks.kept(PRICE, keyed(1, 1)).await, answer("at last"));
    assert_eq!(asks.totals().await, (total(PRICE), total(PRICE)));
}

#[tokio::test]
async fn ch_8_what_was_charged_and_not_answered_at_a_crash_is_owed() {
    let image = Image::default();
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let mut asks = Asks::begin(till, 1).await;
    let reserved = asks.buy(PRICE * 3, keyed(1, 1)).await;
    let (sale, committed) = asks.buy(PRICE * 3, keyed(2, 1)).await;
    let (_, delivery) = sale.commit().await.unwrap();
    asks.buy_whole(PRICE * 3, keyed(3, 1), "kept").await;
    let image = image.crash();
    drop((reserved, committed, delivery));

    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    asks.till = till;
    for key in [1, 2] {
        let hold = asks.owed(PRICE * 3, keyed(key, 1)).await;
        let no = asks.no(PRICE * 3, keyed(key, 1)).await;
        assert!(matches!(no, No::KeyUnderWay), "{no}");
        drop(hold);
        let hold = asks.owed(PRICE * 3, keyed(key, 1)).await;
        hold.keep(answer("late")).await.unwrap();
    }
    let (till, _) = open_on(memory::open(&image.crash(), BIRTH).unwrap()).await;
    asks.till = till;
    assert_eq!(asks.kept(PRICE * 3, keyed(1, 1)).await, answer("late"));
    assert_eq!(asks.kept(PRICE * 3, keyed(2, 1)).await, answer("late"));
    assert_eq!(asks.kept(PRICE * 3, keyed(3, 1)).await, answer("kept"));
    assert_eq!(asks.totals().await, (total(PRICE * 3), total(PRICE * 3)));
}

#[tokio::test]
async fn what_was_told_and_not_kept_is_not_told_again() {
    let image = Image::default();
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let mut asks = Asks::begin(till, 1).await;
    let (sale, hold) = asks.buy(PRICE, keyed(1, 1)).await;
    let (_, delivery) = sale.commit().await.unwrap();
    hold.tell().await.unwrap();
    // A stream says so from the first moment on.
    let stream = Keyed {
        keeps: false,
        ..keyed(2, 1)
    };
    let (sale, hold) = asks.buy(PRICE * 2, stream).await;
    hold.keep(answer("no")).await.unwrap();
    let no = asks.no(PRICE * 2, stream).await;
    assert!(matches!(no, No::KeyTold), "{no}");
    let image = image.crash();
    drop((sale, delivery));
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    asks.till = till;
    for key in [1, 2] {
        let no = asks.no(PRICE * 2, keyed(key, 1)).await;
        assert!(matches!(no, No::KeyTold), "{no}");
    }
}

#[tokio::test]
async fn threat_h4_keys_are_bounded_and_forgotten_after_their_time() {
    let image = Image::default();
    let (till, clock) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let mut asks = Asks::begin(till, 1).await;
    let keys = u8::try_from(KEYS_PER_CHANNEL_MAX).unwrap();
    let most = PRICE * 1_000;
    for key in 0..=keys {
        asks.buy_whole(most, keyed(key, 1), "kept").await;
        later(&asks.till, &clock, 1);
    }
    assert_eq!(asks.kept(most, keyed(1, 1)).await, answer("kept"));
    let rows = || memory::open(&image.crash(), BIRTH).unwrap();
    assert_eq!(count(&*rows()), KEYS_PER_CHANNEL_MAX);
    let spent = PRICE * (u128::from(keys) + 1);
    // The oldest had to go; so it is bought again.
    asks.buy_whole(most, keyed(0, 1), "again").await;
    assert_eq!(asks.totals().await.1, total(spent + PRICE));

    later(&asks.till, &clock, KEY_SECONDS + 1);
    for key in 0..keys {
        asks.buy_whole(most, keyed(key, 1), "anew").await;
        assert_eq!(asks.kept(most, keyed(key, 1)).await, answer("anew"));
    }
    assert_eq!(count(&*rows()), KEYS_PER_CHANNEL_MAX);

    // Kept answers don't outlive their time in a daemon that nobody asks under a key any more.
    let late = Arc::new(TestClock((NOW + 3 * KEY_SECONDS).into()));
    let books = rows();
    let config = TillConfig {
        domain: support::domain(),
        budget: weir_till::freshness::Budget {
            view_age_seconds_max: 60,
        },
        vouchers_per_second: 1_000,
    };
    let _till = Till::open(config, books.clone(), late).await.unwrap();
    assert_eq!(count(&*books), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threat_h5_concurrent_repeats_sell_once() {
    let (till, _) = fresh().await;
    let asks = Asks::begin(till, 1).await;
    let barrier = Arc::new(tokio::sync::Barrier::new(100));
    let tasks: Vec<_> = (0..100)
        .map(|nonce| {
            let (till, payer, barrier) = (asks.till.clone(), asks.payer.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                let mut asks = Asks { till, payer, nonce };
                match asks.ask(PRICE * 1_000, keyed(1, 1)).await {
                    Ok(Paid::Sale(mut sale, _)) => {
                        let hold = sale.take_hold().unwrap();
                        let (_, delivery) = sale.commit().await.unwrap();
                        hold.keep(answer("once")).await.unwrap();
                        delivery.finish();
                        1
                    }
                    Ok(Paid::Kept(..)) | Err(No::KeyUnderWay) => 0,
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut sold = 0;
    for task in tasks {
        sold += task.await.unwrap();
    }
    assert_eq!(sold, 1);
    assert_eq!(asks.totals().await.1, total(PRICE));
}

/// Lets time pass, on the chain too.
fn later(till: &Till, clock: &TestClock, seconds: u64) {
    let now = UnixSeconds(clock.0.fetch_add(seconds, Ordering::SeqCst) + seconds);
    till.freshness().saw_block(now, now);
}

fn count(journal: &dyn weir_store::Journal) -> usize {
    let mut rows = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        rows += 1;
        std::ops::ControlFlow::Continue(())
    };
    journal.scan(weir_store::Table::Idempotency, &mut visit).unwrap();
    rows
}
