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

/// What one payer keeps from the run besides its log.
struct Bought {
    payer: Payer,
    /// Whole answers, counted by the payer.
    answers: u64,
    /// Requests whose fate the payer does not know.
    lost: u64,
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
    let stop = Arc::new(AtomicBool::new(false));
    let under_way = Arc::new(AtomicU64::new(0));
    let mut buying = Vec::new();
    for index in 0..PAYERS {
        let payer = world.payer(index, "payers").await.keeping_receipts().unwrap();
        let first = payer.clone();
        let (url, stop, under_way) = (url.clone(), Arc::clone(&stop), Arc::clone(&under_way));
        // The channel is opened in peace; the kills begin when everybody has one.
        let opening = tokio::spawn({
            let url = url.clone();
            async move { first.get(&url).await }
        });
        buying.push((opening, payer, url, stop, under_way));
    }
    let mut payers = Vec::new();
    for (opening, payer, url, stop, under_way) in buying {
        let first = opening.await.unwrap().unwrap();
        assert_eq!((first.status.as_u16(), first.body), (200, ANSWER.into()));
        payers.push(tokio::spawn(buy(payer, url, stop, under_way)));
    }
    let mut least_under_way = u64::MAX;
    let mut random = Random(0x5eed_0e2e);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(200 + random.next() % 700)).await;
        least_under_way = least_under_way.min(under_way.load(Ordering::SeqCst));
        daemon.kill();
        daemon = Daemon::start(&config).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let bought = futures_util::future::try_join_all(payers).await.unwrap();
    assert_eq!(
        least_under_way, PAYERS as u64,
        "every payer had a request under way at every kill"
    );

    let mut lost = 0;
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
        lost += bought.lost;
    }
    println!(
        "{} answers by {PAYERS} payers over {KILLS} kills; {lost} requests of unknown outcome",
        bought.iter().map(|bought| bought.answers).sum::<u64>()
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
        let delivered = total(PRICE * u128::from(bought.answers));
        assert!(closed.captured >= delivered, "an answer was not paid for");
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

/// Buys one answer after the other; a request whose fate is unknown is not repeated.
async fn buy(payer: Payer, url: String, stop: Arc<AtomicBool>, under_way: Arc<AtomicU64>) -> Bought {
    let (mut answers, mut lost) = (1, 0);
    under_way.fetch_add(1, Ordering::SeqCst);
    while !stop.load(Ordering::SeqCst) {
        match payer.get(&url).await {
            Ok(response) if response.receipt.is_some() => {
                assert_eq!((response.status.as_u16(), response.body), (200, ANSWER.into()));
                answers += 1;
            }
            // The daemon is not ready yet, or it was killed in the middle.
            Ok(response) => {
                assert!(response.status.is_server_error(), "{response:?}");
                lost += 1;
            }
            Err(Error::Http(_) | Error::OutcomeUnknown) => lost += 1,
            Err(error) => panic!("payer {}: {error}", payer.address()),
        }
    }
    under_way.fetch_sub(1, Ordering::SeqCst);
    Bought { payer, answers, lost }
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
        receipts: receipts.len() as u64,
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
