//! What the daemon takes on the chain, and when.

use crate::daemon::{Daemon, weir};
use crate::wallet::{Said, Wallet};
use crate::world::{DEPOSIT, PRICE, Settings, World, total};
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn threat_c2_settling_takes_what_was_spent_not_what_was_authorised() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&world.settings("settling"))).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let said = wallet.pay(Method::GET, &url, &wallet.voucher(DEPOSIT)).await;
    assert_eq!(said.status, 200, "{said:?}");
    let view = daemon.quiet(wallet.channel).await;
    assert_eq!((view.accepted, view.spent), (total(DEPOSIT), total(PRICE * 2)));

    let before = world.balance(&world.payee).await;
    settle(&daemon, &wallet).await;
    let state = world
        .until(wallet.channel, |state| !state.settled.is_zero())
        .await;
    assert_eq!(state.settled, total(PRICE * 2));
    assert!(!state.finalized);
    assert_eq!(world.balance(&world.payee).await, before + PRICE * 2);
    let view = daemon
        .until(wallet.channel, |view| {
            view.settled == total(PRICE * 2) && view.capturing.is_none()
        })
        .await;
    assert!(view.uncollected.is_zero());

    // Nothing new, nothing to take; what is sold then is taken once.
    settle(&daemon, &wallet).await;
    let said = wallet.pay(Method::GET, &url, &wallet.voucher(DEPOSIT)).await;
    assert_eq!(said.receipt().unwrap().spent, total(PRICE * 3));
    settle(&daemon, &wallet).await;
    let state = world
        .until(wallet.channel, |state| state.settled > total(PRICE * 2))
        .await;
    assert_eq!(state.settled, total(PRICE * 3));
    // The close takes no more either, although the closing voucher authorises the whole deposit.
    daemon
        .until(wallet.channel, |view| view.capturing.is_none())
        .await;
    let closed = wallet.pay(Method::POST, &url, &wallet.close(DEPOSIT)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let state = world.until(wallet.channel, |state| state.finalized).await;
    assert_eq!(state.settled, total(PRICE * 3));
    assert_eq!(world.balance(&world.payee).await, before + PRICE * 3);
    // The operator's close of it finds nothing to do, and nothing wrong.
    daemon
        .until(wallet.channel, |view| view.standing == "finalized")
        .await;
    let close = std::process::Command::new(weir())
        .args([
            "close",
            &wallet.channel.to_string(),
            "--operator",
            &daemon.operator,
        ])
        .output()
        .unwrap();
    assert!(close.status.success(), "{close:?}");
    assert!(
        String::from_utf8_lossy(&close.stdout).contains("closed: 1 channel"),
        "{close:?}"
    );
}

async fn settle(daemon: &Daemon, wallet: &Wallet) {
    let url = format!("{}/v1/channels/{}/settle", daemon.operator, wallet.channel);
    let answer = Client::new().post(url).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_is_asked_for_again_while_it_lands_gets_the_same_receipt() {
    const PAUSE: Duration = Duration::from_millis(10);
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&world.settings("again"))).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let close = wallet.credential(Method::POST, &url, &wallet.close(PRICE)).await;
    let ask = || {
        let request = wallet.http.post(&url).header(AUTHORIZATION, &close);
        tokio::spawn(async move { Said::read(request.send().await.unwrap()).await })
    };
    // Over and over, so that some ask between the block that closes it and the moment when the books can name it.
    let first = ask();
    let mut again = Vec::new();
    while !first.is_finished() {
        again.push(ask());
        tokio::time::sleep(PAUSE).await;
    }
    again.push(ask());
    let transaction = first.await.unwrap().receipt().unwrap().tx_hash;
    assert!(transaction.is_some());
    for asked in again {
        let said = asked.await.unwrap();
        assert_eq!(said.status, 200, "{said:?}");
        assert_eq!(said.receipt().unwrap().tx_hash, transaction);
    }
    let view = daemon
        .until(wallet.channel, |view| view.capturing.is_none())
        .await;
    assert_eq!(view.standing, "finalized");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t5_a_close_request_counts_at_first_sight_and_is_answered_in_the_grace() {
    const FINALITY: u64 = 6;
    let world = World::start(1).await;
    let chain = format!("finality_blocks = {FINALITY}\n");
    let daemon = Daemon::start(&world.config(&Settings {
        chain: &chain,
        ..world.settings("closing")
    }))
    .await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let payer = world.payer(0, "alone").await;
    let request = payer.request_close(wallet.channel).await.unwrap();
    let requested = world.escrow.rpc().head().await.unwrap().number;
    loop {
        let said = wallet.pay(Method::POST, &url, &wallet.voucher(PRICE * 2)).await;
        let head = world.escrow.rpc().head().await.unwrap().number;
        if said.status == 410 {
            said.must_be_a_no("closing");
            assert_eq!(said.problem(), "channel-finalized");
            break;
        }
        assert!(
            head < requested + FINALITY,
            "it waited until the request was final"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The chain's own clock: the grace is far from over when the daemon has collected.
    let state = world
        .until(wallet.channel, |state| state.settled >= total(PRICE))
        .await;
    assert_eq!(state.settled, total(PRICE), "what was spent and no more");
    let now = world.escrow.rpc().head().await.unwrap().timestamp.0;
    assert!(now < request.ready_at - 600, "{now} of {}", request.ready_at);
    let said = wallet.pay(Method::GET, &url, &wallet.voucher(PRICE * 3)).await;
    assert_eq!(said.status, 410, "{said:?}");
    assert_eq!(daemon.channel(wallet.channel).await.spent, total(PRICE));
}
