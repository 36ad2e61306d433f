//! Puts the parts together: books, till, chain, settler, gateway, operator API; and takes them apart again.

use crate::config::{self, Config, ConfigErrors};
use crate::gateway::answer::PAYMENT_RECEIPT;
use crate::gateway::latency::Latency;
use crate::gateway::offer::{CHALLENGE_SECONDS, Offers, Seller};
use crate::gateway::proxy::Upstream;
use crate::gateway::route::{Meter, Price, Route, Routes};
use crate::gateway::{self, Gateway};
use crate::http;
use crate::operator;
use axum::http::{HeaderName, Method, header};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower_http::cors::{AllowOrigin, CorsLayer};
use weir_chain::watcher::{Watcher, WatcherConfig};
use weir_chain::{ChainFault, Escrow, Rpc, Sender};
use weir_core::UnixSeconds;
use weir_core::planner::Policy;
use weir_protocol::rails::session_rail;
use weir_protocol::{ChallengeSecret, Secrets};
use weir_store::{Birth, Journal, StoreFault, disk};
pub use weir_till::Recovered;
use weir_till::facts::{BeginFault, Facts, Followed, tracked};
use weir_till::freshness::{Budget, GraceTooShort};
use weir_till::onchain::OnChain;
use weir_till::{ChargeOn, Clock, No, Settler, SettlerConfig, SystemClock, Till, TillConfig};

/// Pause between tries to reach the chain at the start, at first and at most.
const CHAIN_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How long the start waits for the first view of the chain before it announces itself all the same.
const FIRST_VIEW: Duration = Duration::from_secs(10);
/// How long requests under way may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(20);

/// Where the books stand inside the data directory.
pub const BOOKS_DIR: &str = "books";

