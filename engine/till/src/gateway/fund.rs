//! Deposits that the payer signed for and we pull (`type: "authorization"` and `"permit2"`, and deposits in vouchers).
//!
//! Nothing is sent that could lock a deposit in vain: what was signed is judged against the offer, and the voucher that
//! goes with it is proven, before it is written down and sent. From then on the credential is as if the deposit had been
//! there when it came. The channel is looked for by its id: whoever sent the open, it is as good.

use crate::books::UsedCredential;
use crate::funding::{FundNo, PullOrder, Ready};
use crate::gateway::Gateway;
use crate::gateway::answer::Denied;
use crate::gateway::pay::{DEPOSIT_WAIT, MINED_WAIT, unread};
use crate::gateway::submit::unknown;
use crate::{Funding, No};
use alloy_primitives::B256;
use std::time::Duration;
use weir_core::{Amount, ChannelId, Claimed, Cumulative, Refusal, Voucher};
use weir_protocol::SessionRequest;
use weir_protocol::problem::{Problem, ProblemType};
use weir_protocol::rails::evm_session::TYPE_HASH;
use weir_protocol::rails::signed::{TYPE_AUTHORIZATION, TYPE_PERMIT2};
use weir_protocol::rails::{Action, Judged, Rail, Seen, SignedPull};

/// How often a request that waits for a block looks whether the daemon ends.
const ENDS_POLL: Duration = Duration::from_millis(250);

impl Gateway {
    /// Pulls an action's deposit, if it is for us to pull, and says what is left to judge.
    pub(super) async fn pull_unpulled(
        &self,
        rail: &dyn Rail,
        action: Action,
        offer: &SessionRequest,
        credential: UsedCredential,
    ) -> Result<Action, Denied> {
        let Some(signed) = action.unpulled().cloned() else {
            return Ok(action);
        };
        let channel = action.channel();
        tokio::select! {
            pulled = self.pull_now(rail, action, offer, (&signed, credential)) => pulled,
            // What was written down is sent all the same; the credential finds the next daemon.
            no = self.no_more_time(channel) => Err(no.into()),
        }
    }

    /// Comes when the daemon ends, for channels whose stream does not run on.
    async fn no_more_time(&self, channel: ChannelId) -> No {
        loop {
            if let Err(no) = self.must_manage(Some(channel)) {
                return no;
            }
            tokio::time::sleep(ENDS_POLL).await;
        }
    }

    async fn pull_now(
        &self,
        rail: &dyn Rail,
        action: Action,
        offer: &SessionRequest,
        (signed, credential): (&SignedPull, UsedCredential),
    ) -> Result<Action, Denied> {
        self.inner.till.must_be_fresh()?;
        let judged = rail
            .judge(action.clone(), &Seen::Nothing, offer)
            .map_err(|refusal| Denied::from(rail.rules().problem(&refusal)))?;
        let order = PullOrder { signed, credential };
        match (judged, action) {
            (
                Judged::Open {
                    terms,
                    deposit,
                    voucher,
                    ..
                },
                _,
            ) => {
                self.inner.till.prove_of(&terms, voucher).map_err(No::from)?;
                self.pull_open(order, deposit, voucher).await
            }
            (Judged::TopUp { channel, .. }, Action::FundedVoucher { deposit, voucher }) => {
                self.payer_of_live(offer, channel).await?;
                self.inner.till.prove(voucher).map_err(No::from)?;
                let raise = Action::TopUp(deposit);
                if let Some(hash) = self.pulled(order).await? {
                    let sight = self
                        .look(rail.evidence(&raise.sent(hash, signed.pull.from)), true)
                        .await?;
                    let deposit = sight.raised_to.ok_or_else(unread)?;
                    let _ = self
                        .inner
                        .till
                        .wait_for_deposit(channel, deposit, DEPOSIT_WAIT)
                        .await?;
                }
                Ok(Action::Voucher(voucher))
            }
            (Judged::TopUp { channel, .. }, action) => {
                self.payer_of_live(offer, channel).await?;
                match self.pulled(order).await? {
                    Some(hash) => Ok(action.sent(hash, signed.pull.from)),
                    None => Err(No::NotSeenYet.into()),
                }
            }
            (Judged::Voucher(_) | Judged::Close(_), action) => Ok(action),
        }
    }

