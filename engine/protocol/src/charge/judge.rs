//! Whether a payment is the one that a challenge asked for.

use super::{ChargeRequest, ChargeRules};
use crate::challenge::Challenge;
use crate::problem::{Problem, ProblemType};
use crate::rails::Seen;
use crate::secrets::VerifiedChallenge;
use alloy_primitives::{Address, B256, keccak256};
use weir_core::{Amount, UnixSeconds};

/// By how much a block's time may lie before the challenge that it answers, in seconds: the chain's clock and ours differ
/// a little. Where nothing else binds a payment to its challenge, older ones are somebody else's.
pub const MINED_EARLY_SECONDS_MAX: u64 = 30;

/// The first bytes of keccak256("mpp"), and the version: how clients mark a memo that they made of the challenge.
const ATTRIBUTION: [u8; 5] = [0xef, 0x1e, 0xd7, 0x12, 0x01];
const SERVER: core::ops::Range<usize> = 5..15;
const CHALLENGE: core::ops::Range<usize> = 25..32;

/// One transfer of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferSeen {
    /// The token.
    pub token: Address,
    /// Who paid.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// How much, in base units.
    pub amount: Amount,
    /// The memo, where the token knows memos and one was given.
    pub memo: Option<B256>,
    /// The nonce of the EIP-3009 authorisation that made it, if one did.
    pub authorized: Option<B256>,
}

/// When a transaction landed, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lands {
    /// In a block of this time.
    At(UnixSeconds),
    /// Before this moment, if it says one.
    Before(Option<UnixSeconds>),
}

/// What a transaction paid, or would pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentSeen {
    /// The chain.
    pub chain_id: u64,
    /// Who sent it and paid for its gas, where that is told.
    pub sender: Option<Address>,
    /// Its transfers.
    pub transfers: Vec<TransferSeen>,
    /// When it landed, or may.
    pub lands: Lands,
}

/// What a payment is held against.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// The challenge.
    pub challenge: &'a VerifiedChallenge,
    /// What it asked for.
    pub offer: &'a ChargeRequest,
    /// When it was made.
    pub issued: UnixSeconds,
    /// Who the credential says paid, if it says so.
    pub payer: Option<Address>,
}

