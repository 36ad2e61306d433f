//! What must hold of the table of fields: the rails and the charges answer as it says, and it leaves out no field that a
//! payload has. What only the chain or the books can tell, tests/e2e/fields.rs asks a daemon.

use super::*;
use crate::charge::{self, ChargeRequest, charge_rules, payload_problem};
use crate::credential::Credential;
use crate::problem::Problem;
use crate::rails::evm_session::tests::{credential, signature};
use crate::rails::signed::tests as signed;
use crate::rails::tempo_session_v2::tests as reserve;
use crate::rails::{EvmSession, Rail, Seen, TempoSessionV1, TempoSessionV2};
use crate::request::SessionRequest;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use weir_core::Amount;

/// The deeds whose foreign fields a daemon is asked about.
const AT_A_DAEMON: [&str; 12] = [
    "`evm`/`session` open, `hash`",
    "`evm`/`session` top-up, `hash`",
    "`evm`/`session` voucher",
    "`evm`/`session` close",
    "`tempo`/`session` v1 open",
    "`tempo`/`session` v1 top-up",
    "`tempo`/`session` v1 voucher",
    "`tempo`/`session` v1 close",
    "`tempo`/`session` v2 open",
    "`tempo`/`session` v2 top-up",
    "`tempo`/`session` v2 voucher",
    "`tempo`/`session` v2 close",
];

fn title(deed: &Deed) -> String {
    format!("{} {}", deed.way, deed.name)
}

fn word(byte: &str) -> String {
    format!("0x{}", byte.repeat(32))
}

