//! The payer's command line where something ends: a request, a node, a channel.

use crate::daemon::{Daemon, signal, weir};
use crate::payer_cli::{Cli, Ran, shop, shop_on};
use crate::world::{PRICE, Settings, World, free_port, route, total};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STEP: &str = "1000";

/// The commands that were printed to be run, as a shell would read them.
fn told(said: &str) -> Vec<Vec<String>> {
    let lines = said.lines().filter_map(|line| line.split_once("run: weir "));
    lines
        .map(|(_, command)| command.split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn documents(out: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(out)
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

impl Cli {
    async fn payer(&self, arguments: &[&str]) -> Ran {
        self.run(self.command(&[&["payer"], arguments].concat())).await
    }

    /// Runs what was printed as it was printed.
    async fn obey(&self, words: &[String]) -> Ran {
        let mut command = Command::new(weir());
        command.args(words).stdin(Stdio::null());
        self.run(command).await
    }

    async fn books(&self) -> Vec<Value> {
        let ran = self.payer(&["channels", "--json"]).await;
        serde_json::from_str(&ran.out).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_close_request_paying_goes_on_at_once_and_the_rest_comes_back_later() {
    let world = World::start(1).await;
    let (_upstream, daemon) = shop(&world, "leaving").await;
    let cli = Cli::new(&world, &world.payers[0], "leaver");
    let answer = format!("{}/v1/answer", daemon.gateway);
    let funds = world.balance(&world.payers[0]).await;
    cli.pay(&answer, &[]).await.must(0, &["paid 100 for 1 answer to"]);
    let first = cli.books().await[0]["channel"].as_str().unwrap().to_owned();

    let asked = cli.payer(&["request-close", &first[..10]]).await.must(0, &[]);
    assert!(
        asked.out.contains(&format!("was asked to close {first}; from ")),
        "{asked:?}"
    );
    let [withdraw] = told(&asked.out).try_into().unwrap();
    let again = cli.payer(&["request-close", &first]).await.must(0, &[]);
    assert!(
        again
            .out
            .contains(&format!("was already asked to close {first} at 2")),
        "{again:?}"
    );
    assert_eq!(told(&again.out), std::slice::from_ref(&withdraw));
    cli.obey(&withdraw)
        .await
        .must(1, &["can be withdrawn from", "wait until then"]);

    cli.pay(&answer, &["--repeat", "2"])
        .await
        .must(0, &["paid 200 for 2 answers to"]);
    let books = cli.books().await;
    assert_eq!(books.len(), 2, "{books:?}");
    let is_second = |record: &&Value| record["channel"] != first.as_str();
    let second = books.iter().find(is_second).unwrap()["channel"].as_str().unwrap();
    assert_eq!(world.balance(&world.payers[0]).await, funds - 2_000_000);

    // What is in use is left, aloud; what was asked for is not asked for again.
    let found = cli.payer(&["recover", "--request-close"]).await.must(0, &[]);
    assert!(found.out.contains("is in the books and stays open"), "{found:?}");
    let [close] = told(&found.out).try_into().unwrap();
    assert_eq!(close[..3], ["payer", "request-close", second]);

    world.warp(world.escrow.grace_period_seconds() + 1).await;
    let done = cli.obey(&withdraw).await.must(0, &[]);
    assert!(done.out.contains(" came back; the server had got "), "{done:?}");
    let done = cli.obey(&withdraw).await.must(0, &[]);
    assert!(
        done.out.contains("was closed already; the server had got "),
        "{done:?}"
    );
    let done = cli.payer(&["withdraw", &first, "--json"]).await.must(0, &[]);
    let [document] = documents(&done.out).try_into().unwrap();
    assert_eq!(document["tx_hash"], Value::Null, "{document}");
    let done = cli.payer(&["request-close", &first]).await.must(0, &[]);
    assert!(done.out.contains("is closed already"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_tells_what_was_paid_and_what_is_open() {
    let world = World::start(1).await;
    let (_upstream, daemon) = shop(&world, "stopped").await;
    let cli = Cli::new(&world, &world.payers[0], "hasty");
    let story = format!("{}/v1/story?tokens=1000&delay_ms=20", daemon.gateway);
    let (mut least, mut closing) = (300, Vec::new());
    for (more, people) in [(&["--close"][..], true), (&["--json"], false)] {
        let mut command = cli.paying(&story, &[&["--max-ahead", STEP], more].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = command.spawn().unwrap();
        let process = running.id();
        let patience = Instant::now() + Duration::from_secs(60);
        while !matches!(daemon.channels().await.as_slice(), [view] if view.spent >= total(least)) {
            assert!(Instant::now() < patience, "{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        signal(process, "INT");
        let ran = tokio::task::spawn_blocking(move || running.wait_with_output().unwrap());
        let ran = Ran::from(ran.await.unwrap());
        let [view] = daemon.channels().await.try_into().unwrap();
        let view = daemon.quiet(view.channel_id.parse().unwrap()).await;
        if people {
            let ran = ran.must(130, &["paid ", " in 1 answer to ", "weir: interrupted"]);
            assert!(ran.units() >= 3, "{ran:?}");
            // It was to close the channel, and says that it did not, and how.
            assert!(ran.err.contains("was not seen closed"), "{ran:?}");
            closing = told(&ran.err);
        } else {
            let ran = ran.must(130, &[]);
            let [answer] = documents(&ran.out).try_into().unwrap();
            assert_eq!(
                (&answer["complete"], &answer["status"]),
                (&false.into(), &200.into())
            );
            assert_ne!(answer["charged"], "0", "{answer}");
        }
        // The books never say more than the seller's, and the next receipt makes them even.
        let answer = format!("{}/v1/answer", daemon.gateway);
        cli.pay(&answer, &[]).await.must(0, &["paid 100 for 1 answer to"]);
        let spent = view.spent.plus(weir_core::Amount::new(PRICE)).unwrap();
        assert_eq!(cli.spent().await, spent.to_string());
        least += spent.base_units();
    }

    let [close] = closing.try_into().unwrap();
    cli.obey(&close).await.must(0, &["closed channel "]);

    // No answer is there yet, and nobody knows what becomes of it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/x", listener.local_addr().unwrap());
    let mut command = cli.paying(&silent, &["--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = command.spawn().unwrap();
    let _connection = listener.accept().await.unwrap();
    signal(running.id(), "INT");
    let ran = tokio::task::spawn_blocking(move || running.wait_with_output().unwrap());
    let ran = Ran::from(ran.await.unwrap()).must(130, &[]);
    let [answer] = documents(&ran.out).try_into().unwrap();
    assert_eq!(
        (&answer["complete"], &answer["status"]),
        (&false.into(), &Value::Null)
    );
    assert_eq!(answer["perhaps_charged"], "0", "nothing was signed for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn free_pages_and_open_channels_need_no_node() {
    let world = World::start(1).await;
    let (_upstream, daemon) = shop(&world, "offline").await;
    let mut cli = Cli::new(&world, &world.payers[0], "offline-payer");
    let answer = format!("{}/v1/answer", daemon.gateway);
    let node = std::mem::replace(&mut cli.rpc_url, format!("http://127.0.0.1:{}", free_port()));
    let free = format!("{}/health", daemon.gateway);
    cli.pay(&free, &[]).await.must(0, &["nothing was charged"]);
    cli.pay(&answer, &[]).await.must(1, &["reading the chain id"]);
    let away = std::mem::replace(&mut cli.rpc_url, node);
    cli.pay(&answer, &[]).await.must(0, &["paid 100 for 1 answer to"]);
    cli.rpc_url = away;
    cli.pay(&answer, &[]).await.must(0, &["paid 100 for 1 answer to"]);
    assert_eq!(cli.spent().await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_is_not_final_is_waited_for_aloud() {
    let world = World::start(1).await;
    let (_upstream, daemon) = shop_on(&world, "final", "finality_blocks = 4\n").await;
    let cli = Cli::new(&world, &world.payers[0], "waiting");
    let answer = format!("{}/v1/answer", daemon.gateway);
    let waits = "the server waits until the deposit is final";
    let ran = cli
        .pay(&answer, &[])
        .await
        .must(0, &[waits, "paid 100 for 1 answer to"]);
    assert!(
        ran.err.contains(" s at most (--max-wait)") || ran.err.contains("which may take"),
        "{ran:?}"
    );
    let quiet = Cli::new(&world, &world.payers[0], "waiting-too");
    let ran = quiet.pay(&answer, &["--json"]).await.must(0, &[]);
    assert_eq!(ran.err, "", "a machine is told nothing beside its document");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_never_contradicts_itself() {
    let world = World::start(1).await;
    let config = world.config(&Settings {
        routes: &route("/broken/*", PRICE, ""),
        ..world.settings("broken")
    });
    let daemon = Daemon::start(&config).await;
    let cli = Cli::new(&world, &world.payers[0], "unsure");
    let ran = cli.pay(&format!("{}/broken/x", daemon.gateway), &[]).await;
    let unsure = [
        "no receipt tells of a payment to",
        "up to 100 may have been charged; the next receipt tells",
    ];
    let ran = ran.must(1, &unsure);
    assert!(
        !ran.err.contains("paid 0") && !ran.err.contains("nothing was charged"),
        "{ran:?}"
    );
    let ran = cli.pay(&format!("{}/v1/answer", daemon.gateway), &[]).await;
    ran.must(0, &["paid 100 for 1 answer to"]);
    assert_eq!(cli.spent().await, "100");
}
