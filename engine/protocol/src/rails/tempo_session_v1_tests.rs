//! What must hold of `tempo`/`session` v1 payloads.

use super::super::RawTransaction;
use super::super::evm_session::tests::{credential, signature};
use super::*;
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::request;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_core::Amount;

fn open() -> Value {
    json!({
        "action": "open", "type": "transaction", "channelId": format!("0x{}", "Ab".repeat(32)),
        "transaction": "0x76F901", "signature": signature(), "cumulativeAmount": "100",
        "authorizedSigner": "0xaabbccddee11223344556677889900aabbccddee"
    })
}

fn claim(payload: &Value) -> Result<Action, PayloadError> {
    // Tempo clients may send no source: the transaction names its signer.
    let bare = Credential {
        source: None,
        ..credential(payload)
    };
    TempoSessionV1.claim(&bare, &request::tests::sample())
}

#[test]
fn an_open_and_a_top_up_bring_their_transaction() {
    let Action::Open(claimed) = claim(&open()).unwrap() else {
        panic!("not an open")
    };
    assert_eq!(
        claimed.funding,
        Funding::Raw(RawTransaction(vec![0x76, 0xf9, 0x01]))
    );
    assert_eq!(claimed.salt, None);
    let mut top_up = open();
    top_up["action"] = json!("topUp");
    assert_eq!(claim(&top_up), Err(PayloadError::Missing("additionalDeposit")));
    top_up["additionalDeposit"] = json!("7");
    let Action::TopUp(claimed) = claim(&top_up).unwrap() else {
        panic!("not a top-up")
    };
    assert_eq!(claimed.additional, Amount::new(7));
}

#[test]
fn transactions_are_bounded_and_never_printed() {
    let long = "00".repeat(TRANSACTION_BYTES_MAX + 1);
    for bad in ["0x", "76f901", "0x76f90", "0x76zz", &format!("0x{long}")] {
        let mut payload = open();
        payload["transaction"] = json!(bad);
        assert_eq!(claim(&payload), Err(PayloadError::Malformed("transaction")));
    }
    let mut other = open();
    other["type"] = json!("hash");
    assert_eq!(claim(&other), Err(PayloadError::NotAccepted("type")));
    assert!(!format!("{:?}", claim(&open())).contains("118, 249"), "threat K1");
}

#[test]
fn threat_v5_the_compact_form_is_normalised_to_the_one_that_is_kept() {
    let mut compact = open();
    compact["action"] = json!("voucher");
    let full = claim(&compact).unwrap();
    compact["signature"] = json!(format!("0x{}", "01".repeat(64)));
    assert_eq!(claim(&compact).unwrap(), full);
    compact["signature"] = json!(format!("0x{}", "01".repeat(63)));
    assert_eq!(claim(&compact), Err(PayloadError::Malformed("signature")));
}

#[test]
fn the_rail_follows_from_the_escrows_domain_name() {
    let method = |name| super::super::session_rail(name).map(|rail| rail.rules().method);
    assert_eq!(method("Tempo Stream Channel"), Some("tempo"));
    assert_eq!(method("EVM Payment Channel"), Some("evm"));
    let protocol = |name| super::super::session_rail(name).and_then(|rail| rail.rules().session_protocol);
    assert_eq!(protocol("Tempo Stream Channel"), Some("v1"));
    assert_eq!(protocol("TIP20 Channel Reserve"), Some("v2"));
    for other in ["", "TIP-20 Channel Reserve", "tempo stream channel"] {
        assert_eq!(method(other), None);
    }
}

#[test]
fn the_two_rails_differ_where_their_drafts_do() {
    let (tempo, evm) = (TempoSessionV1.rules(), super::super::EvmSession.rules());
    assert_eq!(tempo.lower_cumulative, LowerCumulative::Refused);
    assert_eq!(evm.lower_cumulative, LowerCumulative::Unchanged);
    assert_ne!(tempo.domain_name, evm.domain_name);
    assert_ne!(tempo.signature_forms, evm.signature_forms);
}

proptest! {
    #[test]
    fn arbitrary_fields_never_panic(action in "open|topUp|voucher|close", value in ".{0,70}", hex in "0x[0-9a-fA-F]{0,140}") {
        for field in ["type", "channelId", "transaction", "signature", "cumulativeAmount", "authorizedSigner"] {
            let mut payload = open();
            payload["action"] = json!(action);
            payload[field] = json!(value);
            let _ = claim(&payload);
            payload[field] = json!(hex);
            let _ = claim(&payload);
        }
    }
}
