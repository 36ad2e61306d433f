//! The edges of the transition, told as short stories.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use alloy_primitives::B256;
use support::keys::Whose;
use support::story::{NOW, RULES, Story, state};
use weir_core::channel::CHARGES_OPEN_MAX;
use weir_core::step::{Body, VoucherRules};
use weir_core::{Amount, ChainState, Cumulative, Input, Outcome, Refusal, Standing};

#[test]
fn threat_c1_a_capture_starts_above_the_settled_total_and_a_close_at_it() {
    let at = |target, closes| {
        let mut story = Story::sold(80, 60);
        story.observe(state(100, 40), state(100, 40));
        story.capture(target, closes)
    };
    let no = Err(Refusal::NotCollectible {
        collectible: Cumulative::new(60),
    });
    assert_eq!(
        [39, 40, 41].map(|target| at(target, false)),
        [no, no, Ok(Outcome::Done)]
    );
    assert_eq!(
        [39, 40, 41].map(|target| at(target, true)),
        [no, Ok(Outcome::Done), Ok(Outcome::Done)]
    );
    assert_eq!(
        [60, 61, 80].map(|target| at(target, true)),
        [Ok(Outcome::Done), no, no]
    );
}

#[test]
fn the_least_raise_is_between_vouchers_and_the_first_one_may_be_as_low_as_its_payer_likes() {
    let rules = VoucherRules {
        delta_min: Amount::new(10),
        ..RULES
    };
    let pay = |story: &mut Story, total| {
        let voucher = story.mint.proven(Whose::Ours, total);
        let price = None;
        story.tell(Input::Pay {
            voucher,
            rules,
            price,
        })
    };
    let mut story = Story::of(state(100, 0), false);
    assert_eq!(pay(&mut story, 0), Ok(Outcome::Accepted), "nothing is no raise");
    assert_eq!(pay(&mut story, 3), Ok(Outcome::Accepted), "the first one");
    let no = Err(Refusal::DeltaTooSmall {
        minimum: Amount::new(10),
    });
    assert_eq!([4, 12].map(|total| pay(&mut story, total)), [no, no]);
    assert_eq!(
        pay(&mut story, 3),
        Ok(Outcome::Accepted),
        "a repeated one raises nothing"
    );
    assert_eq!(pay(&mut story, 13), Ok(Outcome::Accepted));
    assert_eq!(story.channel.accepted(), Cumulative::new(13));
}

#[test]
fn threat_c2_a_capture_takes_what_was_spent_not_what_was_authorised() {
    let mut story = Story::sold(80, 60);
    let on_its_way = story.reserve(10);
    story.commit(on_its_way, 10, Body::OnItsWay).unwrap();
    assert_eq!(
        story.channel.collectible(),
        Cumulative::new(60),
        "ten may yet come back"
    );
    assert!(story.capture(61, false).is_err());
    story.tell(Input::Finish { charge: on_its_way }).unwrap();
    assert_eq!(story.capture(70, false), Ok(Outcome::Done));
}

#[test]
fn threat_c3_a_close_once_begun_stays_whatever_becomes_of_its_settlement() {
    let mut story = Story::sold(80, 60);
    let racing = story.reserve(5);
    story.close();
    let closing = story.channel.closing().copied();
    assert_eq!(story.pay(90, Some(1)), Err(Refusal::ChannelClosing));
    assert_eq!(
        story.tell(Input::Reserve {
            price: Amount::new(1)
        }),
        Err(Refusal::ChannelClosing)
    );
    story.commit(racing, 5, Body::Delivered).unwrap();
    story.capture(65, true).unwrap();
    story.tell(Input::EndCapture).unwrap();
    let voucher = Some(story.mint.proven(Whose::Ours, 85));
    story.tell(Input::BeginClose { voucher }).unwrap();
    assert_eq!(
        story.channel.closing().copied(),
        closing,
        "a second request changes nothing"
    );
    assert_eq!(story.pay(90, None), Err(Refusal::ChannelClosing));
}

