//! What the payer says: credentials of `evm`/`session` (draft-evm-session-00, Credential Schema).

use crate::error::Error;
use crate::http::secret_value;
use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value, json};
use weir_core::pull::{Leave, Pull, Purpose};
use weir_core::voucher::voucher_digest;
use weir_core::{Amount, ChannelId, Cumulative, Domain, Signature};
use weir_protocol::did::DidPkh;
use weir_protocol::rails::SignedPull;
use weir_protocol::rails::signed::{TYPE_AUTHORIZATION, TYPE_PERMIT2};
use weir_protocol::{Challenge, Credential};

/// A word that nobody can guess: a salt, an idempotency key.
pub(crate) fn random_word() -> Result<B256, Error> {
    let mut word = B256::ZERO;
    getrandom::fill(word.as_mut_slice()).map_err(|_| Error::Protocol("the system gives no random bytes"))?;
    Ok(word)
}

/// What a credential does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Tells of an open, with the first voucher.
    Open { hash: B256, salt: B256 },
    /// Authorises a total.
    Voucher,
    /// Asks to close at a total.
    Close,
    /// Tells of a top-up.
    TopUp { hash: B256, additional: Amount },
    /// Asks to pull an opening deposit, with the first voucher.
    OpenSigned(Box<SignedPull>),
    /// Asks to pull an addition to the deposit.
    TopUpSigned(Box<SignedPull>),
}

impl Action {
    /// Whether it adds to a deposit, and brings no voucher.
    pub(crate) const fn tops_up(&self) -> bool {
        matches!(self, Self::TopUp { .. } | Self::TopUpSigned(_))
    }
}

/// The fields of a payload that ask to pull a deposit.
fn deposit(signed: &SignedPull, escrow: Address) -> Map<String, Value> {
    let SignedPull { pull, signature } = signed;
    let (salt, witness) = match &pull.purpose {
        Purpose::Open { terms, salt } => {
            let witness = json!({"payee": spelled(terms.payee), "salt": salt,
                "authorizedSigner": spelled(terms.authorized_signer)});
            (Some(salt), witness)
        }
        Purpose::TopUp { channel, salt, .. } => {
            let salted = matches!(pull.leave, Leave::Eip3009 { .. });
            (salted.then_some(salt), json!({"channelId": channel.to_string()}))
        }
    };
    let (kind, authorization) = match pull.leave {
        Leave::Eip3009 {
            valid_after,
            valid_before,
        } => (
            TYPE_AUTHORIZATION,
            json!({"from": spelled(pull.from), "to": spelled(escrow), "value": pull.amount.to_string(),
                "validAfter": valid_after.to_string(), "validBefore": valid_before.to_string(),
                "nonce": pull.bound_nonce()}),
        ),
        Leave::Permit2 { nonce, deadline } => (
            TYPE_PERMIT2,
            json!({"from": spelled(pull.from), "nonce": nonce.to_string(), "deadline": deadline.to_string(),
                "permitted": {"token": spelled(pull.token()), "amount": pull.amount.to_string()}, "witness": witness}),
        ),
    };
    let mut payload = Map::new();
    payload.insert("type".to_owned(), kind.into());
    payload.insert("authorization".to_owned(), authorization);
    payload.insert("signature".to_owned(), signature.to_string().into());
    if let Some(salt) = salt {
        payload.insert("salt".to_owned(), format!("{salt:#x}").into());
    }
    payload
}

fn spelled(address: Address) -> String {
    format!("{address:#x}")
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
        self.sign_digest(voucher_digest(domain, channel, total))
    }

    pub(crate) fn sign_digest(&self, digest: B256) -> Result<Signature, Error> {
        let unsignable = || Error::Protocol("the key gives no signature");
        let signed = self.key.sign_hash_sync(&digest).map_err(|_| unsignable())?;
        Signature::from_bytes(&signed.normalized_s().as_bytes()).map_err(|_| unsignable())
    }

    /// Signs for a deposit. The same deposit always gets the same signature.
    pub(crate) fn sign_pull(
        &self,
        pull: Pull,
        separator: B256,
        escrow: Address,
    ) -> Result<SignedPull, Error> {
        let signature = self.sign_digest(pull.digest(separator, escrow))?;
        Ok(SignedPull { pull, signature })
    }

    /// Writes the `Authorization` header that answers a challenge.
    pub(crate) fn write(
        &self,
        challenge: &Challenge,
        domain: &Domain,
        channel: ChannelId,
        (action, total): (&Action, Cumulative),
    ) -> Result<HeaderValue, Error> {
        let mut payload = match action {
            Action::OpenSigned(signed) | Action::TopUpSigned(signed) => deposit(signed, domain.escrow()),
            _ => Map::new(),
        };
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
            Action::OpenSigned(_) => "open",
            Action::TopUpSigned(signed) => {
                put("additionalDeposit", signed.pull.amount.to_string());
                "topUp"
            }
        };
        put("action", name.to_owned());
        if !action.tops_up() {
            let place = match action {
                Action::OpenSigned(_) => "voucherSignature",
                _ => "signature",
            };
            put("cumulativeAmount", total.to_string());
            put(place, self.sign(domain, channel, total)?.to_string());
        }
        self.say(challenge, domain.chain_id(), payload)
    }

    /// Writes the header with any payload.
    pub(crate) fn say(
        &self,
        challenge: &Challenge,
        chain_id: u64,
        payload: Map<String, Value>,
    ) -> Result<HeaderValue, Error> {
        let source = DidPkh {
            chain_id,
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
