//! What must hold of charges before anything is signed, and of what is kept of them.

use super::offer::Mode;
use super::record::{PAYMENT_FORMAT, fingerprint};
use super::*;
use crate::error::Error;
use crate::http::Request;
use crate::limits::{AllowedEscrow, LimitExceeded, Limits};
use crate::state::{StateDir, StateError};
use crate::ticket::RunTotal;
use alloy::primitives::Bytes;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::sync::Arc;
use weir_chain::SignedTempo;
use weir_core::UnixSeconds;
use weir_protocol::charge::attribution;
use weir_protocol::{Challenge, b64};

const TOKEN: Address = Address::repeat_byte(0x70);
const SELLER: Address = Address::repeat_byte(0xbb);
const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn challenge(method: &str, amount: &str, details: &Value) -> Challenge {
    let request = json!({"amount": amount, "currency": format!("{TOKEN:#x}"),
        "recipient": format!("{SELLER:#x}"), "methodDetails": details});
    Challenge {
        id: "c1".into(),
        realm: "r".into(),
        method: method.into(),
        intent: "charge".into(),
        request: b64::encode(request.to_string()),
        expires: Some("2999-01-01T00:00:00Z".into()),
        digest: None,
        description: None,
        opaque: None,
    }
}

fn limits() -> Limits {
    let escrow = AllowedEscrow {
        address: Address::ZERO,
        code_hash: None,
    };
    Limits {
        max_charge: Amount::new(25),
        ..Limits::new(escrow, TOKEN, Amount::new(25), Amount::ZERO)
    }
}

fn mode(method: &str, amount: &str, details: &Value) -> Option<Mode> {
    let read = ChargeOffer::judge(challenge(method, amount, details), &limits(), NOW);
    read.unwrap().map(|offer| offer.mode)
}

#[test]
fn a_charge_is_paid_in_the_way_that_its_challenge_takes() {
    let chain = json!({"chainId": 1});
    let with = |name: &str, value: Value| json!({"chainId": 1, name: value});
    assert_eq!(mode("tempo", "25", &chain), Some(Mode::Pull));
    assert_eq!(mode("tempo", "0", &chain), Some(Mode::Proof));
    assert_eq!(
        mode("tempo", "25", &with("supportedModes", json!(["push"]))),
        Some(Mode::Push)
    );
    assert_eq!(
        mode("tempo", "25", &with("supportedModes", json!(["push", "pull"]))),
        Some(Mode::Pull)
    );
    // What this payer cannot pay, or would pay wrongly.
    for (method, amount, details) in [
        ("tempo", "25", with("supportedModes", json!(["carrier pigeon"]))),
        (
            "tempo",
            "25",
            with(
                "splits",
                json!([{"amount": "1", "recipient": format!("{SELLER:#x}")}]),
            ),
        ),
        ("tempo", "25", with("feePayer", json!(true))),
        ("evm", "25", chain.clone()),
        ("evm", "25", with("credentialTypes", json!(["permit2", "hash"]))),
        ("stripe", "25", chain.clone()),
    ] {
        assert_eq!(mode(method, amount, &details), None, "{method} {details}");
    }
}

#[test]
fn pay_5_a_charge_outside_a_limit_is_refused_by_name() {
    let chain = json!({"chainId": 1});
    let judged = |limits: &Limits| {
        let judged = ChargeOffer::judge(challenge("tempo", "25", &chain), limits, NOW);
        match judged {
            Err(Error::Limit(why)) => Some(why),
            _ => None,
        }
    };
    assert_eq!(judged(&limits()), None);
    let tight = Limits {
        max_charge: Amount::new(24),
        ..limits()
    };
    let expected = LimitExceeded::Charge {
        offered: Amount::new(25),
        limit: Amount::new(24),
    };
    assert_eq!(judged(&tight), Some(expected));
    let elsewhere = Limits {
        chain_ids: crate::Allowed::only([2]),
        ..limits()
    };
    assert_eq!(judged(&elsewhere), Some(LimitExceeded::Chain { offered: 1 }));
    let others = Limits {
        recipients: crate::Allowed::only([Address::ZERO]),
        ..limits()
    };
    assert_eq!(
        judged(&others),
        Some(LimitExceeded::Recipient { offered: SELLER })
    );
    let coin = Limits {
        tokens: [SELLER].into(),
        ..limits()
    };
    assert_eq!(judged(&coin), Some(LimitExceeded::Token { offered: TOKEN }));
    for expires in [None, Some("2020-01-01T00:00:00Z".to_owned())] {
        let stale = Challenge {
            expires,
            ..challenge("tempo", "25", &chain)
        };
        let judged = ChargeOffer::judge(stale, &limits(), NOW);
        assert!(matches!(judged, Err(Error::StaleChallenge)), "{judged:?}");
    }
}

