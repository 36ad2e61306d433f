//! Transactions that payers leave to the daemon to broadcast, as mppx signs them on a Tempo chain: over kills of the
//! daemon between the broadcast and the receipt, and on channels that buy nothing more.

use crate::daemon::Daemon;
use crate::gate::{Broadcasts, Gate};
use crate::interop;
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet};
use crate::world::{DEPOSIT, PRICE, Settings, World, total};
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use weir_core::ChannelId;
use weir_node::dev::anvil::Network;

/// How often a request is repeated that the daemon cannot answer yet.
const REPEATS: usize = 60;
/// Pause between two of them.
const REPEAT_PAUSE: Duration = Duration::from_millis(250);
/// How long a repeated request is watched while its transaction cannot be mined.
const UNMINED: Duration = Duration::from_secs(1);

/// When the daemon is killed; the payer has no answer in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    /// The row is written, and the node never hears of the transaction.
    BeforeTheBroadcast,
    /// The node has the transaction, and makes no block.
    BeforeTheBlock,
    /// The transaction is in a block, and the daemon does not know.
    AfterTheBlock,
}

/// What `sign.mjs` prints.
#[derive(Deserialize)]
pub(crate) struct Signed {
    pub(crate) authorization: String,
    pub(crate) channel: String,
}

/// A daemon behind a gate, which can be killed and started again on its books.
pub(crate) struct Scene {
    pub(crate) world: World,
    gate: Gate,
    config: PathBuf,
}

impl Scene {
    pub(crate) async fn start(name: &str) -> (Self, Daemon) {
        let world = World::on(Network::Tempo, 2).await;
        let gate = Gate::before(world.rpc_url()).await;
        let config = world.config(&Settings {
            rpc_url: &gate.url,
            ..world.settings(name)
        });
        let daemon = Daemon::start(&config).await;
        (Self { world, gate, config }, daemon)
    }

    /// Lets mppx sign an open, or a top-up by another deposit.
    pub(crate) async fn sign(&self, daemon: &Daemon, payer: usize, tops_up: Option<ChannelId>) -> Signed {
        let mut request = json!({
            "rpc_url": self.world.rpc_url(),
            "chain_id": self.world.deployed.chain_id,
            "escrow": self.world.deployed.escrow,
            "token": self.world.deployed.tokens[0].token,
            "key": self.world.payers[payer].expose_hex(),
            "url": answer_url(daemon),
        });
        if let Some(channel) = tops_up {
            request["top_up"] = json!({ "channel": channel.to_string(), "additional": DEPOSIT.to_string() });
        }
        interop::run("sign.mjs", request.to_string()).await
    }

    /// Sends a request, kills the daemon in the middle of it, and lets the payer repeat it to the next one.
    async fn kill_amid(
        &self,
        daemon: Daemon,
        killed: Killed,
        (method, signed): (Method, &Signed),
    ) -> (Daemon, Said) {
        self.gate.broadcasts(match killed {
            Killed::BeforeTheBroadcast => Broadcasts::HeldBefore,
            Killed::BeforeTheBlock | Killed::AfterTheBlock => Broadcasts::HeldAfter,
        });
        if killed == Killed::BeforeTheBlock {
            self.world.ask("evm_setIntervalMining", json!([0])).await;
        }
        let (heard_before, hits) = (self.gate.heard().len(), self.world.service.hits());
        let first = tokio::spawn(ask(&daemon, method.clone(), signed));
        self.gate.holds_one().await;
        let heard = self.gate.heard().split_off(heard_before);
        match (killed, heard.as_slice()) {
            (Killed::BeforeTheBroadcast, []) => {}
            (Killed::BeforeTheBlock, [hash]) => assert!(self.receipt_of(hash).await.is_null()),
            (Killed::AfterTheBlock, [hash]) => while self.receipt_of(hash).await.is_null() {},
            _ => panic!("{killed:?}: {heard:?}"),
        }
        daemon.kill();
        assert!(
            first.await.unwrap().is_err(),
            "{killed:?}: the payer had an answer"
        );
        self.gate.broadcasts(Broadcasts::Pass);
        assert_eq!(self.world.service.hits(), hits, "nothing was delivered");

        let daemon = Daemon::start(&self.config).await;
        let again = tokio::spawn(repeat(&daemon, method, signed));
        if killed == Killed::BeforeTheBlock {
            tokio::time::sleep(UNMINED).await;
            assert!(!again.is_finished(), "nothing is in a block yet");
            assert_eq!(self.receipt_of(&heard[0]).await, Value::Null);
            self.world.ask("evm_setIntervalMining", json!([1])).await;
        }
        let said = again.await.unwrap();
        (daemon, said)
    }

    async fn receipt_of(&self, hash: &Value) -> Value {
        assert!(hash.is_string(), "the node refused the transaction");
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.world.ask("eth_getTransactionReceipt", json!([hash])).await
    }

    /// What the escrow holds of all channels together.
    async fn locked(&self) -> u128 {
        let (escrow, token) = (self.world.deployed.escrow, self.world.deployed.tokens[0].token);
        let balance = self.world.escrow.token_balance(token, escrow).await.unwrap();
        balance.try_into().unwrap()
    }
}

fn answer_url(daemon: &Daemon) -> String {
    format!("{}/v1/answer", daemon.gateway)
}

/// One request; an error if it was cut off.
fn ask(
    daemon: &Daemon,
    method: Method,
    signed: &Signed,
) -> impl Future<Output = Result<Said, reqwest::Error>> + use<> {
    let request = Client::new().request(method, answer_url(daemon));
    let request = request.header(AUTHORIZATION, &signed.authorization);
    async move { Ok(Said::read(request.send().await?).await) }
}

