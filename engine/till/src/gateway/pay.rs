//! From a credential to content, a receipt, or a typed no.

use crate::books::UsedCredential;
use crate::gateway::answer::{Denied, Paper, managed, uncharged, upstream_response};
use crate::gateway::behind::{Delivering, RequestBody, is_success};
use crate::gateway::bound::must_be_bound;
use crate::gateway::charge::Bill;
use crate::gateway::offer::Asked;
use crate::gateway::payment::Payment;
use crate::gateway::price::Meter;
use crate::gateway::repeat;
use crate::gateway::route::Route;
use crate::gateway::stream::{Metered, is_events};
use crate::gateway::{Gateway, has_body, has_body_or_query};
use crate::{Adoption, Answer, ChargeOn, No, Order, Paid, Sale, Settled, Sight};
use alloy_primitives::B256;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use std::time::{Duration, Instant};
use tokio::sync::SemaphorePermit;
use tokio::sync::broadcast::error::RecvError;
use weir_core::step::{LowerVoucher, VoucherRules};
use weir_core::{Channel, ChannelId, Claimed, Refusal, Voucher};
use weir_protocol::delivery::ActionKind;
use weir_protocol::digest::ContentDigest;
use weir_protocol::problem::Problem;
use weir_protocol::rails::{Action, CloseClaim, Evidence, Judged, LowerCumulative, Rail, Seen};
use weir_protocol::{Credential, Delivery as Delivers, SessionRequest, delivery};
use weir_store::Durable;

/// How long a close waits for its transaction before the client is told to come back.
pub const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// How long an open or a top-up waits until our node has its transaction, and how often it is asked.
pub const MINED_WAIT: Duration = Duration::from_secs(15);
const MINED_POLL: Duration = Duration::from_millis(500);

/// How long a top-up waits until our watcher has seen its deposit too.
pub const DEPOSIT_WAIT: Duration = Duration::from_secs(20);

/// What one request is about, once its challenge is known to be ours.
pub(super) struct Visit<'a> {
    began: Instant,
    pub(super) request: Request,
    offer: SessionRequest,
    pub(super) order: Order,
    pub(super) paper: Paper,
    route: &'a Route,
    /// Whether it opens a channel, or says so.
    opens: bool,
}

impl Visit<'_> {
    /// What its service is told of who pays.
    pub(super) fn payment(&self, channel: &Channel) -> Payment {
        let units_max = self.route.units_max().unwrap_or(1);
        Payment::new(
            Some(channel.id()),
            channel.terms().payer,
            self.offer.amount,
            units_max,
        )
    }
}

impl Gateway {
    /// Judges a credential and does what it buys.
    pub(super) async fn pay(
        &self,
        request: Request,
        credential: Credential,
        (route, digest): (&Route, Option<ContentDigest>),
    ) -> Result<Response<Body>, Denied> {
        let began = Instant::now();
        let now = self.inner.till.clock().now();
        let echo = credential.challenge.clone();
        let intent = route
            .price
            .as_ref()
            .map(|price| self.inner.offers.intent_for(&echo, price));
        // What was paid and is owed can be asked for when its challenge is over.
        let live_at = self.inner.charges.moment_for(echo.tag());
        let (verified, asked) = self
            .inner
            .offers
            .verify(echo, route, live_at)
            .map_err(|refusal| Denied::from(refusal.problem(intent.unwrap_or_default())))?;
        if route.price.as_ref().is_some_and(|price| price.bind_body) {
            must_be_bound(verified.challenge(), digest)?;
        }
        let (rail, offer) = match asked {
            Asked::Session(rail, offer) => (rail, *offer),
            Asked::Charge(rules, offer) => {
                let payer = credential.payer().ok().flatten();
                let bill = Bill {
                    began,
                    now,
                    route,
                    challenge: verified,
                    rules,
                    payer: payer.map(|payer| payer.address),
                    offer,
                };
                return self.charge(bill, request, &credential).await;
            }
        };
        let action = rail
            .claim(&credential, &offer)
            .map_err(|error| Denied::from(Problem::from(&error)))?;
        let wants = wanted(&request, route, action.kind())?;
        let keyed = match wants {
            Delivers::Content => repeat::keyed(&request, route, digest)?,
            Delivers::Management => None,
        };
        self.must_have_time(wants, &action)?;
        let tag = UsedCredential {
            expires: verified.expires(),
            channel: action.channel(),
            tag: verified.tag(),
        };
        let order = Order {
            price: (wants == Delivers::Content).then_some(offer.amount),
            rules: VoucherRules {
                delta_min: offer.min_voucher_delta(),
                lower: lower_rule(rail),
            },
            credential: Some(tag),
            charge_on: route.charge_on(),
            keyed,
        };
        let opens = matches!(action, Action::Open(_));
        let paper = Paper {
            rules: rail.rules(),
            chain_id: self.inner.till.domain().chain_id(),
            challenge_id: verified.challenge().id.clone(),
            now,
            transaction: None,
            units: None,
        };
        let is_ours = action.unpulled().is_some() || action.unsent().is_some();
        let action = self.pull_unpulled(rail, action, &offer, tag).await?;
        let action = self.send_unsent(rail, action, &offer, tag).await?;
        let sight = self.look(rail.evidence(&action), is_ours).await?;
        let judged = rail
            .judge(action, &sight.seen, &offer)
            .map_err(|refusal| Denied::from(rail.rules().problem(&refusal)))?;
        let visit = Visit {
            began,
            request,
            offer,
            order,
            paper,
            route,
            opens,
        };
        self.act(visit, judged, sight).await
    }

