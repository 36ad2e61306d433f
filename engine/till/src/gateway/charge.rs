//! One payment for one answer.
//!
//! The payment is looked up, or broadcast, and judged; then it is written down as paid and its answer as owed, and only
//! then the service is asked. Nothing of an answer leaves before it is written down as delivered. What fails before that
//! is owed still, and so is what nobody was there to take: the same credential gets it (docs/adr/0015).

use crate::books::UsedCredential;
use crate::gateway::Gateway;
use crate::gateway::answer::{Denied, stamp, uncharged, upstream_response};
use crate::gateway::behind::{Delivering, Ends, RequestBody, UpstreamFault, is_success};
use crate::gateway::offer::issued;
use crate::gateway::payment::Payment;
use crate::gateway::route::Route;
use crate::gateway::submit;
use crate::submissions::{Submission, SubmitNo};
use crate::{ChargeNo, ChargeOn, Claim, Handover, Turn};
use alloy_primitives::{Address, B256};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use weir_core::{ChannelId, UnixSeconds};
use weir_protocol::charge::{
    ChargeClaim, ChargeReceipt, ChargeRefusal, ChargeRequest, ChargeRules, Judging, SignedDraw, judge,
    judge_drawn, payload_problem, proof,
};
use weir_protocol::delivery::ActionKind;
use weir_protocol::problem::{Problem, ProblemType};
use weir_protocol::rails::{Evidence, Seen};
use weir_protocol::{Credential, Delivery, VerifiedChallenge, delivery};
use weir_store::Durable;

/// What one payment is for, once its challenge is known to be ours.
pub(super) struct Bill<'a> {
    pub(super) began: Instant,
    pub(super) now: UnixSeconds,
    pub(super) route: &'a Route,
    pub(super) challenge: VerifiedChallenge,
    pub(super) rules: &'static ChargeRules,
    pub(super) offer: ChargeRequest,
    /// Who the credential says pays.
    pub(super) payer: Option<Address>,
}

/// A payment that is written down.
struct Collected {
    payer: Address,
    /// What its receipt refers to.
    reference: String,
}

/// An answer on its way. Its body has one, and whoever hands it to the connection; what is told first counts.
#[derive(Clone)]
pub(super) struct Answering {
    handover: Arc<Mutex<Option<Handover>>>,
    charge_on: ChargeOn,
}

impl Answering {
    /// Nobody was there to take the answer.
    pub(super) fn miss(self) {
        self.end(self.charge_on != ChargeOn::Always);
    }

    fn end(&self, is_owed: bool) {
        let handover = self.handover.lock();
        let handover = handover.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handover) = handover.filter(|_| is_owed) {
            handover.fail();
        }
    }
}

impl Ends for Answering {
    fn finish(self) {
        self.end(false);
    }

    fn fail(self) {
        self.end(self.charge_on == ChargeOn::Success);
    }
}

impl Bill<'_> {
    pub(super) fn judging(&self) -> Judging<'_> {
        Judging {
            challenge: &self.challenge,
            offer: &self.offer,
            issued: issued(&self.challenge),
            payer: self.payer,
        }
    }

    /// What is remembered of the credential beside its transaction. There is no channel.
    pub(super) fn credential(&self) -> UsedCredential {
        UsedCredential {
            expires: self.challenge.expires(),
            channel: ChannelId(B256::ZERO),
            tag: self.challenge.tag(),
        }
    }

    /// What is written down of its payment.
    fn claim(&self, payment: Option<B256>) -> Claim {
        Claim {
            payment,
            expires: self.challenge.expires(),
            is_bound: payment.is_none() || self.rules.has_memo,
        }
    }

    /// A payment buys content or nothing: it must not be taken where there is none.
    fn must_be_served(&self, method: &Method) -> Result<(), Denied> {
        let has_place = delivery(method.as_str(), true, ActionKind::Open) == Delivery::Content;
        if has_place && self.route.serves(method) {
            return Ok(());
        }
        let said = "this URL serves no content by this method; the payment was not taken";
        Err(Problem::blank(405, said).into())
    }
}

impl Gateway {
    /// Takes a payment and hands its answer over.
    pub(super) async fn charge(
        &self,
        bill: Bill<'_>,
        request: Request,
        credential: &Credential,
    ) -> Result<Response<Body>, Denied> {
        bill.must_be_served(request.method())?;
        self.must_sell()?;
        let claim = bill.rules.claim(credential, &bill.offer);
        let claim = claim.map_err(|error| Denied::from(payload_problem(&error)))?;
        let turn = self.inner.charges.begin(bill.challenge.tag()).map_err(denied)?;
        let collected = self.collect(&turn, &claim, &bill).await?;
        self.hand_over((bill, request), turn, collected).await
    }

