//! HTTP as the payer speaks it: never a credential in the clear, never a redirect followed, everything bounded.

use crate::error::{Error, Unreached};
use crate::offer::{PROBLEM_BYTES_MAX, detail};
use core::time::Duration;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;

/// How the payer speaks HTTP.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Longest wait for an answer's head and for each piece of its body. A server may charge for what is given up
    /// before it comes, so it should be longer than any server is silent.
    pub timeout: Duration,
    /// Longest answer body that is read whole, in bytes.
    pub body_bytes_max: usize,
    /// Most times that one request is sent again after a lost connection, or after a 503 or a 429 that do not say for
    /// how long.
    pub retries_max: u32,
    /// For how long after the first of them one purchase is tried again. As long as it lasts, a server that names a
    /// `Retry-After` is asked again then.
    pub wait_max: Duration,
    /// Is told of each wait before it begins.
    pub on_wait: Option<fn(&Wait<'_>)>,
    /// Allows `http://` to other hosts than this one. A credential can then be read on the way.
    pub allow_insecure: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: SILENCE_MAX,
            body_bytes_max: 64 * 1024 * 1024,
            retries_max: 4,
            wait_max: WAIT_MAX_DEFAULT,
            on_wait: None,
            allow_insecure: false,
        }
    }
}

/// How long an answer may be silent unless the payer says otherwise: longer than Weir's daemon lets a service be silent
/// in a stream, takes to close, or by default waits for a service to begin.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Longest wait for a connection. Nothing is charged before there is one.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// How long one purchase is tried again unless the payer says otherwise.
const WAIT_MAX_DEFAULT: Duration = Duration::from_secs(60);
/// First wait before a repetition, when the server names none; it doubles.
const RETRY_WAIT_FIRST: Duration = Duration::from_millis(100);
/// How long a busy server's reason is read.
const REASON_WAIT: Duration = Duration::from_secs(1);

/// A wait, told before it begins or when it turns out to be one.
#[derive(Debug, Clone, Copy)]
pub struct Wait<'a> {
    /// Why.
    pub why: &'a str,
    /// How long until it is asked again; `None` while one answer is waited for.
    pub pause: Option<Duration>,
    /// For how much longer at most.
    pub left: Duration,
    /// How many more times at most, where the tries are counted.
    pub tries: Option<u32>,
}

/// What takes longer is told.
const MOMENT: Duration = Duration::from_secs(1);

/// How something is waited for that takes its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aloud<'a> {
    pub(crate) on_wait: Option<fn(&Wait<'_>)>,
    pub(crate) why: &'a str,
    pub(crate) most: Duration,
}

impl Aloud<'_> {
    /// Waits, and tells of it when it takes longer than a moment.
    pub(crate) async fn wait<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = core::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(MOMENT, &mut work).await {
            return done;
        }
        if let Some(on_wait) = self.on_wait {
            on_wait(&Wait {
                why: self.why,
                pause: None,
                left: self.most.saturating_sub(MOMENT),
                tries: None,
            });
        }
        work.await
    }
}

/// How long one purchase is still tried again.
#[derive(Debug)]
pub(crate) struct Patience {
    most: Duration,
    since: Option<Instant>,
    on_wait: Option<fn(&Wait<'_>)>,
}

impl Patience {
    fn left(&self) -> Duration {
        let gone = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.most.saturating_sub(gone)
    }

