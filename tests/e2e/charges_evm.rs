//! Payments of single answers on a chain of Ethereum's rules, by the hash of a transfer that the payer broadcast.

use crate::charges::{ask, must_be_sold, must_be_used, repeat};
use crate::daemon::Daemon;
use crate::wallet::{Said, encoded};
use crate::world::{PRICE, Settings, World, route};
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use reqwest::Client;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use weir_chain::{Call, IToken, Sender};
use weir_protocol::charge::ChargeReceipt;

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
        let world = World::start(2).await;
        let routes = route("/v1/once", PRICE, "accept = [\"charge\"]");
        let daemon = Daemon::start(&world.config(&Settings {
            routes: &routes,
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
    let challenge = shop.challenge().await;
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
    let early = shop.challenge().await;
    let said = ask(&shop.url, &shop.credential(&early, hash, 0)).await.unwrap();
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
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
