//! The settler over real books and a scripted chain: what a restart finds again, and what it is spared.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::script::Script;
use support::{BIRTH, NOW, Payer, buy, open_on};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_chain::BlockRef;
use weir_chain::watcher::{Observation, Sighting, Sink};
use weir_core::planner::Policy;
use weir_core::{Amount, ChainState, Cumulative, Refusal, Standing, UnixSeconds};
use weir_store::memory::{self, Image};
use weir_store::{Journal, disk};
use weir_till::attempt::{Attempt, Ended};
use weir_till::facts::{Facts, Followed, tracked};
use weir_till::settlement::Batch;
use weir_till::settler::{ATTEMPTS_KEPT_MAX, STRIKES_MAX};
use weir_till::{Adoption, No, Paid, Settler, SettlerConfig, SettlerHandle, Till};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    handle: SettlerHandle,
    task: JoinHandle<Result<(), No>>,
    stop: watch::Sender<bool>,
}

impl Running {
    fn start(till: &Till, chain: &Arc<Script>) -> Self {
        let config = SettlerConfig {
            policy: Policy {
                value_max: Amount::new(1_000_000),
                age_max_seconds: 1_000_000,
                value_min: Amount::new(1),
            },
            gather: Duration::ZERO,
        };
        let (settler, handle) = Settler::new(till.clone(), chain.clone(), config);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(settler.run(stopped));
        Self { handle, task, stop }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap();
    }
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn books(directory: &Path) -> Arc<dyn Journal> {
    disk::open(directory, BIRTH).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

/// Sells for `price` on a voucher over `total`, all of it delivered.
async fn sell(till: &Till, payer: &Payer, total: u128, price: u128, nonce: u64) {
    let Paid::Sale(sale, _) = buy(till, payer, total, price, nonce).await.unwrap() else {
        panic!("nothing was sold")
    };
    let (_, delivery) = sale.commit().await.unwrap();
    delivery.finish();
    until("the delivery is over", async || {
        let answer = till.read(payer.channel).await.unwrap();
        answer.get().channel.charges().is_empty()
    })
    .await;
}

async fn standing(till: &Till, payer: &Payer) -> Standing {
    till.read(payer.channel).await.unwrap().get().channel.standing()
}

fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: alloy_primitives::keccak256(number.to_be_bytes()),
        timestamp: UnixSeconds(NOW),
    }
}

/// What the watcher tells when all that it shows is final.
fn sighting(head: u64, shown: &[(&Payer, ChainState, Option<u64>)]) -> Sighting {
    let observations = shown.iter().map(|(payer, state, opened_in)| Observation {
        id: payer.channel,
        terms: payer.terms.clone(),
        seen: *state,
        last_final: *state,
        opened_in: *opened_in,
    });
    Sighting {
        head: block(head),
        last_final: block(head),
        observations: observations.collect(),
        reorged: false,
    }
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
    let state = chain.state(&payer, 1_000);
    let _ = till
        .observe(Adoption {
            seen: state,
            last_final: state,
            ..payer.adoption(1_000)
        })
        .await
        .unwrap();
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
    let requested = ChainState {
        close_requested_at: Some(UnixSeconds(NOW)),
        ..bad.adoption(1_000).seen
    };
    let _ = till
        .observe(Adoption {
            seen: requested,
            last_final: requested,
            ..bad.adoption(1_000)
        })
        .await
        .unwrap();
    until("a deadline", async || tried() > STRIKES_MAX + 2).await;
    settler.stop().await;
}

