use super::*;
use proptest::prelude::*;

const EXACT: Steps = Steps {
    least: Amount::ZERO,
    ahead_max: Amount::ZERO,
};

fn total(units: u128) -> Cumulative {
    Cumulative::new(units)
}

fn account(deposit: u128) -> Account {
    Account::load(total(deposit), total(0), total(0), total(0))
}

#[test]
fn each_request_in_flight_signs_the_next_total() {
    let mut account = account(100);
    let price = Amount::new(10);
    assert_eq!(account.agree(price, EXACT), Ok(total(10)));
    assert_eq!(account.agree(price, EXACT), Ok(total(20)));
    // Answers in the other order.
    assert_eq!(account.end(price, Outcome::Charged(total(20))), Ok(()));
    assert_eq!(account.end(price, Outcome::Charged(total(10))), Ok(()));
    assert_eq!(account.agree(price, EXACT), Ok(total(30)));
    assert_eq!(
        account.agree(Amount::new(71), EXACT),
        Err(Held::Deposit(total(101)))
    );
    assert_eq!(account.agreed, total(30));
}

#[test]
fn a_refused_request_is_not_owed_and_its_voucher_serves_the_next() {
    let mut account = account(100);
    assert_eq!(account.agree(Amount::new(10), EXACT), Ok(total(10)));
    account.end(Amount::new(10), Outcome::Refused).unwrap();
    assert_eq!((account.signed, account.agreed), (total(10), total(0)));
    assert_eq!(account.agree(Amount::new(10), EXACT), Ok(total(10)));
}

#[test]
fn an_unknown_outcome_is_conceded_only_when_the_server_says_it_was_charged() {
    let mut account = account(100);
    account.agree(Amount::new(10), EXACT).unwrap();
    account.end(Amount::new(10), Outcome::Unknown).unwrap();
    assert_eq!(account.agree(Amount::new(10), EXACT), Ok(total(10)));
    assert_eq!(account.concede(total(20), EXACT), Ok(total(20)));
    let demand = Held::Demand {
        required: total(21),
        agreed: total(20),
    };
    assert_eq!(account.concede(total(21), EXACT), Err(demand));
    account.end(Amount::new(10), Outcome::Charged(total(20))).unwrap();
    assert_eq!(account.agree(Amount::new(10), EXACT), Ok(total(30)));
}

#[test]
fn more_spent_than_agreed_stops_the_channel() {
    let mut account = account(100);
    let steps = Steps {
        least: Amount::new(50),
        ahead_max: Amount::new(50),
    };
    assert_eq!(account.agree(Amount::new(10), steps), Ok(total(50)));
    assert_eq!(
        account.end(Amount::new(10), Outcome::Charged(total(11))),
        Err(total(10))
    );
    assert_eq!(account.agree(Amount::new(10), steps), Err(Held::Stopped));
    assert_eq!(account.concede(total(10), steps), Err(Held::Stopped));
}

#[test]
fn larger_steps_are_taken_only_as_far_ahead_as_the_payer_allows() {
    let mut account = account(100);
    let steps = |ahead| Steps {
        least: Amount::new(50),
        ahead_max: Amount::new(ahead),
    };
    let over = LimitExceeded::Ahead {
        offered: Amount::new(40),
        limit: Amount::new(39),
    };
    assert_eq!(account.agree(Amount::new(10), steps(39)), Err(Held::Limit(over)));
    for _ in 0..5 {
        assert_eq!(account.agree(Amount::new(10), steps(40)), Ok(total(50)));
    }
    assert_eq!(account.agree(Amount::new(10), steps(40)), Ok(total(100)));
}

#[test]
fn what_was_credited_is_not_owed_once_everything_is_answered() {
    let mut account = account(100);
    account.agree(Amount::new(10), EXACT).unwrap();
    account.end(Amount::new(10), Outcome::Charged(total(10))).unwrap();
    account.agree(Amount::new(10), EXACT).unwrap();
    // The first was credited, so the second cost nothing more.
    account.end(Amount::new(10), Outcome::Charged(total(10))).unwrap();
    assert_eq!(account.agreed, total(10));
    assert_eq!(account.agree(Amount::new(10), EXACT), Ok(total(20)));
}

#[test]
fn a_restart_takes_unconfirmed_requests_as_unknown() {
    let mut account = Account::load(total(100), total(40), total(30), total(20));
    assert_eq!(account.agree(Amount::new(10), EXACT), Ok(total(40)));
    assert_eq!(account.agreed, total(40));
    assert_eq!(account.concede(total(40), EXACT), Ok(total(40)));
}

