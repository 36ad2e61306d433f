//! The demonstration: payers open, pay for answers, top up and close, all at once; then everything is counted on-chain.

use crate::commands::Failure;
use crate::dev::devnet::{ANSWER_PRICE, DEPOSIT_LARGE, DEPOSIT_SMALL, Devnet, STORY_VOUCHER_STEP};
use crate::keys::SecretKey;
use crate::operator::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use weir_chain::{ChainFault, Escrow};
use weir_client::{AllowedEscrow, CloseOutcome, HttpOptions, Limits, Payer, StreamEvent};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::{Amount, Cumulative};

/// One streamed token to so many plain answers.
const STREAMED_SHARE: u64 = 5;

/// What one payer received, counted by the payer.
#[derive(Debug, Clone, Copy)]
struct Received {
    answers: u64,
    closed: Closed,
}

#[derive(Debug, Clone, Copy)]
struct Closed {
    captured: Cumulative,
    refunded: Amount,
}

/// The demonstration's result. Amounts are base units; deposited, captured and refunded are read from the chain, and
/// delivered is what the payers counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Payers.
    pub payers: u64,
    /// Vouchers that the daemon took.
    pub vouchers_accepted: u64,
    /// Units that payers received and paid for.
    pub paid_units: u64,
    /// Transactions: the payers' and the payee's.
    pub onchain_transactions: u64,
    /// Of which the payee's, which settle and close.
    pub settlement_transactions: u64,
    /// Gas of the payee's transactions per channel closed.
    pub gas_per_channel_closed: u64,
    /// Locked in the escrow.
    pub deposited: Amount,
    /// Paid to the payee.
    pub captured: Amount,
    /// Back with the payers.
    pub refunded: Amount,
    /// What the payers received, at its price.
    pub delivered: Amount,
    /// captured = delivered, and deposited = captured + refunded, and the escrow is empty.
    pub conserved: bool,
    /// Half the payments took less, in microseconds from the request's head to its receipt.
    pub accept_p50_us: u64,
    /// 99 of 100 took less.
    pub accept_p99_us: u64,
    /// From the first request to the last close, in seconds.
    pub seconds: u64,
}

/// Runs the payers against a devnet and counts.
///
/// # Errors
/// A payer could not buy or close, or the chain could not be read.
pub async fn run(devnet: &Devnet, units: u64, show: bool) -> Result<Summary, Failure> {
    let bars = if show {
        MultiProgress::new()
    } else {
        MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden())
    };
    let began = Instant::now();
    let style =
        ProgressStyle::with_template("{prefix:>9} {bar:30} {pos:>5}/{len} {msg}").map_err(Failure::failed)?;
    // All close together, so that the closes can share a transaction.
    let together = Barrier::new(devnet.payers.len());
    let payers = devnet.payers.iter().enumerate().map(|(index, key)| {
        let bar = bars.add(ProgressBar::new(units).with_style(style.clone()));
        bar.set_prefix(format!("payer {}", index + 1));
        pay(devnet, (index, key), units, bar, &together)
    });
    let received = futures_util::future::try_join_all(payers).await?;
    let seconds = began.elapsed().as_secs();
    let status = status(&devnet.daemon.operator).await?;
    count(devnet, &received, &status, seconds).await
}

/// Every second payer asks by POST, whose suggested deposit is too small, so that it tops up once.
async fn pay(
    devnet: &Devnet,
    (index, key): (usize, &SecretKey),
    units: u64,
    bar: ProgressBar,
    together: &Barrier,
) -> Result<Received, Failure> {
    let payer = payer(devnet, key, &devnet.files.path().join("payers")).await?;
    let url = devnet.paid_url();
    let mut answers = 0;
    for _ in 0..units {
        let response = if index % 2 == 0 {
            payer.get(&url).await
        } else {
            payer
                .request(Method::POST, &url, HeaderMap::new(), b"why".to_vec())
                .await
        };
        let response =
            response.map_err(|error| Failure::failed(format_args!("payer {}: {error}", index + 1)))?;
        if !response.status.is_success() || response.body.is_empty() || response.receipt.is_none() {
            let said = String::from_utf8_lossy(&response.body).into_owned();
            return Err(Failure::failed(format_args!(
                "payer {} got {} and no answer: {said}",
                index + 1,
                response.status
            )));
        }
        answers += 1;
        bar.inc(1);
    }
    let streamed = units / STREAMED_SHARE;
    if streamed > 0 {
        bar.set_length(units + streamed);
        bar.set_message("reading a stream");
        answers += read_stream(&payer, &devnet.story_url(streamed), &bar).await?;
    }
    bar.set_message("waiting for the others");
    together.wait().await;
    bar.set_message("closing");
    let closed = payer.close(&url).await.map_err(Failure::failed)?;
    bar.finish_with_message(format!(
        "captured {}, refunded {}",
        closed.captured, closed.refunded
    ));
    let CloseOutcome {
        captured, refunded, ..
    } = closed;
    Ok(Received {
        answers,
        closed: Closed { captured, refunded },
    })
}

