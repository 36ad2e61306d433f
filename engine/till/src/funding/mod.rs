//! Deposits that payers signed for and we pull, with a gas key of our own (draft-evm-session-00, Fee Payment).
//!
//! Payers who have no native coin sign; we send the escrow's transaction and pay for it. Its account is not the payee's,
//! so that nothing here can stand in the way of a settlement.
//!
//! | room | what happens there |
//! |---|---|
//! | this one | what is asked, what is refused and why, and how long an outcome is waited for |
//! | `account` | the bounds: per payer, per hour, at once |
//! | `lane` | the one task that signs, writes down, sends, replaces and follows |
//! | `no` | why a deposit is not pulled |
//! | `record` | how it is written down |
//! | `gas` | the chain as a parameter, and the real one |

mod account;
mod gas;
mod lane;
mod no;
mod record;

pub use account::{PENDING_MAX, PULLS_PER_PAYER_MAX};
pub use gas::{Gas, GasKey, Priced, Situation};
pub use lane::Funder;
pub use no::FundNo;
pub use record::{Deed, FundingRecord, Standing, read_records};

use crate::books::UsedCredential;
use crate::no::No;
use crate::settlement::ChainTrouble;
use crate::till::Till;
use account::Account;
use alloy_primitives::B256;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use weir_chain::{EscrowCalls, PullPaths, Quote};
use weir_core::pull::Purpose;
use weir_core::recover::{Recover, default_backend};
use weir_core::{Amount, ChannelId, UnixSeconds};
use weir_protocol::rails::SignedPull;

/// How long a signature must still count, at least, when its transaction is sent, in seconds.
pub const VALIDITY_SECONDS_MIN: u64 = 60;
/// The most gas that one pull may take: a token, or a payer's wallet that it calls, must not choose what we pay.
pub const GAS_MAX: u64 = 1_000_000;
/// Pulls that wait for their turn to be signed.
const INBOX: usize = 64;

/// What the seller agrees to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FundingConfig {
    /// Smaller deposits are not worth the gas, in base units.
    pub deposit_min: Amount,
    /// The most that a unit of gas may cost, in wei.
    pub fee_max: u128,
    /// The most gas for all pulls of an hour.
    pub gas_per_hour_max: u64,
    /// Blocks on top of a transaction before it is not followed any more.
    pub finality_blocks: u64,
}

/// A deposit to be pulled, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct PullOrder<'a> {
    /// What the payer signed.
    pub signed: &'a SignedPull,
    /// The credential that brought it; its channel is the deposit's.
    pub credential: UsedCredential,
}

impl PullOrder<'_> {
    const fn channel(&self) -> ChannelId {
        self.credential.channel
    }

    const fn opens(&self) -> bool {
        matches!(self.signed.pull.purpose, Purpose::Open { .. })
    }
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
    record: FundingRecord,
    quote: Quote,
    answer: oneshot::Sender<Result<(), FundNo>>,
}

