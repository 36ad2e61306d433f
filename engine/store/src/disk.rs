//! The default journal: sled, with the syncs that sled leaves out.
//!
//! Read from the source of sled 0.34.7, and checked by the tests under a system call tracer:
//! - On Linux `flush` ends in `sync_file_range`, which flushes no device cache and commits no file size. So this
//!   module keeps its own handle on the data file and calls `fdatasync` on it after each `flush`, before any
//!   ticket resolves. Errors of write-back reach that handle too, whoever caused them.
//! - sled believes in its own syncs when it reuses segments: a segment is overwritten once the pages that were in
//!   it have been rewritten, and *one whole segment* has been filled after those. With `SEGMENT_BYTES` above what
//!   one group can write, a true sync always falls into that whole segment, and so comes before the reuse.
//! - What a group writes is not what it is given: a leaf is rewritten whole after some ten changes. Where values are
//!   long, each row counts as much as the longest (`Table::row_bytes_min`), so that a group touches few such leaves.
//! - Nodes above a quarter of a segment go to files in `blobs/` that are never synced. The limits on keys and
//!   values keep every node below that.
//! - The background flusher stays off: only the committer writes, and what it writes it syncs.
//! - Snapshots are written, synced and renamed on opening only; this module then syncs the files and directories.
//! - A new database is made under another name and renamed when complete: a power cut during the first start
//!   leaves nothing behind that can't be opened.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Why};
use crate::commit::{COMMIT_SECONDS_MAX, GroupCommit};
use crate::queue::Group;
use crate::row::address;
use crate::{
    Birth, GROUP_BYTES_MAX, Identity, Journal, KEY_BYTES_MAX, StoreFault, Table, VALUE_BYTES_MAX, Visit,
    files, identity,
};

const DATABASE: &str = "sled";
const DATABASE_CREATING: &str = "sled.creating";
const DATA_FILE: &str = "db";

const SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// sled's page cache: an upper bound, in 256 equal shards, each of which must hold the largest leaf.
const CACHE_BYTES: usize = 512 * 1024 * 1024;
/// sled keeps items below a quarter of a segment in the segment.
const NODE_BYTES_MAX: usize = SEGMENT_BYTES / 4 - 1024;
/// A leaf is split when it is next visited with more than 16 rows.
const LEAF_ROWS_MAX: usize = 17;
const LEAF_ROW_OVERHEAD_BYTES: usize = 64;
/// What sled writes per byte given, at the very worst of rewriting and cleaning leaves of ordinary rows.
const WRITE_AMPLIFICATION_MAX: usize = 20;
/// Rows of one group in tables of long values: each may be the one that has its leaf rewritten.
const HEAVY_ROWS_MAX: usize = GROUP_BYTES_MAX / VALUE_BYTES_MAX;

const _: () = {
    let leaf = LEAF_ROWS_MAX * (KEY_BYTES_MAX + VALUE_BYTES_MAX + LEAF_ROW_OVERHEAD_BYTES);
    assert!(leaf <= NODE_BYTES_MAX, "a leaf must stay in its segment");
    assert!(2 * leaf <= CACHE_BYTES / 256, "a leaf must fit a cache shard");
    assert!(
        GROUP_BYTES_MAX * WRITE_AMPLIFICATION_MAX <= SEGMENT_BYTES,
        "a sync must fall into every segment that is filled"
    );
    assert!(
        HEAVY_ROWS_MAX * leaf <= SEGMENT_BYTES,
        "and into every one that is filled with heavy leaves"
    );
};

/// How long to wait for sled's own lock: threads of a database closed in this process may hold it a little longer.
const REOPEN_LIMIT: Duration = Duration::from_secs(5);
const REOPEN_PAUSE: Duration = Duration::from_millis(5);

