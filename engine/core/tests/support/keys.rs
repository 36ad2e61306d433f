//! Real keys and real vouchers, each signed and proven once.

use alloy_primitives::{Address, B256, keccak256};
use k256::ecdsa::SigningKey;
use std::collections::HashMap;
use weir_core::recover::default_backend;
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::voucher::voucher_digest;
use weir_core::{
    ChannelId, Claimed, Cumulative, Domain, KeptVoucher, Proven, Refusal, Signature, Terms, Voucher,
};

/// A key and its address.
pub(crate) struct Signer {
    key: SigningKey,
    pub(crate) address: Address,
}

impl Signer {
    /// The signer whose secret is the hash of a word.
    pub(crate) fn named(word: &str) -> Self {
        let key = SigningKey::from_slice(keccak256(word).as_slice()).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let address = Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..]);
        Self { key, address }
    }

    /// Signs a digest in the canonical form.
    pub(crate) fn sign(&self, digest: B256) -> Signature {
        let (ecdsa, id) = self.key.sign_prehash_recoverable(digest.as_slice());
        let mut bytes = [0u8; 65];
        bytes[..64].copy_from_slice(&ecdsa.to_bytes());
        bytes[64] = 27 + id.to_byte();
        Signature::from_bytes(&bytes).unwrap()
    }
}

/// The escrow's domain on a chain.
pub(crate) fn domain_on(chain_id: u64) -> Domain {
    Domain::new(EVM_DOMAIN_NAME, chain_id, Address::repeat_byte(0xe5))
}

/// Which of the two channels of a life: the one whose promises matter, and its hostile neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    Ours,
    Neighbours,
}

impl Whose {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Ours => Self::Neighbours,
            Self::Neighbours => Self::Ours,
        }
    }
}

/// Two channels on one escrow with their signers, and every voucher that they ever signed.
pub(crate) struct Mint {
    pub(crate) domain: Domain,
    signers: [Signer; 2],
    claimed: HashMap<(Whose, u128), Voucher<Claimed>>,
    proven: HashMap<(Whose, u128), Voucher<Proven>>,
    judged: HashMap<(Whose, u128, [u8; 65]), bool>,
}

impl Mint {
    pub(crate) fn new() -> Self {
        Self {
            domain: domain_on(31_337),
            signers: [Signer::named("payer"), Signer::named("hostile neighbour")],
            claimed: HashMap::new(),
            proven: HashMap::new(),
            judged: HashMap::new(),
        }
    }

    pub(crate) fn signer(&self, whose: Whose) -> &Signer {
        &self.signers[whose as usize]
    }

    pub(crate) fn terms(&self, whose: Whose) -> Terms {
        Terms {
            payer: self.signer(whose).address,
            payee: Address::repeat_byte(0xa1),
            token: Address::repeat_byte(0x70),
            authorized_signer: Address::ZERO,
            reserve: None,
        }
    }

    pub(crate) fn id(&self, whose: Whose) -> ChannelId {
        self.terms(whose).channel_id(B256::ZERO, &self.domain)
    }

    /// The voucher of this channel's own signer.
    pub(crate) fn claimed(&mut self, whose: Whose, cumulative: u128) -> Voucher<Claimed> {
        if let Some(voucher) = self.claimed.get(&(whose, cumulative)) {
            return *voucher;
        }
        let voucher = self.claim(whose, cumulative, self.signer(whose), &self.domain);
        self.claimed.insert((whose, cumulative), voucher);
        voucher
    }

    /// A voucher for this channel that somebody signs under some domain.
    pub(crate) fn claim(
        &self,
        whose: Whose,
        cumulative: u128,
        by: &Signer,
        under: &Domain,
    ) -> Voucher<Claimed> {
        let total = Cumulative::new(cumulative);
        let digest = voucher_digest(under, self.id(whose), total);
        Voucher::claimed(self.id(whose), total, by.sign(digest))
    }

    /// The same voucher, proven.
    pub(crate) fn proven(&mut self, whose: Whose, cumulative: u128) -> Voucher<Proven> {
        if let Some(voucher) = self.proven.get(&(whose, cumulative)) {
            return *voucher;
        }
        let claimed = self.claimed(whose, cumulative);
        let voucher = self.prove(whose, claimed).unwrap();
        self.proven.insert((whose, cumulative), voucher);
        voucher
    }

    /// Proves against the channel's signer, as the engine does on receipt.
    pub(crate) fn prove(&self, whose: Whose, voucher: Voucher<Claimed>) -> Result<Voucher<Proven>, Refusal> {
        voucher.prove(self.signer(whose).address, &self.domain, &default_backend())
    }

    /// Whether a voucher out of the books would still be taken by the escrow.
    pub(crate) fn proves_again(&mut self, whose: Whose, kept: &KeptVoucher) -> bool {
        let key = (
            whose,
            kept.cumulative().base_units(),
            *kept.signature().as_bytes(),
        );
        if let Some(verdict) = self.judged.get(&key) {
            return *verdict;
        }
        let claimed = Voucher::claimed(self.id(whose), kept.cumulative(), *kept.signature());
        let verdict = self.prove(whose, claimed).is_ok();
        self.judged.insert(key, verdict);
        verdict
    }
}
