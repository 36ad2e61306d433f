//! What the planner proposes and what it leaves alone, told as short stories.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use support::story::{NOW, Story, state};
use weir_core::planner::{Plan, Policy, Why, plan};
use weir_core::step::Body;
use weir_core::{Amount, ChainState, Cumulative, Input, Refusal, UnixSeconds};

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