    /// Content, opens and closes take longer than an ending daemon has; vouchers and top-ups may be for a stream that
    /// still runs.
    fn must_have_time(&self, wants: Delivers, action: &Action) -> Result<(), No> {
        match (wants, action.kind()) {
            (Delivers::Management, ActionKind::Voucher | ActionKind::TopUp) => {
                self.must_manage(Some(action.channel()))
            }
            _ if self.inner.streams.ends() => Err(No::Stopping),
            _ => Ok(()),
        }
    }

    async fn act(&self, visit: Visit<'_>, judged: Judged, sight: Sight) -> Result<Response<Body>, Denied> {
        let till = &self.inner.till;
        match judged {
            Judged::Open { voucher, .. } => {
                let adoption = found(sight)?;
                let (id, deposit) = (adoption.id, adoption.last_final.deposit);
                let _ = till.introduce(adoption).await?;
                // The watcher may have told of it before it was final; its deposit counts when the watcher says so.
                let _ = till.wait_for_deposit(id, deposit, DEPOSIT_WAIT).await?;
                self.buy(visit, voucher).await
            }
            Judged::TopUp { channel, .. } => {
                let deposit = sight.raised_to.ok_or_else(unread)?;
                let answer = till.wait_for_deposit(channel, deposit, DEPOSIT_WAIT).await?;
                Ok(managed(&visit.paper, &answer))
            }
            Judged::Voucher(voucher) => self.buy(visit, voucher).await,
            Judged::Close(claim) => self.close(visit, claim).await,
        }
    }

    /// Looks a transaction up, which may be one that we broadcast.
    pub(super) async fn look(&self, evidence: Evidence<'_>, is_ours: bool) -> Result<Sight, Denied> {
        if evidence == Evidence::None {
            return Ok(Sight::NOTHING);
        }
        // No credit on what we cannot watch: an open is refused while the view is old.
        self.inner.till.must_be_fresh()?;
        if let Evidence::ToppedUpBy { channel, .. } = evidence
            && self.inner.till.terms(channel).is_none()
        {
            return Err(Problem::from(&Refusal::ChannelNotFound)
                .on_channel(channel)
                .into());
        }
        let deadline = tokio::time::Instant::now() + MINED_WAIT;
        // Anybody can name a transaction that is not there: who finds no place to wait is told so at once, and what is
        // there is found all the same. Ours are bounded by what is on record of them.
        let place = (!is_ours).then(|| self.inner.waits.try_acquire());
        let may_wait = place.as_ref().is_none_or(Result::is_ok);
        loop {
            let sight = {
                let _turn = self.turn_to_look().await?;
                self.inner.evidence.look(evidence).await
            };
            let sight = sight.map_err(|trouble| {
                tracing::warn!(%trouble, "a transaction could not be looked up");
                Denied::chain_trouble("the chain cannot be read now; send the same credential again")
            })?;
            // Our node may lag behind the payer's; a moment here spares the payer a second try.
            let is_settled = sight.seen != Seen::NotMined && sight.is_final;
            if is_settled || !may_wait || tokio::time::Instant::now() >= deadline {
                return Ok(sight);
            }
            tokio::time::sleep(MINED_POLL).await;
        }
    }

