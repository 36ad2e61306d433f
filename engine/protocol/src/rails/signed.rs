//! Deposits that the payer signed for and the server is to pull: `type: "authorization"` and `"permit2"`
//! (draft-evm-session-00, Open Payload and TopUp Payload).
//!
//! What is read here agrees with itself: whatever the payload says twice, or what follows from its channel's terms, is
//! compared. Whose signature it is, the till finds out.

use super::payload::Fields;
use super::{OpenSeen, PayloadError};
use crate::request::SessionRequest;
use core::fmt;
use weir_core::pull::{Leave, Pull, Purpose};
use weir_core::{Amount, ChannelId, Signature, Terms};

/// The `payload.type` of an EIP-3009 authorisation.
pub const TYPE_AUTHORIZATION: &str = "authorization";
/// The `payload.type` of a Permit2 transfer with a witness.
pub const TYPE_PERMIT2: &str = "permit2";
/// Both.
pub(super) const KINDS: [&str; 2] = [TYPE_AUTHORIZATION, TYPE_PERMIT2];

/// A deposit, and the payer's signature for it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedPull {
    /// What was signed.
    pub pull: Pull,
    /// By whom is not known yet.
    pub signature: Signature,
}

/// Whoever has the signature can send it: logs get the rest (threat K1).
impl fmt::Debug for SignedPull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedPull({:?})", self.pull)
    }
}

impl SignedPull {
    /// The channel that an open would make, as if it were seen; `None` for a top-up.
    pub(super) fn would_open(&self, offer: &SessionRequest) -> Option<OpenSeen> {
        let Purpose::Open { terms, salt } = &self.pull.purpose else {
            return None;
        };
        let details = &offer.method_details;
        Some(OpenSeen {
            chain_id: details.chain_id,
            escrow: details.escrow_contract,
            terms: terms.clone(),
            salt: *salt,
            deposit: self.pull.amount,
        })
    }
}

/// Whether the payload's `type` asks the server to pull, and the challenge offers that.
pub(super) fn is_pull(fields: Fields<'_>, offer: &SessionRequest) -> Result<bool, PayloadError> {
    let kind = fields.text("type")?;
    let known = KINDS.contains(&kind);
    if known && !offer.accepts_type(kind) {
        return Err(PayloadError::NotAccepted("type"));
    }
    Ok(known)
}

/// Reads the deposit of a channel that is to be opened.
pub(super) fn open(fields: Fields<'_>, offer: &SessionRequest) -> Result<SignedPull, PayloadError> {
    let authorization = fields.object("authorization")?;
    let payer = authorization.required_address("from")?;
    let terms = Terms {
        payer,
        payee: offer.recipient,
        token: offer.currency,
        // Left out means zero, in the id, the nonce and the witness alike.
        authorized_signer: fields.address("authorizedSigner")?.unwrap_or_default(),
        reserve: None,
    };
    let salt = fields.word("salt")?;
    read(fields, Purpose::Open { terms, salt }, offer)
}

/// Reads what is to be added to a channel.
pub(super) fn top_up(
    fields: Fields<'_>,
    channel: ChannelId,
    offer: &SessionRequest,
) -> Result<SignedPull, PayloadError> {
    let salt = match fields.text("type")? {
        TYPE_PERMIT2 => Default::default(),
        _ => fields.word("salt")?,
    };
    let token = offer.currency;
    read(fields, Purpose::TopUp { channel, token, salt }, offer)
}

fn read(fields: Fields<'_>, purpose: Purpose, offer: &SessionRequest) -> Result<SignedPull, PayloadError> {
    let authorization = fields.object("authorization")?;
    let (amount, leave) = match fields.text("type")? {
        TYPE_PERMIT2 => permit(authorization, &purpose, offer)?,
        _ => eip3009(authorization, offer)?,
    };
    let pull = Pull {
        from: authorization.required_address("from")?,
        amount,
        purpose,
        leave,
    };
    if matches!(leave, Leave::Eip3009 { .. }) {
        let bound = authorization.word("nonce")? == pull.bound_nonce();
        must_agree(bound, "authorization.nonce")?;
    }
    let signature = fields.signature("signature", super::SignatureForms::Full)?;
    Ok(SignedPull { pull, signature })
}

fn eip3009(fields: Fields<'_>, offer: &SessionRequest) -> Result<(Amount, Leave), PayloadError> {
    let to = fields.required_address("to")?;
    must_agree(to == offer.method_details.escrow_contract, "authorization.to")?;
    let leave = Leave::Eip3009 {
        valid_after: fields.number("validAfter")?,
        valid_before: fields.number("validBefore")?,
    };
    Ok((fields.amount("value")?, leave))
}

fn permit(
    fields: Fields<'_>,
    purpose: &Purpose,
    offer: &SessionRequest,
) -> Result<(Amount, Leave), PayloadError> {
    let permitted = fields.object("permitted")?;
    let token = permitted.required_address("token")?;
    must_agree(token == offer.currency, "authorization.permitted.token")?;
    let witness = fields.object("witness")?;
    let agrees = match purpose {
        Purpose::Open { terms, salt } => {
            let signer = witness.address("authorizedSigner")?.unwrap_or_default();
            witness.required_address("payee")? == terms.payee
                && witness.word("salt")? == *salt
                && signer == terms.authorized_signer
        }
        Purpose::TopUp { channel, .. } => witness.channel()? == *channel,
    };
    must_agree(agrees, "authorization.witness")?;
    let leave = Leave::Permit2 {
        nonce: fields.number("nonce")?,
        deadline: fields.number("deadline")?,
    };
    Ok((permitted.amount("amount")?, leave))
}

pub(super) fn must_agree(agrees: bool, name: &'static str) -> Result<(), PayloadError> {
    if agrees {
        Ok(())
    } else {
        Err(PayloadError::Disagrees(name))
    }
}

#[cfg(test)]
#[path = "signed_tests.rs"]
pub(crate) mod tests;