/// Opens the store in this directory, or makes one. The birth counts only when it is made. Blocks.
///
/// # Errors
/// `Locked` when another process has it open, `NewerFormat` when a newer program wrote it, `Damaged`, or `Disk`.
pub fn open(directory: &Path, birth: Birth) -> Result<Arc<dyn Journal>, StoreFault> {
    let (backend, identity) = open_backend(directory, birth)?;
    Ok(Arc::new(GroupCommit::start(
        backend,
        identity,
        Duration::from_secs(COMMIT_SECONDS_MAX),
    )?))
}

/// Opens the store with faults to come.
///
/// # Errors
/// As [`open`].
#[cfg(any(test, feature = "testing"))]
pub fn open_with_faults(
    directory: &Path,
    birth: Birth,
    plan: crate::faults::Plan,
) -> Result<Arc<dyn Journal>, StoreFault> {
    let (backend, identity) = open_backend(directory, birth)?;
    let stall = plan.stall();
    Ok(Arc::new(GroupCommit::start(plan.over(backend), identity, stall)?))
}

fn open_backend(directory: &Path, birth: Birth) -> Result<(SledBackend, Identity), StoreFault> {
    files::make_directory(directory)?;
    let lock = files::lock(directory)?;
    let database = directory.join(DATABASE);
    let is_there = database.try_exists();
    if !is_there.map_err(|error| StoreFault::disk(format!("looking for {}", database.display()), error))? {
        create(directory, &database, birth)?;
    }
    let backend = SledBackend::open(&database, Some(lock))?;
    let identity = identity::read(&backend)?.ok_or_else(|| StoreFault::Damaged {
        why: format!("{} has no meta rows", database.display()),
    })?;
    Ok((backend, identity))
}

fn create(directory: &Path, database: &Path, birth: Birth) -> Result<(), StoreFault> {
    let creating: PathBuf = directory.join(DATABASE_CREATING);
    // Left by a crash before the rename, so it never held an acknowledged row.
    files::remove_directory(&creating)?;
    files::make_directory(&creating)?;
    let backend = SledBackend::open(&creating, None)?;
    identity::write(&backend, birth)?;
    drop(backend);
    files::sync_files(&creating)?;
    files::rename_directory(&creating, database)
}

struct SledBackend {
    db: sled::Db,
    data: File,
    /// Released after the database is closed: fields are dropped in this order.
    _lock: Option<File>,
}

impl SledBackend {
    fn open(path: &Path, lock: Option<File>) -> Result<Self, StoreFault> {
        let opening = format!("opening the database {}", path.display());
        let started = Instant::now();
        let db = loop {
            let config = sled::Config::new()
                .path(path)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES as u64)
                .flush_every_ms(None);
            match config.open() {
                Ok(db) => break db,
                Err(error) if is_held(&error) && started.elapsed() < REOPEN_LIMIT => {
                    std::thread::sleep(REOPEN_PAUSE);
                }
                Err(error) => return Err(StoreFault::disk(opening, error)),
            }
        };
        let data = files::open(&path.join(DATA_FILE))?;
        files::sync_files(path)?;
        Ok(Self {
            db,
            data,
            _lock: lock,
        })
    }
}

/// Whether sled's own lock on its data file is taken; it has no error of its own for that.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

impl Backend for SledBackend {
    fn apply(&self, group: &Group) -> Result<(), Why> {
        let mut batch = sled::Batch::default();
        for (address, value) in group.rows() {
            match value {
                Some(value) => batch.insert(address, value),
                None => batch.remove(address),
            }
        }
        self.db.apply_batch(batch).map_err(|error| error.to_string())
    }

    fn sync(&self) -> Result<(), Why> {
        self.db.flush().map_err(|error| format!("flush: {error}"))?;
        self.data
            .sync_data()
            .map_err(|error| format!("fdatasync: {error}"))
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Why> {
        let value = self
            .db
            .get(address(table, key))
            .map_err(|error| error.to_string())?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), Why> {
        for row in self.db.scan_prefix([table.prefix()]) {
            let (address, value) = row.map_err(|error| error.to_string())?;
            if let ControlFlow::Break(()) = visit(&address[1..], &value) {
                break;
            }
        }
        Ok(())
    }
}
