//! Transactions: nonces, outcomes, replacements, batches.

use alloy::primitives::{Address, B256};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use weir_chain::{
    Broadcast, Call, EscrowCalls, EscrowError, Outcome, Revert, RowEffect, SendFault, SettleRow, Verdict,
};
use weir_core::{Amount, ChannelId, Cumulative};
use weir_test_support::{DEPOSIT, World, key, soon};

/// What a replacement may offer, in times the fee of the moment.
const FEE_FACTOR_MAX: u128 = 10;

#[tokio::test]
async fn threat_t1_a_timeout_is_pending_and_never_a_failure() {
    let world = World::new().await;
    world.automine(false).await;
    let call = world.escrow.calls().open(&world.opening(1));
    let moment = || Instant::now() + Duration::from_millis(300);
    let fault = world.payer.land(&call, moment()).await.unwrap_err();
    let SendFault::Unknown(hash) = fault else {
        panic!("{fault}")
    };
    assert_eq!(world.payer.outcome(hash).await.unwrap(), Outcome::Pending);
    assert_eq!(world.payer.wait(hash, moment()).await, Outcome::Pending);
    assert_eq!(
        world.payer.outcome(B256::repeat_byte(9)).await.unwrap(),
        Outcome::NotSeen
    );
    assert_eq!(
        world.payer.wait(B256::repeat_byte(9), moment()).await,
        Outcome::Pending
    );
    world.mine(1).await;
    let Outcome::Landed(landed) = world.payer.wait(hash, soon()).await else {
        panic!("it was mined")
    };
    assert!(landed.success);
}

#[tokio::test]
async fn threat_t2_no_gap_and_no_double_under_concurrency() {
    const TASKS: u64 = 100;
    let world = World::new().await;
    world.automine(false).await;
    let first = world.payee.next_nonce().await.unwrap().number();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let sender = world.payee.clone();
        tasks.spawn(async move {
            let quote = sender.quote(&Call::nothing(sender.address())).await.unwrap();
            if task % 5 == 0 {
                // Given up after the nonce was taken: it must not leave a gap.
                let given_up = sender.next_nonce().await.unwrap();
                sender.prepare(&quote, &given_up).await.unwrap();
                tokio::time::sleep(Duration::from_millis(task)).await;
            }
            let nonce = sender.next_nonce().await.unwrap();
            let envelope = sender.prepare(&quote, &nonce).await.unwrap();
            assert_eq!(nonce.keep(), envelope.nonce);
            let sent = sender.broadcast(&envelope).await.unwrap();
            assert_eq!(sent, Broadcast::Accepted);
            envelope
        });
    }
    let mut envelopes = Vec::new();
    while let Some(envelope) = tasks.join_next().await {
        envelopes.push(envelope.unwrap());
    }
    while let Some(hole) = world.payee.hole() {
        let quote = world
            .payee
            .quote(&Call::nothing(world.payee.address()))
            .await
            .unwrap();
        let envelope = world.payee.prepare(&quote, &hole).await.unwrap();
        hole.keep();
        world.payee.broadcast(&envelope).await.unwrap();
        envelopes.push(envelope);
    }
    let nonces: BTreeSet<u64> = envelopes.iter().map(|envelope| envelope.nonce).collect();
    assert_eq!(nonces.len(), envelopes.len(), "no nonce twice");
    let last = first + envelopes.len() as u64;
    assert!(nonces.iter().copied().eq(first..last), "no gap");
    world.mine(1).await;
    for envelope in envelopes {
        let Outcome::Landed(landed) = world.payee.wait(envelope.hash, soon()).await else {
            panic!("nonce {} did not land", envelope.nonce)
        };
        assert!(landed.success);
    }
    assert_eq!(world.payee.next_nonce().await.unwrap().number(), last);
}

#[tokio::test]
async fn sending_again_is_harmless_and_a_replacement_takes_the_nonce() {
    let world = World::new().await;
    world.automine(false).await;
    let sender = &world.payee;
    let quote = sender.quote(&Call::nothing(sender.address())).await.unwrap();
    let nonce = sender.next_nonce().await.unwrap();
    let envelope = sender.prepare(&quote, &nonce).await.unwrap();
    nonce.keep();
    assert_eq!(sender.broadcast(&envelope).await.unwrap(), Broadcast::Accepted);
    assert_eq!(
        sender.broadcast(&envelope).await.unwrap(),
        Broadcast::AlreadyKnown
    );

    let bumped = sender.bump(&envelope).await.unwrap();
    assert_eq!(
        (bumped.nonce, bumped.to, bumped.gas_limit),
        (envelope.nonce, envelope.to, envelope.gas_limit)
    );
    assert!(bumped.max_fee_per_gas * 8 > envelope.max_fee_per_gas * 9);
    assert_eq!(sender.broadcast(&bumped).await.unwrap(), Broadcast::Accepted);
    assert_eq!(sender.broadcast(&envelope).await.unwrap(), Broadcast::Underpriced);
    world.mine(1).await;
    assert!(matches!(
        sender.outcome(bumped.hash).await.unwrap(),
        Outcome::Landed(_)
    ));
    assert!(matches!(
        sender.broadcast(&bumped).await.unwrap(),
        Broadcast::Landed(_)
    ));
    assert_eq!(sender.broadcast(&envelope).await.unwrap(), Broadcast::NonceTaken);
}

