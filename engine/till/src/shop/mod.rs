//! One seller's till, put together: books, watcher, settler and gateway, over one escrow.
//!
//! | module | what it does |
//! |---|---|
//! | [`embed`] | a shop that a service sets up in its own program |
//! | [`parts`] | what runs beside the requests |
//!
//! The daemon opens the same shop before its proxy.

pub mod embed;
pub mod parts;

pub use embed::{EVM_DOMAIN, Premises};
pub use parts::Parts;

use crate::facts::{BeginFault, Facts, Followed, tracked};
use crate::freshness::{Budget, GraceTooShort};
use crate::funding::{FundingConfig, GasKey, Paths};
use crate::gateway::bound::Bodies;
use crate::gateway::front::Front;
use crate::gateway::offer::{Offers, Seller, ways};
use crate::gateway::route::RouteFault;
use crate::gateway::streams::Streams;
use crate::onchain::OnChain;
use crate::{
    Charges, Clock, Funder, Funding, No, Recovered, Settler, SettlerConfig, Submissions, Till, TillConfig,
    gateway,
};
use alloy_primitives::Address;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use weir_chain::{ChainFault, Escrow, Sender, Watcher, WatcherConfig};
use weir_core::Amount;
use weir_core::planner::Policy;
use weir_protocol::Secrets;
use weir_protocol::rails::Rail;
use weir_store::{Journal, StoreFault};

/// How often the chain is asked for new blocks, unless configured otherwise.
pub const POLL_MS: u64 = 1_000;
/// Blocks on top of a deposit before it counts. Zero is right for chains whose blocks are final at once.
pub const FINALITY_BLOCKS: u64 = 12;
/// Settle a channel as soon as this many base units wait on it.
pub const SETTLE_VALUE_MAX: u128 = 1_000_000;
/// Settle a channel when something has waited this long.
pub const SETTLE_AGE_SECONDS_MAX: u64 = 3_600;
/// How long a close waits for others, so that they share a transaction.
pub const CLOSE_BATCH_MS: u64 = 300;

/// How long the start waits for the first view of the chain before it goes on all the same.
const FIRST_VIEW: Duration = Duration::from_secs(10);
/// How long requests under way may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(20);

/// What a shop is set up with.
pub struct ShopConfig {
    /// What challenges name as the protection space.
    pub realm: String,
    /// The token that is paid in.
    pub token: Address,
    /// What binds challenges.
    pub secrets: Secrets,
    /// How old the view of the chain may get before payments are refused.
    pub view_age_seconds_max: u64,
    /// Vouchers a second on one channel.
    pub vouchers_per_second: u32,
    /// Blocks on top of a deposit before it counts.
    pub finality_blocks: u64,
    /// How often the chain is asked for new blocks.
    pub poll: Duration,
    /// When channels are settled.
    pub settler: SettlerConfig,
    /// What is spent on pulling deposits, where a gas key is there for it.
    pub funding: Option<FundingConfig>,
    /// The longest request body, in bytes.
    pub body_bytes_max: usize,
}

/// The chain, reached and checked.
pub struct Reached {
    /// The escrow.
    pub escrow: Escrow,
    /// How channels of it are paid from.
    pub rail: &'static dyn Rail,
    /// The payee's account.
    pub sender: Sender,
    /// How long its blocks take until they are final, in seconds.
    pub finality_seconds: u64,
    /// How far these books have followed it.
    pub followed: Followed,
    /// Who pays for pulled deposits, and how they can be pulled.
    pub gas: Option<(Sender, Paths)>,
}

