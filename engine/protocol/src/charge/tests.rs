//! What must hold of charges.

use super::judge::Lands;
use super::proof::{proof_digests, prove};
use super::*;
use crate::challenge::Challenge;
use crate::opaque::Opaque;
use crate::rails::Seen;
use crate::secrets::{ChallengeSecret, Secrets, Unbound, VerifiedChallenge};
use alloy_primitives::b256;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_core::{Amount, UnixSeconds};

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
const CHAIN: u64 = 1_337;
const PAYER: Address = Address::repeat_byte(1);
const SELLER: Address = Address::repeat_byte(2);
const TOKEN: Address = Address::repeat_byte(3);
const MEMO: B256 = B256::repeat_byte(4);
/// What mppx 0.11.0's `Attribution.encode` makes of the realm `api.example.com`, a client `c` and the id `x7Tg`.
const MPPX_MEMO: B256 = b256!("0xef1ed712011ece072f76bd8b82350e0b42b6393c1f53060fe3bb136ed7c847ae");

fn rules(method: &str) -> &'static ChargeRules {
    charge_rules(method).unwrap()
}

pub(crate) fn offer(amount: u128) -> ChargeRequest {
    ChargeRequest {
        amount: Amount::new(amount),
        currency: TOKEN,
        recipient: SELLER,
        method_details: ChargeDetails {
            chain_id: CHAIN,
            memo: Some(MEMO),
            permit2_address: None,
            permit2_spender: None,
            credential_types: None,
        },
    }
}

fn challenge() -> VerifiedChallenge {
    let secrets = Secrets::new(ChallengeSecret::new([7; 32]).unwrap());
    let unbound = Unbound {
        realm: "api.example.com".into(),
        method: "tempo".into(),
        intent: "charge".into(),
        request: offer(100).encode(AddressSpelling::Lowercase).unwrap(),
        expires: NOW.after(300),
        digest: None,
        description: None,
        opaque: Opaque::new([0; 16], "GET /v1/answer"),
    };
    secrets.verify(secrets.sign(unbound).unwrap(), NOW).unwrap()
}

fn transfer() -> TransferSeen {
    TransferSeen {
        token: TOKEN,
        from: PAYER,
        to: SELLER,
        amount: Amount::new(100),
        memo: Some(MEMO),
        authorized: None,
    }
}

fn judged(method: &str, transfers: &[TransferSeen], lands: Lands) -> Result<Address, ChargeRefusal> {
    let seen = Seen::Payment(PaymentSeen {
        chain_id: CHAIN,
        sender: None,
        transfers: transfers.to_vec(),
        lands,
    });
    let (challenge, offer) = (challenge(), offer(100));
    let judging = Judging {
        challenge: &challenge,
        offer: &offer,
        issued: NOW,
        payer: Some(PAYER),
    };
    judge(rules(method), &seen, judging)
}

fn claim(
    method: &str,
    amount: u128,
    source: Option<&str>,
    payload: &Value,
) -> Result<ChargeClaim, PayloadError> {
    let credential = Credential {
        challenge: challenge().challenge().clone(),
        source: source.map(str::to_owned),
        payload: payload.as_object().unwrap().clone(),
    };
    rules(method).claim(&credential, &offer(amount))
}

#[test]
fn a_payment_is_the_challenges_own_or_none() {
    let mined = Lands::At(NOW);
    let other = Address::repeat_byte(9);
    assert_eq!(judged("tempo", &[transfer()], mined), Ok(PAYER));
    for (wrong, why) in [
        (
            TransferSeen {
                token: other,
                ..transfer()
            },
            ChargeRefusal::Token,
        ),
        (
            TransferSeen {
                to: other,
                ..transfer()
            },
            ChargeRefusal::Recipient,
        ),
        (
            TransferSeen {
                amount: Amount::new(99),
                ..transfer()
            },
            ChargeRefusal::Amount,
        ),
        (
            TransferSeen {
                amount: Amount::new(101),
                ..transfer()
            },
            ChargeRefusal::Amount,
        ),
        (
            TransferSeen {
                memo: None,
                ..transfer()
            },
            ChargeRefusal::Memo,
        ),
        (
            TransferSeen {
                memo: Some(B256::ZERO),
                ..transfer()
            },
            ChargeRefusal::Memo,
        ),
        // Made by mppx for another challenge.
        (
            TransferSeen {
                memo: Some(MPPX_MEMO),
                ..transfer()
            },
            ChargeRefusal::Memo,
        ),
    ] {
        assert_eq!(judged("tempo", &[wrong], mined), Err(why), "{wrong:?}");
        assert_eq!(
            judged("tempo", &[wrong, transfer()], mined),
            Ok(PAYER),
            "among others"
        );
    }
    assert_eq!(judged("tempo", &[], mined), Err(ChargeRefusal::Token));
}

