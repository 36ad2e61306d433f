//! Payments of single answers on a chain of Ethereum's rules, by the hash of a transfer that the payer broadcast.

use crate::charges::{ask, must_be_sold, must_be_used, repeat};
use crate::daemon::Daemon;
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet, encoded};
use crate::world::{PRICE, Settings, World, route};
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use weir_chain::{Call, IToken, Sender};
use weir_protocol::charge::ChargeReceipt;

/// Blocks until a payment is final, one a second: more than a request waits for.
const FINALITY: u64 = 25;

/// What is sent to whom.
struct Sent {
    to: Address,
    amount: u128,
}

struct Shop {
    world: World,
    url: String,
}

impl Shop {
    async fn open(name: &'static str) -> (Self, Daemon) {
        Self::open_with(name, "", None).await
    }

    /// With more lines of `[chain]`, or another service.
    async fn open_with(name: &'static str, chain: &str, upstream: Option<&str>) -> (Self, Daemon) {
        let world = World::start(2).await;
        let routes = route("/v1/once", PRICE, "accept = [\"charge\"]");
        let daemon = Daemon::start(&world.config(&Settings {
            routes: &routes,
            chain,
            upstream: upstream.unwrap_or(&world.service.url),
            ..world.settings(name)
        }))
        .await;
        let url = format!("{}/v1/once", daemon.gateway);
        (Self { world, url }, daemon)
    }

    /// What the challenge asks for, sent by the first payer.
    fn right(&self) -> Sent {
        Sent {
            to: self.world.payee.address(),
            amount: PRICE,
        }
    }

    async fn challenge(&self) -> Value {
        let said = Said::read(Client::new().get(&self.url).send().await.unwrap()).await;
        assert_eq!(said.status, 402, "{said:?}");
        serde_json::to_value(said.challenge().unwrap()).unwrap()
    }

    async fn pay(&self, sent: Sent) -> B256 {
        let call = IToken::transferCall {
            to: sent.to,
            value: U256::from(sent.amount),
        };
        let call = Call {
            to: Some(self.world.deployed.tokens[0].token),
            input: call.abi_encode().into(),
        };
        let rpc = self.world.escrow.rpc().clone();
        let sender = Sender::connect(rpc, self.world.payers[0].signer().clone())
            .await
            .unwrap();
        let quote = sender.quote(&call).await.unwrap();
        let nonce = sender.next_nonce().await.unwrap();
        let envelope = sender.prepare(&quote, &nonce).await.unwrap();
        nonce.keep();
        sender.broadcast(&envelope).await.unwrap();
        sender
            .wait(envelope.hash, Instant::now() + Duration::from_secs(60))
            .await;
        envelope.hash
    }

