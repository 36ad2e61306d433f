//! The operator's API: what the CLI commands speak to, on a listener of its own.

use crate::metrics::{self, Metrics};
use axum::extract::{Path, Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use weir_core::{Amount, Channel, ChannelId, Cumulative, Input, Standing, UnixSeconds};
use weir_store::Health;
use weir_till::gateway::Gateway;
use weir_till::gateway::front::Front;
use weir_till::settler::Tally;
use weir_till::{No, Till};

/// A channel as operators see it. Totals are base units since the open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChannelView {
    /// Its identifier.
    pub channel_id: String,
    /// Who locked the deposit.
    pub payer: String,
    /// The token.
    pub token: String,
    /// `live`, `closing`, `drain-only`, `frozen` or `finalized`.
    pub standing: String,
    /// Locked in the escrow.
    pub deposit: Cumulative,
    /// Authorised by vouchers.
    pub accepted: Cumulative,
    /// Set aside for deliveries under way.
    pub reserved: Amount,
    /// Charged for delivery.
    pub spent: Cumulative,
    /// Given back after failed deliveries.
    pub credited: Cumulative,
    /// Paid to the payee on-chain.
    pub settled: Cumulative,
    /// What a settlement now would pay.
    pub uncollected: Amount,
    /// The settled total that a settlement under way sets.
    pub capturing: Option<Cumulative>,
    /// When the payer asked the escrow to close.
    pub close_requested_at: Option<UnixSeconds>,
}

impl From<&Channel> for ChannelView {
    fn from(channel: &Channel) -> Self {
        Self {
            channel_id: channel.id().to_string(),
            payer: channel.terms().payer.to_string(),
            token: channel.terms().token.to_string(),
            standing: standing_name(channel.standing()).to_owned(),
            deposit: channel.chain().deposit,
            accepted: channel.accepted(),
            reserved: channel.reserved(),
            spent: channel.spent(),
            credited: channel.credited(),
            settled: channel.chain().settled,
            uncollected: channel.uncollected(),
            capturing: channel.capture().map(|capture| capture.target),
            close_requested_at: channel.chain().close_requested_at,
        }
    }
}

/// How operators read a standing.
pub const fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Live => "live",
        Standing::Closing => "closing",
        Standing::DrainOnly => "drain-only",
        Standing::Frozen => "frozen",
        Standing::Finalized => "finalized",
    }
}

/// What the daemon says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Whether the books can be written.
    pub books: String,
    /// Age of the newest block seen, in seconds; none when no block has been seen yet.
    pub view_age_seconds: Option<u64>,
    /// Channels known.
    pub channels: usize,
    /// What settlements would pay now, over all channels.
    pub uncollected: Amount,
    /// Settlement transactions since the start.
    pub settlement_transactions: u64,
    /// Channels settled or closed by them.
    pub channels_settled: u64,
    /// Gas they used.
    pub gas_used: u64,
    /// Rows that took no effect.
    pub rows_skipped: u64,
    /// Vouchers taken since the start.
    pub vouchers_accepted: u64,
    /// Paid requests answered since the start.
    pub payments: u64,
    /// Half of them took less, in microseconds from the request's head to its receipt.
    pub accept_p50_us: u64,
    /// 99 of 100 took less, in microseconds.
    pub accept_p99_us: u64,
}

#[derive(Clone)]
struct Operator {
    front: Front,
    metrics: Arc<Metrics>,
    token: Option<Arc<str>>,
}

impl Operator {
    fn gateway(&self) -> Result<Gateway, Failure> {
        self.front
            .gateway()
            .map_err(|waits| Failure(StatusCode::SERVICE_UNAVAILABLE, waits.to_string()))
    }

    fn till(&self) -> Result<Till, Failure> {
        self.gateway().map(|gateway| gateway.till().clone())
    }
}

/// The API's routes. Without a token everybody who reaches the listener is the operator. Until the chain has been
/// reached, the API answers that it waits.
pub fn router(front: Front, metrics: Arc<Metrics>, token: Option<Arc<str>>) -> Router {
    let operator = Operator {
        front,
        metrics,
        token,
    };
    let health = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready));
    let operators = Router::new()
        .route("/metrics", get(tell_metrics))
        .route("/v1/status", get(status))
        .route("/v1/channels", get(channels))
        .route("/v1/channels/{id}", get(channel))
        .route("/v1/channels/{id}/settle", post(settle))
        .route("/v1/channels/{id}/close", post(close))
        .route("/v1/settle", post(settle_all))
        .layer(middleware::from_fn_with_state(operator.clone(), authorise));
    health.merge(operators).with_state(operator)
}

/// Ready means: vouchers are taken. Nobody needs a token to ask.
async fn ready(State(operator): State<Operator>) -> (StatusCode, String) {
    let no = match operator.front.gateway() {
        Ok(gateway) => gateway.must_sell(),
        Err(waits) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{waits}\n")),
    };
    match no {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        // The reason is in the log and in /v1/status: what is wrong with the disk is not everybody's business.
        Err(No::Books(_)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the books cannot be written\n".to_owned(),
        ),
        Err(no) => (StatusCode::SERVICE_UNAVAILABLE, format!("{no}\n")),
    }
}