#[test]
fn our_memo_is_that_of_mppx_without_a_client() {
    let challenge = Challenge {
        id: "x7Tg".to_owned(),
        ..challenge().challenge().clone()
    };
    let mut expected = MPPX_MEMO;
    expected[15..25].fill(0);
    assert_eq!(attribution(&challenge), expected);
}

#[test]
fn threat_h8_a_memo_of_mppx_binds_to_one_challenge_of_one_server() {
    let challenge = challenge();
    let id = &challenge.challenge().id;
    let mut memo = MPPX_MEMO;
    memo[25..].copy_from_slice(&alloy_primitives::keccak256(id)[..7]);
    let paid = |memo: B256| {
        judged(
            "tempo",
            &[TransferSeen {
                memo: Some(memo),
                ..transfer()
            }],
            Lands::At(NOW),
        )
    };
    assert_eq!(paid(memo), Ok(PAYER));
    for byte in (0..15).chain(25..32) {
        let mut other = memo;
        other[byte] ^= 1;
        assert_eq!(paid(other), Err(ChargeRefusal::Memo), "byte {byte}");
    }
    // Bytes 15 to 25 say which client it was, which is nobody's business here.
    memo[20] ^= 1;
    assert_eq!(paid(memo), Ok(PAYER));
}

#[test]
fn what_is_to_be_sent_ends_with_its_challenge() {
    let expires = NOW.after(300);
    // As the draft has it, and as who counts the last second in has it.
    for in_time in [expires, expires.after(1)] {
        let judged = judged("tempo", &[transfer()], Lands::Before(Some(in_time)));
        assert_eq!(judged, Ok(PAYER));
    }
    for late in [None, Some(expires.after(2))] {
        let judged = judged("tempo", &[transfer()], Lands::Before(late));
        assert_eq!(judged, Err(ChargeRefusal::Outlasts), "{late:?}");
    }
}

#[test]
fn threat_h8_without_a_memo_a_payment_is_younger_than_its_challenge_and_the_sources_own() {
    let plain = TransferSeen {
        memo: None,
        ..transfer()
    };
    let at = |seconds: u64| Lands::At(UnixSeconds(NOW.0 - seconds));
    assert_eq!(judged("evm", &[plain], at(0)), Ok(PAYER));
    assert_eq!(
        judged("evm", &[plain], at(judge::MINED_EARLY_SECONDS_MAX)),
        Ok(PAYER)
    );
    let older = at(judge::MINED_EARLY_SECONDS_MAX + 1);
    assert_eq!(judged("evm", &[plain], older), Err(ChargeRefusal::TooOld));
    let stolen = TransferSeen {
        from: SELLER,
        ..plain
    };
    assert_eq!(judged("evm", &[stolen], at(0)), Err(ChargeRefusal::Payer));
}

#[test]
fn what_is_no_payment_says_why() {
    let (challenge, offer) = (challenge(), offer(100));
    let judging = Judging {
        challenge: &challenge,
        offer: &offer,
        issued: NOW,
        payer: None,
    };
    let other_chain = PaymentSeen {
        chain_id: 1,
        sender: None,
        transfers: vec![transfer()],
        lands: Lands::At(NOW),
    };
    for (seen, why, status) in [
        (Seen::Payment(other_chain), ChargeRefusal::Chain, 402),
        (Seen::Reverted, ChargeRefusal::Reverted, 402),
        (Seen::NotMined, ChargeRefusal::NotMined, 503),
        (
            Seen::Unreadable("is torn"),
            ChargeRefusal::Unreadable("is torn"),
            402,
        ),
        (Seen::Unfit("is odd"), ChargeRefusal::Unfit("is odd"), 402),
        (Seen::SomethingElse, ChargeRefusal::Token, 402),
        (Seen::Nothing, ChargeRefusal::Token, 402),
    ] {
        assert_eq!(judge(rules("tempo"), &seen, judging), Err(why));
        assert_eq!(Problem::from(&why).status(), status, "{why}");
    }
}