    /// A turn at asking the node, held for one question only: nobody's wait takes another's turn.
    pub(super) async fn turn_to_look(&self) -> Result<SemaphorePermit<'_>, Denied> {
        self.inner.looks.acquire().await.map_err(|_| No::Stopping.into())
    }

    /// A channel pays only for what is sold in its token, to its payee, under its escrow (threat V2): the escrow may
    /// serve other tokens, and the watcher knows channels that came with no credential.
    pub(super) fn must_fit(&self, offer: &SessionRequest, id: ChannelId) -> Result<(), Denied> {
        let till = &self.inner.till;
        let terms = till.terms(id).ok_or(No::from(Refusal::ChannelNotFound))?;
        offer
            .must_fit(&terms, till.domain().escrow(), till.domain().chain_id())
            .map_err(|refusal| Problem::from(&refusal).on_channel(id).into())
    }

    async fn buy(&self, visit: Visit<'_>, voucher: Voucher<Claimed>) -> Result<Response<Body>, Denied> {
        self.must_fit(&visit.offer, voucher.channel())?;
        let paid = self.inner.till.pay(voucher, visit.order).await?;
        if !matches!(paid, Paid::Kept(..) | Paid::Owed(..)) {
            self.inner.watch.voucher_accepted();
        }
        match paid {
            Paid::Sale(sale, opening) => self.deliver(visit, (sale, opening)).await,
            Paid::Kept(kept, answer) => {
                let mut response = repeat::again(kept);
                visit.paper.stamp(&mut response, &answer);
                Ok(response)
            }
            Paid::Owed(hold, answer) => self.redeliver(visit, (hold, answer)).await,
            Paid::Accepted(answer) => Ok(managed(&visit.paper, &answer)),
            // An open that buys nothing is still an open; a 402 would invite a second deposit.
            Paid::Short { answer, .. } if visit.opens => Ok(managed(&visit.paper, &answer)),
            Paid::Short { required, answer } => {
                let accepted = answer.get().channel.accepted();
                let refusal = Refusal::InsufficientBalance { required, accepted };
                Err(Problem::from(&refusal).on_channel(voucher.channel()).into())
            }
        }
    }

    async fn deliver(
        &self,
        visit: Visit<'_>,
        (mut sale, opening): (Sale, Durable<Answer>),
    ) -> Result<Response<Body>, Denied> {
        let payment = visit.payment(&opening.get().channel);
        let (hold, charge_on) = (sale.take_hold(), sale.charge_on());
        let Visit {
            began,
            request,
            mut paper,
            route,
            offer,
            ..
        } = visit;
        let sent = RequestBody::default();
        if charge_on == ChargeOn::Always {
            let (answer, delivery) = sale.commit().await?;
            self.inner.watch.sold();
            let response = match self.behind.send(request, Some(&payment), &sent).await {
                Ok(response) => response
                    .map(|body| Body::from_stream(Delivering::new(body.into_data_stream(), delivery, sent))),
                Err(fault) => {
                    delivery.finish();
                    upstream_response(&fault)
                }
            };
            let mut response = repeat::note(hold, response, charge_on).await?;
            paper.stamp(&mut response, &answer);
            self.inner.watch.paid(began.elapsed());
            return Ok(response);
        }
        let response = match self.behind.send(request, Some(&payment), &sent).await {
            Ok(response) => response,
            Err(fault) => {
                sale.release().await?;
                return Err(Denied::from(&fault));
            }
        };
        if charge_on == ChargeOn::Success && !is_success(response.status()) {
            tracing::debug!(route = route.path, status = %response.status(), amount = %offer.amount, "not charged");
            sale.release().await?;
            return Ok(uncharged(response));
        }
        let by_the_event = route
            .price
            .as_ref()
            .is_some_and(|price| price.meter == Meter::Event);
        if by_the_event && is_success(response.status()) && is_events(response.headers()) {
            self.inner.watch.paid(began.elapsed());
            return Ok(Metered::sell(self.clone(), response, paper, (sale, opening)));
        }
        let (units, cost) = payment.cost();
        let (answer, delivery) = sale.commit_part(cost).await?;
        paper.units = route.units_max().map(|_| units);
        self.inner.watch.sold();
        let response =
            response.map(|body| Body::from_stream(Delivering::new(body.into_data_stream(), delivery, sent)));
        let mut response = repeat::note(hold, response, charge_on).await?;
        paper.stamp(&mut response, &answer);
        self.inner.watch.paid(began.elapsed());
        Ok(response)
    }

    async fn close(&self, visit: Visit<'_>, claim: CloseClaim) -> Result<Response<Body>, Denied> {
        let voucher = claim.voucher;
        let channel = voucher.channel();
        if self.inner.till.domain().is_reserve() {
            // Each close there is a transaction of its own: none is spent on a channel that nothing was sold to.
            self.must_fit(&visit.offer, channel)?;
        }
        if let Some(wish) = &claim.authorization {
            self.inner.till.prove_close(&voucher, wish).map_err(No::from)?;
        }
        // Listen first: the settler may be faster than this task.
        let mut settled = self.inner.settler.listen();
        let answer = match self.inner.till.begin_close(voucher).await {
            // Asked again after it was done: the same receipt, to whoever signs for the channel.
            Err(No::Refused(Refusal::ChannelFinalized)) => self.inner.till.read(channel).await?,
            begun => begun?,
        };
        self.inner.settler.call();
        let closes = answer
            .get()
            .channel
            .capture()
            .is_some_and(|capture| capture.closes);
        let transaction = match answer.get().channel.closed_by() {
            Some(transaction) => Some(transaction),
            // Closed by somebody else: while a close of ours is under way, its receipt is waited for.
            None if answer.get().channel.chain().finalized && !closes => {
                return Err(No::Refused(Refusal::ChannelFinalized).into());
            }
            None => match tokio::time::timeout(CLOSE_WAIT, wait_for_close(&mut settled, channel)).await {
                Ok(transaction) => transaction,
                Err(_) => {
                    return Err(Denied::chain_trouble(
                        "the close is on its way; ask again for its receipt",
                    ));
                }
            },
        };
        let Some(transaction) = transaction else {
            return Err(No::Stopping.into());
        };
        let paper = Paper {
            transaction: Some(transaction),
            ..visit.paper
        };
        Ok(managed(&paper, &answer))
    }
}

