//! Hands a request to the upstream and its answer back, both as streams.

use crate::metrics::Metrics;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use futures_util::{Stream, StreamExt, TryStreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use weir_till::Delivery;

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
        }
    }

    /// What the payer is answered with.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Path => StatusCode::NOT_FOUND,
        }
    }
}

/// The upstream behind the gateway.
#[derive(Clone)]
pub struct Upstream {
    client: reqwest::Client,
    base: String,
    base_path: String,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// An upstream at `base` (no trailing slash), which must begin its answers within `timeout`.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(base: &str, timeout: Duration, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let base = base.trim_end_matches('/').to_owned();
        let base_path =
            reqwest::Url::parse(&base).map_or_else(|_| String::new(), |url| url.path().to_owned());
        let base_path = base_path.trim_end_matches('/').to_owned();
        Ok(Self {
            client,
            base,
            base_path,
            timeout,
            metrics,
        })
    }

    /// Sends a request on; the answer's body is still on its way when this returns.
    ///
    /// # Errors
    /// [`UpstreamFault`], which is counted.
    pub async fn send(
        &self,
        request: Request<Body>,
        facts: &[(HeaderName, String)],
        sent: &RequestBody,
    ) -> Result<Response<Body>, UpstreamFault> {
        let answer = self.ask(request, facts, sent).await;
        answer.inspect_err(|fault| self.metrics.upstream_failed(fault.kind()))
    }

    async fn ask(
        &self,
        request: Request<Body>,
        facts: &[(HeaderName, String)],
        sent: &RequestBody,
    ) -> Result<Response<Body>, UpstreamFault> {
        let (parts, body) = request.into_parts();
        let url = self.url(&parts.uri)?;
        let mut headers = parts.headers;
        strip(&mut headers);
        headers.remove(header::HOST);
        // Payment credentials are for us alone; other schemes are the upstream's affair.
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
        for (name, value) in facts {
            if let Ok(value) = value.parse() {
                headers.insert(name.clone(), value);
            }
        }
        let sent = self
            .client
            .request(parts.method, url)
            .headers(headers)
            .body(sent.watch(body))
            .send();
        let answer = tokio::time::timeout(self.timeout, sent)
            .await
            .map_err(|_| UpstreamFault::TimedOut(self.timeout))?
            .map_err(|error| {
                tracing::warn!(error = %error.without_url(), "the upstream could not be reached");
                UpstreamFault::Unreachable
            })?;
        let status = answer.status();
        let mut headers = answer.headers().clone();
        strip(&mut headers);
        let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// The upstream's URL of a request. Nothing about the path may change on the way: a route was chosen by it.
    fn url(&self, uri: &Uri) -> Result<reqwest::Url, UpstreamFault> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let url = reqwest::Url::parse(&format!("{}{path}", self.base)).map_err(|_| UpstreamFault::Path)?;
        let kept = url.path().strip_prefix(&self.base_path) == Some(uri.path());
        if kept { Ok(url) } else { Err(UpstreamFault::Path) }
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
    fn watch(&self, body: Body) -> reqwest::Body {
        let broke = Arc::clone(&self.0);
        reqwest::Body::wrap_stream(
            body.into_data_stream()
                .inspect_err(move |_| broke.store(true, Ordering::Release)),
        )
    }

    fn broke(&self) -> bool {
        self.0.load(Ordering::Acquire)
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
