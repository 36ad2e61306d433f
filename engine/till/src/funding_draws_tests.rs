//! What must hold of payments that payers signed for, and of what the node does not take.

use super::world::{Bench, NOW, TestGas, draw_order, landed, signed, signed_draw, signed_draw_spelled};
use super::*;
use weir_chain::Drawn;
use weir_core::Draw;
use weir_core::draw::Spelling;

fn until(seconds: u64) -> impl Fn(&mut Draw) {
    move |draw| {
        draw.leave = Leave::Eip3009 {
            valid_after: U256::ZERO,
            valid_before: U256::from(NOW + seconds),
        };
    }
}

fn permit(draw: &mut Draw) {
    draw.leave = Leave::Permit2 {
        nonce: U256::from(7),
        deadline: U256::from(NOW + 300),
    };
}

#[tokio::test]
async fn tx_2_a_payment_and_its_credential_are_durable_before_it_is_sent() {
    let bench = Bench::new().await;
    let permits = Spelling::ALL.map(|spelling| signed_draw_spelled(2, 2, spelling, permit));
    let [by_the_draft, by_libraries] = permits;
    for (at, signed) in [signed_draw(1, 1, |_| ()), by_the_draft].iter().enumerate() {
        bench.pay(signed).await.unwrap();
        assert!(bench.gas.with(|world| world.written_first), "{at}");
    }
    assert_eq!(bench.sent(), [0, 1], "nobody waited for a block");
    // The same deed, signed in another spelling: it is not sent twice.
    bench.pay(&by_libraries).await.unwrap();
    assert_eq!(bench.sent(), [0, 1]);
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    let first = signed_draw(1, 1, |_| ());
    let hash = bench.funding.drawn(draw_order(&first), PATIENCE).await.unwrap();
    assert_eq!(hash, TestGas::envelope(0, 100).hash);
    // The next run knows it still.
    let later = Bench::over(Arc::clone(&bench.journal)).await;
    assert!(matches!(later.draw(&first).await.unwrap(), Ready::OnItsWay));
    let hash = later.funding.drawn(draw_order(&first), PATIENCE).await.unwrap();
    assert_eq!(hash, TestGas::envelope(0, 100).hash);
    assert!(later.sent().is_empty());
}

#[tokio::test]
async fn threat_t8_no_payment_is_sent_that_is_not_the_payers_or_cannot_land() {
    let bench = Bench::new().await;
    let refused = async |signed: &SignedDraw| bench.pay(signed).await.unwrap_err();
    let mut forged = signed_draw(1, 1, |_| ());
    forged.signature = signed_draw(2, 1, |_| ()).signature;
    assert!(matches!(refused(&forged).await, FundNo::NotThePayers));
    // Its answer could not be asked for so long.
    let endless = refused(&signed_draw(1, 1, until(300 + 3_601))).await;
    assert!(matches!(endless, FundNo::Outlasts), "{endless:?}");
    assert_eq!(bench.gas.with(|world| world.asked), 0, "the node was asked");
    for seconds in [0, 60] {
        let late = refused(&signed_draw(1, 1, until(seconds))).await;
        assert!(matches!(late, FundNo::Window), "{seconds}: {late:?}");
    }
    let rich = refused(&signed_draw(1, 1, |draw| draw.amount = Amount::new(10_001))).await;
    assert!(matches!(rich, FundNo::Balance { .. }), "{rich:?}");
    let good = signed_draw(1, 1, |_| ());
    bench.gas.with(|world| world.payer_has_code = true);
    assert!(matches!(refused(&good).await, FundNo::Unaffordable(_)));
    bench
        .gas
        .with(|world| (world.payer_has_code, world.would_revert) = (false, true));
    assert!(matches!(refused(&good).await, FundNo::Reverted(_)));
    // What would revert because it is being made is no failure.
    bench.gas.with(|world| world.being_used_up = true);
    assert!(matches!(refused(&good).await, FundNo::Unknown(_)));
    bench
        .gas
        .with(|world| (world.would_revert, world.fee) = (false, 1_001));
    assert!(matches!(refused(&good).await, FundNo::Unaffordable(_)));
    assert!(bench.sent().is_empty());
    bench.gas.with(|world| world.fee = 100);
    bench.pay(&good).await.unwrap();
    assert_eq!(bench.sent(), [0]);
}