async fn authorise(State(operator): State<Operator>, request: Request, next: Next) -> Response {
    let Some(token) = &operator.token else {
        // Without a token the listener trusts who reaches it; a web page in the operator's browser is not meant.
        if is_from_a_page(&request) {
            return (StatusCode::FORBIDDEN, "web pages need the operator's token\n").into_response();
        }
        // A page may have its own name point here (DNS rebinding); its requests then carry that name.
        if !is_named_plainly(&request) {
            let said = "without a token the operator's API answers to an IP address or localhost only\n";
            return (StatusCode::FORBIDDEN, said).into_response();
        }
        return next.run(request).await;
    };
    let sent = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if sent.is_some_and(|sent| bool::from(sent.ct_eq(token.as_bytes()))) {
        next.run(request).await
    } else {
        (
            StatusCode::UNAUTHORIZED,
            "the operator's bearer token is missing or wrong\n",
        )
            .into_response()
    }
}

fn is_from_a_page(request: &Request) -> bool {
    let site = request.headers().get("sec-fetch-site");
    request.headers().contains_key(header::ORIGIN)
        || site.is_some_and(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"))
}

/// By an address or as localhost, which no page can have its name be.
fn is_named_plainly(request: &Request) -> bool {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let Some(host) = host.or_else(|| request.uri().authority().cloned()) else {
        return true;
    };
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || address.unwrap_or(name).parse::<IpAddr>().is_ok()
}

struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<No> for Failure {
    fn from(no: No) -> Self {
        let status = match &no {
            No::Refused(weir_core::Refusal::ChannelNotFound) => StatusCode::NOT_FOUND,
            No::Refused(_) => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, no.to_string())
    }
}

fn read_id(text: &str) -> Result<ChannelId, Failure> {
    text.parse()
        .map_err(|error: weir_core::ids::ChannelIdError| Failure(StatusCode::BAD_REQUEST, error.to_string()))
}

async fn status(State(operator): State<Operator>) -> Result<Json<Status>, Failure> {
    let gateway = operator.gateway()?;
    let till = gateway.till();
    let channels = till.channels().await?;
    let uncollected = channels.iter().try_fold(Amount::ZERO, |sum, channel| {
        sum.checked_add(channel.uncollected())
    });
    let latency = operator.metrics.latency();
    let Tally {
        transactions,
        channels: channels_settled,
        gas_used,
        skipped,
    } = gateway.settler().tally();
    Ok(Json(Status {
        books: match till.health() {
            Health::Healthy => "healthy".to_owned(),
            Health::Poisoned { why } => format!("poisoned: {why}"),
            Health::Closed => "closed".to_owned(),
        },
        view_age_seconds: till.freshness().age_seconds(till.clock().now()),
        channels: channels.len(),
        uncollected: uncollected.unwrap_or(Amount::new(u128::MAX)),
        settlement_transactions: transactions,
        channels_settled,
        gas_used,
        rows_skipped: skipped,
        vouchers_accepted: operator.metrics.vouchers(),
        payments: latency.count,
        accept_p50_us: latency.p50,
        accept_p99_us: latency.p99,
    }))
}

async fn tell_metrics(State(operator): State<Operator>) -> Result<Response, Failure> {
    let gateway = operator.front.gateway().ok();
    let text = operator.metrics.tell(gateway.as_ref()).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn channels(State(operator): State<Operator>) -> Result<Json<Vec<ChannelView>>, Failure> {
    let mut channels = operator.till()?.channels().await?;
    channels.sort_by_key(Channel::id);
    Ok(Json(channels.iter().map(ChannelView::from).collect()))
}

async fn channel(
    State(operator): State<Operator>,
    Path(id): Path<String>,
) -> Result<Json<ChannelView>, Failure> {
    let answer = operator.till()?.read(read_id(&id)?).await?;
    Ok(Json(ChannelView::from(&answer.get().channel)))
}

async fn settle(
    State(operator): State<Operator>,
    Path(id): Path<String>,
) -> Result<Json<ChannelView>, Failure> {
    let id = read_id(&id)?;
    let answer = operator.till()?.read(id).await?;
    operator.gateway()?.settler().settle_now([id]);
    Ok(Json(ChannelView::from(&answer.get().channel)))
}

async fn settle_all(State(operator): State<Operator>) -> Result<Json<Vec<ChannelView>>, Failure> {
    let mut channels = operator.till()?.channels().await?;
    channels.retain(|channel| !channel.uncollected().is_zero() && !channel.chain().finalized);
    operator
        .gateway()?
        .settler()
        .settle_now(channels.iter().map(Channel::id));
    Ok(Json(channels.iter().map(ChannelView::from).collect()))
}

async fn close(
    State(operator): State<Operator>,
    Path(id): Path<String>,
) -> Result<Json<ChannelView>, Failure> {
    let answer = operator
        .till()?
        .tell(read_id(&id)?, Input::BeginClose { voucher: None })
        .await?;
    operator.gateway()?.settler().call();
    Ok(Json(ChannelView::from(&answer.get().channel)))
}
