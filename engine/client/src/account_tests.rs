use super::*;

pub(super) fn total(units: u128) -> Cumulative {
    Cumulative::new(units)
}

pub(super) fn amount(units: u128) -> Amount {
    Amount::new(units)
}

/// A price, with vouchers as exact as can be and no limit on streams.
pub(super) fn exact(price: u128) -> Bounds {
    Bounds {
        price: amount(price),
        step: Amount::ZERO,
        ahead_max: Amount::ZERO,
        stream_max: amount(u128::MAX),
    }
}

pub(super) fn free(_: Amount) -> Result<(), LimitExceeded> {
    Ok(())
}

pub(super) fn account(deposit: u128) -> Account {
    Account::load(total(deposit), total(0), total(0), total(0))
}

fn over(offered: u128, limit: u128) -> Held {
    Held::Limit(LimitExceeded::Stream {
        offered: amount(offered),
        limit: amount(limit),
    })
}

#[test]
fn each_request_in_flight_signs_the_next_total() {
    let mut account = account(100);
    let (one, signed) = account.agree(exact(10), free).unwrap();
    assert_eq!(signed, total(10));
    let (two, signed) = account.agree(exact(10), free).unwrap();
    assert_eq!(signed, total(20));
    // Answers in the other order.
    let cost = account.end(&two, Outcome::Charged(total(20))).unwrap();
    assert_eq!((cost.charged, cost.units), (amount(10), 1));
    let cost = account.end(&one, Outcome::Charged(total(10))).unwrap();
    assert_eq!((cost.charged, cost.earlier), (amount(10), Amount::ZERO));
    assert_eq!(account.agree(exact(10), free).unwrap().1, total(30));
    assert_eq!(account.agree(exact(71), free), Err(Held::Deposit(total(101))));
    assert_eq!(account.agreed, total(30));
}

#[test]
fn a_refused_request_is_not_owed_and_its_voucher_serves_the_next() {
    let mut account = account(100);
    let (share, _) = account.agree(exact(10), free).unwrap();
    assert_eq!(account.end(&share, Outcome::Refused), Ok(Cost::default()));
    assert_eq!((account.signed, account.agreed), (total(10), total(0)));
    assert_eq!(account.agree(exact(10), free).unwrap().1, total(10));
}

#[test]
fn an_unknown_outcome_is_conceded_only_when_the_server_says_it_was_charged() {
    let mut account = account(100);
    let (lost, _) = account.agree(exact(10), free).unwrap();
    let cost = account.end(&lost, Outcome::Unknown).unwrap();
    assert_eq!((cost.charged, cost.uncertain), (Amount::ZERO, amount(10)));
    let (share, signed) = account.agree(exact(10), free).unwrap();
    assert_eq!(signed, total(10));
    assert_eq!(account.concede(&share, total(20), exact(10)), Ok(total(20)));
    let demand = Held::Demand {
        required: total(21),
        agreed: total(20),
    };
    assert_eq!(account.concede(&share, total(21), exact(10)), Err(demand));
    let cost = account.end(&share, Outcome::Charged(total(20))).unwrap();
    assert_eq!((cost.charged, cost.earlier), (amount(10), amount(10)));
    assert_eq!(account.agree(exact(10), free).unwrap().1, total(30));
}

#[test]
fn more_spent_than_agreed_stops_the_channel() {
    let mut account = account(100);
    let steps = Bounds {
        step: amount(50),
        ahead_max: amount(50),
        ..exact(10)
    };
    let (share, signed) = account.agree(steps, free).unwrap();
    assert_eq!(signed, total(50));
    assert_eq!(account.end(&share, Outcome::Charged(total(11))), Err(total(10)));
    assert_eq!(account.agree(steps, free), Err(Held::Stopped));
    assert_eq!(account.concede(&share, total(10), steps), Err(Held::Stopped));
}

#[test]
fn larger_steps_are_taken_only_as_far_ahead_as_the_payer_allows() {
    let mut account = account(100);
    let steps = |ahead| Bounds {
        step: amount(50),
        ahead_max: amount(ahead),
        ..exact(10)
    };
    let over = LimitExceeded::Ahead {
        offered: amount(40),
        limit: amount(39),
    };
    assert_eq!(account.agree(steps(39), free), Err(Held::Limit(over)));
    for _ in 0..5 {
        assert_eq!(account.agree(steps(40), free).unwrap().1, total(50));
    }
    assert_eq!(account.agree(steps(40), free).unwrap().1, total(100));
}

