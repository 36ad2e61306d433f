//! Opens and top-ups whose transaction the payer signed and leaves to us to broadcast (`type: "transaction"`).
//!
//! Nothing is sent that could lock a deposit in vain: the transaction is read whole, judged against the offer, and the
//! first voucher is proven against its terms, before it is written down and broadcast. From then on the credential is
//! as if the payer had broadcast it.

use crate::No;
use crate::books::UsedCredential;
use crate::gateway::Gateway;
use crate::gateway::answer::Denied;
use crate::submissions::{Submission, SubmitNo};
use alloy_primitives::Address;
use weir_core::{ChannelId, Cumulative, Refusal};
use weir_protocol::SessionRequest;
use weir_protocol::problem::{Problem, ProblemType};
use weir_protocol::rails::{Action, JudgeRefusal, Judged, Rail, RawTransaction};

impl Gateway {
    /// Broadcasts an action's transaction, if it is for us to broadcast, and says what is left to judge.
    pub(super) async fn send_unsent(
        &self,
        rail: &dyn Rail,
        action: Action,
        offer: &SessionRequest,
        credential: UsedCredential,
    ) -> Result<Action, Denied> {
        let Some(RawTransaction(raw)) = action.unsent() else {
            return Ok(action);
        };
        self.inner.till.must_be_fresh()?;
        let sight = self.inner.evidence.look(rail.evidence(&action)).await;
        let sight = sight.map_err(|trouble| unknown(&trouble))?;
        let refused = |refusal: JudgeRefusal| Denied::from(rail.rules().problem(&refusal));
        let judged = rail.judge(action.clone(), &sight.seen, offer).map_err(refused)?;
        let transaction = sight.unsent.ok_or_else(|| refused(JudgeRefusal::OtherDeed))?;
        let opens = match judged {
            Judged::Open {
                terms,
                deposit,
                voucher,
                ..
            } => {
                self.inner.till.prove_of(&terms, voucher).map_err(No::from)?;
                let deposit = Cumulative::new(deposit.base_units());
                if voucher.cumulative() > deposit {
                    return Err(No::from(Refusal::ExceedsDeposit { deposit }).into());
                }
                if self.inner.till.terms(voucher.channel()).is_some() {
                    // It is open: this credential comes again, or the watcher was faster than its answer.
                    return Ok(Action::Voucher(voucher));
                }
                true
            }
            Judged::TopUp { channel, .. } => {
                let payer = self.payer_of_live(offer, channel).await?;
                if payer != transaction.sender {
                    return Err(refused(JudgeRefusal::Payer));
                }
                false
            }
            Judged::Voucher(_) | Judged::Close(_) => return Ok(action),
        };
        let _turn = self.turn_to_look().await?;
        let submission = Submission {
            raw,
            transaction: &transaction,
            credential,
            opens,
        };
        self.inner.submissions.submit(submission).await.map_err(denied)?;
        Ok(action.sent(transaction.hash, transaction.sender))
    }

    /// Whose deposit may be raised: nothing more is locked in a channel on which nothing is sold, or not this.
    pub(super) async fn payer_of_live(
        &self,
        offer: &SessionRequest,
        channel: ChannelId,
    ) -> Result<Address, Denied> {
        self.must_fit(offer, channel)?;
        let answer = self.inner.till.read(channel).await?;
        let channel = &answer.get().channel;
        channel.must_be_live().map_err(No::from)?;
        Ok(channel.terms().payer)
    }
}

pub(super) fn denied(no: SubmitNo) -> Denied {
    match no {
        SubmitNo::Refused(_) => Problem::new(ProblemType::VerificationFailed, no.to_string()).into(),
        SubmitNo::TooMany { free_in_seconds } => Denied {
            retry_after_seconds: Some(free_in_seconds),
            ..Problem::blank(429, no.to_string()).into()
        },
        SubmitNo::Unknown(trouble) => unknown(&trouble),
        SubmitNo::No(no) => no.into(),
    }
}

/// Not knowing is no failure: the same credential finds out (threat T1).
pub(super) fn unknown(trouble: &dyn std::fmt::Display) -> Denied {
    tracing::warn!(%trouble, "a payer's transaction could not be sent or looked up");
    Denied::chain_trouble("it is not known what became of the transaction; send the same credential again")
}
