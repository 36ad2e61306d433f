//! What a restart must know, on disk: one directory per payer key, one JSON file per channel.
//!
//! A file is replaced whole: written beside its place, synced, renamed, and the directory synced. A voucher leaves
//! only after its total is in the file, and a transaction only after what it will do is (threats S2 and T6). Files are
//! readable by their owner alone; none of them holds a key, and none a voucher. What they hold signed is transactions, of
//! the channels and, under `payments`, for single answers: whoever reads one can send it, and change nothing in it.

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use weir_chain::Envelope;
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::{Amount, ChannelId, Cumulative, Domain, Leave, Terms};

/// Version of the files' format.
const FORMAT: u32 = 1;
const LOCK_FILE: &str = "lock";
const RECEIPTS_FILE: &str = "receipts.jsonl";
const PART_SUFFIX: &str = ".part";

/// Why the state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process pays with this key.
    #[error("the state in {0} is in use by another process")]
    InUse(PathBuf),
    /// The disk failed.
    #[error("the state file {path} cannot be used: {source}")]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what this version writes. It is left as it is: it may be worth a deposit.
    #[error(
        "the state file {0} cannot be read; move it away and use `recover` to find its channel on the chain"
    )]
    Broken(PathBuf),
}

/// How far a channel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Its open is about to be broadcast, or was.
    Opening,
    /// Its open is mined; the server has not acknowledged it yet.
    Mined,
    /// The server takes vouchers on it.
    Live,
    /// A close was asked for, from the server or on the chain: nothing is bought with it any more.
    Closing,
    /// Finalized on the chain.
    Closed,
}

/// A top-up that may or may not be mined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingTopUp {
    /// What it adds.
    pub amount: Amount,
    /// Its transaction, signed: it is sent as it is until it is mined or can never be.
    pub envelope: Envelope,
}

/// A deposit that was signed for and left to the server to pull. The signature is not kept: it is made again, the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftPull {
    /// How much.
    pub amount: Amount,
    /// The salt that goes with it.
    pub salt: B256,
    /// Until when, and by which nonce.
    pub leave: Leave,
    /// The EIP-712 domain separator that it is signed under.
    pub separator: B256,
}

/// Everything kept about one channel. Amounts are base units, spelled as decimal strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelRecord {
    /// Version of this format.
    pub format: u32,
    /// Its id.
    pub channel: ChannelId,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The escrow that holds the deposit.
    pub escrow: Address,
    /// Who pays whom, in which token.
    pub terms: Terms,
    /// The salt of its id; `None` when the channel was found on the chain.
    pub salt: Option<B256>,
    /// The server it was opened for: scheme, host and port.
    pub origin: Option<String>,
    /// How far it has come.
    pub stage: Stage,
    /// The newest block when it was planned: its open is in a later one.
    pub planned_at_block: u64,
    /// The signed transaction that is to open it, until it is mined.
    pub open_envelope: Option<Envelope>,
    /// The transaction that opened it, once known.
    pub open_hash: Option<B256>,
    /// The deposit: planned while opening, then as last seen on the chain.
    pub deposit: Cumulative,
    /// Highest total for which a signature may exist.
    pub signed: Cumulative,
    /// Most that the server may report as spent.
    pub agreed: Cumulative,
    /// Highest total that a receipt reported as spent.
    pub spent: Cumulative,
    /// The server overcharged, or the channel was found on the chain without its books: nothing is signed any more.
    pub stopped: bool,
    /// A top-up under way.
    pub pending_top_up: Option<PendingTopUp>,
    /// The opening deposit, while it is left to the server and not known to be locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_left: Option<LeftPull>,
    /// Whether the channel of such a deposit was seen on the chain.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_open_seen: bool,
    /// An addition that is left to the server, until it has come about or never can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_up_left: Option<LeftPull>,
}

impl ChannelRecord {
    /// The record of a channel that is about to be opened.
    pub fn planned(
        channel: ChannelId,
        chain_id: u64,
        escrow: Address,
        terms: Terms,
        deposit: Cumulative,
    ) -> Self {
        Self {
            format: FORMAT,
            channel,
            chain_id,
            escrow,
            terms,
            salt: None,
            origin: None,
            stage: Stage::Opening,
            planned_at_block: 0,
            open_envelope: None,
            open_hash: None,
            deposit,
            signed: Cumulative::ZERO,
            agreed: Cumulative::ZERO,
            spent: Cumulative::ZERO,
            stopped: false,
            pending_top_up: None,
            open_left: None,
            is_open_seen: false,
            top_up_left: None,
        }
    }

    /// Under which domain its vouchers are signed. The escrow there was checked before the channel was planned, and no
    /// other takes them.
    pub fn domain(&self) -> Domain {
        Domain::new(EVM_DOMAIN_NAME, self.chain_id, self.escrow)
    }

    /// Until when the server may still lock the opening deposit, in Unix seconds, while it is not known to be locked.
    pub fn deposit_open_until(&self) -> Option<u64> {
        let left = self.open_left.filter(|_| !self.is_open_seen);
        left.map(|left| left.leave.ends())
    }

