//! The payer before servers that overcharge, demand, cut and lie, on a real chain.

use crate::chain_world::World;
use crate::server_world::{Got, PRICE, Server, Turn, last, need, payer, short, sold, streamed, unit};
use crate::{ChannelRecord, Error, LimitExceeded, Overcharged, PaidStream, Payer, StreamEvent};
use alloy::primitives::B256;
use axum::body::Body;
use axum::http::Response;
use std::sync::{Arc, Mutex};
use weir_core::{Amount, ChannelId, Cumulative};

fn turn(act: impl FnOnce(&Got) -> Response<Body> + Send + 'static) -> Turn {
    Box::new(act)
}

/// Reads a stream to its end: how many events came, and the error that ended it.
async fn read(stream: &mut PaidStream) -> (u64, Option<Error>) {
    let mut units = 0;
    while let Some(event) = stream.next().await {
        match event {
            Ok(StreamEvent::Message(_)) => units += 1,
            Ok(_) => {}
            Err(error) => return (units, Some(error)),
        }
    }
    (units, None)
}

fn record(payer: &Payer) -> ChannelRecord {
    payer.channels().pop().unwrap()
}

/// The record as the next process will find it.
fn on_disk(payer: &Payer) -> ChannelRecord {
    let file = payer.state_path().join(format!("{}.json", record(payer).channel));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn total(units: u128) -> Cumulative {
    Cumulative::new(units)
}

#[tokio::test]
async fn pay_2_what_leaves_is_on_disk_and_what_a_receipt_tells_is_too() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    let state = payer.state_path().to_owned();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let turns = (1..=3).map(|nth| {
        let (state, seen) = (state.clone(), Arc::clone(&seen));
        turn(move |got| {
            // While the voucher is here, its total must be on the payer's disk already.
            let file = state.join(format!("{}.json", got.channel));
            let kept: ChannelRecord = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            seen.lock().unwrap().push((got.voucher, kept.signed));
            sold(&got.spent(nth * PRICE))
        })
    });
    let server = Server::start(&world, turns.collect()).await;
    for nth in 1..=3 {
        let answer = payer.get(&server.url).await.unwrap();
        assert_eq!((answer.cost.charged, answer.cost.units), (Amount::new(PRICE), 1));
        let kept = on_disk(&payer);
        assert_eq!(
            (kept.spent, kept.agreed),
            (total(nth * PRICE), total(nth * PRICE))
        );
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|(voucher, signed)| signed >= voucher), "{seen:?}");
}

#[tokio::test]
async fn pay_3_a_receipt_that_claims_more_than_was_signed_stops_the_channel() {
    for (accepted, spent) in [(PRICE, PRICE + 1), (PRICE + 1, PRICE), (u128::MAX, u128::MAX)] {
        let world = World::new().await;
        let payer = payer(&world, 1000).await;
        let turns = vec![turn(move |got| sold(&got.receipt(accepted, spent)))];
        let server = Server::start(&world, turns).await;
        let error = payer.get(&server.url).await.unwrap_err();
        assert!(matches!(error, Error::Overcharged { .. }), "{error}");
        assert!(on_disk(&payer).stopped);
        let again = payer.get(&server.url).await.unwrap_err();
        assert!(matches!(again, Error::Stopped(_)), "{again}");
        assert_eq!(server.authorised(), PRICE);
    }
}

#[tokio::test]
async fn pay_3_the_last_receipt_of_a_stream_is_checked_too() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    let turns = vec![turn(|got| {
        streamed(&got.spent(0), vec![unit(), last(&got.receipt(PRICE, PRICE + 1))])
    })];
    let server = Server::start(&world, turns).await;
    let mut stream = payer.stream(&server.url).await.unwrap();
    let (units, error) = read(&mut stream).await;
    let why = Overcharged::Spent {
        spent: total(PRICE + 1),
        agreed: total(PRICE),
    };
    assert_eq!(units, 1);
    assert!(
        matches!(error, Some(Error::Overcharged { why: said, .. }) if said == why),
        "{error:?}"
    );
    assert!(on_disk(&payer).stopped);
}

