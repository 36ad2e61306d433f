//! Deposits that payers sign for and the daemon pulls with a gas key of its own: without a coin on the payer's side, over
//! kills of the daemon, when somebody else was faster, and what is not worth the gas.

use crate::daemon::Daemon;
use crate::gate::{Broadcasts, Gate};
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet, credential, hex};
use crate::world::{DEPOSIT, PRICE, Settings, World, total};
use alloy::primitives::{Address, B256, U256};
use alloy::signers::SignerSync;
use alloy::sol_types::SolCall;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_chain::{Call, IToken, PullPaths, Sender};
use weir_core::pull::{Leave, Pull, Purpose};
use weir_core::{Amount, ChannelId, Signature, Terms};
use weir_node::keys::SecretKey;

/// The payer whose account pays for gas.
const GAS: usize = 2;
/// How often a request is repeated that the daemon cannot answer yet.
const REPEATS: usize = 60;
/// Pause between two of them.
const REPEAT_PAUSE: Duration = Duration::from_millis(250);
/// What `[funding]` says, where a test says nothing else.
const DEPOSIT_MIN: u128 = DEPOSIT / 2;

/// A daemon that pulls, behind a gate, which can be killed and started again on its books.
struct Scene {
    world: World,
    gate: Gate,
    config: PathBuf,
    paths: PullPaths,
}

impl Scene {
    /// None of the payers has any coin, save the one that pays for gas.
    async fn start(name: &str) -> (Self, Daemon) {
        let scene = Self::before(name).await;
        let daemon = Daemon::start(&scene.config).await;
        (scene, daemon)
    }

    async fn before(name: &str) -> Self {
        Self::on(World::start(4).await, name).await
    }

    async fn on(world: World, name: &str) -> Self {
        for payer in [0, 1, 3] {
            let coinless = world.payers[payer].address();
            world.ask("anvil_setBalance", json!([coinless, "0x0"])).await;
        }
        let key_file = world.files.path().join("gas-key");
        world.payers[GAS].save(&key_file).unwrap();
        let gate = Gate::before(world.rpc_url()).await;
        let funding = format!("[funding]\nkey_file = {key_file:?}\ndeposit_min = \"{DEPOSIT_MIN}\"\n");
        let config = world.config(&Settings {
            rpc_url: &gate.url,
            routes: &funding,
            ..world.settings(name)
        });
        let paths = world
            .escrow
            .pull_paths(world.deployed.tokens[0].token)
            .await
            .unwrap();
        Self {
            paths,
            world,
            gate,
            config,
        }
    }

    fn payer(&self, index: usize) -> &SecretKey {
        &self.world.payers[index]
    }

    fn terms(&self, payer: usize) -> Terms {
        Terms {
            payer: self.payer(payer).address(),
            payee: self.world.payee.address(),
            token: self.world.deployed.tokens[0].token,
            authorized_signer: Address::ZERO,
            reserve: None,
        }
    }

    fn opening(&self, payer: usize, salt: u8) -> (Pull, ChannelId) {
        let (terms, salt) = (self.terms(payer), B256::repeat_byte(salt));
        let channel = terms.channel_id(salt, self.world.domain());
        let pull = Pull {
            from: terms.payer,
            amount: Amount::new(DEPOSIT),
            purpose: Purpose::Open { terms, salt },
            leave: until(600),
        };
        (pull, channel)
    }

    fn raise(&self, payer: usize, channel: ChannelId, salt: u8) -> Pull {
        Pull {
            from: self.payer(payer).address(),
            amount: Amount::new(DEPOSIT),
            purpose: Purpose::TopUp {
                channel,
                token: self.terms(payer).token,
                salt: B256::repeat_byte(salt),
            },
            leave: until(600),
        }
    }

