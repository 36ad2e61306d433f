//! What a payer may sign for a charge, and what it must say.

use super::*;
use crate::charge::judge::{Lands, TransferSeen};
use crate::charge::{
    ChargeClaim, ChargeDetails, ChargeRefusal, PERMIT2, TYPE_PERMIT2, charge_rules, payload_problem,
};
use crate::credential::Credential;
use crate::problem::ProblemType;
use alloy_primitives::{U256, b256};
use serde_json::{Value, json};
use weir_core::draw::Spelling;
use weir_core::pull::permit2_separator;
use weir_core::{Amount, UnixSeconds};

const CHAIN: u64 = 1337;
const TOKEN: Address = Address::repeat_byte(0x70);
const PAYER: Address = Address::repeat_byte(0x11);
const SELLER: Address = Address::repeat_byte(0x22);
const SPENDER: Address = Address::repeat_byte(0x33);
/// `challengeHash` of mppx 0.11.0, and that of pympp 0.16.0, of the challenge below.
const MPPX_HASH: B256 = b256!("0x9f09da0dc31bec395d518da897e649c652e310ff092f76e6460714bcde942105");
const PYMPP_HASH: B256 = b256!("0x1c70a5ba95413873910edfaf50f226b3a4060d0096aa98795e350a3502d3ef93");

fn challenge(realm: &str) -> Challenge {
    Challenge {
        id: "x7Tg".into(),
        realm: realm.into(),
        method: "evm".into(),
        intent: "charge".into(),
        request: String::new(),
        expires: None,
        digest: None,
        description: None,
        opaque: None,
    }
}

fn offer(types: &[&str]) -> ChargeRequest {
    ChargeRequest {
        amount: Amount::new(100),
        currency: TOKEN,
        recipient: SELLER,
        method_details: ChargeDetails {
            chain_id: CHAIN,
            memo: None,
            permit2_address: Some(PERMIT2),
            permit2_spender: Some(SPENDER),
            credential_types: Some(types.iter().copied().map(str::to_owned).collect()),
        },
    }
}

fn signature() -> String {
    format!("0x{}1b", "11".repeat(64))
}

fn authorization() -> Value {
    json!({ "type": "authorization", "from": PAYER, "to": SELLER, "value": "100", "validAfter": "0",
        "validBefore": "1700000300", "nonce": MPPX_HASH, "signature": signature() })
}

fn permit() -> Value {
    json!({
        "type": "permit2",
        "permit": { "permitted": [{ "token": TOKEN, "amount": "100" }], "nonce": "7", "deadline": "1700000300" },
        "transferDetails": [{ "to": SELLER, "requestedAmount": "100" }],
        "witness": { "challengeHash": MPPX_HASH },
        "signature": signature(),
    })
}

fn claimed(payload: &Value, source: Option<Address>) -> Result<ChargeClaim, PayloadError> {
    let credential = Credential {
        challenge: challenge("api.example.com"),
        source: source.map(|payer| format!("did:pkh:eip155:{CHAIN}:{payer:#x}")),
        payload: payload.as_object().unwrap().clone(),
    };
    let offer = offer(&[TYPE_AUTHORIZATION, TYPE_PERMIT2, "hash"]);
    charge_rules("evm").unwrap().claim(&credential, &offer)
}

fn draw_of(payload: &Value, source: Option<Address>) -> Draw {
    let Ok(ChargeClaim::Signed(signed)) = claimed(payload, source) else {
        panic!("{payload}: {:?}", claimed(payload, source));
    };
    signed.draw
}

#[test]
fn a_challenge_is_named_as_the_draft_and_as_pympp_names_it() {
    assert_eq!(
        challenge_hashes(&challenge("api.example.com")),
        [MPPX_HASH, PYMPP_HASH]
    );
    // pympp 0.16.0's, of a realm with a quotation mark and a letter outside ASCII.
    let odd = b256!("0xdc6590f1e0f28fcde3ff6db6f547fdc8078d7eaa1b6669570040bfc9ca8f9839");
    assert_eq!(challenge_hashes(&challenge("a\"b\u{e9}"))[1], odd);
    for hash in [MPPX_HASH, PYMPP_HASH] {
        let mut payload = authorization();
        payload["nonce"] = json!(hash);
        assert_eq!(draw_of(&payload, None).binding, hash);
    }
}

#[test]
fn digests_are_those_that_clients_sign() {
    // hashTypedData of viem 2 over mppx 0.11.0's types, for a token of the name "Weir Dev USD".
    let separator = b256!("0x319691b4a5034b232c73723bd000af8144a314a096dc4c141f5508b23a9e77a2");
    let expected = b256!("0x737b4d62325702c9e130cf114abe89857c180ed01d33de5999689c1fbe628b89");
    let draw = draw_of(&authorization(), Some(PAYER));
    assert_eq!(draw.digest(separator, SPENDER, Spelling::Draft), expected);
    // The same of a permit, whose witness viem spells without a blank.
    let draw = draw_of(&permit(), Some(PAYER));
    let expected = b256!("0xcaf2eb2392b78d63f5f61b732bf5ff87c3a24b8eec6b6b8014d7adf9f19486fb");
    let separator = permit2_separator(CHAIN, PERMIT2);
    assert_eq!(draw.digest(separator, SPENDER, Spelling::Eip712), expected);
    assert_ne!(draw.digest(separator, SPENDER, Spelling::Draft), expected);
}