    async fn pull_open(
        &self,
        order: PullOrder<'_>,
        deposit: Amount,
        voucher: Voucher<Claimed>,
    ) -> Result<Action, Denied> {
        let deposit = Cumulative::new(deposit.base_units());
        if voucher.cumulative() > deposit {
            return Err(No::from(Refusal::ExceedsDeposit { deposit }).into());
        }
        let till = &self.inner.till;
        // Known already: this credential comes again, or somebody else sent what was signed.
        if till.terms(voucher.channel()).is_none() {
            self.pulled(order).await?;
        }
        // The watcher says whose channel it is and since when, and its deposit counts when the watcher says so.
        let needed = voucher.cumulative();
        let _ = till
            .wait_for_deposit(voucher.channel(), needed, DEPOSIT_WAIT)
            .await?;
        Ok(Action::Voucher(voucher))
    }

    /// Sends it, or finds that it was sent, and waits for its block.
    async fn pulled(&self, order: PullOrder<'_>) -> Result<Option<B256>, Denied> {
        let no_more = "this server pulls no deposits any more";
        let funding = self.inner.funding.as_ref();
        let funding = funding.ok_or_else(|| denied(FundNo::Unaffordable(no_more)))?;
        let ready = {
            let _turn = self.turn_to_look().await?;
            funding.prepare(order).await.map_err(denied)?
        };
        if let Ready::Fresh(fresh) = ready {
            funding.send(fresh).await.map_err(denied)?;
        }
        funding.outcome(order, MINED_WAIT).await.map_err(denied)
    }
}

/// Writes into an offer that deposits are pulled, and how. While the gas key is empty it says nothing of it.
pub(super) fn offer_pulls(funding: &Funding, request: &mut SessionRequest) {
    let paths = funding.paths().pulls;
    if paths.is_empty() || !funding.is_able() {
        return;
    }
    let minimum = funding.config().deposit_min;
    request.suggested_deposit = Some(request.suggested_deposit.unwrap_or(minimum).max(minimum));
    let details = &mut request.method_details;
    let authorization = paths.eip3009.map(|_| TYPE_AUTHORIZATION);
    let permit2 = paths.permit2.map(|_| TYPE_PERMIT2);
    let kinds = [authorization, permit2, Some(TYPE_HASH)];
    details.credential_types = Some(kinds.into_iter().flatten().map(str::to_owned).collect());
    details.fee_payer = Some(true);
    details.permit2_contract = paths.permit2.map(|permit2| permit2.address);
}

pub(super) fn denied(no: FundNo) -> Denied {
    let said = no.to_string();
    let kind = match no {
        FundNo::TooSmall { .. } => ProblemType::PaymentInsufficient,
        FundNo::NotThePayers => ProblemType::InvalidSignature,
        FundNo::Window | FundNo::Outlasts => ProblemType::PaymentExpired,
        FundNo::Balance { .. } => ProblemType::InsufficientBalance,
        FundNo::OtherDeposit { .. } => ProblemType::VerificationFailed,
        FundNo::Reverted(_) => ProblemType::TransactionReverted,
        // With the fresh challenge beside it, which names the ways that are left.
        FundNo::Unaffordable(_) => {
            return Problem::new(ProblemType::MethodUnsupported, said)
                .with_status(402)
                .into();
        }
        FundNo::TooMany { free_in_seconds } => {
            return Denied {
                retry_after_seconds: Some(free_in_seconds),
                ..Problem::blank(429, said).into()
            };
        }
        FundNo::Waits => return Denied::chain_trouble(&said),
        FundNo::Unknown(trouble) => return unknown(&trouble),
        FundNo::No(no) => return no.into(),
    };
    Problem::new(kind, said).into()
}