#[test]
fn threat_c3_a_settlement_that_closes_stops_the_sale_even_if_nobody_asked() {
    let mut story = Story::sold(80, 60);
    story.capture(60, true).unwrap();
    assert_eq!(story.pay(90, Some(1)), Err(Refusal::ChannelClosing));
}

#[test]
fn tx_1_a_settlement_is_over_when_it_is_final_not_when_it_is_seen() {
    for closes in [false, true] {
        let mut story = Story::sold(80, 60);
        story.capture(60, closes).unwrap();
        let landed = ChainState {
            finalized: closes,
            ..state(100, 60)
        };
        story.observe(landed, state(100, 0));
        assert!(story.channel.capture().is_some(), "seen, not final");
        story.observe(state(100, 0), state(100, 0));
        assert_eq!(
            story.capture(60, closes),
            Err(Refusal::CaptureUnderWay),
            "a reorg took it back"
        );
        story.observe(landed, landed);
        assert_eq!(
            story.channel.capture().is_some(),
            closes,
            "a close is over when it can be named"
        );
        story.tell(Input::ClosedBy(B256::repeat_byte(1))).unwrap();
        assert_eq!(story.channel.capture(), None);
    }
}

#[test]
fn threat_c5_nothing_is_sold_on_a_closed_channel_and_adoption_counts_what_was_settled() {
    let story = Story::of(state(100, 30), false);
    assert_eq!(story.channel.spent(), Cumulative::new(30));
    assert_eq!(story.channel.accepted(), Cumulative::new(30));
    let mut story = Story::of(state(100, 30), false);
    assert_eq!(
        story.pay(30, Some(1)),
        Ok(Outcome::Short {
            required: Cumulative::new(31)
        })
    );
    let requested = ChainState {
        close_requested_at: Some(NOW),
        ..state(100, 30)
    };
    assert_eq!(
        Story::of(requested, false).pay(40, Some(1)),
        Err(Refusal::ChannelClosing)
    );
    let finalized = ChainState {
        finalized: true,
        ..state(100, 30)
    };
    assert_eq!(
        Story::of(finalized, false).pay(40, Some(1)),
        Err(Refusal::ChannelFinalized)
    );
}

#[test]
fn threat_c6_a_charge_is_committed_or_released_exactly_once() {
    let gone = Err(Refusal::ChargeNotOpen);
    for first in 0..5 {
        let mut story = Story::sold(80, 10);
        let charge = story.reserve(20);
        assert_eq!(
            story.commit(charge, 21, Body::Delivered),
            Err(Refusal::ExceedsReservation)
        );
        match first {
            0 => story.commit(charge, 20, Body::Delivered).unwrap(),
            1 => story.tell(Input::Release { charge }).unwrap(),
            2 => story.tell(Input::Recover).unwrap(),
            _ => story.commit(charge, 20, Body::OnItsWay).unwrap(),
        };
        match first {
            3 => drop(story.tell(Input::Finish { charge }).unwrap()),
            4 => drop(story.tell(Input::Credit { charge }).unwrap()),
            _ => {}
        }
        let spent = if first == 1 { 10 } else { 30 };
        assert_eq!(story.channel.spent(), Cumulative::new(spent), "{first}");
        assert_eq!(story.commit(charge, 1, Body::Delivered), gone);
        assert_eq!(story.tell(Input::Release { charge }), gone);
        assert_eq!(story.tell(Input::Finish { charge }), gone);
        assert_eq!(story.tell(Input::Credit { charge }), gone);
        assert_ne!(story.reserve(1), charge, "a number is never given twice");
    }
}

#[test]
fn ch_6_a_credit_is_used_first_by_the_next_charge() {
    let mut story = Story::sold(50, 40);
    let failed = story.reserve(10);
    story.commit(failed, 10, Body::OnItsWay).unwrap();
    assert_eq!(story.channel.available(), Amount::ZERO);
    story.tell(Input::Credit { charge: failed }).unwrap();
    assert_eq!(story.channel.spent(), Cumulative::new(50), "spent never falls");
    assert_eq!(story.channel.available(), Amount::new(10));
    assert!(
        matches!(story.pay(50, Some(10)), Ok(Outcome::Reserved(_))),
        "no new voucher is asked for"
    );
}

