//! The no, as a client reads it: RFC 9457 problem details (draft-httpauth-payment-00, Error Handling;
//! draft-evm-session-00 and draft-tempo-session-00, Error Responses).

use crate::challenge::ChallengeError;
use crate::credential::CredentialError;
use crate::secrets::ChallengeRefusal;
use serde::Serialize;
use serde_json::{Map, Value};
use weir_core::{ChannelId, Refusal};

/// Media type of a problem's body.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// Every type of problem that the drafts define, and `about:blank` for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// The resource costs something and no credential came.
    PaymentRequired,
    /// The payment is too small.
    PaymentInsufficient,
    /// The authorisation expired.
    PaymentExpired,
    /// The proof does not prove the payment.
    VerificationFailed,
    /// The method is not taken here.
    MethodUnsupported,
    /// The credential cannot be read.
    MalformedCredential,
    /// The challenge is unknown, expired or used.
    InvalidChallenge,
    /// The voucher's signature is no signature over it.
    InvalidSignature,
    /// Somebody else than the channel's signer signed.
    SignerMismatch,
    /// The voucher authorises more than the deposit.
    AmountExceedsDeposit,
    /// The voucher raises the total by too little.
    DeltaTooSmall,
    /// No such channel.
    ChannelNotFound,
    /// The channel is over for new purchases.
    ChannelFinalized,
    /// The session's challenge is unknown or expired.
    ChallengeNotFound,
    /// What is authorised does not cover the price.
    InsufficientBalance,
    /// A transaction was mined and changed nothing.
    TransactionReverted,
    /// No type says more than the status does (RFC 9457, Section 4.2.1).
    Blank,
}

/// One row of [`PROBLEMS`].
#[derive(Debug, Clone, Copy)]
pub struct ProblemRow {
    /// The type.
    pub kind: ProblemType,
    /// Its URI.
    pub uri: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The HTTP status that it usually comes with.
    pub status: u16,
    /// Where it is defined.
    pub source: &'static str,
    /// When it is answered.
    pub when: &'static str,
    /// What the client does next.
    pub next: &'static str,
}

impl ProblemRow {
    /// Whether a fresh challenge stands beside it (draft-httpauth-payment-00, When NOT to Return 402).
    pub const fn has_challenge(&self) -> bool {
        self.status == 402
    }
}

const CORE: &str = "draft-httpauth-payment-00, Error Codes";
const SESSION: &str = "draft-evm-session-00 and draft-tempo-session-00, Problem Type Registration";
const EVM: &str = "draft-evm-session-00, Problem Type Registration";

macro_rules! problems {
    ($($kind:ident, $uri:literal, $title:literal, $status:literal, $source:expr, $when:literal => $next:literal;)*) => {
        /// Every problem type with its URI, title, usual status and source, in the order of [`ProblemType`].
        /// `docs/problems.md` is written from it.
        pub const PROBLEMS: &[ProblemRow] = &[$(ProblemRow {
            kind: ProblemType::$kind,
            uri: $uri,
            title: $title,
            status: $status,
            source: $source,
            when: $when,
            next: $next,
        },)*];

        impl ProblemType {
            /// The row of this type.
            pub const fn row(self) -> ProblemRow {
                PROBLEMS[self as usize]
            }
        }
    };
}

