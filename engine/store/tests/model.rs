//! Random operations against a plain map, with reopening and, in memory, power cuts.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use weir_store::{Birth, Journal, Row, Table, conformance, disk, memory};

const BIRTH: Birth = Birth {
    unix_seconds: 1,
    id: [5; 16],
};

#[derive(Clone, Debug)]
enum Step {
    Submit { rows: Vec<Row>, wait: bool },
    Barrier,
    Reopen,
    Crash,
}

fn row() -> impl Strategy<Value = Row> {
    let table = prop::sample::select(vec![Table::Channels, Table::UsedCredentials, Table::Audit]);
    let key = prop::collection::vec(0u8..4, 0..3);
    let value = prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..40));
    (table, key, value).prop_map(|(table, key, value)| Row { table, key, value })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (prop::collection::vec(row(), 1..6), any::<bool>())
            .prop_map(|(rows, wait)| Step::Submit { rows, wait }),
        3 => Just(Step::Barrier),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn apply(model: &mut Model, rows: &[Row]) {
    for row in rows {
        let key = (row.table, row.key.clone());
        match &row.value {
            Some(value) => model.insert(key, value.clone()),
            None => model.remove(&key),
        };
    }
}

fn contents(journal: &dyn Journal) -> Model {
    let tables = Table::ALL.into_iter().filter(|table| *table != Table::Meta);
    tables
        .flat_map(|table| {
            conformance::rows(journal, table)
                .into_iter()
                .map(move |(key, value)| ((table, key), value))
        })
        .collect()
}

/// `crash` gives the store as a power cut leaves it, or `None` when this backend can't tell.
fn run(
    steps: Vec<Step>,
    mut open: impl FnMut() -> Arc<dyn Journal>,
    mut crash: impl FnMut() -> bool,
) -> Result<(), TestCaseError> {
    // Every state since the last one known to be durable; the last is the current one.
    let mut states = vec![Model::new()];
    let mut journal = open();
    for step in steps {
        match step {
            Step::Submit { rows, wait } => {
                let mut next = states.last().unwrap().clone();
                apply(&mut next, &rows);
                states.push(next);
                let ticket = journal.submit(rows).unwrap();
                if wait {
                    let _kept = ticket.wait_with(()).unwrap();
                    states.drain(..states.len() - 1);
                }
            }
            Step::Barrier => {
                let _kept = journal.submit(Vec::new()).unwrap().wait_with(()).unwrap();
                states.drain(..states.len() - 1);
            }
            Step::Reopen => {
                journal.close().unwrap();
                journal = open();
                states.drain(..states.len() - 1);
            }
            Step::Crash => {
                if crash() {
                    journal = open();
                    // FIFO and atomic: exactly one of the states since the last durable one.
                    let found = contents(journal.as_ref());
                    prop_assert!(states.contains(&found), "{found:?} is none of {states:?}");
                    states = vec![found];
                }
            }
        }
        prop_assert_eq!(&contents(journal.as_ref()), states.last().unwrap());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_is_a_map_that_survives_power_cuts(steps in prop::collection::vec(step(), 1..60)) {
        let image = std::cell::RefCell::new(memory::Image::default());
        let crash = || {
            let crashed = image.borrow().crash();
            image.replace(crashed);
            true
        };
        run(steps, || memory::open(&image.borrow(), BIRTH).unwrap(), crash)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sled_is_a_map_that_survives_reopening(steps in prop::collection::vec(step(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        run(steps, || disk::open(directory.path(), BIRTH).unwrap(), || false)?;
    }
}