/// Reads a story to its end and counts the tokens that came.
async fn read_stream(payer: &Payer, url: &str, bar: &ProgressBar) -> Result<u64, Failure> {
    let mut stream = payer.stream(url).await.map_err(Failure::failed)?;
    let (mut tokens, mut receipt) = (0, false);
    while let Some(event) = stream.next().await {
        match event.map_err(Failure::failed)? {
            StreamEvent::Message(event) if event.data().is_some_and(|data| data.starts_with(b"{")) => {
                tokens += 1;
                bar.inc(1);
            }
            StreamEvent::Receipt(_) => receipt = true,
            StreamEvent::Message(_) | StreamEvent::Authorised(_) => {}
        }
    }
    if receipt {
        Ok(tokens)
    } else {
        Err(Failure::failed("a stream ended without its receipt"))
    }
}

/// A payer of the devnet with limits that fit it.
///
/// # Errors
/// Its state directory or the chain cannot be used.
pub async fn payer(devnet: &Devnet, key: &SecretKey, state: &Path) -> Result<Payer, Failure> {
    let escrow = AllowedEscrow {
        address: devnet.deployed.escrow,
        code_hash: None,
    };
    let most = DEPOSIT_LARGE
        .max(DEPOSIT_SMALL)
        .checked_add(DEPOSIT_SMALL)
        .unwrap_or(DEPOSIT_LARGE);
    let mut limits = Limits::new(escrow, devnet.token, ANSWER_PRICE, most);
    limits.max_ahead = STORY_VOUCHER_STEP;
    let http = HttpOptions {
        timeout: Duration::from_secs(90),
        ..HttpOptions::default()
    };
    Payer::new(key.signer().clone(), devnet.rpc_url(), state, limits, http)
        .await
        .map_err(Failure::failed)
}

async fn status(operator: &str) -> Result<Status, Failure> {
    let answer = reqwest::get(format!("{operator}/v1/status"))
        .await
        .map_err(Failure::failed)?;
    answer.json().await.map_err(Failure::failed)
}

/// What the chain says, beside what the payers say.
async fn count(
    devnet: &Devnet,
    received: &[Received],
    status: &Status,
    seconds: u64,
) -> Result<Summary, Failure> {
    let escrow = Escrow::connect(devnet.rpc_url(), devnet.deployed.escrow, EVM_DOMAIN_NAME)
        .await
        .map_err(Failure::failed)?;
    let opened = escrow
        .channels_of_payee(devnet.payee, 0)
        .await
        .map_err(Failure::failed)?;
    let head = escrow.rpc().head().await.map_err(Failure::failed)?;
    let ids: Vec<_> = opened.iter().map(|channel| channel.id).collect();
    let states = escrow
        .channels_at(&ids, head.hash)
        .await
        .map_err(Failure::failed)?;
    let (mut deposited, mut captured, mut finalized) = (0u128, 0u128, 0u64);
    for (_, state) in states.into_iter().flatten() {
        deposited += state.deposit.base_units();
        captured += state.settled.base_units();
        finalized += u64::from(state.finalized);
    }
    let ours = |pick: fn(&Closed) -> u128| received.iter().map(|one| pick(&one.closed)).sum::<u128>();
    let answers: u64 = received.iter().map(|one| one.answers).sum();
    let delivered = ANSWER_PRICE.times(answers).unwrap_or(Amount::ZERO);
    let refunded = ours(|closed| closed.refunded.base_units());
    let mut transactions = nonce(&escrow, devnet.payee).await.map_err(Failure::failed)?;
    let settlements = transactions;
    for payer in &devnet.payers {
        transactions += nonce(&escrow, payer.address()).await.map_err(Failure::failed)?;
    }
    let left = escrow
        .token_balance(devnet.token, devnet.deployed.escrow)
        .await
        .map_err(Failure::failed)?;
    let conserved = captured == delivered.base_units()
        && captured == ours(|closed| closed.captured.base_units())
        && deposited == captured + refunded
        && finalized == received.len() as u64
        && left.is_zero();
    Ok(Summary {
        payers: received.len() as u64,
        vouchers_accepted: status.vouchers_accepted,
        paid_units: answers,
        onchain_transactions: transactions,
        settlement_transactions: settlements,
        gas_per_channel_closed: status.gas_used / finalized.max(1),
        deposited: Amount::new(deposited),
        captured: Amount::new(captured),
        refunded: Amount::new(refunded),
        delivered,
        conserved,
        accept_p50_us: status.accept_p50_us,
        accept_p99_us: status.accept_p99_us,
        seconds,
    })
}

async fn nonce(escrow: &Escrow, account: alloy_primitives::Address) -> Result<u64, ChainFault> {
    escrow.rpc().transaction_count(account).await
}
