//! The settler over real books and a scripted chain: what a restart finds again, and what it is spared.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::running::{PATIENCE, Running, books, sell, until};
use support::script::Script;
use support::{BIRTH, NOW, Payer, open_on};
use weir_core::{ChainState, Cumulative, Standing, UnixSeconds};
use weir_store::memory::{self, Image};
use weir_till::attempt::{Attempt, Ended};
use weir_till::settlement::Batch;
use weir_till::settler::{ATTEMPTS_KEPT_MAX, STRIKES_MAX};
use weir_till::{Adoption, No, Till};

/// The chain shows that a payer asked for its deposit of 1,000 back.
async fn ask_to_leave(till: &Till, payer: &Payer) {
    let requested = ChainState {
        close_requested_at: Some(UnixSeconds(NOW)),
        ..payer.adoption(1_000).seen
    };
    observe_final(till, payer, requested).await;
}

/// The watcher tells of a payer's channel with a deposit of 1,000, in a block that is final.
async fn observe_final(till: &Till, payer: &Payer, state: ChainState) {
    let _ = till
        .observe(Adoption {
            seen: state,
            last_final: state,
            ..payer.adoption(1_000)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_close_is_answered_with_the_same_transaction_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (payer, chain) = (Payer::new(1), Arc::new(Script::default()));
    let journal = books(directory.path());
    let (till, _) = open_on(journal.clone()).await;
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    sell(&till, &payer, 60, 60, 1).await;
    let settler = Running::start(&till, &chain);
    let mut settled = settler.handle.listen();
    let _ = till.begin_close(payer.voucher(60)).await.unwrap();
    settler.handle.call();
    let told = tokio::time::timeout(PATIENCE, settled.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(told.closed && told.target == Cumulative::new(60));
    let of = |till: Till| async move {
        let answer = till.read(payer.channel).await.unwrap();
        answer.get().channel.closed_by()
    };
    assert_eq!(
        of(till.clone()).await,
        Some(told.transaction),
        "told after it was written down"
    );
    settler.stop().await;
    till.close().unwrap();
    drop((till, journal));

    let (till, _) = open_on(books(directory.path())).await;
    assert_eq!(of(till.clone()).await, Some(told.transaction));
    // The chain's own word takes nothing of that away.
    let payer = Payer::new(1);
    let state = chain.state(&payer, 1_000);
    let closed = Adoption {
        seen: state,
        last_final: state,
        ..payer.adoption(1_000)
    };
    let answer = till.observe(closed).await.unwrap();
    assert_eq!(answer.get().channel.standing(), Standing::Finalized);
    assert_eq!(answer.get().channel.closed_by(), Some(told.transaction));
}

#[tokio::test]
async fn attempts_that_ended_long_ago_are_forgotten() {
    let image = Image::default();
    let journal = memory::open(&image, BIRTH).unwrap();
    let script = Script::default();
    for id in 0..ATTEMPTS_KEPT_MAX as u64 + 5 {
        let batch = Batch {
            token: Payer::new(1).terms.token,
            closes: false,
            rows: Vec::new(),
            terms: Vec::new(),
        };
        let envelope = weir_till::settlement::Settlement::sign(&script, &batch)
            .await
            .unwrap();
        let attempt = Attempt {
            id,
            batch,
            envelopes: vec![envelope],
            ended: Some(Ended::Mined),
        };
        let _ = attempt.write(&*journal).await.unwrap();
    }
    let (payer, chain) = (Payer::new(1), Arc::new(Script::default()));
    let (till, _) = open_on(journal.clone()).await;
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    sell(&till, &payer, 60, 60, 1).await;
    let settler = Running::start(&till, &chain);
    settler.handle.settle_now([payer.channel]);
    until("it is signed", async || !chain.said().signed.is_empty()).await;
    let nonce = *chain.said().signed.keys().next().unwrap();
    assert_eq!(
        nonce,
        ATTEMPTS_KEPT_MAX as u64 + 5,
        "the highest nonce is remembered"
    );
    observe_final(&till, &payer, chain.state(&payer, 1_000)).await;
    let newest = ATTEMPTS_KEPT_MAX as u64 + 5;
    until("its end is on record", async || {
        let kept = Attempt::read_all(&*journal).unwrap();
        kept.last()
            .is_some_and(|last| last.id == newest && last.ended == Some(Ended::Mined))
            && kept.len() == ATTEMPTS_KEPT_MAX
    })
    .await;
    settler.stop().await;
    let kept = Attempt::read_all(&*journal).unwrap();
    let ids: Vec<u64> = kept.iter().map(|attempt| attempt.id).collect();
    assert!(ids.iter().copied().eq(6..=newest), "{:?}…", &ids[..3]);
    assert!(kept.iter().all(|attempt| attempt.envelopes.len() == 1));
    let mut envelopes = 0;
    let count = &mut |_: &[u8], _: &[u8]| {
        envelopes += 1;
        std::ops::ControlFlow::Continue(())
    };
    journal.scan(weir_store::Table::Envelopes, count).unwrap();
    assert_eq!(envelopes, ATTEMPTS_KEPT_MAX, "theirs are gone with them");
}

#[tokio::test]
async fn threat_b1_a_doomed_row_is_taken_out_and_the_rest_lands() {
    let (till, _) = support::fresh().await;
    let (good, bad, chain) = (Payer::new(1), Payer::new(2), Arc::new(Script::default()));
    for payer in [&good, &bad] {
        let _ = till.observe(payer.adoption(1_000)).await.unwrap();
        sell(&till, payer, 60, 60, 1).await;
    }
    chain.said().doomed.insert(bad.channel, "the token refuses");
    let settler = Running::start(&till, &chain);
    let mut settled = settler.handle.listen();
    settler.handle.settle_now([good.channel, bad.channel]);
    let told = tokio::time::timeout(PATIENCE, settled.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((told.channel, told.target), (good.channel, Cumulative::new(60)));
    let rows: Vec<_> = chain
        .said()
        .signed
        .values()
        .flat_map(|(_, batch)| batch.rows.clone())
        .collect();
    assert_eq!(rows.len(), 1, "the doomed row was never signed: {rows:?}");
    let answer = till.read(bad.channel).await.unwrap();
    assert_eq!(answer.get().channel.capture(), None, "it waits for another try");
    assert_eq!(settler.handle.tally().skipped, 1);
    settler.stop().await;
}

#[tokio::test]
async fn threat_b1_a_payer_that_leaves_waits_behind_nothing_that_was_planned_before() {
    let (till, _) = support::fresh().await;
    let (first, second, leaving) = (Payer::new(1), Payer::new(2), Payer::new(3));
    let chain = Arc::new(Script::default());
    for (payer, price) in [(&first, 60), (&second, 50), (&leaving, 40)] {
        let _ = till.observe(payer.adoption(1_000)).await.unwrap();
        sell(&till, payer, price, price, 1).await;
    }
    chain.said().takes_one = true;
    chain.said().stands_still = true;
    let settler = Running::start(&till, &chain);
    settler.handle.settle_now([first.channel, second.channel]);
    until("the first is on its way", async || {
        !chain.said().signed.is_empty()
    })
    .await;
    // It leaves while that lands, and is to be closed besides: a transaction of another kind.
    ask_to_leave(&till, &leaving).await;
    let _ = till.begin_close(leaving.voucher(40)).await.unwrap();
    // Asked for again before it is done: it is not signed twice for it.
    settler.handle.settle_now([first.channel]);
    chain.said().stands_still = false;
    until("all are signed", async || chain.said().signed.len() == 3).await;
    let batches: Vec<Batch> = chain
        .said()
        .signed
        .values()
        .map(|(_, batch)| batch.clone())
        .collect();
    let order: Vec<_> = batches.iter().map(|batch| batch.rows[0].channel).collect();
    assert_eq!(order, [first.channel, leaving.channel, second.channel]);
    settler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_persons_word_outlives_a_chain_that_is_away() {
    let (till, _) = support::fresh().await;
    let (payer, chain) = (Payer::new(1), Arc::new(Script::default()));
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    // Far too little, and far too young, to be settled by itself.
    sell(&till, &payer, 60, 60, 1).await;
    chain.said().away = 3;
    let settler = Running::start(&till, &chain);
    settler.handle.settle_now([payer.channel]);
    until("it is settled once the chain is there", async || {
        chain.state(&payer, 1_000).settled == Cumulative::new(60)
    })
    .await;
    assert_eq!(chain.said().away, 0);
    settler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn threat_b2_after_five_strikes_only_a_persons_word_or_a_deadline_tries_again() {
    let (till, _) = support::fresh().await;
    let (bad, chain) = (Payer::new(1), Arc::new(Script::default()));
    let _ = till.observe(bad.adoption(1_000)).await.unwrap();
    sell(&till, &bad, 60, 60, 1).await;
    // A close is planned at every look until it is done.
    let _ = till.begin_close(bad.voucher(60)).await.unwrap();
    chain.said().doomed.insert(bad.channel, "the token refuses");
    let settler = Running::start(&till, &chain);
    let tried = || chain.said().tried.get(&bad.channel).copied().unwrap_or(0);
    until("five strikes", async || tried() >= STRIKES_MAX).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(tried(), STRIKES_MAX, "it is left for a person");
    settler.handle.settle_now([bad.channel]);
    until("a person's word", async || tried() == STRIKES_MAX + 1).await;
    ask_to_leave(&till, &bad).await;
    until("a deadline", async || tried() > STRIKES_MAX + 2).await;
    settler.stop().await;
}

/// A clock that breaks.
struct Broken(std::sync::atomic::AtomicBool);

impl weir_till::Clock for Broken {
    fn now(&self) -> UnixSeconds {
        assert!(
            !self.0.load(std::sync::atomic::Ordering::SeqCst),
            "a bug in a lane"
        );
        UnixSeconds(NOW)
    }
}

#[tokio::test]
async fn a_lane_that_panicked_ends_the_settler_and_takes_no_payment() {
    let clock = Arc::new(Broken(false.into()));
    let config = weir_till::TillConfig {
        domain: Payer::new(1).domain,
        budget: weir_till::freshness::Budget {
            view_age_seconds_max: 60,
        },
        vouchers_per_second: 10,
    };
    let journal = memory::open(&Image::default(), BIRTH).unwrap();
    let (till, _) = Till::open(config, journal, clock.clone()).await.unwrap();
    let payer = Payer::new(1);
    let _ = till.observe(payer.adoption(1_000)).await.unwrap();
    clock.0.store(true, std::sync::atomic::Ordering::SeqCst);
    let no = till.begin_close(payer.voucher(5)).await;
    assert!(matches!(no, Err(No::Stopping)), "{no:?}");
    clock.0.store(false, std::sync::atomic::Ordering::SeqCst);
    let no = till.begin_close(payer.voucher(5)).await;
    assert!(matches!(no, Err(No::Stopping)), "the lane is gone: {no:?}");
    // Whoever supervises the settler hears of it at its next look.
    let settler = Running::start(&till, &Arc::new(Script::default()));
    let ended = tokio::time::timeout(PATIENCE, settler.task)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(ended, Err(No::Stopping)), "{ended:?}");
}
