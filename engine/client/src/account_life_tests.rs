//! Random lives of an account before an honest server.

use super::tests::{account, amount, exact, free, total};
use super::*;
use proptest::prelude::*;

/// One event of a channel's life, on the payer's side and on a server's.
#[derive(Debug, Clone)]
enum Event {
    Ask(u64),
    Stream(u8, u64, bool),
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
        2 => (1u8..50, 1u64..20, any::<bool>())
            .prop_map(|(price, units, told)| Event::Stream(price, units, told)),
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

/// Charges for a request. What it authorised may be used up by a stream that was given up: then it is refused.
fn charge(account: &mut Account, server: &mut Server, (voucher, share): (Cumulative, &Share)) -> Outcome {
    let price = share.price;
    let strayed = account.strayed;
    let charged = server.charge(voucher, price).or_else(|required| {
        match account.concede(share, required, exact(price.base_units())) {
            Ok(conceded) => Ok(server
                .charge(conceded, price)
                .expect("the conceded total is enough")),
            Err(Held::Demand { .. }) if strayed => Err(()),
            Err(held) => panic!("an honest demand is within what was agreed: {held:?}"),
        }
    });
    charged.map_or(Outcome::Refused, Outcome::Charged)
}

const STREAM_MAX: u128 = 120;

/// Plays a whole stream, whose receipt may get lost; gives what was charged for it.
fn stream(account: &mut Account, server: &mut Server, (price, units, told): (u128, u64, bool)) -> u128 {
    let bounds = Bounds {
        step: amount(40),
        ahead_max: amount(40),
        stream_max: amount(STREAM_MAX),
        ..exact(price)
    };
    let before = server.spent;
    let Ok((mut share, voucher)) = account.agree(bounds, free) else {
        return 0;
    };
    let first = server.charge(voucher, share.price).or_else(|required| {
        let conceded = account.concede(&share, required, bounds).map_err(drop)?;
        server.charge(conceded, share.price).map_err(drop)
    });
    let widened = account.widen(&mut share, bounds, free);
    if first.is_err() || widened.is_err() {
        account.end(&share, Outcome::Unknown).unwrap();
        return server.spent - before;
    }
    for _ in 1..units {
        let more = server.charge(voucher, share.price).or_else(|required| {
            let next = account.extend(&mut share, required, bounds, free).map_err(drop)?;
            server.charge(next, share.price).map_err(drop)
        });
        if more.is_err() {
            break;
        }
    }
    let outcome = if told {
        Outcome::Charged(total(server.spent))
    } else {
        Outcome::Unknown
    };
    let cost = account
        .end(&share, outcome)
        .expect("an honest server is never accused");
    let charged = server.spent - before;
    assert!(charged <= cost.charged.base_units() + cost.uncertain.base_units());
    assert!(cost.charged.base_units() <= STREAM_MAX.max(price));
    charged
}

proptest! {
    #[test]
    fn pay_1_an_honest_server_is_paid_never_accused_and_never_over_authorised(events in events()) {
        let (mut account, mut server) = (account(u128::MAX), Server::default());
        let mut flying: Vec<(Cumulative, Share)> = Vec::new();
        // A stream is asked for one unit, which what is of unknown outcome may seem to cover, and takes what it needs.
        let (mut asked_total, mut streamed) = (0u128, 0u128);
        for event in events {
            match event {
                Event::Ask(price) => {
                    asked_total += u128::from(price);
                    let before = account.signed;
                    let (share, voucher) = account.agree(exact(price.into()), free).unwrap();
                    prop_assert!(voucher >= before, "a voucher never falls");
                    flying.push((voucher, share));
                }
                Event::Stream(price, units, told) if flying.is_empty() => {
                    let signed = account.signed.base_units();
                    let charged = stream(&mut account, &mut server, (price.into(), units, told));
                    prop_assert!(charged <= STREAM_MAX.max(price.into()), "{charged}");
                    streamed += (account.signed.base_units() - signed).max(price.into());
                }
                // One that comes beside requests is given up, but uses what it can before it is cut.
                Event::Stream(price, ..) => {
                    let signed = account.signed.base_units();
                    let (mut share, voucher) = account.agree(exact(price.into()), free).unwrap();
                    prop_assert_eq!(account.widen(&mut share, exact(price.into()), free), Err(Held::Streaming));
                    while server.charge(voucher, share.price).is_ok() {}
                    account.end(&share, Outcome::Unknown).unwrap();
                    prop_assert!(account.see_spent(total(server.spent)).is_ok());
                    streamed += (account.signed.base_units() - signed).max(price.into());
                }
                Event::Answer(which) if !flying.is_empty() => {
                    let (voucher, share) = flying.swap_remove(which % flying.len());
                    let outcome = charge(&mut account, &mut server, (voucher, &share));
                    prop_assert!(account.end(&share, outcome).is_ok());
                }
                Event::Refuse(which) if !flying.is_empty() => {
                    let (_, share) = flying.swap_remove(which % flying.len());
                    account.end(&share, Outcome::Refused).unwrap();
                }
                Event::LoseRequest(which) if !flying.is_empty() => {
                    let (_, share) = flying.swap_remove(which % flying.len());
                    account.end(&share, Outcome::Unknown).unwrap();
                }
                Event::LoseAnswer(which) if !flying.is_empty() => {
                    let (voucher, share) = flying.swap_remove(which % flying.len());
                    let _ = server.charge(voucher, share.price);
                    account.end(&share, Outcome::Unknown).unwrap();
                }
                Event::Restart => {
                    flying.clear();
                    let agreed = account.agreed.max(account.most());
                    account = Account::load(account.deposit, account.signed, agreed, account.spent);
                }
                _ => {}
            }
            prop_assert!(account.spent <= account.agreed);
            prop_assert!(account.signed.base_units() <= asked_total + streamed);
            prop_assert!(server.spent <= account.agreed.max(account.most()).base_units(), "what was charged was agreed");
        }
    }
}
