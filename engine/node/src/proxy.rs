//! A service elsewhere: hands requests to the upstream and its answers back, both as streams.

use axum::body::Body;
use axum::http::{Request, Response, Uri, header};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use weir_till::gateway::behind::{Serves, UpstreamFault};

/// The upstream behind the gateway.
pub struct Upstream {
    client: reqwest::Client,
    base: String,
    base_path: String,
}

impl Upstream {
    /// An upstream at `base` (no trailing slash).
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(base: &str) -> Result<Self, reqwest::Error> {
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
        })
    }

    async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamFault> {
        let (parts, body) = request.into_parts();
        let url = self.url(&parts.uri)?;
        let mut headers = parts.headers;
        headers.remove(header::HOST);
        let sent = self
            .client
            .request(parts.method, url)
            .headers(headers)
            .body(reqwest::Body::wrap_stream(body.into_data_stream()))
            .send();
        let answer = sent.await.map_err(|error| {
            tracing::warn!(error = %error.without_url(), "the upstream could not be reached");
            UpstreamFault::Unreachable
        })?;
        let status = answer.status();
        let headers = answer.headers().clone();
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

impl Serves for Upstream {
    fn serve(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamFault>> {
        self.ask(request).boxed()
    }
}