#[tokio::test]
async fn threat_c7_books_restored_from_a_backup_are_found_out_and_not_sold_from() {
    let (now, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two, unknown, young) = (Payer::new(1), Payer::new(2), Payer::new(3), Payer::new(4));
    let chain = Arc::new(Script::default());
    let journal = books(now.path());
    let (till, _) = open_on(journal.clone()).await;
    for payer in [&one, &two] {
        let _ = till.observe(payer.adoption(1_000)).await.unwrap();
        sell(&till, payer, 60, 60, 1).await;
    }
    till.close().unwrap();
    drop((till, journal));
    copy(now.path(), backup.path());

    // Life goes on after the copy: both buy more, a third opens and buys, the first is settled.
    let journal = books(now.path());
    let (till, _) = open_on(journal.clone()).await;
    let _ = till.observe(unknown.adoption(1_000)).await.unwrap();
    for (payer, nonce) in [(&one, 2), (&two, 2), (&unknown, 1)] {
        sell(&till, payer, 300, 40, nonce).await;
    }
    let settler = Running::start(&till, &chain);
    settler.handle.settle_now([one.channel]);
    until("it is settled", async || !chain.said().signed.is_empty()).await;
    settler.stop().await;
    till.close().unwrap();
    drop((till, journal));

    // The copy is restored. Every channel is shown as it is on the chain, once.
    let journal = books(backup.path());
    let (till, _) = open_on(journal.clone()).await;
    let copied = till.read(two.channel).await.unwrap();
    assert_eq!(
        copied.get().channel.spent(),
        Cumulative::new(60),
        "what was sold since is forgotten"
    );
    let followed = Followed {
        head: block(10),
        born_in: 1,
    };
    let mut facts = Facts::new(till.clone(), followed);
    let fresh = unknown.adoption(1_000).seen;
    let shown = [
        (&one, chain.state(&one, 1_000), None),
        (&two, two.adoption(1_000).seen, None),
        (&unknown, fresh, Some(12)),
    ];
    facts.take(&sighting(20, &shown)).await.unwrap();
    assert_eq!(
        facts.birth().block(),
        21,
        "all that was opened until now is older than the books"
    );
    for payer in [&one, &two, &unknown] {
        assert_eq!(standing(&till, payer).await, Standing::DrainOnly);
        let no = buy(&till, payer, 301, 1, 9).await;
        assert!(
            matches!(no, Err(No::Refused(Refusal::ChannelDrainOnly))),
            "{no:?}"
        );
    }
    // What the payer itself says it owes is honoured at the close; what the copy knows is collected in any case.
    let closing = till.begin_close(two.voucher(100)).await.unwrap();
    assert_eq!(closing.get().channel.collectible(), Cumulative::new(100));
    facts
        .take(&sighting(22, &[(&young, fresh, Some(22))]))
        .await
        .unwrap();
    sell(&till, &young, 60, 60, 1).await;
    till.close().unwrap();
    drop((facts, till, journal));

    // It is remembered: another restart sells no more of them.
    let (till, _) = open_on(books(backup.path())).await;
    assert_eq!(standing(&till, &one).await, Standing::DrainOnly);
    assert_eq!(standing(&till, &unknown).await, Standing::DrainOnly);
    assert_eq!(standing(&till, &young).await, Standing::Live);
}

#[tokio::test]
async fn threat_c7_a_strange_settlement_later_on_ends_the_sale_on_its_channel_alone() {
    let (till, _) = support::fresh().await;
    let (one, two) = (Payer::new(1), Payer::new(2));
    let followed = Followed {
        head: block(10),
        born_in: 1,
    };
    let mut facts = Facts::new(till.clone(), followed);
    let state = one.adoption(1_000).seen;
    facts
        .take(&sighting(11, &[(&one, state, Some(11)), (&two, state, Some(11))]))
        .await
        .unwrap();
    let settled = ChainState {
        settled: Cumulative::new(5),
        ..state
    };
    facts.take(&sighting(12, &[(&one, settled, None)])).await.unwrap();
    assert_eq!(standing(&till, &one).await, Standing::DrainOnly);
    assert_eq!(standing(&till, &two).await, Standing::Live);
}

#[tokio::test]
async fn threat_t4_a_channel_whose_end_is_not_final_is_read_again_after_a_restart() {
    let image = Image::default();
    let (till, _) = open_on(memory::open(&image, BIRTH).unwrap()).await;
    let payer = Payer::new(1);
    let open = payer.adoption(1_000).seen;
    let closed = ChainState {
        finalized: true,
        ..open
    };
    let seen = |seen, last_final| Adoption {
        seen,
        last_final,
        ..payer.adoption(1_000)
    };
    let _ = till.observe(seen(closed, open)).await.unwrap();
    let (till, _) = open_on(memory::open(&image.crash(), BIRTH).unwrap()).await;
    assert_eq!(standing(&till, &payer).await, Standing::Finalized);
    let ids: Vec<_> = tracked(&till)
        .await
        .unwrap()
        .iter()
        .map(|tracked| tracked.id)
        .collect();
    assert_eq!(
        ids,
        [payer.channel],
        "a reorg may have taken its end back meanwhile"
    );
    let _ = till.observe(seen(open, open)).await.unwrap();
    assert_eq!(standing(&till, &payer).await, Standing::Live);
    let _ = till.observe(seen(closed, closed)).await.unwrap();
    assert!(
        tracked(&till).await.unwrap().is_empty(),
        "what is over for good is not read again"
    );
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
