//! Channels of Tempo's reserve as mppx computes and signs them (`tests/interop/reserve-vectors.mjs` prints the file).
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use alloy_primitives::{Address, B256, hex};
use serde_json::Value;
use weir_core::recover::default_backend;
use weir_core::terms::{RESERVE_DOMAIN_NAME, TEMPO_RESERVE};
use weir_core::voucher::{close_authorization_digest, prove_close_authorization, voucher_digest};
use weir_core::{Cumulative, Domain, Refusal, ReserveTerms, Signature, Terms, Voucher};

const VECTORS: &str = include_str!("../../../contracts/vectors/reserve.json");

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
    let read = |json: &Value| {
        let field = |name: &str| json["descriptor"][name].as_str().unwrap();
        Vector {
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
            domain: domain.clone(),
            json: json.clone(),
        }
    };
    file["vectors"].as_array().unwrap().iter().map(read).collect()
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
