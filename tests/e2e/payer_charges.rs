//! `weir pay` buys single answers, each paid for at once: from the daemon, from mppx's server, and over its own kills.

use crate::charges::{Scene, url};
use crate::daemon::{Daemon, ended, signal};
use crate::gate::Broadcasts;
use crate::payer_cli::{Cli, Ran};
use crate::service::ANSWER;
use crate::world::{PRICE, Settings, World, route};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use weir_node::dev::anvil::Network;
use weir_protocol::charge::ChargeReceipt;

/// Longer than a payment waits for its block, and than its payer doubts that it is over.
const OVER_SECONDS: u64 = 60;

fn cli(world: &World, name: &str) -> Cli {
    Cli::new(world, &world.payers[0], name)
}

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// What a run printed as JSON is one paid answer; gives its transaction.
fn must_be_paid(ran: &Ran, world: &World, (price, earlier): (u128, bool)) -> String {
    let told = document(ran);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&json!(200), &json!(true)),
        "{told}"
    );
    assert_eq!(told["charged"], price.to_string(), "{told}");
    let payment = &told["payment"];
    assert_eq!(payment["amount"], price.to_string(), "{told}");
    assert_eq!(payment["earlier"], json!(earlier), "{told}");
    assert_eq!(payment["recipient"], json!(world.payee.address()), "{told}");
    assert_eq!(told["receipt"]["reference"], payment["transaction"], "{told}");
    payment["transaction"].as_str().unwrap().to_owned()
}

async fn must_have_landed(world: &World, transaction: &str) {
    let landed = world.ask("eth_getTransactionReceipt", json!([transaction])).await;
    assert_eq!(landed["status"], "0x1", "{landed}");
}

