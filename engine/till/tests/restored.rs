//! Books that are not those of today: a copy that was restored, and a restart after which the chain may show less.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::path::Path;
use std::sync::Arc;
use support::running::{Running, books, sell, standing, until};
use support::script::Script;
use support::{BIRTH, NOW, Payer, buy, open_on};
use weir_chain::BlockRef;
use weir_chain::watcher::{Observation, Sighting, Sink};
use weir_core::{ChainState, Cumulative, Refusal, Standing, UnixSeconds};
use weir_store::memory::{self, Image};
use weir_till::facts::{Facts, Followed, tracked};
use weir_till::{Adoption, No};

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
        first_block: None,
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
        first_block: None,
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
