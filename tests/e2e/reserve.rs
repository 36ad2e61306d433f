//! `tempo`/`session` v2: the daemon opens and collects from channels of the chain's own reserve, for which our contract
//! stands in, over kills. That mppx's default client pays on them is shown by script/interop.

use crate::daemon::Daemon;
use crate::gate::{Broadcasts, Gate};
use crate::interop;
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet};
use crate::world::{DEPOSIT, PRICE, Settings, World, total};
use alloy::primitives::aliases::U96;
use alloy::primitives::{Address, B256};
use alloy::sol;
use alloy::sol_types::SolCall;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use weir_chain::calls::EscrowCalls;
use weir_chain::{Call, Escrow, OpenedChannel, Sender, SettleRow};
use weir_core::terms::{RESERVE_DOMAIN_NAME, TEMPO_RESERVE};
use weir_core::{ChannelId, Cumulative};
use weir_node::dev::anvil::Network;
use weir_node::dev::devnet::PATH_USD;
use weir_node::dev::reserve::{Scribe, install};

sol! {
    function open(address payee, address operator, address token, uint96 deposit, bytes32 salt, address authorizedSigner) external returns (bytes32 channelId);
}

/// What `sign.mjs` prints.
#[derive(Deserialize)]
pub(crate) struct Signed {
    pub(crate) authorization: String,
    pub(crate) channel: ChannelId,
    pub(crate) descriptor: Value,
}

/// A daemon that sells on channels of the reserve, behind a gate.
pub(crate) struct Scene {
    pub(crate) world: World,
    gate: Gate,
    config: PathBuf,
    _scribe: Scribe,
}

impl Scene {
    pub(crate) async fn start() -> (Self, Daemon) {
        let mut world = World::on(Network::Tempo, 2).await;
        install(world.rpc_url(), PATH_USD, &world.payers).await.unwrap();
        world.deployed.escrow = TEMPO_RESERVE;
        RESERVE_DOMAIN_NAME.clone_into(&mut world.deployed.domain_name);
        let rpc = world.escrow.rpc().clone();
        world.escrow = Escrow::over(rpc, TEMPO_RESERVE, RESERVE_DOMAIN_NAME)
            .await
            .unwrap();
        let scribe = Scribe::before(world.rpc_url()).await.unwrap();
        let gate = Gate::before(&scribe.url).await;
        let config = world.config(&Settings {
            rpc_url: &gate.url,
            ..world.settings("reserve")
        });
        let daemon = Daemon::start(&config).await;
        let scene = Self {
            world,
            gate,
            config,
            _scribe: scribe,
        };
        (scene, daemon)
    }

    async fn sign(&self, daemon: &Daemon, opened: Option<&Signed>) -> Signed {
        self.sign_for(0, daemon, opened).await
    }

    /// Lets mppx sign an open, or a top-up by another deposit.
    pub(crate) async fn sign_for(&self, payer: usize, daemon: &Daemon, opened: Option<&Signed>) -> Signed {
        let mut request = json!({
            "rpc_url": self.world.rpc_url(),
            "chain_id": self.world.deployed.chain_id,
            "token": PATH_USD,
            "key": self.world.payers[payer].expose_hex(),
            "url": answer_url(daemon),
        });
        if let Some(opened) = opened {
            request["top_up"] = json!({
                "channel": opened.channel, "descriptor": opened.descriptor, "additional": DEPOSIT.to_string()
            });
        }
        interop::run("sign.mjs", request.to_string()).await
    }

    async fn settled(&self, channel: ChannelId) -> Option<Cumulative> {
        let head = self.world.escrow.rpc().head().await.unwrap();
        let state = self.world.escrow.state_at(channel, head.hash).await.unwrap();
        state.map(|state| state.settled)
    }
}

fn answer_url(daemon: &Daemon) -> String {
    format!("{}/v1/answer", daemon.gateway)
}

async fn ask(daemon: &Daemon, method: Method, signed: &Signed) -> Result<Said, reqwest::Error> {
    let request = Client::new().request(method, answer_url(daemon));
    let answer = request
        .header(AUTHORIZATION, &signed.authorization)
        .send()
        .await?;
    Ok(Said::read(answer).await)
}

