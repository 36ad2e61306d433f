//! Books that are older than the chain, or than the channel, told as short stories (threat C7).
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use support::keys::Whose;
use support::story::{Story, state};
use weir_core::step::Body;
use weir_core::{Amount, ChainState, Cumulative, Input, Outcome, Refusal, Standing};

#[test]
fn threat_c7_a_channel_older_than_the_books_is_settled_but_never_charged() {
    let mut story = Story::of(state(100, 10), true);
    assert_eq!(story.pay(50, Some(1)), Err(Refusal::ChannelDrainOnly));
    assert_eq!(
        story.tell(Input::Reserve { price: Amount::ZERO }),
        Err(Refusal::ChannelDrainOnly)
    );
    story.observe(state(100, 40), state(100, 40));
    assert_eq!(
        story.channel.standing(),
        Standing::DrainOnly,
        "it follows the chain, it is not frozen"
    );
    assert_eq!(story.channel.spent(), Cumulative::new(40));
    assert_eq!(story.capture(40, true), Ok(Outcome::Done));
}

#[test]
fn threat_c7_a_settlement_that_the_books_never_decided_ends_the_sale() {
    let unaccounted = |settled| {
        Ok(Outcome::Unaccounted {
            settled: Cumulative::new(settled),
        })
    };
    let look = |story: &mut Story, seen: ChainState, last_final: ChainState| {
        story.tell(Input::Observe { seen, last_final })
    };
    // A copy of the books from when eighty were accepted and sixty spent, and nothing was captured.
    let mut story = Story::sold(80, 60);
    assert_eq!(look(&mut story, state(100, 50), state(100, 0)), unaccounted(50));
    assert_eq!(story.pay(80, Some(1)), Err(Refusal::ChannelDrainOnly));
    assert_eq!(
        look(&mut story, state(100, 50), state(100, 50)),
        Ok(Outcome::Done),
        "told once"
    );
    assert_eq!(
        story.channel.collectible(),
        Cumulative::new(60),
        "what is known to be earned still is"
    );
    assert_eq!(
        look(&mut story, state(100, 90), state(100, 90)),
        Ok(Outcome::Done)
    );
    assert_eq!(
        (
            story.channel.standing(),
            story.channel.spent(),
            story.channel.accepted()
        ),
        (Standing::DrainOnly, Cumulative::new(90), Cumulative::new(90)),
        "it follows the chain, it is not frozen"
    );

    // What these books decided is no surprise, even if they let it go meanwhile.
    let mut story = Story::sold(80, 60);
    story.capture(60, false).unwrap();
    story.tell(Input::EndCapture).unwrap();
    assert_eq!(look(&mut story, state(100, 60), state(100, 0)), Ok(Outcome::Done));
    assert_eq!(story.channel.standing(), Standing::Live);
}

#[test]
fn threat_c7_the_payers_own_close_voucher_is_honoured_where_the_books_do_not_know() {
    let mut story = Story::of(state(100, 10), true);
    let voucher = Some(story.mint.proven(Whose::Ours, 70));
    story.tell(Input::BeginClose { voucher }).unwrap();
    assert_eq!(story.channel.collectible(), Cumulative::new(70));
    assert_eq!(
        story.capture(71, true),
        Err(Refusal::NotCollectible {
            collectible: Cumulative::new(70)
        })
    );
    assert_eq!(story.capture(70, true), Ok(Outcome::Done));

    // Where the books know what was delivered, they say what is collected.
    let mut story = Story::sold(80, 60);
    let voucher = Some(story.mint.proven(Whose::Ours, 90));
    story.tell(Input::BeginClose { voucher }).unwrap();
    assert_eq!(story.channel.collectible(), Cumulative::new(60));
}

#[test]
fn a_reservation_under_way_when_the_books_turn_out_old_stays_covered() {
    let mut story = Story::sold(80, 60);
    let racing = story.reserve(20);
    story.tell(Input::Drain).unwrap();
    story.observe(state(100, 90), state(100, 90));
    story.commit(racing, 20, Body::Delivered).unwrap();
    assert_eq!(story.channel.net_spent(), Cumulative::new(90));
    assert_eq!(story.channel.available(), Amount::ZERO);
}