#[test]
fn ch_6_open_charges_are_bounded() {
    let mut story = Story::sold(50, 40);
    for _ in 0..CHARGES_OPEN_MAX {
        story.reserve(0);
    }
    let before = story.channel.accepted();
    assert_eq!(story.pay(60, Some(0)), Err(Refusal::TooManyCharges));
    assert_eq!(
        story.channel.accepted(),
        before,
        "the voucher was not kept either"
    );
}

#[test]
fn what_closed_a_channel_is_kept_and_its_end_is_over_when_final() {
    let mut story = Story::sold(80, 60);
    story.capture(60, true).unwrap();
    story.tell(Input::ClosedBy(B256::repeat_byte(1))).unwrap();
    let closed = ChainState {
        finalized: true,
        ..state(100, 60)
    };
    story.observe(closed, state(100, 0));
    assert_eq!(story.channel.standing(), Standing::Finalized);
    assert!(!story.channel.is_over(), "a reorg may take it back");
    // After a reorg its dearer twin is in a block.
    story.tell(Input::ClosedBy(B256::repeat_byte(2))).unwrap();
    story.observe(closed, closed);
    assert!(story.channel.is_over());
    assert_eq!(story.channel.closed_by(), Some(B256::repeat_byte(2)));
}

#[test]
fn threat_c8_a_call_without_capture_uses_only_a_voucher_that_was_earned_whole() {
    let mut story = Story::sold(10, 10);
    let earned = |story: &Story| {
        story
            .channel
            .earned_voucher()
            .map(|voucher| voucher.cumulative().base_units())
    };
    assert_eq!(earned(&story), Some(10));
    story.pay(30, None).unwrap();
    let charge = story.reserve(20);
    assert_eq!(earned(&story), Some(10), "thirty is not delivered yet");
    story.commit(charge, 20, Body::OnItsWay).unwrap();
    assert_eq!(earned(&story), Some(10), "thirty may yet be credited");
    story.tell(Input::Credit { charge }).unwrap();
    assert_eq!(
        earned(&story),
        Some(10),
        "the credit did not cost the lower voucher"
    );
    let charge = story.reserve(20);
    story.commit(charge, 20, Body::Delivered).unwrap();
    assert_eq!(earned(&story), Some(30));
}

#[test]
fn threat_t5_what_takes_credit_away_counts_at_once_and_what_adds_it_when_final() {
    let requested = ChainState {
        close_requested_at: Some(NOW),
        ..state(100, 0)
    };
    let finalized = ChainState {
        finalized: true,
        ..state(100, 0)
    };
    let merge = ChainState::cautious;
    assert_eq!(
        merge(state(150, 0), state(100, 0)),
        state(100, 0),
        "a top-up waits"
    );
    assert_eq!(
        merge(state(50, 0), state(100, 0)),
        state(50, 0),
        "a reorged deposit does not"
    );
    assert_eq!(
        merge(state(100, 40), state(100, 0)),
        state(100, 0),
        "a settlement waits"
    );
    assert_eq!(
        merge(requested, state(100, 0)),
        requested,
        "a close request counts at once"
    );
    assert_eq!(
        merge(state(100, 0), requested),
        requested,
        "its cancellation waits"
    );
    assert_eq!(
        merge(finalized, state(100, 0)),
        finalized,
        "the end counts at once"
    );
    assert_eq!(
        merge(state(100, 0), finalized),
        finalized,
        "a lagging replica does not open it again"
    );
}

#[test]
fn ch_1_a_reorg_under_the_accepted_total_freezes_and_keeps_the_vouchers() {
    let mut story = Story::sold(80, 60);
    story.observe(state(79, 0), state(79, 0));
    assert_eq!(story.channel.standing(), Standing::Frozen);
    assert_eq!(story.pay(80, Some(1)), Err(Refusal::ChannelFrozen));
    assert_eq!(story.channel.best().unwrap().cumulative(), Cumulative::new(80));
    story.observe(state(80, 0), state(80, 0));
    assert_eq!(story.channel.standing(), Standing::Live);
}
