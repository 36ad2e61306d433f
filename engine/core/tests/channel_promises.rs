//! CH-1, CH-2, CH-3, CH-5 (the core's half), CH-6 and TX-1 over random lives of a channel beside a hostile neighbour.
//!
//! Every step is foretold by a second set of books (`support/ledger.rs`), and every promise is checked after it.
//! `WEIR_PROPTEST_CASES` sets the number of lives.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use std::cell::RefCell;
use support::keys::{Mint, Whose};
use support::ledger::Ledger;
use support::life::{Birth, Life, life};
use support::reachable::REACHABLE;
use support::resolve::{Played, Presented, Resolver};
use support::table::Table;
use weir_core::planner::{Policy, plan};
use weir_core::{
    Amount, Capture, ChainState, Channel, ChargePhase, Cumulative, Input, Refusal, Standing, UnixSeconds,
    step,
};

/// Lives that one run plays.
const CASES: u32 = 25_000;
/// Times that a reachable cell must be hit in so many lives.
const HITS_MIN: u64 = 50;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/channel_promises.regressions");

type Checked = Result<(), TestCaseError>;

/// One channel, its second set of books, and what was shown to it.
struct Pair {
    whose: Whose,
    channel: Channel,
    ledger: Ledger,
    presented: Presented,
}

impl Pair {
    fn born(mint: &Mint, whose: Whose, birth: Birth) -> Self {
        let deposit = u128::from(birth.deposit);
        let state = ChainState {
            deposit: Cumulative::new(deposit),
            settled: Cumulative::new(deposit * u128::from(birth.settled) / 100),
            close_requested_at: None,
            finalized: false,
        };
        let id = mint.id(whose);
        Self {
            whose,
            channel: Channel::adopt(id, mint.terms(whose), state, birth.drain_only),
            ledger: Ledger::adopt(id, state, birth.drain_only),
            presented: Vec::new(),
        }
    }

    /// Plays one input and holds the channel to its promises.
    fn play(&mut self, mint: &mut Mint, input: Input, now: UnixSeconds) -> Result<Answer, TestCaseError> {
        let foretold = self.ledger.foretell(&input);
        let before = self.channel.clone();
        let answer = step(&self.channel, input, now);
        prop_assert_eq!(
            &answer.as_ref().map(|step| step.outcome).map_err(|no| *no),
            &foretold,
            "answer to {:?}",
            input
        );
        let Ok(step) = answer else {
            // Nothing changed, so every promise holds as it held before.
            prop_assert_eq!(&self.channel, &before, "a refusal changes nothing");
            return Ok(foretold);
        };
        let begins = matches!(input, Input::BeginCapture(_));
        prop_assert!(
            !begins || self.ledger.alive.is_none(),
            "TX-1: a second settlement began"
        );
        self.channel = step.channel;
        self.ledger.write_down(&input, step.outcome, now);
        self.totals_only_rise(&before, &input)?;
        self.books_agree()?;
        self.promises_hold(mint)?;
        self.plans_are_allowed(now)?;
        self.survives_the_store()?;
        Ok(foretold)
    }

    fn totals_only_rise(&self, before: &Channel, input: &Input) -> Checked {
        prop_assert!(self.channel.spent() >= before.spent(), "spent fell");
        prop_assert!(self.channel.accepted() >= before.accepted(), "accepted fell");
        prop_assert!(self.channel.credited() >= before.credited(), "credited fell");
        prop_assert!(
            before.closing().is_none() || self.channel.closing() == before.closing(),
            "a close was undone"
        );
        if !matches!(input, Input::Observe { .. }) {
            let earned = |channel: &Channel| channel.earned_voucher().map(|voucher| voucher.cumulative());
            prop_assert!(
                earned(&self.channel) >= earned(before),
                "an earned voucher was lost"
            );
            prop_assert!(
                self.channel.collectible() >= before.collectible(),
                "what was earned was lost"
            );
        }
        Ok(())
    }