/// Payments that a payer keeps because their answers were not read.
fn kept(world: &World, name: &str) -> usize {
    let payer = format!("{:#x}", world.payers[0].address());
    let folder = world.state(name).join(payer).join("payments");
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn weir_pay_buys_single_answers_each_by_a_transfer_and_within_its_limits() {
    let (scene, daemon) = Scene::start("payer").await;
    let world = &scene.world;
    let (once, both) = (url(&daemon, "/v1/once"), url(&daemon, "/v1/both"));
    let cli = cli(world, "once");
    let before = scene.earned().await;
    let ran = cli.pay(&once, &["--json"]).await;
    must_have_landed(world, &must_be_paid(&ran, world, (PRICE, false))).await;
    assert_eq!(document(&ran)["body"], ANSWER);
    let ran = cli.pay(&both, &["--json", "--intent", "charge"]).await;
    must_be_paid(&ran, world, (PRICE, false));
    let ran = cli
        .pay(&once, &[])
        .await
        .must(0, &["paid 100 at once to", "transaction 0x"]);
    assert_eq!(ran.out.trim_end(), ANSWER);
    assert_eq!(scene.earned().await - before, 3 * PRICE);
    assert_eq!(kept(world, "once"), 0, "all were answered");
    // Nothing is to be paid but shown.
    let zero = url(&daemon, "/v1/zero");
    // The daemon's realm is not its host's name here: it may be a stranger who fishes for a proof.
    let refused = cli.pay(&zero, &[]).await;
    refused.must(1, &["nothing was signed", "name the realm with --realm"]);
    let ran = cli.pay(&zero, &["--json", "--realm", "weir-tests"]).await;
    let told = document(&ran);
    assert_eq!((ran.code, &told["charged"]), (Some(0), &json!("0")), "{ran:?}");
    assert_eq!(told["body"], ANSWER);
    // Each receipt is kept.
    let payer = format!("{:#x}", world.payers[0].address());
    let receipts = std::fs::read_to_string(world.state("once").join(payer).join("receipts.jsonl")).unwrap();
    assert_eq!(receipts.lines().count(), 4, "{receipts}");

    let before = scene.earned().await;
    for (more, said) in [
        (["--max-charge", "99"], "raise --max-charge"),
        (["--max-total", "99"], "raise --max-total"),
        (
            ["--recipient", "0x00000000000000000000000000000000000000aa"],
            "name it with --recipient",
        ),
        (["--intent", "session"], "it offers tempo/charge; this payer pays"),
    ] {
        cli.pay(&once, &more).await.must(1, &[said]);
    }
    assert_eq!(scene.earned().await, before);
    assert_eq!(kept(world, "once"), 0, "nothing was signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_service_breaks_off_is_owed_and_not_paid_for_again() {
    let (scene, daemon) = Scene::start("broken").await;
    let world = &scene.world;
    let cli = cli(world, "broken");
    let before = scene.earned().await;
    for earlier in ["", " · by an earlier request"] {
        let ran = cli.pay(&url(&daemon, "/broken/once"), &[]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("at once to"), "{ran:?}");
        assert!(ran.err.contains(earlier), "{ran:?}");
        assert_eq!(kept(world, "broken"), 1);
    }
    let listed = cli.run(cli.command(&["payer", "payments", "--json"])).await;
    let listed = document(&listed);
    assert_eq!(listed[0]["amount"], PRICE.to_string(), "{listed}");
    assert_eq!(scene.earned().await - before, PRICE);
}

/// Runs `weir pay` until the daemon's broadcast of its payment is held up, and kills it.
async fn killed(scene: &Scene, cli: &Cli, place: &str, held: Broadcasts) {
    scene.gate.broadcasts(held);
    let mut command = cli.paying(place, &["--json"]);
    let mut process = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    scene.gate.holds_one().await;
    signal(process.id(), "KILL");
    ended(&mut process, Duration::from_secs(10)).await;
    scene.gate.broadcasts(Broadcasts::Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_4_a_payer_that_is_killed_in_the_middle_pays_once_and_gets_its_answer() {
    for (name, held) in [
        ("before", Broadcasts::HeldBefore),
        ("after", Broadcasts::HeldAfter),
    ] {
        let (scene, daemon) = Scene::start(name).await;
        let (world, before) = (&scene.world, scene.earned().await);
        let cli = cli(world, name);
        let place = url(&daemon, "/v1/once");
        killed(&scene, &cli, &place, held).await;
        assert_eq!(kept(world, name), 1, "{name}");
        let ran = cli.pay(&place, &["--json"]).await;
        must_have_landed(world, &must_be_paid(&ran, world, (PRICE, true))).await;
        assert_eq!(document(&ran)["body"], ANSWER, "{name}");
        assert_eq!(scene.earned().await - before, PRICE, "{name}");
        assert_eq!(kept(world, name), 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_4_a_payment_that_never_landed_is_made_anew_once_it_cannot_any_more() {
    let (scene, daemon) = Scene::start("expired").await;
    let (world, before) = (&scene.world, scene.earned().await);
    let cli = cli(world, "expired");
    let place = url(&daemon, "/v1/once");
    killed(&scene, &cli, &place, Broadcasts::HeldBefore).await;
    daemon.kill();
    world.warp(OVER_SECONDS).await;
    let daemon = scene.daemon(&world.service.url).await;
    // The daemon listens elsewhere now: to the payer it is another place, so the first payment is not in its way.
    let ran = cli.pay(&url(&daemon, "/v1/once"), &["--json"]).await;
    must_be_paid(&ran, world, (PRICE, false));
    assert_eq!(scene.earned().await - before, PRICE);
    // At the old place it is seen to be over, and forgotten.
    assert_eq!(kept(world, "expired"), 1);
    let ran = cli.pay(&place, &["--json"]).await;
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert_eq!(kept(world, "expired"), 0);
}

/// mppx's server, as published, in a process of its own.
pub(crate) struct Mppx {
    process: Child,
    pub(crate) url: String,
}

impl Mppx {
    pub(crate) fn start(world: &World, rpc_url: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
        let request = json!({
            "rpc_url": rpc_url,
            "chain_id": world.deployed.chain_id,
            "token": world.deployed.tokens[0].token,
            "escrow": world.deployed.escrow,
            "key": world.payee.expose_hex(),
        });
        let mut process = Command::new("node")
            .arg(folder.join("server.mjs"))
            .arg(request.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut url).unwrap();
        Self {
            process,
            url: url.trim_end().to_owned(),
        }
    }
}

impl Drop for Mppx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weir_pay_buys_single_answers_of_mppx_by_pull_by_push_and_with_a_proof() {
    let world = World::on(Network::Tempo, 1).await;
    let server = Mppx::start(&world, world.rpc_url());
    let cli = cli(&world, "mppx");
    let payee = &world.payee;
    for (path, price) in [("pull", PRICE), ("push", PRICE), ("zero", 0)] {
        let before = world.balance(payee).await;
        let ran = cli.pay(&format!("{}/{path}", server.url), &["--json"]).await;
        let told = document(&ran);
        assert_eq!(
            (ran.code, &told["body"]),
            (Some(0), &json!(ANSWER)),
            "{path}: {ran:?}"
        );
        assert_eq!(told["charged"], price.to_string(), "{path}: {told}");
        assert_eq!(told["receipt"]["method"], "tempo", "{path}: {told}");
        if price > 0 {
            must_have_landed(&world, &must_be_paid(&ran, &world, (price, false))).await;
        }
        assert_eq!(world.balance(payee).await - before, price, "{path}");
    }
    assert_eq!(kept(&world, "mppx"), 0);
    // What this payer cannot pay is told by name.
    let ran = cli.pay(&format!("{}/splits", server.url), &[]).await;
    ran.must(1, &["it offers tempo/charge; this payer pays"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn weir_pay_leaves_charges_alone_that_never_expire() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&Settings {
        routes: &route("/v1/once", PRICE, "accept = [\"session\", \"charge\"]"),
        ..world.settings("memoless")
    }))
    .await;
    let cli = cli(&world, "memoless");
    let place = url(&daemon, "/v1/once");
    let ran = cli.pay(&place, &["--intent", "charge"]).await;
    ran.must(1, &["this payer pays evm/session"]);
    // By a channel it is bought.
    let ran = cli.pay(&place, &[]).await.must(0, &["paid 100 for 1 answer"]);
    assert_eq!(ran.out.trim_end(), ANSWER);
}

/// Reads a receipt as the header brings it: what the payer checked, others can.
#[test]
fn a_receipt_of_mppx_is_one_of_ours() {
    let receipt =
        r#"{"method":"tempo","reference":"0xab","status":"success","timestamp":"2026-01-01T00:00:00.000Z"}"#;
    let header = weir_protocol::b64::encode(receipt);
    assert_eq!(
        ChargeReceipt::from_header(header.as_bytes()).unwrap().reference,
        "0xab"
    );
}
