//! Puts the parts together: listeners, books, chain, till, settler, gateway, operator API; and takes them apart again.
//!
//! | module | what it does |
//! |---|---|
//! | `chain` | waits for the chain, and checks that it is the one configured |
//! | `reload` | what is replaced while the daemon runs |
//! | `setup` | what the parts take from the configuration |

mod chain;
mod reload;
mod setup;

pub use reload::Reloads;

use crate::config::{Config, ConfigErrors};
use crate::http::{self, Door};
use crate::keys::SecretKey;
use crate::metrics::Metrics;
use crate::operator;
use crate::tls::Tls;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use weir_chain::watcher::{Watcher, WatcherConfig};
use weir_core::{Cumulative, UnixSeconds};
use weir_protocol::Secrets;
use weir_protocol::charge::charge_rules;
use weir_protocol::rails::{Rail, session_rail};
use weir_store::{Birth, Journal, StoreFault, disk};
pub use weir_till::Recovered;
use weir_till::facts::{BeginFault, Facts, tracked};
use weir_till::freshness::{Budget, GraceTooShort};
use weir_till::funding::GasKey;
use weir_till::gateway;
use weir_till::gateway::bound::Bodies;
use weir_till::gateway::front::Front;
use weir_till::gateway::offer::{Offers, Seller, Way};
use weir_till::gateway::streams::Streams;
use weir_till::onchain::OnChain;
use weir_till::{Charges, Clock, Funder, Funding, No, Settler, Submissions, SystemClock, Till, TillConfig};

/// How long the start waits for the first view of the chain before it announces itself all the same.
const FIRST_VIEW: Duration = Duration::from_secs(10);
/// How long requests under way may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the parts may take to stop when no request is under way any more.
const STOP: Duration = Duration::from_secs(5);

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

/// A daemon whose listeners are open: free routes are served, and nothing is sold yet.
pub struct Opened {
    front: Front,
    metrics: Arc<Metrics>,
    addresses: (SocketAddr, SocketAddr),
    tls: Option<Tls>,
    key: SecretKey,
    gas_key: Option<SecretKey>,
    rail: &'static dyn Rail,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
    /// Known when the chain is.
    deposit_max: Arc<OnceLock<Cumulative>>,
    parts: Parts,
}

/// The tasks of a daemon, how they are stopped, and whether one failed.
struct Parts {
    stop: watch::Sender<bool>,
    fail: watch::Sender<Option<String>>,
    tasks: Vec<JoinHandle<()>>,
}

/// A daemon that sells.
pub struct Running {
    /// Where payers connect.
    pub gateway: SocketAddr,
    /// Where the operator's commands connect.
    pub operator: SocketAddr,
    /// What was found in the books.
    pub recovered: Recovered,
    front: Front,
    till: Till,
    parts: Parts,
}

