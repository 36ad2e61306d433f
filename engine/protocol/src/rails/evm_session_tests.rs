//! What must hold of `evm`/`session` payloads.

use super::*;
use crate::challenge::Challenge;
use crate::delivery::ActionKind;
use crate::problem::{Problem, ProblemType};
use crate::request;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_core::signature::SignatureError;
use weir_core::{Amount, Cumulative};

/// A credential with this payload, from the account 0xaabb… on the sample offer's chain.
pub(crate) fn credential(payload: &Value) -> Credential {
    let challenge = json!({"id": "a", "realm": "b", "method": "c", "intent": "d", "request": "e"});
    Credential {
        challenge: serde_json::from_value::<Challenge>(challenge).unwrap(),
        source: Some("did:pkh:eip155:196:0xAABBccddee11223344556677889900aabbccddee".into()),
        payload: payload.as_object().unwrap().clone(),
    }
}

/// 65 canonical bytes in hexadecimal.
pub(crate) fn signature() -> String {
    format!("0x{}1B", "01".repeat(64))
}

fn open() -> Value {
    json!({
        "action": "open", "type": "hash", "channelId": format!("0x{}", "Ab".repeat(32)),
        "hash": format!("0x{}", "cd".repeat(32)), "cumulativeAmount": "0", "signature": signature(),
        "authorizedSigner": "0x742D35cc6634c0532925a3b844bc9e7595f8fe00",
        "salt": format!("0x{}", "ef".repeat(32)), "later": [1, 2]
    })
}

fn top_up() -> Value {
    json!({
        "action": "topUp", "type": "hash", "channelId": format!("0x{}", "ab".repeat(32)),
        "hash": format!("0x{}", "cd".repeat(32)), "additionalDeposit": "5000000"
    })
}

fn voucher() -> Value {
    json!({
        "action": "voucher", "channelId": format!("0x{}", "ab".repeat(32)),
        "cumulativeAmount": "250000", "signature": signature()
    })
}

fn claim(payload: &Value) -> Result<Action, PayloadError> {
    EvmSession.claim(&credential(payload), &request::tests::sample())
}

#[test]
fn the_four_actions_are_read() {
    let Action::Open(claimed) = claim(&open()).unwrap() else {
        panic!("not an open")
    };
    assert!(claimed.voucher.cumulative().is_zero());
    assert!(claimed.salt.is_some() && claimed.authorized_signer.is_some());
    let Funding::Mined { payer, .. } = claimed.funding else {
        panic!("not mined")
    };
    assert!(format!("{payer:#x}").starts_with("0xaabbccddee"));

    let Action::TopUp(claimed) = claim(&top_up()).unwrap() else {
        panic!("not a top-up")
    };
    assert_eq!(claimed.additional, Amount::new(5_000_000));

    let Action::Voucher(claimed) = claim(&voucher()).unwrap() else {
        panic!("not a voucher")
    };
    assert_eq!(claimed.cumulative(), Cumulative::new(250_000));
    let mut close = voucher();
    close["action"] = json!("close");
    let action = claim(&close).unwrap();
    assert_eq!(
        (action.kind(), action.channel()),
        (ActionKind::Close, claimed.channel())
    );
}

#[test]
fn every_missing_field_is_named_and_answered_with_400() {
    let cases = [
        (
            open(),
            vec![
                "action",
                "type",
                "channelId",
                "hash",
                "cumulativeAmount",
                "signature",
                "salt",
            ],
        ),
        (
            top_up(),
            vec!["action", "type", "channelId", "hash", "additionalDeposit"],
        ),
        (
            voucher(),
            vec!["action", "channelId", "cumulativeAmount", "signature"],
        ),
    ];
    for (payload, required) in cases {
        for field in required {
            let mut bad = payload.clone();
            bad.as_object_mut().unwrap().remove(field);
            let error = claim(&bad).unwrap_err();
            assert_eq!(error, PayloadError::Missing(field));
            let problem = Problem::from(&error);
            assert_eq!(
                (problem.kind(), problem.status()),
                (ProblemType::MalformedCredential, 400)
            );
            bad[field] = json!({"not": "a string"});
            assert_eq!(claim(&bad), Err(PayloadError::Malformed(field)));
        }
    }
}