    fn sign(&self, key: &SecretKey, pull: &Pull) -> [u8; 65] {
        let separator = self.paths.separator_of(&pull.leave).unwrap();
        let digest = pull.digest(separator, self.world.deployed.escrow);
        key.signer().sign_hash_sync(&digest).unwrap().as_bytes()
    }

    /// The fields that an open, a top-up and a deposit in a voucher share.
    fn deposit(&self, key: &SecretKey, pull: &Pull) -> Value {
        let (action, salt, witness) = match &pull.purpose {
            Purpose::Open { salt, terms } => (
                "open",
                salt,
                json!({"payee": terms.payee, "salt": salt, "authorizedSigner": terms.authorized_signer}),
            ),
            Purpose::TopUp { salt, channel, .. } => {
                ("topUp", salt, json!({"channelId": channel.to_string()}))
            }
        };
        let (kind, authorization) = match pull.leave {
            Leave::Eip3009 { valid_before, .. } => (
                "authorization",
                json!({"from": pull.from, "to": self.world.deployed.escrow, "value": pull.amount.to_string(),
                    "validAfter": "0", "validBefore": valid_before.to_string(), "nonce": pull.bound_nonce()}),
            ),
            Leave::Permit2 { nonce, deadline } => (
                "permit2",
                json!({"from": pull.from, "permitted": {"token": pull.token(), "amount": pull.amount.to_string()},
                    "nonce": nonce.to_string(), "deadline": deadline.to_string(), "witness": witness}),
            ),
        };
        json!({"action": action, "type": kind, "salt": salt, "signature": hex(&self.sign(key, pull)),
            "authorization": authorization})
    }

    /// An open with a voucher for one answer.
    fn open(&self, payer: usize, (pull, channel): &(Pull, ChannelId)) -> Value {
        let mut payload = self.deposit(self.payer(payer), pull);
        let wallet = Wallet::with(&self.world, payer, *channel);
        payload["channelId"] = json!(channel.to_string());
        payload["cumulativeAmount"] = json!(PRICE.to_string());
        payload["voucherSignature"] = json!(hex(&wallet.signature(PRICE)));
        payload
    }

    fn top_up(&self, payer: usize, channel: ChannelId, pull: &Pull) -> Value {
        let mut payload = self.deposit(self.payer(payer), pull);
        payload["channelId"] = json!(channel.to_string());
        payload["additionalDeposit"] = json!(pull.amount.to_string());
        payload
    }

    /// What the escrow holds of all channels together.
    async fn locked(&self) -> u128 {
        let (escrow, token) = (self.world.deployed.escrow, self.world.deployed.tokens[0].token);
        let balance = self.world.escrow.token_balance(token, escrow).await.unwrap();
        balance.try_into().unwrap()
    }

    async fn must_have_no_coin(&self, payer: usize) {
        let account = self.payer(payer).address();
        let balance = self.world.ask("eth_getBalance", json!([account, "latest"])).await;
        assert_eq!(balance, "0x0");
        let sent = self
            .world
            .ask("eth_getTransactionCount", json!([account, "latest"]))
            .await;
        assert_eq!(sent, "0x0", "the payer sent a transaction");
    }
}

fn until(seconds: u64) -> Leave {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Leave::Eip3009 {
        valid_after: U256::ZERO,
        valid_before: U256::from(now + seconds),
    }
}

fn answer_url(daemon: &Daemon) -> String {
    format!("{}/v1/answer", daemon.gateway)
}

/// A credential for a fresh challenge.
async fn prepared(daemon: &Daemon, method: Method, payload: &Value) -> String {
    let url = answer_url(daemon);
    let unpaid = Said::read(Client::new().request(method, url).send().await.unwrap()).await;
    credential(
        &serde_json::to_value(unpaid.challenge().unwrap()).unwrap(),
        payload,
    )
}

/// One request; an error if it was cut off.
fn send(
    daemon: &Daemon,
    method: Method,
    authorization: &str,
) -> impl Future<Output = Result<Said, reqwest::Error>> + use<> {
    let request = Client::new().request(method, answer_url(daemon));
    let request = request.header(AUTHORIZATION, authorization);
    async move { Ok(Said::read(request.send().await?).await) }
}

