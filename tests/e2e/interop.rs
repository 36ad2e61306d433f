//! Clients of other makes, as published and unchanged, pay at a devnet; then what they got, the daemon's books and the
//! chain must agree.

use crate::daemon::{ended, signal, weir};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use weir_chain::Escrow;
use weir_chain::calls::{EscrowCalls, RowEffect};
use weir_core::terms::TEMPO_DOMAIN_NAME;
use weir_core::{Amount, ChannelId, Cumulative};
use weir_node::dev::devnet::{ANSWER_PRICE, DEPOSIT_LARGE, DEPOSIT_SMALL};
use weir_node::operator::ChannelView;
use weir_protocol::receipt::SessionReceipt;

/// How long the devnet may take until it answers.
const START: Duration = Duration::from_secs(90);
/// How long a client may take for all that it buys.
const CLIENT: Duration = Duration::from_secs(120);
/// Tokens of the story that the devnet's `sse_url` asks for.
const STORY_TOKENS: u64 = 60;

/// `weir dev` in a process of its own.
pub(crate) struct Devnet {
    process: Child,
    folder: TempDir,
    pub(crate) ready: Ready,
}

/// What its ready file says.
#[derive(Deserialize)]
pub(crate) struct Ready {
    pub(crate) rpc_url: String,
    escrow: String,
    token: String,
    operator_url: String,
    pub(crate) operator_v2_url: Option<String>,
}

