//! Payers of ours without a coin: what they sign the daemon pulls; and what they do when it does not.

use crate::daemon::Daemon;
use crate::payer_cli::Cli;
use crate::service::ANSWER;
use crate::world::{DEPOSIT, Settings, World, route, total};
use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use serde_json::json;
use std::path::PathBuf;
use weir_chain::{Call, IToken, Sender};
use weir_client::{AllowedEscrow, HttpOptions, Limits, Payer, Stage};
use weir_core::Amount;

/// The payer whose account pays for gas.
const GAS: usize = 1;
/// One answer of `/v1/half` costs half of a deposit, so that the third needs another.
const HALF: u128 = DEPOSIT / 2;

async fn coin(world: &World, payer: usize, wei: &str) {
    let account = world.payers[payer].address();
    world.ask("anvil_setBalance", json!([account, wei])).await;
}

async fn transactions(world: &World, payer: usize) -> serde_json::Value {
    let account = world.payers[payer].address();
    world
        .ask("eth_getTransactionCount", json!([account, "latest"]))
        .await
}

fn config(world: &World, name: &str, deposit_min: u128) -> PathBuf {
    let key_file = world.files.path().join(format!("{name}-gas-key"));
    world.payers[GAS].save(&key_file).unwrap();
    let funding = format!("[funding]\nkey_file = {key_file:?}\ndeposit_min = \"{deposit_min}\"\n");
    world.config(&Settings {
        routes: &[funding, route("/v1/half", HALF, "")].concat(),
        ..world.settings(name)
    })
}