pub(crate) struct Inner {
    config: FundingConfig,
    till: Till,
    gas: Arc<dyn Gas>,
    paths: PullPaths,
    account: Mutex<Account>,
    /// Turns with every change of what became of a pull.
    changed: watch::Sender<u64>,
    inbox: mpsc::Sender<Ask>,
    /// What the gas key was last too low for, in wei; zero while it has enough.
    lacks: AtomicU64,
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
        paths: PullPaths,
        config: FundingConfig,
    ) -> Result<(Self, Funder), No> {
        let mut account = Account::of(gas.address());
        for record in read_records(&**till.journal())? {
            // Another key's nonces say nothing of this one's: a gap before the first would hold up all.
            if record.gas_key == gas.address() {
                for envelope in &record.envelopes {
                    gas.remember(envelope.nonce);
                }
            }
            account.put(record);
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
            lacks: AtomicU64::new(0),
        });
        let funder = Funder::new(Arc::clone(&inner), asked);
        Ok((Self { inner }, funder))
    }

    /// What the seller agrees to.
    pub fn config(&self) -> &FundingConfig {
        &self.inner.config
    }

    /// The ways in which deposits can be pulled here.
    pub fn paths(&self) -> &PullPaths {
        &self.inner.paths
    }

    /// Whether the gas key can pay for anything.
    pub fn is_able(&self) -> bool {
        self.inner.lacks.load(Ordering::Relaxed) == 0
    }

    /// Totals since the start, and what is under way.
    pub fn tally(&self) -> FundingTally {
        self.inner.account().tally()
    }

    /// Sees to it that a deposit is on its way, or was, or is there by somebody else's doing.
    ///
    /// An open's first voucher must be proven: from here on the payer's deposit may be locked.
    ///
    /// # Errors
    /// [`FundNo`].
    pub async fn submit(&self, order: PullOrder<'_>) -> Result<(), FundNo> {
        let known = self.inner.account().standing(&Deed::of(&order.signed.pull));
        if known.is_some_and(|standing| standing != Standing::Displaced) {
            return Ok(());
        }
        self.judge(order)?;
        let found = self
            .inner
            .gas
            .situation(&order.signed.pull, order.channel())
            .await?;
        if self.inner.is_done(order, &found)? {
            return Ok(());
        }
        self.inner.must_be_pullable(order, &found)?;
        self.send(order, found.gas_balance).await
    }

    /// What can be told without asking anybody.
    fn judge(&self, order: PullOrder<'_>) -> Result<(), FundNo> {
        let SignedPull { pull, signature } = order.signed;
        let inner = &self.inner;
        let minimum = inner.config.deposit_min;
        if pull.amount < minimum {
            return Err(FundNo::TooSmall { minimum });
        }
        let separator = inner.paths.separator_of(&pull.leave);
        let separator = separator.ok_or(FundNo::Unaffordable("this server cannot pull deposits so"))?;
        let digest = pull.digest(separator, inner.till.domain().escrow());
        let signer = default_backend().recover(digest, signature);
        if signer.is_none_or(|signer| signer.is_zero() || signer != pull.from) {
            return Err(FundNo::NotThePayers);
        }
        inner.must_be_in_time(&pull.leave, inner.till.clock().now())?;
        // Asked again when it is written down; here so that whoever has no room costs no RPC call.
        let now = inner.till.clock().now();
        inner.account().must_have_room((pull.from, order.channel()), now)
    }

    async fn send(&self, order: PullOrder<'_>, gas_balance: u128) -> Result<(), FundNo> {
        let inner = &self.inner;
        let calls = EscrowCalls::new(inner.till.domain().escrow());
        let call = calls.pull(&order.signed.pull, &order.signed.signature);
        let quote = match inner.gas.price(&call).await? {
            Priced::At(quote) => quote,
            Priced::WouldRevert(why) => {
                return Err(FundNo::Reverted(format!("the deposit would revert: {why}")));
            }
        };
        if quote.gas_limit > GAS_MAX {
            return Err(FundNo::Reverted(format!(
                "the deposit would take {} gas, and at most {GAS_MAX} is paid for",
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
        let record = FundingRecord::new(order, call, inner.gas.address(), inner.till.clock().now());
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            record,
            quote,
            answer,
        };
        inner.inbox.try_send(ask).map_err(|_| No::Busy)?;
        answered.await.map_err(|_| No::Stopping)?
    }

    /// Waits so long for what becomes of a deposit that was submitted. Gives the hash of the transaction that did it; `None`
    /// for a channel that somebody else opened with the same terms and as much.
    ///
    /// # Errors
    /// [`FundNo`].
    pub async fn outcome(&self, order: PullOrder<'_>, patience: Duration) -> Result<Option<B256>, FundNo> {
        let deed = Deed::of(&order.signed.pull);
        let mut changed = self.inner.changed.subscribe();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            changed.mark_unchanged();
            match self.inner.standing(&deed) {
                Some(Standing::Mined { hash, .. }) => return Ok(Some(hash)),
                Some(Standing::Reverted { .. }) => return self.reverted(order).await,
                Some(Standing::Pending) => {}
                Some(Standing::Displaced) => {
                    return Err(ChainTrouble("the transaction was displaced".to_owned()).into());
                }
                None => return Ok(None),
            }
            match tokio::time::timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(No::Stopping.into()),
                Err(_) => return Err(ChainTrouble("the transaction waits for a block".to_owned()).into()),
            }
        }
    }

    /// Mined in vain: perhaps because somebody else sent what the payer signed, which is as good.
    async fn reverted(&self, order: PullOrder<'_>) -> Result<Option<B256>, FundNo> {
        let found = self
            .inner
            .gas
            .situation(&order.signed.pull, order.channel())
            .await?;
        if self.inner.is_done(order, &found)? {
            return Ok(None);
        }
        Err(FundNo::Reverted(
            "the deposit's transaction was mined and reverted".to_owned(),
        ))
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

    /// Remembers what the gas key could not pay for, and tells the operator when that is news.
    pub(crate) fn lacks(&self, wei: u128) {
        let wei = u64::try_from(wei).unwrap_or(u64::MAX);
        if self.lacks.swap(wei, Ordering::Relaxed) == 0 && wei > 0 {
            tracing::error!(
                gas_key = %self.gas.address(), needed_wei = wei,
                "the gas key has too little to pull deposits; payers are asked to send them themselves until it has more"
            );
        }
    }

    /// Whether an open has come about already, by whomever.
    fn is_done(&self, order: PullOrder<'_>, found: &Situation) -> Result<bool, FundNo> {
        let Some(state) = found.channel.filter(|_| order.opens()) else {
            return Ok(false);
        };
        // The id binds payer, payee, token, signer and salt: the deposit alone may be another.
        let deposit = Amount::new(state.deposit.base_units());
        if deposit < order.signed.pull.amount {
            return Err(FundNo::OtherDeposit { deposit });
        }
        Ok(true)
    }

    fn must_be_in_time(&self, leave: &weir_core::Leave, now: UnixSeconds) -> Result<(), FundNo> {
        let in_time = leave.starts_after() < now.0 && leave.ends() > now.after(VALIDITY_SECONDS_MIN).0;
        if in_time { Ok(()) } else { Err(FundNo::Window) }
    }

    fn must_be_pullable(&self, order: PullOrder<'_>, found: &Situation) -> Result<(), FundNo> {
        let pull = &order.signed.pull;
        self.must_be_in_time(&pull.leave, found.head)?;
        // The token may ask the account's code whether it signed, and the code may say otherwise in the block.
        if found.payer_has_code {
            return Err(FundNo::Unaffordable(
                "this server pulls no deposit of an account that has code",
            ));
        }
        if !order.opens() {
            let state = found.channel.ok_or(No::NotSeenYet)?;
            if state.finalized {
                return Err(No::Refused(weir_core::Refusal::ChannelFinalized).into());
            }
            // A deposit that others send cancels no close request: it would be locked in vain.
            if state.close_requested_at.is_some() {
                return Err(No::Refused(weir_core::Refusal::ChannelClosing).into());
            }
        }
        if found.is_used_up {
            let why = "the signature for the deposit was used, or taken back, before; sign a new one";
            return Err(FundNo::Reverted(why.to_owned()));
        }
        if found.payer_balance < pull.amount {
            return Err(FundNo::Balance {
                balance: found.payer_balance,
                amount: pull.amount,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "../funding_tests.rs"]
mod tests;
