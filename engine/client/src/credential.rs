//! What the payer says: credentials of `evm`/`session` (draft-evm-session-00, Credential Schema).

use crate::error::Error;
use crate::http::secret_value;
use alloy::primitives::B256;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value};
use weir_core::voucher::voucher_digest;
use weir_core::{Amount, ChannelId, Cumulative, Domain, Signature};
use weir_protocol::did::DidPkh;
use weir_protocol::{Challenge, Credential};

/// A word that nobody can guess: a salt, an idempotency key.
pub(crate) fn random_word() -> Result<B256, Error> {
    let mut word = B256::ZERO;
    getrandom::fill(word.as_mut_slice()).map_err(|_| Error::Protocol("the system gives no random bytes"))?;
    Ok(word)
}

/// What a credential does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// Tells of an open, with the first voucher.
    Open { hash: B256, salt: B256 },
    /// Authorises a total.
    Voucher,
    /// Asks to close at a total.
    Close,
    /// Tells of a top-up.
    TopUp { hash: B256, additional: Amount },
}

/// Signs vouchers for the channels of one payer.
pub(crate) struct Pen {
    key: PrivateKeySigner,
}

impl core::fmt::Debug for Pen {
    /// The key never shows (threat K1).
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pen")
            .field("address", &self.key.address())
            .finish_non_exhaustive()
    }
}

impl Pen {
    pub(crate) const fn new(key: PrivateKeySigner) -> Self {
        Self { key }
    }

    /// Signs a voucher in the one form that escrows take. The same voucher always gets the same signature.
    pub(crate) fn sign(
        &self,
        domain: &Domain,
        channel: ChannelId,
        total: Cumulative,
    ) -> Result<Signature, Error> {
        let unsignable = Error::Protocol("the voucher cannot be signed");
        let digest = voucher_digest(domain, channel, total);
        let signed = self.key.sign_hash_sync(&digest).map_err(|_| unsignable)?;
        let signed = signed.normalized_s();
        Signature::from_bytes(&signed.as_bytes())
            .map_err(|_| Error::Protocol("the voucher's signature is malformed"))
    }

    /// Writes the `Authorization` header that answers a challenge.
    pub(crate) fn write(
        &self,
        challenge: &Challenge,
        domain: &Domain,
        channel: ChannelId,
        (action, total): (Action, Cumulative),
    ) -> Result<HeaderValue, Error> {
        let mut payload = Map::new();
        let mut put = |name: &str, value: String| payload.insert(name.to_owned(), Value::String(value));
        put("channelId", channel.to_string());
        let name = match action {
            Action::Open { hash, salt } => {
                put("type", "hash".to_owned());
                put("hash", format!("{hash:#x}"));
                put("salt", format!("{salt:#x}"));
                "open"
            }
            Action::Voucher => "voucher",
            Action::Close => "close",
            Action::TopUp { hash, additional } => {
                put("type", "hash".to_owned());
                put("hash", format!("{hash:#x}"));
                put("additionalDeposit", additional.to_string());
                "topUp"
            }
        };
        put("action", name.to_owned());
        if !matches!(action, Action::TopUp { .. }) {
            put("cumulativeAmount", total.to_string());
            put("signature", self.sign(domain, channel, total)?.to_string());
        }
        let source = DidPkh {
            chain_id: domain.chain_id(),
            address: self.key.address(),
        };
        let credential = Credential {
            challenge: challenge.clone(),
            source: Some(source.to_string()),
            payload,
        };
        let header = credential
            .to_header()
            .map_err(|_| Error::Protocol("the challenge cannot be echoed"))?;
        secret_value(&header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Address;
    use weir_core::Voucher;
    use weir_core::recover::default_backend;
    use weir_core::terms::EVM_DOMAIN_NAME;

    #[test]
    fn a_signature_is_what_the_core_and_so_the_escrow_takes() {
        let key = PrivateKeySigner::random();
        let (payer, pen) = (key.address(), Pen::new(key));
        let domain = Domain::new(EVM_DOMAIN_NAME, 31337, Address::repeat_byte(0xee));
        let channel = ChannelId(B256::repeat_byte(1));
        for units in 0..64 {
            let total = Cumulative::new(units);
            let signature = pen.sign(&domain, channel, total).unwrap();
            let claimed = Voucher::claimed(channel, total, signature);
            assert!(claimed.prove(payer, &domain, &default_backend()).is_ok());
            assert_eq!(pen.sign(&domain, channel, total).unwrap(), signature);
        }
    }

    #[test]
    fn threat_k1_debug_shows_the_address_alone() {
        let key = PrivateKeySigner::random();
        let secret = alloy::primitives::hex::encode(key.to_bytes());
        assert!(!format!("{:?}", Pen::new(key)).contains(&secret));
    }
}
