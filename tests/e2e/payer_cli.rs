//! `weir pay` as people run it: streams, limits, cut connections, and what it says when it does not pay.

use crate::daemon::{Daemon, weir};
use crate::service::Wire;
use crate::world::{PRICE, Settings, World, free_port, route, total};
use axum::Router;
use axum::http::{StatusCode, header};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use weir_node::dev::upstream::Upstream;
use weir_node::keys::SecretKey;

const STEP: &str = "1000";

/// What a run printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(ran: Output) -> Self {
        Self {
            code: ran.status.code(),
            out: String::from_utf8(ran.stdout).unwrap(),
            err: String::from_utf8(ran.stderr).unwrap(),
        }
    }
}

impl Ran {
    pub(crate) fn units(&self) -> usize {
        self.out.matches("{\"token\"").count()
    }

    pub(crate) fn must(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for said in said {
            assert!(self.err.contains(said), "{said:?} is not in {self:?}");
        }
        self
    }
}

/// A payer at the command line.
pub(crate) struct Cli {
    key: PathBuf,
    state: PathBuf,
    limits: Vec<String>,
    pub(crate) rpc_url: String,
}

impl Cli {
    pub(crate) fn new(world: &World, key: &SecretKey, name: &str) -> Self {
        let file = world.files.path().join(format!("{name}-key"));
        key.save(&file).unwrap();
        let limits = [
            ("--escrow", world.deployed.escrow.to_string()),
            ("--token", world.deployed.tokens[0].token.to_string()),
            ("--max-price", PRICE.to_string()),
            ("--max-deposit", "1000000".to_owned()),
        ];
        let limits = limits
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]);
        Self {
            key: file,
            state: world.state(name),
            limits: limits.collect(),
            rpc_url: world.rpc_url().to_owned(),
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(weir());
        command
            .args(arguments)
            .arg("--key-file")
            .arg(&self.key)
            .arg("--state-dir")
            .arg(&self.state)
            .args(["--rpc-url", &self.rpc_url])
            .stdin(Stdio::null());
        command
    }

    pub(crate) async fn run(&self, mut command: Command) -> Ran {
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
        ran.await.unwrap().into()
    }

    /// `weir pay`, before it is started.
    pub(crate) fn paying(&self, url: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["pay", url]);
        command.args(&self.limits).args(more);
        command
    }

    pub(crate) async fn pay(&self, url: &str, more: &[&str]) -> Ran {
        self.run(self.paying(url, more)).await
    }

    /// What the books say is spent, as the next process reads them.
    pub(crate) async fn spent(&self) -> String {
        let ran = self.run(self.command(&["payer", "channels", "--json"])).await;
        let books: Value = serde_json::from_str(&ran.out).unwrap();
        books[0]["spent"].as_str().unwrap().to_owned()
    }
}

/// A daemon that sells stories by the token in steps of ten, and answers.
pub(crate) async fn shop(world: &World, name: &str) -> (Upstream, Daemon) {
    shop_on(world, name, "").await
}

