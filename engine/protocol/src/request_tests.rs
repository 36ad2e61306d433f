//! What must hold of requests; the sample serves the rails' tests too.

use super::*;
use crate::b64;
use alloy_primitives::B256;
use proptest::prelude::*;
use serde_json::json;
use weir_core::{ReserveTerms, Terms};

/// A request for 100 base units on chain 196.
pub(crate) fn sample() -> SessionRequest {
    SessionRequest {
        amount: Amount::new(100),
        currency: hex::address("0x74b7F16337b8972027F6196A17a631ac6dE26d22").unwrap(),
        recipient: hex::address("0x742d35cc6634c0532925a3b844bc9e7595f8fe00").unwrap(),
        unit_type: Some("llm_token".into()),
        suggested_deposit: Some(Amount::new(5_000_000)),
        description: None,
        external_id: None,
        method_details: MethodDetails {
            escrow_contract: hex::address("0x1234567890abcdef1234567890abcdef12345678").unwrap(),
            chain_id: 196,
            session_protocol: None,
            fee_payer: None,
            min_voucher_delta: Some(Amount::new(10_000)),
            channel_id: None,
            credential_types: Some(vec!["hash".into()]),
            permit2_contract: None,
            operator: None,
            fee_token: None,
            session_snapshot: None,
        },
    }
}

#[test]
fn the_wire_form_is_canonical_and_leaves_out_what_is_unset() {
    let wire = sample().encode(AddressSpelling::Lowercase).unwrap();
    let text = String::from_utf8(b64::decode(&wire).unwrap()).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"amount":"100","currency":"0x74b7f16337b8972027f6196a17a631ac6de26d22","#,
            r#""methodDetails":{"chainId":196,"credentialTypes":["hash"],"#,
            r#""escrowContract":"0x1234567890abcdef1234567890abcdef12345678","minVoucherDelta":"10000"},"#,
            r#""recipient":"0x742d35cc6634c0532925a3b844bc9e7595f8fe00","#,
            r#""suggestedDeposit":"5000000","unitType":"llm_token"}"#
        )
    );
    let checksummed = sample().encode(AddressSpelling::Checksummed).unwrap();
    assert_ne!(checksummed, wire);
    assert_eq!(
        SessionRequest::decode(&wire, None),
        SessionRequest::decode(&checksummed, None)
    );
}

#[test]
fn checksums_are_those_of_eip_55() {
    let spelled = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let mut request = sample();
    request.recipient = hex::address(&spelled.to_lowercase()).unwrap();
    let wire = request.encode(AddressSpelling::Checksummed).unwrap();
    assert!(
        String::from_utf8(b64::decode(wire).unwrap())
            .unwrap()
            .contains(spelled)
    );
}

#[test]
fn the_drafts_examples_are_read() {
    let example = json!({
        "amount": "25", "unitType": "llm_token", "unknown": {"is": "ignored"},
        "currency": "0xA8CE8aee21bC2A48a5EF670afCc9274C7bbbC035",
        "recipient": "0x742d35cc6634c0532925a3b844bc9e7595f8fe00",
        "methodDetails": {
            "escrowContract": "0x1234567890abcdef1234567890abcdef12345678",
            "channelId": "0x6D0f4fdf1f2f6a1f6c1b0fbd6a7d5c2c0a8d3d7b1f6a9c1b3e2d4a5b6c7d8e9f",
            "sessionProtocol": "v2", "new": 1
        }
    });
    let wire = json::canonical_b64(&example).unwrap();
    assert_eq!(SessionRequest::decode(&wire, None), Err(RequestError::NoChain));
    let read = SessionRequest::decode(&wire, Some(4217)).unwrap();
    assert_eq!(read.method_details.chain_id, 4217);
    assert!(
        read.method_details
            .channel_id
            .unwrap()
            .to_string()
            .starts_with("0x6d0f")
    );
    assert_eq!(read.min_voucher_delta(), Amount::ZERO);
    assert!(read.accepts_type("hash") && !read.accepts_type("permit2"));
}

#[test]
fn threat_v7_malformed_fields_are_refused() {
    let good = serde_json::to_value(sample()).unwrap();
    let changes = [
        ("/amount", json!("01")),
        ("/amount", json!("1e3")),
        ("/amount", json!(100)),
        ("/amount", json!("-1")),
        ("/amount", json!("9".repeat(40))),
        ("/currency", json!("74b7F16337b8972027F6196A17a631ac6dE26d22")),
        ("/recipient", json!([1, 2, 3])),
        ("/methodDetails/chainId", json!("196")),
        ("/methodDetails/chainId", json!(1.5)),
        ("/methodDetails/chainId", json!(-1)),
        ("/methodDetails/minVoucherDelta", json!(" 1")),
    ];
    for (pointer, value) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value.clone();
        let wire = json::canonical_b64(&bad).unwrap();
        assert_eq!(
            SessionRequest::decode(&wire, None),
            Err(RequestError::Field),
            "{pointer} {value}"
        );
    }
    let mut far = sample();
    far.method_details.chain_id = JSON_INTEGER_MAX + 1;
    assert_eq!(far.encode(AddressSpelling::Lowercase), Err(RequestError::ChainId));
}

#[test]
fn threat_v2_only_a_channel_of_these_terms_may_pay() {
    let request = sample();
    let (escrow, chain) = (request.method_details.escrow_contract, 196);
    let other = Address::repeat_byte(9);
    let terms = Terms {
        payer: Address::repeat_byte(1),
        payee: request.recipient,
        token: request.currency,
        authorized_signer: Address::ZERO,
        reserve: None,
    };
    assert!(request.fits(&terms, escrow, chain));
    let operated_by = |operator| Terms {
        reserve: Some(ReserveTerms {
            operator,
            salt: B256::ZERO,
            expiring_nonce_hash: B256::ZERO,
        }),
        ..terms.clone()
    };
    assert!(request.fits(&operated_by(Address::ZERO), escrow, chain));
    assert!(!request.fits(&operated_by(terms.payer), escrow, chain));
    assert!(!request.fits(
        &Terms {
            payee: other,
            ..terms.clone()
        },
        escrow,
        chain
    ));
    assert!(!request.fits(
        &Terms {
            token: other,
            ..terms.clone()
        },
        escrow,
        chain
    ));
    assert!(!request.fits(&terms, other, chain));
    assert!(!request.fits(&terms, escrow, 1));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,80}", bytes: Vec<u8>) {
        let _ = SessionRequest::decode(&text, None);
        let _ = SessionRequest::decode(&b64::encode(bytes), Some(1));
    }

    #[test]
    fn it_goes_there_and_back(amount: u128, chain_id in 0..=JSON_INTEGER_MAX, unit in ".{0,12}", fee_payer: Option<bool>) {
        let mut request = sample();
        request.amount = Amount::new(amount);
        request.unit_type = Some(unit);
        request.method_details.chain_id = chain_id;
        request.method_details.fee_payer = fee_payer;
        for spelling in [AddressSpelling::Lowercase, AddressSpelling::Checksummed] {
            let wire = request.encode(spelling).unwrap();
            prop_assert_eq!(SessionRequest::decode(&wire, None), Ok(request.clone()));
        }
    }
}
