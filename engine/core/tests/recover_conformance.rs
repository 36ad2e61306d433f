//! Both recovery backends give one verdict, and it is the verdict of the vectors that the contract's tests read too.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use alloy_primitives::{Address, B256, hex};
use proptest::prelude::*;
use serde::Deserialize;
use support::keys::{Mint, Signer, Whose, domain_on};
use weir_core::recover::{K256, Recover};
use weir_core::voucher::voucher_digest;
use weir_core::{ChannelId, Cumulative, Domain, Refusal, Signature, Terms, Voucher};

/// Every backend of this build.
fn backends() -> Vec<Box<dyn Recover>> {
    vec![
        Box::new(K256),
        #[cfg(feature = "libsecp256k1")]
        Box::new(weir_core::recover::Libsecp256k1),
    ]
}

/// The one answer of all backends.
fn recovered(digest: B256, signature: &Signature) -> Option<Address> {
    let answers: Vec<_> = backends()
        .iter()
        .map(|backend| backend.recover(digest, signature))
        .collect();
    for (backend, answer) in backends().iter().zip(&answers) {
        assert_eq!(*answer, answers[0], "{} differs on {signature}", backend.name());
    }
    answers[0]
}

#[derive(Deserialize)]
struct File {
    count: usize,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    domain_name: String,
    chain_id: u64,
    escrow: Address,
    domain_separator: B256,
    payer: Address,
    payee: Address,
    token: Address,
    salt: B256,
    authorized_signer: Address,
    channel_id: ChannelId,
    cumulative_amount: Cumulative,
    digest: B256,
    signature: String,
    verdict: String,
    why: String,
}

impl Vector {
    fn terms(&self) -> Terms {
        Terms {
            payer: self.payer,
            payee: self.payee,
            token: self.token,
            authorized_signer: self.authorized_signer,
            reserve: None,
        }
    }

    fn domain(&self) -> Domain {
        Domain::new(&self.domain_name, self.chain_id, self.escrow)
    }

    fn accepted_by(&self, backend: &dyn Recover) -> bool {
        let Ok(signature) = Signature::from_bytes(&hex::decode(&self.signature).unwrap()) else {
            return false;
        };
        let voucher = Voucher::claimed(self.channel_id, self.cumulative_amount, signature);
        voucher
            .prove(self.terms().signer(), &self.domain(), backend)
            .is_ok()
    }
}

fn vectors() -> Vec<Vector> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../contracts/vectors/vouchers.json"
    );
    let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(file.count, file.vectors.len());
    file.vectors
}

#[test]
fn ch_5_the_vectors_get_the_contracts_ids_digests_and_verdicts() {
    let mut verdicts = [0, 0];
    for vector in vectors() {
        let (domain, why) = (vector.domain(), &vector.why);
        assert_eq!(domain.separator(), vector.domain_separator, "{why}");
        assert_eq!(
            vector.terms().channel_id(vector.salt, &domain),
            vector.channel_id,
            "{why}"
        );
        let digest = voucher_digest(&domain, vector.channel_id, vector.cumulative_amount);
        assert_eq!(digest, vector.digest, "{why}");
        let expected = match vector.verdict.as_str() {
            "accept" => true,
            "refuse" => false,
            other => panic!("{why}: no such verdict: {other}"),
        };
        verdicts[usize::from(expected)] += 1;
        for backend in backends() {
            assert_eq!(
                vector.accepted_by(&*backend),
                expected,
                "{}: {why}",
                backend.name()
            );
        }
    }
    assert!(verdicts.iter().all(|count| *count >= 5), "{verdicts:?}");
}

#[test]
fn threat_v1_signature_first_whether_the_total_is_lower_equal_or_higher() {
    let mut mint = Mint::new();
    let garbage = *mint.claimed(Whose::Neighbours, 7).signature();
    for total in [0, 1, 49, 50, 51, u128::MAX] {
        let claimed = Voucher::claimed(mint.id(Whose::Ours), Cumulative::new(total), garbage);
        // `step` takes a proven voucher, so a channel never sees this one, whatever it has accepted.
        assert!(mint.prove(Whose::Ours, claimed).is_err(), "{total}");
    }
}