#[tokio::test]
async fn pay_1_a_stream_gets_no_voucher_past_its_limit_and_tells_what_it_cost() {
    let world = World::new().await;
    let limited = payer(&world, 35).await;
    let (channel, spend) = (Arc::new(Mutex::new(None)), |spent| {
        turn(move |got| sold(&got.spent(spent)))
    });
    let shared = Arc::clone(&channel);
    let turns = vec![
        turn(move |got| {
            *shared.lock().unwrap() = Some(got.clone());
            let asks = [20, 30, 40].map(|required| {
                let accepted = required - PRICE;
                vec![unit(), need(got.channel, required, accepted)]
            });
            streamed(&got.spent(0), asks.concat())
        }),
        spend(10),
        spend(20),
        // Asked what the stream cost.
        spend(30),
        spend(40),
    ];
    let server = Server::start(&world, turns).await;
    // A POST with a query would buy content of its own, so the vouchers come by HEAD.
    let url = format!("{}?q=why", server.url);
    let mut stream = limited.stream(&url).await.unwrap();
    let (units, error) = read(&mut stream).await;
    assert!(server.got()[1..].iter().all(|got| got.method == "HEAD"));
    let why = LimitExceeded::Stream {
        offered: Amount::new(40),
        limit: Amount::new(35),
    };
    assert_eq!(units, 3);
    assert!(
        matches!(error, Some(Error::Limit(said)) if said == why),
        "{error:?}"
    );
    assert_eq!(server.authorised(), 30, "what left never passes the limit");
    let cost = stream.cost();
    assert_eq!((cost.charged, cost.units), (Amount::new(30), 3));
    assert!(cost.uncertain.is_zero());
    assert!(stream.next().await.is_none());
    // The books are right for the next process, whose purchase costs what it costs.
    drop((stream, limited));
    let payer = payer(&world, 35).await;
    let kept = on_disk(&payer);
    assert_eq!(
        (kept.signed, kept.agreed, kept.spent),
        (total(30), total(30), total(30))
    );
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(
        (answer.cost.charged, answer.cost.earlier),
        (Amount::new(PRICE), Amount::ZERO)
    );
}

