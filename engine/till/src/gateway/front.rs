//! What stands in front from the first moment on: finds the route of a request, serves what is free, and hands the rest
//! to the gateway. Until the chain has been reached there is none, and paid routes say when to come back.

use crate::No;
use crate::gateway::answer::Denied;
use crate::gateway::behind::{Behind, RequestBody, Serves};
use crate::gateway::charge::Answering;
use crate::gateway::discovery::{self, Document};
use crate::gateway::price::Price;
use crate::gateway::route::{Route, Routes};
use crate::gateway::streams::Stage;
use crate::gateway::watch::Watch;
use crate::gateway::{self, Gateway, has_body};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, header};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower_http::limit::RequestBodyLimitLayer;
use weir_protocol::problem::Problem;
use weir_protocol::{Credential, Opaque};

/// How often [`Front::drain`] looks whether requests are under way.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// The end of a drain that is left to streams, for their last receipts.
const CONCLUDE: Duration = Duration::from_secs(3);

/// What a front needs before anything is known of the chain.
pub struct Parts {
    /// What is sold and what is free.
    pub menu: Menu,
    /// The service behind.
    pub behind: Behind,
    /// The longest request body, in bytes.
    pub body_bytes_max: usize,
}

/// What there is, and what is told of it.
#[derive(Debug, Clone, Default)]
pub struct Menu {
    /// What is sold and what is free.
    pub routes: Routes,
    /// What clients may read of it before they ask, where that is wanted.
    pub document: Option<Document>,
}

/// The front. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Front {
    inner: Arc<Inner>,
    behind: Behind,
}

struct Inner {
    /// Replaced whole when the configuration is read again.
    menu: RwLock<Arc<Menu>>,
    body_bytes_max: usize,
    /// What the gateway is made of, once there can be one.
    opened: OnceLock<Arc<gateway::Inner>>,
    waits_for: RwLock<String>,
    /// Each request under way holds a clone, until its answer is out.
    under_way: Arc<()>,
}

/// There is no gateway yet.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the daemon waits for the chain: {0}")]
pub struct Waits(String);

