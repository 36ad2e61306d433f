//! When a channel buys nothing more: which servers get a second one, and what needs the chain for it.

use crate::chain_world::{DEPOSIT, World};
use crate::server_world::{Got, PRICE, Server, Turn, gone, payer, sold};
use crate::{ChannelRecord, Error, Limits, Overcharged, Payer, Stage};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use weir_chain::SettleRow;
use weir_core::{Amount, ChannelId, Cumulative};
use weir_protocol::{Problem, ProblemType};
use weir_test_support::soon;

fn turn(act: impl FnOnce(&Got) -> Response<Body> + Send + 'static) -> Turn {
    Box::new(act)
}

fn record(payer: &Payer) -> ChannelRecord {
    payer.channels().pop().unwrap()
}

/// The payee closes a channel on the chain, by a voucher over all that it captures.
async fn close_at(world: &World, payer: &Payer, channel: ChannelId, captured: u128) {
    let escrow = payer.core.chain.escrow(world.escrow).await.unwrap();
    let cumulative = Cumulative::new(captured);
    let signature = payer.core.pen.sign(escrow.domain(), channel, cumulative).unwrap();
    let row = SettleRow {
        channel,
        cumulative,
        capture: cumulative,
        signature: Some(signature),
    };
    world
        .payee
        .land(&escrow.calls().close(&row), soon())
        .await
        .unwrap();
}

/// A no, because the deposit is too small.
fn exceeded() -> Response<Body> {
    let problem = Problem::new(ProblemType::AmountExceedsDeposit, "more");
    (StatusCode::PAYMENT_REQUIRED, problem.body()).into_response()
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
    close_at(&world, &payer, first, PRICE).await;
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(answer.cost.charged, Amount::new(PRICE));
    assert_ne!(server.got()[2].channel, first);
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT - PRICE);
}

#[tokio::test]
async fn threat_p5_a_server_that_refuses_a_voucher_and_captures_it_is_not_paid_again() {
    let noes: [fn() -> Response<Body>; 2] = [gone, exceeded];
    for no in noes {
        let world = World::new().await;
        let limits = Limits {
            max_total: Some(Amount::new(2 * PRICE)),
            ..world.limits()
        };
        let payer = world.payer_with(limits).await;
        let spend = || turn(|got| sold(&got.spent(PRICE)));
        let server = Server::start(&world, vec![spend(), turn(move |_| no()), spend()]).await;
        payer.get(&server.url).await.unwrap();
        let first = record(&payer).channel;
        close_at(&world, &payer, first, 2 * PRICE).await;
        let error = payer.get(&server.url).await.unwrap_err();
        let (captured, agreed) = (Cumulative::new(2 * PRICE), Cumulative::new(PRICE));
        let why = Overcharged::Captured { captured, agreed };
        assert!(
            matches!(&error, Error::Overcharged { channel, why: said } if (*channel, *said) == (first, why)),
            "{error}"
        );
        assert_eq!(server.got().len(), 2);
        assert_eq!(world.balance(&payer).await, 10 * DEPOSIT - 2 * PRICE);
        let kept = record(&payer);
        assert!(kept.stopped && kept.stage == Stage::Closed, "{kept:?}");
        assert!(
            payer.core.run.allows(Amount::new(PRICE)).is_err(),
            "what was captured counts as paid in this run"
        );
        // Whoever asks what became of the channel is told of it too.
        let asked = payer.request_close(first).await.unwrap_err();
        assert!(matches!(asked, Error::Overcharged { .. }), "{asked}");
        let left = payer.withdraw(first).await.unwrap();
        assert_eq!((left.settled, left.overcharged), (captured, Some(why)));
    }
}

#[tokio::test]
async fn a_close_that_captured_what_may_have_been_charged_makes_nobody_a_cheat() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    let spend = || turn(|got| sold(&got.spent(PRICE)));
    let lost = turn(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let server = Server::start(&world, vec![spend(), lost, turn(|_| gone()), spend()]).await;
    payer.get(&server.url).await.unwrap();
    let unsure = payer.get(&server.url).await.unwrap();
    assert_eq!(unsure.cost.uncertain, Amount::new(PRICE));
    let first = record(&payer).channel;
    close_at(&world, &payer, first, 2 * PRICE).await;
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(answer.cost.charged, Amount::new(PRICE));
    assert_ne!(server.got()[3].channel, first);
    assert_eq!(payer.withdraw(first).await.unwrap().overcharged, None);
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
    // A close that could not be checked is not asked for, and changes nothing.
    let error = payer.close(&server.url).await.unwrap_err();
    assert!(matches!(error, Error::Chain(_)), "{error}");
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(answer.cost.charged, Amount::new(PRICE));
    assert_eq!((server.got().len(), server.authorised()), (2, 2 * PRICE));
    let error = payer.request_close(record(&payer).channel).await.unwrap_err();
    assert!(matches!(error, Error::Chain(_)), "{error}");
}