#[test]
fn threat_h8_what_is_signed_is_what_this_challenge_asks_for() {
    let other = json!(Address::repeat_byte(9));
    let word = json!(B256::repeat_byte(9));
    let cases: [(&str, Value, ProblemType); 8] = [
        ("/to", other.clone(), ProblemType::VerificationFailed),
        ("/value", json!("99"), ProblemType::VerificationFailed),
        ("/value", json!("101"), ProblemType::VerificationFailed),
        ("/nonce", word.clone(), ProblemType::VerificationFailed),
        ("/from", other.clone(), ProblemType::VerificationFailed),
        ("/from", json!(Address::ZERO), ProblemType::MalformedCredential),
        (
            "/validBefore",
            json!(1_700_000_300),
            ProblemType::MalformedCredential,
        ),
        ("/signature", json!("0x12"), ProblemType::MalformedCredential),
    ];
    let permits: [(&str, Value, ProblemType); 8] = [
        (
            "/permit/permitted/0/token",
            other.clone(),
            ProblemType::VerificationFailed,
        ),
        (
            "/permit/permitted/0/amount",
            json!("101"),
            ProblemType::VerificationFailed,
        ),
        ("/permit/permitted", json!([]), ProblemType::MalformedCredential),
        ("/transferDetails/0/to", other, ProblemType::VerificationFailed),
        (
            "/transferDetails/0/requestedAmount",
            json!("99"),
            ProblemType::VerificationFailed,
        ),
        ("/witness/challengeHash", word, ProblemType::VerificationFailed),
        ("/permit/nonce", json!("07"), ProblemType::MalformedCredential),
        (
            "/transferDetails",
            json!([{}, {}]),
            ProblemType::MalformedCredential,
        ),
    ];
    for (base, cases) in [(authorization(), cases), (permit(), permits)] {
        assert!(claimed(&base, Some(PAYER)).is_ok());
        for (place, value, kind) in cases {
            let mut payload = base.clone();
            *payload.pointer_mut(place).unwrap() = value;
            let problem = payload_problem(&claimed(&payload, Some(PAYER)).unwrap_err());
            assert_eq!((problem.status(), problem.kind()), (402, kind), "{place}");
        }
    }
    let mut named = permit();
    named["witness"]["externalId"] = json!("order 7");
    assert!(claimed(&named, Some(PAYER)).is_err());
    assert_eq!(claimed(&permit(), None), Err(PayloadError::Source));
}

#[test]
fn what_a_challenge_does_not_list_is_not_taken() {
    let credential = |payload: Value| Credential {
        challenge: challenge("api.example.com"),
        source: Some(format!("did:pkh:eip155:{CHAIN}:{PAYER:#x}")),
        payload: payload.as_object().unwrap().clone(),
    };
    let rules = charge_rules("evm").unwrap();
    for payload in [authorization(), permit()] {
        let claimed = rules.claim(&credential(payload), &offer(&["hash"]));
        assert_eq!(claimed, Err(PayloadError::NotAccepted("type")));
    }
}

#[test]
fn threat_h7_one_transaction_pays_what_it_was_signed_for_and_no_more() {
    let draw = draw_of(&authorization(), Some(PAYER));
    let made = TransferSeen {
        token: TOKEN,
        from: PAYER,
        to: SELLER,
        amount: Amount::new(100),
        memo: None,
        authorized: Some(MPPX_HASH),
    };
    let judged = |transfers: &[TransferSeen]| {
        let payment = PaymentSeen {
            chain_id: CHAIN,
            sender: None,
            transfers: transfers.to_vec(),
            lands: Lands::At(UnixSeconds(1_700_000_000)),
        };
        judge_drawn(&Seen::Payment(payment), &draw)
    };
    assert_eq!(judged(&[made]), Ok(()));
    // Another's nonce, or none at all, is another payment; this nonce to another, or for another sum, is not this one.
    let plain = TransferSeen {
        authorized: None,
        ..made
    };
    let foreign = TransferSeen {
        authorized: Some(PYMPP_HASH),
        ..made
    };
    assert_eq!(judged(&[plain, foreign]), Err(ChargeRefusal::Token));
    for other in [
        TransferSeen { to: PAYER, ..made },
        TransferSeen {
            amount: Amount::new(99),
            ..made
        },
    ] {
        assert_eq!(judged(&[plain, other]), Err(ChargeRefusal::Amount));
    }
    assert_eq!(judge_drawn(&Seen::NotMined, &draw), Err(ChargeRefusal::NotMined));
    // A permit tells nothing of itself; a transfer that an authorisation made is none of it.
    let permitted = Draw {
        leave: Leave::Permit2 {
            nonce: U256::from(7),
            deadline: U256::MAX,
        },
        ..draw.clone()
    };
    let payment = |transfer| PaymentSeen {
        chain_id: CHAIN,
        sender: None,
        transfers: vec![transfer],
        lands: Lands::At(UnixSeconds(1_700_000_000)),
    };
    assert_eq!(judge_drawn(&Seen::Payment(payment(plain)), &permitted), Ok(()));
    assert_eq!(
        judge_drawn(&Seen::Payment(payment(made)), &permitted),
        Err(ChargeRefusal::Token)
    );
}
