//! A channel as the books hold it, and what follows from it.
//!
//! Nothing here changes a channel: [`step`](crate::step::step) alone does.

use crate::amount::{Amount, Cumulative};
use crate::ids::{ChannelId, ChargeId};
use crate::refusal::Refusal;
use crate::terms::Terms;
use crate::time::UnixSeconds;
use crate::voucher::KeptVoucher;
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// Most charges that may be open on one channel at once: it bounds a record's size, not a payer's rate.
pub const CHARGES_OPEN_MAX: usize = 256;

/// A channel's state on the chain, as the escrow's `getChannel` tells it at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainState {
    /// Everything deposited since the open.
    pub deposit: Cumulative,
    /// Everything paid to the payee since the open.
    pub settled: Cumulative,
    /// When the payer asked to close, if that request stands.
    pub close_requested_at: Option<UnixSeconds>,
    /// Closed or withdrawn, for good.
    pub finalized: bool,
}

impl ChainState {
    /// The view that counts, of the newest block and of the newest final one: what takes credit away counts on
    /// first sight, what adds credit counts when it is final (threat T5).
    pub fn cautious(seen: Self, last_final: Self) -> Self {
        Self {
            deposit: seen.deposit.min(last_final.deposit),
            settled: last_final.settled,
            close_requested_at: seen.close_requested_at.or(last_final.close_requested_at),
            // A replica may lag behind the final block; what is closed for good stays closed.
            finalized: seen.finalized || last_final.finalized,
        }
    }
}

/// How far a charge has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChargePhase {
    /// Set aside before delivery; not spent yet.
    Reserved,
    /// Spent and told to the payer, while the body is still on its way: a failure now earns a credit.
    Creditable,
}

/// A charge that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Its number on this channel.
    pub id: ChargeId,
    /// What is set aside or was spent.
    pub amount: Amount,
    /// How far it has come.
    pub phase: ChargePhase,
}

/// A close under way on our side; once begun it stays, whatever a broadcast's outcome (threat C3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// When it was asked for.
    pub since: UnixSeconds,
    /// The total of the payer's close voucher, when it sent one.
    pub asked: Option<Cumulative>,
}

/// A settlement decided and not over: at most one per channel (TX-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The settled total that the call sets.
    pub target: Cumulative,
    /// Whether the call closes the channel too.
    pub closes: bool,
}

/// What a channel may still be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Vouchers and charges are taken.
    Live,
    /// A close was asked for, here or on the chain.
    Closing,
    /// Older than these books: settled or closed, never charged (threat C7).
    DrainOnly,
    /// The chain contradicts the books (CH-1).
    Frozen,
    /// Closed on the chain.
    Finalized,
}

/// One channel: what the chain says, what the payer authorised, what was delivered.
///
/// Promises (INVARIANTS.md): CH-1 settled ≤ accepted ≤ deposit, or it is frozen; CH-2 spent − credited + reserved ≤
/// accepted; CH-3 captured ≤ spent − credited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) terms: Terms,
    pub(crate) chain: ChainState,
    pub(crate) accepted: Cumulative,
    pub(crate) spent: Cumulative,
    pub(crate) credited: Cumulative,
    pub(crate) charges: Vec<Charge>,
    pub(crate) next_charge: u64,
    pub(crate) best: Option<KeptVoucher>,
    pub(crate) earned: Option<KeptVoucher>,
    pub(crate) closing: Option<Closing>,
    pub(crate) capture: Option<Capture>,
    pub(crate) uncollected_since: Option<UnixSeconds>,
    pub(crate) drain_only: bool,
    pub(crate) accounted: Cumulative,
    pub(crate) closed_by: Option<B256>,
    pub(crate) over: bool,
}

impl Channel {
    /// Adopts a channel from its state on the chain. What the payee already has counts as accepted and spent.
    ///
    /// `drain_only` marks a channel older than these books.
    pub fn adopt(id: ChannelId, terms: Terms, chain: ChainState, drain_only: bool) -> Self {
        Self {
            id,
            terms,
            chain,
            accepted: chain.settled,
            spent: chain.settled,
            credited: Cumulative::ZERO,
            charges: Vec::new(),
            next_charge: 0,
            best: None,
            earned: None,
            closing: None,
            capture: None,
            uncollected_since: None,
            drain_only,
            accounted: chain.settled,
            closed_by: None,
            over: false,
        }
    }

    /// The same channel, read from books that did not keep yet which settlements they had decided: whatever is
    /// settled or under way was decided by them.
    #[must_use]
    pub fn with_settlements_accounted(mut self) -> Self {
        let under_way = self.capture.map_or(Cumulative::ZERO, |capture| capture.target);
        self.accounted = self.accounted.max(self.chain.settled).max(under_way);
        self
    }

    /// Its identifier.
    pub const fn id(&self) -> ChannelId {
        self.id
    }

    /// What the parties agreed on.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What the chain says, cautiously read.
    pub const fn chain(&self) -> &ChainState {
        &self.chain
    }

    /// The highest total authorised.
    pub const fn accepted(&self) -> Cumulative {
        self.accepted
    }

    /// Everything charged for delivery; it never falls.
    pub const fn spent(&self) -> Cumulative {
        self.spent
    }

    /// Everything charged and given back, because a delivery failed after its receipt had left.
    pub const fn credited(&self) -> Cumulative {
        self.credited
    }

    /// The charges that are not over, oldest first.
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// The highest voucher.
    pub const fn best(&self) -> Option<&KeptVoucher> {
        self.best.as_ref()
    }

