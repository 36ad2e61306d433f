//! Charges: one payment buys one answer (draft-payment-intent-charge-00, draft-tempo-charge-00, draft-evm-charge-00).
//!
//! As a session's rail, a charge works in two pure steps: [`ChargeRules::claim`] reads a credential's payload, and
//! [`judge`] compares what the chain showed with what was offered. There is no channel and no voucher: the payment itself
//! is the proof, so what binds it to its challenge decides who may show it.
//!
//! | method | what pays | what binds it to the challenge |
//! |---|---|---|
//! | `tempo` | a transfer with a memo, broadcast by the server or by the client | the memo |
//! | `tempo`, amount 0 | a signature | the challenge's id in it |
//! | `evm` | a transfer that the client signed for and the server sends | the challenge's hash in what is signed |
//! | `evm` | a transfer that the client broadcast | nothing: only that it is younger than the challenge |

pub mod judge;
pub mod proof;
pub mod receipt;
pub mod request;
pub mod signed;

use crate::credential::Credential;
use crate::did::DidPkh;
use crate::hex;
use crate::problem::{Problem, ProblemType};
use crate::rails::payload::Fields;
use crate::rails::tempo_session_v1::TYPE_TRANSACTION;
use crate::rails::{Evidence, PayloadError, RawTransaction};
use crate::request::AddressSpelling;
use alloy_primitives::{Address, B256, address};
use weir_core::Signature;
use weir_core::signature::SIGNATURE_BYTES;

pub use judge::{ChargeRefusal, Judging, PaymentSeen, TransferSeen, attribution, judge};
pub use receipt::ChargeReceipt;
pub use request::{ChargeDetails, ChargeRequest};
pub use signed::{SignedDraw, judge_drawn};

pub use crate::rails::signed::{TYPE_AUTHORIZATION, TYPE_PERMIT2};

/// Where Permit2 is on every chain that has it.
pub const PERMIT2: Address = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
/// The `payload.type` of a transaction that the client broadcast.
pub const TYPE_HASH: &str = "hash";
/// The `payload.type` of a signature where nothing is to be paid.
pub const TYPE_PROOF: &str = "proof";

/// Where the methods differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeRules {
    /// The `method` of the challenge and the receipt.
    pub method: &'static str,
    /// How addresses are written into a challenge.
    pub addresses: AddressSpelling,
    /// True when transfers carry a memo that binds them to their challenge.
    pub has_memo: bool,
    /// The values of `payload.type` that are taken; of those that a challenge lists, no others.
    pub types: &'static [&'static str],
    /// True when challenges list those values, and receipts carry `challengeId` and `chainId`.
    pub is_explicit: bool,
}

/// Every charge that is built.
pub const CHARGES: [&ChargeRules; 2] = [
    &ChargeRules {
        method: "tempo",
        addresses: AddressSpelling::Lowercase,
        has_memo: true,
        types: &[TYPE_TRANSACTION, TYPE_HASH, TYPE_PROOF],
        is_explicit: false,
    },
    &ChargeRules {
        method: "evm",
        addresses: AddressSpelling::Checksummed,
        has_memo: false,
        types: &[TYPE_AUTHORIZATION, TYPE_PERMIT2, TYPE_HASH],
        is_explicit: true,
    },
];

/// The charge of a payment method.
pub fn charge_rules(method: &str) -> Option<&'static ChargeRules> {
    CHARGES.into_iter().find(|rules| rules.method == method)
}

/// What a charge credential says paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeClaim {
    /// The server is to broadcast it: `type: "transaction"`.
    Raw(RawTransaction),
    /// The client broadcast it: `type: "hash"`.
    Mined(B256),
    /// The client signed for it, and the server is to send it: `type: "authorization"` or `"permit2"`.
    Signed(Box<SignedDraw>),
    /// Nothing is to be paid, and this account says that it is there: `type: "proof"`.
    Proof {
        /// Whose signature it is to be.
        account: Address,
        /// The signature.
        signature: Signature,
    },
}

