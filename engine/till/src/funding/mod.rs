//! Deposits and payments that payers signed for and we send, with a gas key of our own (draft-evm-session-00, Fee Payment;
//! draft-evm-charge-00, Gas Sponsorship Model).
//!
//! Payers who have no native coin sign; we send the transaction and pay for it. Its account is not the payee's, so that
//! nothing here can stand in the way of a settlement.
//!
//! | room | what happens there |
//! |---|---|
//! | this one | what both have in common: the price, the way to the lane, and how long an outcome is waited for |
//! | `pulls`, `draws` | what is asked of a deposit and of a payment, what is refused and why |
//! | `account` | the bounds: per payer, per hour, at once |
//! | `lane` | the one task that signs, writes down, sends, replaces and follows |
//! | `post` | when it was sent, and when it is sent again |
//! | `no` | why something is not sent |
//! | `record` | how it is written down |
//! | `gas` | the chain as a parameter, and the real one |

mod account;
mod draws;
mod gas;
mod lane;
mod no;
mod post;
mod pulls;
mod record;

pub use account::{PAYMENTS_AT_ONCE_MAX, PENDING_MAX, PULLS_KEPT_MAX, PULLS_PER_PAYER_MAX};
pub use draws::DrawOrder;
pub use gas::{Gas, GasKey, Posted, Priced, Situation};
pub use lane::Funder;
pub use no::FundNo;
pub use pulls::PullOrder;
pub use record::{Deed, FundingRecord, Standing, What, read_records};

use crate::no::No;
use crate::settlement::ChainTrouble;
use crate::till::Till;
use account::Account;
use alloy_primitives::{Address, B256};
use record::Errand;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use weir_chain::{Call, PullPaths, Quote};
use weir_core::{Amount, UnixSeconds};

/// How long a signature must still count, at least, when its transaction is sent, in seconds.
pub const VALIDITY_SECONDS_MIN: u64 = 60;
/// The most gas that one pull may take: a token, or a payer's wallet that it calls, must not choose what we pay.
pub const GAS_MAX: u64 = 1_000_000;
/// How long nothing is offered after something that the gas key could not pay for.
pub const LACKS_FOR: Duration = Duration::from_secs(300);
/// Pulls that wait for their turn to be signed.
const INBOX: usize = 64;
/// Rows that are forgotten at the start; the rest goes with new ones.
const FORGET_AT_START_MAX: usize = 1_024;

/// What the seller agrees to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FundingConfig {
    /// Smaller deposits are not worth the gas, in base units.
    pub deposit_min: Amount,
    /// Smaller payments are not worth the gas, in base units.
    pub charge_min: Amount,
    /// The most that a unit of gas may cost, in wei.
    pub fee_max: u128,
    /// The most gas for all deposits of an hour, and all payments that were not made.
    pub gas_per_hour_max: u64,
    /// The most gas for all payments of an hour, made or not.
    pub charge_gas_per_hour_max: u64,
    /// Blocks on top of a transaction before it is not followed any more.
    pub finality_blocks: u64,
}

/// The ways in which a signature moves the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paths {
    /// Into the escrow.
    pub pulls: PullPaths,
    /// To the payee at once.
    pub draws: PullPaths,
}

/// What is left to do about a signature.
#[derive(Debug)]
pub enum Ready {
    /// Nothing: it was sent before, and is waited for.
    OnItsWay,
    /// Nothing: the chain has it, by this transaction where that is told.
    Done(Option<B256>),
    /// It is judged, tried and priced, and is to be [sent](Funding::send).
    Fresh(Box<Fresh>),
}

/// What is to be sent.
#[derive(Debug)]
pub struct Fresh {
    errand: Errand,
    quote: Quote,
    /// What its payer holds.
    balance: Amount,
}

/// Totals since the start, and what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FundingTally {
    /// Transactions mined with effect.
    pub pulled: u64,
    /// Transactions mined in vain.
    pub reverted: u64,
    /// Gas used by both.
    pub gas_used: u64,
    /// On their way now.
    pub pending: u64,
    /// What the gas key had when it was last asked, in wei.
    pub balance: u128,
}

/// What the lane is asked to sign and send.
pub(crate) struct Ask {
    fresh: Fresh,
    answer: oneshot::Sender<Result<(), FundNo>>,
}

pub(crate) struct Inner {
    config: FundingConfig,
    till: Till,
    gas: Arc<dyn Gas>,
    paths: Paths,
    account: Mutex<Account>,
    /// Turns with every change of what became of a pull.
    changed: watch::Sender<u64>,
    inbox: mpsc::Sender<Ask>,
    /// What the gas key was last too low for, in wei, and when.
    lacks: Mutex<Option<(u128, Instant)>>,
}

/// Pulls deposits. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Funding {
    inner: Arc<Inner>,
}

