//! What must hold of deposits that are signed for: what they say twice agrees, and what they are for is what is offered.

use crate::problem::{Problem, ProblemType};
use crate::rails::evm_session::tests::{credential, signature};
use crate::rails::{Action, EvmSession, JudgeRefusal, Judged, PayloadError, Rail, Seen};
use crate::request::{self, SessionRequest};
use alloy_primitives::{Address, B256};
use serde_json::{Value, json};
use weir_core::pull::{Leave, Pull, Purpose};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::{Amount, ChannelId, Domain, Terms};

const PAYER: Address = Address::repeat_byte(0xaa);
const SALT: B256 = B256::repeat_byte(0xef);
const CHANNEL: ChannelId = ChannelId(B256::repeat_byte(0xab));

pub(crate) fn offer() -> SessionRequest {
    let mut offer = request::tests::sample();
    let kinds = ["authorization", "permit2", "hash"];
    offer.method_details.credential_types = Some(kinds.map(str::to_owned).to_vec());
    offer
}

fn terms() -> Terms {
    Terms {
        payer: PAYER,
        payee: offer().recipient,
        token: offer().currency,
        authorized_signer: Address::ZERO,
        reserve: None,
    }
}

fn opened() -> ChannelId {
    let details = offer().method_details;
    let domain = Domain::new(EVM_DOMAIN_NAME, details.chain_id, details.escrow_contract);
    terms().channel_id(SALT, &domain)
}

fn pull(purpose: Purpose) -> Pull {
    Pull {
        from: PAYER,
        amount: Amount::new(5_000_000),
        purpose,
        leave: Leave::Eip3009 {
            valid_after: Default::default(),
            valid_before: Default::default(),
        },
    }
}

/// The authorisation of a deposit in either form.
fn authorization(kind: &str, purpose: Purpose) -> Value {
    if kind == "permit2" {
        let witness = match &purpose {
            Purpose::Open { terms, salt } => {
                json!({"payee": terms.payee, "salt": salt, "authorizedSigner": terms.authorized_signer})
            }
            Purpose::TopUp { channel, .. } => json!({"channelId": channel.to_string()}),
        };
        return json!({"from": PAYER, "permitted": {"token": offer().currency, "amount": "5000000"},
            "nonce": "7", "deadline": "1743523500", "witness": witness});
    }
    json!({"from": PAYER, "to": offer().method_details.escrow_contract, "value": "5000000", "validAfter": "0",
        "validBefore": "1743523500", "nonce": pull(purpose).bound_nonce()})
}

pub(crate) fn open(kind: &str) -> Value {
    let purpose = Purpose::Open {
        terms: terms(),
        salt: SALT,
    };
    json!({"action": "open", "type": kind, "channelId": opened().to_string(), "salt": SALT, "signature": signature(),
        "voucherSignature": signature(), "cumulativeAmount": "0", "authorization": authorization(kind, purpose)})
}

pub(crate) fn top_up(kind: &str) -> Value {
    let purpose = Purpose::TopUp {
        channel: CHANNEL,
        token: offer().currency,
        salt: SALT,
    };
    json!({"action": "topUp", "type": kind, "channelId": CHANNEL.to_string(), "salt": SALT, "signature": signature(),
        "additionalDeposit": "5000000", "authorization": authorization(kind, purpose)})
}

fn claim(payload: &Value) -> Result<Action, PayloadError> {
    let mut credential = credential(payload);
    credential.source = None;
    EvmSession.claim(&credential, &offer())
}

fn judge(payload: &Value) -> Result<Judged, JudgeRefusal> {
    EvmSession.judge(claim(payload).unwrap(), &Seen::Nothing, &offer())
}

#[test]
fn a_signed_deposit_is_judged_by_what_it_would_do() {
    for kind in super::KINDS {
        let Ok(Judged::Open {
            terms: of, deposit, ..
        }) = judge(&open(kind))
        else {
            panic!("not an open")
        };
        assert_eq!((of, deposit), (terms(), Amount::new(5_000_000)));
        let raised = judge(&top_up(kind));
        assert!(
            matches!(raised, Ok(Judged::TopUp { channel: CHANNEL, .. })),
            "{raised:?}"
        );
        let mut another = open(kind);
        another["channelId"] = json!(CHANNEL.to_string());
        assert_eq!(judge(&another), Err(JudgeRefusal::Channel));
    }
    // A hash is no deposit before the chain has been looked at.
    let mut mined = open("hash");
    mined["hash"] = json!(SALT);
    let action = EvmSession.claim(&credential(&mined), &offer()).unwrap();
    assert!(action.unpulled().is_none());
    assert_eq!(
        EvmSession.judge(action, &Seen::Nothing, &offer()),
        Err(JudgeRefusal::OtherDeed)
    );
}