    /// Every figure of the channel is the sum of what happened to it.
    fn books_agree(&self) -> Checked {
        let (channel, ledger) = (&self.channel, &self.ledger);
        let chain = ledger.chain();
        let settled = chain.settled.base_units();
        prop_assert_eq!(channel.accepted().base_units(), ledger.accepted(), "accepted");
        prop_assert_eq!(channel.spent().base_units(), ledger.spent(), "spent");
        prop_assert_eq!(channel.credited().base_units(), ledger.credited(), "credited");
        prop_assert_eq!(channel.net_spent().base_units(), ledger.net(), "spent − credited");
        prop_assert_eq!(
            channel.reserved().base_units(),
            ledger.open_in(ChargePhase::Reserved),
            "reserved"
        );
        let left = ledger.accepted().checked_sub(ledger.committed());
        prop_assert_eq!(Some(channel.available().base_units()), left, "available");
        prop_assert_eq!(
            channel.collectible().base_units(),
            ledger.collectible(),
            "collectible"
        );
        let waiting = ledger.collectible().saturating_sub(settled);
        prop_assert_eq!(channel.uncollected().base_units(), waiting, "uncollected");
        prop_assert_eq!(
            channel.uncollected_since(),
            ledger.waiting_since,
            "since when it waits"
        );
        prop_assert_eq!(channel.chain(), &chain, "the chain");
        prop_assert_eq!(channel.standing(), ledger.standing(), "standing");
        prop_assert_eq!(channel.closing(), ledger.closing.as_ref(), "closing");
        prop_assert_eq!(
            channel.capture(),
            ledger.alive.as_ref(),
            "TX-1: the settlement under way"
        );
        prop_assert_eq!(
            channel.charges().to_vec(),
            ledger.charges_open(),
            "CH-6: open charges"
        );
        let earned = if ledger.authorised() <= ledger.collectible() && !ledger.vouchers.is_empty() {
            Some(ledger.authorised())
        } else {
            ledger.earned.filter(|total| *total <= ledger.collectible())
        };
        let kept = channel
            .earned_voucher()
            .map(|voucher| voucher.cumulative().base_units());
        prop_assert_eq!(kept, earned, "the earned voucher");
        Ok(())
    }

    fn promises_hold(&self, mint: &mut Mint) -> Checked {
        let (channel, ledger) = (&self.channel, &self.ledger);
        // CH-1. Its two exceptions are standings in which nothing is sold.
        let covered =
            channel.chain().settled <= channel.accepted() && channel.accepted() <= channel.chain().deposit;
        let stopped = matches!(channel.standing(), Standing::Frozen | Standing::Finalized);
        prop_assert!(covered || stopped, "CH-1");
        // CH-2, without exception: a drain-only channel follows the chain with both totals, a frozen one keeps its.
        prop_assert!(ledger.committed() <= channel.accepted().base_units(), "CH-2");
        // CH-3. A target is a total, so what all captures collected together is at most the highest target.
        for (capture, pays) in &ledger.captures {
            prop_assert!(
                !pays || capture.target.base_units() <= ledger.net(),
                "CH-3: {:?}",
                capture
            );
        }
        // CH-5, the core's half: what may be collected is covered by a voucher that the escrow takes.
        let best = channel
            .best()
            .map_or(0, |voucher| voucher.cumulative().base_units());
        prop_assert_eq!(best, ledger.authorised(), "CH-5: the highest voucher is kept");
        prop_assert!(
            ledger.accepted() == ledger.followed() || best == ledger.accepted(),
            "CH-5"
        );
        prop_assert!(
            channel.collectible().base_units() <= best,
            "CH-5: collectible is authorised"
        );
        prop_assert!(
            channel.collectible() <= channel.chain().deposit,
            "CH-5: collectible is on deposit"
        );
        self.the_best_voucher_collects_everything()?;
        for voucher in channel.best().into_iter().chain(channel.earned_voucher()) {
            prop_assert!(
                mint.proves_again(self.whose, voucher),
                "CH-5: a kept voucher proves"
            );
            let accepted = (voucher.cumulative().base_units(), *voucher.signature());
            prop_assert!(
                ledger.vouchers.contains(&accepted),
                "CH-5: a kept voucher was accepted"
            );
        }
        // CH-6
        for charge in &ledger.charges {
            let open = channel.charges().iter().any(|open| open.id.0 == charge.id);
            prop_assert_eq!(charge.endings(), usize::from(!open), "CH-6: {:?}", charge);
        }
        Ok(())
    }

