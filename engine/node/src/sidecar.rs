//! `POST /v1/charge`: the gateway for services in other programs, which ask it before they answer (docs/embedding.md).
//!
//! A service hands over what it was asked, and is told what to do: relay an answer of the gateway's, or serve its own with
//! these headers. The same gateway judges as before the proxy; behind it stands [`Allow`], which answers everything at
//! once. So what is allowed is charged, whatever the service then does (docs/adr/0019-embedding.md).

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use weir_core::Amount;
use weir_till::gateway::behind::{Serves, UpstreamFault};
use weir_till::gateway::front::Front;
use weir_till::gateway::payment::Payment;

/// Where it is served, on the operator's listener.
pub const PATH: &str = "/v1/charge";
/// What a question holds beside its body, at most.
const QUESTION_BYTES_MAX: usize = 128 * 1024;
/// What the gateway says itself, at most: problems and challenges.
const RELAYED_BYTES_MAX: usize = 1024 * 1024;
/// The content type of [`Allow`]'s answers. No answer of the gateway's own has it, and it is kept with an idempotency key.
const ALLOWED: &str = "application/vnd.weir.allowed+json";

/// What a service was asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// The request's method.
    method: String,
    /// Its path, and its query if there is one, as they came: not decoded, not normalised.
    url: String,
    /// Its headers, or those that concern payment; names in any case.
    #[serde(default)]
    headers: BTreeMap<String, Lines>,
    /// Its body in base64, if there is one.
    #[serde(default)]
    body: Option<String>,
}

/// A header that came once, or several times.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Many(Vec<String>),
}

/// What a service does now.
#[derive(Debug, Serialize)]
struct Verdict {
    /// Whether it serves its own answer; otherwise it relays this status, these headers and this body.
    deliver: bool,
    status: u16,
    /// Names and values; a name may occur more than once.
    headers: Vec<(String, String)>,
    body: String,
    /// Who paid; none where the route is free, and where nothing is delivered.
    payment: Option<Told>,
}

/// Who paid.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    payer: String,
    channel: Option<String>,
    /// What it costs, in base units.
    amount: Amount,
}

/// The gateway, and the token that services have.
#[derive(Clone)]
struct Sidecar {
    front: Front,
    token: Arc<str>,
}

/// The route, for services that have this token.
pub fn router(front: &Front, token: Arc<str>) -> Router {
    let body_bytes_max = front.body_bytes_max();
    let sidecar = Sidecar {
        front: front.before(Allow),
        token,
    };
    // Base64 takes four bytes for three.
    let question_bytes_max = (body_bytes_max / 3 + 1) * 4 + QUESTION_BYTES_MAX;
    Router::new()
        .route(PATH, post(charge))
        .layer(DefaultBodyLimit::max(question_bytes_max))
        .with_state(sidecar)
}

async fn charge(State(sidecar): State<Sidecar>, request: Request) -> axum::response::Response {
    let sent = request.headers().get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    // Before anything of it is read.
    if !sent.is_some_and(|sent| bool::from(sent.ct_eq(sidecar.token.as_bytes()))) {
        return no(
            StatusCode::UNAUTHORIZED,
            "the sidecar's bearer token is missing or wrong",
        );
    }
    let question = match Json::<Question>::from_request(request, &()).await {
        Ok(Json(question)) => question,
        Err(rejection) => return malformed(&rejection),
    };
    let asked = match question.request() {
        Ok(asked) if has_length(&asked, sidecar.front.body_bytes_max()) => asked,
        Ok(_) => {
            return no(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is above server.body_bytes_max",
            );
        }
        Err(what) => return no(StatusCode::BAD_REQUEST, what),
    };
    match Verdict::of(sidecar.front.answer(asked).await).await {
        Some(verdict) => Json(verdict).into_response(),
        None => no(StatusCode::BAD_GATEWAY, "the gateway's answer could not be read"),
    }
}

fn has_length(request: &Request, bytes_max: usize) -> bool {
    let bytes = request.body().size_hint().exact().unwrap_or_default();
    usize::try_from(bytes).is_ok_and(|bytes| bytes <= bytes_max)
}

fn no(status: StatusCode, what: &str) -> axum::response::Response {
    (status, Json(serde_json::json!({ "error": what }))).into_response()
}

