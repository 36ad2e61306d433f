//! Payments under way: one file each, from before they leave until their answer has been read.

use crate::error::Error;
use crate::http::{Request, place};
use crate::limits::LimitExceeded;
use crate::purse::brief;
use crate::state::{StateDir, StateError, disk, make_directory, read_all, replace, sync_directory};
use crate::ticket::RunTotal;
use alloy::primitives::{Address, B256, keccak256};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as BriefMutex};
use weir_chain::SignedTempo;
use weir_core::Amount;
use weir_protocol::Challenge;

/// Version of the files' format.
pub(crate) const PAYMENT_FORMAT: u32 = 1;
/// Their directory, in that of the payer.
const PAYMENTS: &str = "payments";

/// A payment whose answer has not been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRecord {
    /// Version of this format.
    pub format: u32,
    /// What was asked for: keccak256 of the method, the URL and the body.
    pub request: B256,
    /// Where, as it may be shown.
    pub place: String,
    /// The challenge that it answers.
    pub challenge: Challenge,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
    /// Who is paid.
    pub recipient: Address,
    /// How much, in base units.
    pub amount: Amount,
    /// The payer broadcasts it, and tells the server its hash.
    pub is_pushed: bool,
    /// What pays.
    pub transaction: SignedTempo,
}

/// What a payment is for: the same request again is the same.
pub(crate) fn fingerprint(request: &Request) -> B256 {
    let parts = [
        request.method.as_str().as_bytes(),
        request.url.as_str().as_bytes(),
    ];
    keccak256([parts.map(keccak256).concat(), keccak256(&request.body).to_vec()].concat())
}

/// Where a request goes, as it may be written down.
pub(crate) fn shown(request: &Request) -> String {
    place(&request.url)
}

/// A payment on disk, and whether this run's total counts it.
#[derive(Debug, Clone)]
struct Kept {
    record: PaymentRecord,
    is_claimed: bool,
}

/// The payments of one payer.
#[derive(Debug)]
pub(crate) struct Payments {
    state: Arc<StateDir>,
    run: Arc<RunTotal>,
    /// Those that no request is at work with.
    idle: BriefMutex<Vec<Kept>>,
}

impl Payments {
    /// Those that earlier runs left: their totals counted them, this one's does not yet.
    pub(crate) fn new(records: Vec<PaymentRecord>, state: Arc<StateDir>, run: Arc<RunTotal>) -> Arc<Self> {
        let kept = |record| Kept {
            record,
            is_claimed: false,
        };
        let idle = BriefMutex::new(records.into_iter().map(kept).collect());
        Arc::new(Self { state, run, idle })
    }

    /// Those that no request is at work with.
    pub(crate) fn idle(&self) -> Vec<PaymentRecord> {
        brief(&self.idle).iter().map(|kept| kept.record.clone()).collect()
    }

    /// A payment that was made for this request, and whose answer was not read.
    pub(crate) fn take(self: &Arc<Self>, request: B256) -> Option<Payment> {
        let mut idle = brief(&self.idle);
        let at = idle.iter().position(|kept| kept.record.request == request)?;
        let kept = idle.swap_remove(at);
        Some(self.at_work(kept))
    }

    /// Counts a payment in the run's total, and writes it down; it survives a power failure when this returns.
    ///
    /// # Errors
    /// [`LimitExceeded::Total`], [`Error::State`]; nothing is counted then.
    pub(crate) async fn begin(self: &Arc<Self>, record: PaymentRecord) -> Result<Payment, Error> {
        self.run.claim(record.amount)?;
        let (state, kept) = (Arc::clone(&self.state), record.clone());
        let saved = written(move || state.save_payment(&kept)).await;
        if saved.is_err() {
            self.run.give_back(record.amount);
        }
        saved?;
        Ok(self.at_work(Kept {
            record,
            is_claimed: true,
        }))
    }

    fn at_work(self: &Arc<Self>, kept: Kept) -> Payment {
        Payment {
            home: Arc::clone(self),
            record: kept.record,
            is_claimed: kept.is_claimed,
            is_over: false,
        }
    }
}

async fn written(how: impl FnOnce() -> Result<(), StateError> + Send + 'static) -> Result<(), Error> {
    let written = tokio::task::spawn_blocking(how).await;
    Ok(written.map_err(|_| Error::Protocol("the state's writer was cancelled"))??)
}

/// A payment that a request is at work with. Dropped, it is there for the next one.
#[derive(Debug)]
pub(crate) struct Payment {
    home: Arc<Payments>,
    pub(crate) record: PaymentRecord,
    is_claimed: bool,
    is_over: bool,
}

impl Payment {
    /// Counts a payment of an earlier run in this one's total, because showing it may make it happen.
    ///
    /// # Errors
    /// [`LimitExceeded::Total`].
    pub(crate) fn claim(&mut self) -> Result<(), LimitExceeded> {
        if !self.is_claimed {
            self.home.run.claim(self.record.amount)?;
            self.is_claimed = true;
        }
        Ok(())
    }

    /// Its answer was read, or is not owed any more: nothing is kept.
    pub(crate) async fn forget(mut self) -> Result<(), Error> {
        self.is_over = true;
        let (state, hash) = (Arc::clone(&self.home.state), self.record.transaction.hash);
        written(move || state.remove_payment(hash)).await
    }

    /// It never pays: nothing is kept, and the run gets back what its total counted for it.
    pub(crate) async fn undo(mut self) -> Result<(), Error> {
        if self.is_claimed {
            self.home.run.give_back(self.record.amount);
            self.is_claimed = false;
        }
        self.forget().await
    }
}

impl Drop for Payment {
    fn drop(&mut self) {
        if !self.is_over {
            brief(&self.home.idle).push(Kept {
                record: self.record.clone(),
                is_claimed: self.is_claimed,
            });
        }
    }
}

impl StateDir {
    /// Reads all payments whose answers were not read.
    ///
    /// # Errors
    /// [`StateError`]; one broken file is an error, because it may stand for money.
    pub fn load_payments(&self) -> Result<Vec<PaymentRecord>, StateError> {
        let read = |path: &Path, bytes: &[u8]| {
            let record: Option<PaymentRecord> = serde_json::from_slice(bytes).ok();
            record.filter(|record| {
                record.format == PAYMENT_FORMAT && self.payment_file(record.transaction.hash) == path
            })
        };
        let directory = self.path().join(PAYMENTS);
        if !directory.is_dir() {
            return Ok(Vec::new());
        }
        read_all(&directory, read)
    }

    /// Writes a payment down. When this returns, it survives a power failure.
    ///
    /// # Errors
    /// [`StateError::Disk`].
    pub fn save_payment(&self, record: &PaymentRecord) -> Result<(), StateError> {
        let directory = self.path().join(PAYMENTS);
        if !directory.is_dir() {
            make_directory(&directory).map_err(disk(&directory))?;
            sync_directory(self.path()).map_err(disk(self.path()))?;
        }
        replace(&self.payment_file(record.transaction.hash), record)?;
        sync_directory(&directory).map_err(disk(&directory))
    }

    fn remove_payment(&self, hash: B256) -> Result<(), StateError> {
        let path = self.payment_file(hash);
        fs::remove_file(&path).map_err(disk(&path))
    }

    fn payment_file(&self, hash: B256) -> PathBuf {
        self.path().join(PAYMENTS).join(format!("{hash}.json"))
    }
}