/// Why a payment does not answer a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChargeRefusal {
    /// It is on another chain.
    #[error("the transaction is for another chain")]
    Chain,
    /// It moves nothing of the challenge's token.
    #[error("the transaction transfers nothing of the challenge's currency")]
    Token,
    /// It pays somebody else.
    #[error("the transaction pays somebody else than the challenge's recipient")]
    Recipient,
    /// It pays another amount.
    #[error("the transaction pays another amount than the challenge's")]
    Amount,
    /// Its memo is not of this challenge.
    #[error("the transfer carries no memo of this challenge; send the challenge's own with transferWithMemo")]
    Memo,
    /// It is older than the challenge.
    #[error("the transaction is older than the challenge; pay each challenge anew")]
    TooOld,
    /// It may land when the challenge is over.
    #[error(
        "the transaction does not expire with the challenge; sign a validBefore no later than its expires"
    )]
    Outlasts,
    /// The payer signed for it, which names another challenge.
    #[error("the transfer was made by a signature that names its challenge; show that as the credential")]
    Signed,
    /// Somebody else than the credential's source paid.
    #[error("the transfer was not made by the credential's source")]
    Payer,
    /// The signature is not that of the credential's source over this challenge.
    #[error("the proof is not signed by the credential's source for this challenge")]
    Proof,
    /// It was mined and reverted.
    #[error("the transaction reverted")]
    Reverted,
    /// The bytes are no transaction of this method.
    #[error("the transaction {0}")]
    Unreadable(&'static str),
    /// It does what is not taken here.
    #[error("the transaction {0}")]
    Unfit(&'static str),
    /// It is not mined yet, as far as our node knows.
    #[error("the transaction is not mined yet; send the same credential again")]
    NotMined,
    /// It pays, and is in a block that is not final.
    #[error("the transaction is not final yet; send the same credential again, and pay nothing anew")]
    NotFinal,
}

/// 402 with a fresh challenge (draft-evm-charge-00, Error Responses), but 503 for what is not mined or final yet: a node that lags
/// must not cost a second payment.
impl From<&ChargeRefusal> for Problem {
    fn from(refusal: &ChargeRefusal) -> Self {
        let said = refusal.to_string();
        match refusal {
            ChargeRefusal::NotMined | ChargeRefusal::NotFinal => Self::blank(503, said),
            ChargeRefusal::Unreadable(_) => Self::new(ProblemType::MalformedCredential, said),
            _ => Self::new(ProblemType::VerificationFailed, said),
        }
    }
}

/// Compares what was seen with what was asked for, and says who paid (draft-tempo-charge-00, Transaction and Hash
/// Verification; draft-evm-charge-00, Hash Verification).
///
/// # Errors
/// [`ChargeRefusal`]: of several transfers, what is wrong with the one that comes nearest.
pub fn judge(rules: &ChargeRules, seen: &Seen, against: Judging<'_>) -> Result<Address, ChargeRefusal> {
    let payment = match seen {
        Seen::Payment(payment) => payment,
        Seen::Reverted => return Err(ChargeRefusal::Reverted),
        Seen::NotMined => return Err(ChargeRefusal::NotMined),
        Seen::Unreadable(why) => return Err(ChargeRefusal::Unreadable(why)),
        Seen::Unfit(why) => return Err(ChargeRefusal::Unfit(why)),
        Seen::Nothing | Seen::Open(_) | Seen::TopUp(_) | Seen::SomethingElse => {
            return Err(ChargeRefusal::Token);
        }
    };
    if payment.chain_id != against.offer.method_details.chain_id {
        return Err(ChargeRefusal::Chain);
    }
    match payment.lands {
        Lands::At(mined) if !rules.has_memo && mined.after(MINED_EARLY_SECONDS_MAX) < against.issued => {
            return Err(ChargeRefusal::TooOld);
        }
        // It must not land when it buys nothing any more.
        Lands::Before(before) if before.is_none_or(|before| before > lands_before(against)) => {
            return Err(ChargeRefusal::Outlasts);
        }
        Lands::At(_) | Lands::Before(_) => {}
    }
    let mut nearest = ChargeRefusal::Token;
    for transfer in &payment.transfers {
        match fits(rules, transfer, against) {
            Ok(()) => return Ok(transfer.from),
            Err(refusal) if distance(refusal) < distance(nearest) => nearest = refusal,
            Err(_) => {}
        }
    }
    Err(nearest)
}

/// Payers that count the challenge's own second in sign one second more, which `validBefore` leaves out (pympp does).
fn lands_before(against: Judging<'_>) -> UnixSeconds {
    against.challenge.expires().after(1)
}

fn fits(rules: &ChargeRules, transfer: &TransferSeen, against: Judging<'_>) -> Result<(), ChargeRefusal> {
    let offer = against.offer;
    require(transfer.token == offer.currency, ChargeRefusal::Token)?;
    require(transfer.to == offer.recipient, ChargeRefusal::Recipient)?;
    require(transfer.amount == offer.amount, ChargeRefusal::Amount)?;
    if rules.has_memo {
        require(
            transfer.memo.is_some_and(|memo| is_bound(memo, against)),
            ChargeRefusal::Memo,
        )
    } else {
        let payer = against.payer;
        require(transfer.authorized.is_none(), ChargeRefusal::Signed)?;
        require(
            payer.is_none_or(|payer| payer == transfer.from),
            ChargeRefusal::Payer,
        )
    }
}

/// How much is wrong with a transfer of which this is the first thing.
const fn distance(refusal: ChargeRefusal) -> u8 {
    match refusal {
        ChargeRefusal::Memo | ChargeRefusal::Payer | ChargeRefusal::Signed => 0,
        ChargeRefusal::Amount => 1,
        ChargeRefusal::Recipient => 2,
        _ => 3,
    }
}

/// A memo binds a payment to one challenge: it is the challenge's own, or made of the challenge's id by the client, as
/// mppx does whatever the challenge says.
fn is_bound(memo: B256, against: Judging<'_>) -> bool {
    let challenge = against.challenge.challenge();
    let attributed = memo.starts_with(&ATTRIBUTION)
        && memo.get(SERVER) == keccak256(&challenge.realm).get(..SERVER.len())
        && memo.get(CHALLENGE) == keccak256(&challenge.id).get(..CHALLENGE.len());
    attributed || against.offer.method_details.memo == Some(memo)
}

/// The memo by which a client binds its payment to a challenge that names none, without a name of its own.
pub fn attribution(challenge: &Challenge) -> B256 {
    let mut memo = B256::ZERO;
    let (server, id) = (keccak256(&challenge.realm), keccak256(&challenge.id));
    memo[..ATTRIBUTION.len()].copy_from_slice(&ATTRIBUTION);
    memo[SERVER].copy_from_slice(&server[..SERVER.len()]);
    memo[CHALLENGE].copy_from_slice(&id[..CHALLENGE.len()]);
    memo
}

pub(super) fn require(holds: bool, otherwise: ChargeRefusal) -> Result<(), ChargeRefusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}