#[tokio::test]
async fn threat_t8_a_payment_that_somebody_else_sent_is_found_and_a_lagging_node_loses_none() {
    let bench = Bench::new().await;
    let (signed, theirs) = (signed_draw(1, 1, |_| ()), B256::repeat_byte(0x77));
    bench.gas.with(|world| world.used_up = true);
    let unknown = bench.draw(&signed).await;
    assert!(matches!(unknown, Err(FundNo::Unknown(_))), "{unknown:?}");
    bench.gas.with(|world| world.drawn = Some(Drawn::TakenBack));
    let taken_back = bench.draw(&signed).await;
    assert!(matches!(taken_back, Err(FundNo::Reverted(_))), "{taken_back:?}");
    bench.gas.with(|world| world.drawn = Some(Drawn::By(theirs)));
    let found = bench.draw(&signed).await.unwrap();
    assert!(
        matches!(found, Ready::Done(Some(hash)) if hash == theirs),
        "{found:?}"
    );
    // Over by now, and found all the same.
    let late = signed_draw(1, 1, until(1));
    assert!(matches!(bench.draw(&late).await.unwrap(), Ready::Done(Some(_))));
    assert!(bench.sent().is_empty());
    // They were faster than what we had sent, and our node is not as far as the block that tells so, or that is taken back.
    bench.gas.with(|world| world.used_up = false);
    bench.pay(&signed).await.unwrap();
    bench.gas.with(|world| world.outcome = Some(landed(false)));
    for height in [9, 10, 11] {
        bench.gas.with(|world| world.height = height);
        let early = bench.funding.drawn(draw_order(&signed), PATIENCE).await;
        assert!(matches!(early, Err(FundNo::Unknown(_))), "{height}: {early:?}");
    }
    bench.gas.with(|world| world.height = 12);
    let vain = bench.funding.drawn(draw_order(&signed), PATIENCE).await;
    assert!(matches!(vain, Err(FundNo::Reverted(_))), "{vain:?}");
    bench.gas.with(|world| world.used_up = true);
    let hash = bench.funding.drawn(draw_order(&signed), PATIENCE).await.unwrap();
    assert_eq!(hash, theirs);
}

