//! Hand-made credentials and challenges: what each is refused with, and that it changes nothing.

use crate::counter::Counter;
use crate::wallet::{Said, credential, encoded, signed_until};
use crate::world::PRICE;
use alloy::primitives::Address;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use weir_protocol::request::AddressSpelling;
use weir_protocol::{SessionRequest, b64};

#[tokio::test(flavor = "multi_thread")]
async fn malformed_credentials_are_refused_and_change_nothing() {
    let counter = Counter::open().await;
    let challenge = counter.wallet.challenge(Method::GET, &counter.url).await;
    let good = counter.wallet.voucher(PRICE * 2);
    let with = |payload: Value| json!({ "challenge": challenge, "payload": payload });
    let deep = (0..40).fold(json!("deep"), |inner, _| json!({ "in": inner }));
    let (malformed, twice) = ((402, "malformed-credential"), (400, "malformed-credential"));
    let fine = credential(&challenge, &good);
    let cases = [
        ("nothing after the scheme", "Payment".to_owned(), malformed),
        ("not base64url", "Payment !!!!".to_owned(), malformed),
        ("padded", format!("{fine}="), malformed),
        ("plain base64", format!("{fine}+/"), malformed),
        (
            "not JSON",
            format!("Payment {}", b64::encode("nonsense")),
            malformed,
        ),
        ("not an object", encoded(&json!([1])), malformed),
        ("too deep", encoded(&with(deep)), malformed),
        (
            "too long",
            encoded(&with(json!({ "pad": "x".repeat(17_000) }))),
            malformed,
        ),
        (
            "no payload",
            encoded(&json!({ "challenge": challenge })),
            malformed,
        ),
        ("no challenge", encoded(&json!({ "payload": good })), malformed),
        (
            "a challenge of the wrong type",
            encoded(&json!({ "challenge": [], "payload": good })),
            malformed,
        ),
        (
            "a payload of the wrong type",
            encoded(&with(json!("voucher"))),
            malformed,
        ),
        ("two in one line", format!("{fine}, {fine}"), malformed),
        (
            "a source of the wrong type",
            encoded(&json!({ "challenge": challenge, "payload": good, "source": 7 })),
            malformed,
        ),
    ];
    for (name, authorization, expected) in &cases {
        counter.refused(name, authorization, *expected).await;
    }
    let two = counter
        .wallet
        .http
        .get(&counter.url)
        .header(AUTHORIZATION, &fine)
        .header(AUTHORIZATION, &fine)
        .send()
        .await;
    let two = Said::read(two.unwrap()).await;
    assert_eq!((two.status, two.problem().as_str()), twice, "{two:?}");
    two.must_be_a_no("two lines");
    counter.still_sells().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v7_payloads_of_wrong_types_and_amounts_are_refused() {
    let counter = Counter::open().await;
    let malformed = (400, "malformed-credential");
    let good = counter.wallet.voucher(PRICE * 2);
    for amount in [
        "",
        "-1",
        "+200",
        " 200",
        "0200",
        "2e2",
        "0xc8",
        "200.0",
        "two",
        &"9".repeat(10_000),
        "340282366920938463463374607431768211456",
    ] {
        let mut payload = good.clone();
        payload["cumulativeAmount"] = json!(amount);
        counter.refused_payload(amount, &payload, malformed).await;
    }
    for (field, value) in [
        ("cumulativeAmount", json!(200)),
        ("cumulativeAmount", json!(null)),
        ("action", json!("steal")),
        ("action", json!(1)),
        ("channelId", json!("0x12")),
        ("channelId", json!(["0x12"])),
        ("signature", json!(5)),
        ("signature", json!("0xzz")),
        ("deposit", json!({ "action": "topUp" })),
    ] {
        let mut payload = good.clone();
        payload[field] = value.clone();
        counter
            .refused_payload(&format!("{field} = {value}"), &payload, malformed)
            .await;
    }
    for field in ["action", "channelId", "cumulativeAmount", "signature"] {
        let mut payload = good.clone();
        payload.as_object_mut().unwrap().remove(field);
        counter
            .refused_payload(&format!("no {field}"), &payload, malformed)
            .await;
    }
    counter.still_sells().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v2_a_challenge_that_was_changed_or_is_of_another_place_is_unknown() {
    let counter = Counter::open().await;
    let unknown = (402, "challenge-not-found");
    let voucher = counter.wallet.voucher(PRICE * 2);
    let challenge = counter.wallet.challenge(Method::GET, &counter.url).await;
    let request: SessionRequest =
        SessionRequest::decode(challenge["request"].as_str().unwrap(), None).unwrap();
    let request = |change: &dyn Fn(&mut SessionRequest)| {
        let mut request = request.clone();
        change(&mut request);
        request.encode(AddressSpelling::Checksummed).unwrap()
    };
    let another = Address::repeat_byte(0xbb);
    let requests = [
        (
            "another price",
            request(&|request| request.amount = weir_core::Amount::new(1)),
        ),
        ("another token", request(&|request| request.currency = another)),
        ("another payee", request(&|request| request.recipient = another)),
        (
            "another escrow",
            request(&|request| request.method_details.escrow_contract = another),
        ),
        (
            "another chain",
            request(&|request| request.method_details.chain_id = 1),
        ),
    ];
    for (name, request) in requests {
        let mut changed = challenge.clone();
        changed["request"] = json!(request);
        counter
            .refused(name, &credential(&changed, &voucher), unknown)
            .await;
    }
    for (field, value) in [
        ("id", json!(b64::encode([7; 32]))),
        ("id", json!("guessed")),
        ("id", json!("")),
        ("realm", json!("elsewhere")),
        ("method", json!("tempo")),
        ("intent", json!("charge")),
        ("expires", json!("2099-01-01T00:00:00Z")),
        ("expires", json!(null)),
        ("digest", json!("sha-256=:AA==:")),
        (
            "opaque",
            json!(b64::encode(
                r#"{"n":"AAAAAAAAAAAAAAAAAAAAAA","route":"/v1/answer"}"#
            )),
        ),
    ] {
        let mut changed = challenge.clone();
        changed[field] = value;
        counter
            .refused(
                &format!("another {field}"),
                &credential(&changed, &voucher),
                unknown,
            )
            .await;
    }
    let elsewhere = format!("{}/v1/steps", counter.daemon.gateway);
    let elsewhere = counter.wallet.challenge(Method::GET, &elsewhere).await;
    counter
        .refused("of another route", &credential(&elsewhere, &voucher), unknown)
        .await;

    // Two routes of one path have two prices: the cheap one's challenge does not buy from the dear one.
    let dear = format!("{}/v1/dear", counter.daemon.gateway);
    let cheap = counter.wallet.credential(Method::GET, &dear, &voucher).await;
    let books = counter.books().await;
    let said = counter
        .wallet
        .http
        .post(&dear)
        .header(AUTHORIZATION, cheap)
        .body("why");
    let said = Said::read(said.send().await.unwrap()).await;
    assert_eq!(
        (said.status, said.problem().as_str()),
        unknown,
        "of another method: {said:?}"
    );
    assert_eq!(counter.books().await, books);

    // The untouched challenge was spent by none of this.
    let said = counter
        .wallet
        .send(Method::GET, &counter.url, Some(&credential(&challenge, &voucher)))
        .await;
    assert_eq!(said.status, 200, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v6_an_expired_challenge_is_refused() {
    let counter = Counter::open().await;
    let live = counter.wallet.challenge(Method::GET, &counter.url).await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let signed = |expires: u64| signed_until(&live, expires);
    let voucher = counter.wallet.voucher(PRICE * 2);
    for expires in [1, now - 3_600, now] {
        let said = counter
            .refused(
                "expired",
                &credential(&signed(expires), &voucher),
                (402, "challenge-not-found"),
            )
            .await;
        assert!(said.body.contains("expired"), "{said:?}");
    }
    let said = counter
        .wallet
        .send(
            Method::GET,
            &counter.url,
            Some(&credential(&signed(now + 60), &voucher)),
        )
        .await;
    assert_eq!(said.status, 200, "the same secret, unexpired: {said:?}");
}