async fn payer(world: &World, deposit_max: u128) -> Payer {
    let escrow = AllowedEscrow {
        address: world.deployed.escrow,
        code_hash: None,
    };
    let token = world.deployed.tokens[0].token;
    let limits = Limits::new(escrow, token, Amount::new(HALF), Amount::new(deposit_max));
    let signer = world.payers[0].signer().clone();
    let http = HttpOptions::default();
    let state = world.state("coinless");
    let payer = Payer::new(signer, world.rpc_url(), &state, limits, http);
    payer.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn weir_pay_buys_without_a_coin() {
    let world = World::start(2).await;
    coin(&world, 0, "0x0").await;
    let daemon = Daemon::start(&config(&world, "cli", DEPOSIT)).await;
    let cli = Cli::new(&world, &world.payers[0], "coinless-cli");
    let url = format!("{}/v1/answer", daemon.gateway);
    for _ in 0..2 {
        let ran = cli.pay(&url, &[]).await.must(0, &[]);
        assert_eq!(ran.out.trim_end(), ANSWER.trim_end(), "{ran:?}");
    }
    assert_eq!(transactions(&world, 0).await, "0x0");
    assert_eq!(daemon.channels().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_without_a_coin_opens_tops_up_and_closes_by_its_library() {
    let world = World::start(2).await;
    coin(&world, 0, "0x0").await;
    let daemon = Daemon::start(&config(&world, "library", DEPOSIT)).await;
    let url = format!("{}/v1/half", daemon.gateway);
    let payer = payer(&world, 10 * DEPOSIT).await;
    for _ in 0..3 {
        let bought = payer.get(&url).await.unwrap();
        assert_eq!((bought.status.as_u16(), bought.body), (200, ANSWER.into()));
    }
    let [record] = payer.channels().try_into().unwrap();
    assert_eq!((record.stage, record.deposit), (Stage::Live, total(2 * DEPOSIT)));
    assert_eq!((record.open_left, record.top_up_left), (None, None));
    assert_eq!(record.deposit_open_until(), None);
    let closed = payer.close(&url).await.unwrap();
    assert_eq!(closed.captured, total(3 * HALF));
    assert_eq!(world.on_chain(record.channel).await.deposit, total(2 * DEPOSIT));
    assert_eq!(transactions(&world, 0).await, "0x0");
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t6_a_deposit_that_was_signed_for_is_asked_for_again_and_locked_once() {
    let world = World::start(2).await;
    coin(&world, 0, "0x0").await;
    let config = config(&world, "again", DEPOSIT);
    let daemon = Daemon::start(&config).await;
    let url = format!("{}/v1/half", daemon.gateway);
    // No block comes: the payer gives up, and another of the same books asks again.
    world.ask("evm_setIntervalMining", json!([0])).await;
    {
        let impatient = payer(&world, 10 * DEPOSIT).await;
        let asked = tokio::time::timeout(std::time::Duration::from_secs(4), impatient.get(&url)).await;
        assert!(asked.is_err(), "{asked:?}");
        let [record] = impatient.channels().try_into().unwrap();
        assert_eq!(record.stage, Stage::Opening);
        assert!(record.deposit_open_until().is_some(), "it may be locked yet");
    }
    world.ask("evm_setIntervalMining", json!([1])).await;
    let again = payer(&world, 10 * DEPOSIT).await;
    let mut bought = again.get(&url).await.unwrap();
    if bought.body.is_empty() {
        // The first request went on when its payer had left, and was charged: its open was answered then.
        bought = again.get(&url).await.unwrap();
    }
    assert_eq!((bought.status.as_u16(), bought.body), (200, ANSWER.into()));
    let [record] = again.channels().try_into().unwrap();
    assert_eq!((record.stage, record.deposit_open_until()), (Stage::Live, None));
    let opened = world
        .escrow
        .channels_of_payer(world.payers[0].address(), 0)
        .await
        .unwrap();
    assert_eq!(opened.len(), 1);
}

/// By which tokens are asked for EIP-3009 in the form that the escrow calls.
const RECEIVE_SELECTOR: &str = "88b7ab63";

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_without_a_coin_opens_and_tops_up_by_permit2_where_the_token_knows_no_authorisations() {
    let world = World::with_permit2(2).await;
    let token = world.deployed.tokens[0].token;
    let code = world.ask("eth_getCode", json!([token, "latest"])).await;
    let code = code.as_str().unwrap();
    assert!(code.contains(RECEIVE_SELECTOR));
    let without = code.replace(RECEIVE_SELECTOR, "88b7ab64");
    world.ask("anvil_setCode", json!([token, without])).await;
    let paths = world.escrow.pull_paths(token).await.unwrap();
    assert_eq!(paths.eip3009, None);
    let approve = IToken::approveCall {
        spender: paths.permit2.unwrap().address,
        value: U256::MAX,
    };
    let approve = Call {
        to: Some(token),
        input: approve.abi_encode().into(),
    };
    let rpc = world.escrow.rpc().clone();
    let sender = Sender::connect(rpc, world.payers[0].signer().clone())
        .await
        .unwrap();
    let soon = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    assert!(sender.land(&approve, soon).await.unwrap().success);
    coin(&world, 0, "0x0").await;
    let daemon = Daemon::start(&config(&world, "permit2", DEPOSIT)).await;
    let url = format!("{}/v1/half", daemon.gateway);
    let payer = payer(&world, 10 * DEPOSIT).await;
    for _ in 0..3 {
        let bought = payer.get(&url).await.unwrap();
        assert_eq!((bought.status.as_u16(), bought.body), (200, ANSWER.into()));
    }
    let [record] = payer.channels().try_into().unwrap();
    assert_eq!((record.stage, record.deposit), (Stage::Live, total(2 * DEPOSIT)));
    assert_eq!(transactions(&world, 0).await, "0x1", "the approval alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_with_a_coin_sends_the_deposit_that_the_server_does_not_pull() {
    let world = World::start(2).await;
    // What the payer locks at most is below what the seller pulls.
    let daemon = Daemon::start(&config(&world, "alone", 4 * DEPOSIT)).await;
    let url = format!("{}/v1/half", daemon.gateway);
    let payer = payer(&world, DEPOSIT).await;
    let bought = payer.get(&url).await.unwrap();
    assert_eq!((bought.status.as_u16(), bought.body), (200, ANSWER.into()));
    let [record] = payer.channels().try_into().unwrap();
    assert_eq!((record.stage, record.deposit), (Stage::Live, total(DEPOSIT)));
    assert_eq!(transactions(&world, 0).await, "0x2", "an approval and an open");
    assert_eq!(transactions(&world, GAS).await, "0x0");
}