impl Devnet {
    pub(crate) async fn start(chain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ready.json");
        let errors = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(weir())
            .args(["dev", "--payers", "3", "--chain", chain, "--ready-file"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut devnet = Self {
            process,
            folder,
            ready: Ready {
                rpc_url: String::new(),
                escrow: String::new(),
                token: String::new(),
                operator_url: String::new(),
                operator_v2_url: None,
            },
        };
        let deadline = tokio::time::Instant::now() + START;
        while !file.exists() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the devnet did not come up"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        devnet.ready = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        devnet
    }

    pub(crate) fn ready_file(&self) -> PathBuf {
        self.folder.path().join("ready.json")
    }

    pub(crate) async fn stop(mut self) {
        signal(self.process.id(), "INT");
        let status = ended(&mut self.process, Duration::from_secs(30)).await;
        assert!(status.success(), "{status}");
    }

    async fn escrow(&self) -> Escrow {
        let address = self.ready.escrow.parse().unwrap();
        Escrow::connect(&self.ready.rpc_url, address, TEMPO_DOMAIN_NAME)
            .await
            .unwrap()
    }

    /// The operator's view of a channel, once the daemon has seen its end.
    pub(crate) async fn finalized(&self, operator: &str, channel: ChannelId) -> ChannelView {
        let url = format!("{operator}/v1/channels/{channel}");
        for _ in 0..300 {
            let answer = reqwest::get(&url).await.unwrap().error_for_status().unwrap();
            let view: ChannelView = answer.json().await.unwrap();
            if view.standing == "finalized" {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the daemon does not see the end of {channel}");
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            println!("devnet: {log}");
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lets a script of `tests/interop` sign or pay, and reads what it prints.
pub(crate) async fn run<T: DeserializeOwned>(script: &str, argument: impl AsRef<OsStr>) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    assert!(
        folder.join("node_modules").is_dir(),
        "the clients of other makes are not installed: run `make setup`"
    );
    let run = tokio::process::Command::new("node")
        .arg(folder.join(script))
        .arg(argument)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(CLIENT, run).await.unwrap().unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{script}: {}: {complained}", done.status);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{script}: {error}: {said}"))
}

/// What `mppx.mjs` prints.
#[derive(Deserialize)]
struct Bought {
    answers: Answers,
    story: Story,
    raise: Raise,
}

#[derive(Deserialize)]
pub(crate) struct Answers {
    channel: String,
    pub(crate) answers: Vec<Answer>,
    pub(crate) closed: Value,
    pub(crate) wire: Vec<Exchange>,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: String,
    receipt: Value,
    challenge: String,
    authorised: String,
}

#[derive(Deserialize)]
pub(crate) struct Story {
    channel: String,
    told: Vec<String>,
    receipts: Vec<Value>,
    authorised: String,
    closed: Value,
    wire: Vec<Exchange>,
}

/// A payer that locked too little.
#[derive(Deserialize)]
struct Raise {
    channel: String,
    bought: Vec<Raw>,
    refused: Raw,
    topped_up: Raw,
    closed: Raw,
    wire: Vec<Exchange>,
}

/// An answer as it came; its receipt is spelled as in the header.
#[derive(Deserialize)]
struct Raw {
    status: u16,
    body: String,
    receipt: Option<String>,
}

impl Raw {
    fn receipt(&self) -> SessionReceipt {
        SessionReceipt::from_header(self.receipt.as_ref().unwrap().as_bytes()).unwrap()
    }
}

/// One request of a client, and its answer's status.
#[derive(Debug, Deserialize)]
pub(crate) struct Exchange {
    method: String,
    status: u16,
}

impl Exchange {
    pub(crate) fn is_management(&self) -> bool {
        self.method == "POST" && matches!(self.status, 200 | 204)
    }
}

/// The receipt, read strictly: `SessionReceipt` checks names, types and constants.
pub(crate) fn receipt(value: &Value) -> SessionReceipt {
    let receipt = SessionReceipt::from_json(value.to_string().as_bytes());
    let receipt = receipt.unwrap_or_else(|error| panic!("{error}: {value}"));
    assert_eq!(receipt.method, "tempo", "{value}");
    receipt
}

pub(crate) fn price_of(units: u64) -> Cumulative {
    Cumulative::new(ANSWER_PRICE.base_units() * u128::from(units))
}

pub(crate) fn whole(deposit: Amount) -> Cumulative {
    Cumulative::new(deposit.base_units())
}

#[tokio::test(flavor = "multi_thread")]
async fn mppx_opens_pays_streams_tops_up_and_closes_on_tempo_session_v1() {
    let devnet = Devnet::start("tempo").await;
    let bought: Bought = run("mppx.mjs", devnet.ready_file()).await;
    let (first, second) = (check_answers(&bought.answers), check_story(&bought.story));
    let third = check_raise(&bought.raise);

    let escrow = devnet.escrow().await;
    check_end(&devnet, &escrow, &first, price_of(3), whole(DEPOSIT_LARGE)).await;
    check_end(
        &devnet,
        &escrow,
        &second,
        price_of(STORY_TOKENS),
        whole(DEPOSIT_SMALL),
    )
    .await;
    check_end(&devnet, &escrow, &third, price_of(3), price_of(5)).await;
    let token = devnet.ready.token.parse().unwrap();
    let left = escrow.token_balance(token, devnet.ready.escrow.parse().unwrap());
    assert!(left.await.unwrap().is_zero(), "money stayed in the escrow");
    devnet.stop().await;
}

/// Three answers, each paid by its own voucher; returns the receipt of the close.
pub(crate) fn check_answers(bought: &Answers) -> SessionReceipt {
    assert_eq!(bought.answers.len(), 3);
    for (answer, units) in bought.answers.iter().zip(1..) {
        assert_eq!(answer.status, 200);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let served = "That is a question of 1 words, and worth asking.";
        assert_eq!(body, json!({ "question": "why", "answer": served }));
        let receipt = receipt(&answer.receipt);
        assert_eq!(receipt.channel.to_string(), bought.channel);
        assert_eq!(receipt.challenge_id, answer.challenge);
        assert_eq!(
            (receipt.accepted, receipt.spent),
            (price_of(units), price_of(units))
        );
        assert_eq!(answer.authorised, receipt.accepted.to_string());
        assert_eq!(receipt.tx_hash, None);
    }
    let (close, sales) = bought.wire.split_last().unwrap();
    assert!(close.is_management(), "{close:?}");
    let sales: Vec<(&str, u16)> = sales
        .iter()
        .map(|one| (one.method.as_str(), one.status))
        .collect();
    assert_eq!(sales, [("GET", 402), ("GET", 200)].repeat(3));
    let closed = receipt(&bought.closed);
    assert_eq!(closed.channel.to_string(), bought.channel);
    assert_eq!((closed.accepted, closed.spent), (price_of(3), price_of(3)));
    assert_eq!(
        bought.answers.last().map(|answer| &answer.challenge),
        Some(&closed.challenge_id)
    );
    closed
}

/// A story that is paid token by token, with vouchers while it is told; returns the receipt of the close.
pub(crate) fn check_story(bought: &Story) -> SessionReceipt {
    let (end, tokens) = bought.told.split_last().unwrap();
    assert_eq!(end, "[DONE]");
    assert_eq!(tokens.len() as u64, STORY_TOKENS);
    assert_eq!(tokens[..2], [r#"{"token":"A "}"#, r#"{"token":"miller "}"#]);
    let last = receipt(bought.receipts.last().unwrap());
    assert_eq!(last.channel.to_string(), bought.channel);
    assert_eq!(
        (last.spent, last.units),
        (price_of(STORY_TOKENS), Some(STORY_TOKENS))
    );
    assert!(last.accepted >= last.spent);
    assert_eq!(bought.authorised, last.accepted.to_string());
    let (sale, management) = bought.wire.split_at(2);
    assert_eq!((sale[0].status, sale[1].status), (402, 200));
    // At least one voucher while the story is told, and the close.
    assert!(management.len() >= 2, "{management:?}");
    assert!(management.iter().all(Exchange::is_management), "{management:?}");
    let closed = receipt(&bought.closed);
    assert_eq!(closed.channel, last.channel);
    assert_eq!(closed.spent, last.spent);
    closed
}

/// Two answers use up the deposit, a third one is refused until the payer tops up; returns the receipt of the close.
fn check_raise(bought: &Raise) -> SessionReceipt {
    for (answer, units) in bought.bought.iter().zip(1..) {
        assert_eq!(answer.status, 200, "{}", answer.body);
        let receipt = answer.receipt();
        assert_eq!(receipt.channel.to_string(), bought.channel);
        assert_eq!(
            (receipt.accepted, receipt.spent),
            (price_of(units), price_of(units))
        );
    }
    assert_eq!(bought.bought.len(), 3);
    assert_eq!(bought.refused.status, 402);
    let problem: Value = serde_json::from_str(&bought.refused.body).unwrap();
    let kind = problem["type"].as_str().unwrap();
    assert!(kind.ends_with("/amount-exceeds-deposit"), "{problem}");
    assert_eq!(problem["deposit"], price_of(2).to_string());
    assert_eq!(
        (bought.topped_up.status, bought.topped_up.body.as_str()),
        (200, "")
    );
    assert_eq!(bought.topped_up.receipt().spent, price_of(2));
    let sales = [("GET", 402), ("GET", 200)];
    let refused = [("GET", 402), ("GET", 402)];
    let managed = |method| [(method, 402), (method, 200)];
    let wire: Vec<(&str, u16)> = bought
        .wire
        .iter()
        .map(|one| (one.method.as_str(), one.status))
        .collect();
    let expected = [sales, sales, refused, managed("HEAD"), sales, managed("POST")].concat();
    assert_eq!(wire, expected);
    assert_eq!(bought.closed.status, 200);
    let closed = bought.closed.receipt();
    assert_eq!((closed.accepted, closed.spent), (price_of(3), price_of(3)));
    closed
}

/// On the chain and in the books, the payee got what was spent and the payer all the rest.
async fn check_end(
    devnet: &Devnet,
    escrow: &Escrow,
    closed: &SessionReceipt,
    spent: Cumulative,
    deposit: Cumulative,
) {
    let hash = closed.tx_hash.unwrap();
    let landed = escrow.rpc().landed(hash).await.unwrap().unwrap();
    assert!(landed.success);
    let effects = EscrowCalls::new(devnet.ready.escrow.parse().unwrap()).read_effects(&landed.logs);
    let refunded = Amount::new(deposit.base_units() - spent.base_units());
    let expected = RowEffect::Closed {
        channel: closed.channel,
        settled: spent,
        refunded,
    };
    assert!(effects.contains(&expected), "{effects:?}");

    let (_, state) = escrow
        .channel_at(closed.channel, landed.block_hash)
        .await
        .unwrap()
        .unwrap();
    assert!(state.finalized);
    assert_eq!((state.settled, state.deposit), (spent, deposit));

    let view = devnet.finalized(&devnet.ready.operator_url, closed.channel).await;
    assert_eq!((view.spent, view.settled), (spent, spent));
    assert!(view.reserved.is_zero() && view.credited.is_zero() && view.uncollected.is_zero());
}