    /// Its transactions that may or may not be mined.
    pub fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        let pending = self.pending_top_up.as_ref().map(|pending| &pending.envelope);
        self.open_envelope.iter().chain(pending)
    }

    /// True while something may be bought with it.
    pub fn is_usable(&self) -> bool {
        !self.stopped && matches!(self.stage, Stage::Opening | Stage::Mined | Stage::Live)
    }
}

/// The directory of one payer key, held by this process alone.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // Held, never read: the lock goes when the file is closed, however the process ends.
    _lock: File,
}

impl StateDir {
    /// Takes the directory of `payer` under `root`, which is made when it is missing.
    ///
    /// # Errors
    /// [`StateError::InUse`] when another process has it; [`StateError::Disk`].
    pub fn take(root: &Path, payer: Address) -> Result<Self, StateError> {
        let path = place(root, payer);
        make_directory(&path).map_err(disk(&path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = private()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(disk(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(path)),
            Err(TryLockError::Error(source)) => {
                return Err(StateError::Disk {
                    path: lock_path,
                    source,
                });
            }
        }
        Ok(Self { path, _lock: lock })
    }

    /// Whether `payer` has a directory under `root`. Nothing is made or taken.
    ///
    /// # Errors
    /// [`StateError::Disk`] when that cannot be told: what cannot be read may well be there.
    pub fn is_there(root: &Path, payer: Address) -> Result<bool, StateError> {
        let path = place(root, payer);
        path.try_exists().map_err(disk(&path))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all channels. What a crash left half written was never acted upon, and is removed.
    ///
    /// # Errors
    /// [`StateError`]; one broken file is an error, because it may stand for a deposit.
    pub fn load(&self) -> Result<Vec<ChannelRecord>, StateError> {
        read_all(&self.path, |path, bytes| {
            let record: Option<ChannelRecord> = serde_json::from_slice(bytes).ok();
            record.filter(|record| record.format == FORMAT && self.file_of(record.channel) == path)
        })
    }

    /// Writes a channel down. When this returns, it survives a power failure.
    ///
    /// # Errors
    /// [`StateError::Disk`]: the old or the new record is on disk, whole.
    pub fn save(&self, record: &ChannelRecord) -> Result<(), StateError> {
        self.note(record)?;
        sync_directory(&self.path).map_err(disk(&self.path))
    }

    /// Writes down what a receipt told. When this returns, it survives a crash of the process; a power failure may
    /// bring back the record before it, whole, which knows less and permits no more.
    ///
    /// # Errors
    /// [`StateError::Disk`]: the old or the new record is on disk, whole.
    pub fn note(&self, record: &ChannelRecord) -> Result<(), StateError> {
        replace(&self.file_of(record.channel), record)
    }

    /// Opens the log of acknowledged receipts.
    ///
    /// # Errors
    /// [`StateError::Disk`].
    pub fn receipts(&self) -> Result<ReceiptLog, StateError> {
        let path = self.path.join(RECEIPTS_FILE);
        let file = private()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(disk(&path))?;
        sync_directory(&self.path).map_err(disk(&self.path))?;
        Ok(ReceiptLog { path, file })
    }

    pub(crate) fn file_of(&self, channel: ChannelId) -> PathBuf {
        self.path.join(format!("{channel}.json"))
    }
}

/// An append-only file of receipts, one JSON object per line, each synced before it counts.
#[derive(Debug)]
pub struct ReceiptLog {
    path: PathBuf,
    file: File,
}

impl ReceiptLog {
    /// Appends one receipt, given as one line of JSON.
    ///
    /// # Errors
    /// [`StateError::Disk`].
    pub fn append(&mut self, json: &str) -> Result<(), StateError> {
        let line = format!("{json}\n");
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        written.map_err(disk(&self.path))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads all records of a directory by `read`. What a crash left half written was never acted upon, and is removed.
pub(crate) fn read_all<T>(
    directory: &Path,
    read: impl Fn(&Path, &[u8]) -> Option<T>,
) -> Result<Vec<T>, StateError> {
    let mut records = Vec::new();
    for entry in fs::read_dir(directory).map_err(disk(directory))? {
        let path = entry.map_err(disk(directory))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.ends_with(PART_SUFFIX) {
            fs::remove_file(&path).map_err(disk(&path))?;
        } else if name.ends_with(".json") {
            let bytes = fs::read(&path).map_err(disk(&path))?;
            records.push(read(&path, &bytes).ok_or_else(|| StateError::Broken(path.clone()))?);
        }
    }
    Ok(records)
}

/// Replaces a file whole. The directory is not synced.
pub(crate) fn replace(place: &Path, record: &impl Serialize) -> Result<(), StateError> {
    let part = place.with_extension(format!("json{PART_SUFFIX}"));
    write_part(&part, record).map_err(disk(&part))?;
    fs::rename(&part, place).map_err(disk(place))
}

pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Disk { path, source }
}

fn write_part(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let mut file = private().create(true).truncate(true).open(path)?;
    file.write_all(&serde_json::to_vec_pretty(record)?)?;
    file.sync_all()
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    options
}

#[cfg(unix)]
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

fn place(root: &Path, payer: Address) -> PathBuf {
    root.join(format!("{payer:#x}"))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
