//! Directories, locks and syncs: what stands around the database files.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::StoreFault;

const LOCK_FILE: &str = "LOCK";

/// Only the owner: vouchers are money to whoever holds them.
const DIRECTORY_MODE: u32 = 0o700;
const LOCK_FILE_MODE: u32 = 0o600;

fn fault(doing: &str, path: &Path) -> impl Fn(std::io::Error) -> StoreFault {
    let doing = format!("{doing} {}", path.display());
    move |error| StoreFault::disk(doing.clone(), error)
}

/// Makes a directory, and those above it, durable before anything is put into it.
pub(crate) fn make_directory(path: &Path) -> Result<(), StoreFault> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    make_directory(&parent)?;
    DirBuilder::new()
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(fault("creating directory", path))?;
    sync_directory(&parent)
}

/// The directory above; the working directory for a bare name.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreFault> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(fault("syncing directory", path))
}

/// Makes every file of a directory, and then their names, durable.
pub(crate) fn sync_files(path: &Path) -> Result<(), StoreFault> {
    for entry in path.read_dir().map_err(fault("listing", path))? {
        let entry = entry.map_err(fault("listing", path))?.path();
        if entry.is_dir() {
            sync_files(&entry)?;
        } else {
            File::open(&entry)
                .and_then(|file| file.sync_all())
                .map_err(fault("syncing", &entry))?;
        }
    }
    sync_directory(path)
}

/// Takes the lock of a store directory. It lasts as long as the returned file is open, and no longer than the
/// process: there is no stale lock to clean up.
pub(crate) fn lock(directory: &Path) -> Result<File, StoreFault> {
    let path = directory.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_FILE_MODE)
        .open(&path)
        .map_err(fault("opening", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Who holds the lock is only told, never relied on.
            let pid = file
                .read_to_string(&mut pid)
                .ok()
                .and_then(|_| pid.trim().parse().ok());
            return Err(StoreFault::Locked {
                path: directory.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(error)) => return Err(fault("locking", &path)(error)),
    }
    file.set_len(0).map_err(fault("truncating", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(fault("writing", &path))?;
    Ok(file)
}

/// Removes a half-made directory.
pub(crate) fn remove_directory(path: &Path) -> Result<(), StoreFault> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Gives a complete directory its name, durably.
pub(crate) fn rename_directory(from: &Path, to: &Path) -> Result<(), StoreFault> {
    std::fs::rename(from, to).map_err(fault("renaming", from))?;
    sync_directory(&parent(to))
}

/// Opens a file for syncing it.
pub(crate) fn open(path: &Path) -> Result<File, StoreFault> {
    File::open(path).map_err(fault("opening", path))
}
