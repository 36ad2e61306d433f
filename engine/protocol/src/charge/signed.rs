//! Payments that the payer signed for and the server is to send: `type: "authorization"` and `"permit2"`
//! (draft-evm-charge-00, Authorization Payload and Permit2 Payload).
//!
//! What is read here is what the challenge asks for, to the unit, and names this challenge. Whose signature it is, the
//! till finds out.

use super::judge::{ChargeRefusal, PaymentSeen, require};
use super::{ChargeRequest, TYPE_AUTHORIZATION};
use crate::challenge::Challenge;
use crate::rails::payload::Fields;
use crate::rails::{PayloadError, Seen, SignatureForms};
use alloy_primitives::{Address, B256, keccak256};
use core::fmt;
use weir_core::{Draw, Leave, Signature};

/// A payment, and the payer's signature for it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedDraw {
    /// What was signed.
    pub draw: Draw,
    /// By whom is not known yet.
    pub signature: Signature,
}

/// Whoever has the signature can send it: logs get the rest (threat K1).
impl fmt::Debug for SignedDraw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedDraw({:?})", self.draw)
    }
}

/// The hashes by which a signature names a challenge: the draft's, of the id followed by the realm, and that of pympp
/// 0.16, of both as a JSON array.
pub fn challenge_hashes(challenge: &Challenge) -> [B256; 2] {
    let (id, realm) = (challenge.id.as_str(), challenge.realm.as_str());
    let listed = serde_json::Value::from(vec![id, realm]).to_string();
    [keccak256([id, realm].concat()), keccak256(listed)]
}

/// Reads a payload of either type.
pub(super) fn read(
    fields: Fields<'_>,
    challenge: &Challenge,
    offer: &ChargeRequest,
) -> Result<SignedDraw, PayloadError> {
    let draw = match fields.text("type")? {
        TYPE_AUTHORIZATION => authorization(fields, offer)?,
        _ => permit(fields, offer)?,
    };
    if !challenge_hashes(challenge).contains(&draw.binding) {
        return Err(PayloadError::OfAnotherChallenge);
    }
    let signature = fields.signature("signature", SignatureForms::Full)?;
    Ok(SignedDraw { draw, signature })
}

fn authorization(fields: Fields<'_>, offer: &ChargeRequest) -> Result<Draw, PayloadError> {
    let to = fields.required_address("to")?;
    must_agree(to == offer.recipient, "to")?;
    must_agree(fields.amount("value")? == offer.amount, "value")?;
    Ok(Draw {
        from: payer(fields.required_address("from")?)?,
        to,
        token: offer.currency,
        amount: offer.amount,
        leave: Leave::Eip3009 {
            valid_after: fields.number("validAfter")?,
            valid_before: fields.number("validBefore")?,
        },
        binding: fields.word("nonce")?,
    })
}

/// The payload does not say who signed: the credential's `source` does, which the caller puts in.
fn permit(fields: Fields<'_>, offer: &ChargeRequest) -> Result<Draw, PayloadError> {
    let permit = fields.object("permit")?;
    let permitted = permit.sole("permitted")?;
    let token = permitted.required_address("token")?;
    must_agree(token == offer.currency, "permit.permitted.token")?;
    must_agree(
        permitted.amount("amount")? == offer.amount,
        "permit.permitted.amount",
    )?;
    let transfer = fields.sole("transferDetails")?;
    let to = transfer.required_address("to")?;
    must_agree(to == offer.recipient, "transferDetails.to")?;
    must_agree(
        transfer.amount("requestedAmount")? == offer.amount,
        "transferDetails.requestedAmount",
    )?;
    let witness = fields.object("witness")?;
    // Our challenges have none.
    let external = witness.optional("externalId")?.unwrap_or_default();
    must_agree(external.is_empty(), "witness.externalId")?;
    Ok(Draw {
        from: Address::ZERO,
        to,
        token,
        amount: offer.amount,
        leave: Leave::Permit2 {
            nonce: permit.number("nonce")?,
            deadline: permit.number("deadline")?,
        },
        binding: witness.word("challengeHash")?,
    })
}

/// Whoever recovers to zero is nobody.
pub(super) fn payer(from: Address) -> Result<Address, PayloadError> {
    if from.is_zero() {
        Err(PayloadError::Malformed("from"))
    } else {
        Ok(from)
    }
}

pub(super) fn must_agree(agrees: bool, name: &'static str) -> Result<(), PayloadError> {
    if agrees {
        Ok(())
    } else {
        Err(PayloadError::NotAsked(name))
    }
}

/// Whether a transaction that is in a block made this payment, whoever sent it (draft-evm-charge-00, Authorization
/// Verification). An EIP-3009 token tells which of its transfers an authorisation made, so that one transaction may make
/// several payments.
///
/// # Errors
/// [`ChargeRefusal`].
pub fn judge_drawn(seen: &Seen, draw: &Draw) -> Result<(), ChargeRefusal> {
    let payment: &PaymentSeen = match seen {
        Seen::Payment(payment) => payment,
        Seen::Reverted => return Err(ChargeRefusal::Reverted),
        Seen::NotMined => return Err(ChargeRefusal::NotMined),
        _ => return Err(ChargeRefusal::Token),
    };
    let nonce = match draw.leave {
        Leave::Eip3009 { .. } => Some(draw.binding),
        Leave::Permit2 { .. } => None,
    };
    let mut own = payment
        .transfers
        .iter()
        .filter(|transfer| transfer.token == draw.token && transfer.from == draw.from)
        .filter(|transfer| transfer.authorized == nonce)
        .peekable();
    require(own.peek().is_some(), ChargeRefusal::Token)?;
    let paid = own.any(|transfer| transfer.to == draw.to && transfer.amount == draw.amount);
    require(paid, ChargeRefusal::Amount)
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
