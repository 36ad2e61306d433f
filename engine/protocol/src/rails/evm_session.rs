//! `evm`/`session` (draft-evm-session-00): opens and top-ups that the client broadcast (`type: "hash"`), and those that it
//! signed for the server to pull (`"authorization"`, `"permit2"`).

use super::payload::Fields;
use super::signed;
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
            "open" => open(credential, offer).map(Action::Open),
            "topUp" => top_up(credential, offer).map(Action::TopUp),
            "voucher" if fields.has("deposit") => merged(fields, offer),
            "voucher" => Ok(Action::Voucher(fields.voucher(RULES.signature_forms)?)),
            "close" => Ok(Action::Close(fields.voucher(RULES.signature_forms)?.into())),
            _ => Err(PayloadError::UnknownAction),
        }
    }
}

fn open(credential: &Credential, offer: &SessionRequest) -> Result<OpenClaim, PayloadError> {
    let fields = Fields(&credential.payload);
    // Where the deposit is signed for, `signature` is the deposit's.
    let (signature, funding) = if signed::is_pull(fields, offer)? {
        (
            "voucherSignature",
            Funding::Signed(Box::new(signed::open(fields, offer)?)),
        )
    } else {
        ("signature", mined(credential, offer)?)
    };
    Ok(OpenClaim {
        voucher: fields.voucher_signed_in(signature, RULES.signature_forms)?,
        authorized_signer: fields.address("authorizedSigner")?,
        salt: Some(fields.word("salt")?),
        funding,
    })
}

fn top_up(credential: &Credential, offer: &SessionRequest) -> Result<TopUpClaim, PayloadError> {
    let fields = Fields(&credential.payload);
    let (channel, additional) = (fields.channel()?, fields.amount("additionalDeposit")?);
    if !signed::is_pull(fields, offer)? {
        let funding = mined(credential, offer)?;
        return Ok(TopUpClaim {
            channel,
            additional,
            funding,
        });
    }
    let pull = signed::top_up(fields, channel, offer)?;
    signed::must_agree(pull.pull.amount == additional, "additionalDeposit")?;
    Ok(TopUpClaim {
        channel,
        additional,
        funding: Funding::Signed(Box::new(pull)),
    })
}

/// A voucher and the deposit that it needs, in one message (draft-evm-session-00, Voucher Payload).
fn merged(fields: Fields<'_>, offer: &SessionRequest) -> Result<Action, PayloadError> {
    if !signed::KINDS.iter().any(|kind| offer.accepts_type(kind)) {
        return Err(PayloadError::NotAccepted("deposit"));
    }
    let voucher = fields.voucher(RULES.signature_forms)?;
    let deposit = fields.object("deposit")?;
    let action = deposit.text("action")?;
    if !signed::is_pull(deposit, offer)? {
        return Err(PayloadError::NotAccepted("type"));
    }
    match action {
        "open" => Ok(Action::Open(OpenClaim {
            voucher,
            authorized_signer: deposit.address("authorizedSigner")?,
            salt: Some(deposit.word("salt")?),
            funding: Funding::Signed(Box::new(signed::open(deposit, offer)?)),
        })),
        "topUp" => {
            let pull = signed::top_up(deposit, voucher.channel(), offer)?;
            let deposit = TopUpClaim {
                channel: voucher.channel(),
                additional: pull.pull.amount,
                funding: Funding::Signed(Box::new(pull)),
            };
            Ok(Action::FundedVoucher { deposit, voucher })
        }
        _ => Err(PayloadError::UnknownAction),
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
