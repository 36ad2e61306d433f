//! Payments of single answers that the payer signs for and the daemon sends (EIP-3009, Permit2): without a coin on the
//! payer's side, over kills of the daemon, when somebody else was faster, by thieves, and what is not worth the gas.

use crate::charges::{ask, must_be_sold, must_be_used, receipt, repeat};
use crate::daemon::Daemon;
use crate::gate::{Broadcasts, Gate};
use crate::interop;
use crate::service::ANSWER;
use crate::wallet::{Said, encoded, hex};
use crate::world::{PRICE, Settings, World, route};
use alloy::primitives::{Address, B256, U256};
use alloy::signers::SignerSync;
use alloy::sol_types::SolCall;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_chain::{Call, IToken, PullPaths, Sender, draw_call};
use weir_core::draw::Spelling;
use weir_core::{Amount, Draw, Leave, Signature};
use weir_node::keys::SecretKey;
use weir_protocol::Challenge;
use weir_protocol::charge::signed::challenge_hashes;

/// The payer whose account pays for gas.
const GAS: usize = 2;
/// Smaller payments are not sent.
const CHARGE_MIN: u128 = PRICE / 2;
/// How many show one payment at once.
const CROWD: usize = 8;

/// A daemon that sends what payers sign, behind a gate, which can be killed and started again on its books.
struct Scene {
    world: World,
    gate: Gate,
    config: PathBuf,
    paths: PullPaths,
}

#[derive(Deserialize)]
struct Bought {
    status: u16,
    body: String,
    receipt: String,
}

impl Scene {
    /// None of the payers has any coin, save the one that pays for gas.
    async fn start(name: &str) -> (Self, Daemon) {
        let scene = Self::on(World::start(4).await, name).await;
        let daemon = Daemon::start(&scene.config).await;
        (scene, daemon)
    }

    async fn on(world: World, name: &str) -> Self {
        for payer in [0, 1, 3] {
            let coinless = world.payers[payer].address();
            world.ask("anvil_setBalance", json!([coinless, "0x0"])).await;
        }
        let key_file = world.files.path().join("gas-key");
        world.payers[GAS].save(&key_file).unwrap();
        let gate = Gate::before(world.rpc_url()).await;
        let routes = [
            format!("[funding]\nkey_file = {key_file:?}\ncharge_min = \"{CHARGE_MIN}\"\n"),
            route("/v1/once", PRICE, "accept = [\"charge\"]"),
            route("/v1/other", PRICE, "accept = [\"charge\"]"),
            route("/v1/cheap", CHARGE_MIN - 1, "accept = [\"charge\"]"),
        ];
        let config = world.config(&Settings {
            rpc_url: &gate.url,
            routes: &routes.concat(),
            ..world.settings(name)
        });
        let token = world.deployed.tokens[0].token;
        Self {
            paths: world.escrow.draw_paths(token).await.unwrap(),
            world,
            gate,
            config,
        }
    }

    fn token(&self) -> Address {
        self.world.deployed.tokens[0].token
    }

    /// What this challenge asks for, by EIP-3009.
    fn draw(&self, challenge: &Value, payer: usize) -> Draw {
        let read: Challenge = serde_json::from_value(challenge.clone()).unwrap();
        Draw {
            from: self.world.payers[payer].address(),
            to: self.world.payee.address(),
            token: self.token(),
            amount: Amount::new(PRICE),
            leave: Leave::Eip3009 {
                valid_after: U256::ZERO,
                valid_before: U256::from(now() + 300),
            },
            binding: challenge_hashes(&read)[0],
        }
    }

    fn sign(&self, key: &SecretKey, draw: &Draw, spelling: Spelling) -> Signature {
        let separator = self.paths.separator_of(&draw.leave).unwrap();
        let digest = draw.digest(separator, self.world.payers[GAS].address(), spelling);
        let bytes = key.signer().sign_hash_sync(&digest).unwrap().as_bytes();
        Signature::from_bytes(&bytes).unwrap()
    }

