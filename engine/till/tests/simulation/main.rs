//! A seeded simulation of the till: payers, a settler and a watcher over a modelled chain, through crashes, failed
//! syncs, reorganisations and a chain that does not answer, on virtual time.
//!
//! `WEIR_SIM_SEEDS=1000 cargo test -p weir-till --test simulation` tells a thousand stories per test,
//! `WEIR_SIM_SEED=17 cargo test -p weir-till --test simulation` the one of that seed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod acts;
mod chain;
mod disk;
mod ending;
mod ledger;
mod life;
mod operator;
mod passing;
mod payer;
mod random;
#[path = "../support/mod.rs"]
mod support;

use life::{Simulation, Story, Told};

/// The start of every story, in seconds since 1970.
const NOW: u64 = 1_700_000_000;
/// Stories per test, unless `WEIR_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 40;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")),
    )
}

fn tell(story: Story) {
    let seeds = match number("WEIR_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEIR_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut total = Told::default();
    for seed in seeds {
        match Simulation::new(seed, story).run() {
            Ok(told) => {
                total.restarts += told.restarts;
                total.purchases += told.purchases;
                total.envelopes += told.envelopes;
            }
            Err(broken) => panic!(
                "seed {seed}: {broken}\nagain: WEIR_SIM_SEED={seed} cargo test -p weir-till --test simulation"
            ),
        }
    }
    eprintln!("{total:?}");
}

#[test]
fn ch_1_to_ch_6_hold_over_crashes_and_failed_syncs() {
    tell(Story {
        crash_per_mille: 30,
        reorg_percent: 10,
        age_max_seconds: 30,
    });
}

#[test]
fn tx_1_one_attempt_lives_over_reorganisations_and_restarts() {
    tell(Story {
        crash_per_mille: 10,
        reorg_percent: 30,
        age_max_seconds: 1,
    });
}
