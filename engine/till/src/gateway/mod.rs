//! The gateway: HTTP in front of the seller's service.
//!
//! One direction (ARCHITECTURE.md, The way of a voucher): route → credential → challenge → rail → till → upstream → receipt.

pub mod answer;
pub mod behind;
pub mod bound;
mod charge;
pub mod discovery;
mod draw;
pub mod front;
pub mod fund;
pub mod layer;
pub mod offer;
pub mod pay;
pub mod payment;
pub mod price;
pub mod repeat;
pub mod route;
pub mod stream;
pub mod streams;
pub mod submit;
pub mod watch;

use crate::gateway::answer::{Denied, PAYMENT_RECEIPT};
use crate::gateway::behind::Behind;
use crate::gateway::bound::Bodies;
use crate::gateway::offer::{Asked, Offers, Wants, Way};
use crate::gateway::price::Price;
use crate::gateway::route::Route;
use crate::gateway::streams::Streams;
use crate::gateway::watch::Watch;
use crate::{Charges, Evidence, Funding, No, SettlerHandle, Submissions, Till};
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Response, header};
use std::sync::Arc;
use tokio::sync::Semaphore;
use weir_core::ChannelId;
use weir_protocol::accept::AcceptPayment;
use weir_protocol::digest::ContentDigest;
use weir_protocol::problem::{Problem, ProblemType};
use weir_protocol::{Credential, Intent};
use weir_store::{Health, StoreFault};

/// Everything a sale needs. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
    behind: Behind,
}

/// The parts of a gateway.
pub struct Inner {
    /// The till.
    pub till: Till,
    /// The settler, for closes.
    pub settler: SettlerHandle,
    /// Looks at transactions.
    pub evidence: Arc<dyn Evidence>,
    /// Broadcasts what payers signed.
    pub submissions: Submissions,
    /// What was paid at once.
    pub charges: Charges,
    /// Pulls what payers signed for, where the seller pays for that.
    pub funding: Option<Funding>,
    /// Challenges.
    pub offers: Offers,
    /// Counts what happens.
    pub watch: Arc<dyn Watch>,
    /// Turns at looking a transaction up.
    pub looks: Semaphore,
    /// Places to wait for a transaction that is not mined yet.
    pub waits: Semaphore,
    /// The streams that are sold by the event now.
    pub streams: Streams,
    /// Room for request bodies that challenges are bound to.
    pub bodies: Bodies,
    /// Room for those of requests with an idempotency key, so that neither crowds the other out.
    pub keyed_bodies: Bodies,
}

/// Transactions looked up at once: unpaid requests must not crowd the watcher and the settler out of the node.
pub const LOOKS_MAX: usize = 32;

/// Requests that wait at once for a transaction that is not mined yet; others are told at once.
pub const WAITS_MAX: usize = 128;

/// The longest request body, unless configured otherwise, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// By which a payer names the channel that it will pay from.
const PAYMENT_SESSION: HeaderName = HeaderName::from_static("payment-session");
/// By which it says what it can pay with.
const ACCEPT_PAYMENT: HeaderName = HeaderName::from_static("accept-payment");

impl Gateway {
    /// A gateway of these parts, before this service.
    pub const fn new(inner: Arc<Inner>, behind: Behind) -> Self {
        Self { inner, behind }
    }

    /// The till.
    pub fn till(&self) -> &Till {
        &self.inner.till
    }

    /// What pulls deposits, where some are pulled.
    pub fn funding(&self) -> Option<&Funding> {
        self.inner.funding.as_ref()
    }

    /// The settler.
    pub fn settler(&self) -> &SettlerHandle {
        &self.inner.settler
    }

    /// The streams that are sold by the event now.
    pub fn streams(&self) -> &Streams {
        &self.inner.streams
    }

    /// Counts what happens.
    pub fn watch(&self) -> &dyn Watch {
        &*self.inner.watch
    }

    /// Whether something can be sold now.
    ///
    /// # Errors
    /// Why not: the daemon ends, the books cannot be written, or the chain has not been seen for too long.
    pub fn must_sell(&self) -> Result<(), No> {
        if self.inner.streams.ends() {
            return Err(No::Stopping);
        }
        self.must_take_vouchers()
    }

