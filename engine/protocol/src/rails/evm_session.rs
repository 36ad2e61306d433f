//! `evm`/`session` (draft-evm-session-00): opens and top-ups that the client broadcast (`type: "hash"`).

use super::payload::Fields;
use super::{
    Action, Funding, LowerCumulative, OpenClaim, PayloadError, Rail, RailRules, SignatureForms, TopUpClaim,
};
use crate::credential::Credential;
use crate::problem::ProblemType;
use crate::request::{AddressSpelling, SessionRequest};
use weir_core::terms::EVM_DOMAIN_NAME;

/// The `payload.type` of a transaction that the client broadcast.
pub const TYPE_HASH: &str = "hash";

const RULES: RailRules = RailRules {
    method: "evm",
    intent: "session",
    session_protocol: None,
    domain_name: EVM_DOMAIN_NAME,
    lower_cumulative: LowerCumulative::Unchanged,
    signature_forms: SignatureForms::Full,
    addresses: AddressSpelling::Checksummed,
    default_chain_id: None,
    receipt_chain_id: true,
    reverted: ProblemType::TransactionReverted,
    credential_types: Some(&[TYPE_HASH]),
};

/// The rail of the EVM draft.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvmSession;

impl Rail for EvmSession {
    fn rules(&self) -> &'static RailRules {
        &RULES
    }

    fn claim(&self, credential: &Credential, offer: &SessionRequest) -> Result<Action, PayloadError> {
        let fields = Fields(&credential.payload);
        match fields.text("action")? {
            "open" => Ok(Action::Open(OpenClaim {
                voucher: fields.voucher(RULES.signature_forms)?,
                authorized_signer: fields.address("authorizedSigner")?,
                salt: Some(fields.word("salt")?),
                funding: mined(credential, offer)?,
            })),
            "topUp" => Ok(Action::TopUp(TopUpClaim {
                channel: fields.channel()?,
                additional: fields.amount("additionalDeposit")?,
                funding: mined(credential, offer)?,
            })),
            // A merged deposit is a server-submitted format, which no challenge of ours offers yet.
            "voucher" if fields.has("deposit") => Err(PayloadError::NotAccepted("deposit")),
            "voucher" => Ok(Action::Voucher(fields.voucher(RULES.signature_forms)?)),
            "close" => Ok(Action::Close(fields.voucher(RULES.signature_forms)?.into())),
            _ => Err(PayloadError::UnknownAction),
        }
    }
}

/// A transaction that the client broadcast, and the source that it then must name.
fn mined(credential: &Credential, offer: &SessionRequest) -> Result<Funding, PayloadError> {
    let fields = Fields(&credential.payload);
    let kind = fields.text("type")?;
    if kind != TYPE_HASH || !offer.accepts_type(kind) {
        return Err(PayloadError::NotAccepted("type"));
    }
    let tx_hash = fields.word("hash")?;
    let payer = credential.payer().ok().flatten().ok_or(PayloadError::Source)?;
    if payer.chain_id != offer.method_details.chain_id {
        return Err(PayloadError::Source);
    }
    Ok(Funding::Mined {
        tx_hash,
        payer: payer.address,
    })
}

#[cfg(test)]
#[path = "evm_session_tests.rs"]
pub(crate) mod tests;