/// What is written down, and by which clock.
pub struct Books {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Why a shop did not open.
#[derive(Debug, thiserror::Error)]
pub enum ShopFault {
    /// The books.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The till.
    #[error(transparent)]
    Till(#[from] No),
    /// How far the chain was followed is not known.
    #[error(transparent)]
    Begin(#[from] BeginFault),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// The escrow's grace period is too short for our reaction.
    #[error(transparent)]
    Grace(#[from] GraceTooShort),
    /// A route.
    #[error(transparent)]
    Route(#[from] RouteFault),
    /// Nobody signs for such an escrow.
    #[error("{0:?} is the signing domain of no escrow that is served; the usual one is {EVM_DOMAIN:?}")]
    Domain(String),
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    NoRandomness,
}

/// A shop that sells.
pub struct Shop {
    front: Front,
    till: Till,
    parts: Parts,
    recovered: Recovered,
}

impl Shop {
    /// Opens a shop on a chain that was reached: from here on `front` sells.
    ///
    /// # Errors
    /// [`ShopFault`]: the books cannot be read, or the escrow leaves too little time.
    pub async fn open(
        config: ShopConfig,
        chain: Reached,
        books: Books,
        front: Front,
        mut parts: Parts,
    ) -> Result<Self, ShopFault> {
        let budget = Budget {
            view_age_seconds_max: config.view_age_seconds_max,
        };
        budget.fits(chain.escrow.grace_period_seconds(), chain.finality_seconds)?;
        let till_config = TillConfig {
            domain: chain.escrow.domain().clone(),
            budget,
            vouchers_per_second: config.vouchers_per_second,
        };
        let (till, recovered) = Till::open(till_config, books.journal, books.clock).await?;
        let watcher_config = WatcherConfig {
            poll_interval: config.poll,
            finality_blocks: config.finality_blocks,
            cursor: chain.followed.cursor(),
            tracked: tracked(&till).await?,
        };
        let payee = chain.sender.address();
        let watcher = Watcher::new(chain.escrow.clone(), payee, watcher_config);
        let mut view = watcher.view();
        let funding = match chain.gas.zip(config.funding) {
            Some(((sender, paths), funding)) => {
                let gas = Arc::new(GasKey::new(chain.escrow.clone(), sender));
                let (funding, funder) = Funding::open(&till, gas, paths, funding)?;
                parts.supervise("the puller of deposits", run_funder(funder, parts.stopped()));
                Some(funding)
            }
            None => None,
        };
        let seller = Seller {
            realm: config.realm,
            recipient: payee,
            token: config.token,
            domain: chain.escrow.domain().clone(),
            ways: ways(chain.rail),
            funding: funding.clone(),
        };
        let facts = Facts::new(till.clone(), chain.followed);
        let onchain = Arc::new(OnChain::new(
            chain.escrow,
            chain.sender,
            config.token,
            config.finality_blocks,
            facts.birth(),
        ));
        let (settler, settler_handle) = Settler::new(till.clone(), onchain.clone(), config.settler);
        parts.supervise("the watcher", watch_chain(watcher, facts, parts.stopped()));
        parts.supervise("the settler", run_settler(settler, parts.stopped()));
        front.open(gateway::Inner {
            till: till.clone(),
            settler: settler_handle,
            submissions: Submissions::open(&till, onchain.clone())?,
            charges: Charges::open(&till)?,
            funding,
            evidence: onchain,
            offers: Offers::new(seller, config.secrets),
            watch: Arc::clone(front.watch()),
            looks: Semaphore::new(gateway::LOOKS_MAX),
            waits: Semaphore::new(gateway::WAITS_MAX),
            streams: Streams::default(),
            bodies: Bodies::new(front.body_bytes_max()),
            keyed_bodies: Bodies::new(front.body_bytes_max()),
        });
        // Without a view of the chain every voucher is refused.
        let seen = tokio::time::timeout(FIRST_VIEW, view.wait_for(Option::is_some)).await;
        if seen.is_err() {
            tracing::warn!("no block of the chain has been seen yet; nothing is sold until one is");
        }
        Ok(Self {
            front,
            till,
            parts,
            recovered,
        })
    }

    /// The till.
    pub const fn till(&self) -> &Till {
        &self.till
    }

    /// What was found in the books.
    pub const fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Waits until a part fails that the shop cannot do without.
    pub async fn failed(&self) -> String {
        self.parts.failed().await
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
        self.parts.stop().await;
        self.till.close()
    }
}

fn usual_settler() -> SettlerConfig {
    SettlerConfig {
        policy: Policy {
            value_max: Amount::new(SETTLE_VALUE_MAX),
            age_max_seconds: SETTLE_AGE_SECONDS_MAX,
            value_min: Amount::ZERO,
        },
        gather: Duration::from_millis(CLOSE_BATCH_MS),
    }
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