/// The same request, until it has another answer than that it cannot be answered yet.
async fn repeat(daemon: &Daemon, method: Method, signed: &Signed) -> Said {
    for _ in 0..60 {
        let said = ask(daemon, method.clone(), signed).await.unwrap();
        if said.status != 503 {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("the daemon never answers");
}

async fn settle(daemon: &Daemon, channel: ChannelId) {
    let url = format!("{}/v1/channels/{channel}/settle", daemon.operator);
    let answer = Client::new().post(url).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// A payload of the wallet's, with what a channel of the reserve is described by.
fn described(mut payload: Value, signed: &Signed) -> Value {
    payload["descriptor"] = signed.descriptor.clone();
    payload
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_c8_the_reserve_gets_vouchers_that_are_earned_whole_and_a_close_takes_what_was_spent_over_kills()
 {
    let (scene, daemon) = Scene::start().await;
    let opening = scene.sign(&daemon, None).await;
    // Killed between the broadcast and the answer: served once, sent once.
    scene.gate.broadcasts(Broadcasts::HeldAfter);
    let first = {
        let request = Client::new().get(answer_url(&daemon));
        tokio::spawn(request.header(AUTHORIZATION, &opening.authorization).send())
    };
    scene.gate.holds_one().await;
    daemon.kill();
    assert!(first.await.unwrap().is_err(), "the payer had an answer");
    scene.gate.broadcasts(Broadcasts::Pass);
    let daemon = Daemon::start(&scene.config).await;
    let bought = repeat(&daemon, Method::GET, &opening).await;
    assert_eq!((bought.status, bought.body.as_str()), (200, ANSWER), "{bought:?}");
    assert_eq!((scene.world.service.hits(), scene.gate.heard().len()), (1, 1));

    // The first voucher is earned whole, and settled.
    let channel = opening.channel;
    daemon.quiet(channel).await;
    settle(&daemon, channel).await;
    while scene.settled(channel).await != Some(total(PRICE)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    daemon
        .until(channel, |view| {
            view.settled == total(PRICE) && view.capturing.is_none()
        })
        .await;
    // The next one authorises much more than it buys: nothing can be settled with it, however often it is asked for.
    let wallet = Wallet::with(&scene.world, 0, channel);
    let url = answer_url(&daemon);
    let ahead = described(wallet.voucher(DEPOSIT), &opening);
    let second = wallet.pay(Method::GET, &url, &ahead).await;
    assert_eq!((second.status, second.body.as_str()), (200, ANSWER), "{second:?}");
    let view = daemon.quiet(channel).await;
    assert_eq!((view.accepted, view.spent), (total(DEPOSIT), total(2 * PRICE)));
    settle(&daemon, channel).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        scene.settled(channel).await,
        Some(total(PRICE)),
        "not a base unit more"
    );

    // Raised, killed, and closed by books that were read again: the descriptor is in them.
    let raise = scene.sign(&daemon, Some(&opening)).await;
    let raised = repeat(&daemon, Method::POST, &raise).await;
    assert_eq!(raised.status, 200, "{raised:?}");
    daemon.kill();
    let daemon = Daemon::start(&scene.config).await;
    let close = described(wallet.close(DEPOSIT), &opening);
    let url = answer_url(&daemon);
    let closed = wallet.pay(Method::POST, &url, &close).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    assert_eq!(closed.receipt().unwrap().spent, total(2 * PRICE));
    let view = daemon.until(channel, |view| view.standing == "finalized").await;
    assert_eq!(
        (view.settled, view.deposit),
        (total(2 * PRICE), total(2 * DEPOSIT))
    );
    assert_eq!(scene.settled(channel).await, None);
    let (token, payee) = (PATH_USD, TEMPO_RESERVE);
    let left = scene.world.escrow.token_balance(token, payee).await.unwrap();
    assert!(left.is_zero(), "money stayed in the reserve");

    // After another restart the end is still known, although no record of it is left on the chain.
    daemon.kill();
    let daemon = Daemon::start(&scene.config).await;
    let view = daemon.channel(channel).await;
    assert_eq!(
        (view.standing.as_str(), view.settled),
        ("finalized", total(2 * PRICE))
    );
    let late = described(wallet.voucher(DEPOSIT), &opening);
    let late = wallet.pay(Method::GET, &answer_url(&daemon), &late).await;
    assert_eq!((late.status, late.problem().as_str()), (410, "channel-finalized"));
}

/// Opens a channel that its payer operates itself.
async fn open_operated(world: &World, payer: &Sender) -> OpenedChannel {
    let me = world.payers[0].address();
    let input = openCall {
        payee: world.payee.address(),
        operator: me,
        token: PATH_USD,
        deposit: U96::from(DEPOSIT),
        salt: B256::repeat_byte(9),
        authorizedSigner: Address::ZERO,
    };
    land(payer, input.abi_encode()).await;
    let opened = world
        .escrow
        .channels_of_payer(me, 0)
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(opened.terms.reserve.unwrap().operator, me);
    opened
}

async fn land(payer: &Sender, input: Vec<u8>) {
    let call = Call {
        to: Some(TEMPO_RESERVE),
        input: input.into(),
    };
    let soon = tokio::time::Instant::now() + Duration::from_secs(20);
    assert!(payer.land(&call, soon).await.unwrap().success);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v2_a_payer_that_is_its_own_operator_buys_nothing_with_what_it_could_take_back() {
    let (scene, daemon) = Scene::start().await;
    let world = &scene.world;
    let rpc = world.escrow.rpc().clone();
    let payer = Sender::connect(rpc, world.payers[0].signer().clone())
        .await
        .unwrap();
    let opened = open_operated(world, &payer).await;
    let view = daemon
        .until(opened.id, |view| view.deposit == total(DEPOSIT))
        .await;
    assert_eq!(view.standing, "drain-only", "it is watched, and not sold on");
    let (me, reserve) = (world.payers[0].address(), opened.terms.reserve.unwrap());
    let descriptor = json!({
        "payer": me, "payee": world.payee.address(), "operator": me, "token": PATH_USD, "salt": reserve.salt,
        "authorizedSigner": Address::ZERO, "expiringNonceHash": reserve.expiring_nonce_hash,
    });
    let (wallet, url) = (Wallet::with(world, 0, opened.id), answer_url(&daemon));
    let asked = [
        (Method::GET, wallet.voucher(DEPOSIT)),
        (Method::POST, wallet.voucher(DEPOSIT)),
        (Method::POST, wallet.close(0)),
    ];
    for (method, mut payload) in asked {
        payload["descriptor"] = descriptor.clone();
        let said = wallet.pay(method, &url, &payload).await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, "verification-failed"),
            "{said:?}"
        );
    }
    assert_eq!(world.service.hits(), 0);
    // As its own operator it needs nobody's signature to end it.
    let row = SettleRow {
        channel: opened.id,
        cumulative: total(0),
        capture: total(0),
        signature: None,
    };
    let close = EscrowCalls::new(TEMPO_RESERVE)
        .close_reserved(&opened.terms, &row)
        .unwrap();
    land(&payer, close.input.to_vec()).await;
    let view = daemon.until(opened.id, |view| view.standing == "finalized").await;
    assert_eq!((view.spent, view.settled), (total(0), total(0)));
}
