//! Requests with an `Idempotency-Key`: charged once, answered again (draft-httpauth-payment-00, Idempotency and Side
//! Effects; docs/adr/0017-idempotency-keys.md).

use crate::gateway::Gateway;
use crate::gateway::answer::{Denied, uncharged};
use crate::gateway::behind::{Delivering, Ends, RequestBody, is_success};
use crate::gateway::pay::Visit;
use crate::gateway::price::Meter;
use crate::gateway::route::Route;
use crate::gateway::stream::is_events;
use crate::repeats::KEPT_BYTES_MAX;
use crate::{Answer, ChargeOn, Debt, Hold, KeptAnswer, Keyed};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::Duration;
use weir_protocol::digest::ContentDigest;
use weir_protocol::problem::Problem;
use weir_store::Durable;

/// By which a client says that a request is the same as one before.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key.
pub const KEY_BYTES_MAX: usize = 255;
/// How long an answer's end is waited for before it counts as a stream, which is not kept.
const WHOLE_WAIT: Duration = Duration::from_secs(10);

/// Headers that mean something of an answer that is told again, beside its body. The rest is of its first delivery.
const KEPT_HEADERS: [HeaderName; 12] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_SECURITY_POLICY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::LINK,
    header::LOCATION,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// Whether a request pays, and may be sent again.
pub fn is_keyed(request: &Request) -> bool {
    let headers = request.headers();
    headers.contains_key(IDEMPOTENCY_KEY) && headers.contains_key(header::AUTHORIZATION)
}

/// The key of a request with all that it asks for of this route; `None` without one.
///
/// # Errors
/// The key cannot be read.
pub fn keyed(
    request: &Request,
    route: &Route,
    digest: Option<ContentDigest>,
) -> Result<Option<Keyed>, Denied> {
    let mut lines = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = lines.next().map(HeaderValue::as_bytes) else {
        return Ok(None);
    };
    let fits = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if !fits || lines.next().is_some() {
        let said = format!(
            "Idempotency-Key is not one key of 1 to {KEY_BYTES_MAX} visible ASCII characters; nothing was charged"
        );
        return Err(Problem::blank(400, said).into());
    }
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    let mut hash = Sha256::new();
    for part in [&*route.name(), request.method().as_str(), asked] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    if let Some(digest) = digest {
        hash.update(digest.as_bytes());
    }
    Ok(Some(Keyed {
        key: Sha256::digest(key).into(),
        request: hash.finalize().into(),
        keeps: route
            .price
            .as_ref()
            .is_none_or(|price| price.meter != Meter::Event),
    }))
}

/// Notes what becomes of an answer before any of it leaves: kept where it is short and whole, told once otherwise. One
/// that the service cut before any of it left may be bought, or delivered, anew. Without a key it just leaves.
///
/// # Errors
/// It cannot be written down.
pub async fn note(
    hold: Option<Hold>,
    response: Response<Body>,
    charge_on: ChargeOn,
) -> Result<Response<Body>, Denied> {
    // What is not kept anyway is noted as told since its reservation.
    let Some(hold) = hold.filter(Hold::keeps) else {
        return Ok(response);
    };
    let headers = kept_headers(response.headers());
    // Events are not held back.
    let room = room_beside(&headers).filter(|_| !is_events(response.headers()));
    let Some(room) = room else {
        hold.tell().await?;
        return Ok(response);
    };
    let (parts, body) = response.into_parts();
    let (pieces, rest) = match read(body, room).await {
        Read::Whole(pieces) => {
            let body = pieces.concat();
            let answer = KeptAnswer {
                status: parts.status.as_u16(),
                headers,
                body: body.clone(),
            };
            hold.keep(answer).await?;
            return Ok(Response::from_parts(parts, Body::from(body)));
        }
        // Nothing has left. What was charged becomes a credit, or stays owed: for an answer that was owed already, where
        // the payer's own request broke off, or when it had asked the chain for its money.
        Read::Cut(..) if charge_on == ChargeOn::Success => {
            return Err(still_owed(502, "the upstream broke off its answer"));
        }
        Read::Cut(pieces, error) => {
            hold.tell().await?;
            (pieces, stream::iter([Err(error)]).boxed())
        }
        Read::Longer(pieces, rest) => {
            hold.tell().await?;
            (pieces, rest)
        }
    };
    let pieces = stream::iter(pieces.into_iter().map(Ok));
    Ok(Response::from_parts(parts, Body::from_stream(pieces.chain(rest))))
}