/// Why the daemon did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The books.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The till.
    #[error(transparent)]
    Till(#[from] No),
    /// The first look at the chain.
    #[error(transparent)]
    Begin(#[from] BeginFault),
    /// The chain is not the one configured.
    #[error("{0}")]
    Chain(String),
    /// The escrow's grace period is too short for our reaction.
    #[error(transparent)]
    Grace(#[from] GraceTooShort),
    /// A listener could not be opened.
    #[error("{what} = \"{address}\": {source}; choose another address, or stop what listens there")]
    Listen {
        /// The key.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something else in the system.
    #[error("{0}")]
    System(String),
}

/// A daemon that answers.
pub struct Running {
    /// Where payers connect.
    pub gateway: SocketAddr,
    /// Where the operator's commands connect.
    pub operator: SocketAddr,
    /// What was found in the books.
    pub recovered: Recovered,
    routes: Gateway,
    till: Till,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    failed: watch::Receiver<Option<String>>,
}

/// Starts the daemon; it answers when this returns.
///
/// # Errors
/// [`ServeFault`], before anything was answered.
pub async fn start(config: &Config) -> Result<Running, ServeFault> {
    let key = config.payee_key()?;
    let domain_name = &config.chain.domain_name;
    let rail = session_rail(domain_name).ok_or_else(|| {
        ServeFault::Chain(format!(
            "chain.domain_name = {domain_name:?} is of no escrow that is served"
        ))
    })?;
    let gateway_listener = listen("server.listen", config.server.listen).await?;
    let operator_listener = listen("operator.listen", config.operator.listen).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let journal = open_books(config, clock.now())?;
    let rpc = Rpc::new(config.chain.rpc_url.expose().as_str())
        .map_err(|fault| ServeFault::Chain(fault.to_string()))?;
    let escrow = reach_chain(config, &rpc).await?;
    let budget = Budget {
        view_age_seconds_max: config.chain.view_age_max_seconds,
    };
    budget.fits(escrow.grace_period_seconds())?;
    let sender = until_reached(|| Sender::connect(rpc.clone(), key.signer().clone())).await?;
    let followed = Followed::read_or_begin(&*journal, &rpc).await?;
    let till_config = TillConfig {
        domain: escrow.domain().clone(),
        budget,
        vouchers_per_second: config.server.vouchers_per_second,
    };
    let (till, recovered) = Till::open(till_config, Arc::clone(&journal), Arc::clone(&clock)).await?;
    let chain = Arc::new(OnChain::new(
        escrow.clone(),
        sender,
        config.chain.finality_blocks,
        followed.born_in,
    ));
    let (settler, settler_handle) = Settler::new(till.clone(), chain.clone(), settler_config(config));
    let (stop, stopped) = watch::channel(false);
    let (fail, failed) = watch::channel(None);
    let watcher_config = WatcherConfig {
        poll_interval: Duration::from_millis(config.chain.poll_ms),
        finality_blocks: config.chain.finality_blocks,
        cursor: followed.cursor(),
        tracked: tracked(&till).await?,
    };
    let watcher = Watcher::new(escrow.clone(), key.address(), watcher_config);
    let mut view = watcher.view();
    let seller = Seller {
        realm: config.server.realm.clone(),
        recipient: key.address(),
        token: config.chain.token,
        domain: escrow.domain().clone(),
        rail,
    };
    let upstream = Upstream::new(
        config.server.upstream.as_str(),
        Duration::from_secs(config.server.upstream_timeout_seconds),
    )
    .map_err(|error| ServeFault::System(format!("the HTTP client cannot be set up: {error}")))?;
    let gateway = Gateway::new(gateway::Inner {
        till: till.clone(),
        settler: settler_handle.clone(),
        evidence: chain,
        offers: Offers::new(seller, secrets(config, clock.now())?),
        routes: std::sync::RwLock::new(Arc::new(routes(config))),
        upstream,
        body_bytes_max: usize::try_from(config.server.body_bytes_max).unwrap_or(usize::MAX),
        cors: config.cors.as_ref().map(cors),
        latency: Latency::default(),
        vouchers: AtomicU64::new(0),
        looks: Semaphore::new(gateway::LOOKS_MAX),
    });
    let addresses = (local(&gateway_listener)?, local(&operator_listener)?);
    let operator = operator::router(gateway.clone(), config.operator_token()?.map(Arc::from));
    let facts = Facts::new(till.clone(), followed);
    let tasks = vec![
        supervise("the watcher", watch_chain(watcher, facts, stopped.clone()), &fail),
        supervise("the settler", run_settler(settler, stopped.clone()), &fail),
        supervise(
            "the gateway",
            http::serve(gateway_listener, gateway.clone().router(), stopped.clone()),
            &fail,
        ),
        supervise(
            "the operator's API",
            http::serve(operator_listener, operator, stopped),
            &fail,
        ),
    ];
    // Announced only when it sells: without a view of the chain every voucher is refused.
    if tokio::time::timeout(FIRST_VIEW, view.wait_for(Option::is_some))
        .await
        .is_err()
    {
        tracing::warn!("no block of the chain has been seen yet; nothing is sold until one is");
    }
    Ok(Running {
        gateway: addresses.0,
        operator: addresses.1,
        recovered,
        routes: gateway,
        till,
        stop,
        tasks,
        failed,
    })
}

impl Running {
    /// Reads the prices again. Challenges that are out keep theirs.
    ///
    /// # Errors
    /// What is wrong with the file; nothing has changed then.
    pub fn reload(&self, file: &std::path::Path) -> Result<(), ConfigErrors> {
        let config = Config::read(file)?;
        self.routes.replace_routes(routes(&config));
        Ok(())
    }

    /// Waits until a part fails that the daemon cannot do without.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "all parts have stopped".to_owned(),
        }
    }

    /// Ends: takes no new requests, lets those under way end, writes out the books.
    ///
    /// # Errors
    /// The books could not be written out.
    pub async fn shut_down(self) -> Result<(), StoreFault> {
        self.stop.send_replace(true);
        for task in self.tasks {
            if tokio::time::timeout(DRAIN, task).await.is_err() {
                tracing::warn!(
                    "a request was still under way at the shutdown; its charge stands in the books"
                );
            }
        }
        self.till.close()
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeFault> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeFault::Listen {
            what,
            address,
            source,
        })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, ServeFault> {
    listener
        .local_addr()
        .map_err(|error| ServeFault::System(error.to_string()))
}

fn open_books(config: &Config, now: UnixSeconds) -> Result<Arc<dyn Journal>, ServeFault> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| ServeFault::System(format!("no random numbers: {error}")))?;
    let books = config.server.data_dir.join(BOOKS_DIR);
    Ok(disk::open(
        &books,
        Birth {
            unix_seconds: now.0,
            id,
        },
    )?)
}