    fn must_take_vouchers(&self) -> Result<(), No> {
        match self.inner.till.health() {
            Health::Healthy => self.inner.till.must_be_fresh(),
            Health::Poisoned { why } => Err(StoreFault::Poisoned { why }.into()),
            Health::Closed => Err(No::Stopping),
        }
    }

    /// While the daemon ends, vouchers are taken for channels whose stream still runs, and nothing else is done. No
    /// channel is named by who asks for a challenge first, so any that runs will do.
    fn must_manage(&self, channel: Option<ChannelId>) -> Result<(), No> {
        if self.inner.streams.ends() && !self.inner.streams.run_on(channel) {
            return Err(No::Stopping);
        }
        Ok(())
    }

    /// A no, with fresh challenges where the status wants some. While nothing is taken there are none: a challenge
    /// invites to pay, and the payment would be refused.
    fn deny(&self, denied: Denied, sold: (&Route, &Price), asking: &Asking) -> Response<Body> {
        if !denied.problem.needs_challenge() {
            return denied.into_response();
        }
        if let Err(no) = self.must_take_vouchers() {
            return Denied::from(no).into_response();
        }
        let ways = self.inner.offers.ways(sold.1);
        let names: Vec<_> = ways.iter().map(|way| way.names()).collect();
        let chosen = match &asking.accepts {
            Some(accepts) => accepts.choose(&names),
            None => (0..ways.len()).collect(),
        };
        let ways = chosen.into_iter().filter_map(|at| ways.get(at).copied());
        let now = self.inner.till.clock().now();
        let challenge = |way| self.inner.offers.challenge(way, sold, &asking.wants, now);
        match ways.map(challenge).collect::<Result<Vec<_>, _>>() {
            Ok(challenges) => {
                self.inner.watch.challenged();
                denied.beside(challenges)
            }
            Err(fault) => {
                tracing::error!(%fault, route = sold.0.path, "no challenge could be made");
                Denied::from(Problem::blank(
                    500,
                    "no payment challenge can be made for this resource",
                ))
                .into_response()
            }
        }
    }

    /// Sells what a paid route serves, or manages a channel.
    async fn sell(&self, request: Request, route: &Route, price: &Price) -> Response<Body> {
        let room = if !has_body(&request) {
            None
        } else if price.bind_body {
            Some(&self.inner.bodies)
        } else {
            let is_keyed = repeat::is_keyed(&request) && self.may_pay_by_session(&request, route);
            is_keyed.then_some(&self.inner.keyed_bodies)
        };
        let Some(room) = room else {
            return self.sell_for(request, (route, price), None).await;
        };
        match room.read(request).await {
            Ok((request, digest, _room)) => self.sell_for(request, (route, price), Some(digest)).await,
            Err(denied) => denied.into_response(),
        }
    }

    /// Whether a request answers a live challenge of ours for vouchers on this route: without one its key means nothing,
    /// and its body is not worth the memory (threat H4).
    fn may_pay_by_session(&self, request: &Request, route: &Route) -> bool {
        let lines = request.headers().get_all(header::AUTHORIZATION);
        let Ok(Some(credential)) = Credential::find(lines.iter().map(HeaderValue::as_bytes)) else {
            return false;
        };
        let now = self.inner.till.clock().now();
        let verified = self.inner.offers.verify(credential.challenge, route, now);
        matches!(verified, Ok((_, Asked::Session(..))))
    }