/// A no to a request whose key stands for a charge already.
fn still_owed(status: u16, why: impl fmt::Display) -> Denied {
    let said = format!("{why}; nothing more was charged; ask again under the same key");
    Problem::blank(status, said).into()
}

/// The answer again. Its receipt is stamped on it like any other's.
pub fn again(kept: KeptAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

impl Gateway {
    /// Delivers what was charged before, and never left.
    pub(super) async fn redeliver(
        &self,
        visit: Visit<'_>,
        (hold, answer): (Hold, Durable<Answer>),
    ) -> Result<Response<Body>, Denied> {
        // It was charged before: what the service reports now changes nothing.
        let payment = visit.payment(&answer.get().channel);
        // Read whole before it was paid for, if there is one.
        let body = RequestBody::default();
        let sent = self.behind.send(visit.request, Some(&payment), &body).await;
        let response = sent.map_err(|fault| still_owed(fault.status().as_u16(), fault))?;
        let charge_on = visit.order.charge_on;
        // It stays owed.
        if charge_on == ChargeOn::Success && !is_success(response.status()) {
            return Ok(uncharged(response));
        }
        let response = match charge_on {
            ChargeOn::Success => {
                let debt = hold.debt();
                response
                    .map(|answer| Body::from_stream(Delivering::new(answer.into_data_stream(), debt, body)))
            }
            ChargeOn::FirstByte | ChargeOn::Always => response,
        };
        let mut response = note(Some(hold), response, charge_on).await?;
        visit.paper.stamp(&mut response, &answer);
        Ok(response)
    }
}

/// An answer that nothing is credited for is owed again when the upstream cuts it.
impl Ends for Debt {
    fn finish(self) {}

    fn fail(self) {
        Self::fail(self);
    }
}

/// What came of a body while there was room and time.
enum Read {
    Whole(Vec<Bytes>),
    Longer(Vec<Bytes>, stream::BoxStream<'static, Result<Bytes, axum::Error>>),
    Cut(Vec<Bytes>, axum::Error),
}

async fn read(body: Body, room: usize) -> Read {
    let mut body = body.into_data_stream();
    let (mut pieces, mut held) = (Vec::new(), 0);
    let deadline = tokio::time::Instant::now() + WHOLE_WAIT;
    loop {
        match tokio::time::timeout_at(deadline, body.next()).await {
            Ok(None) => return Read::Whole(pieces),
            Ok(Some(Ok(piece))) => {
                held += piece.len();
                pieces.push(piece);
                if held > room {
                    return Read::Longer(pieces, body.boxed());
                }
            }
            Ok(Some(Err(error))) => return Read::Cut(pieces, error),
            Err(_) => return Read::Longer(pieces, body.boxed()),
        }
    }
}

/// What may be kept of a body beside these headers; `None` where they are too long themselves.
fn room_beside(headers: &[(String, Vec<u8>)]) -> Option<usize> {
    let head: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    KEPT_BYTES_MAX.checked_sub(head)
}

fn kept_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let kept = headers.iter().filter(|(name, _)| KEPT_HEADERS.contains(name));
    kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, lines: &[&str]) -> Request {
        let request = Request::builder().uri(uri);
        let request = lines
            .iter()
            .fold(request, |request, line| request.header(IDEMPOTENCY_KEY, *line));
        request.body(Body::empty()).unwrap()
    }

    fn route(path: &str) -> Route {
        Route {
            path: path.into(),
            methods: Vec::new(),
            price: None,
        }
    }

    fn key_of(request: &Request, path: &str, body: Option<&str>) -> Keyed {
        let digest = body.map(|body| ContentDigest::of(body.as_bytes()));
        keyed(request, &route(path), digest).unwrap().unwrap()
    }

    #[test]
    fn a_key_stands_for_all_that_is_asked() {
        let first = key_of(&asked("/a?q=1", &["k"]), "/a", None);
        assert_eq!(first, key_of(&asked("/a?q=1", &["k"]), "/a", None));
        let posted = Request::post("/a?q=1")
            .header(IDEMPOTENCY_KEY, "k")
            .body(Body::empty())
            .unwrap();
        for (name, other) in [
            ("query", key_of(&asked("/a?q=2", &["k"]), "/a", None)),
            ("path", key_of(&asked("/b?q=1", &["k"]), "/a", None)),
            ("route", key_of(&asked("/a?q=1", &["k"]), "/*", None)),
            ("method", key_of(&posted, "/a", None)),
            ("body", key_of(&asked("/a?q=1", &["k"]), "/a", Some(""))),
        ] {
            assert_eq!(other.key, first.key, "{name}");
            assert_ne!(other.request, first.request, "{name}");
        }
        assert_ne!(
            key_of(&asked("/a", &["k"]), "/a", Some("x")).request,
            key_of(&asked("/a", &["k"]), "/a", Some("y")).request
        );
        assert_ne!(key_of(&asked("/a?q=1", &["l"]), "/a", None).key, first.key);
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        assert!(keyed(&asked("/a", &[]), &route("/a"), None).unwrap().is_none());
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for lines in [&[""][..], &["two words"], &["a", "b"], &[&long]] {
            let denied = keyed(&asked("/a", lines), &route("/a"), None).unwrap_err();
            assert_eq!(denied.problem.status(), 400, "{lines:?}");
        }
        assert!(
            keyed(&asked("/a", &["\"8e03978e\""]), &route("/a"), None)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn headers_that_are_too_long_leave_no_room_for_a_body() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_static("bytes 0-9/90"));
        headers.insert(header::SET_COOKIE, HeaderValue::from_static("not kept"));
        let kept = kept_headers(&headers);
        assert_eq!(kept, [("content-range".to_owned(), b"bytes 0-9/90".to_vec())]);
        let head = "content-range".len() + "bytes 0-9/90".len();
        assert_eq!(room_beside(&kept), Some(KEPT_BYTES_MAX - head));
        let link = |bytes: usize| [("link".to_owned(), vec![b'x'; bytes - "link".len()])];
        assert_eq!(room_beside(&link(KEPT_BYTES_MAX)), Some(0));
        assert_eq!(room_beside(&link(KEPT_BYTES_MAX + 1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_short_and_ends_is_read_whole() {
        let bytes = |count: usize| Bytes::from(vec![b'x'; count]);
        let whole = |sizes: &[usize]| {
            let pieces: Vec<_> = sizes
                .iter()
                .map(|size| Ok::<_, axum::Error>(bytes(*size)))
                .collect();
            Body::from_stream(stream::iter(pieces))
        };
        let length = |pieces: &[Bytes]| pieces.iter().map(Bytes::len).sum::<usize>();
        let Read::Whole(pieces) = read(whole(&[3, 4]), 7).await else {
            panic!()
        };
        assert_eq!(length(&pieces), 7);
        let Read::Longer(pieces, rest) = read(whole(&[3, 5, 9]), 7).await else {
            panic!()
        };
        let rest: Vec<_> = rest.collect().await;
        assert_eq!((length(&pieces), rest.len()), (8, 1), "nothing is lost");
        let endless = stream::iter([Ok::<_, axum::Error>(bytes(1))]).chain(stream::pending());
        let read_of_endless = read(Body::from_stream(endless), 7).await;
        assert!(matches!(read_of_endless, Read::Longer(pieces, _) if length(&pieces) == 1));
        let cut = stream::iter([Ok(bytes(1)), Err(axum::Error::new("cut"))]);
        let read_of_cut = read(Body::from_stream(cut), 7).await;
        assert!(matches!(read_of_cut, Read::Cut(pieces, _) if length(&pieces) == 1));
    }
}
