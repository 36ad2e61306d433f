//! Hand-made vouchers and replays: what each is refused with, and that it changes nothing.

use crate::counter::Counter;
use crate::service::ANSWER;
use crate::wallet::{Said, hex};
use crate::world::{DEPOSIT, PRICE, total};
use alloy::primitives::{B256, U256, uint};
use reqwest::header::{AUTHORIZATION, CACHE_CONTROL};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Barrier;
use weir_core::{ChannelId, Cumulative};
use weir_node::dev::accounts::account;

/// The order of secp256k1.
const ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);

#[tokio::test(flavor = "multi_thread")]
async fn threat_v1_signatures_are_judged_before_amounts() {
    let counter = Counter::open().await;
    let wallet = &counter.wallet;
    let stranger = account(9).unwrap();
    let other_channel = ChannelId(B256::repeat_byte(0x99));
    // Below, at and above what is accepted already, and over the deposit.
    for amount in [0, 1, PRICE, PRICE * 2, DEPOSIT + 1] {
        let forged = wallet.signature_of(&stranger, wallet.channel, amount);
        let payload = wallet.voucher_with(amount, &forged);
        counter
            .refused_payload("a stranger's", &payload, (402, "signer-mismatch"))
            .await;
        let other = wallet.voucher_with(amount, &wallet.signature(amount + 1));
        counter
            .refused_payload("over another amount", &other, (402, "signer-mismatch"))
            .await;
        let mut close = payload.clone();
        close["action"] = json!("close");
        counter
            .refused_payload("a stranger's close", &close, (402, "signer-mismatch"))
            .await;
    }
    let of_another = wallet.signature_of(&counter.world.payers[0], other_channel, PRICE * 2);
    let payload = wallet.voucher_with(PRICE * 2, &of_another);
    counter
        .refused_payload("of another channel", &payload, (402, "signer-mismatch"))
        .await;
    let mut unknown = wallet.voucher(PRICE * 2);
    unknown["channelId"] = json!(other_channel.to_string());
    unknown["signature"] = json!(hex(&of_another));
    counter
        .refused_payload("an unknown channel", &unknown, (410, "channel-not-found"))
        .await;
    assert_eq!(counter.daemon.quiet(wallet.channel).await.standing, "live");
    counter.still_sells().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v5_a_signature_has_one_form() {
    let counter = Counter::open().await;
    let wallet = &counter.wallet;
    let amount = PRICE * 2;
    let good = wallet.signature(amount);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        bytes
    };
    let high = {
        let s = ORDER - U256::from_be_slice(&good[32..64]);
        let mut bytes = good;
        bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
        bytes[64] = 55 - bytes[64];
        bytes.to_vec()
    };
    let (invalid, malformed) = ((402, "invalid-signature"), (400, "malformed-credential"));
    let compact = {
        let mut bytes = good[..64].to_vec();
        bytes[32] |= (good[64] - 27) << 7;
        bytes
    };
    let cases = [
        ("high s", high, invalid),
        ("v = 0", changed(&|bytes| bytes[64] = 0), invalid),
        ("v = 1", changed(&|bytes| bytes[64] = 1), invalid),
        ("v = 29", changed(&|bytes| bytes[64] = 29), invalid),
        ("r = 0", changed(&|bytes| bytes[..32].fill(0)), invalid),
        ("s = 0", changed(&|bytes| bytes[32..64].fill(0)), invalid),
        (
            "r over the order",
            changed(&|bytes| bytes[..32].fill(0xff)),
            invalid,
        ),
        ("64 bytes", good[..64].to_vec(), malformed),
        ("64 bytes of EIP-2098", compact, malformed),
        ("66 bytes", changed(&|bytes| bytes.push(0)), malformed),
        ("none", Vec::new(), malformed),
        (
            "the other v",
            changed(&|bytes| bytes[64] = 55 - bytes[64]),
            (402, "signer-mismatch"),
        ),
    ];
    for (name, signature, expected) in cases {
        let payload = wallet.voucher_with(amount, &signature);
        counter.refused_payload(name, &payload, expected).await;
    }
    counter.still_sells().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_outside_the_deposit_the_step_or_the_balance_are_refused() {
    let counter = Counter::open().await;
    let wallet = &counter.wallet;
    let over = counter
        .refused_payload(
            "over the deposit",
            &wallet.voucher(DEPOSIT + 1),
            (402, "amount-exceeds-deposit"),
        )
        .await;
    assert!(over.body.contains(&DEPOSIT.to_string()), "{over:?}");
    let most = wallet.voucher(u128::MAX);
    counter
        .refused_payload(
            "the highest number there is",
            &most,
            (402, "amount-exceeds-deposit"),
        )
        .await;
    for amount in [0, PRICE / 2, PRICE, PRICE * 2 - 1] {
        // A raise that does not reach the price is taken, and buys nothing.
        let said = wallet
            .pay(Method::GET, &counter.url, &wallet.voucher(amount))
            .await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, "insufficient-balance"),
            "{said:?}"
        );
        said.must_be_a_no("short");
        let problem: Value = serde_json::from_str(&said.body).unwrap();
        assert_eq!(
            problem["requiredCumulative"],
            json!((PRICE * 2).to_string()),
            "{said:?}"
        );
        assert_eq!(counter.books().await[1], PRICE);
    }
    let steps = format!("{}/v1/steps", counter.daemon.gateway);
    let accepted = counter.books().await[0];
    let small = wallet
        .pay(Method::GET, &steps, &wallet.voucher(accepted + 49))
        .await;
    assert_eq!(
        (small.status, small.problem().as_str()),
        (402, "delta-too-small"),
        "{small:?}"
    );
    small.must_be_a_no("below the step");
    assert_eq!(counter.books().await[..2], [accepted, PRICE]);
    let large = wallet
        .pay(Method::GET, &steps, &wallet.voucher(accepted + 50))
        .await;
    assert_eq!(large.status, 200, "{large:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v3_one_delivery_per_authorised_unit() {
    let counter = Counter::open().await;
    let (wallet, url) = (&counter.wallet, &counter.url);
    let hits = || counter.world.service.hits();
    let before = hits();
    // HEAD and a bare POST have no place for content: the voucher counts, nothing is bought.
    for (method, amount) in [(Method::HEAD, PRICE * 2), (Method::POST, PRICE * 3)] {
        let said = wallet.pay_bare(method.clone(), url, amount).await;
        assert_eq!((said.status, said.body.as_str()), (200, ""), "{method}: {said:?}");
        let receipt = said.receipt().unwrap();
        assert_eq!(
            (receipt.accepted, receipt.spent),
            (total(amount), total(PRICE)),
            "{method}"
        );
        assert_eq!(said.header(CACHE_CONTROL), "private, no-store");
    }
    assert_eq!(hits(), before);
    // Lower and equal vouchers leave the total as it is, and buy what is left of it, once each.
    for (amount, spent) in [(PRICE * 2, PRICE * 2), (PRICE * 3, PRICE * 3)] {
        let said = wallet.pay(Method::GET, url, &wallet.voucher(amount)).await;
        assert_eq!((said.status, said.body.as_str()), (200, ANSWER), "{said:?}");
        let receipt = said.receipt().unwrap();
        assert_eq!(
            (receipt.accepted, receipt.spent),
            (total(PRICE * 3), total(spent))
        );
    }
    for amount in [PRICE, PRICE * 3] {
        let said = wallet.pay(Method::GET, url, &wallet.voucher(amount)).await;
        assert_eq!(said.problem(), "insufficient-balance", "{said:?}");
    }
    assert_eq!(hits(), before + 2);
    // A credential buys once, also when a balance is left.
    assert_eq!(wallet.pay_bare(Method::POST, url, PRICE * 9).await.status, 200);
    let used = wallet
        .credential(Method::GET, url, &wallet.voucher(PRICE * 9))
        .await;
    assert_eq!(wallet.send(Method::GET, url, Some(&used)).await.status, 200);
    let books = counter.books().await;
    for _ in 0..3 {
        counter
            .refused("used before", &used, (402, "invalid-challenge"))
            .await;
    }
    assert_eq!(counter.books().await, books);
    assert_eq!(hits(), before + 3);
    counter.still_sells().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h5_a_credential_sent_many_times_at_once_is_one_grant() {
    const COPIES: usize = 64;
    let counter = Counter::open().await;
    let (wallet, url) = (&counter.wallet, &counter.url);
    // More than enough is authorised, so that only the credential itself stands in the way.
    assert_eq!(
        wallet.pay_bare(Method::POST, url, PRICE * 1_000).await.status,
        200
    );
    for round in 0..3u128 {
        let spent = counter.books().await[1];
        let hits = counter.world.service.hits();
        let used = wallet
            .credential(Method::GET, url, &wallet.voucher(PRICE * 1_000))
            .await;
        let together = Arc::new(Barrier::new(COPIES));
        let copies = (0..COPIES).map(|_| {
            let (http, url, used, together) = (
                wallet.http.clone(),
                url.clone(),
                used.clone(),
                Arc::clone(&together),
            );
            tokio::spawn(async move {
                together.wait().await;
                let sent = http.get(url).header(AUTHORIZATION, used).send().await;
                Said::read(sent.unwrap()).await
            })
        });
        let said: Vec<Said> = futures_util::future::try_join_all(copies).await.unwrap();
        let granted = said.iter().filter(|said| said.body == ANSWER).count();
        assert_eq!(granted, 1, "round {round}");
        let refused = said
            .iter()
            .filter(|said| said.problem() == "invalid-challenge")
            .count();
        assert_eq!(refused, COPIES - 1, "round {round}");
        assert_eq!(counter.books().await[1], spent + PRICE, "round {round}");
        assert_eq!(counter.world.service.hits(), hits + 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v4_a_channel_id_in_other_letters_is_the_same_channel() {
    let counter = Counter::open().await;
    let (wallet, url) = (&counter.wallet, &counter.url);
    let plain = wallet.channel.to_string();
    let digits = plain.trim_start_matches("0x");
    let spellings = [
        format!("0x{}", digits.to_uppercase()),
        format!("0x{}", digits.to_lowercase()),
        mixed(digits),
    ];
    for (round, spelling) in spellings.into_iter().enumerate() {
        let spent = PRICE * (round as u128 + 2);
        let mut payload = wallet.voucher(spent);
        payload["channelId"] = json!(spelling);
        let said = wallet.pay(Method::GET, url, &payload).await;
        assert_eq!(said.status, 200, "{spelling}: {said:?}");
        let receipt = said.receipt().unwrap();
        assert_eq!((receipt.channel, receipt.spent), (wallet.channel, total(spent)));
        assert_eq!(counter.books().await[..2], [spent, spent]);
    }
}

fn mixed(digits: &str) -> String {
    let flip = |(index, digit): (usize, char)| match index % 2 {
        0 => digit.to_ascii_uppercase(),
        _ => digit.to_ascii_lowercase(),
    };
    format!("0x{}", digits.char_indices().map(flip).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h2_nothing_that_was_paid_for_or_asked_for_is_cached() {
    let counter = Counter::open().await;
    let (wallet, url) = (&counter.wallet, &counter.url);
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let asked = wallet.send(method.clone(), url, None).await;
        assert_eq!(asked.status, StatusCode::PAYMENT_REQUIRED, "{method}");
        assert_eq!(asked.header(CACHE_CONTROL), "no-store", "{method}");
        assert!(asked.challenge().is_some(), "{method}");
        if method != Method::HEAD {
            asked.must_be_a_no("unpaid");
            assert_eq!(asked.problem(), "payment-required", "{method}");
        }
    }
    let paid = wallet.pay(Method::GET, url, &wallet.voucher(PRICE * 2)).await;
    assert_eq!((paid.status, paid.body.as_str()), (200, ANSWER));
    assert_eq!(paid.header(CACHE_CONTROL), "private, no-store");
    let receipt = paid.receipt().unwrap();
    assert_eq!(receipt.accepted, total(PRICE * 2));
    let nowhere = wallet
        .send(Method::GET, &format!("{}/nowhere", counter.daemon.gateway), None)
        .await;
    assert_eq!(nowhere.status, 404);
    nowhere.must_be_a_no("no such route");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h3_a_finalized_channel_is_gone_and_not_asked_to_pay_again() {
    let counter = Counter::open().await;
    let (wallet, url) = (&counter.wallet, &counter.url);
    let closed = wallet.pay(Method::POST, url, &wallet.close(PRICE)).await;
    assert_eq!((closed.status, closed.body.as_str()), (200, ""), "{closed:?}");
    assert!(closed.receipt().unwrap().tx_hash.is_some());
    let state = counter.world.until(wallet.channel, |state| state.finalized).await;
    assert_eq!(state.settled, total(PRICE));
    // The books are compared around each refusal: what the watcher sees of the close must be in them by then.
    let view = counter
        .daemon
        .until(wallet.channel, |view| view.standing == "finalized")
        .await;
    for amount in [0, PRICE, PRICE * 2, DEPOSIT] {
        let said = counter
            .refused_payload("finalized", &wallet.voucher(amount), (410, "channel-finalized"))
            .await;
        assert!(said.challenge().is_none());
    }
    assert_eq!(view.spent, Cumulative::new(PRICE));
}
