//! The gateway: HTTP in front of the seller's service.
//!
//! One direction (ARCHITECTURE.md, The way of a voucher): route → credential → challenge → rail → till → upstream → receipt.

pub mod answer;
pub mod latency;
pub mod offer;
pub mod pay;
pub mod proxy;
pub mod route;
pub mod stream;

use crate::gateway::answer::Denied;
use crate::gateway::latency::{Latency, Percentiles};
use crate::gateway::offer::Offers;
use crate::gateway::proxy::{RequestBody, Upstream};
use crate::gateway::route::{Price, Route, Routes};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, header};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Semaphore;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use weir_protocol::Credential;
use weir_protocol::problem::{Problem, ProblemType};
use weir_store::{Health, StoreFault};
use weir_till::{Evidence, No, SettlerHandle, Till};

/// Everything a request needs. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

/// The parts of a gateway.
pub struct Inner {
    /// The till.
    pub till: Till,
    /// The settler, for closes.
    pub settler: SettlerHandle,
    /// Looks at transactions.
    pub evidence: Arc<dyn Evidence>,
    /// Challenges.
    pub offers: Offers,
    /// Prices; replaced whole when the configuration is read again.
    pub routes: RwLock<Arc<Routes>>,
    /// The service behind.
    pub upstream: Upstream,
    /// The longest request body, in bytes.
    pub body_bytes_max: usize,
    /// Web pages that may call from a browser.
    pub cors: Option<CorsLayer>,
    /// How long accepting a payment takes.
    pub latency: Latency,
    /// Vouchers taken since the start.
    pub vouchers: AtomicU64,
    /// Turns at looking a transaction up.
    pub looks: Semaphore,
}

/// Transactions looked up at once: unpaid requests must not crowd the watcher and the settler out of the node.
pub const LOOKS_MAX: usize = 32;

impl Gateway {
    /// A gateway of these parts.
    pub fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The till.
    pub fn till(&self) -> &Till {
        &self.inner.till
    }

    /// The settler.
    pub fn settler(&self) -> &SettlerHandle {
        &self.inner.settler
    }

    /// How long payments took so far.
    pub fn latency(&self) -> Percentiles {
        self.inner.latency.percentiles()
    }

    /// Vouchers taken since the start.
    pub fn vouchers(&self) -> u64 {
        self.inner.vouchers.load(Ordering::Relaxed)
    }

    /// Takes other prices. Challenges that are out keep theirs.
    pub fn replace_routes(&self, routes: Routes) {
        *self.inner.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }

    /// The HTTP service.
    pub fn router(self) -> Router {
        let limit = RequestBodyLimitLayer::new(self.inner.body_bytes_max);
        let cors = self.inner.cors.clone();
        let router = Router::new().fallback(serve).layer(limit).with_state(self);
        match cors {
            Some(cors) => router.layer(cors),
            None => router,
        }
    }

    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.inner.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether vouchers are taken now.
    ///
    /// # Errors
    /// Why not: the books cannot be written, or the chain has not been seen for too long.
    pub fn must_take_vouchers(&self) -> Result<(), No> {
        match self.inner.till.health() {
            Health::Healthy => self.inner.till.must_be_fresh(),
            Health::Poisoned { why } => Err(StoreFault::Poisoned { why }.into()),
            Health::Closed => Err(No::Stopping),
        }
    }

    /// A no, with a fresh challenge where the status wants one. While vouchers are not taken there is none: a challenge
    /// invites to pay, and the payment would be refused.
    fn deny(&self, denied: Denied, route: &Route, price: &Price, digest: Option<String>) -> Response<Body> {
        if !denied.problem.needs_challenge() {
            return denied.into_response(None);
        }
        if let Err(no) = self.must_take_vouchers() {
            return Denied::from(no).into_response(None);
        }
        let now = self.inner.till.clock().now();
        match self.inner.offers.challenge(route, price, digest, now) {
            Ok(challenge) => denied.into_response(Some(challenge)),
            Err(fault) => {
                tracing::error!(%fault, route = route.path, "no challenge could be made");
                Denied::from(Problem::blank(
                    500,
                    "no payment challenge can be made for this resource",
                ))
                .into_response(None)
            }
        }
    }
}

async fn serve(State(gateway): State<Gateway>, request: Request) -> Response<Body> {
    let routes = gateway.routes();
    let path = request.uri().path();
    // Channels are managed by HEAD and bare POST at every paid URL, whatever it serves, and never at a free one.
    let manages = matches!(*request.method(), Method::HEAD | Method::POST) && !has_body(&request);
    let served = routes.find(request.method(), path);
    let is_free = served.is_none_or(|route| route.price.is_none());
    let managed = (manages && is_free).then(|| routes.find_paid(path)).flatten();
    let Some(route) = managed.or(served) else {
        return Denied::from(Problem::blank(
            404,
            "no route of this service has this method and path",
        ))
        .into_response(None);
    };
    let Some(price) = &route.price else {
        return gateway.pass_through(request).await;
    };
    // Half of a purchase must not be lost because the payer hung up: the work goes on in a task of its own.
    let (route, price) = (route.clone(), price.clone());
    let task = tokio::spawn(async move { gateway.sell(request, &route, &price).await });
    task.await.unwrap_or_else(|_| {
        Denied::from(Problem::blank(500, "the request could not be finished")).into_response(None)
    })
}

impl Gateway {
    async fn pass_through(&self, request: Request) -> Response<Body> {
        match self
            .inner
            .upstream
            .send(request, &[], &RequestBody::default())
            .await
        {
            Ok(response) => response,
            Err(fault) => upstream_denied(&fault).into_response(None),
        }
    }

    async fn sell(&self, request: Request, route: &Route, price: &Price) -> Response<Body> {
        let lines = request.headers().get_all(header::AUTHORIZATION);
        let credential = match Credential::find(lines.iter().map(HeaderValue::as_bytes)) {
            Ok(Some(credential)) => credential,
            Ok(None) => {
                let denied = Denied::of_type(ProblemType::PaymentRequired, "this resource is paid for");
                return self.deny(denied, route, price, None);
            }
            Err(error) => return self.deny(Problem::from(&error).into(), route, price, None),
        };
        match self.pay(request, credential, route).await {
            Ok(mut response) => {
                // The next request's challenge comes with this answer, which spares the payer an unpaid round trip.
                let now = self.inner.till.clock().now();
                if let Ok(challenge) = self.inner.offers.challenge(route, price, None, now) {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                }
                response
            }
            Err(denied) => self.deny(denied, route, price, None),
        }
    }
}

/// The upstream failed: nothing was charged.
pub(crate) fn upstream_denied(fault: &proxy::UpstreamFault) -> Denied {
    let status = match fault {
        proxy::UpstreamFault::Unreachable => 502,
        proxy::UpstreamFault::TimedOut(_) => 504,
        proxy::UpstreamFault::Path => 404,
    };
    Problem::blank(status, format!("{fault}; nothing was charged")).into()
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
