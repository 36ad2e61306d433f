//! A second set of books, kept the slow and obvious way: lists of what happened, and every total summed anew.
//!
//! It shares no arithmetic with the engine. It foretells the answer to each input, and then says what the channel
//! must look like.

mod foretell;

use super::charges::{Entry, Happened};
use weir_core::step::Body;
use weir_core::{
    Amount, Capture, ChainState, ChannelId, Charge, ChargeId, ChargePhase, Closing, Cumulative, Input,
    Outcome, Proven, Signature, Standing, UnixSeconds, Voucher,
};

/// One channel's lists.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    id: ChannelId,
    drain_only: bool,
    /// What counts as delivered without a charge in these books: settled at the adoption or by somebody else, or the
    /// payer's word at the close of a drain-only channel.
    had: u128,
    /// The highest settled total that was taken over from the chain.
    followed: u128,
    /// Every settled total that the chain showed and nobody here had decided.
    strange: Vec<u128>,
    pub(crate) vouchers: Vec<(u128, Signature)>,
    pub(crate) charges: Vec<Entry>,
    pub(crate) captures: Vec<(Capture, bool)>,
    pub(crate) alive: Option<Capture>,
    /// Whether the transaction of a close is known.
    closed: bool,
    pub(crate) closing: Option<Closing>,
    pub(crate) seen: ChainState,
    pub(crate) last_final: ChainState,
    pub(crate) earned: Option<u128>,
    pub(crate) waiting_since: Option<UnixSeconds>,
}

impl Ledger {
    pub(crate) fn adopt(id: ChannelId, state: ChainState, drain_only: bool) -> Self {
        Self {
            id,
            drain_only,
            had: state.settled.base_units(),
            followed: state.settled.base_units(),
            strange: vec![state.settled.base_units()],
            vouchers: Vec::new(),
            charges: Vec::new(),
            captures: Vec::new(),
            alive: None,
            closed: false,
            closing: None,
            seen: state,
            last_final: state,
            earned: None,
            waiting_since: None,
        }
    }

    // ----- totals -----

    /// What counts as accepted without a voucher in these books.
    pub(crate) fn followed(&self) -> u128 {
        self.followed
    }

    /// The highest settled total that these books know the reason of.
    fn accounted(&self) -> u128 {
        let decided = self
            .captures
            .iter()
            .map(|(capture, _)| capture.target.base_units());
        decided.chain(self.strange.iter().copied()).max().unwrap_or(0)
    }

    pub(crate) fn authorised(&self) -> u128 {
        self.vouchers.iter().map(|(total, _)| *total).max().unwrap_or(0)
    }

    pub(crate) fn accepted(&self) -> u128 {
        self.authorised().max(self.followed)
    }

    pub(crate) fn spent(&self) -> u128 {
        self.had + self.charges.iter().map(Entry::cost).sum::<u128>()
    }

    pub(crate) fn credited(&self) -> u128 {
        self.charges.iter().map(Entry::given_back).sum()
    }

    pub(crate) fn open_in(&self, phase: ChargePhase) -> u128 {
        let open = self.charges.iter().filter(|charge| charge.phase() == Some(phase));
        open.map(Entry::open_amount).sum()
    }

    pub(crate) fn net(&self) -> u128 {
        self.spent() - self.credited()
    }

    /// Committed to deliveries: what the payer cannot buy for any more.
    pub(crate) fn committed(&self) -> u128 {
        self.net() + self.open_in(ChargePhase::Reserved)
    }

    /// What every later credit together would still leave, as far as it is authorised and on deposit.
    pub(crate) fn collectible(&self) -> u128 {
        let certain = self.charges.iter().filter(|charge| charge.phase().is_none());
        let certain: u128 = certain.map(|charge| charge.cost() - charge.given_back()).sum();
        (self.had + certain)
            .min(self.authorised())
            .min(self.chain().deposit.base_units())
    }

    pub(crate) fn charges_open(&self) -> Vec<Charge> {
        let open = self.charges.iter().filter_map(|charge| {
            Some(Charge {
                id: ChargeId(charge.id),
                amount: Amount::new(charge.open_amount()),
                phase: charge.phase()?,
            })
        });
        open.collect()
    }