    /// A credential that names a transaction, as this payer's.
    fn credential(&self, challenge: &Value, hash: B256, payer: usize) -> String {
        let payer = self.world.payers[payer].address();
        let source = format!("did:pkh:eip155:{}:{payer:#x}", self.world.deployed.chain_id);
        encoded(&json!({
            "challenge": challenge,
            "payload": { "type": "hash", "hash": hash.to_string() },
            "source": source,
        }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h7_a_transfer_that_the_payer_sent_buys_one_answer() {
    let (shop, daemon) = Shop::open("hash").await;
    let (challenge, early) = (shop.challenge().await, shop.challenge().await);
    let offered = challenge["request"].as_str().unwrap();
    let offered: Value = serde_json::from_slice(&weir_protocol::b64::decode(offered).unwrap()).unwrap();
    assert_eq!(
        offered["methodDetails"]["credentialTypes"],
        json!(["hash"]),
        "{offered}"
    );
    assert_eq!(
        offered["recipient"],
        json!(shop.world.payee.address().to_checksum(None))
    );
    let hash = shop.pay(shop.right()).await;
    let mine = shop.credential(&challenge, hash, 0);
    let said = repeat(&shop.url, &mine).await;
    must_be_sold(&said, "mine");
    let receipt = ChargeReceipt::from_header(said.headers["payment-receipt"].as_bytes()).unwrap();
    assert_eq!(
        (receipt.method.as_str(), receipt.reference),
        ("evm", hash.to_string())
    );
    assert_eq!(receipt.chain_id, Some(shop.world.deployed.chain_id));
    assert_eq!(json!(receipt.challenge_id), challenge["id"]);

    must_be_used(&ask(&shop.url, &mine).await.unwrap(), "again");
    // The same transaction under another challenge, that the thief had before it was sent.
    let said = ask(&shop.url, &shop.credential(&early, hash, 0)).await.unwrap();
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
    assert!(said.body.contains("paid for another challenge"), "{said:?}");
    daemon.kill();
    let routes = route("/v1/once", PRICE, "accept = [\"charge\"]");
    let daemon = Daemon::start(&shop.world.config(&Settings {
        routes: &routes,
        ..shop.world.settings("hash")
    }))
    .await;
    let url = format!("{}/v1/once", daemon.gateway);
    must_be_used(&ask(&url, &mine).await.unwrap(), "after a kill");
    let said = ask(&url, &shop.credential(&early, hash, 0)).await.unwrap();
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
    assert!(said.body.contains("paid for another challenge"), "{said:?}");
    assert_eq!(shop.world.service.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h8_a_transfer_of_another_of_other_terms_or_of_before_buys_nothing() {
    let (shop, _daemon) = Shop::open("others").await;
    let stranger = shop.world.payers[1].address();
    let challenge = shop.challenge().await;
    for (name, sent) in [
        (
            "less",
            Sent {
                amount: PRICE - 1,
                ..shop.right()
            },
        ),
        (
            "more",
            Sent {
                amount: PRICE + 1,
                ..shop.right()
            },
        ),
        (
            "to another",
            Sent {
                to: stranger,
                ..shop.right()
            },
        ),
    ] {
        let hash = shop.pay(sent).await;
        let said = repeat(&shop.url, &shop.credential(&challenge, hash, 0)).await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, "verification-failed"),
            "{name}: {said:?}"
        );
        said.must_be_a_no(name);
    }
    let hash = shop.pay(shop.right()).await;
    // Seen on the chain, and shown as one's own.
    let said = repeat(&shop.url, &shop.credential(&challenge, hash, 1)).await;
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
    assert!(said.body.contains("source"), "{said:?}");
    // What was paid long before a challenge was asked for.
    let before = shop.pay(shop.right()).await;
    tokio::time::sleep(Duration::from_secs(32)).await;
    let late = shop.challenge().await;
    let said = repeat(&shop.url, &shop.credential(&late, before, 0)).await;
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
    assert!(said.body.contains("older"), "{said:?}");
    assert_eq!(shop.world.service.hits(), 0);
    must_be_sold(
        &repeat(&shop.url, &shop.credential(&challenge, hash, 0)).await,
        "who paid",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h9_what_the_escrow_pays_out_pays_for_no_charge() {
    let (shop, daemon) = Shop::open("escrow").await;
    // One answer by session, whose close pays the price of one charge.
    let wallet = Wallet::open(&shop.world, &daemon, 0).await;
    let challenge = shop.challenge().await;
    let earned = shop.world.balance(&shop.world.payee).await;
    let place = format!("{}/v1/answer", daemon.gateway);
    let closed = wallet.pay(Method::POST, &place, &wallet.close(PRICE)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    assert_eq!(shop.world.balance(&shop.world.payee).await - earned, PRICE);
    let hash = closed.receipt().unwrap().tx_hash.unwrap();
    let hits = shop.world.service.hits();
    let shown = encoded(&json!({
        "challenge": challenge,
        "payload": { "type": "hash", "hash": hash.to_string() },
    }));
    let said = repeat(&shop.url, &shown).await;
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
    assert_eq!(shop.world.service.hits(), hits);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_c6_who_hangs_up_before_the_answer_gets_it_later() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let slow = axum::Router::new().fallback(answers_late);
    tokio::spawn(async move { axum::serve(listener, slow).await.unwrap() });
    let (shop, _daemon) = Shop::open_with("gone", "", Some(&upstream)).await;
    let challenge = shop.challenge().await;
    let hash = shop.pay(shop.right()).await;
    let mine = shop.credential(&challenge, hash, 0);
    let hasty = Client::new()
        .get(&shop.url)
        .timeout(Duration::from_secs(1))
        .header(AUTHORIZATION, &mine);
    assert!(hasty.send().await.is_err(), "it does not wait");
    tokio::time::sleep(Duration::from_secs(3)).await;
    must_be_sold(&repeat(&shop.url, &mine).await, "who comes back");
    must_be_used(&ask(&shop.url, &mine).await.unwrap(), "again");
}

async fn answers_late() -> &'static str {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    ANSWER
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t4_a_payment_is_written_down_before_it_is_final_and_sold_for_after() {
    let chain = format!("finality_blocks = {FINALITY}\n");
    let (shop, _daemon) = Shop::open_with("final", &chain, None).await;
    // By ours it is claimed, so that it is owed when the challenge is over.
    let (challenge, other) = (shop.challenge().await, shop.challenge().await);
    let hash = shop.pay(shop.right()).await;
    let mine = shop.credential(&challenge, hash, 0);
    must_be_awaited(&ask(&shop.url, &mine).await.unwrap());
    let said = ask(&shop.url, &shop.credential(&other, hash, 0)).await.unwrap();
    assert!(said.body.contains("paid for another challenge"), "{said:?}");
    assert_eq!(shop.world.service.hits(), 0);
    must_be_sold(&repeat(&shop.url, &mine).await, "when it is final");
    // What a reorganisation removes buys nothing, however often it is asked.
    let challenge = shop.challenge().await;
    let hash = shop.pay(shop.right()).await;
    let mine = shop.credential(&challenge, hash, 0);
    must_be_awaited(&ask(&shop.url, &mine).await.unwrap());
    let rpc = shop.world.escrow.rpc();
    let block = rpc.landed(hash).await.unwrap().unwrap().block_number;
    let depth = rpc.head().await.unwrap().number - block + 1;
    shop.world.ask("anvil_reorg", json!([depth, []])).await;
    assert!(rpc.landed(hash).await.unwrap().is_none(), "it is gone");
    while rpc.head().await.unwrap().number < block + FINALITY {
        must_be_awaited(&ask(&shop.url, &mine).await.unwrap());
    }
    must_be_awaited(&ask(&shop.url, &mine).await.unwrap());
    assert_eq!(shop.world.service.hits(), 1);
}

fn must_be_awaited(said: &Said) {
    assert_eq!(said.status, 503, "{said:?}");
    assert!(!said.header(RETRY_AFTER).is_empty(), "{said:?}");
    assert!(
        said.challenges().is_empty(),
        "nobody is asked to pay again: {said:?}"
    );
}
