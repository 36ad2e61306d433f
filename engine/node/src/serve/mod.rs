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
use crate::sidecar;
use crate::tls::Tls;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use weir_core::{Cumulative, UnixSeconds};
use weir_protocol::Secrets;
use weir_protocol::rails::{Rail, session_rail};
use weir_store::{Birth, Journal, StoreFault, disk};
pub use weir_till::Recovered;
use weir_till::facts::BeginFault;
use weir_till::gateway::front::Front;
use weir_till::shop::{Books, Parts, ShopFault};
use weir_till::{Clock, Shop, SystemClock};

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
    /// The first look at the chain.
    #[error(transparent)]
    Begin(#[from] BeginFault),
    /// The shop.
    #[error(transparent)]
    Shop(#[from] Box<ShopFault>),
    /// The chain is not the one configured.
    #[error("{0}")]
    Chain(String),
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

/// A daemon that sells.
pub struct Running {
    /// Where payers connect.
    pub gateway: SocketAddr,
    /// Where the operator's commands connect.
    pub operator: SocketAddr,
    /// What was found in the books.
    pub recovered: Recovered,
    shop: Shop,
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
    let charge_token = config.charge_token()?.map(Arc::from);
    let tls = config.tls()?.map(Tls::new);
    let gateway = listen("server.listen", config.server.listen).await?;
    let operator = listen("operator.listen", config.operator.listen).await?;
    let addresses = (local(&gateway)?, local(&operator)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let journal = open_books(config, clock.now())?;
    let secrets = setup::secrets(config, clock.now())?;
    let metrics = Arc::new(Metrics::default());
    let front = Front::new(setup::front(config, Arc::clone(&metrics))?);
    let mut parts = Parts::default();
    let door = Door {
        peers: setup::peers(config, &metrics),
        listener: gateway,
        tls: tls.clone(),
    };
    let payers = http::serve(door, setup::router(config, &front), parts.stopped());
    parts.supervise("the gateway", payers);
    let mut operators = operator::router(front.clone(), Arc::clone(&metrics), token);
    if let Some(token) = charge_token {
        operators = operators.merge(sidecar::router(&front, token));
    }
    // It listens to this machine alone, or behind a proxy.
    let door = Door {
        listener: operator,
        tls: None,
        peers: None,
    };
    let operators = http::serve(door, operators, parts.stopped());
    parts.supervise("the operator's API", operators);
    Ok(Opened {
        front,
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
    pub async fn start(self, config: &Config) -> Result<Running, ServeFault> {
        let (gateway, operator) = self.addresses;
        // At once: while the chain is away, this tells where /healthz is.
        tracing::info!(%gateway, %operator, "answers, and sells nothing before the chain is reached");
        let (chain, deposit_max) = chain::reach(
            config,
            (&self.key, self.gas_key.as_ref()),
            (&*self.journal, self.rail),
            &self.front,
        )
        .await?;
        let _ = self.deposit_max.set(deposit_max);
        let config = setup::shop(config, self.secrets);
        let books = Books {
            journal: self.journal,
            clock: self.clock,
        };
        let shop = Shop::open(config, chain, books, self.front, self.parts)
            .await
            .map_err(Box::new)?;
        // Not before: what has been refused by now was never said to listen.
        tracing::info!(%gateway, %operator, "listening");
        Ok(Running {
            gateway,
            operator,
            recovered: shop.recovered(),
            shop,
        })
    }
}

impl Running {
    /// Waits until a part fails that the daemon cannot do without.
    pub async fn failed(&self) -> String {
        self.shop.failed().await
    }

    /// Ends: takes no new purchases, lets what is under way end while its vouchers come, writes out the books.
    ///
    /// # Errors
    /// The books could not be written out.
    pub async fn shut_down(self) -> Result<(), StoreFault> {
        self.shop.shut_down().await
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