    /// Sells to a request whose body has this digest, where it was read whole.
    async fn sell_for(
        &self,
        request: Request,
        (route, price): (&Route, &Price),
        digest: Option<ContentDigest>,
    ) -> Response<Body> {
        let bound = digest.filter(|_| price.bind_body);
        let mut asking = Asking::of(&request, bound);
        let lines = request.headers().get_all(header::AUTHORIZATION);
        let credential = match Credential::find(lines.iter().map(HeaderValue::as_bytes)) {
            Ok(Some(credential)) => credential,
            Ok(None) => {
                let session = session_of(&request);
                if let Err(no) = self.must_manage(session) {
                    return Denied::from(no).into_response();
                }
                asking.wants.resumes = self.resumable(session, price).await;
                return self.deny(self.asks(price, &asking), (route, price), &asking);
            }
            Err(error) => {
                let problem = Problem::from(&error);
                self.inner.watch.refused(&problem);
                return self.deny(problem.into(), (route, price), &asking);
            }
        };
        let way = self.inner.offers.way_of(&credential.challenge);
        match self.pay(request, credential, (route, digest)).await {
            // The next request's body is not known yet, and a challenge without it would buy the answer to any.
            Ok(response) if bound.is_some() => response,
            Ok(mut response) => {
                // The next request's challenge comes with this answer, which spares the payer an unpaid round trip.
                let now = self.inner.till.clock().now();
                // Where a payment's answer is owed, another payment is not invited.
                let is_over = |way: &Way| {
                    way.intent() != Intent::Charge || response.headers().contains_key(PAYMENT_RECEIPT)
                };
                let ways = self.inner.offers.ways(price);
                let is_offered = |way: &Way| ways.iter().any(|one| one.names() == way.names());
                let way = way.filter(is_over).filter(is_offered);
                let next = way.map(|way| {
                    self.inner
                        .offers
                        .challenge(way, (route, price), &Wants::default(), now)
                });
                if let Some(Ok(challenge)) = next {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                }
                response
            }
            Err(denied) => {
                self.inner.watch.refused(&denied.problem);
                self.deny(denied, (route, price), &asking)
            }
        }
    }

    /// The channel that an unpaid request names, where it could pay here. The asker is told no more of it than what it
    /// said itself and the chain tells everybody.
    async fn resumable(&self, session: Option<ChannelId>, price: &Price) -> Option<ChannelId> {
        let id = session?;
        let till = &self.inner.till;
        let terms = till.terms(id)?;
        if !self.inner.offers.may_be_paid_from(price, &terms) {
            return None;
        }
        let answer = till.read(id).await.ok()?;
        answer.get().channel.must_be_live().ok()?;
        Some(id)
    }

    /// What an unpaid request is told. A client that takes nothing of what is offered hears what is, and gets the
    /// challenges all the same (draft-httpauth-payment-00, Client Payment Preferences).
    fn asks(&self, price: &Price, asking: &Asking) -> Denied {
        let ways = self.inner.offers.ways(price);
        let taken = |accepts: &AcceptPayment| {
            let weight = |way: &Way| accepts.weight(way.names().0, way.names().1);
            ways.iter().any(|way| weight(way) > 0)
        };
        if asking.accepts.as_ref().is_none_or(taken) {
            return Denied::of_type(ProblemType::PaymentRequired, "this resource is paid for");
        }
        let name = |way: &Way| format!("{}/{}", way.names().0, way.names().1);
        let offered: Vec<String> = ways.iter().map(name).collect();
        let said = offered.join(" or ");
        let said = format!("this resource is paid for by {said} alone, which Accept-Payment leaves out");
        Problem::new(ProblemType::PaymentRequired, said)
            .with("offered", offered)
            .into()
    }
}

/// By what the challenges beside a no are made.
struct Asking {
    /// What they are made for.
    wants: Wants,
    /// What the client would rather pay with, if it says so legibly.
    accepts: Option<AcceptPayment>,
}

impl Asking {
    fn of(request: &Request, digest: Option<ContentDigest>) -> Self {
        let accepts = request.headers().get(ACCEPT_PAYMENT);
        Self {
            wants: Wants {
                digest: digest.map(|digest| digest.to_string()),
                resumes: None,
            },
            accepts: accepts.and_then(|value| AcceptPayment::read(value.as_bytes())),
        }
    }
}

/// The channel that a request's sender will pay from, where it says so.
fn session_of(request: &Request) -> Option<ChannelId> {
    let named = request.headers().get(PAYMENT_SESSION)?;
    named.to_str().ok()?.trim().parse().ok()
}

/// Whether a request carries something.
pub(crate) fn has_body(request: &Request) -> bool {
    let body = request.body();
    !body.is_end_stream() && body.size_hint().exact() != Some(0)
}

/// Whether a request has something to answer besides its credential (threat V3).
pub(crate) fn has_body_or_query(request: &Request) -> bool {
    has_body(request) || request.uri().query().is_some_and(|query| !query.is_empty())
}