#[test]
fn threat_t8_what_is_signed_for_another_purpose_is_not_pulled() {
    type Change = fn(&mut Value);
    let stranger = json!(Address::repeat_byte(9));
    let cases: [(&str, Value, Change, &str); 9] = [
        (
            "authorization",
            open("authorization"),
            |p| p["authorization"]["to"] = json!(Address::repeat_byte(9)),
            "authorization.to",
        ),
        (
            "authorization",
            open("authorization"),
            |p| p["authorization"]["nonce"] = json!(B256::repeat_byte(9)),
            "authorization.nonce",
        ),
        (
            "authorization",
            open("authorization"),
            |p| p["salt"] = json!(B256::repeat_byte(9)),
            "authorization.nonce",
        ),
        (
            "authorization",
            open("authorization"),
            |p| p["authorizedSigner"] = json!(Address::repeat_byte(9)),
            "authorization.nonce",
        ),
        (
            "authorization",
            top_up("authorization"),
            |p| p["channelId"] = json!(B256::repeat_byte(9)),
            "authorization.nonce",
        ),
        (
            "permit2",
            open("permit2"),
            |p| p["salt"] = json!(B256::repeat_byte(9)),
            "authorization.witness",
        ),
        (
            "permit2",
            open("permit2"),
            |p| p["authorization"]["witness"]["payee"] = json!(Address::repeat_byte(9)),
            "authorization.witness",
        ),
        (
            "permit2",
            top_up("permit2"),
            |p| p["channelId"] = json!(B256::repeat_byte(9)),
            "authorization.witness",
        ),
        (
            "permit2",
            open("permit2"),
            |p| p["authorization"]["permitted"]["token"] = json!(Address::repeat_byte(9)),
            "authorization.permitted.token",
        ),
    ];
    for (kind, mut payload, change, named) in cases {
        change(&mut payload);
        let error = claim(&payload).unwrap_err();
        assert_eq!(error, PayloadError::Disagrees(named), "{kind}");
        assert_eq!(Problem::from(&error).kind(), ProblemType::VerificationFailed);
    }
    let mut amount = top_up("authorization");
    amount["additionalDeposit"] = json!("5000001");
    assert_eq!(claim(&amount), Err(PayloadError::Disagrees("additionalDeposit")));
    let mut foreign = open("authorization");
    foreign["authorization"]["from"] = stranger;
    assert_eq!(
        claim(&foreign),
        Err(PayloadError::Disagrees("authorization.nonce"))
    );
}

#[test]
fn a_voucher_may_carry_its_deposit() {
    for kind in super::KINDS {
        let mut deposit = top_up(kind);
        deposit["action"] = json!("topUp");
        let mut voucher = json!({"action": "voucher", "channelId": CHANNEL.to_string(), "cumulativeAmount": "9",
            "signature": signature(), "deposit": deposit});
        let action = claim(&voucher).unwrap();
        assert!(matches!(action, Action::FundedVoucher { .. }) && action.unpulled().is_some());
        assert_eq!(action.channel(), CHANNEL);
        voucher["deposit"] = open(kind);
        voucher["channelId"] = json!(opened().to_string());
        let action = claim(&voucher).unwrap();
        assert!(matches!(action, Action::Open(_)) && action.unpulled().is_some());
        voucher["deposit"]["action"] = json!("close");
        assert_eq!(claim(&voucher), Err(PayloadError::UnknownAction));
        voucher["deposit"]["type"] = json!("hash");
        assert_eq!(claim(&voucher), Err(PayloadError::NotAccepted("type")));
    }
}

#[test]
fn every_missing_field_of_a_signed_deposit_is_named() {
    let cases = [
        (
            open("authorization"),
            vec!["authorization", "signature", "voucherSignature", "salt"],
        ),
        (
            open("permit2"),
            vec!["authorization", "signature", "voucherSignature", "salt"],
        ),
        (
            top_up("authorization"),
            vec!["authorization", "signature", "additionalDeposit", "salt"],
        ),
        (
            top_up("permit2"),
            vec!["authorization", "signature", "additionalDeposit"],
        ),
    ];
    for (payload, required) in cases {
        for field in required {
            let mut bad = payload.clone();
            bad.as_object_mut().unwrap().remove(field);
            assert_eq!(claim(&bad), Err(PayloadError::Missing(field)));
            bad[field] = json!(7);
            assert_eq!(claim(&bad), Err(PayloadError::Malformed(field)));
        }
        let inside: Vec<String> = payload["authorization"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        for field in inside {
            let mut bad = payload.clone();
            bad["authorization"].as_object_mut().unwrap().remove(&field);
            assert!(matches!(claim(&bad), Err(PayloadError::Missing(_))), "{field}");
        }
    }
    for number in ["", "01", "-1", "+1", "1e3", "0x1", " 1"] {
        let mut bad = open("authorization");
        bad["authorization"]["validBefore"] = json!(number);
        assert_eq!(
            claim(&bad),
            Err(PayloadError::Malformed("validBefore")),
            "{number:?}"
        );
    }
}