    fn credential(&self, challenge: &Value, draw: &Draw, signature: &Signature) -> String {
        let signature = hex(signature.as_bytes());
        let payload = match draw.leave {
            Leave::Eip3009 {
                valid_after,
                valid_before,
            } => json!({
                "type": "authorization", "from": draw.from, "to": draw.to, "value": draw.amount.to_string(),
                "validAfter": valid_after.to_string(), "validBefore": valid_before.to_string(),
                "nonce": draw.binding, "signature": signature,
            }),
            Leave::Permit2 { nonce, deadline } => json!({
                "type": "permit2",
                "permit": {
                    "permitted": [{ "token": draw.token, "amount": draw.amount.to_string() }],
                    "nonce": nonce.to_string(), "deadline": deadline.to_string(),
                },
                "transferDetails": [{ "to": draw.to, "requestedAmount": draw.amount.to_string() }],
                "witness": { "challengeHash": draw.binding },
                "signature": signature,
            }),
        };
        self.shown(challenge, draw.from, &payload)
    }

    fn shown(&self, challenge: &Value, payer: Address, payload: &Value) -> String {
        let source = format!("did:pkh:eip155:{}:{payer:#x}", self.world.deployed.chain_id);
        encoded(&json!({ "challenge": challenge, "payload": payload, "source": source }))
    }

    /// A good credential for a fresh challenge.
    async fn signed(&self, url: &str, payer: usize) -> String {
        let challenge = challenge(url).await;
        let draw = self.draw(&challenge, payer);
        let signature = self.sign(&self.world.payers[payer], &draw, Spelling::Draft);
        self.credential(&challenge, &draw, &signature)
    }

    /// Sent by somebody who has nothing to do with it.
    async fn sent_by_a_stranger(&self, call: &Call) -> B256 {
        let rpc = self.world.escrow.rpc().clone();
        let deployer = weir_node::dev::accounts::account(0).unwrap();
        let stranger = Sender::connect(rpc, deployer.signer().clone()).await.unwrap();
        let quote = stranger.quote(call).await.unwrap();
        let nonce = stranger.next_nonce().await.unwrap();
        let envelope = stranger.prepare(&quote, &nonce).await.unwrap();
        nonce.keep();
        stranger.broadcast(&envelope).await.unwrap();
        let soon = tokio::time::Instant::now() + Duration::from_secs(30);
        stranger.wait(envelope.hash, soon).await;
        envelope.hash
    }

    async fn earned(&self) -> u128 {
        self.world.balance(&self.world.payee).await
    }

    async fn transactions(&self, payer: usize) -> Value {
        let account = self.world.payers[payer].address();
        self.world
            .ask("eth_getTransactionCount", json!([account, "latest"]))
            .await
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn place(daemon: &Daemon, path: &str) -> String {
    format!("{}{path}", daemon.gateway)
}

async fn challenge(url: &str) -> Value {
    let said = Said::read(Client::new().get(url).send().await.unwrap()).await;
    assert_eq!(said.status, 402, "{said:?}");
    serde_json::to_value(said.challenge().unwrap()).unwrap()
}

fn details(challenge: &Value) -> Value {
    let request = challenge["request"].as_str().unwrap();
    let request = weir_protocol::b64::decode(request).unwrap();
    serde_json::from_slice::<Value>(&request).unwrap()["methodDetails"].clone()
}

fn must_be_refused(said: &Said, kind: &str, name: &str) {
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, kind),
        "{name}: {said:?}"
    );
    said.must_be_a_no(name);
}