/// The same, with more lines of `[chain]`.
pub(crate) async fn shop_on(world: &World, name: &str, chain: &str) -> (Upstream, Daemon) {
    let upstream = Upstream::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let story = "methods = [\"GET\"]\nmeter = \"event\"\nunit = \"token\"\nmin_voucher_delta = \"1000\"\n";
    let config = world.config(&Settings {
        upstream: &upstream.url(),
        routes: &(route("/v1/story", PRICE, story) + "[[route]]\npath = \"/health\"\nfree = true\n\n"),
        chain,
        ..world.settings(name)
    });
    let daemon = Daemon::start(&config).await;
    (upstream, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_1_streams_are_paid_by_the_unit_and_never_past_a_limit() {
    let world = World::start(1).await;
    let (_upstream, daemon) = shop(&world, "stories").await;
    let cli = Cli::new(&world, &world.payers[0], "reader");
    let story = |tokens: u32| format!("{}/v1/story?tokens={tokens}", daemon.gateway);
    let funds = world.balance(&world.payers[0]).await;

    // A voucher of one step would let a stream cost more than it may: nothing is locked for it.
    let ran = cli
        .pay(&story(3), &["--max-ahead", STEP, "--max-stream", "350"])
        .await;
    ran.must(1, &["could cost 1000, over the limit 350", "--max-stream"]);
    let ran = cli.pay(&story(3), &[]).await;
    ran.must(1, &["900 authorised beyond", "over the limit 0", "--max-ahead"]);
    assert_eq!(world.balance(&world.payers[0]).await, funds);

    let ahead = ["--max-ahead", STEP];
    let ran = cli.pay(&story(25), &["--max-ahead", STEP, "--stream"]).await;
    let ran = ran.must(0, &["paid 2500 for 25 units in 1 answer"]);
    assert_eq!(ran.units(), 25);
    assert_eq!(cli.spent().await, "2500");
    // A second one on the channel, which begins with what the first left over.
    let ran = cli.pay(&story(12), &["--max-ahead", STEP, "--stream"]).await;
    assert_eq!(ran.must(0, &["paid 1200 for 12 units in 1 answer"]).units(), 12);
    // Nobody has to know before that it is a stream, or that it is none.
    let ran = cli.pay(&story(7), &ahead).await;
    assert_eq!(ran.must(0, &["paid 700 for 7 units in 1 answer"]).units(), 7);
    let answer = format!("{}/v1/answer", daemon.gateway);
    let ran = cli.pay(&answer, &["--stream"]).await;
    let ran = ran.must(0, &["paid 100 for 1 answer to"]);
    assert!(ran.out.contains("a question of"), "{ran:?}");
    let [view] = daemon.channels().await.try_into().unwrap();
    assert_eq!((view.spent, view.accepted), (total(4500), total(5000)));
    assert_eq!(cli.spent().await, "4500");

    // 500 are authorised already, so one step more is as much as this stream may cost.
    let ran = cli
        .pay(&story(30), &["--max-ahead", STEP, "--max-stream", "1500"])
        .await;
    let ran = ran.must(
        1,
        &[
            "paid 1500 for 15 units in 1 answer",
            "could cost 2500, over the limit 1500",
            "--max-stream",
        ],
    );
    assert_eq!(ran.units(), 15);
    let [view] = daemon.channels().await.try_into().unwrap();
    assert_eq!((view.spent, view.accepted), (total(6000), total(6000)));
    assert_eq!(cli.spent().await, "6000");
    cli.pay(&answer, &[]).await.must(0, &["paid 100 for 1 answer to"]);
    assert_eq!(cli.spent().await, "6100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_fails_with_what_was_paid_and_the_next_purchase_works() {
    let world = World::start(1).await;
    let (_upstream, daemon) = shop(&world, "cut").await;
    let cli = Cli::new(&world, &world.payers[0], "unlucky");
    let port = free_port();
    let gateway = format!("http://127.0.0.1:{port}");
    let wire = Wire::lay(port, &daemon.gateway).await;
    let story = format!("{gateway}/v1/story?tokens=1000&delay_ms=20");
    let reading = cli.pay(&story, &["--max-ahead", STEP]);
    let cutting = async {
        let patience = Instant::now() + Duration::from_secs(60);
        while !matches!(daemon.channels().await.as_slice(), [view] if view.spent >= total(1200)) {
            assert!(Instant::now() < patience, "{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wire.cut().await;
    };
    let (ran, ()) = tokio::join!(reading, cutting);
    let ran = ran.must(
        1,
        &[
            "the answer broke off after",
            "paid 1000 for 10 units in 1 answer",
            "more may have been charged; the next receipt tells",
        ],
    );
    assert_eq!(ran.err.matches("may have been charged").count(), 1, "{ran:?}");
    assert!(ran.units() >= 10, "{ran:?}");

    let _wire = Wire::lay(port, &daemon.gateway).await;
    let answer = format!("{gateway}/v1/answer");
    cli.pay(&answer, &[]).await.must(0, &["paid 100 for 1 answer to"]);
    let [view] = daemon.channels().await.try_into().unwrap();
    assert_eq!(cli.spent().await, view.spent.to_string());
    // What it reports as charged now and earlier adds up to what the seller charged.
    let ran = cli.pay(&answer, &["--json"]).await.must(0, &[]);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&said["charged"], &said["charged_for_earlier"]),
        (&"100".into(), &"0".into())
    );
    assert_eq!((&said["units"], &said["complete"]), (&1.into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_names_its_cause_and_the_next_step() {
    let world = World::start(1).await;
    let (_upstream, daemon) = shop(&world, "noes").await;
    let cli = Cli::new(&world, &world.payers[0], "curious");
    let ahead = ["--max-ahead", STEP, "--stream"];

    // The service's own no is printed, whatever was hoped for.
    let refused = format!("{}/v1/story?tokens=many", daemon.gateway);
    let ran = cli.pay(&refused, &ahead).await;
    let ran = ran.must(1, &["nothing was charged", "the server answered 400"]);
    assert!(ran.out.contains("Failed to deserialize"), "{ran:?}");

    // Nobody is there: the place, without what may be secret in it.
    let nowhere = format!("http://user:s3same@127.0.0.1:{}/x?token=hidden", free_port());
    let ran = cli
        .pay(&nowhere, &[])
        .await
        .must(1, &["http://127.0.0.1:", "/x: ", "refused"]);
    assert!(
        !ran.err.contains("hidden") && !ran.err.contains("s3same"),
        "{ran:?}"
    );

    // No money: whose, which, how much there is and how much is needed.
    let poor = SecretKey::from_bytes([0x77; 32]).unwrap();
    let beggar = Cli::new(&world, &poor, "poor");
    let token = world.deployed.tokens[0].token.to_string();
    let address = poor.address().to_string();
    let answer = format!("{}/v1/answer", daemon.gateway);
    let ran = beggar.pay(&answer, &[]).await;
    ran.must(1, &[&address, &token, "holds 0", "100 are needed"]);

    // Fractions of a token are no amounts.
    let ran = cli.pay(&answer, &["--max-total", "0.01"]).await;
    ran.must(2, &["--max-total", "whole base units"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_waited_for_aloud_and_not_for_ever() {
    let world = World::start(1).await;
    let cli = Cli::new(&world, &world.payers[0], "patient");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let busy = || async {
        let said = [
            (header::RETRY_AFTER, "1"),
            (header::CONTENT_TYPE, "application/problem+json"),
        ];
        (
            StatusCode::SERVICE_UNAVAILABLE,
            said,
            "{\"detail\":\"taking stock\"}",
        )
    };
    let serving = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(busy)).await });
    let began = Instant::now();
    let ran = cli.pay(&url, &["--max-wait", "3"]).await;
    let waited = "503 Service Unavailable: taking stock; trying again in 1 s, for another 2 s at most";
    let ran = ran.must(1, &[waited, "the server answered 503"]);
    assert!(ran.err.matches("trying again").count() < 4, "{ran:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{ran:?}");
    serving.abort();
}