    /// The view that counts: the lower deposit, the final settlement, and every sign of an end.
    pub(crate) fn chain(&self) -> ChainState {
        let views = [self.seen, self.last_final];
        ChainState {
            deposit: views.map(|view| view.deposit).into_iter().min().unwrap(),
            settled: self.last_final.settled,
            close_requested_at: views.into_iter().find_map(|view| view.close_requested_at),
            finalized: views.into_iter().any(|view| view.finalized),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let chain = self.chain();
        let covered =
            chain.settled.base_units() <= self.accepted() && self.accepted() <= chain.deposit.base_units();
        let leaving = self.closing.is_some() || chain.close_requested_at.is_some();
        match (chain.finalized, covered, leaving, self.drain_only) {
            (true, ..) => Standing::Finalized,
            (_, false, ..) => Standing::Frozen,
            (_, _, true, _) => Standing::Closing,
            (.., true) => Standing::DrainOnly,
            _ => Standing::Live,
        }
    }

    // ----- writing down what was answered yes -----

    fn keep(&mut self, voucher: &Voucher<Proven>) {
        let total = voucher.cumulative().base_units();
        if total > self.accepted() {
            self.vouchers.push((total, *voucher.signature()));
        }
    }

    fn note(&mut self, id: ChargeId, what: Happened) {
        if let Some(entry) = self.charges.iter_mut().find(|charge| charge.id == id.0) {
            entry.happened.push(what);
        }
    }

    fn set_aside(&mut self, outcome: Outcome, price: u128) {
        if let Outcome::Reserved(id) = outcome {
            self.charges.push(Entry {
                id: id.0,
                price,
                happened: Vec::new(),
            });
        }
    }

    fn payer_leaves(&self) -> bool {
        let chain = self.chain();
        chain.close_requested_at.is_some() || chain.finalized
    }

    /// Whatever is missing to this total was delivered, though nobody knows for which charge.
    fn take_for_delivered(&mut self, total: u128) {
        self.had += total.saturating_sub(self.committed());
    }

    fn watch(&mut self, seen: ChainState, last_final: ChainState) {
        (self.seen, self.last_final) = (seen, last_final);
        if self.payer_leaves() {
            let doubtful = |entry: &&mut Entry| entry.phase() == Some(ChargePhase::Creditable);
            for entry in self.charges.iter_mut().filter(doubtful) {
                entry.happened.push(Happened::OverAsThePayerLeaves);
            }
        }
        let strange = seen.settled.max(last_final.settled).base_units();
        if strange > self.accounted() {
            self.strange.push(strange);
            self.drain_only = true;
        }
        let settled = last_final.settled.base_units();
        if self.drain_only && settled > self.accepted() {
            self.take_for_delivered(settled);
            self.followed = settled;
        }
        self.end_settlement();
    }

    /// A settlement is over when its effect is final; one that closes, when its transaction is known too.
    fn end_settlement(&mut self) {
        let finalized = self.last_final.finalized;
        let is_over = |capture: &Capture| match capture.closes {
            true => finalized && self.closed,
            false => finalized || self.last_final.settled >= capture.target,
        };
        self.alive = self.alive.filter(|capture| !is_over(capture));
    }

    /// Writes an input down that was answered with `outcome`.
    pub(crate) fn write_down(&mut self, input: &Input, outcome: Outcome, now: UnixSeconds) {
        match input {
            Input::Pay { voucher, price, .. } => {
                self.keep(voucher);
                self.set_aside(outcome, price.map_or(0, Amount::base_units));
            }
            Input::Reserve { price } => self.set_aside(outcome, price.base_units()),
            Input::Commit { charge, amount, body } => {
                let cost = amount.base_units();
                let what = match body {
                    Body::Delivered => Happened::Delivered { cost },
                    Body::OnItsWay if self.payer_leaves() => Happened::Delivered { cost },
                    Body::OnItsWay => Happened::OnItsWay { cost },
                };
                self.note(*charge, what);
            }
            Input::Release { charge } => self.note(*charge, Happened::Released),
            Input::Finish { charge } => self.note(*charge, Happened::Finished),
            Input::Credit { charge } => self.note(*charge, Happened::Credited),
            Input::Recover => {
                for entry in &mut self.charges {
                    match entry.phase() {
                        Some(ChargePhase::Reserved) => entry.happened.push(Happened::CommittedAtRecovery),
                        Some(ChargePhase::Creditable) => entry.happened.push(Happened::OverAtRecovery),
                        None => {}
                    }
                }
            }
            Input::BeginClose { voucher } => {
                if let Some(voucher) = voucher {
                    self.keep(voucher);
                    if self.drain_only {
                        self.take_for_delivered(voucher.cumulative().base_units());
                    }
                }
                let asked = voucher.map(|voucher| voucher.cumulative());
                self.close(asked, now);
            }
            Input::BeginCapture(capture) => {
                self.captures
                    .push((*capture, capture.target > self.chain().settled));
                self.alive = Some(*capture);
                if capture.closes {
                    self.close(None, now);
                }
            }
            Input::EndCapture => self.alive = None,
            Input::ClosedBy(_) => {
                self.closed = true;
                self.end_settlement();
            }
            Input::Drain => self.drain_only = true,
            Input::Observe { seen, last_final } => self.watch(*seen, *last_final),
        }
        self.look_back(now);
    }

    fn close(&mut self, asked: Option<Cumulative>, now: UnixSeconds) {
        if self.closing.is_none() {
            self.closing = Some(Closing { since: now, asked });
        }
    }

    fn look_back(&mut self, now: UnixSeconds) {
        let (authorised, collectible) = (self.authorised(), self.collectible());
        if !self.vouchers.is_empty() && authorised <= collectible {
            self.earned = Some(authorised);
        }
        if collectible <= self.chain().settled.base_units() {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
    }
}
