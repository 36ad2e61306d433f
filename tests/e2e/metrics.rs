//! What Prometheus is told, after real purchases.

use crate::daemon::Daemon;
use crate::wallet::Wallet;
use crate::world::{PRICE, Settings, World, route};
use reqwest::{Client, Method};
use std::collections::HashMap;

/// Samples by name and labels.
struct Told(HashMap<String, f64>);

impl Told {
    async fn by(daemon: &Daemon) -> Self {
        let answer = reqwest::get(format!("{}/metrics", daemon.operator))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        let text = answer.text().await.unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            samples
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    (name.to_owned(), value.parse().unwrap())
                })
                .collect(),
        )
    }

    fn get(&self, name: &str) -> f64 {
        *self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in {:?}", self.0.keys()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_was_sold_refused_and_settled() {
    let world = World::start(1).await;
    let more = "methods = [\"GET\"]\nmeter = \"event\"\n";
    let daemon = Daemon::start(&world.config(&Settings {
        routes: &route("/events/*", PRICE, more),
        ..world.settings("counted")
    }))
    .await;
    let before = Told::by(&daemon).await;
    assert_eq!(before.get("weir_sales_total"), 0.0);
    assert_eq!(before.get("weir_channels{standing=\"live\"}"), 0.0);
    // An open that buys, three vouchers that buy, one that does not, and a stream of four events.
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    for bought in 2..5 {
        let said = wallet
            .pay(Method::GET, &url, &wallet.voucher(PRICE * bought))
            .await;
        assert_eq!(said.status, 200, "{said:?}");
    }
    let said = wallet.pay_bare(Method::POST, &url, PRICE * 8).await;
    assert_eq!(said.status, 200, "{said:?}");
    let stream = format!("{}/events/4", daemon.gateway);
    let said = wallet.pay(Method::GET, &stream, &wallet.voucher(PRICE * 8)).await;
    assert!(said.body.contains("payment-receipt"), "{said:?}");
    let forged = wallet.voucher_with(PRICE * 9, &wallet.signature(PRICE * 10));
    assert_eq!(
        wallet.pay(Method::GET, &url, &forged).await.problem(),
        "signer-mismatch"
    );
    daemon.quiet(wallet.channel).await;

    let told = Told::by(&daemon).await;
    for (name, value) in [
        ("weir_sales_total", 5.0),
        ("weir_units_total", 8.0),
        ("weir_vouchers_accepted_total", 6.0),
        ("weir_credentials_refused_total{reason=\"signer-mismatch\"}", 1.0),
        ("weir_payment_seconds_count", 5.0),
        ("weir_payment_seconds_bucket{le=\"+Inf\"}", 5.0),
        ("weir_channels{standing=\"live\"}", 1.0),
        ("weir_channels{standing=\"finalized\"}", 0.0),
        ("weir_value_at_risk", (PRICE * 8) as f64),
        ("weir_settlements_in_flight", 0.0),
        ("weir_settlement_transactions_total", 0.0),
        ("weir_streams", 0.0),
    ] {
        assert_eq!(told.get(name), value, "{name}");
    }
    assert!(told.get("weir_challenges_total") >= 6.0);
    assert!(told.get("weir_view_age_seconds") < 30.0);
    assert!(told.get("weir_store_rows_total") >= told.get("weir_store_commits_total"));
    assert!(
        told.get("weir_store_commits_total") >= 10.0,
        "each reservation and each charge"
    );
    assert!(told.get("weir_store_commit_seconds_total") > 0.0);

    let settle = format!("{}/v1/channels/{}/settle", daemon.operator, wallet.channel);
    assert!(
        Client::new()
            .post(settle)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    daemon
        .until(wallet.channel, |view| {
            view.uncollected.is_zero() && view.capturing.is_none()
        })
        .await;
    // The watcher may see the settlement before the settler hears that it landed.
    let mut told = Told::by(&daemon).await;
    for _ in 0..200 {
        if told.get("weir_settlement_transactions_total") > 0.0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        told = Told::by(&daemon).await;
    }
    assert_eq!(told.get("weir_settlement_transactions_total"), 1.0);
    assert_eq!(told.get("weir_channels_settled_total"), 1.0);
    assert!(told.get("weir_settlement_gas_total") > 21_000.0);
    assert_eq!(told.get("weir_value_at_risk"), 0.0);
}
