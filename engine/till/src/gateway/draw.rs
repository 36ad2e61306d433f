//! Payments that the payer signed for and we send (`evm`/`charge`, `type: "authorization"` and `"permit2"`).
//!
//! What was signed is judged and tried before gas is spent; that its answer is owed is written down before the
//! transaction is, and that before it is sent. The transaction that made the payment counts, whoever sent it.

use crate::funding::{DrawOrder, FundNo, Ready};
use crate::gateway::Gateway;
use crate::gateway::answer::Denied;
use crate::gateway::charge::{Bill, denied};
use crate::gateway::fund;
use crate::gateway::pay::MINED_WAIT;
use crate::{Claim, Funding, Turn};
use alloy_primitives::B256;
use weir_core::Amount;
use weir_protocol::charge::{
    ChargeDetails, ChargeRefusal, PaymentSeen, SignedDraw, TYPE_AUTHORIZATION, TYPE_HASH, TYPE_PERMIT2,
};
use weir_protocol::problem::{Problem, ProblemType};
use weir_protocol::rails::Seen;

impl Bill<'_> {
    /// What is written down of a payment that was signed for.
    pub(super) fn claim_of(&self, signed: &SignedDraw) -> Claim {
        Claim {
            payment: Some(signed.draw.key()),
            expires: self.challenge.expires(),
            is_bound: true,
        }
    }
}

impl Gateway {
    /// Sees to it that a payment is made, and gives the transaction that made it.
    pub(super) async fn draw(
        &self,
        turn: &Turn,
        signed: &SignedDraw,
        bill: &Bill<'_>,
    ) -> Result<B256, Denied> {
        let no_more = "this server sends no payments any more";
        let funding = self.inner.funding.as_ref();
        // What is written down as owed may be on its way.
        let unsent = |no| unsent(no, turn.is_claimed());
        let funding = funding.ok_or_else(|| unsent(FundNo::Unaffordable(no_more)))?;
        let order = DrawOrder {
            signed,
            credential: bill.credential(),
            since: bill.judging().issued,
            spender: bill.offer.method_details.permit2_spender,
        };
        let ready = {
            let _turn = self.turn_to_look().await?;
            funding.prepare_draw(order).await.map_err(unsent)?
        };
        match ready {
            Ready::Done(Some(hash)) => return Ok(hash),
            Ready::Done(None) | Ready::OnItsWay => {}
            Ready::Fresh(fresh) => {
                let was_claimed = turn.claim(bill.claim_of(signed)).await.map_err(denied)?;
                if let Err(no) = funding.send(fresh).await {
                    if !was_claimed && !no.may_be_sent() {
                        // Nothing left us: nothing is owed.
                        turn.let_go().await?;
                    }
                    return Err(unsent(no));
                }
            }
        }
        funding.drawn(order, MINED_WAIT).await.map_err(unsent)
    }

    /// What we sent for one payer is shown as no other's payment: the thief may be faster than whoever signed for it.
    pub(super) fn must_be_the_payers(&self, seen: &Seen) -> Result<(), ChargeRefusal> {
        let Seen::Payment(PaymentSeen {
            sender: Some(sender), ..
        }) = seen
        else {
            return Ok(());
        };
        let funding = self.inner.funding.as_ref();
        if funding.is_some_and(|funding| funding.is_gas_key(*sender)) {
            return Err(ChargeRefusal::Signed);
        }
        Ok(())
    }
}

/// Writes into an offer which signatures are sent for the payer. What is not worth the gas is not; nor is anything while
/// the gas key is empty.
pub(super) fn offer_draws(funding: Option<&Funding>, amount: Amount, details: &mut ChargeDetails) {
    let able = funding.filter(|funding| funding.is_able() && amount >= funding.config().charge_min);
    let paths = able.map(|funding| funding.paths().draws).unwrap_or_default();
    let authorization = paths.eip3009.map(|_| TYPE_AUTHORIZATION);
    let permit2 = paths.permit2.map(|_| TYPE_PERMIT2);
    let kinds = [authorization, permit2, Some(TYPE_HASH)];
    details.credential_types = Some(kinds.into_iter().flatten().map(str::to_owned).collect());
    details.permit2_spender = able.filter(|_| permit2.is_some()).map(Funding::gas_key);
}

/// In a charge, what will not do is 402 of one kind, with a fresh challenge (draft-evm-charge-00, Error Responses). What
/// is claimed must not be paid a second time in another way: that credential is waited for.
fn unsent(no: FundNo, is_claimed: bool) -> Denied {
    match no {
        FundNo::Unaffordable(why) if is_claimed => {
            let said = format!("{why}; the payment may have been made: send the same credential again");
            Denied::chain_trouble(&said)
        }
        FundNo::NotThePayers
        | FundNo::Window
        | FundNo::Outlasts
        | FundNo::Balance { .. }
        | FundNo::Reverted(_) => Problem::new(ProblemType::VerificationFailed, no.to_string()).into(),
        no => fund::denied(no),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_as_owed_is_not_to_be_paid_in_another_way() {
        let said = |is_claimed| {
            let denied = unsent(FundNo::Unaffordable("gas is dear"), is_claimed);
            (denied.problem.status(), denied.problem.detail().to_owned())
        };
        let (status, detail) = said(false);
        assert_eq!(status, 402);
        assert!(detail.contains("send the transaction yourself"), "{detail}");
        let (status, detail) = said(true);
        assert_eq!(status, 503);
        assert!(detail.contains("send the same credential again"), "{detail}");
        assert!(!detail.contains("yourself"), "{detail}");
    }
}
