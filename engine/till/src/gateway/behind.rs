//! What stands behind the gateway and answers what may be answered: a service elsewhere, or one in this very program.
//! The gateway is the same for all of them.

use crate::Delivery;
use crate::gateway::payment::Payment;
use crate::gateway::watch::Watch;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Headers that end at each hop (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// What is between the payer and us only: no upstream sees a credential (threat K1), none can forge a receipt.
const OURS: [&str; 6] = [
    "payment-receipt",
    "payment-session",
    "accept-payment",
    "weir-channel",
    "weir-payer",
    "www-authenticate",
];

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    /// It could not be reached, or broke off before its answer began.
    #[error("the upstream could not be reached")]
    Unreachable,
    /// The path would reach the upstream as another one.
    #[error("the path cannot be passed on unchanged")]
    Path,
    /// It is in this program, and failed before its answer began.
    #[error("the service failed before it answered")]
    Failed,
    /// It took longer than the configured time to begin its answer.
    #[error("the upstream did not begin to answer within {0:?}")]
    TimedOut(Duration),
}

impl UpstreamFault {
    /// How it is counted.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Path => "path",
            Self::Failed => "failed",
        }
    }

    /// What the payer is answered with.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Path => StatusCode::NOT_FOUND,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A service that the gateway hands requests to.
pub trait Serves: Send + Sync + 'static {
    /// Answers a request. Its headers say who paid, where somebody did; the answer's body may still be on its way when
    /// this returns.
    fn serve(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamFault>>;
}

/// A service with what it may take, and who counts its failures. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Behind {
    service: Arc<dyn Serves>,
    timeout: Duration,
    watch: Arc<dyn Watch>,
}

impl Behind {
    /// This service, which must begin its answers within `timeout`.
    pub fn new(service: impl Serves, timeout: Duration, watch: Arc<dyn Watch>) -> Self {
        Self {
            service: Arc::new(service),
            timeout,
            watch,
        }
    }

    /// Another service, on the same terms.
    pub(super) fn with(&self, service: impl Serves) -> Self {
        Self::new(service, self.timeout, Arc::clone(&self.watch))
    }

    /// Who counts its failures.
    pub(crate) const fn watch(&self) -> &Arc<dyn Watch> {
        &self.watch
    }

    /// Hands a request on; the answer's body is still on its way when this returns.
    ///
    /// # Errors
    /// [`UpstreamFault`], which is counted.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
        payment: Option<&Payment>,
        sent: &RequestBody,
    ) -> Result<Response<Body>, UpstreamFault> {
        let (mut parts, body) = request.into_parts();
        let headers = &mut parts.headers;
        strip(headers);
        drop_credentials(headers);
        // After all that a payer wrote is gone, or it could have this taken away.
        if let Some(payment) = payment {
            payment.tell(headers);
            parts.extensions.insert(payment.clone());
        }
        let request = Request::from_parts(parts, sent.watch(body));
        let answer = tokio::time::timeout(self.timeout, self.service.serve(request)).await;
        let answer = answer.unwrap_or(Err(UpstreamFault::TimedOut(self.timeout)));
        if let Some(payment) = payment {
            payment.close();
        }
        let mut response = answer.inspect_err(|fault| self.watch.upstream_failed(fault.kind()))?;
        strip(response.headers_mut());
        Ok(response)
    }
}

/// Payment credentials are for us alone; other schemes are the service's affair.
fn drop_credentials(headers: &mut HeaderMap) {
    let passed: Vec<_> = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter(|value| !is_payment(value.as_bytes()))
        .cloned()
        .collect();
    headers.remove(header::AUTHORIZATION);
    for value in passed {
        headers.append(header::AUTHORIZATION, value);
    }
}