#[tokio::test]
async fn threat_t8_payments_are_bounded_by_what_covers_them_and_by_what_failed() {
    let bench = Bench::new().await;
    let dear = |challenge| signed_draw(1, challenge, |draw| draw.amount = Amount::new(6_000));
    // Both are asked for before either is written down: the lane looks again.
    let (first, second) = (dear(1), dear(2));
    let (first, second) = tokio::join!(bench.pay(&first), bench.pay(&second));
    assert!(first.is_ok(), "{first:?}");
    assert!(
        matches!(second, Err(FundNo::Waits)),
        "one balance pays once: {second:?}"
    );
    let cheap = |payer, challenge| signed_draw(payer, challenge, |draw| draw.amount = Amount::new(10));
    for challenge in 0..PAYMENTS_AT_ONCE_MAX as u8 {
        bench.pay(&cheap(2, challenge)).await.unwrap();
    }
    let more = bench.pay(&cheap(2, 99)).await;
    assert!(matches!(more, Err(FundNo::Waits)), "{more:?}");
    // What was made counts no more, and what failed does.
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    for challenge in 100..100 + 2 * PULLS_PER_PAYER_MAX as u8 {
        let signed = cheap(3, challenge);
        bench.pay(&signed).await.unwrap();
        bench.funding.drawn(draw_order(&signed), PATIENCE).await.unwrap();
    }
    // But each has its gas, and there is a bound on that: fifty times 200,000.
    let mut made = 1 + PAYMENTS_AT_ONCE_MAX + 2 * PULLS_PER_PAYER_MAX;
    let spent = loop {
        match bench.pay(&cheap(5, made as u8)).await {
            Ok(()) => made += 1,
            Err(no) => break no,
        }
        assert!(made <= 50, "there is no end to it");
        let signed = cheap(5, made as u8 - 1);
        bench.funding.drawn(draw_order(&signed), PATIENCE).await.unwrap();
    };
    assert!(matches!(spent, FundNo::Unaffordable(_)), "{spent:?}");
    assert_eq!((made, bench.sent().len()), (50, 50));
    // Deposits have theirs.
    bench.submit(&signed(6, 6, |_| ()), 6).await.unwrap();
    let bench = Bench::new().await;
    bench
        .gas
        .with(|world| (world.outcome, world.height) = (Some(landed(false)), 12));
    for challenge in 0..PULLS_PER_PAYER_MAX as u8 {
        let signed = cheap(4, challenge);
        bench.pay(&signed).await.unwrap();
        let vain = bench.funding.drawn(draw_order(&signed), PATIENCE).await;
        assert!(matches!(vain, Err(FundNo::Reverted(_))), "{vain:?}");
    }
    let more = bench.pay(&cheap(4, 99)).await;
    assert!(matches!(more, Err(FundNo::TooMany { .. })), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_refuses_is_sent_ever_more_slowly_and_made_dearer() {
    let bench = Bench::new().await;
    bench.gas.with(|world| {
        world.outcome = Some(Outcome::NotSeen);
        world.answer = Some(Ok(Posted::Refused(
            "max fee per gas less than block base fee".into(),
        )));
    });
    bench.submit(&signed(1, 1, |_| ()), 1).await.unwrap();
    let sent = || bench.gas.with(|world| world.sent.clone());
    // The disk works in its own time, which does not stand still.
    for _ in 0..100_000 {
        if sent().iter().any(|envelope| envelope.max_fee_per_gas == 800) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let sent = sent();
    let of = |fee| {
        sent.iter()
            .filter(|envelope| envelope.max_fee_per_gas == fee)
            .count()
    };
    for fee in [100, 200, 400] {
        assert!((2..16).contains(&of(fee)), "{fee}: {}", of(fee));
    }
    assert!(sent.iter().all(|envelope| envelope.nonce == 0));
}

#[tokio::test(start_paused = true)]
async fn what_counts_no_more_makes_room_and_is_not_sent_again() {
    let bench = Bench::new().await;
    let signed = signed_draw(1, 1, |_| ());
    bench.pay(&signed).await.unwrap();
    bench.gas.with(|world| world.outcome = Some(Outcome::NotSeen));
    bench.clock.0.store(NOW + 300, Ordering::SeqCst);
    let own = bench.gas.with(|world| world.address);
    let last = || bench.gas.with(|world| world.sent.last().cloned()).unwrap();
    for _ in 0..100_000 {
        if last().to == Some(own) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let room = last();
    assert_eq!((room.to, room.nonce), (Some(own), 0), "it calls nothing");
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let sent = bench.gas.with(|world| world.sent.clone());
    let after = sent.iter().skip_while(|envelope| envelope.to != Some(own));
    assert!(after.into_iter().all(|envelope| envelope.to == Some(own)));
    // What landed is no payment.
    bench
        .gas
        .with(|world| (world.outcome, world.height) = (Some(landed(true)), 12));
    let mut vain = bench.funding.drawn(draw_order(&signed), PATIENCE).await;
    // The paused clock runs ahead of the thread that writes the books.
    for _ in 0..10_000 {
        if !matches!(vain, Err(FundNo::Unknown(_))) {
            break;
        }
        vain = bench.funding.drawn(draw_order(&signed), PATIENCE).await;
    }
    assert!(matches!(vain, Err(FundNo::Reverted(_))), "{vain:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_gas_key_lacked_is_forgotten_after_a_while() {
    let bench = Bench::new().await;
    bench.gas.with(|world| world.gas_balance = 200_000 * 100 - 1);
    let no = bench.pay(&signed_draw(1, 1, |_| ())).await.unwrap_err();
    assert!(matches!(no, FundNo::Unaffordable(_)), "{no:?}");
    assert!(!bench.funding.is_able());
    tokio::time::sleep(LACKS_FOR).await;
    assert!(bench.funding.is_able(), "gas may be cheaper by now");
    bench.gas.with(|world| world.gas_balance = 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!bench.funding.is_able(), "nothing is paid for with nothing");
}

#[tokio::test]
async fn threat_t8_of_all_that_one_nonce_is_signed_for_one_is_sent() {
    let bench = Bench::new().await;
    let permits: Vec<SignedDraw> = (0..8)
        .map(|challenge| signed_draw(1, challenge, permit))
        .collect();
    let shown = permits.iter().map(|signed| bench.pay(signed));
    let shown = futures_util::future::join_all(shown).await;
    assert_eq!(shown.iter().filter(|paid| paid.is_ok()).count(), 1, "{shown:?}");
    let sent = shown.iter().position(Result::is_ok).unwrap();
    for paid in shown {
        assert!(matches!(paid, Ok(()) | Err(FundNo::Waits)), "{paid:?}");
    }
    // One authorisation for longer is the same one.
    bench.pay(&signed_draw(2, 9, until(300))).await.unwrap();
    let longer = signed_draw(2, 9, until(301));
    assert!(matches!(bench.pay(&longer).await, Err(FundNo::Waits)));
    assert_eq!(bench.sent(), [0, 1]);
    // They are made, and a node that lags knows nothing of it.
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    for signed in [&permits[sent], &signed_draw(2, 9, until(300))] {
        bench.funding.drawn(draw_order(signed), PATIENCE).await.unwrap();
    }
    let other = signed_draw(1, 77, permit);
    for signed in [&longer, &other] {
        assert!(matches!(bench.pay(signed).await, Err(FundNo::Waits)));
    }
    // What failed used nothing up.
    let bench = Bench::new().await;
    bench
        .gas
        .with(|world| (world.outcome, world.height) = (Some(landed(false)), 12));
    bench.pay(&permits[0]).await.unwrap();
    let vain = bench.funding.drawn(draw_order(&permits[0]), PATIENCE).await;
    assert!(matches!(vain, Err(FundNo::Reverted(_))), "{vain:?}");
    bench.pay(&permits[1]).await.unwrap();
    assert_eq!(bench.sent(), [0, 1]);
}

#[tokio::test]
async fn a_new_gas_key_knows_the_permits_of_the_old_one_and_sends_no_more_of_them() {
    let bench = Bench::new().await;
    let made = signed_draw(1, 1, permit);
    bench.pay(&made).await.unwrap();
    bench.gas.with(|world| world.outcome = Some(landed(true)));
    let hash = bench.funding.drawn(draw_order(&made), PATIENCE).await.unwrap();
    let later = Bench::with_key(Arc::clone(&bench.journal), Address::repeat_byte(10)).await;
    assert!(matches!(later.draw(&made).await.unwrap(), Ready::OnItsWay));
    assert_eq!(
        later.funding.drawn(draw_order(&made), PATIENCE).await.unwrap(),
        hash
    );
    let fresh = signed_draw(2, 2, permit);
    let no = later.draw(&fresh).await;
    assert!(matches!(no, Err(FundNo::Reverted(_))), "{no:?}");
    // A spender that was never ours, or none.
    for spender in [None, Some(Address::repeat_byte(0x33))] {
        let order = DrawOrder {
            spender,
            ..draw_order(&made)
        };
        let no = later.funding.prepare_draw(order).await;
        assert!(matches!(no, Err(FundNo::Reverted(_))), "{spender:?}: {no:?}");
    }
    assert!(later.sent().is_empty());
}
