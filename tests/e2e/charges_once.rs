//! One payment, one answer: shown by many at once, again, elsewhere, over kills of the daemon and failures of the service.

use crate::charges::{REPEAT_PAUSE, Scene, ask, must_be_sold, must_be_used, receipt, repeat, url};
use crate::daemon::Daemon;
use crate::gate::Broadcasts;
use crate::wallet::{Said, credential};
use crate::world::PRICE;
use reqwest::Client;
use reqwest::header::RETRY_AFTER;
use serde_json::json;
use std::time::Duration;
use weir_till::gateway::WAITS_MAX;

/// How many show one payment at once.
const CROWD: usize = 16;
/// Where nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What a payment of this kind buys when it is shown by many at once, at another route, again, and to another daemon.
async fn buys_once(scene: &Scene, daemon: Daemon, (path, mode): (&str, &str)) -> Daemon {
    let name = format!("{path} by {mode}");
    let (place, elsewhere) = (url(&daemon, path), url(&daemon, "/v1/both"));
    let (hits, earned) = (scene.world.service.hits(), scene.earned().await);
    let signed = scene.signs(&place, mode).await;
    let said = ask(&elsewhere, &signed).await.unwrap();
    must_be_used(&said, &format!("{name}, elsewhere"));
    assert_eq!(scene.world.service.hits(), hits, "{name}, elsewhere");
    let crowd = (0..CROWD).map(|_| ask(&place, &signed));
    let crowd = futures_util::future::join_all(crowd).await;
    let mut sold = 0;
    for said in crowd.into_iter().map(Result::unwrap) {
        match said.status {
            200 => {
                must_be_sold(&said, &name);
                sold += 1;
            }
            409 => {
                assert_eq!(said.problem(), "invalid-challenge", "{name}: {said:?}");
                assert!(
                    said.challenges().is_empty(),
                    "{name}: nobody is asked to pay again: {said:?}"
                );
                assert!(!said.header(RETRY_AFTER).is_empty(), "{name}: {said:?}");
            }
            _ => must_be_used(&said, &name),
        }
    }
    assert_eq!(sold, 1, "{name}");
    must_be_used(&ask(&place, &signed).await.unwrap(), &name);
    daemon.kill();
    let daemon = scene.daemon(&scene.world.service.url).await;
    must_be_used(
        &ask(&url(&daemon, path), &signed).await.unwrap(),
        &format!("{name}, after a kill"),
    );
    assert_eq!(scene.world.service.hits() - hits, 1, "{name}");
    let price = if path == "/v1/zero" { 0 } else { PRICE };
    assert_eq!(scene.earned().await - earned, price, "{name}");
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_7_one_payment_buys_one_answer() {
    let (scene, daemon) = Scene::start("once").await;
    let daemon = buys_once(&scene, daemon, ("/v1/once", "pull")).await;
    let daemon = buys_once(&scene, daemon, ("/v1/once", "push")).await;
    buys_once(&scene, daemon, ("/v1/zero", "pull")).await;
}

/// A payment whose daemon is killed in the middle: sent once, served once.
async fn survives(name: &'static str, broadcasts: Broadcasts) {
    let (scene, daemon) = Scene::start(name).await;
    let place = url(&daemon, "/v1/once");
    let (hits, earned) = (scene.world.service.hits(), scene.earned().await);
    let signed = scene.signs(&place, "pull").await;
    scene.gate.broadcasts(broadcasts);
    let first = tokio::spawn({
        let (place, signed) = (place.clone(), signed.clone());
        async move { ask(&place, &signed).await }
    });
    scene.gate.holds_one().await;
    daemon.kill();
    assert!(first.await.unwrap().is_err(), "the payer had an answer");
    assert_eq!(scene.world.service.hits(), hits, "nothing was delivered");
    scene.gate.broadcasts(Broadcasts::Pass);

    let daemon = scene.daemon(&scene.world.service.url).await;
    let place = url(&daemon, "/v1/once");
    must_be_sold(&repeat(&place, &signed).await, name);
    must_be_used(&ask(&place, &signed).await.unwrap(), name);
    assert_eq!(scene.world.service.hits() - hits, 1, "{name}");
    assert_eq!(scene.gate.heard().len(), 1, "{name}: sent once");
    assert_eq!(scene.earned().await - earned, PRICE, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t6_a_daemon_killed_before_a_payments_broadcast_serves_once() {
    survives("before-the-broadcast", Broadcasts::HeldBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t6_a_daemon_killed_after_a_payments_broadcast_serves_once() {
    survives("after-the-broadcast", Broadcasts::HeldAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_c6_a_payment_whose_answer_failed_buys_it_later_and_once() {
    let (scene, daemon) = Scene::start("owed").await;
    daemon.kill();
    let daemon = scene.daemon(NOWHERE).await;
    let place = url(&daemon, "/v1/once");
    let earned = scene.earned().await;
    let signed = scene.signs(&place, "pull").await;
    for _ in 0..2 {
        let said = repeat(&place, &signed).await;
        assert_eq!(said.status, 502, "{said:?}");
        assert!(said.body.contains("the same credential"), "{said:?}");
        assert!(
            said.challenges().is_empty(),
            "nobody is asked to pay again: {said:?}"
        );
    }
    daemon.kill();
    let daemon = scene.daemon(&scene.world.service.url).await;
    let place = url(&daemon, "/v1/once");
    must_be_sold(&repeat(&place, &signed).await, "when it is back");
    must_be_used(&ask(&place, &signed).await.unwrap(), "again");
    assert_eq!(scene.earned().await - earned, PRICE);

    // A service that answers with a failure, and one that breaks its answer off.
    let place = url(&daemon, "/broken/once");
    let signed = scene.signs(&place, "pull").await;
    for _ in 0..2 {
        let said = repeat(&place, &signed).await;
        assert_eq!((said.status, said.body.as_str()), (500, "it broke\n"), "{said:?}");
        assert!(
            said.headers.get("payment-receipt").is_none() && said.challenges().is_empty(),
            "{said:?}"
        );
    }
    // Where any answer is the delivery, a failure is, and comes without a receipt.
    let place = url(&daemon, "/broken/any");
    let signed = scene.signs(&place, "pull").await;
    let said = repeat(&place, &signed).await;
    assert_eq!((said.status, said.body.as_str()), (500, "it broke\n"), "{said:?}");
    assert!(said.headers.get("payment-receipt").is_none(), "{said:?}");
    must_be_used(&ask(&place, &signed).await.unwrap(), "a failure");
    let place = url(&daemon, "/cut/once");
    let signed = scene.signs(&place, "pull").await;
    let said = repeat(&place, &signed).await;
    assert_eq!(said.status, 200, "{said:?}");
    assert_eq!(receipt(&said).method, "tempo");
    let again = async {
        while ask(&place, &signed).await.unwrap().status != 200 {
            tokio::time::sleep(REPEAT_PAUSE).await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(20), again).await;
    assert!(again.is_ok(), "what broke off is owed");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t1_a_node_that_lags_costs_nobody_a_payment_that_is_owed() {
    let (scene, daemon) = Scene::start("lags").await;
    daemon.kill();
    let daemon = scene.daemon(NOWHERE).await;
    let place = url(&daemon, "/v1/once");
    let signed = scene.signs(&place, "pull").await;
    assert_eq!(repeat(&place, &signed).await.status, 502, "it is owed");
    scene.gate.broadcasts(Broadcasts::Lagging);
    for _ in 0..2 {
        let said = ask(&place, &signed).await.unwrap();
        assert_eq!(said.status, 503, "{said:?}");
        assert!(
            said.challenges().is_empty(),
            "nobody is asked to pay again: {said:?}"
        );
    }
    scene.gate.broadcasts(Broadcasts::Pass);
    daemon.kill();
    let daemon = scene.daemon(&scene.world.service.url).await;
    must_be_sold(&repeat(&url(&daemon, "/v1/once"), &signed).await, "when it knows");
    assert_eq!(scene.gate.heard().len(), 1, "sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h4_transactions_that_are_not_there_keep_no_payment_of_ours_waiting() {
    let (scene, daemon) = Scene::start("crowd").await;
    let place = url(&daemon, "/v1/once");
    let mut bogus = Vec::new();
    for number in 0..=WAITS_MAX {
        let asked = Said::read(Client::new().get(&place).send().await.unwrap()).await;
        let challenge = serde_json::to_value(asked.challenge().unwrap()).unwrap();
        let payload = json!({ "type": "hash", "hash": format!("0x{number:064x}") });
        bogus.push(credential(&challenge, &payload));
    }
    let signed = scene.signs(&place, "pull").await;
    let crowd: Vec<_> = bogus
        .into_iter()
        .map(|bogus| {
            let place = place.clone();
            tokio::spawn(async move { ask(&place, &bogus).await.unwrap() })
        })
        .collect();
    // Whoever finds no place is told at once: then all places are taken.
    while !crowd.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(REPEAT_PAUSE).await;
    }
    must_be_sold(&ask(&place, &signed).await.unwrap(), "at once");
    for one in &crowd {
        one.abort();
    }
}