/// What a request is to be answered with, by its method, its body and what its credential does.
fn wanted(request: &Request, route: &Route, action: ActionKind) -> Result<Delivers, Denied> {
    match delivery(request.method().as_str(), has_body_or_query(request), action) {
        Delivers::Content if route.serves(request.method()) => Ok(Delivers::Content),
        Delivers::Content if has_body(request) => {
            let said = "this URL serves no content by this method; nothing was charged";
            Err(Problem::blank(405, said).into())
        }
        // A bare POST to a URL that serves none only manages its channel, whatever its query says.
        _ => Ok(Delivers::Management),
    }
}

fn found(sight: Sight) -> Result<Adoption, Denied> {
    sight.adoption.ok_or_else(unread)
}

pub(super) fn unread() -> Denied {
    Denied::chain_trouble("the channel cannot be read now; send the same credential again")
}

async fn wait_for_close(
    settled: &mut tokio::sync::broadcast::Receiver<Settled>,
    channel: ChannelId,
) -> Option<B256> {
    loop {
        match settled.recv().await {
            Ok(event) if event.channel == channel && event.closed => return Some(event.transaction),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

fn lower_rule(rail: &dyn Rail) -> LowerVoucher {
    match rail.rules().lower_cumulative {
        LowerCumulative::Unchanged => LowerVoucher::Unchanged,
        LowerCumulative::Refused => LowerVoucher::Refused,
    }
}