/// Opens the books and the listeners. Everything that does not need the chain is checked before.
///
/// # Errors
/// [`ServeFault`]; nothing was answered then.
pub async fn open(config: &Config) -> Result<Opened, ServeFault> {
    let (key, gas_key) = (config.payee_key()?, config.funding_key()?);
    let domain_name = &config.chain.domain_name;
    let rail = session_rail(domain_name).ok_or_else(|| {
        ServeFault::Chain(format!(
            "chain.domain_name = {domain_name:?} is of no escrow that is served"
        ))
    })?;
    let token = config.operator_token()?.map(Arc::from);
    let tls = config.tls()?.map(Tls::new);
    let gateway = listen("server.listen", config.server.listen).await?;
    let operator = listen("operator.listen", config.operator.listen).await?;
    let addresses = (local(&gateway)?, local(&operator)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let journal = open_books(config, clock.now())?;
    let secrets = setup::secrets(config, clock.now())?;
    let metrics = Arc::new(Metrics::default());
    let front = Front::new(setup::front(config, Arc::clone(&metrics))?);
    let mut parts = Parts {
        stop: watch::Sender::new(false),
        fail: watch::Sender::new(None),
        tasks: Vec::new(),
    };
    let door = Door {
        peers: setup::peers(config, &metrics),
        listener: gateway,
        tls: tls.clone(),
    };
    let payers = http::serve(door, setup::router(config, &front), parts.stop.subscribe());
    parts.supervise("the gateway", payers);
    let operators = operator::router(front.clone(), Arc::clone(&metrics), token);
    // It listens to this machine alone, or behind a proxy.
    let door = Door {
        listener: operator,
        tls: None,
        peers: None,
    };
    let operators = http::serve(door, operators, parts.stop.subscribe());
    parts.supervise("the operator's API", operators);
    Ok(Opened {
        front,
        metrics,
        addresses,
        tls,
        key,
        gas_key,
        rail,
        secrets,
        clock,
        journal,
        deposit_max: Arc::default(),
        parts,
    })
}

impl Opened {
    /// What is replaced when the configuration is read again.
    pub fn reloads(&self, config: &Config) -> Reloads {
        Reloads {
            running: config.clone(),
            front: self.front.clone(),
            tls: self.tls.clone(),
            deposit_max: Arc::clone(&self.deposit_max),
        }
    }

    /// Waits for the chain, however long it takes, and begins to sell.
    ///
    /// # Errors
    /// [`ServeFault`]: the chain is not the one configured, or the books cannot be read.
    pub async fn start(mut self, config: &Config) -> Result<Running, ServeFault> {
        let (gateway, operator) = self.addresses;
        // At once: while the chain is away, this tells where /healthz is.
        tracing::info!(%gateway, %operator, "answers, and sells nothing before the chain is reached");
        let chain = chain::reach(
            config,
            (&self.key, self.gas_key.as_ref()),
            &*self.journal,
            &self.front,
        )
        .await?;
        let _ = self.deposit_max.set(chain.deposit_max);
        let budget = Budget {
            view_age_seconds_max: config.chain.view_age_max_seconds,
        };
        budget.fits(chain.escrow.grace_period_seconds(), chain.finality_seconds)?;
        // Not before: what has been refused by now was never said to listen.
        tracing::info!(%gateway, %operator, "listening");
        let till_config = TillConfig {
            domain: chain.escrow.domain().clone(),
            budget,
            vouchers_per_second: config.server.vouchers_per_second,
        };
        let (till, recovered) =
            Till::open(till_config, Arc::clone(&self.journal), Arc::clone(&self.clock)).await?;
        let watcher_config = WatcherConfig {
            poll_interval: Duration::from_millis(config.chain.poll_ms),
            finality_blocks: config.chain.finality_blocks,
            cursor: chain.followed.cursor(),
            tracked: tracked(&till).await?,
        };
        let watcher = Watcher::new(chain.escrow.clone(), self.key.address(), watcher_config);
        let mut view = watcher.view();
        let funding = match chain.gas.zip(config.funding.as_ref()) {
            Some(((sender, paths), funding)) => {
                let gas = Arc::new(GasKey::new(chain.escrow.clone(), sender));
                let funding = setup::funding(funding, config.chain.finality_blocks);
                let (funding, funder) = Funding::open(&till, gas, paths, funding)?;
                let pulling = run_funder(funder, self.parts.stop.subscribe());
                self.parts.supervise("the puller of deposits", pulling);
                Some(funding)
            }
            None => None,
        };
        let seller = Seller {
            realm: config.server.realm.clone(),
            recipient: self.key.address(),
            token: config.chain.token,
            domain: chain.escrow.domain().clone(),
            ways: ways(self.rail),
            funding: funding.clone(),
        };
        let facts = Facts::new(till.clone(), chain.followed);
        let onchain = Arc::new(OnChain::new(
            chain.escrow,
            chain.sender,
            config.chain.token,
            config.chain.finality_blocks,
            facts.birth(),
        ));
        let settler_config = setup::settler(config);
        let (settler, settler_handle) = Settler::new(till.clone(), onchain.clone(), settler_config);
        let stopped = || self.parts.stop.subscribe();
        let (watching, settling) = (
            watch_chain(watcher, facts, stopped()),
            run_settler(settler, stopped()),
        );
        self.parts.supervise("the watcher", watching);
        self.parts.supervise("the settler", settling);
        self.front.open(gateway::Inner {
            till: till.clone(),
            settler: settler_handle,
            submissions: Submissions::open(&till, onchain.clone())?,
            charges: Charges::open(&till)?,
            funding,
            evidence: onchain,
            offers: Offers::new(seller, self.secrets),
            watch: self.metrics,
            looks: Semaphore::new(gateway::LOOKS_MAX),
            waits: Semaphore::new(gateway::WAITS_MAX),
            streams: Streams::default(),
            bodies: Bodies::new(self.front.body_bytes_max()),
            keyed_bodies: Bodies::new(self.front.body_bytes_max()),
        });
        // Announced only when it sells: without a view of the chain every voucher is refused.
        if tokio::time::timeout(FIRST_VIEW, view.wait_for(Option::is_some))
            .await
            .is_err()
        {
            tracing::warn!("no block of the chain has been seen yet; nothing is sold until one is");
        }
        Ok(Running {
            gateway,
            operator,
            recovered,
            front: self.front,
            till,
            parts: self.parts,
        })
    }
}

impl Running {
    /// Waits until a part fails that the daemon cannot do without.
    pub async fn failed(&self) -> String {
        let mut failed = self.parts.fail.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "all parts have stopped".to_owned(),
        }
    }

    /// Ends: takes no new purchases, lets what is under way end while its vouchers come, writes out the books.
    ///
    /// # Errors
    /// The books could not be written out.
    pub async fn shut_down(self) -> Result<(), StoreFault> {
        // The chain is watched and settled on meanwhile: a close may be waiting for its transaction.
        if !self.front.drain(DRAIN).await {
            tracing::warn!("a request was still under way at the shutdown; its charge stands in the books");
        }
        self.parts.stop.send_replace(true);
        for task in self.parts.tasks {
            let _ = tokio::time::timeout(STOP, task).await;
        }
        self.till.close()
    }
}

impl Parts {
    /// Runs a part that the daemon cannot do without: its fault, and its panic too, end the daemon.
    fn supervise(
        &mut self,
        part: &'static str,
        work: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let (work, fail) = (tokio::spawn(work), self.fail.clone());
        self.tasks.push(tokio::spawn(async move {
            let why = match work.await {
                Ok(Ok(())) => return,
                Ok(Err(fault)) => fault,
                Err(_) => "it panicked".to_owned(),
            };
            fail.send_replace(Some(format!("{part} failed: {why}")));
        }));
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

/// The session that follows from the escrow, and the charge of the same method.
fn ways(rail: &'static dyn Rail) -> Vec<Way> {
    let charge = charge_rules(rail.rules().method).map(Way::Charge);
    [Way::Session(rail)].into_iter().chain(charge).collect()
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

async fn run_funder(funder: Funder, stopped: watch::Receiver<bool>) -> Result<(), String> {
    funder.run(stopped).await.map_err(|no| no.to_string())
}