    /// How an answer is waited for that does not come before `why` is over.
    pub(crate) fn aloud<'a>(&self, why: &'a str) -> Aloud<'a> {
        Aloud {
            on_wait: self.on_wait,
            why,
            most: self.left(),
        }
    }

    fn allows(&self, pause: Duration) -> bool {
        pause <= self.left()
    }

    /// Waits, unless that is longer than is left: false then, at once.
    pub(crate) async fn wait(&mut self, why: &str, pause: Duration) -> bool {
        self.wait_for_try(why, pause, None).await
    }

    /// The same before one of so many tries.
    async fn wait_for_try(&mut self, why: &str, pause: Duration, tries: Option<u32>) -> bool {
        let Some(left) = self.left().checked_sub(pause) else {
            return false;
        };
        self.since.get_or_insert_with(Instant::now);
        if let Some(on_wait) = self.on_wait {
            let pause = Some(pause);
            on_wait(&Wait {
                why,
                pause,
                left,
                tries,
            });
        }
        tokio::time::sleep(pause).await;
        true
    }
}

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
            .connect_timeout(options.timeout.min(CONNECT_MAX))
            .read_timeout(options.timeout)
            .build()
            .map_err(|error| Unreached::new("the HTTP client".to_owned(), error))?;
        Ok(Self { client, options })
    }

    /// The patience of one purchase.
    pub(crate) const fn patience(&self) -> Patience {
        Patience {
            most: self.options.wait_max,
            since: None,
            on_wait: self.options.on_wait,
        }
    }

    /// Longest body that is read whole, in bytes.
    pub(crate) const fn body_bytes_max(&self) -> usize {
        self.options.body_bytes_max
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
    /// again, as often as the options allow and `patience` lasts. The same bytes are sent each time: a credential buys
    /// at most once.
    pub(crate) async fn send(
        &self,
        request: &Request,
        extra: &HeaderMap,
        patience: &mut Patience,
    ) -> Result<Sending, Error> {
        let mut wait = RETRY_WAIT_FIRST;
        let mut repeated = false;
        // A server that answered a credential has it, whatever it said.
        let (is_paid, mut reached) = (extra.contains_key(AUTHORIZATION), false);
        let mut left = self.options.retries_max;
        loop {
            let mut headers = request.headers.clone();
            headers.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
            let builder = self.client.request(request.method.clone(), request.url.clone());
            let sent = builder.headers(headers).body(request.body.clone()).send().await;
            let (why, pause, tries) = match sent {
                Ok(response) if is_busy(response.status()) => {
                    let named = retry_after(response.headers());
                    let pause = named.unwrap_or(wait);
                    if named.is_none() && left == 0 || !patience.allows(pause) {
                        return Ok(Sending { response, repeated });
                    }
                    reached |= is_paid;
                    (busy(response).await, pause, named.is_none().then_some(left))
                }
                Ok(response) => return Ok(Sending { response, repeated }),
                Err(error) => {
                    let never_sent = error.is_connect();
                    let unreached = Unreached::new(place(&request.url), error);
                    if left == 0 || unreached.is_ours() || !patience.allows(wait) {
                        return Err(lost(unreached, reached || repeated || !never_sent));
                    }
                    repeated |= !never_sent;
                    (unreached.to_string(), wait, Some(left))
                }
            };
            patience.wait_for_try(&why, pause, tries).await;
            wait = wait.saturating_mul(2);
            left = left.saturating_sub(1);
        }
    }

    /// Reads an answer whole, as far as the payer takes it.
    pub(crate) async fn read(&self, mut response: reqwest::Response) -> Result<Answer, Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(piece) = chunk(&mut response).await? {
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

/// The next piece of a body; `None` at its end.
pub(crate) async fn chunk(response: &mut reqwest::Response) -> Result<Option<Vec<u8>>, Unreached> {
    let piece = response.chunk().await;
    let piece = piece.map_err(|error| Unreached::new(place(response.url()), error))?;
    Ok(piece.map(Vec::from))
}

/// A URL as it may be shown: without the name, the password and the query, which may be secrets (threat K1).
pub(crate) fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// An error after which nobody knows what the server did, unless no byte ever reached it.
fn lost(unreached: Unreached, sent: bool) -> Error {
    if !sent || unreached.is_ours() {
        return unreached.into();
    }
    tracing::debug!(%unreached, "the answer got lost");
    Error::OutcomeUnknown
}

/// Why a server is busy, as it says itself.
async fn busy(mut response: reqwest::Response) -> String {
    let status = response.status();
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(piece)) = chunk(&mut response).await {
            body.extend_from_slice(&piece);
            if body.len() > PROBLEM_BYTES_MAX {
                break;
            }
        }
    };
    // A reason that does not come in time is not worth waiting for.
    let _ = tokio::time::timeout(REASON_WAIT, read).await;
    match detail(&body) {
        Some(said) => format!("the server answered {status}: {said}"),
        None => format!("the server answered {status}"),
    }
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
#[path = "http_tests.rs"]
mod tests;