problems! {
    PaymentRequired, "https://paymentauth.org/problems/payment-required", "Payment Required", 402, CORE,
        "The resource costs something and no credential came. `offered` lists the methods where `Accept-Payment` named none of them."
        => "Answer the challenge.";
    PaymentInsufficient, "https://paymentauth.org/problems/payment-insufficient", "Payment Insufficient", 402, CORE,
        "The payment is too small, or a deposit that the seller is to pull is not worth its gas." => "Answer the fresh challenge with its amount, or with the deposit that `detail` names.";
    PaymentExpired, "https://paymentauth.org/problems/payment-expired", "Payment Expired", 402, CORE,
        "The authorisation expired." => "Answer the fresh challenge with a new authorisation.";
    VerificationFailed, "https://paymentauth.org/problems/verification-failed", "Payment Verification Failed", 402, CORE,
        "The proof does not prove the payment: other terms, another channel, a payment for another challenge, or a challenge for another request body."
        => "Compare the terms with the fresh challenge, and answer that one.";
    MethodUnsupported, "https://paymentauth.org/problems/method-unsupported", "Method Unsupported", 400, CORE,
        "The payment method or its form is not taken here. 402 where the seller cannot pay the gas of a deposit now." => "Pay by what the challenge names.";
    MalformedCredential, "https://paymentauth.org/problems/malformed-credential", "Malformed Credential", 402, CORE,
        "The credential cannot be read. 400 where a field of a session's payload is missing or malformed, or where several credentials came."
        => "Repair the credential; the fresh challenge that comes with a 402 may be answered.";
    InvalidChallenge, "https://paymentauth.org/problems/invalid-challenge", "Invalid Challenge", 402, CORE,
        "The credential has bought its content already; in a charge also: the challenge is not ours, was changed, is of another place, or expired. 409 while another request with the same payment is being answered, or the challenge is paid by another transaction."
        => "Answer the fresh challenge. After a 409 pay nothing anew: send the credential of the payment again.";
    InvalidSignature, "https://paymentauth.org/problems/session/invalid-signature", "Invalid Signature", 402, SESSION,
        "The voucher's signature is no signature over it." => "Sign the voucher again, 65 bytes with a low s.";
    SignerMismatch, "https://paymentauth.org/problems/session/signer-mismatch", "Signer Mismatch", 402, SESSION,
        "Somebody else than the channel's signer signed, or another amount, channel, escrow or chain was signed."
        => "Sign with the key that the channel names, under the escrow's domain.";
    AmountExceedsDeposit, "https://paymentauth.org/problems/session/amount-exceeds-deposit", "Amount Exceeds Deposit", 402, SESSION,
        "The voucher authorises more than the final deposit, which `deposit` tells." => "Top up, or sign for less.";
    DeltaTooSmall, "https://paymentauth.org/problems/session/delta-too-small", "Delta Too Small", 402, SESSION,
        "The voucher raises the total by less than `minVoucherDelta`, or is below `acceptedCumulative` where the method forbids that."
        => "Sign for a higher total.";
    ChannelNotFound, "https://paymentauth.org/problems/session/channel-not-found", "Channel Not Found", 410, SESSION,
        "No such channel is known here." => "Open a channel, or name the right one. Do not repeat the request as it is.";
    ChannelFinalized, "https://paymentauth.org/problems/session/channel-finalized", "Channel Finalized", 410, SESSION,
        "The channel is closed, closing, frozen by a reorganisation, or older than the seller's books."
        => "Open another channel; the rest of this one's deposit comes back by its close or its withdrawal.";
    ChallengeNotFound, "https://paymentauth.org/problems/session/challenge-not-found", "Challenge Not Found", 402, SESSION,
        "The challenge is not ours, was changed, is of another place, or expired." => "Answer the fresh challenge.";
    InsufficientBalance, "https://paymentauth.org/problems/session/insufficient-balance", "Insufficient Balance", 402, SESSION,
        "What is authorised does not cover the price: `requiredCumulative`, `acceptedCumulative` and `requiredTopUp` tell how far."
        => "Sign for `requiredCumulative`; top up first where that is above the deposit.";
    TransactionReverted, "https://paymentauth.org/problems/session/transaction-reverted", "Transaction Reverted", 409, EVM,
        "The transaction was mined and changed nothing, or a deposit that the seller is to pull would revert." => "Find out why it reverted, and send or sign another.";
    Blank, "about:blank", "", 500, "RFC 9457, Section 4.2.1",
        "No type says more than the status: 404 no such route; 405 no content by this method; 400 no readable idempotency key; 408, 413 the request's body; 409 the request of this idempotency key is under way, or was delivered once and is not kept; 422 its key was used for another request; 429 too many vouchers, deliveries or transactions at once; 502, 504 the service behind; 503 nothing can be sold now; 500 a fault of the seller."
        => "Where `Retry-After` stands, send the same request again after so many seconds. Nothing was charged; what a charge has paid stands, and the same credential gets its answer; for the request of a key, nothing more than once.";
}

/// One problem, ready to be answered with. A 402 needs a fresh challenge beside it; no problem ever goes with
/// a receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    kind: ProblemType,
    status: u16,
    detail: String,
    extensions: Map<String, Value>,
}

