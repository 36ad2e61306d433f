//! What was tried, and what came of it: counted, printed, and held to what should be reachable.

use std::collections::BTreeMap;
use weir_core::{Outcome, Refusal};

/// Steps by action and outcome.
#[derive(Default)]
pub(crate) struct Table {
    cells: BTreeMap<(&'static str, String), u64>,
    steps: u64,
    accepted: u64,
}

/// A short name of an answer: its variant, without its figures.
fn name(answer: &Result<Outcome, Refusal>) -> String {
    let long = match answer {
        Ok(outcome) => format!("{outcome:?}"),
        Err(refusal) => format!("no: {refusal:?}"),
    };
    let end = long.find(['(', '{']).unwrap_or(long.len());
    long[..end].trim_end().to_owned()
}

impl Table {
    pub(crate) fn count(&mut self, row: &'static str, answer: &Result<Outcome, Refusal>) {
        *self.cells.entry((row, name(answer))).or_default() += 1;
        self.steps += 1;
        self.accepted += u64::from(answer.is_ok());
    }

    #[allow(clippy::print_stdout, reason = "a test run shows what it tried")]
    pub(crate) fn print(&self) {
        println!("{:<28}{:<26}{:>9}", "action", "outcome", "steps");
        let mut last = "";
        for ((row, outcome), count) in &self.cells {
            let shown = if *row == last { "" } else { row };
            println!("{shown:<28}{outcome:<26}{count:>9}");
            last = row;
        }
        println!("{} of {} steps were accepted", self.accepted, self.steps);
    }

    /// Every reachable cell was hit often enough, no other one was hit at all, and enough steps were accepted.
    pub(crate) fn hold_to(&self, reachable: &[(&str, &[&str])], hits_min: u64) {
        for (row, outcomes) in reachable {
            for outcome in *outcomes {
                let cell = self.cells.iter().find(|((r, o), _)| r == row && o == outcome);
                let hits = cell.map_or(0, |(_, count)| *count);
                assert!(
                    hits >= hits_min,
                    "{row} → {outcome}: hit {hits} times, {hits_min} are the least"
                );
            }
        }
        for (row, outcome) in self.cells.keys() {
            let listed = reachable
                .iter()
                .any(|(r, outcomes)| r == row && outcomes.contains(&outcome.as_str()));
            assert!(listed, "{row} → {outcome}: not among what is reachable");
        }
        let percent = 100 * self.accepted / self.steps.max(1);
        assert!(percent >= 30, "only {percent} % of the steps were accepted");
    }
}