#[test]
fn payloads_are_read_by_method_and_amount() {
    let hash = format!("0x{}", "aB".repeat(32));
    let hashed = json!({ "type": "hash", "hash": hash });
    let raw = json!({ "type": "transaction", "signature": "0x76F901" });
    let signature = format!("0x{}1b", "11".repeat(64));
    let proof = json!({ "type": "proof", "signature": signature });
    let source = format!("did:pkh:eip155:{CHAIN}:{PAYER:#x}");
    let (source, not_accepted) = (Some(source.as_str()), Err(PayloadError::NotAccepted("type")));
    let mined = Ok(ChargeClaim::Mined(B256::repeat_byte(0xab)));
    assert_eq!(claim("tempo", 100, None, &hashed), mined);
    assert_eq!(claim("evm", 100, None, &hashed), mined);
    let bytes = vec![0x76, 0xf9, 0x01];
    assert_eq!(
        claim("tempo", 100, None, &raw),
        Ok(ChargeClaim::Raw(RawTransaction(bytes)))
    );
    assert_eq!(claim("evm", 100, None, &raw), not_accepted);
    let Ok(ChargeClaim::Proof { account, .. }) = claim("tempo", 0, source, &proof) else {
        panic!("no proof")
    };
    assert_eq!(account, PAYER);
    // A proof pays nothing, and nothing is paid by anything else.
    for (amount, payload) in [(100, &proof), (0, &hashed), (0, &raw)] {
        assert_eq!(claim("tempo", amount, source, payload), not_accepted, "{payload}");
    }
    let elsewhere = source.unwrap().replace("1337", "1");
    for wrong in [None, Some("did:key:z6Mk"), Some(elsewhere.as_str())] {
        assert_eq!(
            claim("tempo", 0, wrong, &proof),
            Err(PayloadError::Source),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_payload_that_is_wrong_is_402_in_a_charge() {
    let missing = claim("tempo", 100, None, &json!({}));
    let no_hash = claim("tempo", 100, None, &json!({ "type": "hash" }));
    let malformed = claim("tempo", 100, None, &json!({ "type": "hash", "hash": "0x12" }));
    let unsigned = json!({ "type": "proof", "signature": format!("0x{}", "00".repeat(65)) });
    let source = format!("did:pkh:eip155:{CHAIN}:{PAYER:#x}");
    for (claimed, kind) in [
        (missing, ProblemType::MalformedCredential),
        (no_hash, ProblemType::MalformedCredential),
        (malformed, ProblemType::MalformedCredential),
        (
            claim("tempo", 0, Some(&source), &unsigned),
            ProblemType::VerificationFailed,
        ),
    ] {
        let problem = payload_problem(&claimed.unwrap_err());
        assert_eq!((problem.status(), problem.kind()), (402, kind));
    }
}

#[test]
fn proofs_are_those_that_clients_sign() {
    // hashTypedData of viem 2.56.8 over mppx 0.11.0's types, and over the draft's.
    let known = Challenge {
        id: "x7Tg".into(),
        ..challenge().challenge().clone()
    };
    let account: Address = "0x742d35cc6634c0532925a3b844bc9e7595f8fe00".parse().unwrap();
    let expected = [
        b256!("0x98dddeb5e168213089948b3c5c5e86b61b8d2504f262bb2e0851d5b3cfe7a0a6"),
        b256!("0x07c481fc54b458d6d6bf1bf9e175421be9644ee7c6a71d68e5916dcec2f97f76"),
    ];
    assert_eq!(proof_digests(account, CHAIN, &known), expected);
    let bytes = [[0x11u8; 64].as_slice(), &[27]].concat();
    let signature = Signature::from_bytes(&bytes).unwrap();
    assert_eq!(
        prove(account, &signature, CHAIN, &known),
        Err(ChargeRefusal::Proof)
    );
}

#[test]
fn a_request_is_spelled_as_its_method_does() {
    let read = |spelling| {
        let written = offer(100).encode(spelling).unwrap();
        assert_eq!(ChargeRequest::decode(&written), Ok(offer(100)));
        Value::Object(crate::json::parse_object_b64(written.as_bytes(), 8_192).unwrap())
    };
    let expected = json!({
        "amount": "100", "currency": format!("{TOKEN:#x}"), "recipient": format!("{SELLER:#x}"),
        "methodDetails": { "chainId": CHAIN, "memo": MEMO.to_string() },
    });
    assert_eq!(read(AddressSpelling::Lowercase), expected);
    assert_eq!(
        read(AddressSpelling::Checksummed)["recipient"],
        SELLER.to_checksum(None)
    );
    let far = ChargeRequest {
        method_details: ChargeDetails {
            chain_id: u64::MAX,
            ..offer(1).method_details
        },
        ..offer(1)
    };
    assert!(far.encode(AddressSpelling::Lowercase).is_err());
}

#[test]
fn a_receipt_tells_what_its_method_does() {
    let receipt = |method| ChargeReceipt::new(rules(method), "0xab".into(), ("x7Tg", CHAIN), NOW);
    let tempo = json!({
        "method": "tempo", "reference": "0xab", "status": "success", "timestamp": "2023-11-14T22:13:20Z",
    });
    let mut evm = tempo.clone();
    evm["method"] = json!("evm");
    evm["challengeId"] = json!("x7Tg");
    evm["chainId"] = json!(CHAIN);
    for (method, expected) in [("tempo", tempo), ("evm", evm)] {
        let written = receipt(method).to_header().unwrap();
        let read = crate::json::parse_object_b64(written.as_bytes(), 8_192).unwrap();
        assert_eq!(Value::Object(read), expected);
        assert_eq!(
            ChargeReceipt::from_header(written.as_bytes()),
            Ok(receipt(method))
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text in ".{0,80}") {
        let _ = ChargeReceipt::from_header(&bytes);
        let _ = ChargeRequest::decode(&text);
        let _ = claim("tempo", 100, Some(&text), &json!({ "type": text, "hash": text, "signature": text }));
        let _ = claim("tempo", 0, Some(&text), &json!({ "type": "proof", "signature": text }));
    }
}
