//! Hand-made opens: what the chain does not bear out, what is not there, and what comes again.

use crate::counter::Counter;
use crate::service::ANSWER;
use crate::wallet::encoded;
use crate::world::PRICE;
use alloy::primitives::{Address, B256};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use weir_chain::OpenedChannel;
use weir_till::gateway::WAITS_MAX;
use weir_till::gateway::pay::MINED_WAIT;

/// How the wallet's channel was opened, as the chain tells it.
async fn opened(counter: &Counter) -> OpenedChannel {
    let payer = counter.world.payers[0].address();
    let opened = counter.world.escrow.channels_of_payer(payer, 0).await.unwrap();
    let [opened] = opened.try_into().unwrap();
    opened
}

fn source(chain: u64, address: Address) -> Value {
    json!(format!("did:pkh:eip155:{chain}:{address}"))
}

/// The payload of an open of the wallet's channel, by this transaction.
fn open(counter: &Counter, transaction: B256, salt: B256, base_units: u128) -> Value {
    let mut payload = counter.wallet.voucher(base_units);
    payload["action"] = json!("open");
    payload["type"] = json!("hash");
    payload["hash"] = json!(transaction.to_string());
    payload["salt"] = json!(salt.to_string());
    payload
}

/// A credential for a fresh challenge of this URL, of the payer itself.
async fn credential(counter: &Counter, url: &str, payload: &Value) -> String {
    let challenge = counter.wallet.challenge(Method::GET, url).await;
    let payer = counter.world.payers[0].address();
    let source = source(counter.world.deployed.chain_id, payer);
    encoded(&json!({ "challenge": challenge, "payload": payload, "source": source }))
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_that_the_chain_does_not_bear_out_are_refused() {
    let counter = Counter::open().await;
    let wallet = &counter.wallet;
    let chain = counter.world.deployed.chain_id;
    let payer = counter.world.payers[0].address();
    let payload = open(
        &counter,
        opened(&counter).await.transaction,
        B256::repeat_byte(1),
        PRICE * 2,
    );
    let (malformed, failed) = ((400, "malformed-credential"), (402, "verification-failed"));
    let cases = [
        ("no source", json!(null), malformed),
        ("another chain's source", source(1, payer), malformed),
        (
            "somebody else's transaction",
            source(chain, Address::repeat_byte(3)),
            failed,
        ),
        ("another salt", source(chain, payer), failed),
    ];
    for (name, source, expected) in cases {
        let challenge = wallet.challenge(Method::GET, &counter.url).await;
        let mut said = json!({ "challenge": challenge, "payload": payload });
        if !source.is_null() {
            said["source"] = source;
        }
        counter.refused(name, &encoded(&said), expected).await;
    }
    counter.still_sells().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_that_comes_again_is_held_to_the_least_raise_as_every_voucher_is() {
    let counter = Counter::open().await;
    let steps = format!("{}/v1/steps", counter.daemon.gateway);
    let opened = opened(&counter).await;
    let [accepted, spent, ..] = counter.books().await;
    let pay = async |base_units| {
        let payload = open(&counter, opened.transaction, opened.salt, base_units);
        let credential = credential(&counter, &steps, &payload).await;
        counter.wallet.send(Method::GET, &steps, Some(&credential)).await
    };
    let small = pay(accepted + 49).await;
    assert_eq!(
        (small.status, small.problem().as_str()),
        (402, "delta-too-small"),
        "{small:?}"
    );
    assert_eq!(counter.books().await[..2], [accepted, spent]);
    let large = pay(accepted + 50).await;
    assert_eq!((large.status, large.body.as_str()), (200, ANSWER), "{large:?}");
    assert_eq!(counter.books().await[..2], [accepted + 50, spent + 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h4_transactions_that_are_not_there_hold_up_nobody_who_has_one() {
    let counter = Counter::open().await;
    let nowhere = async |number: usize| {
        let transaction = B256::left_padding_from(&number.to_be_bytes());
        let payload = open(&counter, transaction, B256::repeat_byte(1), PRICE * 2);
        credential(&counter, &counter.url, &payload).await
    };
    // Made before the first is sent: from then on the waits run out.
    let mut credentials = Vec::new();
    for number in 1..=WAITS_MAX + 1 {
        credentials.push(nowhere(number).await);
    }
    let payer = counter.world.payer(1, "beside").await;
    let mut waiting = JoinSet::new();
    for credential in credentials {
        let request = counter.wallet.http.get(&counter.url);
        let asked = Instant::now();
        waiting.spawn(async move {
            let answer = request.header(AUTHORIZATION, credential).send().await.unwrap();
            (answer.status().as_u16(), asked.elapsed())
        });
    }
    // One has no place to wait, and is told before those that have one.
    let (status, at_once) = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(status, 503);
    // Whoever has a transaction is served beside all that.
    let bought = payer.get(&counter.url).await.unwrap();
    assert_eq!(bought.status, 200);
    assert!(waiting.try_join_next().is_none(), "it came after those that wait");
    while let Some(waited) = waiting.join_next().await {
        let (status, took) = waited.unwrap();
        assert_eq!(status, 503);
        assert!(
            took > at_once,
            "told after {at_once:?}, and {took:?} with a place"
        );
        assert!(
            took >= MINED_WAIT - Duration::from_secs(1),
            "it had a place: {took:?}"
        );
    }
}