/// Refused for this reason, and for no other of its kind.
fn must_be_refused_for(said: &Said, reason: &str, name: &str) {
    must_be_refused(said, "verification-failed", name);
    assert!(said.body.contains(reason), "{name}: {said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mppx_pays_by_a_signature_without_a_coin() {
    let (scene, daemon) = Scene::start("mppx").await;
    let earned = scene.earned().await;
    let bought: Bought = interop::run(
        "evm-charge.mjs",
        json!({
            "chain_id": scene.world.deployed.chain_id, "token": scene.token(), "name": "Weir Dev USD",
            "version": "1", "key": scene.world.payers[0].expose_hex(), "url": place(&daemon, "/v1/once"),
            "most": PRICE.to_string(),
        })
        .to_string(),
    )
    .await;
    assert_eq!((bought.status, bought.body.as_str()), (200, ANSWER));
    let receipt = weir_protocol::charge::ChargeReceipt::from_header(bought.receipt.as_bytes()).unwrap();
    assert_eq!(scene.gate.heard(), [json!(receipt.reference)]);
    assert_eq!(scene.earned().await - earned, PRICE);
    assert_eq!(scene.transactions(0).await, "0x0", "the payer sent a transaction");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h7_a_signature_buys_one_answer_however_often_it_is_shown() {
    let (scene, daemon) = Scene::start("signed").await;
    let (url, elsewhere) = (place(&daemon, "/v1/once"), place(&daemon, "/v1/other"));
    let earned = scene.earned().await;
    let asked = challenge(&url).await;
    assert_eq!(
        details(&asked)["credentialTypes"],
        json!(["authorization", "hash"]),
        "{asked}"
    );
    let draw = scene.draw(&asked, 0);
    let signature = scene.sign(&scene.world.payers[0], &draw, Spelling::Draft);
    let signed = scene.credential(&asked, &draw, &signature);
    // As old as the payment's own, so that its transaction is not too old for them.
    let others = [challenge(&url).await, challenge(&elsewhere).await];
    must_be_used(&ask(&elsewhere, &signed).await.unwrap(), "elsewhere");
    let crowd = futures_util::future::join_all((0..CROWD).map(|_| ask(&url, &signed))).await;
    let mut sold = 0;
    let mut hash = String::new();
    for said in crowd {
        let said = said.unwrap();
        if said.status == 200 {
            sold += 1;
            must_be_sold(&said, "one of many");
            hash = receipt(&said).reference;
        } else {
            assert!(matches!(said.status, 402 | 409), "{said:?}");
        }
    }
    assert_eq!((sold, scene.world.service.hits()), (1, 1));
    assert_eq!(scene.earned().await - earned, PRICE);
    must_be_used(&ask(&url, &signed).await.unwrap(), "again");
    // The signature, and the transaction that it became, under challenges that others hold.
    for (url, other) in [&url, &elsewhere].into_iter().zip(others) {
        let said = ask(url, &scene.credential(&other, &draw, &signature))
            .await
            .unwrap();
        must_be_refused(&said, "verification-failed", "another challenge");
        let mined = json!({ "type": "hash", "hash": hash });
        let said = repeat(url, &scene.shown(&other, draw.from, &mined)).await;
        must_be_refused_for(&said, "names its challenge", "by its hash");
    }
    daemon.kill();
    let daemon = Daemon::start(&scene.config).await;
    let url = place(&daemon, "/v1/once");
    must_be_used(&ask(&url, &signed).await.unwrap(), "after a kill");
    assert_eq!(scene.gate.heard().len(), 1, "one transaction");
    assert_eq!(scene.world.service.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t8_a_payment_that_somebody_else_sent_is_the_payers() {
    let (scene, daemon) = Scene::start("adopted").await;
    let url = place(&daemon, "/v1/once");
    let (asked, thief) = (challenge(&url).await, challenge(&url).await);
    let draw = scene.draw(&asked, 0);
    let signature = scene.sign(&scene.world.payers[0], &draw, Spelling::Draft);
    let call = draw_call(&draw, &signature, Spelling::Draft);
    let hash = scene.sent_by_a_stranger(&call).await;
    // Whoever sees it on the chain is not who signed it.
    for payer in [draw.from, scene.world.payers[1].address()] {
        let mined = json!({ "type": "hash", "hash": hash });
        let said = repeat(&url, &scene.shown(&thief, payer, &mined)).await;
        must_be_refused_for(&said, "names its challenge", "by its hash");
    }
    let signed = scene.credential(&asked, &draw, &signature);
    let said = repeat(&url, &signed).await;
    must_be_sold(&said, "who signed");
    assert_eq!(receipt(&said).reference, hash.to_string());
    must_be_used(&ask(&url, &signed).await.unwrap(), "again");
    assert_eq!(scene.gate.heard(), Vec::<Value>::new(), "it was paid already");
    // The same nonce, used for something else, pays for nothing.
    let asked = challenge(&url).await;
    let own = Draw {
        to: scene.world.payers[0].address(),
        ..scene.draw(&asked, 0)
    };
    let signature = scene.sign(&scene.world.payers[0], &own, Spelling::Draft);
    scene
        .sent_by_a_stranger(&draw_call(&own, &signature, Spelling::Draft))
        .await;
    let draw = scene.draw(&asked, 0);
    let signature = scene.sign(&scene.world.payers[0], &draw, Spelling::Draft);
    let said = repeat(&url, &scene.credential(&asked, &draw, &signature)).await;
    must_be_refused(&said, "verification-failed", "to itself");
    assert_eq!(scene.world.service.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t8_no_gas_is_spent_on_what_is_not_worth_it_or_cannot_land() {
    let (scene, daemon) = Scene::start("worthless").await;
    let cheap = challenge(&place(&daemon, "/v1/cheap")).await;
    assert_eq!(details(&cheap)["credentialTypes"], json!(["hash"]));
    let url = place(&daemon, "/v1/once");
    let asked = challenge(&url).await;
    let good = scene.draw(&asked, 0);
    let key = |index: usize| &scene.world.payers[index];
    let until = |seconds: u64| Leave::Eip3009 {
        valid_after: U256::ZERO,
        valid_before: U256::from(now() + seconds),
    };
    let late = Draw {
        leave: until(20),
        ..good.clone()
    };
    let endless = Draw {
        leave: Leave::Eip3009 {
            valid_after: U256::ZERO,
            valid_before: U256::MAX,
        },
        ..good.clone()
    };
    let poor_key = SecretKey::generate().unwrap();
    let poor = Draw {
        from: poor_key.address(),
        ..good.clone()
    };
    for (name, reason, draw, key) in [
        ("stolen", "was not signed by its payer", &good, key(1)),
        ("over soon", "for 60 s more", &late, key(0)),
        ("endless", "must not count for more than", &endless, key(0)),
        ("no money", "the payer holds 0 base units", &poor, &poor_key),
    ] {
        let signature = scene.sign(key, draw, Spelling::Draft);
        let said = ask(&url, &scene.credential(&asked, draw, &signature))
            .await
            .unwrap();
        must_be_refused_for(&said, reason, name);
    }
    let dust = scene.draw(&cheap, 0);
    let dust = Draw {
        amount: Amount::new(CHARGE_MIN - 1),
        ..dust
    };
    let signature = scene.sign(key(0), &dust, Spelling::Draft);
    let shown = scene.credential(&cheap, &dust, &signature);
    let said = ask(&place(&daemon, "/v1/cheap"), &shown).await.unwrap();
    must_be_refused(&said, "malformed-credential", "dust");
    assert_eq!(scene.gate.heard(), Vec::<Value>::new(), "something was sent");
    // Nobody was locked out by what was refused.
    let signature = scene.sign(key(0), &good, Spelling::Draft);
    must_be_sold(
        &repeat(&url, &scene.credential(&asked, &good, &signature)).await,
        "at last",
    );
}

/// When the daemon is killed; the payer has no answer in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    /// The rows are written, and the node never hears of the transaction.
    BeforeTheBroadcast,
    /// The node has the transaction, and makes no block.
    BeforeTheBlock,
    /// The transaction is in a block, and the daemon does not know.
    AfterTheBlock,
}

async fn survives(killed: Killed) {
    let (scene, daemon) = Scene::start("killed").await;
    let earned = scene.earned().await;
    let signed = scene.signed(&place(&daemon, "/v1/once"), 0).await;
    scene.gate.broadcasts(match killed {
        Killed::BeforeTheBroadcast => Broadcasts::HeldBefore,
        Killed::BeforeTheBlock | Killed::AfterTheBlock => Broadcasts::HeldAfter,
    });
    if killed == Killed::BeforeTheBlock {
        scene.world.ask("evm_setIntervalMining", json!([0])).await;
    }
    let url = place(&daemon, "/v1/once");
    let authorization = signed.clone();
    let first = tokio::spawn(async move { ask(&url, &authorization).await });
    scene.gate.holds_one().await;
    let heard = scene.gate.heard();
    if killed == Killed::AfterTheBlock {
        let question = json!([heard[0]]);
        while scene
            .world
            .ask("eth_getTransactionReceipt", question.clone())
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
    scene.gate.broadcasts(Broadcasts::Pass);
    let daemon = Daemon::start(&scene.config).await;
    if killed == Killed::BeforeTheBlock {
        scene.world.ask("evm_setIntervalMining", json!([1])).await;
    }
    let url = place(&daemon, "/v1/once");
    must_be_sold(&repeat(&url, &signed).await, "after the kill");
    must_be_used(&ask(&url, &signed).await.unwrap(), "again");
    assert_eq!(scene.earned().await - earned, PRICE, "{killed:?}");
    assert_eq!(scene.world.service.hits(), 1, "{killed:?}: served once");
    assert_eq!(scene.transactions(GAS).await, "0x1", "{killed:?}: sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn tx_2_a_signed_payment_is_made_once_over_a_kill_before_the_broadcast() {
    survives(Killed::BeforeTheBroadcast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tx_2_a_signed_payment_is_made_once_over_a_kill_before_its_block() {
    survives(Killed::BeforeTheBlock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tx_2_a_signed_payment_is_made_once_over_a_kill_after_its_block() {
    survives(Killed::AfterTheBlock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_of_one_account_do_not_wait_for_each_others_blocks() {
    let (scene, daemon) = Scene::start("many").await;
    let url = place(&daemon, "/v1/once");
    let mut signed = Vec::new();
    for _ in 0..4 {
        signed.push(scene.signed(&url, 0).await);
    }
    let answers = futures_util::future::join_all(signed.iter().map(|signed| ask(&url, signed))).await;
    for said in answers {
        must_be_sold(&said.unwrap(), "each");
    }
    assert_eq!(scene.gate.heard().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_pays_where_the_payer_has_approved_permit2() {
    let world = World::with_permit2(4).await;
    let token = world.deployed.tokens[0].token;
    let permit2 = weir_protocol::charge::PERMIT2;
    let approve = IToken::approveCall {
        spender: permit2,
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
    let url = place(&daemon, "/v1/once");
    let earned = scene.earned().await;
    let by_permit = |challenge: &Value, payer: usize, nonce: u64| Draw {
        leave: Leave::Permit2 {
            nonce: U256::from(nonce),
            deadline: U256::from(now() + 300),
        },
        ..scene.draw(challenge, payer)
    };
    let (mut shown, thief) = (Vec::new(), challenge(&url).await);
    for (nonce, spelling) in [(300, Spelling::Draft), (301, Spelling::Eip712)] {
        let asked = challenge(&url).await;
        let details = details(&asked);
        assert_eq!(
            details["credentialTypes"],
            json!(["authorization", "permit2", "hash"])
        );
        assert_eq!(details["permit2Address"], json!(permit2.to_checksum(None)));
        let spender = scene.world.payers[GAS].address();
        assert_eq!(details["permit2Spender"], json!(spender.to_checksum(None)));
        let draw = by_permit(&asked, 0, nonce);
        let signature = scene.sign(&scene.world.payers[0], &draw, spelling);
        let signed = scene.credential(&asked, &draw, &signature);
        let said = repeat(&url, &signed).await;
        must_be_sold(&said, "a permit");
        must_be_used(&ask(&url, &signed).await.unwrap(), "again");
        shown.push(receipt(&said).reference);
    }
    assert_eq!(scene.earned().await - earned, 2 * PRICE);
    // A nonce that was used, a thief who shows the transaction, and who has approved nothing.
    let asked = challenge(&url).await;
    let draw = by_permit(&asked, 0, 300);
    let signature = scene.sign(&scene.world.payers[0], &draw, Spelling::Draft);
    let said = repeat(&url, &scene.credential(&asked, &draw, &signature)).await;
    must_be_refused_for(&said, "nonce was used", "a used nonce");
    for hash in shown {
        let mined = json!({ "type": "hash", "hash": hash });
        let said = repeat(&url, &scene.shown(&thief, draw.from, &mined)).await;
        must_be_refused_for(&said, "names its challenge", "by its hash");
    }
    let draw = by_permit(&asked, 1, 300);
    let signature = scene.sign(&scene.world.payers[1], &draw, Spelling::Draft);
    let said = repeat(&url, &scene.credential(&asked, &draw, &signature)).await;
    must_be_refused_for(&said, "would revert", "no approval");
    assert_eq!(scene.gate.heard().len(), 2);
}
