//! What is told of a service before anybody asks, `/openapi.json`, and what mppx's own validator says of it and of the
//! daemon behind.

use crate::daemon::{Daemon, signal};
use crate::restart::until_logged;
use crate::world::{PRICE, Settings, World, free_port, route, total};
use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use weir_node::dev::anvil::Network;

/// How long the validator may take for all that it tries.
const VALIDATOR: Duration = Duration::from_secs(120);
/// What it asks for, opens a channel for and pays for.
const ROUTES: &str = "[cors]\norigins = [\"*\"]\n[discovery]\ntitle = \"Answers\"\n";

async fn read(base: &str) -> Response {
    let request = Client::new().get(format!("{base}/openapi.json"));
    request
        .header(ORIGIN, "https://page.example")
        .send()
        .await
        .unwrap()
}

fn offer(document: &Value, path: &str, method: &str) -> Value {
    let operation = &document["paths"][path][method];
    assert!(operation["responses"]["402"].is_object(), "{document}");
    operation["x-payment-info"]["offers"][0].clone()
}

/// Runs the validator, unchanged and with a wallet, and reads its report.
async fn validate(world: &World, url: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    let payer = json!({
        "key": world.payers[0].expose_hex(),
        "rpc_url": world.rpc_url(),
        "chain_id": world.deployed.chain_id,
        "escrow": world.deployed.escrow,
    });
    let run = tokio::process::Command::new("node")
        .arg(folder.join("node_modules/mppx/dist/bin.js"))
        .args(["validate", url, "--output-json", "--yes"])
        .env("MPPX_CONFIG", folder.join("validate.config.mjs"))
        .env("WEIR_PAYER", payer.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(VALIDATOR, run).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complained = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said} {complained}", done.status);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn mppx_validate_passes_with_no_failure_and_no_warning() {
    let world = World::on(Network::Tempo, 1).await;
    let below = route("/v1/more/*", PRICE * 2, "methods = [\"GET\"]\n");
    let config = world.config(&Settings {
        routes: &format!("{ROUTES}{below}"),
        ..world.settings("validated")
    });
    // It wants the host's name in the challenges, and a bare POST manages a channel, which it takes for an empty answer.
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text
        .replace("realm = \"weir-tests\"", "realm = \"127.0.0.1\"")
        .replace("methods = [\"GET\", \"POST\"]", "methods = [\"GET\"]");
    std::fs::write(&config, text).unwrap();
    let daemon = Daemon::start(&config).await;

    let report = validate(&world, &daemon.gateway).await;
    let summary = &report["summary"];
    for bad in ["failed", "warnings", "skipped"] {
        assert_eq!(summary[bad], 0, "{report:#}");
    }
    let endpoints = report["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2, "{report:#}");
    for endpoint in endpoints {
        let checks = endpoint["payment"].as_array().unwrap();
        let bought = checks.iter().any(|check| check["label"] == "Payment: successful");
        assert!(bought, "{report:#}");
    }
    let channels = daemon.channels().await;
    let [channel] = channels.as_slice() else {
        panic!("{channels:?}");
    };
    assert_eq!(
        daemon.quiet(channel.channel_id.parse().unwrap()).await.spent,
        total(PRICE * 3)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_told_before_the_chain_is_reached_and_anew_after_a_reload() {
    let world = World::start(0).await;
    let settings = Settings {
        gateway: free_port(),
        operator: free_port(),
        rpc_url: &format!("http://127.0.0.1:{}", free_port()),
        routes: ROUTES,
        ..world.settings("told")
    };
    let config = world.config(&settings);
    let (mut process, log) = Daemon::spawn(&config);
    let base = format!("http://127.0.0.1:{}", settings.gateway);
    until_logged(&log, "sells nothing before the chain is reached").await;

    let told = read(&base).await;
    assert_eq!(told.status(), 200);
    assert_eq!(told.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(told.headers()[CACHE_CONTROL], "public, max-age=300");
    assert_eq!(told.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let told: Value = told.json().await.unwrap();
    assert_eq!(told["info"]["title"], "Answers");
    let expected = json!({
        "intent": "session", "method": "evm", "amount": PRICE.to_string(),
        "currency": world.deployed.tokens[0].token,
    });
    for method in ["get", "post"] {
        let mut offer = offer(&told, "/v1/answer", method);
        let said = offer.as_object_mut().unwrap().remove("description").unwrap();
        assert!(said.as_str().unwrap().contains("chain 31337"), "{said}");
        assert_eq!(offer, expected);
    }

    let text = std::fs::read_to_string(&config).unwrap();
    let dearer = text.replace(&format!("price = \"{PRICE}\""), "price = \"101\"");
    let renamed = dearer.replace("title = \"Answers\"", "title = \"Dearer answers\"");
    std::fs::write(&config, renamed).unwrap();
    signal(process.id(), "HUP");
    until_logged(&log, "were read again").await;
    let told: Value = read(&base).await.json().await.unwrap();
    assert_eq!(offer(&told, "/v1/answer", "get")["amount"], "101");
    assert_eq!(told["info"]["title"], "Dearer answers");
    assert!(!std::fs::read_to_string(&log).unwrap().contains("only a restart"));

    let text = dearer.replace("title = \"Answers\"", "enabled = false");
    std::fs::write(&config, text).unwrap();
    signal(process.id(), "HUP");
    for _ in 0..600 {
        if read(&base).await.status() == 404 {
            process.kill().unwrap();
            process.wait().unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("prices are told although nobody wants that");
}