impl fmt::Debug for Funding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Funding")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Funding {
    /// Reads what was sent before. The task has to be run for anything to be sent.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn open(
        till: &Till,
        gas: Arc<dyn Gas>,
        paths: Paths,
        config: FundingConfig,
    ) -> Result<(Self, Funder), No> {
        let (mut account, mut past) = (Account::of(gas.address()), Vec::new());
        let now = till.clock().now();
        for record in read_records(&**till.journal())? {
            // Another key's nonces say nothing of this one's: a gap before the first would hold up all.
            if record.gas_key == gas.address() {
                for envelope in &record.envelopes {
                    gas.remember(envelope.nonce);
                }
            }
            if record.is_past(now) && past.len() < FORGET_AT_START_MAX {
                past.push(record.deed.deleted());
            } else {
                account.put(record);
            }
        }
        if !past.is_empty() {
            // Nobody waits for that: a row too many does no harm.
            till.journal().submit(past).map(drop)?;
        }
        let (inbox, asked) = mpsc::channel(INBOX);
        let inner = Arc::new(Inner {
            config,
            till: till.clone(),
            gas,
            paths,
            account: Mutex::new(account),
            changed: watch::Sender::new(0),
            inbox,
            lacks: Mutex::new(None),
        });
        let funder = Funder::new(Arc::clone(&inner), asked);
        Ok((Self { inner }, funder))
    }

    /// What the seller agrees to.
    pub fn config(&self) -> &FundingConfig {
        &self.inner.config
    }

    /// The ways in which signatures can be used here.
    pub fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    /// The account that sends, which permits name as their spender.
    pub fn gas_key(&self) -> Address {
        self.inner.gas.address()
    }

    /// Whether this account sends what payers sign for, or has done so lately.
    pub fn is_gas_key(&self, address: Address) -> bool {
        self.inner.account().is_gas_key(address)
    }

    /// Whether the gas key can pay for anything. What it could not pay for some time ago may be cheaper now.
    pub fn is_able(&self) -> bool {
        let lacks = *self.inner.lacking();
        lacks.is_none_or(|(_, since)| since.elapsed() >= LACKS_FOR)
    }

    /// Totals since the start, and what is under way.
    pub fn tally(&self) -> FundingTally {
        self.inner.account().tally()
    }

    /// Tries a call, and says what it costs, where that is within what the seller agreed to.
    async fn price(&self, call: &Call, gas_balance: u128) -> Result<Quote, FundNo> {
        let inner = &self.inner;
        let quote = match inner.gas.price(call).await? {
            Priced::At(quote) => quote,
            Priced::WouldRevert(why) => {
                return Err(FundNo::Reverted(format!("what was signed would revert: {why}")));
            }
        };
        if quote.gas_limit > GAS_MAX {
            return Err(FundNo::Reverted(format!(
                "what was signed would take {} gas, and at most {GAS_MAX} is paid for",
                quote.gas_limit
            )));
        }
        if quote.max_fee_per_gas > inner.config.fee_max {
            return Err(FundNo::Unaffordable(
                "gas is dearer now than this server pays for",
            ));
        }
        if gas_balance < inner.account().promised().saturating_add(quote.cost_max()) {
            inner.lacks(quote.cost_max());
            return Err(FundNo::Unaffordable(
                "this server has no coin for gas at the moment",
            ));
        }
        Ok(quote)
    }

    /// Has it signed, written down and sent. Its outcome is asked for with its order.
    ///
    /// # Errors
    /// [`FundNo`]; whether something was written down then, [`FundNo::may_be_sent`] tells.
    pub async fn send(&self, fresh: Box<Fresh>) -> Result<(), FundNo> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            fresh: *fresh,
            answer,
        };
        self.inner.inbox.try_send(ask).map_err(|_| No::Busy)?;
        answered.await.map_err(|_| No::Stopping)?
    }

    /// Waits so long until it is known what became of a deed; `None` where it is not on record.
    async fn wait(&self, deed: &Deed, patience: Duration) -> Result<Option<Standing>, FundNo> {
        let mut changed = self.inner.changed.subscribe();
        let deadline = Instant::now() + patience;
        loop {
            changed.mark_unchanged();
            match self.inner.standing(deed) {
                Some(Standing::Pending) => {}
                Some(Standing::Displaced) => {
                    return Err(trouble("the transaction was displaced"));
                }
                standing => return Ok(standing),
            }
            match tokio::time::timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(No::Stopping.into()),
                Err(_) => return Err(trouble("the transaction waits for a block")),
            }
        }
    }
}

impl Inner {
    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guard is gone when this returns, so that nothing waits with it.
    fn standing(&self, deed: &Deed) -> Option<Standing> {
        self.account().standing(deed)
    }

    fn lacking(&self) -> MutexGuard<'_, Option<(u128, Instant)>> {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what the gas key could not pay for, and tells the operator when that is news.
    pub(crate) fn lacks(&self, wei: u128) {
        let before = self.lacking().replace((wei, Instant::now()));
        if before.is_none() {
            tracing::error!(
                gas_key = %self.gas.address(), needed_wei = wei,
                "the gas key has too little to send what payers signed; they are asked to send it themselves until it has more"
            );
        }
    }

    /// Whether a signature counts now, and long enough to be sent.
    fn must_be_in_time(&self, leave: &weir_core::Leave, now: UnixSeconds) -> Result<(), FundNo> {
        let in_time = leave.starts_after() < now.0 && leave.ends() > now.after(VALIDITY_SECONDS_MIN).0;
        if in_time { Ok(()) } else { Err(FundNo::Window) }
    }
}

/// What is owed or on its way is waited for, and not paid in another way.
fn trouble(why: &str) -> FundNo {
    ChainTrouble(why.to_owned()).into()
}

#[cfg(test)]
#[path = "../funding_tests.rs"]
mod tests;