    /// CH-5: with the highest voucher and a capture, the escrow takes a settlement of all that is collectible. It
    /// takes a row whose capture is above what is settled, and neither above its cumulative nor above the deposit.
    fn the_best_voucher_collects_everything(&self) -> Checked {
        let (channel, chain) = (&self.channel, self.ledger.chain());
        let capture = channel.collectible();
        if capture <= chain.settled || chain.finalized {
            return Ok(());
        }
        let row = channel.best().map(|voucher| voucher.cumulative());
        prop_assert!(
            row.is_some_and(|cumulative| capture <= cumulative) && capture <= chain.deposit,
            "CH-5: {:?} is collectible, but not by {:?}",
            capture,
            row
        );
        if let Some(earned) = channel.earned_voucher() {
            prop_assert!(
                earned.cumulative() <= capture,
                "CH-5: a call without capture would take more than was earned"
            );
        }
        Ok(())
    }

    /// Whatever the planner proposes, the transition allows.
    fn plans_are_allowed(&self, now: UnixSeconds) -> Checked {
        let greedy = Policy {
            value_max: Amount::ZERO,
            age_max_seconds: 0,
            value_min: Amount::ZERO,
        };
        for plan in plan([&self.channel], &greedy, now) {
            let capture = Capture {
                target: plan.target,
                closes: plan.closes,
            };
            let allowed = step(&self.channel, Input::BeginCapture(capture), now).map(|step| step.outcome);
            prop_assert!(allowed.is_ok(), "{:?} was planned: {:?}", plan, allowed);
        }
        Ok(())
    }

    fn survives_the_store(&self) -> Checked {
        let json = serde_json::to_vec(&self.channel).unwrap();
        prop_assert_eq!(
            &serde_json::from_slice::<Channel>(&json).unwrap(),
            &self.channel,
            "JSON"
        );
        let packed = postcard::to_stdvec(&self.channel).unwrap();
        prop_assert_eq!(
            &postcard::from_bytes::<Channel>(&packed).unwrap(),
            &self.channel,
            "postcard"
        );
        Ok(())
    }
}

type Answer = Result<weir_core::Outcome, Refusal>;

/// A forged voucher is refused by its signature, whatever total it names (threat V1).
fn forged(
    mint: &Mint,
    whose: Whose,
    voucher: weir_core::Voucher<weir_core::Claimed>,
) -> Result<Answer, TestCaseError> {
    let refused = mint.prove(whose, voucher).map(|_| ());
    prop_assert!(
        matches!(refused, Err(Refusal::InvalidSignature | Refusal::SignerMismatch)),
        "a forged voucher: {:?}",
        refused
    );
    Ok(Err(refused.unwrap_err()))
}

fn live(life: &Life, mint: &mut Mint, table: &mut Table) -> Checked {
    let mut now = UnixSeconds(1_700_000_000);
    let mut ours = Pair::born(mint, Whose::Ours, life.births[0]);
    let mut neighbours = Pair::born(mint, Whose::Neighbours, life.births[1]);
    for moment in &life.moments {
        now = now.after(moment.seconds.into());
        let pair = if moment.on_neighbour {
            &mut neighbours
        } else {
            &mut ours
        };
        let mut resolver = Resolver {
            mint,
            whose: pair.whose,
            ledger: &pair.ledger,
            presented: &mut pair.presented,
            now,
        };
        let (row, answer) = match resolver.play(moment.act) {
            Played::Forged(voucher) => ("forged voucher", forged(mint, pair.whose, voucher)?),
            Played::Input(row, input) => (row, pair.play(mint, input, now)?),
        };
        table.count(row, &answer);
    }
    for pair in [&mut ours, &mut neighbours] {
        pair.play(mint, Input::Recover, now)?.unwrap();
        for charge in &pair.ledger.charges {
            prop_assert_eq!(charge.endings(), 1, "CH-6: in the end, {:?}", charge);
        }
    }
    Ok(())
}

#[test]
fn ch_1_to_ch_6_hold_over_random_lives() {
    let cases = std::env::var("WEIR_PROPTEST_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..Config::default()
    });
    let (mint, table) = (RefCell::new(Mint::new()), RefCell::new(Table::default()));
    let verdict = runner.run(&life(), |life| {
        live(&life, &mut mint.borrow_mut(), &mut table.borrow_mut())
    });
    if let Err(TestError::Fail(why, life)) = &verdict {
        let moments: Vec<String> = life
            .moments
            .iter()
            .map(|moment| format!("  {moment:?}\n"))
            .collect();
        panic!("{why}\n  {:?}\n{}", life.births, moments.concat());
    }
    verdict.unwrap();
    let table = table.into_inner();
    table.print();
    table.hold_to(REACHABLE, HITS_MIN * u64::from(cases) / u64::from(CASES));
}
