//! What must hold of `tempo`/`session` v2 payloads, after mppx's own vectors.

use super::super::evm_session::tests::credential;
use super::super::{JudgeRefusal, Judged, OpenSeen, Seen};
use super::*;
use crate::request;
use serde_json::{Value, json};
use weir_core::Amount;

const VECTORS: &str = include_str!("../../../../contracts/vectors/reserve.json");

pub(crate) fn vectors() -> (Value, Vec<Value>) {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = file["vectors"].as_array().unwrap().clone();
    (file, vectors)
}

/// What the seller of a vector's channel offers.
pub(crate) fn offer(vector: &Value) -> SessionRequest {
    let (file, _) = vectors();
    let address = |value: &Value| value.as_str().unwrap().parse::<Address>().unwrap();
    let mut offer = request::tests::sample();
    offer.recipient = address(&vector["descriptor"]["payee"]);
    offer.currency = address(&vector["descriptor"]["token"]);
    offer.method_details.escrow_contract = address(&file["escrow"]);
    offer.method_details.chain_id = file["chainId"].as_u64().unwrap();
    offer.method_details.session_protocol = Some("v2".to_owned());
    offer.method_details.operator = Some(address(&vector["descriptor"]["operator"]));
    offer
}

/// The payload that mppx makes of a vector.
pub(crate) fn payload(action: &str, vector: &Value) -> Value {
    let mut payload = json!({
        "action": action, "channelId": vector["channelId"], "descriptor": vector["descriptor"],
        "cumulativeAmount": vector["cumulativeAmount"], "signature": vector["voucher"]["signature"]
    });
    if matches!(action, "open" | "topUp") {
        payload["type"] = json!("transaction");
        payload["transaction"] = vector["transaction"].clone();
    }
    if action == "topUp" {
        payload["additionalDeposit"] = json!("5");
    }
    payload
}

fn claim(payload: &Value, offer: &SessionRequest) -> Result<Action, PayloadError> {
    TempoSessionV2.claim(&credential(payload), offer)
}

#[test]
fn every_action_of_mppx_is_read_and_names_the_channel_that_its_descriptor_describes() {
    for vector in vectors().1 {
        for action in ["open", "topUp", "voucher", "close"] {
            let read = claim(&payload(action, &vector), &offer(&vector)).unwrap();
            let id = read.channel().to_string();
            assert_eq!(Value::from(id), vector["channelId"], "{action}");
        }
    }
}

#[test]
fn threat_v2_a_descriptor_of_another_channel_is_refused_whatever_field_differs() {
    let vector = &vectors().1[0];
    let other_word = format!("0x{}", "77".repeat(32));
    let other_address = format!("0x{}", "77".repeat(20));
    for action in ["open", "topUp", "voucher", "close"] {
        let good = payload(action, vector);
        for field in [
            "payer",
            "payee",
            "operator",
            "token",
            "salt",
            "authorizedSigner",
            "expiringNonceHash",
        ] {
            let is_word = matches!(field, "salt" | "expiringNonceHash");
            let mut bad = good.clone();
            bad["descriptor"][field] = json!(if is_word { &other_word } else { &other_address });
            assert_eq!(
                claim(&bad, &offer(vector)),
                Err(PayloadError::Descriptor),
                "{action} {field}"
            );
            bad["descriptor"][field] = json!(if is_word { &other_address } else { &other_word });
            assert_eq!(
                claim(&bad, &offer(vector)),
                Err(PayloadError::Malformed(field)),
                "{action}"
            );
            bad["descriptor"][field] = json!(7);
            assert_eq!(
                claim(&bad, &offer(vector)),
                Err(PayloadError::Malformed(field)),
                "{action}"
            );
            bad["descriptor"].as_object_mut().unwrap().remove(field);
            assert_eq!(
                claim(&bad, &offer(vector)),
                Err(PayloadError::Missing(field)),
                "{action}"
            );
        }
        let mut bad = good.clone();
        bad["channelId"] = json!(other_word);
        assert_eq!(
            claim(&bad, &offer(vector)),
            Err(PayloadError::Descriptor),
            "{action}"
        );
        bad["descriptor"] = json!([]);
        assert_eq!(
            claim(&bad, &offer(vector)),
            Err(PayloadError::Malformed("descriptor"))
        );
        bad.as_object_mut().unwrap().remove("descriptor");
        assert_eq!(
            claim(&bad, &offer(vector)),
            Err(PayloadError::Missing("descriptor"))
        );
        let mut elsewhere = offer(vector);
        elsewhere.method_details.chain_id += 1;
        assert_eq!(
            claim(&good, &elsewhere),
            Err(PayloadError::Descriptor),
            "{action}"
        );
        elsewhere = offer(vector);
        elsewhere.method_details.escrow_contract = Address::repeat_byte(1);
        assert_eq!(
            claim(&good, &elsewhere),
            Err(PayloadError::Descriptor),
            "{action}"
        );
    }
}

