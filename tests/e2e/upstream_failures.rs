//! Services that fail (threat C6): each request is charged, not charged, or charged and credited, exactly once, as its
//! route says.

use crate::daemon::Daemon;
use crate::wallet::Wallet;
use crate::world::{DEPOSIT, PRICE, Settings, World, free_port, route};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use std::time::Duration;

/// What one request costs in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charged {
    /// Reserved and released.
    Not,
    /// Charged for good.
    Once,
    /// Charged, and given back.
    AndCredited,
}

/// How the payer reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    ToTheEnd,
    /// The first piece, then hangs up.
    Begins,
}

const MODES: [&str; 3] = ["success", "first_byte", "always"];

fn routes(kinds: &[&str]) -> String {
    let mut routes = String::new();
    for kind in kinds {
        for mode in MODES {
            let more = format!("charge_on = \"{mode}\"\n");
            routes.push_str(&route(&format!("/{kind}/{mode}"), PRICE, &more));
        }
    }
    routes
}

/// Buys from one path; afterwards exactly this was charged.
async fn case(daemon: &Daemon, wallet: &Wallet, path: &str, (reads, charged, status): (Reads, Charged, u16)) {
    let before = daemon.quiet(wallet.channel).await;
    let url = format!("{}{path}", daemon.gateway);
    let credential = wallet
        .credential(Method::GET, &url, &wallet.voucher(DEPOSIT / 2))
        .await;
    let sent = wallet
        .http
        .get(&url)
        .header(AUTHORIZATION, &credential)
        .send()
        .await;
    let mut response = sent.unwrap();
    assert_eq!(response.status(), status, "{path}");
    let receipt = response.headers().contains_key("payment-receipt");
    assert_eq!(
        receipt,
        charged != Charged::Not,
        "{path}: a receipt means a charge"
    );
    match reads {
        Reads::ToTheEnd => drop(response.bytes().await),
        Reads::Begins => {
            assert!(response.chunk().await.unwrap().is_some(), "{path}");
            drop(response);
        }
    }
    let expected = match charged {
        Charged::Not => (0, 0),
        Charged::Once => (PRICE, 0),
        Charged::AndCredited => (PRICE, PRICE),
    };
    let delta = |view: &weir_node::operator::ChannelView| {
        (
            view.spent.base_units() - before.spent.base_units(),
            view.credited.base_units() - before.credited.base_units(),
        )
    };
    let after = daemon
        .until(wallet.channel, |view| {
            view.reserved.is_zero() && delta(view) == expected
        })
        .await;
    // It stays so, and the same credential changes it no more.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let again = wallet.send(Method::GET, &url, Some(&credential)).await;
    assert_eq!(again.problem(), "invalid-challenge", "{path}: {again:?}");
    assert_eq!(
        delta(&daemon.quiet(wallet.channel).await),
        delta(&after),
        "{path}"
    );
}

/// Opens a channel and authorises half of it.
async fn wallet(world: &World, daemon: &Daemon) -> Wallet {
    let wallet = Wallet::open(world, daemon, 0).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let said = wallet.pay_bare(Method::POST, &url, DEPOSIT / 2).await;
    assert_eq!(said.status, 200, "{said:?}");
    wallet
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_c6_every_way_to_fail_is_charged_as_the_route_says() {
    use Charged::{AndCredited, Not, Once};
    use Reads::{Begins, ToTheEnd};
    let world = World::start(1).await;
    let routes = routes(&["v1", "broken", "silent", "cut", "drip"]);
    let daemon = Daemon::start(&world.config(&Settings {
        routes: &routes,
        ..world.settings("failing")
    }))
    .await;
    let wallet = wallet(&world, &daemon).await;
    // Per way to fail: what a route charges that charges on success, on the first byte, always.
    let table = [
        ("v1", ToTheEnd, 200, [Once, Once, Once]),
        ("broken", ToTheEnd, 500, [Not, Once, Once]),
        ("silent", ToTheEnd, 504, [Not, Not, Once]),
        ("cut", ToTheEnd, 200, [AndCredited, Once, Once]),
        ("drip", Begins, 200, [Once, Once, Once]),
    ];
    for (kind, reads, status, charges) in table {
        for (mode, charged) in MODES.into_iter().zip(charges) {
            case(
                &daemon,
                &wallet,
                &format!("/{kind}/{mode}"),
                (reads, charged, status),
            )
            .await;
        }
    }
    // What was given back is used again: it is not collected.
    let view = daemon.quiet(wallet.channel).await;
    assert_eq!(
        view.uncollected.base_units(),
        view.spent.base_units() - view.credited.base_units()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_c6_a_service_that_refuses_connections_is_not_charged_for() {
    let world = World::start(1).await;
    let routes = routes(&["off"]);
    let mut settings = Settings {
        routes: &routes,
        gateway: free_port(),
        operator: free_port(),
        ..world.settings("refused")
    };
    let daemon = Daemon::start(&world.config(&settings)).await;
    let wallet = wallet(&world, &daemon).await;
    assert!(daemon.stop().await.success());
    // The same daemon, whose service is gone.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    settings.upstream = &nobody;
    let daemon = Daemon::start(&world.config(&settings)).await;
    for (mode, charged) in MODES.into_iter().zip([Charged::Not, Charged::Not, Charged::Once]) {
        case(
            &daemon,
            &wallet,
            &format!("/off/{mode}"),
            (Reads::ToTheEnd, charged, 502),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_c6_a_kill_in_the_middle_of_a_delivery_charges_it_once() {
    let world = World::start(1).await;
    let routes = routes(&["drip"]);
    let config = world.config(&Settings {
        routes: &routes,
        gateway: free_port(),
        operator: free_port(),
        ..world.settings("killed")
    });
    let mut daemon = Daemon::start(&config).await;
    let wallet = wallet(&world, &daemon).await;
    for mode in MODES {
        let before = daemon.quiet(wallet.channel).await;
        let url = format!("{}/drip/{mode}", daemon.gateway);
        let credential = wallet
            .credential(Method::GET, &url, &wallet.voucher(DEPOSIT / 2))
            .await;
        let sent = wallet
            .http
            .get(&url)
            .header(AUTHORIZATION, &credential)
            .send()
            .await;
        let mut response = sent.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        daemon.kill();
        daemon = Daemon::start(&config).await;
        let after = daemon.channel(wallet.channel).await;
        assert!(after.reserved.is_zero(), "{mode}: {after:?}");
        assert_eq!(
            after.spent.since(before.spent).unwrap().base_units(),
            PRICE,
            "{mode}"
        );
        assert_eq!(after.credited, before.credited, "{mode}");
        let again = wallet.send(Method::GET, &url, Some(&credential)).await;
        assert_eq!(again.problem(), "invalid-challenge", "{mode}: {again:?}");
    }
}