#[test]
fn threat_v2_a_voucher_proves_for_one_signer_channel_amount_escrow_and_chain() {
    let mut mint = Mint::new();
    let good = mint.claimed(Whose::Ours, 50);
    let (id, total, signature) = (good.channel(), good.cumulative(), *good.signature());
    let signer = mint.signer(Whose::Ours).address;
    let elsewhere = Domain::new("EVM Payment Channel", 31_337, Address::repeat_byte(0xe6));
    let renamed = Domain::new("Tempo Stream Channel", 31_337, Address::repeat_byte(0xe5));
    for backend in backends() {
        let prove = |id, total, signer, domain: &Domain| {
            let proven = Voucher::claimed(id, total, signature).prove(signer, domain, &*backend);
            proven
                .map(|_| ())
                .map_err(|refusal| refusal == Refusal::SignerMismatch)
        };
        assert_eq!(prove(id, total, signer, &mint.domain), Ok(()));
        let wrong = [
            prove(mint.id(Whose::Neighbours), total, signer, &mint.domain),
            prove(id, Cumulative::new(51), signer, &mint.domain),
            prove(id, total, mint.signer(Whose::Neighbours).address, &mint.domain),
            prove(id, total, Address::ZERO, &mint.domain),
            prove(id, total, signer, &domain_on(1)),
            prove(id, total, signer, &elsewhere),
            prove(id, total, signer, &renamed),
        ];
        assert!(
            wrong.iter().all(|answer| *answer == Err(true)),
            "{}: {wrong:?}",
            backend.name()
        );
    }
}

#[test]
fn threat_v2_payee_token_escrow_and_chain_are_in_the_channels_id() {
    let mint = Mint::new();
    let terms = mint.terms(Whose::Ours);
    let other = Address::repeat_byte(0x99);
    let id = terms.channel_id(B256::ZERO, &mint.domain);
    let changed = [
        Terms {
            payer: other,
            ..terms.clone()
        }
        .channel_id(B256::ZERO, &mint.domain),
        Terms {
            payee: other,
            ..terms.clone()
        }
        .channel_id(B256::ZERO, &mint.domain),
        Terms {
            token: other,
            ..terms.clone()
        }
        .channel_id(B256::ZERO, &mint.domain),
        Terms {
            authorized_signer: other,
            ..terms.clone()
        }
        .channel_id(B256::ZERO, &mint.domain),
        terms.channel_id(B256::repeat_byte(1), &mint.domain),
        terms.channel_id(B256::ZERO, &domain_on(1)),
        terms.channel_id(B256::ZERO, &Domain::new("EVM Payment Channel", 31_337, other)),
    ];
    for (index, changed) in changed.iter().enumerate() {
        assert_ne!(*changed, id, "{index}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn threat_v5_backends_agree_on_good_signatures_and_on_every_mutation(
        secret in "[a-z]{8}",
        digest: [u8; 32],
        at in 0usize..65,
        with in 1u8..=255,
    ) {
        let (signer, digest) = (Signer::named(&secret), B256::from(digest));
        let good = signer.sign(digest);
        prop_assert_eq!(recovered(digest, &good), Some(signer.address));
        let mut bytes = *good.as_bytes();
        bytes[at] ^= with;
        if let Ok(mutated) = Signature::from_bytes(&bytes) {
            prop_assert_ne!(recovered(digest, &mutated), Some(signer.address));
        }
        // The other point: canonical bytes, another signer.
        let mut bytes = *good.as_bytes();
        bytes[64] = 55 - bytes[64];
        let other = recovered(digest, &Signature::from_bytes(&bytes).unwrap());
        prop_assert_ne!(other, Some(signer.address));
    }

    #[test]
    fn threat_v5_backends_agree_on_bytes_that_nobody_signed(digest: [u8; 32], rs: [u8; 64], v in 27u8..=28) {
        let mut bytes = [v; 65];
        bytes[..64].copy_from_slice(&rs);
        bytes[32] &= 0x7f;
        if let Ok(signature) = Signature::from_bytes(&bytes) {
            recovered(B256::from(digest), &signature);
        }
    }
}