fn is_payment(value: &[u8]) -> bool {
    value
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"payment"))
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    // Some services read `_` in a name as `-`.
    let ours = |name: &HeaderName| OURS.contains(&name.as_str().replace('_', "-").as_str());
    let forged: Vec<HeaderName> = headers.keys().filter(|name| ours(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

/// Whether an upstream's status is a delivery.
pub fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// What is over when a body is.
pub trait Ends {
    /// All of it is out, or its payer went away.
    fn finish(self);
    /// The upstream cut it.
    fn fail(self);
}

impl Ends for Delivery {
    fn finish(self) {
        Self::finish(self);
    }

    fn fail(self) {
        Self::fail(self);
    }
}

/// A body that ends its charge when it ends: finished when it is all out or the payer went away, failed when the
/// upstream cut it.
pub struct Delivering<S, E> {
    body: Pin<Box<S>>,
    delivery: Option<E>,
    sent: RequestBody,
}

/// Whether the payer's own request body broke off: an answer that is cut because of that is no failure of ours.
#[derive(Debug, Clone, Default)]
pub struct RequestBody(Arc<AtomicBool>);

impl RequestBody {
    fn watch(&self, body: Body) -> Body {
        Body::new(Watched {
            body,
            broke: self.clone(),
        })
    }

    fn broke(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A request's body that notes when it breaks off.
struct Watched {
    body: Body,
    broke: RequestBody,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.broke.0.store(true, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S, E: Ends> Delivering<S, E> {
    /// Ties a charge to a body that answers a request with this body.
    pub fn new(body: S, delivery: E, sent: RequestBody) -> Self {
        Self {
            body: Box::pin(body),
            delivery: Some(delivery),
            sent,
        }
    }
}

impl<S: Stream<Item = Result<Bytes, axum::Error>>, E: Ends + Unpin> Stream for Delivering<S, E> {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.body.poll_next_unpin(context);
        match &polled {
            Poll::Ready(None) => {
                if let Some(delivery) = self.delivery.take() {
                    delivery.finish();
                }
            }
            Poll::Ready(Some(Err(_))) => {
                let broke = self.sent.broke();
                if let Some(delivery) = self.delivery.take() {
                    if broke { delivery.finish() } else { delivery.fail() }
                }
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::payment::ReportNo;
    use alloy_primitives::Address;
    use futures_util::FutureExt;
    use std::sync::Mutex;
    use weir_core::Amount;

    /// A service that reports three units, and keeps who pays.
    #[derive(Clone, Default)]
    struct Keeps(Arc<Mutex<Option<Payment>>>);

    impl Serves for Keeps {
        fn serve(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamFault>> {
            let payment = request.extensions().get::<Payment>().cloned();
            let is_told = request.headers().contains_key("weir-payer");
            assert!(is_told && !request.headers().contains_key(header::AUTHORIZATION));
            let said = payment.as_ref().map(|payment| payment.report(3));
            assert_eq!(said, Some(Ok(())));
            *self.0.lock().unwrap() = payment;
            futures_util::future::ready(Ok(Response::new(Body::empty()))).boxed()
        }
    }

    #[tokio::test]
    async fn what_a_service_reports_after_its_answer_has_begun_is_too_late() {
        let service = Keeps::default();
        let behind = Behind::new(service.clone(), Duration::from_secs(1), Arc::new(()));
        let payment = Payment::new(None, Address::ZERO, Amount::new(70), 7);
        // Nothing that a payer writes takes away what its service is told.
        let request = Request::get("/words")
            .header(header::CONNECTION, "weir-payer")
            .header("Weir-Payer", "another")
            .header(header::AUTHORIZATION, "Payment abc")
            .body(Body::empty());
        let sent = RequestBody::default();
        let answer = behind.send(request.unwrap(), Some(&payment), &sent).await;
        assert!(answer.is_ok());
        let kept = service.0.lock().unwrap().take().unwrap();
        assert_eq!(kept.report(1), Err(ReportNo::TooLate));
        assert_eq!(payment.cost(), (3, Amount::new(30)));
    }
}