#[test]
fn what_was_credited_is_not_owed_once_everything_is_answered() {
    let mut account = account(100);
    let (first, _) = account.agree(exact(10), free).unwrap();
    account.end(&first, Outcome::Charged(total(10))).unwrap();
    let (second, _) = account.agree(exact(10), free).unwrap();
    // The first was credited, so the second cost nothing more.
    let cost = account.end(&second, Outcome::Charged(total(10))).unwrap();
    assert_eq!((cost.charged, account.agreed), (Amount::ZERO, total(10)));
    assert_eq!(account.agree(exact(10), free).unwrap().1, total(20));
}

#[test]
fn a_restart_takes_unconfirmed_requests_as_unknown() {
    let mut account = Account::load(total(100), total(40), total(30), total(20));
    let (share, signed) = account.agree(exact(10), free).unwrap();
    assert_eq!((signed, account.agreed), (total(40), total(40)));
    assert_eq!(account.concede(&share, total(40), exact(10)), Ok(total(40)));
}

#[test]
fn a_stream_agrees_to_all_that_it_may_use_and_to_no_more_than_its_limit() {
    let mut account = account(1000);
    let bounds = Bounds {
        step: amount(100),
        ahead_max: amount(100),
        stream_max: amount(250),
        ..exact(10)
    };
    let (mut share, signed) = account.agree(bounds, free).unwrap();
    assert_eq!((signed, account.agreed), (total(100), total(10)));
    account.widen(&mut share, bounds, free).unwrap();
    assert_eq!((share.reach, account.agreed), (amount(100), total(100)));
    // What is authorised already needs no new voucher.
    assert_eq!(
        account.extend(&mut share, total(100), bounds, free),
        Ok(total(100))
    );
    assert_eq!(
        account.extend(&mut share, total(110), bounds, free),
        Ok(total(200))
    );
    // A whole step more would pass the limit, although what is asked for would not.
    let before = account.clone();
    assert_eq!(
        account.extend(&mut share, total(210), bounds, free),
        Err(over(300, 250))
    );
    assert_eq!(account, before);
    let cost = account.end(&share, Outcome::Charged(total(160))).unwrap();
    assert_eq!((cost.charged, cost.units), (amount(160), 16));
    assert_eq!((account.agreed, account.signed), (total(160), total(200)));
    // A second stream on the channel may use the rest at once, and agrees to it.
    let (mut share, signed) = account.agree(bounds, free).unwrap();
    assert_eq!(signed, total(200));
    account.widen(&mut share, bounds, free).unwrap();
    assert_eq!((share.reach, account.agreed), (amount(40), total(200)));
    assert!(account.end(&share, Outcome::Charged(total(200))).is_ok());
}

#[test]
fn pay_1_no_request_signs_a_voucher_by_which_a_stream_could_pass_its_limit() {
    let mut account = account(1000);
    let bounds = Bounds {
        step: amount(100),
        ahead_max: amount(100),
        stream_max: amount(99),
        ..exact(10)
    };
    // A first voucher of a whole step, and one that concedes what was lost.
    assert_eq!(account.agree(bounds, free), Err(over(100, 99)));
    assert_eq!(account.signed, total(0));
    let (lost, _) = account.agree(exact(10), free).unwrap();
    account.end(&lost, Outcome::Unknown).unwrap();
    let (share, _) = account.agree(exact(10), free).unwrap();
    assert_eq!(account.concede(&share, total(20), bounds), Err(over(100, 99)));
    assert_eq!(account.signed, total(10));
    // Each request may buy the unit that it asked for, whatever streams may cost.
    let none = Bounds {
        stream_max: Amount::ZERO,
        ..exact(10)
    };
    assert_eq!(account.concede(&share, total(20), none), Ok(total(20)));
}

#[test]
fn pay_1_what_was_signed_earlier_is_no_more_than_a_stream_may_cost_either() {
    // An earlier run allowed more: 300 are signed and 100 spent.
    let mut account = Account::load(total(1000), total(300), total(100), total(100));
    let bounds = Bounds {
        stream_max: amount(150),
        ..exact(10)
    };
    let (mut share, signed) = account.agree(bounds, free).unwrap();
    assert_eq!(signed, total(300), "nothing new is signed");
    assert_eq!(account.widen(&mut share, bounds, free), Err(over(200, 150)));
    assert_eq!(account.agreed, total(110));
}

