//! HTTP as the payer speaks it: never a credential in the clear, never a redirect followed, everything bounded.

use crate::error::Error;
use core::time::Duration;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};

/// How the payer speaks HTTP.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Longest wait for an answer's head and for each piece of its body.
    pub timeout: Duration,
    /// Longest answer body that is read whole, in bytes.
    pub body_bytes_max: usize,
    /// Most times that one request is sent again after a 503, a 429 or a lost connection.
    pub retries_max: u32,
    /// Longest single wait between two of them.
    pub retry_wait_max: Duration,
    /// Allows `http://` to other hosts than this one. A credential can then be read on the way.
    pub allow_insecure: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            body_bytes_max: 64 * 1024 * 1024,
            retries_max: 4,
            retry_wait_max: Duration::from_secs(10),
            allow_insecure: false,
        }
    }
}

/// First wait before a repetition, when the server names none; it doubles.
const RETRY_WAIT_FIRST: Duration = Duration::from_millis(100);

/// One request, as the caller gave it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A management request: a bare POST to the same place.
    pub(crate) fn bare(url: Url) -> Self {
        Self {
            method: Method::POST,
            url,
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// An answer whose body was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What came of sending, before the body is read.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) response: reqwest::Response,
    /// The request was sent more than once, and an earlier copy may have had its effect.
    pub(crate) repeated: bool,
}

/// The connection pool with its options.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    options: HttpOptions,
}

impl Http {
    pub(crate) fn new(options: HttpOptions) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            // A redirect would carry the credential to a place that the payer never looked at.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.timeout)
            .read_timeout(options.timeout)
            .build()?;
        Ok(Self { client, options })
    }

    /// Reads a URL and refuses one over which a credential could be read.
    pub(crate) fn url(&self, text: &str) -> Result<Url, Error> {
        let mut url = Url::parse(text).map_err(|error| Error::Url(error.to_string()))?;
        url.set_fragment(None);
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.options.allow_insecure || is_loopback(host) => Ok(url),
            "http" => Err(Error::Insecure(host.to_owned())),
            other => Err(Error::Url(format!("the scheme is {other}"))),
        }
    }

    /// Sends a request, with `extra` headers over its own. A 503 or 429 is waited out and a lost connection tried
    /// again, a bounded number of times. The same bytes are sent each time: a credential buys at most once.
    pub(crate) async fn send(&self, request: &Request, extra: &HeaderMap) -> Result<Sending, Error> {
        let mut wait = RETRY_WAIT_FIRST;
        let mut repeated = false;
        for left in (0..=self.options.retries_max).rev() {
            let mut headers = request.headers.clone();
            headers.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
            let builder = self.client.request(request.method.clone(), request.url.clone());
            let sent = builder.headers(headers).body(request.body.clone()).send().await;
            let pause = match sent {
                Ok(response) if left > 0 && is_busy(response.status()) => {
                    retry_after(response.headers()).unwrap_or(wait)
                }
                Ok(response) => return Ok(Sending { response, repeated }),
                Err(error) if left == 0 || error.is_builder() => return Err(lost(error, repeated)),
                Err(error) => {
                    repeated |= !error.is_connect();
                    wait
                }
            };
            tokio::time::sleep(pause.min(self.options.retry_wait_max)).await;
            wait = wait.saturating_mul(2);
        }
        Err(Error::OutcomeUnknown)
    }

    /// Reads an answer whole, as far as the payer takes it.
    pub(crate) async fn read(&self, mut response: reqwest::Response) -> Result<Answer, Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > self.options.body_bytes_max {
                return Err(Error::TooLarge(self.options.body_bytes_max));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

/// An error after which nobody knows what the server did, unless no byte ever reached it.
fn lost(error: reqwest::Error, repeated: bool) -> Error {
    if !repeated && error.is_connect() || error.is_builder() {
        return error.into();
    }
    tracing::debug!(error = %error.without_url(), "the answer got lost");
    Error::OutcomeUnknown
}

fn is_busy(status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS
}

/// `Retry-After` in seconds; a date is not worth a clock here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse()
            .is_ok_and(|address: core::net::IpAddr| address.is_loopback())
}

/// A header value that must not show up in logs.
pub(crate) fn secret_value(text: &str) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| Error::Protocol("a challenge cannot be echoed"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str, allow_insecure: bool) -> Result<Url, Error> {
        Http::new(HttpOptions {
            allow_insecure,
            ..HttpOptions::default()
        })?
        .url(text)
    }

    #[test]
    fn a_credential_never_leaves_in_the_clear_unless_allowed() {
        for fine in [
            "https://a.example/x",
            "http://127.0.0.1:8402/x",
            "http://localhost/",
            "http://[::1]:1/",
        ] {
            assert!(url(fine, false).is_ok(), "{fine}");
        }
        for bad in [
            "http://a.example/",
            "http://127.0.0.1.a.example/",
            "http://10.0.0.1/",
            "http://localhost.a.example/",
        ] {
            assert!(matches!(url(bad, false), Err(Error::Insecure(_))), "{bad}");
            assert!(url(bad, true).is_ok(), "{bad}");
        }
        for odd in ["ftp://a.example/", "file:///etc/passwd", "x", ""] {
            assert!(matches!(url(odd, true), Err(Error::Url(_))), "{odd}");
        }
    }

    #[test]
    fn threat_k1_a_credential_is_marked_as_secret() {
        let shown = format!("{:?}", secret_value("Payment abc").unwrap());
        assert!(!shown.contains("abc"), "{shown}");
    }
}
