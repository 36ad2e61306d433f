//! What every journal must do, whatever stands behind it. One function per promise; each panics when it is broken.
//!
//! A backend's tests call these with a function that opens the same store again and again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, shared with other packages"
)]

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{
    GROUP_ROWS_MAX, Health, Journal, KEY_BYTES_MAX, QUEUE_ROWS_MAX, Row, StoreFault, Table, VALUE_BYTES_MAX,
};

/// Opens the store under test; the same rows must be there the next time.
pub type Open<'a> = &'a dyn Fn() -> Arc<dyn Journal>;

fn put(journal: &dyn Journal, table: Table, key: &[u8], value: &[u8]) {
    let _kept = journal
        .submit(vec![Row::put(table, key, value)])
        .unwrap()
        .wait_with(())
        .unwrap();
}

/// A whole table, in the order the scan gives.
pub fn rows(journal: &dyn Journal, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    journal
        .scan(table, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// What was acknowledged is there after opening again; what was deleted is not. Identity stays.
pub fn reopen_sees_what_was_acknowledged(open: Open<'_>) {
    let journal = open();
    let identity = journal.identity();
    let before = journal.tally();
    put(journal.as_ref(), Table::Channels, b"kept", b"1");
    put(journal.as_ref(), Table::Channels, b"gone", b"2");
    put(journal.as_ref(), Table::Attempts, b"kept", b"3");
    let _kept = journal
        .submit(vec![Row::delete(Table::Channels, b"gone")])
        .unwrap()
        .wait_with(())
        .unwrap();
    let tally = journal.tally();
    assert_eq!((tally.groups - before.groups, tally.rows - before.rows), (4, 4));
    journal.close().unwrap();
    drop(journal);
    let journal = open();
    assert_eq!(
        rows(journal.as_ref(), Table::Channels),
        [(b"kept".to_vec(), b"1".to_vec())]
    );
    assert_eq!(journal.get(Table::Attempts, b"kept").unwrap().unwrap(), b"3");
    assert_eq!(journal.get(Table::Channels, b"gone").unwrap(), None);
    assert_eq!(journal.identity(), identity);
}

/// An empty submission resolves only after everything before it, and at once when there is nothing.
pub fn an_empty_submission_is_a_barrier(open: Open<'_>) {
    let journal = open();
    let _nothing_yet = journal.submit(Vec::new()).unwrap().wait_with(()).unwrap();
    for number in 0..500u32 {
        let row = Row::put(Table::Audit, number.to_be_bytes(), b"row");
        drop(journal.submit(vec![row]).unwrap());
    }
    let _barrier = journal.submit(Vec::new()).unwrap().wait_with(()).unwrap();
    drop(journal);
    assert_eq!(rows(open().as_ref(), Table::Audit).len(), 500);
}

/// When a ticket resolves, those of all earlier submissions are resolved too.
pub fn tickets_resolve_in_order(open: Open<'_>) {
    let journal = open();
    let submit = |number: u32| {
        journal
            .submit(vec![Row::put(Table::Audit, number.to_be_bytes(), vec![0; 600])])
            .unwrap()
    };
    // More than one group.
    let mut tickets: Vec<_> = (0..2000).map(submit).collect();
    let last = tickets.pop().unwrap();
    let _last = last.wait_with(()).unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for ticket in tickets {
        assert!(std::pin::pin!(ticket).poll(&mut context).is_ready());
    }
}

/// Of rows with the same key the last one counts, in one submission and over many.
pub fn the_last_row_of_a_key_counts(open: Open<'_>) {
    let journal = open();
    let row = |value: u32| Row::put(Table::Channels, b"key", value.to_be_bytes());
    drop(
        journal
            .submit(vec![row(1), Row::delete(Table::Channels, b"key"), row(2)])
            .unwrap(),
    );
    assert_eq!(
        journal.get(Table::Channels, b"key").unwrap().unwrap(),
        2u32.to_be_bytes()
    );
    for value in 3..2999 {
        drop(journal.submit(vec![row(value)]).unwrap());
    }
    let _last = journal.submit(vec![row(2999)]).unwrap().wait_with(()).unwrap();
    drop(journal);
    assert_eq!(
        open().get(Table::Channels, b"key").unwrap().unwrap(),
        2999u32.to_be_bytes()
    );
}

/// Reads see rows that are not durable yet, deletions too, and scans are in order.
pub fn reads_see_what_was_submitted(open: Open<'_>) {
    let journal = open();
    put(journal.as_ref(), Table::UsedCredentials, b"b", b"old");
    put(journal.as_ref(), Table::UsedCredentials, b"d", b"old");
    for round in 0..200u32 {
        let (given, removed) = if round % 2 == 0 {
            (b"a", b"d")
        } else {
            (b"d", b"a")
        };
        let value = round.to_be_bytes();
        drop(
            journal
                .submit(vec![
                    Row::put(Table::UsedCredentials, given, value),
                    Row::delete(Table::UsedCredentials, removed),
                ])
                .unwrap(),
        );
        assert_eq!(
            journal.get(Table::UsedCredentials, given).unwrap().unwrap(),
            value
        );
        assert_eq!(journal.get(Table::UsedCredentials, removed).unwrap(), None);
        let mut expected = vec![(given.to_vec(), value.to_vec()), (b"b".to_vec(), b"old".to_vec())];
        expected.sort();
        assert_eq!(rows(journal.as_ref(), Table::UsedCredentials), expected);
    }
    let mut seen = 0;
    let stop = &mut |_: &[u8], _: &[u8]| {
        seen += 1;
        ControlFlow::Break(())
    };
    journal.scan(Table::UsedCredentials, stop).unwrap();
    assert_eq!(seen, 1);
}

/// Tables don't see each other's rows, whatever the keys.
pub fn tables_are_apart(open: Open<'_>) {
    let journal = open();
    let keys: [&[u8]; 4] = [b"", &[0], &[255], &[Table::Audit as u8, 1]];
    for table in Table::ALL.into_iter().skip(1) {
        for key in keys {
            put(
                journal.as_ref(),
                table,
                key,
                format!("{table:?}{key:?}").as_bytes(),
            );
        }
    }
    for table in Table::ALL.into_iter().skip(1) {
        let mut expected = keys.map(|key| (key.to_vec(), format!("{table:?}{key:?}").into_bytes()));
        expected.sort();
        assert_eq!(rows(journal.as_ref(), table), expected);
    }
}

/// Too large, too many, or not the caller's: refused, and nothing of it written.
pub fn what_cannot_be_written_is_refused(open: Open<'_>) {
    let journal = open();
    let too_large = |rows| matches!(journal.submit(rows), Err(StoreFault::TooLarge { .. }));
    let good = Row::put(Table::Channels, b"good", b"");
    assert!(too_large(vec![
        good.clone(),
        Row::put(Table::Channels, vec![0; KEY_BYTES_MAX + 1], b"")
    ]));
    assert!(too_large(vec![
        good.clone(),
        Row::put(Table::Channels, b"k", vec![0; VALUE_BYTES_MAX + 1])
    ]));
    assert!(too_large(vec![good.clone(); GROUP_ROWS_MAX + 1]));
    assert!(too_large(vec![
        Row::put(
            Table::Channels,
            b"k",
            vec![0; VALUE_BYTES_MAX]
        );
        8
    ]));
    for key in ["format", "born", "id"] {
        let refused = journal.submit(vec![good.clone(), Row::delete(Table::Meta, key)]);
        assert!(matches!(refused, Err(StoreFault::Reserved { .. })));
    }
    assert_eq!(journal.get(Table::Channels, b"good").unwrap(), None);
    // At the limits all is well.
    put(
        journal.as_ref(),
        Table::Envelopes,
        &[7; KEY_BYTES_MAX],
        &[7; VALUE_BYTES_MAX],
    );
}

/// A queue that the disk can't keep up with says so, and takes rows again when it has drained.
pub fn a_full_queue_refuses_and_recovers(open: Open<'_>) {
    let journal = open();
    let mut full = None;
    for number in 0..100 * QUEUE_ROWS_MAX as u64 {
        match journal.submit(vec![Row::put(Table::Audit, number.to_be_bytes(), b"")]) {
            Ok(ticket) => drop(ticket),
            Err(fault) => {
                full = Some(fault);
                break;
            }
        }
    }
    let barrier = journal.submit(Vec::new()).unwrap();
    // A fast backend may keep up with one thread; then there is nothing to see here.
    assert!(matches!(full, Some(StoreFault::Full { .. }) | None), "{full:?}");
    let _drained = barrier.wait_with(()).unwrap();
    put(journal.as_ref(), Table::Audit, b"after", b"");
}

/// Closing writes what was taken, refuses what comes later, and can be repeated.
pub fn closing_drains(open: Open<'_>) {
    let journal = open();
    let ticket = journal
        .submit(vec![Row::put(Table::Channels, b"last", b"1")])
        .unwrap();
    journal.close().unwrap();
    let _kept = ticket.wait_with(()).unwrap();
    assert_eq!(journal.submit(Vec::new()).err(), Some(StoreFault::Closed));
    assert_eq!(journal.get(Table::Channels, b"last"), Err(StoreFault::Closed));
    assert_eq!(journal.health(), Health::Closed);
    journal.close().unwrap();
    assert_eq!(open().get(Table::Channels, b"last").unwrap().unwrap(), b"1");
}
