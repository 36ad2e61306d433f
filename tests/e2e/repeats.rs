//! Requests with an `Idempotency-Key`: charged once, answered again, over kills too.

use crate::daemon::Daemon;
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet};
use crate::world::{PRICE, Settings, World, route, total};
use futures_util::future::join_all;
use futures_util::stream;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use std::time::Duration;

/// What `/drip` sends, piece by piece.
fn drips() -> String {
    "drip\n".repeat(50)
}

async fn start(world: &World, name: &str) -> (std::path::PathBuf, Daemon) {
    let routes = [
        route("/drip/*", PRICE, "methods = [\"GET\"]\n"),
        route("/cut/*", PRICE, "methods = [\"GET\"]\n"),
        route("/torn/*", PRICE, "methods = [\"GET\"]\n"),
        route("/events/*", PRICE, "methods = [\"GET\"]\nmeter = \"event\"\n"),
    ];
    let config = world.config(&Settings {
        routes: &routes.concat(),
        ..world.settings(name)
    });
    let daemon = Daemon::start(&config).await;
    (config, daemon)
}

/// Asks with a voucher of this total, a fresh challenge and a key.
async fn ask(wallet: &Wallet, url: &str, base_units: u128, key: &str) -> Said {
    let credential = wallet
        .credential(Method::GET, url, &wallet.voucher(base_units))
        .await;
    send(wallet, url, &credential, (key, None)).await
}

