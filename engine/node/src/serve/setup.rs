//! What the parts take from the configuration.

use super::ServeFault;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::proxy::Upstream;
use axum::Router;
use axum::http::{HeaderName, Method, header};
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};
use weir_core::UnixSeconds;
use weir_core::planner::Policy;
use weir_protocol::rails::{Rail, session_rail};
use weir_protocol::{ChallengeSecret, Secrets};
use weir_till::funding::FundingConfig;
use weir_till::gateway::answer::PAYMENT_RECEIPT;
use weir_till::gateway::behind::Behind;
use weir_till::gateway::discovery::{Document, Service};
use weir_till::gateway::front::{self, Front, Menu};
use weir_till::gateway::offer::{CHALLENGE_SECONDS, Way, ways};
use weir_till::gateway::price::{Meter, Price};
use weir_till::gateway::route::{Route, Routes};
use weir_till::shop::ShopConfig;
use weir_till::{ChargeOn, SettlerConfig};

const WEI_PER_GWEI: u128 = 1_000_000_000;

/// The front.
///
/// # Errors
/// The HTTP client cannot be set up.
pub(super) fn front(config: &Config, metrics: Arc<Metrics>) -> Result<front::Parts, ServeFault> {
    let server = &config.server;
    let upstream = Upstream::new(server.upstream.as_str())
        .map_err(|error| ServeFault::System(format!("the HTTP client cannot be set up: {error}")))?;
    let timeout = Duration::from_secs(server.upstream_timeout_seconds);
    Ok(front::Parts {
        menu: menu(&config.chain, config),
        behind: Behind::new(upstream, timeout, metrics),
        body_bytes_max: body_bytes_max(config),
    })
}

/// What payers reach.
pub(super) fn router(config: &Config, front: &Front) -> Router {
    let router = front.clone().router();
    match &config.cors {
        Some(allowed) => router.layer(cors(allowed)),
        None => router,
    }
}

/// Bounds each payer's connections, where it can be told by its address: not behind a proxy, nor on this machine alone,
/// where a proxy may be too; nor where no bound is wanted.
pub(super) fn peers(config: &Config, metrics: &Metrics) -> Option<Peers> {
    let server = &config.server;
    let each_max = usize::try_from(server.connections_per_peer).unwrap_or(usize::MAX);
    let told_apart = !server.behind_tls_proxy && !server.listen.ip().is_loopback();
    (told_apart && each_max > 0).then(|| Peers::new(each_max, metrics.turned_away()))
}

/// The shop.
pub(super) fn shop(config: &Config, secrets: Secrets) -> ShopConfig {
    let (server, chain, settle) = (&config.server, &config.chain, &config.settle);
    let finality_blocks = chain.finality_blocks;
    let funding = config.funding.as_ref();
    ShopConfig {
        realm: server.realm.clone(),
        token: chain.token,
        secrets,
        view_age_seconds_max: chain.view_age_max_seconds,
        vouchers_per_second: server.vouchers_per_second,
        finality_blocks,
        poll: Duration::from_millis(chain.poll_ms),
        settler: SettlerConfig {
            policy: Policy {
                value_max: settle.value_max,
                age_max_seconds: settle.age_max_seconds,
                value_min: settle.value_min,
            },
            gather: Duration::from_millis(settle.close_batch_ms),
        },
        funding: funding.map(|funding| FundingConfig {
            deposit_min: funding.deposit_min,
            charge_min: funding.charge_min,
            fee_max: u128::from(funding.fee_max_gwei) * WEI_PER_GWEI,
            gas_per_hour_max: funding.gas_per_hour_max,
            charge_gas_per_hour_max: funding.charge_gas_per_hour_max,
            finality_blocks,
        }),
        body_bytes_max: body_bytes_max(config),
    }
}

fn body_bytes_max(config: &Config) -> usize {
    usize::try_from(config.server.body_bytes_max).unwrap_or(usize::MAX)
}

/// What binds challenges.
///
/// # Errors
/// A secret cannot be read or is too short.
pub(super) fn secrets(config: &Config, now: UnixSeconds) -> Result<Secrets, ServeFault> {
    let secret =
        |bytes: Vec<u8>| ChallengeSecret::new(bytes).map_err(|error| ServeFault::System(error.to_string()));
    let current = secret(config.challenge_secret()?)?;
    Ok(match config.previous_challenge_secret()? {
        Some(previous) => Secrets::rotated(current, secret(previous)?, now.after(CHALLENGE_SECONDS)),
        None => Secrets::new(current),
    })
}

/// The prices, and what is told of them. They are those of `config`; the chain is the one that the daemon runs on.
pub(super) fn menu(chain: &config::Chain, config: &Config) -> Menu {
    let routes = routes(config);
    let discovery = &config.discovery;
    let service = |rail: &'static dyn Rail| Service {
        title: discovery.title.as_deref().unwrap_or(&config.server.realm),
        description: discovery.description.as_deref(),
        version: &discovery.version,
        ways: ways(rail).into_iter().map(Way::names).collect(),
        token: chain.token,
        escrow: chain.escrow,
        chain_id: chain.chain_id,
    };
    let rail = session_rail(&chain.domain_name).filter(|_| discovery.enabled);
    Menu {
        document: rail.and_then(|rail| Document::of(&service(rail), &routes)),
        routes,
    }
}

fn routes(config: &Config) -> Routes {
    let route = |route: &config::Route| Route {
        path: route.path.clone(),
        methods: route
            .methods
            .iter()
            .filter_map(|method| method.parse::<Method>().ok())
            .collect(),
        price: match &route.price {
            config::Price::Free { .. } => None,
            config::Price::Paid(paid) => Some(price(paid)),
        },
    };
    Routes(config.routes.iter().map(route).collect())
}

fn price(paid: &config::Paid) -> Price {
    Price {
        accept: paid.accept.clone(),
        per_unit: paid.price,
        unit: paid.unit.clone(),
        suggested_deposit: paid.suggested_deposit,
        voucher_delta_min: paid.min_voucher_delta,
        charge_on: match paid.charge_on {
            config::ChargeOn::Success => ChargeOn::Success,
            config::ChargeOn::FirstByte => ChargeOn::FirstByte,
            config::ChargeOn::Always => ChargeOn::Always,
        },
        meter: match paid.meter {
            config::Meter::Request => Meter::Request,
            config::Meter::Event => Meter::Event,
        },
        bind_body: paid.bind_body,
        charge_challenge_seconds: paid.charge_challenge_seconds,
        description: paid.description.clone(),
    }
}

/// Pages may send a credential and read a challenge and a receipt.
fn cors(cors: &config::Cors) -> CorsLayer {
    let origins = if cors.origins.iter().any(|origin| origin.as_str() == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(
            cors.origins
                .iter()
                .filter_map(|origin| origin.as_str().parse().ok()),
        )
    };
    let payment = ["payment-session", "accept-payment", "idempotency-key"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(tower_http::cors::Any)
        .allow_headers(
            [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT]
                .into_iter()
                .chain(payment)
                .collect::<Vec<_>>(),
        )
        .expose_headers([header::WWW_AUTHENTICATE, header::RETRY_AFTER, PAYMENT_RECEIPT])
}