#[tokio::test]
async fn threat_t2_no_replacement_offers_over_ten_times_the_fee_of_the_moment() {
    let world = World::new().await;
    world.automine(false).await;
    let sender = &world.payee;
    let fee_now = || async {
        let quote = sender.quote(&Call::nothing(sender.address())).await;
        quote.unwrap().max_fee_per_gas
    };
    let quote = sender.quote(&Call::nothing(sender.address())).await.unwrap();
    let nonce = sender.next_nonce().await.unwrap();
    let mut newest = sender.prepare(&quote, &nonce).await.unwrap();
    nonce.keep();
    sender.broadcast(&newest).await.unwrap();
    let mut replacements = 0;
    let refused = loop {
        match sender.bump(&newest).await {
            Ok(dearer) => {
                assert!(dearer.max_fee_per_gas * 8 > newest.max_fee_per_gas * 9);
                assert_eq!(sender.broadcast(&dearer).await.unwrap(), Broadcast::Accepted);
                newest = dearer;
                replacements += 1;
            }
            Err(fault) => break fault,
        }
        assert!(replacements < 100, "nothing bounds the fee");
    };
    let SendFault::FeeCeiling(hash) = refused else {
        panic!("{refused}")
    };
    assert_eq!(hash, newest.hash);
    let now = fee_now().await;
    assert!(newest.max_fee_per_gas <= now * FEE_FACTOR_MAX);
    assert!(
        newest.max_fee_per_gas * 9 > now * (FEE_FACTOR_MAX - 2) * 8,
        "{replacements}"
    );

    // The fee of the moment rises: the next replacement follows it, and lands.
    let risen = newest.max_fee_per_gas * 2;
    world
        .ask(
            "anvil_setNextBlockBaseFeePerGas",
            serde_json::json!([format!("{risen:#x}")]),
        )
        .await;
    world.mine(1).await;
    let stuck = sender.outcome(newest.hash).await.unwrap();
    assert!(
        !matches!(stuck, Outcome::Landed(_)),
        "it pays less than the base fee"
    );
    assert!(fee_now().await > risen / 2);
    let dearer = sender.bump(&newest).await.unwrap();
    assert!(dearer.max_fee_per_gas > risen);
    assert_eq!(sender.broadcast(&dearer).await.unwrap(), Broadcast::Accepted);
    world.mine(1).await;
    let Outcome::Landed(landed) = sender.wait(dearer.hash, soon()).await else {
        panic!("it pays the fee of the moment")
    };
    assert!(landed.success);
}

#[tokio::test]
async fn a_call_that_would_revert_is_not_sent_and_says_why() {
    let world = World::new().await;
    let (id, _) = world.open(1).await;
    let calls = world.escrow.calls();
    let unknown = ChannelId(B256::repeat_byte(7));
    let fault = world
        .payee
        .quote(&calls.settle(&world.row(unknown, 5, 5)))
        .await
        .unwrap_err();
    let SendFault::WouldRevert(Revert::Escrow(error)) = fault else {
        panic!("{fault}")
    };
    assert!(matches!(*error, EscrowError::ChannelNotFound(error) if error.channelId == unknown.0));

    let over = calls.settle_capture(&world.row(id, DEPOSIT + 2, DEPOSIT + 1));
    let fault = world.payee.simulate(&over).await.unwrap_err();
    let SendFault::WouldRevert(Revert::Escrow(error)) = fault else {
        panic!("{fault}")
    };
    assert!(matches!(*error, EscrowError::AmountExceedsDeposit(error) if error.amount == DEPOSIT + 1));

    let poor = world
        .payee
        .land(&calls.open(&world.opening(2)), soon())
        .await
        .unwrap_err();
    assert!(matches!(poor, SendFault::WouldRevert(_)), "{poor}");
}