impl Front {
    /// A front without a gateway.
    pub fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                menu: RwLock::new(Arc::new(parts.menu)),
                body_bytes_max: parts.body_bytes_max,
                opened: OnceLock::new(),
                waits_for: RwLock::new("it has not been asked yet".to_owned()),
                under_way: Arc::new(()),
            }),
            behind: parts.behind,
        }
    }

    /// Begins to sell, with a gateway of these parts. A second one changes nothing.
    pub fn open(&self, gateway: gateway::Inner) {
        let _ = self.inner.opened.set(Arc::new(gateway));
    }

    /// Notes for the operator what the daemon waits for.
    pub fn waits_for(&self, why: impl ToString) {
        *self
            .inner
            .waits_for
            .write()
            .unwrap_or_else(PoisonError::into_inner) = why.to_string();
    }

    /// The gateway.
    ///
    /// # Errors
    /// Why there is none yet.
    pub fn gateway(&self) -> Result<Gateway, Waits> {
        let Some(opened) = self.inner.opened.get() else {
            let why = self.inner.waits_for.read();
            return Err(Waits(why.unwrap_or_else(PoisonError::into_inner).clone()));
        };
        Ok(Gateway::new(Arc::clone(opened), self.behind.clone()))
    }

    /// The longest request body, in bytes.
    pub fn body_bytes_max(&self) -> usize {
        self.inner.body_bytes_max
    }

    /// The same front before another service: one till, one menu.
    pub fn before(&self, service: impl Serves) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            behind: self.behind.with(service),
        }
    }

    /// Who counts what happens.
    pub(crate) const fn watch(&self) -> &Arc<dyn Watch> {
        self.behind.watch()
    }

    /// Takes other prices. Challenges that are out keep theirs.
    pub fn replace_menu(&self, menu: Menu) {
        *self.inner.menu.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(menu);
    }

    /// The HTTP service.
    pub fn router(self) -> Router {
        let limit = RequestBodyLimitLayer::new(self.inner.body_bytes_max);
        Router::new().fallback(serve).layer(limit).with_state(self)
    }

    /// Takes no new purchases, waits until what is under way has ended, and has streams end in time for their last
    /// receipts. Tells whether everything ended within so long.
    pub async fn drain(&self, within: Duration) -> bool {
        let Ok(gateway) = self.gateway() else {
            return true;
        };
        let deadline = Instant::now() + within;
        gateway.streams().enter(Stage::Draining);
        if !self.is_idle_by(deadline - CONCLUDE.min(within)).await {
            gateway.streams().enter(Stage::Concluding);
        }
        self.is_idle_by(deadline).await
    }

    async fn is_idle_by(&self, deadline: Instant) -> bool {
        while Arc::strong_count(&self.inner.under_way) > 1 {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        true
    }

    fn menu(&self) -> Arc<Menu> {
        Arc::clone(&self.inner.menu.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a request: from the menu, from the service behind, or with what it costs.
    pub async fn answer(&self, request: Request) -> Response<Body> {
        // Taken before it is asked whether the daemon ends: whoever drains either is seen here or sees this.
        let under_way = Arc::clone(&self.inner.under_way);
        let menu = self.menu();
        let routes = &menu.routes;
        let path = request.uri().path();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(document) = menu
            .document
            .as_ref()
            .filter(|_| is_read && path == discovery::PATH)
        {
            return document.answer();
        }
        // Channels are managed by HEAD and bare POST at every paid URL, whatever it serves, and never at a free one.
        let manages = matches!(*request.method(), Method::HEAD | Method::POST) && !has_body(&request);
        let served = routes.find(request.method(), path);
        let is_free = served.is_none_or(|route| route.price.is_none());
        // What another route of the path sold is managed under its challenge, which is verified as that route's.
        let challenged = manages.then(|| challenged_route(&request)).flatten();
        let challenged = challenged.and_then(|name| routes.find_named(path, &name));
        let managed = challenged.or_else(|| (manages && is_free).then(|| routes.find_paid(path)).flatten());
        let Some(route) = managed.or(served) else {
            return Denied::from(Problem::blank(
                404,
                "no route of this service has this method and path",
            ))
            .into_response();
        };
        let gateway = self.gateway();
        let ends = gateway.as_ref().is_ok_and(|gateway| gateway.streams().ends());
        // What is managed may belong to a stream that still runs: the gateway looks closer.
        if ends && (route.price.is_none() || !manages) {
            return Denied::from(No::Stopping).into_response();
        }
        let response = match (&route.price, gateway) {
            (None, _) => self.pass_through(request).await,
            (Some(_), Err(_)) => {
                Denied::chain_trouble("the chain has not been reached yet, so nothing can be sold")
                    .into_response()
            }
            (Some(price), Ok(gateway)) => {
                let bought = (route.clone(), price.clone());
                sell_apart(gateway, request, bought, Arc::clone(&under_way)).await
            }
        };
        response.map(|body| {
            Body::new(Counted {
                body,
                _under_way: under_way,
            })
        })
    }

    async fn pass_through(&self, request: Request) -> Response<Body> {
        let sent = RequestBody::default();
        match self.behind.send(request, None, &sent).await {
            Ok(response) => response,
            Err(fault) => Denied::from(&fault).into_response(),
        }
    }
}

/// The route whose challenge a request echoes; nothing is verified yet.
fn challenged_route(request: &Request) -> Option<String> {
    let lines = request.headers().get_all(header::AUTHORIZATION);
    let credential = Credential::find(lines.iter().map(HeaderValue::as_bytes)).ok()??;
    Some(
        Opaque::decode(credential.challenge.opaque.as_deref()?)
            .ok()?
            .route,
    )
}

async fn serve(State(front): State<Front>, request: Request) -> Response<Body> {
    front.answer(request).await
}

/// Half of a purchase must not be lost because the payer hung up: the work goes on in a task of its own.
async fn sell_apart(
    gateway: Gateway,
    request: Request,
    (route, price): (Route, Price),
    under_way: Arc<()>,
) -> Response<Body> {
    let task = tokio::spawn(async move {
        let answer = Untaken(Some(gateway.sell(request, &route, &price).await));
        drop(under_way);
        answer
    });
    task.await.map_or_else(
        |_| Denied::from(Problem::blank(500, "the request could not be finished")).into_response(),
        Untaken::take,
    )
}

/// An answer until the connection takes it. Where the payer hung up before that, none of it has left.
struct Untaken(Option<Response<Body>>);

impl Untaken {
    fn take(mut self) -> Response<Body> {
        let mut response = self.0.take().unwrap_or_default();
        // From here on its body alone says how it ends.
        response.extensions_mut().remove::<Answering>();
        response
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let response = self.0.as_mut();
        let answering = response.and_then(|response| response.extensions_mut().remove::<Answering>());
        if let Some(answering) = answering {
            answering.miss();
        }
    }
}

/// A body that counts as under way until it is out.
struct Counted {
    body: Body,
    _under_way: Arc<()>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
