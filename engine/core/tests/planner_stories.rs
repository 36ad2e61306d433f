//! What the planner proposes and what it leaves alone, told as short stories.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use alloy_primitives::{Address, B256};
use support::story::{NOW, Story, state};
use weir_core::planner::{CLOSE_IDLE_WAIT_SECONDS_MAX, Plan, Policy, Why, plan};
use weir_core::step::Body;
use weir_core::{
    Amount, Capture, ChainState, Channel, Cumulative, Input, Outcome, Refusal, ReserveTerms, Terms,
    UnixSeconds,
};

const POLICY: Policy = Policy {
    value_max: Amount::new(50),
    age_max_seconds: 600,
    value_min: Amount::new(10),
};

fn plans(story: &Story, now: UnixSeconds) -> Vec<Plan> {
    plan([&story.channel], &POLICY, now)
}

#[test]
fn threat_b3_less_than_the_gas_is_worth_waits_unless_a_deadline_forces_it() {
    let mut story = Story::sold(80, 9);
    let much_later = NOW.after(1_000_000);
    assert_eq!(plans(&story, much_later), [], "dust is left, however old");
    story.observe(
        ChainState {
            close_requested_at: Some(NOW),
            ..state(100, 0)
        },
        state(100, 0),
    );
    let planned = plans(&story, NOW);
    assert_eq!((planned[0].why, planned[0].pays), (Why::Deadline, Amount::new(9)));
    let story = Story::sold(80, 10);
    assert_eq!(plans(&story, NOW.after(599)), []);
    assert_eq!(plans(&story, NOW.after(600))[0].why, Why::Age);
    assert_eq!(plans(&Story::sold(80, 49), NOW), []);
    assert_eq!(plans(&Story::sold(80, 50), NOW)[0].why, Why::Value);
}

#[test]
fn the_gravest_reason_comes_first_and_then_the_largest_value() {
    let mut deadline = Story::sold(80, 1);
    deadline.observe(
        ChainState {
            close_requested_at: Some(NOW),
            ..state(100, 0)
        },
        state(100, 0),
    );
    let mut asked = Story::sold(80, 2);
    asked.close();
    let (small, large, old) = (Story::sold(80, 60), Story::sold(80, 70), Story::sold(80, 20));
    let channels = [&old, &small, &asked, &large, &deadline].map(|story| &story.channel);
    let order: Vec<_> = plan(channels, &POLICY, NOW.after(600))
        .iter()
        .map(|plan| (plan.why, plan.pays.base_units()))
        .collect();
    let expected = [
        (Why::Deadline, 1),
        (Why::CloseAsked, 2),
        (Why::Value, 70),
        (Why::Value, 60),
        (Why::Age, 20),
    ];
    assert_eq!(order, expected);
}

#[test]
fn threat_c4_a_close_waits_for_open_charges_and_carries_everything_earned() {
    let mut story = Story::sold(80, 20);
    let open = story.reserve(15);
    story.close();
    assert_eq!(plans(&story, NOW), []);
    story.commit(open, 15, Body::OnItsWay).unwrap();
    assert_eq!(plans(&story, NOW), []);
    story.tell(Input::Finish { charge: open }).unwrap();
    let planned = plans(&story, NOW);
    assert_eq!(
        (planned[0].closes, planned[0].target),
        (true, Cumulative::new(35))
    );
}

#[test]
fn tx_1_a_channel_under_settlement_is_left_alone() {
    let mut story = Story::sold(80, 60);
    assert_eq!(plans(&story, NOW).len(), 1);
    story.capture(60, false).unwrap();
    assert_eq!(plans(&story, NOW.after(1_000_000)), []);
    assert_eq!(story.capture(60, false), Err(Refusal::CaptureUnderWay));
    story.observe(state(100, 60), state(100, 60));
    assert_eq!(story.channel.capture(), None);
    assert_eq!(
        plans(&story, NOW.after(1_000_000)),
        [],
        "nothing is left to collect"
    );
}

/// A channel of the reserve, whose `settle` takes a voucher whole: 20 were authorised and spent, then 80 and 15 more.
fn reserved() -> Story {
    let mut story = Story::of(state(100, 0), false);
    let reserve = ReserveTerms {
        operator: Address::ZERO,
        salt: B256::ZERO,
        expiring_nonce_hash: B256::repeat_byte(1),
    };
    let terms = Terms {
        reserve: Some(reserve),
        ..story.channel.terms().clone()
    };
    story.channel = Channel::adopt(story.channel.id(), terms, state(100, 0), false);
    let Ok(Outcome::Reserved(first)) = story.pay(20, Some(20)) else {
        unreachable!("not sold")
    };
    story.commit(first, 20, Body::Delivered).unwrap();
    story.pay(80, None).unwrap();
    let second = story.reserve(15);
    story.commit(second, 15, Body::Delivered).unwrap();
    story
}

