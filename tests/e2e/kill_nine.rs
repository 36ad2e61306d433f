//! SIGKILL under load. The judges are the payers' own logs of receipts, each synced before it counts, and the chain.

use crate::daemon::Daemon;
use crate::service::ANSWER;
use crate::world::{PRICE, Settings, World, free_port, total};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use weir_client::{Error, Payer};
use weir_core::{ChannelId, Cumulative};
use weir_protocol::SessionReceipt;

const PAYERS: usize = 16;
const KILLS: usize = 20;

/// Requests of each payer at once, so that none of them ever waits for another's pause.
const LANES: usize = 2;

/// What a payer counts during the run, besides its log.
#[derive(Default)]
struct Counts {
    /// Whole answers.
    answers: AtomicU64,
    /// Requests whose fate the payer does not know.
    lost: AtomicU64,
}

/// What all payers share.
#[derive(Default)]
struct Run {
    stop: AtomicBool,
    /// Requests that were made and neither answered nor given up.
    under_way: AtomicU64,
}

/// The highest of everything that was acknowledged to a payer.
struct Acknowledged {
    channel: ChannelId,
    accepted: Cumulative,
    spent: Cumulative,
    receipts: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_4_kill_nine_loses_nothing_acknowledged() {
    let world = World::start(PAYERS as u32).await;
    let config = world.config(&Settings {
        gateway: free_port(),
        operator: free_port(),
        ..world.settings("killed")
    });
    let mut daemon = Daemon::start(&config).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let run = Arc::new(Run::default());
    let payers: Vec<Payer> = {
        let payers = (0..PAYERS).map(|index| world.payer(index, "payers"));
        let payers = futures_util::future::join_all(payers).await;
        payers
            .into_iter()
            .map(|payer| payer.keeping_receipts().unwrap())
            .collect()
    };
    // The channels are opened in peace; the kills begin when everybody has one.
    for first in futures_util::future::join_all(payers.iter().map(|payer| payer.get(&url))).await {
        let first = first.unwrap();
        assert_eq!((first.status.as_u16(), first.body), (200, ANSWER.into()));
    }
    let counts: Vec<Arc<Counts>> = payers.iter().map(|_| Arc::new(Counts::default())).collect();
    let lanes: Vec<_> = payers
        .iter()
        .zip(&counts)
        .flat_map(|both| [both; LANES])
        .map(|(payer, counts)| {
            counts.answers.store(1, Ordering::SeqCst);
            tokio::spawn(buy(
                payer.clone(),
                url.clone(),
                Arc::clone(&run),
                Arc::clone(counts),
            ))
        })
        .collect();
    let (mut least, mut in_service) = (u64::MAX, 0);
    let mut random = Random(0x5eed_0e2e);
    for _ in 0..KILLS {
        // The daemon sells again before it is killed again.
        let hits = world.service.hits();
        tokio::time::sleep(Duration::from_millis(200 + random.next() % 700)).await;
        while world.service.hits() == hits {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        least = least.min(run.under_way.load(Ordering::SeqCst));
        in_service += world.service.under_way();
        daemon.kill();
        daemon = Daemon::start(&config).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    run.stop.store(true, Ordering::SeqCst);
    futures_util::future::try_join_all(lanes).await.unwrap();
    assert!(
        least >= PAYERS as u64,
        "only {least} requests were under way at a kill"
    );
    assert!(
        in_service > 0,
        "no kill came between a reservation and its commitment"
    );
    let bought: Vec<Bought> = payers
        .into_iter()
        .zip(counts)
        .map(|(payer, counts)| Bought {
            payer,
            answers: counts.answers.load(Ordering::SeqCst),
            lost: counts.lost.load(Ordering::SeqCst),
        })
        .collect();

    let (mut answers, mut lost) = (0, 0);
    for bought in &bought {
        let acknowledged = acknowledged(&bought.payer);
        let view = daemon.quiet(acknowledged.channel).await;
        assert!(
            view.accepted >= acknowledged.accepted,
            "an acknowledged voucher is missing: {view:?}"
        );
        assert!(
            view.spent >= acknowledged.spent,
            "an acknowledged charge is missing: {view:?}"
        );
        assert!(
            acknowledged.receipts >= bought.answers,
            "an answer came without a receipt"
        );
        answers += bought.answers;
        lost += bought.lost;
    }
    println!(
        "{answers} answers over {KILLS} kills, at each of which {least} requests or more were under way; {in_service} were \
         with the service; {lost} are of unknown outcome"
    );

    // The chain has the last word.
    let closes = bought.iter().map(|bought| bought.payer.close(&url));
    let closed = futures_util::future::join_all(closes).await;
    for (bought, closed) in bought.iter().zip(closed) {
        // The payer itself checks that no more was captured than it agreed to pay.
        let closed = closed.unwrap();
        let acknowledged = acknowledged(&bought.payer);
        let [record] = bought.payer.channels().try_into().unwrap();
        let state = world.on_chain(acknowledged.channel).await;
        assert!(state.finalized);
        assert_eq!(state.settled, closed.captured);
        assert!(
            closed.captured <= record.signed,
            "more was captured than was signed"
        );
        assert!(
            closed.captured <= record.agreed,
            "more was captured than was agreed"
        );
        // Every receipt is of one charge, whether or not its answer arrived whole.
        let charged = total(PRICE * u128::from(acknowledged.receipts));
        assert!(
            closed.captured >= charged,
            "an acknowledged answer was not collected"
        );
        assert!(
            closed.captured >= acknowledged.spent,
            "an acknowledged charge was not collected"
        );
        // Whatever was charged beyond the answers received is of a request whose outcome the payer does not know.
        let most = total(PRICE * u128::from(bought.answers + bought.lost));
        assert!(
            closed.captured <= most,
            "{} was captured, for {} answers and {} requests of unknown outcome",
            closed.captured,
            bought.answers,
            bought.lost
        );
    }
}

/// What became of one payer.
struct Bought {
    payer: Payer,
    answers: u64,
    lost: u64,
}

/// Buys one answer after the other; a request whose fate is unknown is not repeated.
async fn buy(payer: Payer, url: String, run: Arc<Run>, counts: Arc<Counts>) {
    while !run.stop.load(Ordering::SeqCst) {
        run.under_way.fetch_add(1, Ordering::SeqCst);
        let got = payer.get(&url).await;
        run.under_way.fetch_sub(1, Ordering::SeqCst);
        match got {
            Ok(response) if response.receipt.is_some() => {
                assert_eq!((response.status.as_u16(), response.body), (200, ANSWER.into()));
                counts.answers.fetch_add(1, Ordering::SeqCst);
            }
            // The daemon is not ready yet, or it was killed in the middle.
            Ok(response) => {
                assert!(response.status.is_server_error(), "{response:?}");
                counts.lost.fetch_add(1, Ordering::SeqCst);
            }
            Err(Error::Http(_) | Error::OutcomeUnknown | Error::Cut { .. }) => {
                counts.lost.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => panic!("payer {}: {error}", payer.address()),
        }
    }
}

fn acknowledged(payer: &Payer) -> Acknowledged {
    let log = std::fs::read_to_string(payer.state_path().join("receipts.jsonl")).unwrap();
    let receipts: Vec<SessionReceipt> = log
        .lines()
        .map(|line| SessionReceipt::from_json(line.as_bytes()).unwrap())
        .collect();
    let challenges: HashSet<&str> = receipts
        .iter()
        .map(|receipt| receipt.challenge_id.as_str())
        .collect();
    assert_eq!(challenges.len(), receipts.len(), "a challenge was granted twice");
    Acknowledged {
        channel: receipts[0].channel,
        accepted: receipts.iter().map(|receipt| receipt.accepted).max().unwrap(),
        spent: receipts.iter().map(|receipt| receipt.spent).max().unwrap(),
        // The close has a receipt too, and charges nothing.
        receipts: receipts
            .iter()
            .filter(|receipt| receipt.tx_hash.is_none())
            .count() as u64,
    }
}

/// xorshift64*: moments that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }
}
