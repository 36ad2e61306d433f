//! Waits for the chain, and checks that it is the one configured.

use super::ServeFault;
use crate::config::Config;
use crate::keys::SecretKey;
use std::future::Future;
use std::time::Duration;
use weir_chain::{ChainFault, Escrow, Rpc, Sender};
use weir_core::Cumulative;
use weir_protocol::rails::Rail;
use weir_store::Journal;
use weir_till::facts::{BeginFault, Followed};
use weir_till::funding::Paths;
use weir_till::gateway::front::Front;
use weir_till::shop::Reached;

/// Pause between tries to reach the chain, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Waits for the chain's RPC, as long as it takes; what it then says must be what was configured. Meanwhile `front`
/// knows what is waited for. Tells also the most that the escrow lets one channel hold.
///
/// # Errors
/// [`ServeFault`]: no waiting would help.
pub(super) async fn reach(
    config: &Config,
    (key, gas_key): (&SecretKey, Option<&SecretKey>),
    (journal, rail): (&dyn Journal, &'static dyn Rail),
    front: &Front,
) -> Result<(Reached, Cumulative), ServeFault> {
    let chain = &config.chain;
    let rpc =
        Rpc::new(chain.rpc_url.expose().as_str()).map_err(|fault| ServeFault::Chain(fault.to_string()))?;
    let id = until_reached(front, || rpc.chain_id()).await?;
    config.must_be_chain(id).map_err(ServeFault::Chain)?;
    let escrow = until_reached(front, || {
        Escrow::over(rpc.clone(), chain.escrow, &chain.domain_name)
    })
    .await?;
    let deposit_max = until_reached(front, || escrow.max_deposit(chain.token)).await?;
    for warning in config.deposits_above(deposit_max) {
        tracing::warn!(%warning, "the configuration is good, but");
    }
    let sender = until_reached(front, || Sender::connect(rpc.clone(), key.signer().clone())).await?;
    let gas = match gas_key {
        Some(key) => Some(until_reached(front, || gas(config, &escrow, key)).await?),
        None => None,
    };
    let followed = until_reached(front, || async {
        match Followed::read_or_begin(journal, &rpc).await {
            Err(BeginFault::Chain(fault)) => Err(fault),
            begun => Ok(begun),
        }
    })
    .await??;
    let finality_seconds = until_reached(front, || rpc.seconds_for(chain.finality_blocks)).await?;
    let reached = Reached {
        escrow,
        rail,
        sender,
        finality_seconds,
        followed,
        gas,
    };
    Ok((reached, deposit_max))
}

/// Connects the gas key, and finds out what the escrow, the token and the chain can do with a signature.
async fn gas(config: &Config, escrow: &Escrow, key: &SecretKey) -> Result<(Sender, Paths), ChainFault> {
    let token = config.chain.token;
    let paths = Paths {
        pulls: escrow.pull_paths(token).await?,
        draws: escrow.draw_paths(token).await?,
    };
    let sender = Sender::connect(escrow.rpc().clone(), key.signer().clone()).await?;
    tracing::info!(
        gas_key = %sender.address(), balance_wei = sender.balance().await?,
        deposits_by_authorization = paths.pulls.eip3009.is_some(), deposits_by_permit2 = paths.pulls.permit2.is_some(),
        charges_by_authorization = paths.draws.eip3009.is_some(), charges_by_permit2 = paths.draws.permit2.is_some(),
        "what payers sign is sent for them"
    );
    if paths.pulls.is_empty() {
        tracing::warn!(
            "neither this escrow nor this token takes signed deposits: payers are asked to send them themselves"
        );
    }
    Ok((sender, paths))
}

async fn until_reached<T, F: Future<Output = Result<T, ChainFault>>>(
    front: &Front,
    ask: impl Fn() -> F,
) -> Result<T, ServeFault> {
    let (mut pause, longest) = RETRY;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(fault) if fault.is_transient() => {
                tracing::warn!(%fault, retry_in = ?pause, "the chain cannot be reached; nothing is sold until it is");
                front.waits_for(fault);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
            Err(fault) => return Err(ServeFault::Chain(fault.to_string())),
        }
    }
}