#[test]
fn single_payments_are_off_unless_they_are_allowed() {
    let limits = Limits {
        max_charge: Limits::new(limits().escrows[0], TOKEN, Amount::new(25), Amount::ZERO).max_charge,
        ..limits()
    };
    let challenge = challenge("tempo", "1", &json!({"chainId": 1}));
    let judged = ChargeOffer::judge(challenge, &limits, NOW);
    assert!(
        matches!(judged, Err(Error::Limit(LimitExceeded::Charge { .. }))),
        "{judged:?}"
    );
}

#[test]
fn pay_5_a_proof_is_made_for_the_host_that_asks_and_for_nobody_behind_it() {
    let url = Url::parse("https://m.example:8443/x").unwrap();
    let limits = Limits {
        realms: ["partner".to_owned()].into(),
        ..limits()
    };
    for own in ["m.example", "m.example:8443", "partner"] {
        assert!(limits.check_realm(own, &url).is_ok(), "{own}");
    }
    for other in ["h.example", "example", "m.example:443", "", "M.example"] {
        let refused = limits.check_realm(other, &url);
        assert!(matches!(refused, Err(Error::ForeignRealm { .. })), "{other}");
    }
}

#[test]
fn a_transfer_is_bound_to_its_challenge_by_the_memo() {
    let own = B256::repeat_byte(9);
    let read = |details: &Value| {
        let challenge = challenge("tempo", "25", details);
        ChargeOffer::judge(challenge, &limits(), NOW).unwrap().unwrap()
    };
    let named = read(&json!({"chainId": 1, "memo": format!("{own:#x}")}));
    assert_eq!(named.memo(), own);
    let unnamed = read(&json!({}));
    assert_eq!(unnamed.memo(), attribution(&unnamed.challenge));
    assert_eq!(unnamed.request.method_details.chain_id, 42431);
}

fn request(method: Method, url: &str, body: &str) -> Request {
    Request {
        method,
        url: Url::parse(url).unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn record(request: &Request) -> PaymentRecord {
    let signed = SignedTempo {
        hash: B256::repeat_byte(7),
        raw: Bytes::from_static(&[0x76]),
        valid_before: NOW,
    };
    PaymentRecord {
        format: PAYMENT_FORMAT,
        request: fingerprint(request),
        place: super::record::shown(request),
        challenge: challenge("tempo", "25", &json!({"chainId": 1})),
        chain_id: 1,
        token: TOKEN,
        recipient: SELLER,
        amount: Amount::new(25),
        is_pushed: false,
        transaction: signed,
    }
}

#[test]
fn a_request_is_the_same_again_by_method_url_and_body() {
    let (get, url) = (Method::GET, "https://a.example/x?k=secret");
    let this = request(get.clone(), url, "");
    assert_eq!(fingerprint(&this), fingerprint(&request(get.clone(), url, "")));
    for other in [
        request(Method::POST, url, ""),
        request(get.clone(), "https://a.example/x?k=other", ""),
        request(get, url, "body"),
    ] {
        assert_ne!(fingerprint(&this), fingerprint(&other), "{other:?}");
    }
    assert_eq!(record(&this).place, "https://a.example/x");
}

#[tokio::test]
async fn pay_4_a_payment_is_there_again_until_its_answer_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Arc::new(StateDir::take(folder.path(), SELLER).unwrap());
    let this = request(Method::GET, "https://a.example/x", "");
    let state = open();
    let total = || Arc::new(RunTotal::new(Some(Amount::new(30))));
    let payments = Payments::new(Vec::new(), Arc::clone(&state), total());
    let payment = payments.begin(record(&this)).await.unwrap();
    assert!(payments.take(fingerprint(&this)).is_none(), "it is at work");
    drop(payment);
    assert_eq!(payments.idle(), [record(&this)]);
    drop((payments, state));
    // A restart.
    let state = open();
    let payments = Payments::new(state.load_payments().unwrap(), Arc::clone(&state), total());
    assert!(payments.take(B256::ZERO).is_none());
    let payment = payments.take(fingerprint(&this)).unwrap();
    assert_eq!(payment.record, record(&this));
    payment.forget().await.unwrap();
    assert_eq!(payments.idle(), []);
    assert_eq!(state.load_payments().unwrap(), []);
    assert!(state.load().unwrap().is_empty(), "no channel");
    // What cannot be read may be money.
    state.save_payment(&record(&this)).unwrap();
    let file = state
        .path()
        .join("payments")
        .join(format!("{}.json", B256::repeat_byte(7)));
    std::fs::write(file, "{").unwrap();
    assert!(matches!(state.load_payments(), Err(StateError::Broken(_))));
}
