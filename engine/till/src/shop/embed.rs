//! A shop that a service sets up itself, in its own program (docs/embedding.md).

use super::{Books, Reached, Shop, ShopConfig, ShopFault};
use crate::clock::SystemClock;
use crate::facts::Followed;
use crate::gateway::behind::{Behind, Serves, UpstreamFault};
use crate::gateway::front::{self, Front, Menu};
use crate::gateway::layer::PaymentLayer;
use crate::gateway::route::{Route, Routes};
use crate::gateway::watch::Watch;
use crate::shop::Parts;
use crate::{Clock, gateway};
use alloy_primitives::Address;
use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use weir_chain::{Escrow, Sender};
use weir_protocol::rails::session_rail;
use weir_store::{Birth, disk};

/// Where a shop stands.
pub struct Premises {
    /// The payee's account, on its chain.
    pub payee: Sender,
    /// The escrow.
    pub escrow: Address,
    /// The name of the escrow's signing domain, such as [`EVM_DOMAIN`].
    pub domain_name: String,
    /// The directory of the books. One process has it open at a time.
    pub books: PathBuf,
    /// How long a service may take to begin an answer.
    pub timeout: Duration,
    /// Who counts what happens; `()` does not.
    pub watch: Arc<dyn Watch>,
}

/// The signing domain of escrows for `evm` sessions.
pub const EVM_DOMAIN: &str = "EVM Payment Channel";

impl Shop {
    /// Opens a shop in this program: reads the books, follows the chain, settles in the background. Its services are put
    /// behind its [layer](Self::layer). What has no route is not there: name what is free.
    ///
    /// # Errors
    /// [`ShopFault`]: a route cannot be sold so, the books cannot be opened, or the chain cannot be reached or is not
    /// what it should be.
    pub async fn embed(
        config: ShopConfig,
        premises: Premises,
        routes: Vec<Route>,
    ) -> Result<Self, ShopFault> {
        routes.iter().try_for_each(Route::must_fit)?;
        let name = &premises.domain_name;
        let rail = session_rail(name).ok_or_else(|| ShopFault::Domain(name.clone()))?;
        let rpc = premises.payee.rpc().clone();
        let escrow = Escrow::over(rpc.clone(), premises.escrow, name).await?;
        // An escrow that does not list the token says so here, and not at the first open.
        escrow.max_deposit(config.token).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| ShopFault::NoRandomness)?;
        let unix_seconds = clock.now().0;
        let journal = disk::open(&premises.books, Birth { unix_seconds, id })?;
        let reached = Reached {
            finality_seconds: rpc.seconds_for(config.finality_blocks).await?,
            followed: Followed::read_or_begin(&*journal, &rpc).await?,
            sender: premises.payee,
            rail,
            escrow,
            gas: None,
        };
        let front = Front::new(front::Parts {
            menu: Menu {
                routes: Routes(routes),
                document: None,
            },
            behind: Behind::new(Nothing, premises.timeout, premises.watch),
            body_bytes_max: config.body_bytes_max,
        });
        Self::open(config, reached, Books { journal, clock }, front, Parts::default()).await
    }

    /// Sells what stands behind it.
    pub fn layer(&self) -> PaymentLayer {
        PaymentLayer::new(self.front.clone())
    }
}

/// Behind a front that no layer has put before a service.
struct Nothing;

impl Serves for Nothing {
    fn serve(&self, _: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamFault>> {
        futures_util::future::ready(Err(UpstreamFault::Unreachable)).boxed()
    }
}

impl ShopConfig {
    /// What is usual. `realm` names the service to payers; `secret` binds the challenges, and has to stay the same.
    pub fn new(realm: impl Into<String>, token: Address, secrets: weir_protocol::Secrets) -> Self {
        Self {
            realm: realm.into(),
            token,
            secrets,
            view_age_seconds_max: crate::freshness::VIEW_AGE_SECONDS_MAX,
            vouchers_per_second: crate::till::VOUCHERS_PER_SECOND,
            finality_blocks: super::FINALITY_BLOCKS,
            poll: Duration::from_millis(super::POLL_MS),
            settler: super::usual_settler(),
            funding: None,
            body_bytes_max: gateway::BODY_BYTES_MAX,
        }
    }
}
