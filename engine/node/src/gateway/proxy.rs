//! Hands a request to the upstream and its answer back, both as streams.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
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
    /// It took longer than the configured time to begin its answer.
    #[error("the upstream did not begin to answer within {0:?}")]
    TimedOut(Duration),
}

/// The upstream behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: reqwest::Client,
    base: String,
    timeout: Duration,
}

impl Upstream {
    /// An upstream at `base` (no trailing slash), which must begin its answers within `timeout`.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(base: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
            timeout,
        })
    }

    /// Sends a request on; the answer's body is still on its way when this returns.
    pub async fn send(
        &self,
        request: Request<Body>,
        facts: &[(HeaderName, String)],
    ) -> Result<Response<Body>, UpstreamFault> {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        strip(&mut headers);
        headers.remove(header::HOST);
        // Whatever scheme it was, it was meant for us: a free route passes other schemes on.
        if headers
            .get(header::AUTHORIZATION)
            .is_some_and(|value| is_payment(value.as_bytes()))
        {
            headers.remove(header::AUTHORIZATION);
        }
        for (name, value) in facts {
            if let Ok(value) = value.parse() {
                headers.insert(name.clone(), value);
            }
        }
        let sent = self
            .client
            .request(parts.method, self.url(&parts.uri))
            .headers(headers)
            .body(reqwest::Body::wrap_stream(body.into_data_stream()))
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

    fn url(&self, uri: &Uri) -> String {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        format!("{}{path}", self.base)
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
    for name in OURS {
        headers.remove(name);
    }
}

/// Whether an upstream's status is a delivery.
pub fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// A body that ends its charge when it ends: finished when it is all out or the payer went away, failed when the
/// upstream cut it.
pub struct Delivering<S> {
    body: Pin<Box<S>>,
    delivery: Option<Delivery>,
}

impl<S> Delivering<S> {
    /// Ties a charge to a body.
    pub fn new(body: S, delivery: Delivery) -> Self {
        Self {
            body: Box::pin(body),
            delivery: Some(delivery),
        }
    }
}

impl<S: Stream<Item = Result<Bytes, axum::Error>>> Stream for Delivering<S> {
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
                if let Some(delivery) = self.delivery.take() {
                    delivery.fail();
                }
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }
}