#[test]
fn threat_c8_the_reserve_is_settled_with_an_earned_voucher_and_closed_at_what_was_spent() {
    let mut story = reserved();
    let much_later = NOW.after(1_000_000);
    let planned = plans(&story, much_later);
    assert_eq!(
        (planned[0].target, planned[0].closes),
        (Cumulative::new(20), false)
    );
    assert_eq!(planned[0].pays, Amount::new(20));
    for target in [21, 35, 80] {
        let refused = story.capture(target, false);
        assert!(
            matches!(refused, Err(Refusal::NotCollectible { .. })),
            "{target}: {refused:?}"
        );
    }
    story.capture(20, false).unwrap();
    let voucher_for = |story: &Story, target, closes| {
        let target = Cumulative::new(target);
        let voucher = story.channel.voucher_for(&Capture { target, closes });
        voucher.map(|voucher| voucher.cumulative().base_units())
    };
    assert_eq!(voucher_for(&story, 20, false), Some(20));
    story.observe(state(100, 20), state(100, 20));
    // The rest waits for a voucher that is earned whole, or for the end.
    assert_eq!(plans(&story, much_later), []);
    let leaving = ChainState {
        close_requested_at: Some(NOW),
        ..state(100, 20)
    };
    story.observe(leaving, state(100, 20));
    let planned = plans(&story, NOW);
    assert_eq!((planned[0].why, planned[0].closes), (Why::Deadline, true));
    assert_eq!(
        (planned[0].target, planned[0].pays),
        (Cumulative::new(35), Amount::new(15))
    );
    assert_eq!(voucher_for(&story, 35, true), Some(80));
    story.capture(35, true).unwrap();
}

#[test]
fn what_is_earned_whole_is_settled_before_the_payer_leaves_and_the_channel_stays_open() {
    let mut story = reserved();
    let third = story.reserve(45);
    story.commit(third, 45, Body::Delivered).unwrap();
    let leaving = ChainState {
        close_requested_at: Some(NOW),
        ..state(100, 0)
    };
    story.observe(leaving, state(100, 0));
    let planned = plans(&story, NOW);
    assert_eq!(
        (planned[0].target, planned[0].closes),
        (Cumulative::new(80), false)
    );
}

#[test]
fn threat_c8_what_was_earned_since_it_was_planned_is_settled_with_it() {
    let mut story = reserved();
    let planned = plans(&story, NOW.after(1_000_000))[0];
    assert_eq!((planned.target, planned.closes), (Cumulative::new(20), false));
    let third = story.reserve(45);
    story.commit(third, 45, Body::Delivered).unwrap();
    story.capture(20, false).unwrap();
    let capture = *story.channel.capture().unwrap();
    assert_eq!((capture.target, capture.closes), (Cumulative::new(80), false));
    let voucher = story.channel.voucher_for(&capture).unwrap();
    assert_eq!(voucher.cumulative(), Cumulative::new(80), "it is taken whole");
    assert_eq!(story.channel.accounted(), Cumulative::new(80));
}

#[test]
fn threat_c4_a_charge_held_open_keeps_the_reserve_from_being_closed_for_a_bounded_time() {
    let mut story = reserved();
    let _held = story.reserve(10);
    let leaving = ChainState {
        close_requested_at: Some(NOW),
        ..state(100, 20)
    };
    story.observe(leaving, state(100, 20));
    assert_eq!(
        plans(&story, NOW.after(CLOSE_IDLE_WAIT_SECONDS_MAX - 1)),
        [],
        "it may be over in time"
    );
    let planned = plans(&story, NOW.after(CLOSE_IDLE_WAIT_SECONDS_MAX));
    assert_eq!((planned[0].why, planned[0].closes), (Why::Deadline, true));
    assert_eq!(
        (planned[0].target, planned[0].pays),
        (Cumulative::new(35), Amount::new(15))
    );
    story.capture(35, true).unwrap();
}

#[test]
fn a_close_that_fails_leaves_what_can_be_settled_without_it() {
    let mut story = reserved();
    let leaving = ChainState {
        close_requested_at: Some(NOW),
        ..state(100, 0)
    };
    story.observe(leaving, state(100, 0));
    let planned = plans(&story, NOW)[0];
    assert_eq!((planned.target, planned.closes), (Cumulative::new(35), true));
    let open = planned.kept_open(&story.channel).unwrap();
    assert_eq!(
        (open.target, open.pays, open.closes),
        (Cumulative::new(20), Amount::new(20), false)
    );
    story.capture(20, false).unwrap();
    let settled = ChainState {
        settled: Cumulative::new(20),
        ..leaving
    };
    story.observe(settled, settled);
    let planned = plans(&story, NOW)[0];
    assert_eq!((planned.target, planned.closes), (Cumulative::new(35), true));
    assert_eq!(
        planned.kept_open(&story.channel),
        None,
        "nothing is left to settle"
    );
}