fn malformed(rejection: &JsonRejection) -> axum::response::Response {
    no(rejection.status(), &rejection.body_text())
}

impl Question {
    /// The request as it came to the service.
    fn request(self) -> Result<Request, &'static str> {
        let method: Method = self.method.parse().map_err(|_| "method is no HTTP method")?;
        let url: Uri = self.url.parse().map_err(|_| "url is no path with a query")?;
        if url.authority().is_some() || !self.url.starts_with('/') {
            return Err("url is not the path and the query alone, beginning with /");
        }
        let mut headers = HeaderMap::new();
        for (name, lines) in self.headers {
            let name: HeaderName = name.parse().map_err(|_| "headers has a name that is none")?;
            let lines = match lines {
                Lines::One(line) => vec![line],
                Lines::Many(lines) => lines,
            };
            for line in lines {
                let line = HeaderValue::try_from(line).map_err(|_| "headers has a value that is none")?;
                headers.append(name.clone(), line);
            }
        }
        let body = match self.body {
            None => Body::empty(),
            Some(body) => Body::from(STANDARD.decode(body).map_err(|_| "body is not base64")?),
        };
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut()) = (method, url);
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl Verdict {
    /// What an answer of the gateway means for the service that asked. Reading it to its end is what ends its charge.
    async fn of(answer: Response<Body>) -> Option<Self> {
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, RELAYED_BYTES_MAX).await.ok()?;
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let deliver = kind.is_some_and(|kind| kind == ALLOWED);
        let spelled = |(name, value): (&HeaderName, &HeaderValue)| {
            let is_ours = name == header::CONTENT_LENGTH || (deliver && name == header::CONTENT_TYPE);
            let value = value.to_str().ok().filter(|_| !is_ours)?;
            Some((name.as_str().to_owned(), value.to_owned()))
        };
        let headers = parts.headers.iter().filter_map(spelled).collect();
        let (payment, body) = if deliver {
            (serde_json::from_slice(&body).ok()?, String::new())
        } else {
            (None, String::from_utf8(body.into()).ok()?)
        };
        Some(Self {
            deliver,
            status: parts.status.as_u16(),
            headers,
            body,
            payment,
        })
    }
}

/// Allows everything that reaches it, and says who paid.
struct Allow;

impl Serves for Allow {
    fn serve(
        &self,
        request: axum::http::Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, UpstreamFault>> {
        let told = request.extensions().get::<Payment>().map(|payment| Told {
            payer: payment.payer().to_string(),
            channel: payment.channel().map(|channel| channel.to_string()),
            amount: payment.reserved(),
        });
        async move {
            let body = serde_json::to_vec(&told).map_err(|_| UpstreamFault::Failed)?;
            let mut response = Response::new(Body::from(Bytes::from(body)));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ALLOWED));
            Ok(response)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(json: serde_json::Value) -> Result<Request, &'static str> {
        serde_json::from_value::<Question>(json).unwrap().request()
    }

    #[test]
    fn a_question_is_the_request_as_it_came() {
        let asked = question(serde_json::json!({
            "method": "POST", "url": "/v1/a%C3%A9?q=1&q=2", "body": "aGk=",
            "headers": { "Authorization": ["Payment a", "Payment b"], "Idempotency-Key": "k" },
        }));
        let asked = asked.unwrap();
        assert_eq!(
            (asked.method(), asked.uri().to_string().as_str()),
            (&Method::POST, "/v1/a%C3%A9?q=1&q=2")
        );
        let lines = asked.headers().get_all(header::AUTHORIZATION).iter();
        assert_eq!(lines.count(), 2, "a second credential is not lost: it is refused");
        assert!(has_length(&asked, 2) && !has_length(&asked, 1));
    }

    #[test]
    fn what_is_no_request_is_refused_by_name() {
        for (url, body, header, said) in [
            ("http://elsewhere/a", "", "x", "url"),
            ("a", "", "x", "url"),
            ("//elsewhere/a", "not base64", "x", "body"),
            ("/a", "", "two\nlines", "value"),
        ] {
            let asked = question(serde_json::json!({
                "method": "GET", "url": url, "body": body, "headers": { "accept": header },
            }));
            let why = asked.unwrap_err();
            assert!(why.contains(said), "{url}: {why}");
        }
    }
}
