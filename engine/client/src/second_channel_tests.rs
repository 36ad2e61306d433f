//! When a channel buys nothing more: which servers get a second one, and what needs the chain for it.

use crate::chain_world::{DEPOSIT, World};
use crate::server_world::{Got, PRICE, Server, Turn, gone, payer, sold};
use crate::{ChannelRecord, Error, Payer};
use axum::body::Body;
use axum::http::Response;
use weir_chain::SettleRow;
use weir_core::{Amount, Cumulative};
use weir_test_support::soon;

fn turn(act: impl FnOnce(&Got) -> Response<Body> + Send + 'static) -> Turn {
    Box::new(act)
}

fn record(payer: &Payer) -> ChannelRecord {
    payer.channels().pop().unwrap()
}

#[tokio::test]
async fn threat_p5_a_server_that_forgets_a_channel_gets_no_second_deposit() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    let turns = vec![turn(|got| sold(&got.spent(PRICE))), turn(|_| gone())];
    let server = Server::start(&world, turns).await;
    payer.get(&server.url).await.unwrap();
    let first = record(&payer).channel;
    for _ in 0..2 {
        let error = payer.get(&server.url).await.unwrap_err();
        assert!(matches!(error, Error::Forgotten(id) if id == first), "{error}");
    }
    assert_eq!(server.got().len(), 2, "what was given up is not paid with again");
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
    // The payer's own word makes room.
    payer.request_close(first).await.unwrap();
    drop(server);
    let server = Server::start(&world, vec![turn(|got| sold(&got.spent(PRICE)))]).await;
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(answer.cost.charged, Amount::new(PRICE));
    assert_ne!(server.got()[0].channel, first);
}

#[tokio::test]
async fn a_channel_that_the_server_closed_on_the_chain_is_followed_by_another_in_the_same_request() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    let spend = || turn(|got| sold(&got.spent(PRICE)));
    let server = Server::start(&world, vec![spend(), turn(|_| gone()), spend()]).await;
    payer.get(&server.url).await.unwrap();
    let first = record(&payer).channel;
    let escrow = payer.core.chain.escrow(world.escrow).await.unwrap();
    let cumulative = Cumulative::new(PRICE);
    let signature = payer.core.pen.sign(escrow.domain(), first, cumulative).unwrap();
    let row = SettleRow {
        channel: first,
        cumulative,
        capture: cumulative,
        signature: Some(signature),
    };
    world
        .payee
        .land(&escrow.calls().close(&row), soon())
        .await
        .unwrap();
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(answer.cost.charged, Amount::new(PRICE));
    assert_ne!(server.got()[2].channel, first);
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT - PRICE);
}

#[tokio::test]
async fn an_open_channel_pays_while_the_node_is_away_and_a_deposit_waits_for_it() {
    let world = World::new().await;
    let spend = |spent| turn(move |got| sold(&got.spent(spent)));
    let server = Server::start(&world, vec![spend(PRICE), spend(2 * PRICE)]).await;
    let away = || world.payer_at("http://127.0.0.1:9", world.limits());
    let payer = away().await;
    let error = payer.get(&server.url).await.unwrap_err();
    assert!(matches!(error, Error::Chain(_)), "{error}");
    assert!(payer.channels().is_empty());
    drop(payer);
    let payer = world.payer().await;
    payer.get(&server.url).await.unwrap();
    drop(payer);
    let payer = away().await;
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(answer.cost.charged, Amount::new(PRICE));
    assert_eq!((server.got().len(), server.authorised()), (2, 2 * PRICE));
    let error = payer.request_close(record(&payer).channel).await.unwrap_err();
    assert!(matches!(error, Error::Chain(_)), "{error}");
}
