//! Lives of channels as generated data. Everything in an act is relative to the moment at which it is played, so a
//! shrunk life still means something.

use proptest::prelude::*;
use proptest::sample::Index;

/// Which total a voucher names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Total {
    Higher(u8),
    Equal,
    Lower(u8),
    /// One that was presented before, accepted or not.
    Replayed(Index),
    AllOfTheDeposit,
    OverTheDeposit(u8),
    /// A good voucher of the other channel.
    OfAnotherChannel(u8),
}

/// What is asked for, relative to what the payer can still buy for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Price {
    Units(u8),
    AllThatIsLeft,
    OneMoreThanIsLeft,
    Enormous,
}

/// Which charge is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pick {
    /// One in the phase that the input is for.
    Right(Index),
    /// One in the other phase.
    OtherPhase(Index),
    Ended(Index),
    Unknown(u8),
}

/// How much of a reservation is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Share {
    Nothing,
    Part(u8),
    All,
    TooMuch(u8),
}

/// What somebody sends who wants credit for nothing: each fails before it can reach a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Forgery {
    FlippedBit(u16),
    OtherParity,
    AnotherKey,
    AnotherChain,
    AnotherAmount,
    RelabelledNeighbour,
}

/// Which settled total a settlement is to set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AllCollectible,
    PartOfIt(u8),
    OneTooMuch,
    WhatIsSettled,
    BelowWhatIsSettled,
}

/// What happens on the chain. Most of it is seen first and final later.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Nothing,
    TopUp(u8),
    CloseRequested,
    CloseCancelled,
    /// The settlement under way is mined.
    Landed,
    /// The payee's key settles elsewhere.
    SettledElsewhere(u8),
    /// The payer takes the rest.
    Withdrawn,
    /// All that is not final never happened.
    Reorg,
    /// The newest block comes from a replica that lags behind the final one.
    LaggingReplica,
    /// Even what was final is gone.
    DeepReorg(u8),
}

/// One input, before it meets a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Pay {
        total: Total,
        lower_refused: bool,
        delta_min: u8,
        price: Option<Price>,
    },
    Forge {
        total: Total,
        how: Forgery,
    },
    Reserve(Price),
    Commit {
        pick: Pick,
        share: Share,
        on_its_way: bool,
    },
    Release(Pick),
    Finish(Pick),
    Credit(Pick),
    Recover,
    BeginClose(Option<Total>),
    BeginCapture {
        target: Target,
        closes: bool,
    },
    EndCapture,
    /// The transaction of a close of ours is known.
    ClosedBy,
    /// The books turn out to be a restored copy.
    Drain,
    Watch {
        event: Event,
        then_final: bool,
    },
}

/// An act, on one of the two channels, some seconds after the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) act: Act,
    pub(crate) on_neighbour: bool,
    pub(crate) seconds: u8,
}

/// How a channel was when it was adopted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    pub(crate) deposit: u8,
    /// In percent of the deposit.
    pub(crate) settled: u8,
    pub(crate) drain_only: bool,
}

/// Two channels side by side.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) births: [Birth; 2],
    pub(crate) moments: Vec<Moment>,
}

fn total() -> impl Strategy<Value = Total> {
    prop_oneof![
        14 => (1u8..40).prop_map(Total::Higher),
        5 => Just(Total::Equal),
        6 => (1u8..30).prop_map(Total::Lower),
        4 => any::<Index>().prop_map(Total::Replayed),
        2 => Just(Total::AllOfTheDeposit),
        2 => (1u8..9).prop_map(Total::OverTheDeposit),
        2 => (0u8..30).prop_map(Total::OfAnotherChannel),
    ]
}

fn price() -> impl Strategy<Value = Price> {
    prop_oneof![
        12 => (0u8..12).prop_map(Price::Units),
        3 => Just(Price::AllThatIsLeft),
        2 => Just(Price::OneMoreThanIsLeft),
        4 => Just(Price::Enormous),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        12 => any::<Index>().prop_map(Pick::Right),
        1 => any::<Index>().prop_map(Pick::OtherPhase),
        1 => any::<Index>().prop_map(Pick::Ended),
        1 => any::<u8>().prop_map(Pick::Unknown),
    ]
}

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![
        1 => Just(Share::Nothing),
        4 => (1u8..100).prop_map(Share::Part),
        8 => Just(Share::All),
        1 => (1u8..9).prop_map(Share::TooMuch),
    ]
}

fn forgery() -> impl Strategy<Value = Forgery> {
    prop_oneof![
        (0u16..512).prop_map(Forgery::FlippedBit),
        Just(Forgery::OtherParity),
        Just(Forgery::AnotherKey),
        Just(Forgery::AnotherChain),
        Just(Forgery::AnotherAmount),
        Just(Forgery::RelabelledNeighbour),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        8 => Just(Target::AllCollectible),
        3 => (1u8..100).prop_map(Target::PartOfIt),
        2 => Just(Target::OneTooMuch),
        1 => Just(Target::WhatIsSettled),
        1 => Just(Target::BelowWhatIsSettled),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Nothing),
        6 => (1u8..60).prop_map(Event::TopUp),
        1 => Just(Event::CloseRequested),
        3 => Just(Event::CloseCancelled),
        10 => Just(Event::Landed),
        1 => (1u8..12).prop_map(Event::SettledElsewhere),
        1 => Just(Event::Withdrawn),
        2 => Just(Event::Reorg),
        1 => Just(Event::LaggingReplica),
        1 => (1u8..60).prop_map(Event::DeepReorg),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let pay = (total(), any::<bool>(), 0u8..4, prop::option::of(price()));
    let commit = (pick(), share(), any::<bool>());
    prop_oneof![
        30 => pay.prop_map(|(total, lower_refused, delta_min, price)| {
            Act::Pay { total, lower_refused, delta_min, price }
        }),
        3 => (total(), forgery()).prop_map(|(total, how)| Act::Forge { total, how }),
        10 => price().prop_map(Act::Reserve),
        20 => commit.prop_map(|(pick, share, on_its_way)| Act::Commit { pick, share, on_its_way }),
        4 => pick().prop_map(Act::Release),
        5 => pick().prop_map(Act::Finish),
        5 => pick().prop_map(Act::Credit),
        1 => Just(Act::Recover),
        2 => prop::option::weighted(0.7, total()).prop_map(Act::BeginClose),
        8 => (target(), prop::bool::weighted(0.25))
            .prop_map(|(target, closes)| Act::BeginCapture { target, closes }),
        2 => Just(Act::EndCapture),
        2 => Just(Act::ClosedBy),
        1 => Just(Act::Drain),
        12 => (event(), prop::bool::weighted(0.7))
            .prop_map(|(event, then_final)| Act::Watch { event, then_final }),
    ]
}

fn birth() -> impl Strategy<Value = Birth> {
    let settled = prop_oneof![4 => Just(0u8), 1 => 1u8..=100];
    (30u8..200, settled, prop::bool::weighted(0.1)).prop_map(|(deposit, settled, drain_only)| Birth {
        deposit,
        settled,
        drain_only,
    })
}

pub(crate) fn life() -> impl Strategy<Value = Life> {
    let moment =
        (act(), prop::bool::weighted(0.1), 0u8..60).prop_map(|(act, on_neighbour, seconds)| Moment {
            act,
            on_neighbour,
            seconds,
        });
    let births = [birth(), birth()];
    // Thirty on average; no least number, so that a broken life shrinks to the few moments that break it.
    (births, prop::collection::vec(moment, 0..=60)).prop_map(|(births, moments)| Life { births, moments })
}