impl ChargeClaim {
    /// What must be looked up before [`judge`].
    pub fn evidence(&self) -> Evidence<'_> {
        match self {
            Self::Raw(raw) => Evidence::RawPayment { bytes: &raw.0 },
            Self::Mined(tx_hash) => Evidence::PaidBy { tx_hash: *tx_hash },
            Self::Proof { .. } | Self::Signed(_) => Evidence::None,
        }
    }
}

impl ChargeRules {
    /// Whether a charge of nothing can be answered.
    pub fn takes_zero(&self) -> bool {
        self.types.contains(&TYPE_PROOF)
    }

    /// Reads a credential's payload; nothing is believed yet. `offer` is the request of the verified challenge.
    ///
    /// # Errors
    /// [`PayloadError`]; [`payload_problem`] is how it is answered.
    pub fn claim(&self, credential: &Credential, offer: &ChargeRequest) -> Result<ChargeClaim, PayloadError> {
        let fields = Fields(&credential.payload);
        let kind = fields.text("type")?;
        // Where nothing is to be paid, nothing but a proof will do, and nowhere else will a proof.
        let listed = offer.method_details.credential_types.as_ref();
        let is_offered = listed.is_none_or(|listed| listed.iter().any(|one| one == kind));
        let fits = is_offered && self.types.contains(&kind) && (kind == TYPE_PROOF) == offer.amount.is_zero();
        if !fits {
            return Err(PayloadError::NotAccepted("type"));
        }
        match kind {
            TYPE_TRANSACTION => fields.transaction("signature").map(ChargeClaim::Raw),
            TYPE_PROOF => Ok(ChargeClaim::Proof {
                account: source(credential, offer)?.ok_or(PayloadError::Source)?,
                signature: signature(fields)?,
            }),
            TYPE_AUTHORIZATION => {
                let signed = signed::read(fields, &credential.challenge, offer)?;
                // Who says twice who pays says the same (draft-evm-charge-00, Credential Structure).
                let told = source(credential, offer)?;
                signed::must_agree(told.is_none_or(|told| told == signed.draw.from), "from")?;
                Ok(ChargeClaim::Signed(Box::new(signed)))
            }
            TYPE_PERMIT2 => {
                let mut signed = signed::read(fields, &credential.challenge, offer)?;
                let payer = source(credential, offer)?.ok_or(PayloadError::Source)?;
                signed.draw.from = signed::payer(payer)?;
                Ok(ChargeClaim::Signed(Box::new(signed)))
            }
            _ => fields.word("hash").map(ChargeClaim::Mined),
        }
    }
}

/// Who the credential says pays, which must be on the challenge's chain.
fn source(credential: &Credential, offer: &ChargeRequest) -> Result<Option<Address>, PayloadError> {
    let payer = credential.payer().map_err(|_| PayloadError::Source)?;
    let is_here = |payer: &DidPkh| payer.chain_id == offer.method_details.chain_id;
    match payer {
        Some(payer) if is_here(&payer) => Ok(Some(payer.address)),
        Some(_) => Err(PayloadError::Source),
        None => Ok(None),
    }
}

fn signature(fields: Fields<'_>) -> Result<Signature, PayloadError> {
    let malformed = PayloadError::Malformed("signature");
    let bytes = hex::bytes(fields.text("signature")?, SIGNATURE_BYTES).map_err(|_| malformed)?;
    if bytes.len() != SIGNATURE_BYTES {
        return Err(malformed);
    }
    Signature::from_bytes(&bytes).map_err(PayloadError::Signature)
}

/// How a charge's payload that is wrong is answered: 402 with a fresh challenge, whatever is wrong
/// (draft-evm-charge-00, Error Responses). The session drafts have other words and another status.
pub fn payload_problem(error: &PayloadError) -> Problem {
    let kind = match error {
        PayloadError::Signature(_) | PayloadError::NotAsked(_) | PayloadError::OfAnotherChallenge => {
            ProblemType::VerificationFailed
        }
        _ => ProblemType::MalformedCredential,
    };
    Problem::new(kind, error.to_string())
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
