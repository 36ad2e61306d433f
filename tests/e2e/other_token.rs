//! An escrow may serve many tokens, and the watcher knows every channel to the payee: only those in the token that a
//! route asks for buy what it sells.

use crate::daemon::Daemon;
use crate::wallet::Wallet;
use crate::world::{PRICE, World, total};
use reqwest::{Client, Method};

#[tokio::test(flavor = "multi_thread")]
async fn threat_v2_a_channel_in_another_token_of_the_escrow_buys_nothing_and_gets_its_money_back() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&world.settings("tokens"))).await;
    let wallet = Wallet::with(&world, 0, world.open_in_another_token(0).await);
    let url = format!("{}/v1/answer", daemon.gateway);
    for _ in 0..600 {
        if !daemon.channels().await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(
        daemon.channel(wallet.channel).await.standing,
        "live",
        "it is watched"
    );
    for (method, url) in [
        (Method::GET, url.clone()),
        (Method::POST, format!("{url}?q=why")),
        (Method::POST, url.clone()),
        (Method::HEAD, url.clone()),
    ] {
        let said = wallet.pay(method.clone(), &url, &wallet.voucher(PRICE)).await;
        assert_eq!(said.status, 402, "{method}: {said:?}");
        assert!(said.receipt().is_none());
        if method != Method::HEAD {
            assert_eq!(said.problem(), "verification-failed", "{method}: {said:?}");
        }
    }
    let view = daemon.quiet(wallet.channel).await;
    assert_eq!((view.accepted, view.spent), (total(0), total(0)));
    assert_eq!(world.service.hits(), 0);
    // Its payer's close is not refused: the deposit goes back whole.
    let closed = wallet.pay(Method::POST, &url, &wallet.close(0)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let state = world.until(wallet.channel, |state| state.finalized).await;
    assert_eq!(state.settled, total(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_p2_a_page_whose_name_points_at_the_operator_hears_nothing() {
    let world = World::start(0).await;
    let daemon = Daemon::start(&world.config(&world.settings("rebound"))).await;
    let ask = async |name: &str, value: &str| {
        let request = Client::new().get(format!("{}/v1/channels", daemon.operator));
        let answer = request.header(name, value).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(ask("host", "evil.example").await, 403);
    assert_eq!(ask("host", "evil.example:8403").await, 403);
    assert_eq!(ask("sec-fetch-site", "cross-site").await, 403);
    assert_eq!(ask("origin", "http://evil.example").await, 403);
    for (name, value) in [
        ("host", "localhost:8403"),
        ("host", "[::1]:8403"),
        ("accept", "*/*"),
    ] {
        assert_eq!(ask(name, value).await, 200, "{name}: {value}");
    }
}