impl Problem {
    /// A problem with its usual status. `detail` is public: it must hold no key and no credential.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            status: kind.row().status,
            detail: detail.into(),
            extensions: Map::new(),
        }
    }

    /// A problem that no type describes better than its HTTP status.
    pub fn blank(status: u16, detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Blank, detail).with_status(status)
    }

    /// The same with another HTTP status.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with an extension member; the members of RFC 9457 itself cannot be replaced so.
    #[must_use]
    pub fn with<T: Serialize>(mut self, member: &str, value: T) -> Self {
        let taken = ["type", "title", "status", "detail", "instance"].contains(&member);
        if let (false, Ok(value)) = (taken, serde_json::to_value(value)) {
            self.extensions.insert(member.to_owned(), value);
        }
        self
    }

    /// The same with the channel that it is about.
    #[must_use]
    pub fn on_channel(self, channel: ChannelId) -> Self {
        self.with("channelId", channel)
    }

    /// Its type.
    pub const fn kind(&self) -> ProblemType {
        self.kind
    }

    /// The HTTP status to answer with.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// What it says to people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// True when a fresh challenge must stand beside it (draft-httpauth-payment-00, When NOT to Return 402).
    pub const fn needs_challenge(&self) -> bool {
        self.status == 402
    }

    /// The body, of type [`PROBLEM_CONTENT_TYPE`].
    pub fn body(&self) -> String {
        let row = self.kind.row();
        let mut object = self.extensions.clone();
        object.insert("type".to_owned(), Value::from(row.uri));
        if !row.title.is_empty() {
            object.insert("title".to_owned(), Value::from(row.title));
        }
        object.insert("status".to_owned(), Value::from(self.status));
        object.insert("detail".to_owned(), Value::from(self.detail.as_str()));
        Value::Object(object).to_string()
    }
}

/// How each refusal of the core reads on the wire. A channel that will never sell again is 410, because a 402
/// would invite the same client to pay the same way for ever (threat H3).
impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        use ProblemType as P;
        let said = refusal.to_string();
        match refusal {
            Refusal::ChannelNotFound => Self::new(P::ChannelNotFound, said),
            Refusal::ChannelFinalized
            | Refusal::ChannelClosing
            | Refusal::ChannelFrozen
            | Refusal::ChannelDrainOnly => Self::new(P::ChannelFinalized, said),
            Refusal::WrongChannel => Self::new(P::VerificationFailed, said),
            Refusal::InvalidSignature => Self::new(P::InvalidSignature, said),
            Refusal::SignerMismatch => Self::new(P::SignerMismatch, said),
            Refusal::ExceedsDeposit { deposit } => {
                Self::new(P::AmountExceedsDeposit, said).with("deposit", deposit)
            }
            Refusal::DeltaTooSmall { minimum } => {
                Self::new(P::DeltaTooSmall, said).with("minVoucherDelta", minimum)
            }
            Refusal::Stale { accepted } => {
                Self::new(P::DeltaTooSmall, said).with("acceptedCumulative", accepted)
            }
            Refusal::InsufficientBalance { required, accepted } => {
                let problem = Self::new(P::InsufficientBalance, said)
                    .with("requiredCumulative", required)
                    .with("acceptedCumulative", accepted);
                match required.since(*accepted) {
                    Some(missing) => problem.with("requiredTopUp", missing),
                    None => problem,
                }
            }
            Refusal::CredentialUsed => Self::new(P::InvalidChallenge, said),
            Refusal::TooManyCharges => Self::blank(429, said),
            Refusal::CaptureUnderWay => Self::blank(503, said),
            // Ours to get right: a client can do nothing about these, and learns nothing from them.
            Refusal::ChargeNotOpen
            | Refusal::ExceedsReservation
            | Refusal::NotCollectible { .. }
            | Refusal::Overflow => Self::blank(500, "the books refused an internal step"),
        }
    }
}

/// A header that holds no readable credential: 402, or 400 when there are several
/// (draft-httpauth-payment-00, Response Status Codes and Multiple Payment Options).
impl From<&CredentialError> for Problem {
    fn from(error: &CredentialError) -> Self {
        let problem = Self::new(ProblemType::MalformedCredential, error.to_string());
        match error {
            CredentialError::Several => problem.with_status(400),
            _ => problem,
        }
    }
}

/// A challenge that cannot be issued is a fault of the configuration.
impl From<&ChallengeError> for Problem {
    fn from(_: &ChallengeError) -> Self {
        Self::blank(500, "no payment challenge can be made for this resource")
    }
}

impl ChallengeRefusal {
    /// How this reads on the wire: the session drafts have a type of their own for it.
    pub fn problem(self, intent: &str) -> Problem {
        let kind = match intent {
            "session" => ProblemType::ChallengeNotFound,
            _ => ProblemType::InvalidChallenge,
        };
        Problem::new(kind, self.to_string())
    }
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
