//! How the gateway says no, and how it writes a receipt.

use crate::gateway::behind::UpstreamFault;
use crate::{Answer, No};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use weir_core::{Channel, UnixSeconds};
use weir_protocol::SessionReceipt;
use weir_protocol::problem::{PROBLEM_CONTENT_TYPE, Problem, ProblemType};
use weir_protocol::rails::RailRules;
use weir_protocol::receipt::ReceiptError;
use weir_store::Durable;

/// The header that carries a receipt.
pub const PAYMENT_RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");

/// A lane that is full empties within this many seconds.
const BUSY_RETRY_SECONDS: u64 = 1;
/// Try again after this many seconds when the chain or the books are in trouble.
const TROUBLE_RETRY_SECONDS: u64 = 5;

/// A no on its way out.
#[derive(Debug)]
pub struct Denied {
    /// What it says.
    pub problem: Problem,
    /// When to come back, in seconds.
    pub retry_after_seconds: Option<u64>,
    /// Whether the connection ends with it: whoever comes back finds another daemon, or this one started again.
    pub hangs_up: bool,
}

impl From<Problem> for Denied {
    fn from(problem: Problem) -> Self {
        // What is unavailable now may come: say when to ask again.
        let retry_after_seconds = (problem.status() == 503).then_some(BUSY_RETRY_SECONDS);
        Self {
            problem,
            retry_after_seconds,
            hangs_up: false,
        }
    }
}

/// The upstream gave no answer, and nothing was charged for it.
impl From<&UpstreamFault> for Denied {
    fn from(fault: &UpstreamFault) -> Self {
        let status = fault.status().as_u16();
        Problem::blank(status, format!("{fault}; nothing was charged")).into()
    }
}

impl From<No> for Denied {
    fn from(no: No) -> Self {
        let (status, retry) = match &no {
            No::Refused(refusal) => return Problem::from(refusal).into(),
            No::Busy | No::NotSeenYet | No::NoViewYet => {
                (StatusCode::SERVICE_UNAVAILABLE, BUSY_RETRY_SECONDS)
            }
            No::TooFast { .. } => (StatusCode::TOO_MANY_REQUESTS, BUSY_RETRY_SECONDS),
            No::KeyUnderWay => (StatusCode::CONFLICT, BUSY_RETRY_SECONDS),
            No::KeyOfAnother => return Problem::blank(422, no.to_string()).into(),
            No::KeyTold => return Problem::blank(409, no.to_string()).into(),
            No::ViewStale { .. } | No::Stopping | No::Books(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, TROUBLE_RETRY_SECONDS)
            }
        };
        // What is wrong with our disk is nobody's business but the operator's.
        let said = match &no {
            No::Books(_) => "payments cannot be taken now".to_owned(),
            other => other.to_string(),
        };
        Self {
            problem: Problem::blank(status.as_u16(), said),
            retry_after_seconds: Some(retry),
            hangs_up: matches!(no, No::Stopping),
        }
    }
}

impl Denied {
    /// Trouble with the chain: nothing is known, so nothing is judged.
    pub fn chain_trouble(said: &str) -> Self {
        Self {
            problem: Problem::blank(503, said),
            retry_after_seconds: Some(TROUBLE_RETRY_SECONDS),
            hangs_up: false,
        }
    }

    /// A credential that has expired, been used or was never ours.
    pub fn of_type(kind: ProblemType, said: impl Into<String>) -> Self {
        Problem::new(kind, said).into()
    }

    /// The response. Never cached (threat H2).
    pub fn into_response(self) -> Response<Body> {
        self.beside([])
    }

    /// The response with fresh challenges, each in a field line of its own: some clients read no list.
    pub fn beside(self, challenges: impl IntoIterator<Item = HeaderValue>) -> Response<Body> {
        let mut response = Response::new(Body::from(self.problem.body()));
        *response.status_mut() =
            StatusCode::from_u16(self.problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(PROBLEM_CONTENT_TYPE),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for challenge in challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.hangs_up {
            // HTTP/2 has no such field; the server leaves it out there.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What a receipt says besides the channel's state.
#[derive(Debug, Clone)]
pub struct Paper {
    /// The rail.
    pub rules: &'static RailRules,
    /// The chain.
    pub chain_id: u64,
    /// The challenge that was answered.
    pub challenge_id: String,
    /// Now.
    pub now: UnixSeconds,
    /// The transaction that closed the channel.
    pub transaction: Option<alloy_primitives::B256>,
    /// What the service said that it used, where the route sells units.
    pub units: Option<u64>,
}

impl Paper {
    /// The receipt of a durable state: there is no other way to make one (CH-4).
    pub fn receipt(&self, of: &Durable<Answer>) -> SessionReceipt {
        let channel: &Channel = &of.get().channel;
        SessionReceipt {
            method: self.rules.method.to_owned(),
            timestamp: self.now,
            challenge_id: self.challenge_id.clone(),
            channel: channel.id(),
            accepted: channel.accepted(),
            spent: channel.spent(),
            chain_id: self.rules.receipt_chain_id.then_some(self.chain_id),
            units: self.units,
            tx_hash: self.transaction,
            confirmations: None,
        }
    }

    /// Adds the receipt to a response that must not be shared by caches.
    pub fn stamp(&self, response: &mut Response<Body>, of: &Durable<Answer>) {
        stamp(response, self.receipt(of).to_header());
    }
}

/// Adds a receipt, if it could be written.
pub fn stamp(response: &mut Response<Body>, receipt: Result<String, ReceiptError>) {
    match receipt.map(HeaderValue::try_from) {
        Ok(Ok(value)) => {
            response.headers_mut().insert(PAYMENT_RECEIPT, value);
        }
        _ => tracing::error!("a receipt could not be written"),
    }
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-store"),
    );
}

/// 200 with a receipt and no content.
pub(super) fn managed(paper: &Paper, answer: &Durable<Answer>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    paper.stamp(&mut response, answer);
    response
}

/// The upstream's own refusal, passed on without a receipt and never cached.
pub(super) fn uncharged(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A failure that the route charges for all the same (`charge_on = "always"`).
pub(super) fn upstream_response(fault: &UpstreamFault) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{fault}\n")));
    *response.status_mut() = fault.status();
    response
}
