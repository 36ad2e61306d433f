//! Streams sold by the event: how they end, and how the daemon ends while they run.

use crate::daemon::Daemon;
use crate::service::EVENT_PAUSE;
use crate::wallet::Wallet;
use crate::world::{DEPOSIT, PRICE, Settings, World, free_port, route, total};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONNECTION, RETRY_AFTER};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use weir_client::StreamEvent;
use weir_protocol::SessionReceipt;
use weir_protocol::splitter::{SseEvent, SseSplitter};

/// Where the events of a stream are sold.
fn config(world: &World, name: &str) -> PathBuf {
    let more = "methods = [\"GET\"]\nmeter = \"event\"\n";
    let routes = ["/events/*", "/cut-events/*", "/late-events/*"].map(|path| route(path, PRICE, more));
    let routes = routes.concat();
    world.config(&Settings {
        routes: &routes,
        gateway: free_port(),
        operator: free_port(),
        ..world.settings(name)
    })
}

/// A stream as it is read by hand.
struct Reading {
    response: reqwest::Response,
    splitter: SseSplitter,
    ready: Vec<SseEvent>,
}

impl Reading {
    async fn begin(wallet: &Wallet, url: &str, base_units: u128) -> Self {
        let voucher = wallet.voucher(base_units);
        let credential = wallet.credential(Method::GET, url, &voucher).await;
        let sent = wallet
            .http
            .get(url)
            .header(AUTHORIZATION, credential)
            .send()
            .await;
        let response = sent.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            splitter: SseSplitter::default(),
            ready: Vec::new(),
        }
    }

    async fn next(&mut self) -> Option<SseEvent> {
        while self.ready.is_empty() {
            let piece = self.response.chunk().await.unwrap()?;
            self.splitter.feed(&piece, &mut self.ready).unwrap();
        }
        Some(self.ready.remove(0))
    }

    /// Reads to the final receipt: how many events came before it, and the receipt.
    async fn read_out(&mut self) -> (u64, SessionReceipt) {
        let mut events = 0;
        loop {
            let Some(event) = self.next().await else {
                panic!("the stream ended without a receipt");
            };
            match event.name() {
                Some(b"payment-receipt") => {
                    let receipt = SessionReceipt::from_json(&event.data().unwrap()).unwrap();
                    assert!(self.next().await.is_none(), "nothing comes after the receipt");
                    return (events, receipt);
                }
                Some(b"payment-need-voucher") => {}
                // Comments are none.
                _ => events += u64::from(event.has_data()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ending_daemon_takes_vouchers_for_running_streams_and_sells_nothing_new() {
    const EVENTS: u64 = 40;
    for name in ["TERM", "INT"] {
        let world = World::start(2).await;
        let config = config(&world, "ending");
        let mut daemon = Daemon::start(&config).await;
        let wallet = Wallet::open(&world, &daemon, 1).await;
        let answer = format!("{}/v1/answer", daemon.gateway);
        let in_time = wallet
            .credential(Method::GET, &answer, &wallet.voucher(PRICE * 2))
            .await;
        let payer = world.payer(0, "payer").await;
        let mut stream = payer
            .stream(&format!("{}/events/{EVENTS}", daemon.gateway))
            .await
            .unwrap();
        let (mut messages, mut vouchers, mut told, mut receipt) = (0, 0, false, None);
        while let Some(event) = stream.next().await {
            match event.unwrap() {
                StreamEvent::Message(_) => messages += 1,
                StreamEvent::Authorised(_) => vouchers += 1,
                StreamEvent::Receipt(last) => receipt = Some(last),
            }
            if messages == 5 && !told {
                told = true;
                daemon.signal(name);
                // Until it has heard the signal, it sells.
                for _ in 0..100 {
                    if !daemon.is_ready().await {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                for credential in [None, Some(in_time.as_str())] {
                    let said = wallet.send(Method::GET, &answer, credential).await;
                    assert_eq!(said.status, 503, "{said:?}");
                    assert_eq!(said.header(CONNECTION), "close", "{said:?}");
                    assert!(!said.header(RETRY_AFTER).is_empty(), "{said:?}");
                    said.must_be_a_no("an ending daemon");
                }
            }
        }
        let receipt = receipt.unwrap();
        assert_eq!((messages, receipt.units), (EVENTS, Some(EVENTS)), "SIG{name}");
        assert!(
            vouchers >= EVENTS - 6,
            "each event was paid by a voucher of its own"
        );
        assert!(daemon.ended(Duration::from_secs(5)).await.success());
        // Nothing is lost, and what was not sold can still be bought.
        let daemon = Daemon::start(&config).await;
        let view = daemon.quiet(receipt.channel).await;
        assert_eq!(view.spent, receipt.spent);
        assert_eq!(receipt.spent, total(PRICE * u128::from(EVENTS)));
        let said = wallet
            .send(
                Method::GET,
                &format!("{}/v1/answer", daemon.gateway),
                Some(&in_time),
            )
            .await;
        assert_eq!(said.status, 200, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_waits_for_a_voucher_ends_soon_with_its_receipt_when_the_daemon_ends() {
    let world = World::start(1).await;
    let mut daemon = Daemon::start(&config(&world, "waiting")).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/events/1000", daemon.gateway);
    // Three events are paid for, and nothing more comes.
    let mut reading = Reading::begin(&wallet, &url, PRICE * 4).await;
    while reading.next().await.unwrap().name() != Some(b"payment-need-voucher") {}
    let began = Instant::now();
    daemon.signal("TERM");
    let (events, receipt) = reading.read_out().await;
    assert_eq!((events, receipt.units), (0, Some(3)));
    assert_eq!(receipt.spent, total(PRICE * 4));
    assert!(daemon.ended(Duration::from_secs(8)).await.success());
    assert!(began.elapsed() < Duration::from_secs(8));
    let said = daemon.log();
    assert!(
        said.contains("a stream was cut") && said.contains("no voucher came in time"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_daemon_at_once() {
    let world = World::start(1).await;
    let config = config(&world, "twice");
    let mut daemon = Daemon::start(&config).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/events/1000", daemon.gateway);
    let mut reading = Reading::begin(&wallet, &url, DEPOSIT).await;
    assert!(reading.next().await.is_some());
    daemon.signal("INT");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        reading.next().await.is_some(),
        "what runs goes on after the first"
    );
    let began = Instant::now();
    daemon.signal("TERM");
    assert!(!daemon.ended(Duration::from_secs(5)).await.success());
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(daemon.log().contains("ended at once"), "{}", daemon.log());
    // What was charged is charged; the books are whole.
    let daemon = Daemon::start(&config).await;
    let view = daemon.quiet(wallet.channel).await;
    assert!(view.spent >= total(PRICE * 3), "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_on_a_channel_ends_the_one_before_it() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&config(&world, "newer")).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = |count: u64| format!("{}/events/{count}", daemon.gateway);
    let mut first = Reading::begin(&wallet, &url(1000), DEPOSIT).await;
    for _ in 0..3 {
        assert!(first.next().await.is_some());
    }
    let mut second = Reading::begin(&wallet, &url(10), DEPOSIT).await;
    let (more, receipt) = first.read_out().await;
    assert_eq!(
        receipt.units,
        Some(3 + more),
        "each event that came was charged, no other"
    );
    let (events, last) = second.read_out().await;
    assert_eq!((events, last.units), (10, Some(10)));
    let spent = PRICE * u128::from(1 + 3 + more + events);
    assert_eq!(last.spent, total(spent), "and each once");
    assert_eq!(daemon.quiet(wallet.channel).await.spent, total(spent));
    assert!(
        daemon.log().contains("the channel has a newer stream"),
        "{}",
        daemon.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_that_ends_its_stream_before_the_first_event_pays_for_that_event() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&config(&world, "early")).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let late = format!("{}/late-events/9", daemon.gateway);
    let soon = |count: u64| format!("{}/events/{count}", daemon.gateway);
    let spent = async || daemon.channel(wallet.channel).await.spent;
    // Replaced before its first event: the service was asked, and was at work.
    let mut replaced = Reading::begin(&wallet, &late, DEPOSIT).await;
    let gone = Reading::begin(&wallet, &late, DEPOSIT).await;
    let (events, receipt) = replaced.read_out().await;
    assert_eq!((events, receipt.units), (0, Some(1)));
    assert_eq!(receipt.spent, total(PRICE * 2), "the receipt tells of it");
    // So for one that hung up.
    drop(gone);
    let deadline = Instant::now() + Duration::from_secs(20);
    while spent().await != total(PRICE * 3) {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        tokio::time::sleep(EVENT_PAUSE).await;
    }
    // A service that sends nothing has earned nothing.
    let (events, receipt) = Reading::begin(&wallet, &soon(0), DEPOSIT).await.read_out().await;
    assert_eq!((events, receipt.units), (0, Some(0)));
    assert_eq!(receipt.spent, total(PRICE * 3));
    // Who waits gets what it pays for.
    let (events, receipt) = Reading::begin(&wallet, &soon(2), DEPOSIT).await.read_out().await;
    assert_eq!((events, receipt.units), (2, Some(2)));
    assert_eq!(daemon.quiet(wallet.channel).await.spent, total(PRICE * 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_is_logged_with_what_it_cost() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&config(&world, "cut")).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/cut-events/3", daemon.gateway);
    let (events, receipt) = Reading::begin(&wallet, &url, DEPOSIT).await.read_out().await;
    assert_eq!(
        (events, receipt.units),
        (3, Some(3)),
        "the service's cut is charged by the event"
    );
    let mut gone = Reading::begin(&wallet, &format!("{}/events/1000", daemon.gateway), DEPOSIT).await;
    assert!(gone.next().await.is_some());
    drop(gone);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !daemon.log().contains("the payer went away") {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        tokio::time::sleep(EVENT_PAUSE).await;
    }
    let spent = daemon.quiet(wallet.channel).await.spent;
    let log = daemon.log();
    let line = |why: &str| {
        let line = log.lines().find(|line| line.contains(why)).unwrap_or_default();
        assert!(
            line.contains("INFO") && line.contains(&wallet.channel.to_string()),
            "{log}"
        );
        line.to_owned()
    };
    let cut = line("the service cut it");
    assert!(
        cut.contains("\"units\":3") && cut.contains(&format!("\"spent\":\"{}\"", receipt.spent)),
        "{cut}"
    );
    let left = line("the payer went away");
    assert!(left.contains(&format!("\"spent\":\"{spent}\"")), "{left}");
}
