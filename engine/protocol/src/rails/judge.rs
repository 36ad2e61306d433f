//! The judgement that the session rails share: claim against sight against offer.

use super::{Action, CloseClaim, Evidence, Funding, OpenClaim, OpenSeen, RailRules, Seen, TopUpClaim};
use crate::problem::{Problem, ProblemType};
use crate::request::SessionRequest;
use alloy_primitives::{Address, B256};
use weir_core::voucher::Claimed;
use weir_core::{Amount, ChannelId, Domain, Terms, Voucher};

/// What an action comes to once the evidence bears it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// A channel that fits the offer; adopt it once its opening counts, then prove the voucher.
    Open {
        /// Its parties and token.
        terms: Terms,
        /// Its salt.
        salt: B256,
        /// Its deposit, in base units.
        deposit: Amount,
        /// The first voucher.
        voucher: Voucher<Claimed>,
    },
    /// A deposit that rose, or will once the transaction is mined.
    TopUp {
        /// The channel.
        channel: ChannelId,
        /// By how much, in base units.
        additional: Amount,
    },
    /// A voucher for the lane.
    Voucher(Voucher<Claimed>),
    /// A last voucher for the lane.
    Close(CloseClaim),
}

/// Why a claim is not borne out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JudgeRefusal {
    /// What was seen is of another kind than what was claimed.
    #[error("the transaction does not do what the credential says")]
    OtherDeed,
    /// It is on another chain.
    #[error("the transaction is for another chain")]
    Chain,
    /// It is with another contract.
    #[error("the transaction is for another escrow")]
    Escrow,
    /// It pays somebody else.
    #[error("the channel pays somebody else")]
    Payee,
    /// It holds another token.
    #[error("the channel holds another token")]
    Token,
    /// It is another channel than the one claimed.
    #[error("the transaction is about another channel")]
    Channel,
    /// Somebody else than the credential's source paid.
    #[error("the transaction was not made by the credential's source")]
    Payer,
    /// The salt is another.
    #[error("the channel has another salt")]
    Salt,
    /// Somebody may settle and close it whom the challenge does not name.
    #[error("the channel has another operator than the challenge names")]
    Operator,
    /// Another account signs its vouchers than the payload says.
    #[error("the channel has another authorized signer")]
    AuthorizedSigner,
    /// The deposit does not cover one unit.
    #[error("the deposit does not cover one unit")]
    DepositTooSmall,
    /// The deposit rose by another amount.
    #[error("the deposit rose by another amount")]
    OtherAmount,
    /// The transaction was mined and changed nothing.
    #[error("the transaction reverted")]
    Reverted,
    /// The bytes are no transaction of this rail.
    #[error("the transaction {0}")]
    Unreadable(&'static str),
    /// The transaction does what is not taken here.
    #[error("the transaction {0}")]
    Unfit(&'static str),
    /// The transaction is not mined yet, as far as our node knows.
    #[error("the transaction is not mined yet")]
    NotMined,
}

/// 402 with a fresh challenge, but 409 for what reverted (draft-evm-session-00, Error Responses) and 503, to
/// be tried again as it is, for what is not mined yet: a lagging node must not cost a second deposit.
impl From<&JudgeRefusal> for Problem {
    fn from(refusal: &JudgeRefusal) -> Self {
        let said = refusal.to_string();
        match refusal {
            JudgeRefusal::Reverted => Self::new(ProblemType::TransactionReverted, said),
            JudgeRefusal::NotMined => Self::blank(503, said),
            JudgeRefusal::Unreadable(_) => Self::new(ProblemType::MalformedCredential, said).with_status(400),
            JudgeRefusal::DepositTooSmall => Self::new(ProblemType::InsufficientBalance, said),
            _ => Self::new(ProblemType::VerificationFailed, said),
        }
    }
}

/// What must be looked up for an action.
pub(super) fn evidence(action: &Action) -> Evidence<'_> {
    let (funding, channel, opens) = match action {
        Action::Voucher(_) | Action::FundedVoucher { .. } | Action::Close(_) => return Evidence::None,
        Action::Open(claim) => (&claim.funding, claim.voucher.channel(), true),
        Action::TopUp(claim) => (&claim.funding, claim.channel, false),
    };
    match funding {
        // What it would do is all in what was signed.
        Funding::Signed(_) => Evidence::None,
        Funding::Raw(transaction) => Evidence::RawTransaction {
            bytes: &transaction.0,
        },
        Funding::Mined { tx_hash, .. } if opens => Evidence::OpenedBy {
            tx_hash: *tx_hash,
            channel,
        },
        Funding::Mined { tx_hash, .. } => Evidence::ToppedUpBy {
            tx_hash: *tx_hash,
            channel,
        },
    }
}

