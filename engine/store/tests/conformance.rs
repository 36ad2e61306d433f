//! The conformance suite over each backend, and what is special to one of them.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;
use std::sync::Arc;

use weir_store::{Birth, Journal, StoreFault, conformance, disk, memory};

const BIRTH: Birth = Birth {
    unix_seconds: 1_700_000_000,
    id: [9; 16],
};

fn on_disk(case: impl Fn(conformance::Open<'_>)) {
    let directory = tempfile::tempdir().unwrap();
    case(&|| disk::open(directory.path(), BIRTH).unwrap());
    let blobs = directory.path().join("sled/blobs");
    assert_eq!(
        blobs.read_dir().unwrap().count(),
        0,
        "sled wrote a file that is never synced"
    );
}

fn in_memory(case: impl Fn(conformance::Open<'_>)) {
    let image = memory::Image::default();
    case(&|| memory::open(&image, BIRTH).unwrap());
}

macro_rules! suite {
    ($($case:ident),* $(,)?) => {
        mod sled { $(#[test] fn $case() { super::on_disk(|open| weir_store::conformance::$case(open)) })* }
        mod memory_map { $(#[test] fn $case() { super::in_memory(|open| weir_store::conformance::$case(open)) })* }
    };
}

suite!(
    reopen_sees_what_was_acknowledged,
    an_empty_submission_is_a_barrier,
    tickets_resolve_in_order,
    the_last_row_of_a_key_counts,
    reads_see_what_was_submitted,
    tables_are_apart,
    what_cannot_be_written_is_refused,
    a_full_queue_refuses_and_recovers,
    closing_drains,
);

#[test]
fn the_largest_rows_stay_out_of_blob_files() {
    use weir_store::{KEY_BYTES_MAX, Row, Table, VALUE_BYTES_MAX};
    on_disk(|open| {
        let journal = open();
        for round in 0..3u8 {
            for number in 0..40u16 {
                let mut key = vec![0xee; KEY_BYTES_MAX - 2];
                key.extend(number.to_be_bytes());
                let row = Row::put(Table::Envelopes, key, vec![round; VALUE_BYTES_MAX]);
                drop(journal.submit(vec![row]).unwrap());
            }
        }
        journal.close().unwrap();
        assert_eq!(conformance::rows(open().as_ref(), Table::Envelopes).len(), 40);
    });
}

#[test]
fn a_store_in_use_is_locked_and_says_by_whom() {
    let directory = tempfile::tempdir().unwrap();
    let journal = disk::open(directory.path(), BIRTH).unwrap();
    let refused = disk::open(directory.path(), BIRTH).err().unwrap();
    let expected = StoreFault::Locked {
        path: directory.path().to_owned(),
        pid: Some(std::process::id()),
    };
    assert_eq!(refused, expected);
    assert!(refused.to_string().contains(&std::process::id().to_string()));
    drop(journal);
    // The file stays, the lock does not.
    assert!(directory.path().join("LOCK").exists());
    disk::open(directory.path(), BIRTH).unwrap().close().unwrap();
}

#[test]
fn new_directories_are_for_the_owner_alone_and_the_birth_stays() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    let open = |birth| -> Arc<dyn Journal> { disk::open(&directory, birth).unwrap() };
    open(BIRTH).close().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("sled")), 0o700);
    let later = Birth {
        unix_seconds: 1_800_000_000,
        id: [1; 16],
    };
    assert_eq!(open(later).identity().birth, BIRTH);
}

#[test]
fn a_first_start_that_was_cut_short_is_started_over() {
    let directory = tempfile::tempdir().unwrap();
    let half_made = directory.path().join("sled.creating");
    std::fs::create_dir(&half_made).unwrap();
    std::fs::write(half_made.join("conf"), b"torn").unwrap();
    disk::open(directory.path(), BIRTH).unwrap().close().unwrap();
    assert!(!half_made.exists());
}

#[test]
fn a_database_without_identity_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("sled")).unwrap();
    assert!(matches!(
        disk::open(directory.path(), BIRTH),
        Err(StoreFault::Damaged { .. })
    ));
}
