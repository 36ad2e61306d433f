//! What the benches share: a payer that really signs.

use alloy_primitives::{Address, B256, keccak256};
use k256::ecdsa::SigningKey;
use weir_core::voucher::voucher_digest;
use weir_core::{ChainState, ChannelId, Claimed, Cumulative, Domain, Signature, Terms, Voucher};

/// The moment of every bench, in seconds since 1970: nothing here depends on it.
pub const NOW: u64 = 1_700_000_000;

/// A payer with a key and one channel.
#[derive(Debug, Clone)]
pub struct Payer {
    key: SigningKey,
    /// The escrow's signing domain.
    pub domain: Domain,
    /// What the channel binds.
    pub terms: Terms,
    /// The channel.
    pub channel: ChannelId,
}

impl Payer {
    /// The payer of this number, always with the same key.
    #[expect(clippy::expect_used, reason = "the numbers are below the order of the curve")]
    pub fn new(number: u32) -> Self {
        let domain = Domain::new("EVM Payment Channel", 31337, Address::repeat_byte(0xe5));
        let secret = keccak256(number.to_be_bytes());
        let key = SigningKey::from_slice(secret.as_slice()).expect("a hash is a key");
        let public = key.verifying_key().to_sec1_point(false);
        let hash = keccak256(public.as_bytes().get(1..).unwrap_or_default());
        let terms = Terms {
            payer: Address::from_word(hash),
            payee: Address::repeat_byte(0xaa),
            token: Address::repeat_byte(0x70),
            authorized_signer: Address::ZERO,
            reserve: None,
        };
        let channel = terms.channel_id(B256::ZERO, &domain);
        Self {
            key,
            domain,
            terms,
            channel,
        }
    }

    /// Signs a total.
    #[expect(clippy::expect_used, reason = "the signer makes canonical signatures")]
    pub fn voucher(&self, cumulative: u128) -> Voucher<Claimed> {
        let cumulative = Cumulative::new(cumulative);
        let digest = voucher_digest(&self.domain, self.channel, cumulative);
        let (signature, id) = self.key.sign_prehash_recoverable(digest.as_slice());
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + id.to_byte());
        let signature = Signature::from_bytes(&bytes).expect("a canonical signature");
        Voucher::claimed(self.channel, cumulative, signature)
    }
}

/// A channel's state with so much on deposit and nothing settled.
pub const fn deposited(deposit: u128) -> ChainState {
    ChainState {
        deposit: Cumulative::new(deposit),
        settled: Cumulative::ZERO,
        close_requested_at: None,
        finalized: false,
    }
}