    /// Sees to it that the payment is made, and writes it down. Durable when this returns.
    async fn collect(&self, turn: &Turn, claim: &ChargeClaim, bill: &Bill<'_>) -> Result<Collected, Denied> {
        let (transaction, is_ours) = match claim {
            ChargeClaim::Proof { account, signature } => {
                let challenge = bill.challenge.challenge();
                let chain_id = bill.offer.method_details.chain_id;
                proof::prove(*account, signature, chain_id, challenge).map_err(refused)?;
                turn.claim(bill.claim(None)).await.map_err(denied)?;
                return Ok(Collected {
                    payer: *account,
                    reference: challenge.id.clone(),
                });
            }
            ChargeClaim::Signed(signed) => return self.collect_signed(turn, signed, bill).await,
            ChargeClaim::Mined(transaction) => (*transaction, false),
            ChargeClaim::Raw(raw) => (self.send_payment(turn, &raw.0, bill).await?, true),
        };
        let sight = self
            .look(Evidence::PaidBy { tx_hash: transaction }, is_ours)
            .await?;
        let theirs = self.must_be_the_payers(&sight.seen);
        match theirs.and_then(|()| judge(bill.rules, &sight.seen, bill.judging())) {
            Ok(payer) => {
                let claimed = turn.claim(bill.claim(Some(transaction))).await;
                claimed.map_err(denied)?;
                if !sight.is_final {
                    // That may take longer than the challenge lives: what is written down can be asked for beyond it,
                    // and is judged again each time, so that what a reorganisation removes buys nothing.
                    return Err(refused(ChargeRefusal::NotFinal));
                }
                if is_ours {
                    self.inner.submissions.settle(transaction, bill.credential())?;
                }
                let reference = transaction.to_string();
                Ok(Collected { payer, reference })
            }
            Err(refusal) => {
                if is_ours && refusal != ChargeRefusal::NotMined {
                    // It landed, and paid nothing: nothing is owed for it.
                    turn.let_go().await?;
                }
                Err(refused(refusal))
            }
        }
    }

    /// Has what the payer signed sent, and looks whether the transaction that made the payment did so.
    async fn collect_signed(
        &self,
        turn: &Turn,
        signed: &SignedDraw,
        bill: &Bill<'_>,
    ) -> Result<Collected, Denied> {
        let transaction = self.draw(turn, signed, bill).await?;
        let sight = self.look(Evidence::PaidBy { tx_hash: transaction }, true).await?;
        judge_drawn(&sight.seen, &signed.draw).map_err(refused)?;
        // Somebody else may have sent it: then nothing is written down yet.
        turn.claim(bill.claim_of(signed)).await.map_err(denied)?;
        if !sight.is_final {
            return Err(refused(ChargeRefusal::NotFinal));
        }
        Ok(Collected {
            payer: signed.draw.from,
            reference: transaction.to_string(),
        })
    }

    /// Broadcasts what the payer signed, once it is judged and written down with what it is for (TX-2).
    async fn send_payment(&self, turn: &Turn, raw: &[u8], bill: &Bill<'_>) -> Result<B256, Denied> {
        let sight = self
            .inner
            .evidence
            .look(Evidence::RawPayment { bytes: raw })
            .await;
        let sight = sight.map_err(|trouble| submit::unknown(&trouble))?;
        judge(bill.rules, &sight.seen, bill.judging()).map_err(refused)?;
        let transaction = sight.unsent.ok_or_else(|| refused(ChargeRefusal::Token))?;
        let claimed = turn.claim(bill.claim(Some(transaction.hash))).await;
        let was_claimed = claimed.map_err(denied)?;
        let _turn_to_look = self.turn_to_look().await?;
        if was_claimed && self.is_mined(transaction.hash).await? {
            return Ok(transaction.hash);
        }
        let submission = Submission {
            raw,
            transaction: &transaction,
            credential: bill.credential(),
            opens: false,
        };
        let Err(no) = self.inner.submissions.submit(submission).await else {
            return Ok(transaction.hash);
        };
        match no {
            // It may have paid already, on a node that knows more than ours: what is written down stays.
            SubmitNo::Refused(_) if was_claimed => Err(submit::unknown(&no)),
            SubmitNo::Unknown(_) => Err(submit::denied(no)),
            SubmitNo::Refused(_) | SubmitNo::TooMany { .. } | SubmitNo::No(_) => {
                if !was_claimed {
                    turn.let_go().await?;
                }
                Err(submit::denied(no))
            }
        }
    }