/// A payload with nothing wrong, as far as that can be told without the chain.
fn good(deed: &Deed) -> Value {
    let vouchers = json!({"channelId": word("ab"), "cumulativeAmount": "250000", "signature": signature()});
    let with = |more: Value| {
        let mut all = vouchers.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let transaction = "0x76f901";
    let hash = word("cd");
    match (deed.way, deed.name) {
        (_, "open, `hash`") => {
            with(json!({"action": "open", "type": "hash", "hash": hash, "salt": word("ef")}))
        }
        (_, "top-up, `hash`") => json!({"action": "topUp", "type": "hash", "hash": hash,
            "channelId": word("ab"), "additionalDeposit": "5000000"}),
        (_, "open, `authorization`") => signed::open("authorization"),
        (_, "open, `permit2`") => signed::open("permit2"),
        (_, "top-up, `authorization`") => signed::top_up("authorization"),
        (_, "top-up, `permit2`") => signed::top_up("permit2"),
        (V2, name) => {
            let action = if name == "top-up" { "topUp" } else { name };
            let mut payload = reserve::payload(action, &reserve::vectors().1[0]);
            if action == "close" {
                payload["closeSignature"] = json!(signature());
            }
            if action == "topUp" {
                let fields = payload.as_object_mut().unwrap();
                fields.remove("cumulativeAmount");
                fields.remove("signature");
            }
            payload
        }
        (_, "open") => with(json!({"action": "open", "type": "transaction", "transaction": transaction})),
        (_, "top-up") => json!({"action": "topUp", "type": "transaction", "transaction": transaction,
            "channelId": word("ab"), "additionalDeposit": "5"}),
        (_, "voucher" | "close") => with(json!({"action": deed.name})),
        (_, "`authorization`") => {
            let bound = bound();
            json!({"type": "authorization", "from": format!("0x{}", "a1".repeat(20)), "to": bound.1.recipient,
                "value": "100", "validAfter": "0", "validBefore": "1700000300", "nonce": bound.0, "signature": signature()})
        }
        (_, "`permit2`") => {
            let bound = bound();
            json!({"type": "permit2", "signature": signature(), "witness": {"challengeHash": bound.0},
                "permit": {"permitted": [{"token": bound.1.currency, "amount": "100"}], "nonce": "7", "deadline": "1700000300"},
                "transferDetails": [{"to": bound.1.recipient, "requestedAmount": "100"}]})
        }
        (_, "`transaction`") => json!({"type": "transaction", "signature": transaction}),
        (_, "`proof`") => json!({"type": "proof", "signature": signature()}),
        (_, "`hash`") => json!({"type": "hash", "hash": hash}),
        other => panic!("no payload for {other:?}"),
    }
}

/// By what a signature names the challenge of these credentials, and what that asks for.
fn bound() -> (alloy_primitives::B256, ChargeRequest) {
    let challenge = credential(&json!({})).challenge;
    (
        charge::signed::challenge_hashes(&challenge)[0],
        charge::tests::offer(100),
    )
}

fn session_offer(deed: &Deed) -> SessionRequest {
    if deed.way == V2 {
        return reserve::offer(&reserve::vectors().1[0]);
    }
    signed::offer()
}

fn session_answer(deed: &Deed, credential: &Credential) -> Reply {
    let rail: &dyn Rail = match deed.way {
        EVM => &EvmSession,
        V1 => &TempoSessionV1,
        _ => &TempoSessionV2,
    };
    let offer = session_offer(deed);
    let action = match rail.claim(credential, &offer) {
        Ok(action) => action,
        Err(error) => return said(&Problem::from(&error)),
    };
    if rail.evidence(&action) != crate::rails::Evidence::None {
        return T;
    }
    match rail.judge(action, &Seen::Nothing, &offer) {
        Ok(_) => T,
        Err(refusal) => said(&rail.rules().problem(&refusal)),
    }
}

fn charge_answer(deed: &Deed, credential: &Credential) -> Reply {
    let method = if deed.way.contains("tempo") {
        "tempo"
    } else {
        "evm"
    };
    let amount = Amount::new(if deed.name == "`proof`" { 0 } else { 100 });
    let offer = ChargeRequest {
        amount,
        ..charge::tests::offer(100)
    };
    match charge_rules(method).unwrap().claim(credential, &offer) {
        Ok(_) => T,
        Err(error) => said(&payload_problem(&error)),
    }
}

fn said(problem: &Problem) -> Reply {
    Reply::No(problem.status(), problem.kind())
}

/// What is answered to this payload, as far as the payload alone decides.
fn answer(deed: &Deed, payload: &Value, source: Option<String>) -> Reply {
    let credential = Credential {
        source,
        ..credential(payload)
    };
    if deed.way.contains("session") {
        session_answer(deed, &credential)
    } else {
        charge_answer(deed, &credential)
    }
}

fn source(deed: &Deed) -> Option<String> {
    let chain_id = if deed.way.contains("session") {
        session_offer(deed).method_details.chain_id
    } else {
        charge::tests::offer(100).method_details.chain_id
    };
    Some(format!("did:pkh:eip155:{chain_id}:0x{}", "a1".repeat(20)))
}

fn pointer(field: &str) -> String {
    format!("/{}", field.replace('.', "/"))
}

/// Puts another value in the place of a field; `None` takes it away.
fn put(payload: &mut Value, field: &str, value: Option<Value>) {
    let (parent, name) = field.rsplit_once('.').unwrap_or(("", field));
    let parent = if parent.is_empty() {
        String::new()
    } else {
        pointer(parent)
    };
    let object = payload.pointer_mut(&parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(name.to_owned(), value),
        None => object.remove(name),
    };
}

/// Values that are none, for a field that holds something like this.
fn malformed(good: Option<&Value>) -> Vec<Value> {
    let mut all = vec![json!(7), json!(true), json!([]), json!("")];
    match good.and_then(Value::as_str) {
        // An object, or an address that is left out.
        None => all.extend([json!("0x12"), json!("nonsense")]),
        Some(text) => {
            all.push(json!({"is": text}));
            all.push(json!(format!(" {text}")));
            if let Some(digits) = text.strip_prefix("0x") {
                let upper = format!("0X{digits}");
                let odd = &text[..text.len() - 1];
                all.extend([json!(digits), json!(upper), json!(odd), json!("0xzz")]);
            } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
                let many = "9".repeat(100);
                all.extend(["-1", "+1", "01", "1.0", "1e3", "0x1", &many].map(Value::from));
            } else {
                all.extend([json!(text.to_uppercase()), json!("steal")]);
            }
        }
    }
    all
}

/// Whole, and of something else.
fn foreign(good: Option<&Value>) -> Value {
    match good.and_then(Value::as_str) {
        Some(text) if text.starts_with("0x") && text.len() == 66 => json!(word("77")),
        Some(text) if text.starts_with("0x") && text.len() == 132 => {
            json!(format!("0x{}1b", "02".repeat(64)))
        }
        Some(text) if text.starts_with("0x") && text.len() != 42 => json!("0x76f902"),
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => json!("77"),
        _ => json!(format!("0x{}", "77".repeat(20))),
    }
}

#[test]
fn every_deed_is_taken_while_nothing_is_wrong_whatever_the_case_of_its_digits() {
    for deed in DEEDS {
        let payload = good(deed);
        assert_eq!(answer(deed, &payload, source(deed)), T, "{}", title(deed));
        let loud = payload.to_string().replace("0x", "0X").to_uppercase();
        let loud: Value = serde_json::from_str(&loud.replace("0X", "0x")).unwrap();
        for field in deed.fields() {
            let upper = field.field.to_uppercase();
            let Some(value) = loud.pointer(&pointer(&upper)).and_then(Value::as_str) else {
                continue;
            };
            if value.starts_with("0x") {
                let mut cased = payload.clone();
                put(&mut cased, field.field, Some(json!(value)));
                assert_eq!(
                    answer(deed, &cased, source(deed)),
                    T,
                    "{} {}",
                    title(deed),
                    field.field
                );
            }
        }
    }
}

