//! Channels of Tempo's reserve as mppx computes and signs them (`tests/interop/reserve-vectors.mjs` prints the file), and as
//! mpp publishes them.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use alloy_primitives::{Address, B256, hex};
use serde_json::Value;
use weir_core::recover::default_backend;
use weir_core::terms::{RESERVE_DOMAIN_NAME, TEMPO_RESERVE};
use weir_core::voucher::{close_authorization_digest, prove_close_authorization, voucher_digest};
use weir_core::{ChannelId, Cumulative, Domain, Refusal, ReserveTerms, Signature, Terms, Voucher};

const VECTORS: &str = include_str!("../../../contracts/vectors/reserve.json");
const PUBLISHED: &str = include_str!("vectors/mpp.json");

struct Vector {
    terms: Terms,
    domain: Domain,
    json: Value,
}

fn vectors() -> Vec<Vector> {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let escrow: Address = file["escrow"].as_str().unwrap().parse().unwrap();
    assert_eq!(escrow, TEMPO_RESERVE);
    let domain = Domain::new(RESERVE_DOMAIN_NAME, file["chainId"].as_u64().unwrap(), escrow);
    let read = |json: &Value| Vector {
        terms: terms(&json["descriptor"]),
        domain: domain.clone(),
        json: json.clone(),
    };
    file["vectors"].as_array().unwrap().iter().map(read).collect()
}

fn terms(descriptor: &Value) -> Terms {
    let field = |name: &str| descriptor[name].as_str().unwrap();
    Terms {
        payer: field("payer").parse().unwrap(),
        payee: field("payee").parse().unwrap(),
        token: field("token").parse().unwrap(),
        authorized_signer: field("authorizedSigner").parse().unwrap(),
        reserve: Some(ReserveTerms {
            operator: field("operator").parse().unwrap(),
            salt: field("salt").parse().unwrap(),
            expiring_nonce_hash: field("expiringNonceHash").parse().unwrap(),
        }),
    }
}

impl Vector {
    fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).unwrap().as_str().unwrap()
    }

    fn signature(&self, pointer: &str) -> Signature {
        Signature::from_bytes(&hex::decode(self.text(pointer)).unwrap()).unwrap()
    }

    fn cumulative(&self) -> Cumulative {
        self.text("/cumulativeAmount").parse().unwrap()
    }
}

#[test]
fn ids_digests_and_signatures_of_the_reserve_are_those_of_mppx() {
    for vector in vectors() {
        let channel = vector.terms.channel_id(B256::ZERO, &vector.domain);
        assert_eq!(channel.to_string(), vector.text("/channelId"));
        let total = vector.cumulative();
        let digest = voucher_digest(&vector.domain, channel, total);
        assert_eq!(digest.to_string(), vector.text("/voucher/digest"));
        let digest = close_authorization_digest(&vector.domain, channel, total);
        assert_eq!(digest.to_string(), vector.text("/close/digest"));
        let claimed = Voucher::claimed(channel, total, vector.signature("/voucher/signature"));
        assert!(
            claimed
                .prove(vector.terms.signer(), &vector.domain, &default_backend())
                .is_ok()
        );
    }
}

#[test]
fn ids_and_digests_of_the_reserve_are_those_that_mpp_publishes() {
    let file: Value = serde_json::from_str(PUBLISHED).unwrap();
    let cases = |name: &str| file[name].as_array().unwrap().clone();
    let domain = |case: &Value| {
        let chain_id = case["chainId"].as_u64().unwrap();
        Domain::new(RESERVE_DOMAIN_NAME, chain_id, TEMPO_RESERVE)
    };
    let (ids, digests) = (cases("channel_ids"), cases("digests"));
    assert!(!ids.is_empty() && !digests.is_empty());
    for case in ids {
        let channel = terms(&case["descriptor"]).channel_id(B256::ZERO, &domain(&case));
        assert_eq!(channel.to_string(), case["channelId"].as_str().unwrap());
    }
    for case in digests {
        let text = |name: &str| case[name].as_str().unwrap();
        let channel: ChannelId = text("channelId").parse().unwrap();
        let total: Cumulative = text("cumulativeAmount").parse().unwrap();
        let voucher = voucher_digest(&domain(&case), channel, total);
        assert_eq!(voucher.to_string(), text("voucher"));
        let close = close_authorization_digest(&domain(&case), channel, total);
        assert_eq!(close.to_string(), text("close"));
    }
}

#[test]
fn the_wish_to_close_is_the_payers_and_is_no_voucher() {
    for vector in vectors() {
        let channel = vector.terms.channel_id(B256::ZERO, &vector.domain);
        let total = vector.cumulative();
        let wish = vector.signature("/close/signature");
        let claimed = |signature| Voucher::claimed(channel, total, signature);
        let voucher = claimed(vector.signature("/voucher/signature"));
        let prove = |signature: &Signature, terms: &Terms| {
            prove_close_authorization(&voucher, signature, terms, (&vector.domain, &default_backend()))
        };
        assert_eq!(prove(&wish, &vector.terms), Ok(()));
        // The payer may say so beside whoever signs its vouchers, and nobody else.
        let delegated = Terms {
            authorized_signer: Address::repeat_byte(5),
            ..vector.terms.clone()
        };
        assert_eq!(prove(&wish, &delegated), Ok(()));
        let strangers = Terms {
            payer: Address::repeat_byte(6),
            ..delegated
        };
        assert_eq!(prove(&wish, &strangers), Err(Refusal::SignerMismatch));
        // A voucher says nothing of closing, and the wish authorises no amount.
        let swapped = vector.signature("/voucher/signature");
        assert_eq!(prove(&swapped, &vector.terms), Err(Refusal::SignerMismatch));
        let refused = claimed(wish).prove(vector.terms.signer(), &vector.domain, &default_backend());
        assert_eq!(refused.unwrap_err(), Refusal::SignerMismatch);
    }
}