#[test]
fn a_stream_agrees_to_all_that_it_may_use() {
    let mut account = account(1000);
    let steps = Steps {
        least: Amount::new(100),
        ahead_max: Amount::new(100),
    };
    assert_eq!(
        account.stream(total(1), Amount::new(150), steps),
        Ok((total(100), Amount::new(100)))
    );
    assert_eq!(
        account.stream(total(100), Amount::new(50), steps),
        Ok((total(100), Amount::ZERO))
    );
    let over = LimitExceeded::Stream {
        offered: Amount::new(100),
        limit: Amount::new(50),
    };
    assert_eq!(
        account.stream(total(101), Amount::new(50), steps),
        Err(Held::Limit(over))
    );
    account
        .end(Amount::new(100), Outcome::Charged(total(60)))
        .unwrap();
    assert_eq!((account.agreed, account.signed), (total(60), total(100)));
}

/// One event of a channel's life, on the payer's side and on a server's.
#[derive(Debug, Clone)]
enum Event {
    Ask(u64),
    Answer(usize),
    Refuse(usize),
    LoseRequest(usize),
    LoseAnswer(usize),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1u64..50).prop_map(Event::Ask),
        4 => any::<usize>().prop_map(Event::Answer),
        1 => any::<usize>().prop_map(Event::Refuse),
        1 => any::<usize>().prop_map(Event::LoseRequest),
        1 => any::<usize>().prop_map(Event::LoseAnswer),
        1 => Just(Event::Restart),
    ];
    proptest::collection::vec(event, 0..80)
}

/// An honest server: it keeps the highest voucher and charges only what that covers.
#[derive(Default)]
struct Server {
    accepted: u128,
    spent: u128,
}

impl Server {
    /// `Err` is the total that it would need.
    fn charge(&mut self, voucher: Cumulative, price: Amount) -> Result<Cumulative, Cumulative> {
        self.accepted = self.accepted.max(voucher.base_units());
        let required = self.spent + price.base_units();
        if required > self.accepted {
            return Err(total(required));
        }
        self.spent = required;
        Ok(total(required))
    }
}

fn charge(account: &mut Account, server: &mut Server, voucher: Cumulative, price: Amount) -> Cumulative {
    server.charge(voucher, price).unwrap_or_else(|required| {
        let conceded = account
            .concede(required, EXACT)
            .expect("an honest demand is within what was agreed");
        server
            .charge(conceded, price)
            .expect("the conceded total is enough")
    })
}

proptest! {
    #[test]
    fn an_honest_server_is_always_paid_never_accused_and_never_over_authorised(events in events()) {
        let (mut account, mut server) = (account(u128::MAX), Server::default());
        let mut flying: Vec<(Cumulative, Amount)> = Vec::new();
        let mut asked_total = 0u128;
        for event in events {
            match event {
                Event::Ask(price) => {
                    let price = Amount::new(price.into());
                    asked_total += price.base_units();
                    let before = account.signed;
                    let voucher = account.agree(price, EXACT).unwrap();
                    prop_assert!(voucher >= before, "a voucher never falls");
                    flying.push((voucher, price));
                }
                Event::Answer(which) if !flying.is_empty() => {
                    let (voucher, price) = flying.swap_remove(which % flying.len());
                    let spent = charge(&mut account, &mut server, voucher, price);
                    prop_assert_eq!(account.end(price, Outcome::Charged(spent)), Ok(()));
                }
                Event::Refuse(which) if !flying.is_empty() => {
                    let (_, price) = flying.swap_remove(which % flying.len());
                    account.end(price, Outcome::Refused).unwrap();
                }
                Event::LoseRequest(which) if !flying.is_empty() => {
                    let (_, price) = flying.swap_remove(which % flying.len());
                    account.end(price, Outcome::Unknown).unwrap();
                }
                Event::LoseAnswer(which) if !flying.is_empty() => {
                    let (voucher, price) = flying.swap_remove(which % flying.len());
                    let _ = server.charge(voucher, price);
                    account.end(price, Outcome::Unknown).unwrap();
                }
                Event::Restart => {
                    flying.clear();
                    account = Account::load(account.deposit, account.signed, account.agreed, account.spent);
                }
                _ => {}
            }
            prop_assert!(account.spent <= account.agreed);
            prop_assert!(account.signed.base_units() <= asked_total);
            prop_assert!(server.spent <= account.agreed.base_units(), "what was charged was agreed");
        }
    }
}