#[test]
fn every_field_that_is_missing_or_malformed_is_answered_as_the_table_says() {
    for deed in DEEDS {
        for row in deed.fields() {
            let name = format!("{} {}", title(deed), row.field);
            if row.field == "source" {
                assert_eq!(answer(deed, &good(deed), None), row.missing, "no {name}");
                for bad in ["", "0x12", "did:pkh:eip155:x:0x12", "did:pkh:eip155:9:0x12"] {
                    let said = answer(deed, &good(deed), Some(bad.to_owned()));
                    assert_eq!(said, row.malformed, "{name} = {bad}");
                }
                continue;
            }
            for none in [None, Some(Value::Null)] {
                let mut payload = good(deed);
                put(&mut payload, row.field, none);
                assert_eq!(answer(deed, &payload, source(deed)), row.missing, "no {name}");
            }
            for bad in malformed(good(deed).pointer(&pointer(row.field))) {
                let mut payload = good(deed);
                put(&mut payload, row.field, Some(bad.clone()));
                let said = answer(deed, &payload, source(deed));
                assert_eq!(said, row.malformed, "{name} = {bad}");
            }
        }
    }
}

#[test]
fn threat_v2_every_foreign_field_is_answered_as_the_table_says_where_the_payload_tells() {
    let mut told = 0;
    for deed in DEEDS {
        for row in deed.fields() {
            let Some(expected) = row.foreign else { continue };
            let mut payload = good(deed);
            let other = foreign(payload.pointer(&pointer(row.field)));
            if row.field != "source" {
                put(&mut payload, row.field, Some(other));
            }
            let said = answer(deed, &payload, source(deed));
            if said == T {
                let asked = AT_A_DAEMON.contains(&title(deed).as_str());
                assert!(asked, "{} {}: nobody finds out", title(deed), row.field);
            } else {
                assert_eq!(said, expected, "{} {}", title(deed), row.field);
                told += 1;
            }
        }
    }
    assert!(told > 30, "only {told} were told by the payload");
}

/// The names of all fields below a value.
fn names(value: &Value, above: &str, into: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = format!("{above}{name}");
        names(value, &format!("{name}."), into);
        into.insert(name);
    }
}

#[test]
fn no_field_of_a_payload_is_left_out() {
    for deed in DEEDS {
        let mut there = BTreeSet::new();
        names(&good(deed), "", &mut there);
        let told: BTreeSet<String> = deed.fields().map(|row| row.field.to_owned()).collect();
        let left: Vec<_> = there.difference(&told).collect();
        // A top-up by Permit2 has no salt to be bound to.
        let known = if title(deed).ends_with("top-up, `permit2`") {
            vec!["salt"]
        } else {
            vec![]
        };
        assert_eq!(left, known, "{}", title(deed));
        assert_eq!(
            told.len(),
            deed.fields().count(),
            "{}: a field twice",
            title(deed)
        );
    }
}

#[test]
fn a_signature_of_the_right_length_that_is_none_is_told_so() {
    for (way, kind) in [
        (EVM, ProblemType::InvalidSignature),
        ("`tempo`/`charge`", ProblemType::VerificationFailed),
    ] {
        let deed = DEEDS
            .iter()
            .find(|deed| deed.way == way && matches!(deed.name, "voucher" | "`proof`"))
            .unwrap();
        for none in [
            format!("0x{}05", "01".repeat(64)),
            format!("0x{}1b", "ff".repeat(64)),
        ] {
            let mut payload = good(deed);
            payload["signature"] = json!(none);
            assert_eq!(
                answer(deed, &payload, source(deed)),
                Reply::No(402, kind),
                "{none}"
            );
        }
    }
}

#[test]
fn what_the_table_refuses_with_is_what_the_problems_say() {
    use crate::problem::PROBLEMS;
    for deed in DEEDS {
        let rows = deed
            .fields()
            .flat_map(|row| [Some(row.missing), Some(row.malformed), row.foreign]);
        for reply in rows.flatten().chain([deed.again, deed.expired]) {
            let Reply::No(status, kind) = reply else { continue };
            let row = PROBLEMS[kind as usize];
            let said = row.status == status || row.when.contains(&status.to_string());
            assert!(said, "{kind:?} comes with {status}, which its row does not say");
        }
    }
}