    /// The close under way on our side.
    pub const fn closing(&self) -> Option<&Closing> {
        self.closing.as_ref()
    }

    /// The settlement under way.
    pub const fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref()
    }

    /// Since when something collectible has been waiting.
    pub const fn uncollected_since(&self) -> Option<UnixSeconds> {
        self.uncollected_since
    }

    /// The highest settled total that these books know of: they decided it, or saw it on the chain.
    pub const fn accounted(&self) -> Cumulative {
        self.accounted
    }

    /// The transaction of ours that closed it, once it was seen in a block; a receipt names it however often it is
    /// asked for.
    pub const fn closed_by(&self) -> Option<B256> {
        self.closed_by
    }

    /// Closed in a final block: nothing on the chain can change it any more.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Older than these books, or than a restore of them: settled or closed, never charged (threat C7).
    pub const fn is_drain_only(&self) -> bool {
        self.drain_only
    }

    fn sum(&self, phase: ChargePhase) -> Amount {
        // Bounded by CH-2: the sum of reservations never exceeds `accepted`, so it fits.
        let total = self.charges.iter().filter(|charge| charge.phase == phase);
        Amount::new(total.fold(0u128, |sum, charge| {
            sum.saturating_add(charge.amount.base_units())
        }))
    }

    /// Set aside for deliveries under way.
    pub fn reserved(&self) -> Amount {
        self.sum(ChargePhase::Reserved)
    }

    /// Spent − credited: what was earned by delivery, as far as is known.
    pub fn net_spent(&self) -> Cumulative {
        self.spent.net_of(self.credited).unwrap_or(Cumulative::ZERO)
    }

    /// Accepted − spent − reserved + credited: what the payer can still buy for.
    pub fn available(&self) -> Amount {
        let committed = self.net_spent().plus(self.reserved());
        committed
            .and_then(|total| self.accepted.since(total))
            .unwrap_or(Amount::ZERO)
    }

    /// The total that a voucher must reach so that `price` can be charged on top of what is committed.
    pub fn required_for(&self, price: Amount) -> Option<Cumulative> {
        self.net_spent().plus(self.reserved())?.plus(price)
    }

    /// The settled total that may be set now: earned beyond doubt, authorised, and on deposit (CH-3, CH-5).
    ///
    /// A charge whose body is still on its way is left out: it may yet become a credit.
    pub fn collectible(&self) -> Cumulative {
        let earned = self
            .net_spent()
            .minus(self.sum(ChargePhase::Creditable))
            .unwrap_or(Cumulative::ZERO);
        let authorised = self
            .best
            .as_ref()
            .map_or(Cumulative::ZERO, KeptVoucher::cumulative);
        earned.min(authorised).min(self.chain.deposit)
    }

    /// What a settlement now would pay: collectible − settled.
    pub fn uncollected(&self) -> Amount {
        self.collectible()
            .since(self.chain.settled)
            .unwrap_or(Amount::ZERO)
    }

    /// A voucher that authorises no more than was earned: the only kind for calls that cannot name a capture (threat
    /// C8). It is the last one that was, at some moment, the highest and earned whole; one that a higher one replaced
    /// before it was earned is not kept, because our escrow's calls all name their capture (docs/adr/0009).
    pub fn earned_voucher(&self) -> Option<&KeptVoucher> {
        let limit = self.collectible();
        [&self.best, &self.earned]
            .into_iter()
            .flatten()
            .find(|voucher| voucher.cumulative() <= limit)
    }

    /// The settled total that a call may set which leaves the channel open. A contract's calls name their capture; the
    /// reserve's takes all that a voucher authorises, so that only an earned one may be used (threat C8).
    pub fn settleable(&self) -> Cumulative {
        if self.terms.reserve.is_none() {
            return self.collectible();
        }
        let earned = self
            .earned_voucher()
            .map_or(Cumulative::ZERO, KeptVoucher::cumulative);
        earned.max(self.chain.settled)
    }

    /// The voucher with which a capture is made: in the reserve, one that is settled is taken whole.
    pub fn voucher_for(&self, capture: &Capture) -> Option<&KeptVoucher> {
        let whole = self.terms.reserve.is_some() && !capture.closes;
        [&self.best, &self.earned]
            .into_iter()
            .flatten()
            .find(|voucher| !whole || voucher.cumulative() == capture.target)
    }

    /// Whether the payer asked the escrow for its money, or has it: no charge is open to doubt any more.
    pub fn payer_leaves(&self) -> bool {
        self.chain.close_requested_at.is_some() || self.chain.finalized
    }

    /// What it may still be used for. The gravest reason wins.
    pub fn standing(&self) -> Standing {
        if self.chain.finalized {
            Standing::Finalized
        } else if self.chain.settled > self.accepted || self.accepted > self.chain.deposit {
            Standing::Frozen
        } else if self.closing.is_some() || self.chain.close_requested_at.is_some() {
            Standing::Closing
        } else if self.drain_only {
            Standing::DrainOnly
        } else {
            Standing::Live
        }
    }

    /// Whether vouchers and charges are taken, or why not.
    pub fn must_be_live(&self) -> Result<(), Refusal> {
        match self.standing() {
            Standing::Live => Ok(()),
            Standing::Closing => Err(Refusal::ChannelClosing),
            Standing::DrainOnly => Err(Refusal::ChannelDrainOnly),
            Standing::Frozen => Err(Refusal::ChannelFrozen),
            Standing::Finalized => Err(Refusal::ChannelFinalized),
        }
    }
}
