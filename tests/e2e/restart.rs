//! Orderly ends, second daemons, and a chain that is away.

use crate::daemon::{Daemon, ended, signal};
use crate::service::{ANSWER, Wire};
use crate::wallet::{Said, Wallet};
use crate::world::{PRICE, Settings, World, free_port, total};
use reqwest::Method;
use reqwest::header::RETRY_AFTER;
use std::path::Path;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn channels_and_payers_go_on_after_an_orderly_restart() {
    let world = World::start(1).await;
    let config = world.config(&Settings {
        gateway: free_port(),
        operator: free_port(),
        ..world.settings("restarted")
    });
    let mut daemon = Daemon::start(&config).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let mut payer = world.payer(0, "payer").await;
    payer.get(&url).await.unwrap();
    let [record] = payer.channels().try_into().unwrap();
    for round in 2..6 {
        let before = daemon.quiet(record.channel).await;
        assert!(daemon.stop().await.success());
        daemon = Daemon::start(&config).await;
        let after = daemon.channel(record.channel).await;
        assert_eq!(
            (after.accepted, after.spent, after.credited),
            (before.accepted, before.spent, before.credited)
        );
        assert_eq!(after.standing, "live");
        if round % 2 == 0 {
            // The payer's program is started again too.
            drop(payer);
            payer = world.payer(0, "payer").await;
        }
        let answer = payer.get(&url).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body), (200, ANSWER.into()));
        let receipt = answer.receipt.unwrap();
        assert_eq!(receipt.channel, record.channel, "the same channel");
        assert_eq!(receipt.spent, total(PRICE * round));
    }
    let opened = world.escrow.channels_of_payer(payer.address(), 0).await.unwrap();
    assert_eq!(opened.len(), 1, "nobody paid a second deposit");
    let closed = payer.close(&url).await.unwrap();
    assert_eq!(closed.captured, total(PRICE * 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_has_the_same_receipt_after_a_restart() {
    let world = World::start(1).await;
    let config = world.config(&Settings {
        gateway: free_port(),
        operator: free_port(),
        ..world.settings("receipts")
    });
    let daemon = Daemon::start(&config).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let closed = wallet.pay(Method::POST, &url, &wallet.close(PRICE)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let first = closed.receipt().unwrap();
    world.until(wallet.channel, |state| state.finalized).await;
    assert!(daemon.stop().await.success());
    let daemon = Daemon::start(&config).await;
    let closed = wallet.pay(Method::POST, &url, &wallet.close(PRICE)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let again = closed.receipt().unwrap();
    assert!(first.tx_hash.is_some());
    assert_eq!(
        (again.tx_hash, again.accepted, again.spent),
        (first.tx_hash, first.accepted, first.spent)
    );
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn node_1_a_second_daemon_on_the_same_books_is_refused() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&world.settings("books"))).await;
    // The same name: the same directory, on other ports.
    let (mut second, log) = Daemon::spawn(&world.config(&world.settings("books")));
    let status = ended(&mut second, Duration::from_secs(30)).await;
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let mut out = String::new();
    std::io::Read::read_to_string(&mut second.stdout.take().unwrap(), &mut out).unwrap();
    assert!(!status.success());
    let said = said + &out;
    assert!(
        said.contains("books-data") && said.contains("use"),
        "the refusal names the directory and why: {said}"
    );
    // The first one is none the worse.
    let wallet = Wallet::open(&world, &daemon, 0).await;
    assert_eq!(daemon.quiet(wallet.channel).await.spent, total(PRICE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_chain_is_away_at_the_start_answers_and_goes_on_when_it_is_there() {
    let world = World::start(1).await;
    let port = free_port();
    let settings = Settings {
        rpc_url: &format!("http://127.0.0.1:{port}"),
        gateway: free_port(),
        operator: free_port(),
        routes: "[[route]]\npath = \"/v1/free\"\nfree = true\n",
        ..world.settings("early")
    };
    let get = async |port: u16, path: &str| {
        let sent = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await;
        Said::read(sent.unwrap()).await
    };
    let (process, log) = Daemon::spawn(&world.config(&settings));
    until_logged(&log, "the chain cannot be reached").await;
    // Whoever let the system choose the ports learns them here.
    until_logged(&log, &format!("\"operator\":\"127.0.0.1:{}\"", settings.operator)).await;
    let alive = get(settings.operator, "/healthz").await;
    assert_eq!(alive.status, 200, "{alive:?}");
    for path in ["/readyz", "/v1/status", "/v1/channels"] {
        let said = get(settings.operator, path).await;
        assert_eq!(said.status, 503, "{path}: {said:?}");
        assert!(said.body.contains("waits for the chain: "), "{path}: {said:?}");
        assert!(
            said.body.contains("check that the RPC endpoint is up"),
            "{path}: {said:?}"
        );
    }
    let paid = get(settings.gateway, "/v1/answer").await;
    assert_eq!(paid.status, 503, "{paid:?}");
    assert!(!paid.header(RETRY_AFTER).is_empty(), "{paid:?}");
    paid.must_be_a_no("a chain that is away");
    let free = get(settings.gateway, "/v1/free").await;
    assert_eq!((free.status, free.body.as_str()), (200, ANSWER), "{free:?}");
    let unknown = get(settings.gateway, "/nowhere").await;
    assert_eq!(unknown.status, 404, "{unknown:?}");

    let _wire = Wire::lay(port, world.rpc_url()).await;
    let daemon = Daemon::wait(process, log).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    assert_eq!(daemon.quiet(wallet.channel).await.spent, total(PRICE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_waits_for_its_chain_ends_when_told_to_and_when_the_chain_is_another() {
    let world = World::start(1).await;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let waiting = world.config(&Settings {
        rpc_url: &nobody,
        ..world.settings("told")
    });
    let (mut process, log) = Daemon::spawn(&waiting);
    until_logged(&log, "the chain cannot be reached").await;
    signal(process.id(), "HUP");
    until_logged(&log, "were read again").await;
    signal(process.id(), "TERM");
    assert!(ended(&mut process, Duration::from_secs(5)).await.success());

    let config = world.config(&world.settings("another"));
    let text = std::fs::read_to_string(&config).unwrap();
    let escrow = world.deployed.escrow.to_string();
    let nobody = world.payers[0].address().to_string();
    assert!(text.contains(&escrow), "{text}");
    std::fs::write(&config, text.replace(&escrow, &nobody)).unwrap();
    let (mut process, _) = Daemon::spawn(&config);
    let status = ended(&mut process, Duration::from_secs(20)).await;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut process.stdout.take().unwrap(), &mut said).unwrap();
    assert!(!status.success());
    assert!(said.contains("no contract at"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn books_of_another_chain_of_the_same_id_are_named() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&world.settings("moved"))).await;
    assert!(daemon.stop().await.success());
    let anew = World::start(1).await;
    let old = world.files.path().join("moved-data");
    let config = anew.config(&anew.settings("moved"));
    std::fs::rename(old, anew.files.path().join("moved-data")).unwrap();
    let (mut process, _) = Daemon::spawn(&config);
    let status = ended(&mut process, Duration::from_secs(30)).await;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut process.stdout.take().unwrap(), &mut said).unwrap();
    assert!(!status.success());
    assert!(said.contains("the books are of another chain"), "{said}");
    assert!(said.contains("fresh server.data_dir"), "{said}");
}

/// Waits until a daemon has logged this.
pub(crate) async fn until_logged(log: &Path, wanted: &str) {
    for _ in 0..600 {
        if std::fs::read_to_string(log).unwrap_or_default().contains(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "not logged: {wanted}; {}",
        std::fs::read_to_string(log).unwrap_or_default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t4_vouchers_are_refused_while_the_view_of_the_chain_is_old() {
    let world = World::start(1).await;
    let port = free_port();
    let rpc_url = format!("http://127.0.0.1:{port}");
    let wire = Wire::lay(port, world.rpc_url()).await;
    let daemon = Daemon::start(&world.config(&Settings {
        rpc_url: &rpc_url,
        chain: "view_age_max_seconds = 4\n",
        routes: "[[route]]\npath = \"/v1/free\"\nfree = true\n",
        ..world.settings("blind")
    }))
    .await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let voucher = wallet.voucher(PRICE * 2);
    let in_time = wallet.credential(Method::GET, &url, &voucher).await;
    wire.cut().await;
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while daemon.is_ready().await {
        assert!(tokio::time::Instant::now() < patience, "it stays ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = daemon.channel(wallet.channel).await;
    // Nobody is invited to pay either: what cannot be accepted is not asked for.
    for (name, credential) in [
        ("a voucher", Some(in_time.as_str())),
        ("no credential", None),
        ("an unreadable credential", Some("Payment !!!")),
    ] {
        let said = wallet.send(Method::GET, &url, credential).await;
        assert_eq!(said.status, 503, "{name}: {said:?}");
        assert!(!said.header(RETRY_AFTER).is_empty(), "{name}: {said:?}");
        said.must_be_a_no(name);
    }
    let free = wallet
        .send(Method::GET, &format!("{}/v1/free", daemon.gateway), None)
        .await;
    assert_eq!((free.status, free.body.as_str()), (200, ANSWER), "{free:?}");
    let after = daemon.channel(wallet.channel).await;
    assert_eq!((after.accepted, after.spent), (before.accepted, before.spent));

    let _wire = Wire::lay(port, world.rpc_url()).await;
    while !daemon.is_ready().await {
        assert!(tokio::time::Instant::now() < patience, "it stays unready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = wallet.send(Method::GET, &url, Some(&in_time)).await;
    assert_eq!(
        (said.status, said.body.as_str()),
        (200, ANSWER),
        "the credential that was refused still buys: {said:?}"
    );
}