#[tokio::test]
async fn pay_3_a_demand_of_another_channel_or_of_an_absurd_sum_gets_no_voucher() {
    let stranger = ChannelId(B256::repeat_byte(9));
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    type Demand = fn(&Got) -> Option<String>;
    let demands: [Demand; 3] = [
        |_| need(ChannelId(B256::repeat_byte(9)), 20, 10),
        |got| need(got.channel, got.total() + PRICE + 1, got.total()),
        |got| need(got.channel, u128::MAX, got.total()),
    ];
    for (spent, demand) in demands.into_iter().enumerate() {
        let spent = spent as u128 * PRICE;
        let told = move |got: &Got| sold(&got.spent(spent + PRICE));
        let turns = vec![
            turn(move |got| streamed(&got.spent(spent), vec![unit(), demand(got)])),
            turn(told),
        ];
        let server = Server::start(&world, turns).await;
        let mut stream = payer.stream(&server.url).await.unwrap();
        let (units, error) = read(&mut stream).await;
        assert_eq!(units, 1);
        match error {
            Some(Error::Limit(LimitExceeded::Ahead { .. }) | Error::Protocol(_)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(server.authorised(), spent + PRICE);
        assert!(server.got().iter().all(|got| got.channel != stranger));
        assert_eq!(record(&payer).spent, total(spent + PRICE));
    }
    // One that claims to hold more than was ever signed is a lie.
    let turns = vec![turn(|got| {
        streamed(&got.spent(30), vec![unit(), need(got.channel, 50, 41)])
    })];
    let server = Server::start(&world, turns).await;
    let mut stream = payer.stream(&server.url).await.unwrap();
    let (_, error) = read(&mut stream).await;
    assert!(
        matches!(
            error,
            Some(Error::Overcharged {
                why: Overcharged::Accepted { .. },
                ..
            })
        ),
        "{error:?}"
    );
    assert!(on_disk(&payer).stopped);
}

#[tokio::test]
async fn a_cut_stream_is_an_error_that_tells_what_was_paid_and_the_next_purchase_works() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    for in_order in [false, true] {
        let before = if in_order { 30 } else { 0 };
        let turns = vec![
            turn(move |got| {
                let mut pieces = vec![unit(), need(got.channel, before + 20, before + 10), unit()];
                pieces.extend((!in_order).then_some(None));
                streamed(&got.spent(before), pieces)
            }),
            turn(move |got| sold(&got.spent(before + 10))),
            // Asked what the stream cost.
            turn(move |got| sold(&got.spent(before + 20))),
            turn(move |got| sold(&got.spent(before + 30))),
        ];
        let server = Server::start(&world, turns).await;
        let mut stream = payer.stream(&server.url).await.unwrap();
        let (units, error) = read(&mut stream).await;
        let Some(Error::Cut { events, cost, why }) = error else {
            panic!("{error:?}");
        };
        assert_eq!((units, events, cost), (2, 2, stream.cost()));
        assert_eq!((cost.charged, cost.units), (Amount::new(20), 2));
        assert_eq!(why.contains("without its receipt"), in_order, "{why}");
        assert_eq!(on_disk(&payer).spent, total(before + 20));
        let answer = payer.get(&server.url).await.unwrap();
        assert_eq!(
            (answer.cost.charged, answer.cost.earlier),
            (Amount::new(PRICE), Amount::ZERO)
        );
    }
}

#[tokio::test]
async fn what_a_cut_stream_cost_is_told_by_the_next_receipt_when_the_server_does_not_tell() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    let turns = vec![
        turn(|got| {
            streamed(
                &got.spent(0),
                vec![unit(), need(got.channel, 20, 10), unit(), None],
            )
        }),
        turn(|got| sold(&got.spent(10))),
    ];
    let server = Server::start(&world, turns).await;
    let mut stream = payer.stream(&server.url).await.unwrap();
    let (_, error) = read(&mut stream).await;
    assert!(matches!(error, Some(Error::Cut { .. })), "{error:?}");
    let cost = stream.cost();
    assert_eq!((cost.charged, cost.uncertain), (Amount::new(10), Amount::new(10)));
    drop(server);
    // The second unit was charged all the same, so what the next request signs first does not cover it.
    let turns = vec![turn(|_| short(30)), turn(|got| sold(&got.spent(30)))];
    let server = Server::start(&world, turns).await;
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(server.got()[0].total(), 20);
    assert_eq!(
        (answer.cost.charged, answer.cost.earlier),
        (Amount::new(10), Amount::new(10))
    );
}

#[tokio::test]
async fn an_answer_that_turns_out_to_be_a_stream_is_paid_for_and_one_sold_whole_needs_no_last_receipt() {
    let world = World::new().await;
    let payer = payer(&world, 1000).await;
    let turns = vec![
        turn(|got| {
            let end = last(&got.receipt(20, 20));
            streamed(
                &got.spent(0),
                vec![unit(), need(got.channel, 20, 10), unit(), end],
            )
        }),
        turn(|got| sold(&got.spent(10))),
        turn(|got| streamed(&got.spent(30), vec![unit(), unit(), unit()])),
    ];
    let server = Server::start(&world, turns).await;
    let answer = payer.get(&server.url).await.unwrap();
    assert_eq!(answer.body, b"data: unit\n\n".repeat(2));
    assert_eq!((answer.cost.charged, answer.cost.units), (Amount::new(20), 2));
    assert_eq!(server.got()[1].method, "POST");
    assert_eq!(answer.receipt.unwrap().spent, total(20));
    let whole = payer.get(&server.url).await.unwrap();
    assert_eq!(whole.body, b"data: unit\n\n".repeat(3));
    assert_eq!((whole.cost.charged, whole.cost.units), (Amount::new(PRICE), 1));
    assert_eq!(server.got().len(), 3, "nobody is asked what is known");
}

#[tokio::test]
async fn nothing_is_locked_for_what_the_limits_refuse_at_once() {
    let world = World::new().await;
    let limits = crate::Limits {
        max_total: Some(Amount::new(PRICE - 1)),
        ..world.limits()
    };
    let payer = world.payer_with(limits).await;
    let server = Server::start(&world, Vec::new()).await;
    let error = payer.get(&server.url).await.unwrap_err();
    assert!(
        matches!(error, Error::Limit(LimitExceeded::Total { .. })),
        "{error}"
    );
    assert!(payer.channels().is_empty());
}