async fn send(wallet: &Wallet, url: &str, credential: &str, (key, body): (&str, Option<&str>)) -> Said {
    let request = match body {
        Some(body) => wallet.http.post(url).body(body.to_owned()),
        None => wallet.http.get(url),
    };
    let request = request
        .header(AUTHORIZATION, credential)
        .header("idempotency-key", key);
    Said::read(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_8_concurrent_repeats_sell_once_and_all_get_the_answer() {
    let world = World::start(1).await;
    let (_, daemon) = start(&world, "at-once").await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/answer?q=why", daemon.gateway);
    let hits = world.service.hits();
    // The voucher authorises all of them; each has a challenge of its own, as of a client that tries again.
    let asks = (0..20).map(|_| async {
        loop {
            let said = ask(&wallet, &url, PRICE * 100, "one-and-the-same").await;
            if said.status != 409 {
                return said;
            }
            said.must_be_a_no("under way");
            assert_eq!(said.header(RETRY_AFTER), "1", "{said:?}");
        }
    });
    for said in join_all(asks).await {
        assert_eq!((said.status, said.body.as_str()), (200, ANSWER), "{said:?}");
        assert_eq!(said.receipt().unwrap().spent, total(PRICE * 2));
    }
    assert_eq!(world.service.hits(), hits + 1);
    assert_eq!(daemon.quiet(wallet.channel).await.spent, total(PRICE * 2));
    // Nobody is served for a key alone.
    let request = wallet
        .http
        .get(&url)
        .header("idempotency-key", "one-and-the-same");
    let said = Said::read(request.send().await.unwrap()).await;
    assert_eq!(said.status, 402, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h6_a_key_is_of_one_channel_and_one_request() {
    let world = World::start(2).await;
    let (_, daemon) = start(&world, "keys").await;
    let mine = Wallet::open(&world, &daemon, 0).await;
    let other = Wallet::open(&world, &daemon, 1).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let post = async |wallet: &Wallet, url: &str, units: u128, body: &'static str| {
        let voucher = wallet.voucher(PRICE * units);
        let credential = wallet.credential(Method::POST, url, &voucher).await;
        send(wallet, url, &credential, ("k-1", Some(body))).await
    };
    let hits = world.service.hits();
    for (wallet, name) in [(&mine, "mine"), (&other, "the other's")] {
        let said = post(wallet, &url, 2, "why?").await;
        assert_eq!(said.status, 200, "{name}: {said:?}");
        assert_eq!(said.receipt().unwrap().spent, total(PRICE * 2), "{name}");
    }
    assert_eq!(world.service.hits(), hits + 2, "each channel's key is its own");
    let asked = format!("{url}?q=1");
    for (name, url, body) in [("another body", &url, "how?"), ("another query", &asked, "why?")] {
        let said = post(&mine, url, 3, body).await;
        assert_eq!(said.status, 422, "{name}: {said:?}");
        said.must_be_a_no(name);
    }
    for bad in ["", "two words", &"k".repeat(256)] {
        let credential = mine.credential(Method::GET, &url, &mine.voucher(PRICE * 3)).await;
        let said = send(&mine, &url, &credential, (bad, None)).await;
        assert_eq!(said.status, 400, "{bad:?}: {said:?}");
        said.must_be_a_no("a key that is none");
    }
    assert_eq!(daemon.quiet(mine.channel).await.spent, total(PRICE * 2));
    assert_eq!(daemon.channel(mine.channel).await.accepted, total(PRICE * 2));
    assert_eq!(world.service.hits(), hits + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_8_a_kill_before_the_answer_owes_it_and_one_after_keeps_it() {
    let world = World::start(1).await;
    let (config, daemon) = start(&world, "killed").await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let before = daemon.quiet(wallet.channel).await.spent.base_units();
    let place = |daemon: &Daemon| format!("{}/drip/x", daemon.gateway);
    let url = place(&daemon);
    let credential = wallet
        .credential(Method::GET, &url, &wallet.voucher(before + PRICE))
        .await;
    let key = ("k-9", None);
    let cut = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        daemon.kill();
    };
    let first = wallet.http.get(&url).header(AUTHORIZATION, &credential);
    let (first, ()) = tokio::join!(first.header("idempotency-key", "k-9").send(), cut);
    assert!(first.is_err(), "no byte of it may have left: {first:?}");

    let daemon = Daemon::start(&config).await;
    let spent = daemon.quiet(wallet.channel).await.spent;
    assert_eq!(
        spent,
        total(before + PRICE),
        "it is charged, by the rule for crashes"
    );
    // The very same request, as of a client that lost the connection.
    let said = send(&wallet, &place(&daemon), &credential, key).await;
    assert_eq!((said.status, said.body.clone()), (200, drips()));
    assert_eq!(said.receipt().unwrap().spent, spent);
    daemon.kill();

    let daemon = Daemon::start(&config).await;
    let said = send(&wallet, &place(&daemon), &credential, key).await;
    assert_eq!((said.status, said.body.clone()), (200, drips()));
    assert_eq!(said.receipt().unwrap().spent, spent);
    assert_eq!(daemon.quiet(wallet.channel).await.spent, spent);
    // Without the key it is the replay that it looks like.
    let said = wallet.send(Method::GET, &place(&daemon), Some(&credential)).await;
    assert_eq!(said.problem(), "invalid-challenge", "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_once_and_what_the_service_cut_may_be_bought_anew() {
    let world = World::start(1).await;
    let (_, daemon) = start(&world, "streams-once").await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let most = PRICE * 1_000;
    let events = format!("{}/events/3", daemon.gateway);
    let said = ask(&wallet, &events, most, "stream").await;
    assert_eq!(said.status, 200, "{said:?}");
    let spent = daemon.quiet(wallet.channel).await.spent;
    assert_eq!(spent, total(PRICE * 4));
    let said = ask(&wallet, &events, most, "stream").await;
    assert_eq!(said.status, 409, "{said:?}");
    said.must_be_a_no("a stream that was told");
    assert!(said.body.contains("charged once"), "{said:?}");
    assert_eq!(daemon.quiet(wallet.channel).await.spent, spent);

    let cut = format!("{}/cut/x", daemon.gateway);
    for times in 1..=2 {
        let said = ask(&wallet, &cut, most, "cut").await;
        assert_eq!(said.status, 502, "{times}: {said:?}");
        said.must_be_a_no("an answer that was cut");
        let credited = weir_core::Cumulative::new(PRICE * times);
        daemon
            .until(wallet.channel, |view| view.credited == credited)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_8_an_owed_answer_that_the_service_breaks_off_stays_owed() {
    let world = World::start(1).await;
    let (config, mut daemon) = start(&world, "torn").await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let most = PRICE * 1_000;
    let before = daemon.quiet(wallet.channel).await.spent.base_units();
    for (times, bytes) in (1..).zip([100, 100_000]) {
        let url = format!("{}/torn/{bytes}", daemon.gateway);
        let key = format!("torn-{bytes}");
        let credential = wallet.credential(Method::GET, &url, &wallet.voucher(most)).await;
        let request = wallet.http.get(&url).header(AUTHORIZATION, &credential);
        let request = request.header("idempotency-key", &key).send();
        let cut = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            daemon.kill();
        };
        let (first, ()) = tokio::join!(request, cut);
        assert!(first.is_err(), "{first:?}");
        daemon = Daemon::start(&config).await;
        let url = format!("{}/torn/{bytes}", daemon.gateway);
        let spent = total(before + PRICE * times);
        assert_eq!(daemon.quiet(wallet.channel).await.spent, spent);
        for again in 1..=2 {
            let mut tries = 0;
            let response = loop {
                let credential = wallet.credential(Method::GET, &url, &wallet.voucher(most)).await;
                let request = wallet.http.get(&url).header(AUTHORIZATION, &credential);
                let response = request.header("idempotency-key", &key).send().await.unwrap();
                // Its charge is not over yet, or what was told is not owed again yet.
                if response.status() != 409 {
                    break response;
                }
                tries += 1;
                assert!(tries < 50, "{bytes}, {again}: {response:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            if bytes < 1_000 {
                let said = Said::read(response).await;
                assert_eq!(said.status, 502, "{said:?}");
                assert!(said.body.contains("nothing more was charged"), "{said:?}");
            } else {
                assert_eq!(response.status(), 200, "{bytes}, {again}: {response:?}");
                assert!(response.bytes().await.is_err(), "it breaks off");
            }
        }
        assert_eq!(daemon.quiet(wallet.channel).await.spent, spent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h4_no_body_is_read_for_a_key_without_a_live_challenge() {
    let world = World::start(1).await;
    let (_, daemon) = start(&world, "strangers").await;
    let http = reqwest::Client::new();
    let url = format!("{}/v1/answer", daemon.gateway);
    let tag = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let challenge = serde_json::json!({
        "id": tag, "realm": "x", "method": "evm", "intent": "session", "request": "e30", "expires": "2099-01-01T00:00:00Z",
    });
    let forged = crate::wallet::credential(&challenge, &serde_json::json!({ "action": "voucher" }));
    for authorization in ["Payment e30", "Bearer x", &forged] {
        // A body that is announced, begun and never ends.
        let pieces = stream::once(async { Ok::<_, std::io::Error>("what") });
        let body = reqwest::Body::wrap_stream(futures_util::StreamExt::chain(pieces, stream::pending()));
        let request = http.post(&url).header(AUTHORIZATION, authorization);
        let request = request.header("idempotency-key", "k-1").body(body).send();
        let answered = tokio::time::timeout(Duration::from_secs(4), request).await;
        let answered = answered.unwrap_or_else(|_| panic!("{authorization}: its body is waited for"));
        let response = answered.unwrap();
        assert_eq!(response.status(), 402, "{authorization}: {response:?}");
    }
}