/// Waits for the chain's RPC, as long as it takes; what it then says must be what was configured.
async fn reach_chain(config: &Config, rpc: &Rpc) -> Result<Escrow, ServeFault> {
    let chain = &config.chain;
    let id = until_reached(|| rpc.chain_id()).await?;
    if let Some(expected) = chain.chain_id.filter(|expected| *expected != id) {
        return Err(ServeFault::Chain(format!(
            "chain.chain_id = {expected}, but the node at {} is on chain {id}",
            chain.rpc_url
        )));
    }
    let escrow = until_reached(|| Escrow::over(rpc.clone(), chain.escrow, &chain.domain_name)).await?;
    until_reached(|| escrow.max_deposit(chain.token)).await?;
    Ok(escrow)
}

async fn until_reached<T, F: Future<Output = Result<T, ChainFault>>>(
    ask: impl Fn() -> F,
) -> Result<T, ServeFault> {
    let (mut pause, longest) = CHAIN_RETRY;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(fault) if fault.is_transient() => {
                tracing::warn!(%fault, retry_in = ?pause, "the chain cannot be reached; nothing is sold until it is");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
            Err(fault) => return Err(ServeFault::Chain(fault.to_string())),
        }
    }
}

fn settler_config(config: &Config) -> SettlerConfig {
    let settle = &config.settle;
    SettlerConfig {
        policy: Policy {
            value_max: settle.value_max,
            age_max_seconds: settle.age_max_seconds,
            value_min: settle.value_min,
        },
        gather: Duration::from_millis(settle.close_batch_ms),
    }
}

fn secrets(config: &Config, now: UnixSeconds) -> Result<Secrets, ServeFault> {
    let secret =
        |bytes: Vec<u8>| ChallengeSecret::new(bytes).map_err(|error| ServeFault::System(error.to_string()));
    let current = secret(config.challenge_secret()?)?;
    Ok(match config.previous_challenge_secret()? {
        Some(previous) => Secrets::rotated(current, secret(previous)?, now.after(CHALLENGE_SECONDS)),
        None => Secrets::new(current),
    })
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

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn watch_chain(watcher: Watcher, facts: Facts, stopped: watch::Receiver<bool>) -> Result<(), String> {
    watcher.run(facts, until(stopped)).await;
    Ok(())
}

async fn run_settler(settler: Settler, stopped: watch::Receiver<bool>) -> Result<(), String> {
    settler.run(stopped).await.map_err(|no| no.to_string())
}

/// Runs a part that the daemon cannot do without: its fault, and its panic too, end the daemon.
fn supervise(
    part: &'static str,
    work: impl Future<Output = Result<(), String>> + Send + 'static,
    fail: &watch::Sender<Option<String>>,
) -> JoinHandle<()> {
    let (work, fail) = (tokio::spawn(work), fail.clone());
    tokio::spawn(async move {
        let why = match work.await {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault,
            Err(_) => "it panicked".to_owned(),
        };
        fail.send_replace(Some(format!("{part} failed: {why}")));
    })
}
