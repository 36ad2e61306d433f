//! S3: no acknowledgement without durability, whatever fails.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_store::faults::{Fault, Place, Plan};
use weir_store::{Birth, Durable, Health, Journal, Row, StoreFault, Table, disk, memory};

const BIRTH: Birth = Birth {
    unix_seconds: 1,
    id: [3; 16],
};
const WAITERS: u32 = 64;

fn row(number: u32) -> Vec<Row> {
    // A charge and its credential: together or not at all.
    vec![
        Row::put(Table::Channels, number.to_be_bytes(), vec![1; 100]),
        Row::put(Table::UsedCredentials, number.to_be_bytes(), vec![2; 100]),
    ]
}

/// Each of many threads submits and waits; gives those that were acknowledged, and the faults of the others.
fn load(journal: &dyn Journal) -> (Vec<u32>, Vec<StoreFault>) {
    let outcomes: Vec<Result<Durable<u32>, StoreFault>> = std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS)
            .map(|number| scope.spawn(move || journal.submit(row(number))?.wait_with(number)))
            .collect();
        waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect()
    });
    let (acknowledged, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let acknowledged = acknowledged
        .into_iter()
        .map(|kept| kept.unwrap().into_inner())
        .collect();
    (acknowledged, failed.into_iter().map(Result::unwrap_err).collect())
}

fn check_poisoned(journal: &dyn Journal) {
    let poisoned = |fault: Option<StoreFault>| matches!(fault, Some(StoreFault::Poisoned { .. }));
    assert!(matches!(journal.health(), Health::Poisoned { .. }));
    assert!(poisoned(journal.submit(row(1000)).err()));
    assert!(
        poisoned(journal.submit(Vec::new()).err()),
        "a barrier must not pass a poisoned store"
    );
    assert!(poisoned(journal.get(Table::Channels, b"").err()));
    assert!(poisoned(
        journal
            .scan(Table::Channels, &mut |_, _| std::ops::ControlFlow::Continue(()))
            .err()
    ));
    assert!(poisoned(journal.close().err()));
}

fn check_kept(journal: &dyn Journal, acknowledged: &[u32]) {
    for number in 0..WAITERS {
        let charge = journal.get(Table::Channels, &number.to_be_bytes()).unwrap();
        let credential = journal
            .get(Table::UsedCredentials, &number.to_be_bytes())
            .unwrap();
        assert_eq!(
            charge.is_some(),
            credential.is_some(),
            "half a submission at {number}"
        );
        assert!(
            charge.is_some() || !acknowledged.contains(&number),
            "{number} was acknowledged and is lost"
        );
    }
}

#[test]
fn threat_s3_no_ack_without_durable() {
    for place in [Place::Apply, Place::Sync] {
        for fault in [Fault::Fail, Fault::Panic] {
            for call in 1..=4 {
                let image = memory::Image::default();
                // The first group of a new image is its identity.
                let plan = Plan::at(place, call + 1, fault);
                let journal = memory::open_with_faults(&image, BIRTH, plan.clone()).unwrap();
                let (mut acknowledged, mut failed) = load(journal.as_ref());
                while failed.is_empty() {
                    let more = load(journal.as_ref());
                    acknowledged.extend(more.0);
                    failed = more.1;
                }
                assert!(
                    failed
                        .iter()
                        .all(|fault| matches!(fault, StoreFault::Poisoned { .. }))
                );
                check_poisoned(journal.as_ref());
                assert_eq!(
                    plan.calls(place),
                    call + 1,
                    "nothing reaches the disk after the fault"
                );
                // A power cut right now.
                let after = memory::open(&image.crash(), BIRTH).unwrap();
                check_kept(after.as_ref(), &acknowledged);
            }
        }
    }
}

#[test]
fn threat_s3_no_ack_without_durable_on_sled() {
    for (place, fault) in [
        (Place::Apply, Fault::Fail),
        (Place::Sync, Fault::Fail),
        (Place::Sync, Fault::Panic),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let plan = Plan::at(place, 2, fault);
        let journal = disk::open_with_faults(directory.path(), BIRTH, plan).unwrap();
        let mut acknowledged = Vec::new();
        loop {
            let (kept, failed) = load(journal.as_ref());
            acknowledged.extend(kept);
            if !failed.is_empty() {
                break;
            }
        }
        check_poisoned(journal.as_ref());
        drop(journal);
        check_kept(
            disk::open(directory.path(), BIRTH).unwrap().as_ref(),
            &acknowledged,
        );
    }
}

#[test]
fn a_disk_that_hangs_poisons_and_a_late_answer_changes_nothing() {
    let hang = Duration::from_millis(600);
    let plan = Plan::at(Place::Sync, 2, Fault::Hang(hang)).with_stall(Duration::from_millis(100));
    let journal = memory::open_with_faults(&memory::Image::default(), BIRTH, plan).unwrap();
    let started = Instant::now();
    let ticket = journal.submit(row(1)).unwrap();
    assert!(matches!(ticket.wait_with(()), Err(StoreFault::Poisoned { .. })));
    assert!(
        started.elapsed() < hang,
        "waiters are told before the disk comes back"
    );
    std::thread::sleep(hang);
    check_poisoned(journal.as_ref());
}

#[test]
fn many_waiters_share_a_sync() {
    let plan = Plan::at(Place::Sync, 2, Fault::Hang(Duration::from_millis(200)));
    let journal: Arc<dyn Journal> =
        memory::open_with_faults(&memory::Image::default(), BIRTH, plan.clone()).unwrap();
    let (acknowledged, failed) = load(journal.as_ref());
    assert_eq!((acknowledged.len(), failed.len()), (WAITERS as usize, 0));
    // Identity, the first group, and the one that gathered while it hung (two, should a thread start very late).
    assert!(plan.calls(Place::Sync) <= 4, "{} syncs", plan.calls(Place::Sync));
}

#[tokio::test]
async fn a_ticket_wakes_its_task_and_a_dropped_one_takes_nothing_back() {
    let journal = memory::open(&memory::Image::default(), BIRTH).unwrap();
    drop(journal.submit(row(1)).unwrap());
    let kept = journal.submit(row(2)).unwrap().with(2u32).await.unwrap();
    assert_eq!(kept.map(|number| number + 1).into_inner(), 3);
    assert!(
        journal
            .get(Table::Channels, &1u32.to_be_bytes())
            .unwrap()
            .is_some()
    );
}
