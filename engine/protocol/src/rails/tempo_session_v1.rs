//! `tempo`/`session`, protocol v1 (draft-tempo-session-00): a contract escrow, and signed transactions that the
//! server broadcasts (`type: "transaction"`).

use super::payload::Fields;
use super::{
    Action, Funding, LowerCumulative, OpenClaim, PayloadError, Rail, RailRules, SignatureForms, TopUpClaim,
};
use crate::credential::Credential;
use crate::problem::ProblemType;
use crate::request::{AddressSpelling, SessionRequest};
use weir_core::terms::TEMPO_DOMAIN_NAME;

/// The `payload.type` of a transaction that the server is to broadcast.
pub const TYPE_TRANSACTION: &str = "transaction";
/// The chain that a challenge without `chainId` means.
pub const TEMPO_CHAIN_ID: u64 = 4217;

pub(super) const RULES: RailRules = RailRules {
    method: "tempo",
    intent: "session",
    session_protocol: Some("v1"),
    domain_name: TEMPO_DOMAIN_NAME,
    lower_cumulative: LowerCumulative::Refused,
    signature_forms: SignatureForms::FullOrCompact,
    addresses: AddressSpelling::Lowercase,
    default_chain_id: Some(TEMPO_CHAIN_ID),
    receipt_chain_id: false,
    reverted: ProblemType::VerificationFailed,
    credential_types: None,
};

/// The rail of the Tempo draft's contract-backed channels.
#[derive(Debug, Clone, Copy, Default)]
pub struct TempoSessionV1;

impl Rail for TempoSessionV1 {
    fn rules(&self) -> &'static RailRules {
        &RULES
    }

    fn claim(&self, credential: &Credential, _: &SessionRequest) -> Result<Action, PayloadError> {
        let fields = Fields(&credential.payload);
        match fields.text("action")? {
            "open" => Ok(Action::Open(OpenClaim {
                voucher: fields.voucher(RULES.signature_forms)?,
                authorized_signer: fields.address("authorizedSigner")?,
                // The salt stands in the transaction's call.
                salt: None,
                funding: raw(fields)?,
            })),
            "topUp" => Ok(Action::TopUp(TopUpClaim {
                channel: fields.channel()?,
                additional: fields.amount("additionalDeposit")?,
                funding: raw(fields)?,
            })),
            "voucher" => Ok(Action::Voucher(fields.voucher(RULES.signature_forms)?)),
            "close" => Ok(Action::Close(fields.voucher(RULES.signature_forms)?.into())),
            _ => Err(PayloadError::UnknownAction),
        }
    }
}

fn raw(fields: Fields<'_>) -> Result<Funding, PayloadError> {
    if fields.text("type")? != TYPE_TRANSACTION {
        return Err(PayloadError::NotAccepted("type"));
    }
    fields.transaction("transaction").map(Funding::Raw)
}

#[cfg(test)]
#[path = "tempo_session_v1_tests.rs"]
mod tests;