/// Compares a claim with what was seen and what was offered.
pub(super) fn judge(
    rules: &RailRules,
    action: Action,
    seen: &Seen,
    offer: &SessionRequest,
) -> Result<Judged, JudgeRefusal> {
    match (action, seen) {
        (Action::Voucher(voucher), Seen::Nothing) => Ok(Judged::Voucher(voucher)),
        (Action::Close(claim), Seen::Nothing) => Ok(Judged::Close(claim)),
        (Action::FundedVoucher { deposit, .. }, Seen::Nothing) => judge_signed_top_up(&deposit),
        (Action::TopUp(claim), Seen::Nothing) => judge_signed_top_up(&claim),
        (Action::Open(claim), Seen::Nothing) => {
            let seen = match &claim.funding {
                Funding::Signed(pull) => pull.would_open(offer),
                Funding::Mined { .. } | Funding::Raw(_) => None,
            };
            judge_open(rules, claim, &seen.ok_or(JudgeRefusal::OtherDeed)?, offer)
        }
        (_, Seen::Reverted) => Err(JudgeRefusal::Reverted),
        (_, Seen::Unreadable(why)) => Err(JudgeRefusal::Unreadable(why)),
        (_, Seen::Unfit(why)) => Err(JudgeRefusal::Unfit(why)),
        (_, Seen::NotMined) => Err(JudgeRefusal::NotMined),
        (Action::Open(claim), Seen::Open(seen)) => judge_open(rules, claim, seen, offer),
        (Action::TopUp(claim), Seen::TopUp(seen)) => {
            offer.must_be_at(seen.escrow, seen.chain_id)?;
            judge_top_up(&claim, seen.channel, seen.additional)
        }
        _ => Err(JudgeRefusal::OtherDeed),
    }
}

/// draft-evm-session-00 and draft-tempo-session-00, Open Verification.
fn judge_open(
    rules: &RailRules,
    claim: OpenClaim,
    seen: &OpenSeen,
    offer: &SessionRequest,
) -> Result<Judged, JudgeRefusal> {
    offer.must_fit(&seen.terms, seen.escrow, seen.chain_id)?;
    if let Funding::Mined { payer, .. } = claim.funding {
        require(seen.terms.payer == payer, JudgeRefusal::Payer)?;
    }
    require(
        claim.salt.is_none_or(|salt| salt == seen.salt),
        JudgeRefusal::Salt,
    )?;
    if let Some(claimed) = claim.authorized_signer {
        // Zero and the payer's own address say the same.
        let claimed = if claimed.is_zero() {
            seen.terms.payer
        } else {
            claimed
        };
        require(claimed == seen.terms.signer(), JudgeRefusal::AuthorizedSigner)?;
    }
    // Computed, not believed: a channel whose id does not follow from its terms is somebody else's contract.
    let domain = Domain::new(rules.domain_name, seen.chain_id, seen.escrow);
    let channel = seen.terms.channel_id(seen.salt, &domain);
    require(channel == claim.voucher.channel(), JudgeRefusal::Channel)?;
    require(seen.deposit >= offer.amount, JudgeRefusal::DepositTooSmall)?;
    let OpenSeen {
        terms, salt, deposit, ..
    } = seen.clone();
    Ok(Judged::Open {
        terms,
        salt,
        deposit,
        voucher: claim.voucher,
    })
}

/// draft-evm-session-00 and draft-tempo-session-00, TopUp Verification.
fn judge_top_up(claim: &TopUpClaim, channel: ChannelId, additional: Amount) -> Result<Judged, JudgeRefusal> {
    require(channel == claim.channel, JudgeRefusal::Channel)?;
    require(additional == claim.additional, JudgeRefusal::OtherAmount)?;
    Ok(Judged::TopUp { channel, additional })
}

/// A top-up that is still to be pulled: its amount and channel were compared when it was read.
fn judge_signed_top_up(claim: &TopUpClaim) -> Result<Judged, JudgeRefusal> {
    require(
        matches!(claim.funding, Funding::Signed(_)),
        JudgeRefusal::OtherDeed,
    )?;
    require(!claim.additional.is_zero(), JudgeRefusal::OtherAmount)?;
    judge_top_up(claim, claim.channel, claim.additional)
}

impl SessionRequest {
    /// Whether a channel of these terms, in this escrow on this chain, is one that may pay this request (threat V2).
    ///
    /// # Errors
    /// Which of the five is another.
    pub fn must_fit(&self, terms: &Terms, escrow: Address, chain_id: u64) -> Result<(), JudgeRefusal> {
        self.must_be_at(escrow, chain_id)?;
        require(terms.payee == self.recipient, JudgeRefusal::Payee)?;
        require(terms.token == self.currency, JudgeRefusal::Token)?;
        // An operator collects and closes as it likes: one that is the payer would close at nothing what it spent.
        let operator = self.method_details.operator.unwrap_or(Address::ZERO);
        require(
            terms.reserve.is_none_or(|reserve| reserve.operator == operator),
            JudgeRefusal::Operator,
        )
    }

    /// The same, where the reason is of no interest.
    pub fn fits(&self, terms: &Terms, escrow: Address, chain_id: u64) -> bool {
        self.must_fit(terms, escrow, chain_id).is_ok()
    }

    fn must_be_at(&self, escrow: Address, chain_id: u64) -> Result<(), JudgeRefusal> {
        let details = &self.method_details;
        require(chain_id == details.chain_id, JudgeRefusal::Chain)?;
        require(escrow == details.escrow_contract, JudgeRefusal::Escrow)
    }
}

fn require(holds: bool, otherwise: JudgeRefusal) -> Result<(), JudgeRefusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
