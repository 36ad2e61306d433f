//! The gateway before a service of this very program: a tower layer.
//!
//! It does what the daemon does before an upstream, by the same code: what its menu has a price for is sold, what the
//! menu names as free is passed on, and nothing else is there.

use crate::gateway::behind::{Serves, UpstreamFault};
use crate::gateway::front::Front;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use core::fmt;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn};
use tower_layer::Layer;
use tower_service::Service;

/// Sells what a service answers. One front may have many services behind it: axum gives each route a layer of its own.
#[derive(Clone)]
pub struct PaymentLayer {
    front: Front,
}

impl PaymentLayer {
    /// The layer of a front.
    pub const fn new(front: Front) -> Self {
        Self { front }
    }
}

impl<S> Layer<S> for PaymentLayer
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: fmt::Display + Send,
    S::Future: Send,
{
    type Service = Router;

    fn layer(&self, service: S) -> Router {
        self.front.before(Here(service)).router()
    }
}

/// A service of this program.
struct Here<S>(S);

impl<S> Serves for Here<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: fmt::Display + Send,
    S::Future: Send,
{
    fn serve(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamFault>> {
        let mut service = self.0.clone();
        async move {
            let answer = match poll_fn(|context| service.poll_ready(context)).await {
                Ok(()) => service.call(request).await,
                Err(error) => Err(error),
            };
            answer.map_err(|error| {
                tracing::warn!(%error, "the service failed before it answered");
                UpstreamFault::Failed
            })
        }
        .boxed()
    }
}