/// The same request, until it has another answer than that it cannot be answered yet.
async fn repeat(daemon: &Daemon, method: Method, authorization: &str) -> Said {
    for _ in 0..REPEATS {
        let said = send(daemon, method.clone(), authorization).await.unwrap();
        if said.status != 503 {
            return said;
        }
        tokio::time::sleep(REPEAT_PAUSE).await;
    }
    let said = send(daemon, method, authorization).await.unwrap();
    panic!("the daemon never answers: {said:?}");
}

async fn pay(daemon: &Daemon, method: Method, payload: &Value) -> Said {
    let authorization = prepared(daemon, method.clone(), payload).await;
    repeat(daemon, method, &authorization).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_without_a_coin_opens_tops_up_and_closes_by_signatures_alone() {
    let (scene, daemon) = Scene::start("coinless").await;
    let unpaid = Client::new().get(answer_url(&daemon)).send().await.unwrap();
    let offered = Said::read(unpaid).await.challenge().unwrap();
    let offered = weir_protocol::SessionRequest::decode(&offered.request, None).unwrap();
    let details = offered.method_details;
    let kinds: Vec<String> = details.credential_types.unwrap();
    assert_eq!(
        (kinds, details.fee_payer),
        (vec!["authorization".into(), "hash".into()], Some(true))
    );

    let opening = scene.opening(0, 1);
    let channel = opening.1;
    let bought = pay(&daemon, Method::GET, &scene.open(0, &opening)).await;
    assert_eq!((bought.status, bought.body.as_str()), (200, ANSWER), "{bought:?}");
    let receipt = bought.receipt().unwrap();
    assert_eq!((receipt.accepted, receipt.spent), (total(PRICE), total(PRICE)));
    // The same deposit again buys nothing further, and is not pulled again.
    let again = pay(&daemon, Method::GET, &scene.open(0, &opening)).await;
    assert_eq!((again.status, again.body.as_str()), (200, ""), "{again:?}");
    assert_eq!(scene.world.service.hits(), 1);

    let raise = scene.raise(0, channel, 2);
    let raised = pay(&daemon, Method::POST, &scene.top_up(0, channel, &raise)).await;
    assert_eq!(raised.status, 200, "{raised:?}");
    assert_eq!(scene.locked().await, 2 * DEPOSIT);

    // A voucher that brings the deposit it needs.
    let wallet = Wallet::with(&scene.world, 0, channel);
    let beyond = 2 * DEPOSIT + PRICE;
    let mut voucher = wallet.voucher(beyond);
    voucher["deposit"] = scene.deposit(scene.payer(0), &scene.raise(0, channel, 3));
    let merged = pay(&daemon, Method::GET, &voucher).await;
    assert_eq!((merged.status, merged.body.as_str()), (200, ANSWER), "{merged:?}");
    assert_eq!(scene.locked().await, 3 * DEPOSIT);
    assert_eq!(scene.gate.heard().len(), 3, "one transaction for each deposit");

    let closed = pay(&daemon, Method::POST, &wallet.close(beyond)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let state = scene.world.until(channel, |state| state.finalized).await;
    assert_eq!(
        (state.deposit, state.settled),
        (total(3 * DEPOSIT), total(2 * PRICE))
    );
    assert_eq!(scene.locked().await, 0, "money stayed in the escrow");
    scene.must_have_no_coin(0).await;
    // Nothing more is locked in a channel that is over.
    let late = pay(
        &daemon,
        Method::POST,
        &scene.top_up(0, channel, &scene.raise(0, channel, 4)),
    )
    .await;
    assert_eq!(
        (late.status, late.problem().as_str()),
        (410, "channel-finalized"),
        "{late:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t8_what_is_not_worth_the_gas_or_cannot_land_is_not_sent() {
    let (scene, daemon) = Scene::start("dust").await;
    let changed = |change: &dyn Fn(&mut Pull)| {
        let mut opening = scene.opening(0, 9);
        change(&mut opening.0);
        scene.open(0, &opening)
    };
    let mut stolen = scene.open(0, &scene.opening(0, 9));
    stolen["signature"] = scene.deposit(scene.payer(1), &scene.opening(0, 9).0)["signature"].clone();
    let mut no_voucher = scene.open(0, &scene.opening(0, 9));
    no_voucher["voucherSignature"] = scene.open(1, &scene.opening(0, 9))["voucherSignature"].clone();
    let much = Amount::new(10_000_000_000_000);
    let cases = [
        (
            "dust",
            changed(&|pull| pull.amount = Amount::new(DEPOSIT_MIN - 1)),
            (402, "payment-insufficient"),
        ),
        ("stolen", stolen, (402, "invalid-signature")),
        ("unproven", no_voucher, (402, "signer-mismatch")),
        (
            "over soon",
            changed(&|pull| pull.leave = until(20)),
            (402, "payment-expired"),
        ),
        (
            "no money",
            changed(&|pull| pull.amount = much),
            (402, "insufficient-balance"),
        ),
        (
            "beyond the cap",
            changed(&|pull| pull.amount = Amount::new(2_000_000_000)),
            (409, "transaction-reverted"),
        ),
    ];
    for (name, payload, expected) in cases {
        let said = pay(&daemon, Method::GET, &payload).await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            expected,
            "{name}: {said:?}"
        );
        said.must_be_a_no(name);
    }
    assert_eq!(scene.gate.heard(), Vec::<Value>::new(), "something was sent");
    assert_eq!(scene.world.service.hits(), 0);
    // Nobody was locked out by what was refused.
    let bought = pay(&daemon, Method::GET, &scene.open(0, &scene.opening(0, 9))).await;
    assert_eq!((bought.status, bought.body.as_str()), (200, ANSWER), "{bought:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t8_an_authorisation_that_somebody_else_sent_is_as_good() {
    let (scene, daemon) = Scene::start("adopted").await;
    let opening = scene.opening(0, 1);
    let signature = Signature::from_bytes(&scene.sign(scene.payer(0), &opening.0)).unwrap();
    let rpc = scene.world.escrow.rpc().clone();
    let deployer = weir_node::dev::accounts::account(0).unwrap();
    let stranger = Sender::connect(rpc, deployer.signer().clone()).await.unwrap();
    let call = scene.world.escrow.calls().pull(&opening.0, &signature);
    let soon = tokio::time::Instant::now() + Duration::from_secs(30);
    assert!(stranger.land(&call, soon).await.unwrap().success);
    let bought = pay(&daemon, Method::GET, &scene.open(0, &opening)).await;
    assert_eq!((bought.status, bought.body.as_str()), (200, ANSWER), "{bought:?}");
    assert_eq!(scene.gate.heard(), Vec::<Value>::new(), "it was open already");
    // A deposit that somebody else sent is no channel of another payer's.
    let other = pay(&daemon, Method::GET, &scene.open(1, &scene.opening(1, 1))).await;
    assert_eq!(other.status, 200, "{other:?}");
    assert_eq!(scene.locked().await, 2 * DEPOSIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_of_several_payers_do_not_wait_for_each_others_blocks() {
    let (scene, daemon) = Scene::start("together").await;
    scene.world.ask("evm_setIntervalMining", json!([0])).await;
    let mut asked = Vec::new();
    for payer in [0, 1, 3] {
        let authorization =
            prepared(&daemon, Method::GET, &scene.open(payer, &scene.opening(payer, 1))).await;
        asked.push(tokio::spawn(send(&daemon, Method::GET, &authorization)));
    }
    for _ in 0..200 {
        if scene.gate.heard().len() == asked.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let heard = scene.gate.heard();
    assert!(
        heard.len() == 3 && heard.iter().all(Value::is_string),
        "{heard:?}"
    );
    scene.world.ask("evm_setIntervalMining", json!([1])).await;
    for answer in asked {
        let said = answer.await.unwrap().unwrap();
        assert_eq!((said.status, said.body.as_str()), (200, ANSWER), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_gas_key_is_not_offered() {
    let scene = Scene::before("empty").await;
    let gas_key = scene.payer(GAS).address();
    scene.world.ask("anvil_setBalance", json!([gas_key, "0x0"])).await;
    let daemon = Daemon::start(&scene.config).await;
    let unpaid = Client::new().get(answer_url(&daemon)).send().await.unwrap();
    let offered = Said::read(unpaid).await.challenge().unwrap();
    let offered = weir_protocol::SessionRequest::decode(&offered.request, None).unwrap();
    let details = offered.method_details;
    assert_eq!(details.credential_types, Some(vec!["hash".to_owned()]));
    assert_eq!(details.fee_payer, None);
    let said = pay(&daemon, Method::GET, &scene.open(0, &scene.opening(0, 1))).await;
    assert_eq!(
        (said.status, said.problem().as_str()),
        (400, "malformed-credential"),
        "{said:?}"
    );
}

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

impl Scene {
    /// Sends a request, kills the daemon in the middle of it, and lets the payer repeat it to the next one.
    async fn kill_amid(
        &self,
        daemon: Daemon,
        killed: Killed,
        (method, payload): (Method, &Value),
    ) -> (Daemon, Said) {
        let authorization = prepared(&daemon, method.clone(), payload).await;
        self.gate.broadcasts(match killed {
            Killed::BeforeTheBroadcast => Broadcasts::HeldBefore,
            Killed::BeforeTheBlock | Killed::AfterTheBlock => Broadcasts::HeldAfter,
        });
        if killed == Killed::BeforeTheBlock {
            self.world.ask("evm_setIntervalMining", json!([0])).await;
        }
        let before = self.gate.heard().len();
        let first = tokio::spawn(send(&daemon, method.clone(), &authorization));
        self.gate.holds_one().await;
        let heard = self.gate.heard().split_off(before);
        if killed == Killed::AfterTheBlock {
            while self
                .world
                .ask("eth_getTransactionReceipt", json!([heard[0]]))
                .await
                .is_null()
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert_eq!(heard.len(), usize::from(killed != Killed::BeforeTheBroadcast));
        daemon.kill();
        assert!(
            first.await.unwrap().is_err(),
            "{killed:?}: the payer had an answer"
        );
        self.gate.broadcasts(Broadcasts::Pass);
        let daemon = Daemon::start(&self.config).await;
        if killed == Killed::BeforeTheBlock {
            self.world.ask("evm_setIntervalMining", json!([1])).await;
        }
        let said = repeat(&daemon, method, &authorization).await;
        (daemon, said)
    }
}

/// An open and a top-up, each cut short by a kill: one channel, one delivery, and one transaction for each.
async fn survives(killed: Killed) {
    let (scene, daemon) = Scene::start("killed").await;
    let opening = scene.opening(0, 1);
    let channel = opening.1;
    let (daemon, bought) = scene
        .kill_amid(daemon, killed, (Method::GET, &scene.open(0, &opening)))
        .await;
    assert_eq!(
        (bought.status, bought.body.as_str()),
        (200, ANSWER),
        "{killed:?}: {bought:?}"
    );
    assert_eq!(scene.world.service.hits(), 1, "{killed:?}: served once");
    assert_eq!(scene.locked().await, DEPOSIT, "{killed:?}");
    let opened = scene
        .world
        .escrow
        .channels_of_payee(scene.world.payee.address(), 0)
        .await;
    assert_eq!(opened.unwrap().len(), 1, "{killed:?}");

    let raise = scene.top_up(0, channel, &scene.raise(0, channel, 2));
    let (_daemon, raised) = scene.kill_amid(daemon, killed, (Method::POST, &raise)).await;
    assert_eq!(raised.status, 200, "{killed:?}: {raised:?}");
    assert_eq!(scene.locked().await, 2 * DEPOSIT, "{killed:?}");
    let gas_key = scene.payer(GAS).address();
    let sent = scene
        .world
        .ask("eth_getTransactionCount", json!([gas_key, "latest"]))
        .await;
    assert_eq!(sent, "0x2", "{killed:?}: each was sent once");
    scene.must_have_no_coin(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tx_2_a_pull_that_was_written_down_is_sent_once_after_a_kill_before_the_broadcast() {
    survives(Killed::BeforeTheBroadcast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tx_2_a_pull_is_sent_once_over_a_kill_before_its_block() {
    survives(Killed::BeforeTheBlock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tx_2_a_pull_is_sent_once_over_a_kill_after_its_block() {
    survives(Killed::AfterTheBlock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_opens_and_tops_up_where_the_payer_has_approved_permit2() {
    let world = World::with_permit2(4).await;
    let token = world.deployed.tokens[0].token;
    let permit2 = world.escrow.pull_paths(token).await.unwrap().permit2.unwrap();
    let approve = IToken::approveCall {
        spender: permit2.address,
        value: U256::MAX,
    };
    let approve = Call {
        to: Some(token),
        input: approve.abi_encode().into(),
    };
    let rpc = world.escrow.rpc().clone();
    let payer = Sender::connect(rpc, world.payers[0].signer().clone())
        .await
        .unwrap();
    let soon = tokio::time::Instant::now() + Duration::from_secs(30);
    assert!(payer.land(&approve, soon).await.unwrap().success);
    let scene = Scene::on(world, "permit2").await;
    let daemon = Daemon::start(&scene.config).await;
    let unpaid = Client::new().get(answer_url(&daemon)).send().await.unwrap();
    let offered = Said::read(unpaid).await.challenge().unwrap();
    let offered = weir_protocol::SessionRequest::decode(&offered.request, None).unwrap();
    let kinds = offered.method_details.credential_types.unwrap();
    assert_eq!(kinds, ["authorization", "permit2", "hash"]);
    assert_eq!(offered.method_details.permit2_contract, Some(permit2.address));

    let by_permit = |pull: &mut Pull, nonce: u64| {
        let Leave::Eip3009 { valid_before, .. } = until(600) else {
            return;
        };
        pull.leave = Leave::Permit2 {
            nonce: U256::from(nonce),
            deadline: valid_before,
        };
    };
    let mut opening = scene.opening(0, 1);
    let channel = opening.1;
    by_permit(&mut opening.0, 300);
    let bought = pay(&daemon, Method::GET, &scene.open(0, &opening)).await;
    assert_eq!((bought.status, bought.body.as_str()), (200, ANSWER), "{bought:?}");
    let mut raise = scene.raise(0, channel, 2);
    by_permit(&mut raise, 300);
    let used = pay(&daemon, Method::POST, &scene.top_up(0, channel, &raise)).await;
    assert_eq!(
        (used.status, used.problem().as_str()),
        (409, "transaction-reverted"),
        "{used:?}"
    );
    by_permit(&mut raise, 301);
    let raised = pay(&daemon, Method::POST, &scene.top_up(0, channel, &raise)).await;
    assert_eq!(raised.status, 200, "{raised:?}");
    assert_eq!(scene.locked().await, 2 * DEPOSIT);
    // Who has approved nothing is told before gas is spent.
    let mut other = scene.opening(1, 1);
    by_permit(&mut other.0, 300);
    let refused = pay(&daemon, Method::GET, &scene.open(1, &other)).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (409, "transaction-reverted"),
        "{refused:?}"
    );
    assert_eq!(scene.gate.heard().len(), 2);
}