#[test]
fn nothing_is_bought_beside_a_stream_which_would_use_it() {
    let mut account = account(1000);
    let (mut share, _) = account.agree(exact(10), free).unwrap();
    account.widen(&mut share, exact(10), free).unwrap();
    assert_eq!(account.agree(exact(10), free), Err(Held::Streaming));
    assert_eq!(
        account.extend(&mut share, total(20), exact(10), free),
        Ok(total(20))
    );
    account.end(&share, Outcome::Charged(total(20))).unwrap();
    assert_eq!(account.agree(exact(10), free).unwrap().1, total(30));
}

#[test]
fn pay_3_a_stream_that_came_beside_a_request_and_was_given_up_makes_nobody_a_cheat() {
    let stray = || {
        let mut account = account(1000);
        let step = Bounds {
            step: amount(100),
            ahead_max: amount(100),
            ..exact(10)
        };
        let (plain, _) = account.agree(step, free).unwrap();
        let (mut stream, signed) = account.agree(step, free).unwrap();
        assert_eq!((signed, account.agreed), (total(100), total(20)));
        assert_eq!(account.widen(&mut stream, step, free), Err(Held::Streaming));
        account.end(&stream, Outcome::Unknown).unwrap();
        (account, plain)
    };
    // It used all that is signed before it was cut, and the other request found nothing left.
    let (mut account, plain) = stray();
    account.see_spent(total(100)).unwrap();
    account.end(&plain, Outcome::Refused).unwrap();
    assert_eq!((account.spent, account.agreed), (total(100), total(100)));
    assert_eq!(account.agree(exact(10), free).unwrap().1, total(110));
    // A cheat is one that claims more than is signed.
    let (mut account, _) = stray();
    assert_eq!(account.see_spent(total(101)), Err(total(100)));
    assert!(account.stopped);
}

#[test]
fn pay_1_an_absurd_demand_is_no_reason_to_sign() {
    let bounds = Bounds {
        ahead_max: amount(5),
        ..exact(10)
    };
    let start = || {
        let mut account = account(u128::MAX);
        let (mut share, _) = account.agree(bounds, free).unwrap();
        account.widen(&mut share, bounds, free).unwrap();
        (account, share)
    };
    let (mut account, mut share) = start();
    assert_eq!(account.extend(&mut share, total(25), bounds, free), Ok(total(25)));
    for required in [41, 1000, u128::MAX] {
        let before = account.clone();
        let no = account.extend(&mut share, total(required), bounds, free);
        let ahead = LimitExceeded::Ahead {
            offered: amount(required - 35),
            limit: amount(5),
        };
        assert_eq!(no, Err(Held::Limit(ahead)));
        assert_eq!(account, before);
    }
}

#[test]
fn a_run_is_claimed_before_anything_changes() {
    let no = LimitExceeded::Total {
        offered: amount(20),
        limit: amount(19),
    };
    let mut account = account(1000);
    let before = account.clone();
    assert_eq!(account.agree(exact(20), |_| Err(no)), Err(Held::Limit(no)));
    assert_eq!(account, before);
    let (mut share, _) = account.agree(exact(10), free).unwrap();
    let before = (account.clone(), share);
    let claim = |grown| {
        assert_eq!(grown, amount(10));
        Err(no)
    };
    assert_eq!(
        account.extend(&mut share, total(20), exact(10), claim),
        Err(Held::Limit(no))
    );
    assert_eq!((account, share), before);
}

#[test]
fn a_stream_that_broke_off_leaves_unknown_only_what_no_receipt_accounts_for() {
    let mut account = account(1000);
    let bounds = Bounds {
        step: amount(100),
        ahead_max: amount(100),
        ..exact(10)
    };
    let (mut share, _) = account.agree(bounds, free).unwrap();
    account.widen(&mut share, bounds, free).unwrap();
    account.see_spent(total(40)).unwrap();
    let cost = account.end(&share, Outcome::Unknown).unwrap();
    assert_eq!((cost.charged, cost.units), (amount(40), 4));
    assert_eq!(cost.uncertain, amount(60));
    // The next request's receipt tells that 20 more were charged before it.
    let (share, signed) = account.agree(exact(10), free).unwrap();
    assert_eq!(signed, total(100));
    let cost = account.end(&share, Outcome::Charged(total(70))).unwrap();
    assert_eq!((cost.charged, cost.earlier), (amount(10), amount(20)));
    let reloaded = Account::load(account.deposit, account.signed, account.agreed, account.spent);
    assert_eq!(reloaded, account);
}