#[test]
fn threat_v7_amounts_of_more_than_96_bits_are_refused_by_name() {
    let vector = &vectors().1[0];
    let (most, above) = (
        RESERVE_AMOUNT_MAX.to_string(),
        (RESERVE_AMOUNT_MAX + 1).to_string(),
    );
    for (action, field) in [
        ("open", "cumulativeAmount"),
        ("voucher", "cumulativeAmount"),
        ("close", "cumulativeAmount"),
        ("topUp", "additionalDeposit"),
    ] {
        let mut payload = payload(action, vector);
        payload[field] = json!(most);
        assert!(claim(&payload, &offer(vector)).is_ok(), "{action}");
        payload[field] = json!(above);
        let refused = claim(&payload, &offer(vector));
        assert_eq!(refused, Err(PayloadError::Above96Bits(field)), "{action}");
    }
}

#[test]
fn a_close_may_carry_the_wish_to_close_and_nothing_that_is_none() {
    let vector = &vectors().1[0];
    let mut payload = payload("close", vector);
    let Ok(Action::Close(plain)) = claim(&payload, &offer(vector)) else {
        panic!("not a close")
    };
    assert_eq!(plain.authorization, None, "mppx 0.11 sends none");
    payload["closeSignature"] = vector["close"]["signature"].clone();
    let Ok(Action::Close(wished)) = claim(&payload, &offer(vector)) else {
        panic!("not a close")
    };
    assert_eq!(wished.voucher, plain.voucher);
    let spelled = format!(
        "0x{}",
        alloy_primitives::hex::encode(wished.authorization.unwrap().as_bytes())
    );
    assert_eq!(Value::from(spelled), vector["close"]["signature"]);
    for bad in [json!("0x12"), json!(1), json!("")] {
        payload["closeSignature"] = bad;
        let refused = claim(&payload, &offer(vector));
        assert_eq!(refused, Err(PayloadError::Malformed("closeSignature")));
    }
}

/// What the chain crate reads out of a vector's transaction.
fn seen(vector: &Value) -> OpenSeen {
    let field = |name: &str| vector["descriptor"][name].as_str().unwrap();
    let offer = offer(vector);
    OpenSeen {
        chain_id: offer.method_details.chain_id,
        escrow: offer.method_details.escrow_contract,
        terms: Terms {
            payer: field("payer").parse().unwrap(),
            payee: field("payee").parse().unwrap(),
            token: field("token").parse().unwrap(),
            authorized_signer: field("authorizedSigner").parse().unwrap(),
            reserve: Some(ReserveTerms {
                operator: field("operator").parse().unwrap(),
                salt: field("salt").parse().unwrap(),
                expiring_nonce_hash: field("expiringNonceHash").parse().unwrap(),
            }),
        },
        salt: field("salt").parse().unwrap(),
        deposit: Amount::new(1_000_000),
    }
}

#[test]
fn an_open_is_judged_by_what_the_transaction_binds() {
    for vector in vectors().1 {
        let action = claim(&payload("open", &vector), &offer(&vector)).unwrap();
        let judge = |seen: OpenSeen, offer: &SessionRequest| {
            TempoSessionV2.judge(action.clone(), &Seen::Open(seen), offer)
        };
        let good = judge(seen(&vector), &offer(&vector));
        assert!(matches!(good, Ok(Judged::Open { .. })), "{good:?}");
        // Whoever else may collect would be trusted by the payee's word alone.
        let mut trusts = offer(&vector);
        trusts.method_details.operator = Some(Address::repeat_byte(0x55));
        assert_eq!(judge(seen(&vector), &trusts), Err(JudgeRefusal::Operator));
        let mut replayed = seen(&vector);
        let reserve = replayed.terms.reserve.as_mut().unwrap();
        reserve.expiring_nonce_hash = B256::repeat_byte(1);
        assert_eq!(judge(replayed, &offer(&vector)), Err(JudgeRefusal::Channel));
    }
}

#[test]
fn no_operator_is_offered_unless_the_challenge_names_one() {
    let vector = &vectors().1[1];
    let action = claim(&payload("open", vector), &offer(vector)).unwrap();
    let mut names_none = offer(vector);
    names_none.method_details.operator = None;
    let refused = TempoSessionV2.judge(action, &Seen::Open(seen(vector)), &names_none);
    assert_eq!(refused, Err(JudgeRefusal::Operator));
}