/// The same request, until it has another answer than that it cannot be answered yet.
fn repeat(daemon: &Daemon, method: Method, signed: &Signed) -> impl Future<Output = Said> + use<> {
    let tries: Vec<_> = (0..REPEATS)
        .map(|_| ask(daemon, method.clone(), signed))
        .collect();
    async move {
        for next in tries {
            let said = next.await.unwrap();
            if said.status != 503 {
                return said;
            }
            tokio::time::sleep(REPEAT_PAUSE).await;
        }
        panic!("the daemon never answers");
    }
}

/// An open and a top-up, each cut short by a kill: served once, sent once, and every base unit accounted for.
async fn survives(killed: Killed) {
    let (scene, daemon) = Scene::start("killed").await;
    let world = &scene.world;
    let opening = scene.sign(&daemon, 0, None).await;
    let (daemon, bought) = scene.kill_amid(daemon, killed, (Method::GET, &opening)).await;
    assert_eq!(
        (bought.status, bought.body.as_str()),
        (200, ANSWER),
        "{killed:?}: {bought:?}"
    );
    let receipt = bought.receipt().unwrap();
    assert_eq!((receipt.accepted, receipt.spent), (total(PRICE), total(PRICE)));
    let again = ask(&daemon, Method::GET, &opening).await.unwrap();
    assert_eq!(
        (again.status, again.problem().as_str()),
        (402, "invalid-challenge"),
        "{again:?}"
    );
    assert_eq!(world.service.hits(), 1, "{killed:?}: served once");
    assert_eq!(scene.locked().await, DEPOSIT, "{killed:?}");
    let opened = world.escrow.channels_of_payee(world.payee.address(), 0).await;
    assert_eq!(opened.unwrap().len(), 1, "{killed:?}");

    let channel: ChannelId = opening.channel.parse().unwrap();
    let wallet = Wallet::with(world, 0, channel);
    let raise = scene.sign(&daemon, 0, Some(channel)).await;
    let (daemon, raised) = scene.kill_amid(daemon, killed, (Method::POST, &raise)).await;
    assert_eq!(raised.status, 200, "{killed:?}: {raised:?}");
    assert_eq!(raised.receipt().unwrap().spent, total(PRICE));
    // The answer can be asked for again, and raises nothing further.
    assert_eq!(ask(&daemon, Method::POST, &raise).await.unwrap().status, 200);
    assert_eq!(scene.locked().await, 2 * DEPOSIT, "{killed:?}");
    let taken: Vec<Value> = scene.gate.heard();
    assert_eq!(taken.len(), 2, "{killed:?}: each was sent once: {taken:?}");

    // What was added can be spent, and what was not spent goes back.
    let url = answer_url(&daemon);
    let beyond = DEPOSIT + PRICE;
    let second = wallet.pay(Method::GET, &url, &wallet.voucher(beyond)).await;
    assert_eq!((second.status, second.body.as_str()), (200, ANSWER), "{second:?}");
    let closed = wallet.pay(Method::POST, &url, &wallet.close(beyond)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let state = world.until(channel, |state| state.finalized).await;
    assert_eq!(
        (state.deposit, state.settled),
        (total(2 * DEPOSIT), total(2 * PRICE))
    );
    assert_eq!(scene.locked().await, 0, "{killed:?}: money stayed in the escrow");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t6_a_daemon_killed_before_the_broadcast_sends_once_and_serves_once() {
    survives(Killed::BeforeTheBroadcast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t6_a_daemon_killed_before_the_block_sends_once_and_serves_once() {
    survives(Killed::BeforeTheBlock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t6_a_daemon_killed_after_the_block_sends_once_and_serves_once() {
    survives(Killed::AfterTheBlock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t7_no_top_up_is_sent_that_would_lock_money_in_vain() {
    let (scene, daemon) = Scene::start("over").await;
    let opening = scene.sign(&daemon, 0, None).await;
    let opened = ask(&daemon, Method::GET, &opening).await.unwrap();
    assert_eq!((opened.status, opened.body.as_str()), (200, ANSWER), "{opened:?}");
    let channel: ChannelId = opening.channel.parse().unwrap();
    let wallet = Wallet::with(&scene.world, 0, channel);
    let sent = scene.gate.heard();
    assert_eq!(sent.len(), 1);

    // The escrow takes top-ups from the payer alone, and a stranger would pay the fee for nothing.
    let stranger = scene.sign(&daemon, 1, Some(channel)).await;
    let said = ask(&daemon, Method::POST, &stranger).await.unwrap();
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
    // Nobody knows this channel.
    let nowhere: ChannelId = format!("0x{}", "5a".repeat(32)).parse().unwrap();
    let said = scene.sign(&daemon, 0, Some(nowhere)).await;
    let said = ask(&daemon, Method::POST, &said).await.unwrap();
    assert_eq!(
        (said.status, said.problem().as_str()),
        (410, "channel-not-found"),
        "{said:?}"
    );
    assert_eq!(scene.gate.heard(), sent, "nothing was sent");

    let url = answer_url(&daemon);
    let closed = wallet.pay(Method::POST, &url, &wallet.close(PRICE)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let sent = scene.gate.heard();
    let late = scene.sign(&daemon, 0, Some(channel)).await;
    let said = ask(&daemon, Method::POST, &late).await.unwrap();
    assert_eq!(
        (said.status, said.problem().as_str()),
        (410, "channel-finalized"),
        "{said:?}"
    );
    assert_eq!(scene.gate.heard(), sent, "nothing was sent");
}