    /// Whether a transaction is in a block, as far as our node knows.
    async fn is_mined(&self, tx_hash: B256) -> Result<bool, Denied> {
        let sight = self.inner.evidence.look(Evidence::PaidBy { tx_hash }).await;
        let sight = sight.map_err(|trouble| submit::unknown(&trouble))?;
        Ok(sight.seen != Seen::NotMined)
    }

    async fn hand_over(
        &self,
        (bill, request): (Bill<'_>, Request),
        turn: Turn,
        collected: Collected,
    ) -> Result<Response<Body>, Denied> {
        let Collected { payer, reference } = collected;
        let charge_on = bill.route.charge_on();
        let challenge = bill.challenge.challenge();
        let told = (challenge.id.as_str(), bill.offer.method_details.chain_id);
        let receipt = ChargeReceipt::new(bill.rules, reference, told, bill.now);
        let payment = Payment::new(None, payer, bill.offer.amount, 1);
        let sent = RequestBody::default();
        let (response, handover) = if charge_on == ChargeOn::Always {
            let handover = turn.deliver().await.map_err(denied)?;
            let answer = self.behind.send(request, Some(&payment), &sent).await;
            (answer.unwrap_or_else(|fault| upstream_response(&fault)), handover)
        } else {
            let answer = self.behind.send(request, Some(&payment), &sent).await;
            let response = answer.map_err(|fault| owed(&fault))?;
            if charge_on == ChargeOn::Success && !is_success(response.status()) {
                tracing::debug!(route = bill.route.path, status = %response.status(), "the answer is owed");
                return Ok(uncharged(response));
            }
            (response, turn.deliver().await.map_err(denied)?)
        };
        self.inner.watch.sold();
        self.inner.watch.paid(bill.began.elapsed());
        Ok(answer_with(response, sent, (handover, charge_on), &receipt))
    }
}

/// The answer, with its receipt where it is none of failure: there is none without the proof that the delivery is written
/// down.
fn answer_with(
    response: Response<Body>,
    sent: RequestBody,
    (handover, charge_on): (Durable<Handover>, ChargeOn),
    receipt: &ChargeReceipt,
) -> Response<Body> {
    let answering = Answering {
        handover: Arc::new(Mutex::new(Some(handover.into_inner()))),
        charge_on,
    };
    let ends = answering.clone();
    let mut response =
        response.map(|body| Body::from_stream(Delivering::new(body.into_data_stream(), ends, sent)));
    response.extensions_mut().insert(answering);
    if !is_success(response.status()) {
        // Delivered as the route says, but a failure comes with no receipt (draft-httpauth-payment-00, Payment-Receipt).
        return uncharged(response);
    }
    stamp(&mut response, receipt.to_header());
    response
}

fn refused(refusal: ChargeRefusal) -> Denied {
    Problem::from(&refusal).into()
}

/// What is under way is no reason to pay again, so there is no challenge beside it.
pub(super) fn denied(no: ChargeNo) -> Denied {
    let said = no.to_string();
    match no {
        ChargeNo::UnderWay => Denied {
            retry_after_seconds: Some(UNDER_WAY_RETRY_SECONDS),
            ..Problem::new(ProblemType::InvalidChallenge, said)
                .with_status(409)
                .into()
        },
        ChargeNo::OtherPayment => Problem::new(ProblemType::InvalidChallenge, said)
            .with_status(409)
            .into(),
        ChargeNo::Delivered => Denied::of_type(ProblemType::InvalidChallenge, said),
        ChargeNo::OtherChallenge => Denied::of_type(ProblemType::VerificationFailed, said),
        ChargeNo::No(no) => Denied::from(no),
    }
}

/// The service gave no answer, and the payment stands.
fn owed(fault: &UpstreamFault) -> Denied {
    let said = format!("{fault}; the payment stands: send the same credential again for its answer");
    Problem::blank(fault.status().as_u16(), said).into()
}

/// Another request with the same payment is answered within a moment, or fails within a longer one.
const UNDER_WAY_RETRY_SECONDS: u64 = 1;