#[test]
fn threat_v7_amounts_have_one_spelling() {
    for amount in [
        "",
        "01",
        "+1",
        "-1",
        " 1",
        "1 ",
        "1e3",
        "1.0",
        "0x1",
        "340282366920938463463374607431768211456",
    ] {
        let mut bad = voucher();
        bad["cumulativeAmount"] = json!(amount);
        assert_eq!(
            claim(&bad),
            Err(PayloadError::Malformed("cumulativeAmount")),
            "{amount:?}"
        );
    }
    let mut number = voucher();
    number["cumulativeAmount"] = json!(250_000);
    assert_eq!(claim(&number), Err(PayloadError::Malformed("cumulativeAmount")));
}

#[test]
fn threat_v5_a_signature_is_65_canonical_bytes() {
    let body = "01".repeat(32);
    let cases = [
        (
            format!("0x{}", "01".repeat(64)),
            PayloadError::Malformed("signature"),
        ),
        (
            format!("0x{}", "01".repeat(66)),
            PayloadError::Malformed("signature"),
        ),
        ("0x".to_owned(), PayloadError::Malformed("signature")),
        ("01".repeat(65), PayloadError::Malformed("signature")),
        (
            format!("0x{body}{body}00"),
            PayloadError::Signature(SignatureError::RecoveryId),
        ),
        (
            format!("0x{body}{}1b", "ef".repeat(32)),
            PayloadError::Signature(SignatureError::HighS),
        ),
        (
            format!("0x{}{body}1b", "00".repeat(32)),
            PayloadError::Signature(SignatureError::Range),
        ),
    ];
    for (signature, why) in cases {
        let mut bad = voucher();
        bad["signature"] = json!(signature);
        assert_eq!(claim(&bad), Err(why), "{signature}");
    }
    let invalid = Problem::from(&PayloadError::Signature(SignatureError::HighS));
    assert_eq!(
        (invalid.kind(), invalid.status()),
        (ProblemType::InvalidSignature, 402)
    );
}

#[test]
fn only_offered_formats_are_accepted() {
    for kind in ["authorization", "permit2", "transaction", ""] {
        for mut payload in [open(), top_up()] {
            payload["type"] = json!(kind);
            assert_eq!(
                claim(&payload),
                Err(PayloadError::NotAccepted("type")),
                "{kind:?}"
            );
        }
    }
    let mut offer = request::tests::sample();
    offer.method_details.credential_types = Some(vec!["permit2".into()]);
    assert_eq!(
        EvmSession.claim(&credential(&open()), &offer),
        Err(PayloadError::NotAccepted("type"))
    );
    let mut merged = voucher();
    merged["deposit"] = json!({"action": "topUp"});
    assert_eq!(claim(&merged), Err(PayloadError::NotAccepted("deposit")));
    let mut unknown = voucher();
    unknown["action"] = json!("Voucher");
    assert_eq!(claim(&unknown), Err(PayloadError::UnknownAction));
}

#[test]
fn a_hash_needs_a_source_on_the_challenges_chain() {
    let sources = [
        None,
        Some("did:key:z6Mk"),
        Some("did:pkh:eip155:1:0xaabbccddee11223344556677889900aabbccddee"),
    ];
    for source in sources {
        let source = source.map(str::to_owned);
        for payload in [open(), top_up()] {
            let bad = Credential {
                source: source.clone(),
                ..credential(&payload)
            };
            assert_eq!(
                EvmSession.claim(&bad, &request::tests::sample()),
                Err(PayloadError::Source)
            );
        }
        let plain = Credential {
            source,
            ..credential(&voucher())
        };
        assert!(
            EvmSession.claim(&plain, &request::tests::sample()).is_ok(),
            "vouchers need none"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_fields_never_panic(
        action in "open|topUp|voucher|close|.{0,5}", name in "[a-zA-Z]{0,12}", value in ".{0,70}", hex in "0x[0-9a-fA-F]{0,132}",
    ) {
        for mut payload in [open(), top_up(), voucher()] {
            payload["action"] = json!(action);
            payload[&name] = json!(value);
            let _ = claim(&payload);
            for field in ["channelId", "hash", "signature", "salt", "authorizedSigner"] {
                payload[field] = json!(hex);
                let _ = claim(&payload);
            }
        }
    }
}