#[tokio::test]
async fn threat_b1_a_bad_row_is_skipped_and_the_rest_lands() {
    let world = World::new().await;
    let calls = world.escrow.calls();
    let ((a, _), (b, _), (c, _)) = (world.open(1).await, world.open(2).await, world.open(3).await);
    let stranger = SettleRow {
        signature: world.row(a, 70, 70).signature,
        ..world.row(b, 60, 60)
    };
    let batch = calls.settle_many(
        world.token,
        &[world.row(a, 50, 40), stranger, world.row(c, 30, 30)],
    );
    let forecast = EscrowCalls::read_forecast(&world.payee.simulate(&batch).await.unwrap()).unwrap();
    assert_eq!(forecast.paid, Amount::new(70));
    assert_eq!(
        forecast.verdicts,
        [Verdict::Landed, Verdict::BadSignature, Verdict::Landed]
    );

    let settled = |channel, total| {
        let (settled, paid) = (Cumulative::new(total), Amount::new(total));
        RowEffect::Settled {
            channel,
            settled,
            paid,
        }
    };
    let skipped = RowEffect::Skipped {
        channel: b,
        reason: Verdict::BadSignature,
    };
    let effects = calls.read_effects(&world.collects(batch).await.logs);
    assert_eq!(effects, [settled(a, 40), skipped, settled(c, 30)]);

    // Closing: one more capture, and one at what is settled already, without a signature.
    let bare = SettleRow {
        channel: c,
        cumulative: Cumulative::new(30),
        capture: Cumulative::new(30),
        signature: None,
    };
    let landed = world
        .collects(calls.close_many(world.token, &[world.row(a, 90, 80), bare]))
        .await;
    let closed = |channel, total: u128| RowEffect::Closed {
        channel,
        settled: Cumulative::new(total),
        refunded: Amount::new(DEPOSIT - total),
    };
    assert_eq!(calls.read_effects(&landed.logs), [closed(a, 80), closed(c, 30)]);
    let states = world
        .escrow
        .channels_at(&[a, b, c], landed.block_hash)
        .await
        .unwrap();
    let finalized: Vec<bool> = states
        .iter()
        .flatten()
        .map(|(_, state)| state.finalized)
        .collect();
    assert_eq!(finalized, [true, false, true]);
}

#[tokio::test]
async fn every_single_call_does_what_its_name_says() {
    let world = World::new().await;
    let calls = world.escrow.calls();
    let (a, _) = world.open(1).await;
    let settled = calls.read_effects(&world.collects(calls.settle(&world.row(a, 10, 10))).await.logs);
    assert!(matches!(settled[..], [RowEffect::Settled { paid, .. }] if paid == Amount::new(10)));
    world.collects(calls.settle_capture(&world.row(a, 40, 25))).await;
    let closed = calls.read_effects(&world.collects(calls.close(&world.row(a, 40, 40))).await.logs);
    assert!(matches!(closed[..], [RowEffect::Closed { settled, .. }] if settled == Cumulative::new(40)));

    let capped = weir_chain::Opening {
        max_deposit: Some(Amount::new(DEPOSIT + 9)),
        ..world.opening(2)
    };
    world.pays(calls.open(&capped)).await;
    let b = world.id(2);
    world.pays(calls.lower_max_deposit(b, Amount::new(DEPOSIT))).await;
    let over = world
        .payer
        .quote(&calls.top_up(b, Amount::new(1)))
        .await
        .unwrap_err();
    assert!(
        matches!(over, SendFault::WouldRevert(Revert::Escrow(_))),
        "{over}"
    );
    world.collects(calls.close_capture(&world.row(b, 9, 7))).await;

    let (c, _) = world.open(3).await;
    world.pays(calls.request_close(c)).await;
    assert!(world.payer.quote(&calls.withdraw(c)).await.is_err());
    let grace = world.escrow.grace_period_seconds();
    world.ask("evm_increaseTime", serde_json::json!([grace])).await;
    world.mine(1).await;
    let landed = world.pays(calls.withdraw(c)).await;
    let (_, state) = world
        .escrow
        .channel_at(c, landed.block_hash)
        .await
        .unwrap()
        .unwrap();
    assert!(state.finalized);
    let credit = world
        .escrow
        .refund_credit(world.token, world.payer.address())
        .await
        .unwrap();
    assert!(credit.is_zero());
}

#[tokio::test]
async fn threat_k1_a_sender_does_not_show_its_key() {
    let world = World::new().await;
    let shown = format!("{:?} {:?}", world.payer, world.escrow);
    assert!(!shown.contains("1111111111"), "{shown}");
    assert!(
        !shown.contains("127.0.0.1"),
        "an endpoint's URL may hold a key: {shown}"
    );
    let address = key(0x11).address();
    assert!(address != Address::ZERO && shown.contains(&address.to_string()));
}

#[tokio::test]
async fn what_makes_room_takes_the_gas_that_the_node_says() {
    let world = World::new().await;
    world.automine(false).await;
    let sender = &world.payer;
    let quote = sender.quote(&world.escrow.calls().open(&world.opening(1))).await;
    let nonce = sender.next_nonce().await.unwrap();
    let stuck = sender.prepare(&quote.unwrap(), &nonce).await.unwrap();
    nonce.keep();
    sender.broadcast(&stuck).await.unwrap();
    let room = sender.make_room(&stuck).await.unwrap();
    let nothing = sender.quote(&Call::nothing(sender.address())).await.unwrap();
    assert_eq!(
        (room.nonce, room.to, room.gas_limit),
        (stuck.nonce, Some(sender.address()), nothing.gas_limit)
    );
    assert_eq!(sender.broadcast(&room).await.unwrap(), Broadcast::Accepted);
    world.mine(1).await;
    let Outcome::Landed(landed) = sender.wait(room.hash, soon()).await else {
        panic!("it was mined")
    };
    assert!(landed.success);
    assert_eq!(sender.outcome(stuck.hash).await.unwrap(), Outcome::NotSeen);
}
