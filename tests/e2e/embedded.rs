//! A service that sells its own answers, in its own program: the example of `weir-till` as it stands there.

use crate::daemon::{ended, signal, weir};
use crate::payer_cli::Cli;
use crate::wallet::{Said, Wallet};
use crate::world::{PRICE, World, total};
use reqwest::Method;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the example sells a word for.
const WORD_PRICE: u128 = 10;

/// The example in a process of its own.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    async fn start(world: &World) -> Self {
        let program = weir().parent().unwrap().join("examples/words");
        assert!(
            program.is_file(),
            "{} is not there: run `cargo build --workspace --all-targets`",
            program.display()
        );
        let mut process = Command::new(program)
            .env("WEIR_RPC_URL", world.rpc_url())
            .env("WEIR_ESCROW", world.deployed.escrow.to_string())
            .env("WEIR_TOKEN", world.deployed.tokens[0].token.to_string())
            .env("WEIR_PAYEE_KEY", world.payee.expose_hex())
            .env("WEIR_SECRET", "a secret of this test, and of none other")
            .env("WEIR_BOOKS", world.files.path().join("words-books"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            said.read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(Duration::from_secs(60), line).await.unwrap();
        let url = line.unwrap().unwrap().trim().to_owned();
        assert!(url.starts_with("http://"), "the example did not start");
        Self { process, url }
    }

    async fn stop(mut self) {
        signal(self.process.id(), "INT");
        let status = ended(&mut self.process, Duration::from_secs(30)).await;
        assert!(status.success(), "{status}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_sells_by_the_unit_and_books_receipts_and_chain_agree() {
    let world = World::start(1).await;
    let service = Service::start(&world).await;
    let words = |count: u64| format!("{}/words?count={count}", service.url);
    let payer = world.payer(0, "payer").await;
    let mut spent = 0;
    for (asked, got) in [(3, 3), (0, 0), (10, 10), (7, 7)] {
        let answer = payer.get(&words(asked)).await.unwrap();
        assert_eq!(answer.status, 200);
        let said = String::from_utf8(answer.body).unwrap();
        assert_eq!(
            said.split_whitespace().count(),
            usize::try_from(got).unwrap(),
            "{said}"
        );
        let receipt = answer.receipt.unwrap();
        assert_eq!(
            receipt.accepted,
            total(spent + PRICE),
            "the most that it could cost"
        );
        spent += u128::from(got) * WORD_PRICE;
        assert_eq!((receipt.spent, receipt.units), (total(spent), Some(got)));
    }
    // What the handler reports beyond the most of its route is refused there, and its failure costs nothing.
    let refused = payer.get(&words(11)).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.receipt), (500, None));
    let answer = payer.get(&words(1)).await.unwrap();
    spent += WORD_PRICE;
    assert_eq!(answer.receipt.unwrap().spent, total(spent));

    let closed = payer.close(&words(1)).await.unwrap();
    assert_eq!(
        closed.captured,
        total(spent),
        "the chain pays what the receipts say"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_the_layer_has_no_way_around_it() {
    let world = World::start(1).await;
    let service = Service::start(&world).await;
    let url = |path: &str| format!("{}{path}", service.url);
    let free = reqwest::get(url("/health")).await.unwrap();
    assert_eq!(
        (free.status().as_u16(), free.headers().get("payment-receipt")),
        (200, None)
    );
    for (path, status) in [
        ("/words?count=2", 402),
        ("/tale", 402),
        ("/words/", 404),
        ("/Words", 404),
        ("/w%6Frds", 404),
        ("/nowhere", 404),
    ] {
        let said = Said::read(reqwest::get(url(path)).await.unwrap()).await;
        assert_eq!(said.status, status, "{path}: {said:?}");
        said.must_be_a_no(path);
    }
    // What one request may cost at most is what is asked for.
    let said = Said::read(reqwest::get(url("/words?count=2")).await.unwrap()).await;
    let asked = serde_json::to_value(said.challenge().unwrap()).unwrap();
    let request = weir_protocol::b64::decode(asked["request"].as_str().unwrap()).unwrap();
    let request: serde_json::Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(request["amount"], (WORD_PRICE * 10).to_string());

    // A stream is sold by the event behind the layer too, and its channel is managed there.
    let cli = Cli::new(&world, &world.payers[0], "reader");
    let ran = cli.pay(&url("/tale"), &["--stream"]).await;
    ran.must(0, &["paid 130 for 13 units in 1 answer"]);
    assert_eq!(cli.spent().await, "130");
    let [channel] = opened(&world).await.try_into().unwrap();
    let wallet = Wallet::with(&world, 0, channel);
    let replayed = wallet
        .credential(Method::GET, &url("/words?count=2"), &wallet.voucher(230))
        .await;
    let first = wallet
        .send(Method::GET, &url("/words?count=2"), Some(&replayed))
        .await;
    assert_eq!((first.status, first.receipt().unwrap().spent), (200, total(150)));
    let again = wallet
        .send(Method::GET, &url("/words?count=2"), Some(&replayed))
        .await;
    assert_eq!(again.status, 402, "{again:?}");
    let managed = wallet
        .pay(Method::HEAD, &url("/tale"), &wallet.voucher(230))
        .await;
    assert_eq!(
        (managed.status, managed.receipt().unwrap().spent),
        (200, total(150))
    );
    let closed = wallet.pay(Method::POST, &url("/words"), &wallet.close(150)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let state = world.until(channel, |state| state.finalized).await;
    assert_eq!(state.settled, total(150));
    service.stop().await;
}

async fn opened(world: &World) -> Vec<weir_core::ChannelId> {
    let opened = world
        .escrow
        .channels_of_payer(world.payers[0].address(), 0)
        .await
        .unwrap();
    opened.into_iter().map(|opened| opened.id).collect()
}
