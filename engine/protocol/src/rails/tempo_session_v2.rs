//! `tempo`/`session`, protocol v2 (draft-tempo-session-00): the channel reserve that is part of the chain (TIP-1034),
//! and signed transactions that the server broadcasts.
//!
//! Each payload carries the channel's descriptor. The channel's id is the hash of it, of the escrow and of the chain, so
//! that a claim whose id does not follow is none; that the id then is the channel's is left to the judgement, as with any
//! other rail.

use super::payload::Fields;
use super::tempo_session_v1::{self as v1, TempoSessionV1};
use super::{Action, CloseClaim, PayloadError, Rail, RailRules};
use crate::credential::Credential;
use crate::request::SessionRequest;
use alloy_primitives::{Address, B256};
use weir_core::terms::{RESERVE_AMOUNT_MAX, RESERVE_DOMAIN_NAME};
use weir_core::{ChannelId, Domain, ReserveTerms, Terms};

const RULES: RailRules = RailRules {
    session_protocol: Some("v2"),
    domain_name: RESERVE_DOMAIN_NAME,
    ..v1::RULES
};

/// The rail of the Tempo draft's channels in the reserve.
#[derive(Debug, Clone, Copy, Default)]
pub struct TempoSessionV2;

impl Rail for TempoSessionV2 {
    fn rules(&self) -> &'static RailRules {
        &RULES
    }

    fn claim(&self, credential: &Credential, offer: &SessionRequest) -> Result<Action, PayloadError> {
        let fields = Fields(&credential.payload);
        let action = TempoSessionV1.claim(credential, offer)?;
        let (amount, name) = match &action {
            Action::Open(claim) => (claim.voucher.cumulative().base_units(), "cumulativeAmount"),
            Action::TopUp(claim) => (claim.additional.base_units(), "additionalDeposit"),
            Action::Voucher(voucher) | Action::FundedVoucher { voucher, .. } => {
                (voucher.cumulative().base_units(), "cumulativeAmount")
            }
            Action::Close(claim) => (claim.voucher.cumulative().base_units(), "cumulativeAmount"),
        };
        if amount > RESERVE_AMOUNT_MAX {
            return Err(PayloadError::Above96Bits(name));
        }
        if described(fields.object("descriptor")?, offer)? != action.channel() {
            return Err(PayloadError::Descriptor);
        }
        Ok(match action {
            Action::Close(claim) if fields.has(CLOSE_SIGNATURE) => Action::Close(CloseClaim {
                authorization: Some(fields.signature(CLOSE_SIGNATURE, RULES.signature_forms)?),
                ..claim
            }),
            other => other,
        })
    }
}

/// Newer payers send it; the draft has it not.
const CLOSE_SIGNATURE: &str = "closeSignature";

/// The channel that a descriptor describes, in the offer's escrow.
fn described(descriptor: Fields<'_>, offer: &SessionRequest) -> Result<ChannelId, PayloadError> {
    let address = |name| -> Result<Address, PayloadError> {
        descriptor.address(name)?.ok_or(PayloadError::Missing(name))
    };
    let word = |name| -> Result<B256, PayloadError> { descriptor.word(name) };
    let salt = word("salt")?;
    let terms = Terms {
        payer: address("payer")?,
        payee: address("payee")?,
        token: address("token")?,
        authorized_signer: address("authorizedSigner")?,
        reserve: Some(ReserveTerms {
            operator: address("operator")?,
            salt,
            expiring_nonce_hash: word("expiringNonceHash")?,
        }),
    };
    let details = &offer.method_details;
    let domain = Domain::new(RULES.domain_name, details.chain_id, details.escrow_contract);
    Ok(terms.channel_id(salt, &domain))
}

#[cfg(test)]
#[path = "tempo_session_v2_tests.rs"]
pub(crate) mod tests;
