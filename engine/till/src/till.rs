//! The till: where a voucher becomes a durable right to deliver.

use crate::books::{channel_row, read_channels, read_used};
use crate::clock::Clock;
use crate::freshness::{Budget, Freshness};
use crate::lane::Lane;
use crate::no::No;
use crate::order::{Order, Paid};
use crate::repeats::{forget_expired, read_keys};
use crate::sale::{Hold, Sale};
use crate::shard::{Adoption, Answer, Ask, Shard};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use weir_core::recover::default_backend;
use weir_core::step::Body;
use weir_core::voucher::prove_close_authorization;
use weir_core::{
    Amount, Channel, ChannelId, Claimed, Cumulative, Domain, Input, Outcome, Proven, Refusal, Signature,
    Terms, Voucher, step,
};
use weir_store::{Durable, Health, Journal, StoreFault};

/// Lanes: more than cores, so that one slow shard holds few channels up.
pub const LANES: usize = 16;

/// Vouchers a second on one channel, unless configured otherwise (draft-evm-session-00, Denial of Service).
pub const VOUCHERS_PER_SECOND: u32 = 10;

/// Channels written at once at the start: the largest records of so many fit one submission by far.
const RECOVERED_ROWS: usize = 16;

/// How long a charge's end waits before it is told again, when the lane or the disk is behind.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How often [`Till::wait_for_deposit`] looks.
const DEPOSIT_POLL: Duration = Duration::from_millis(50);

/// What a till is set up with.
#[derive(Debug, Clone)]
pub struct TillConfig {
    /// The escrow's signing domain.
    pub domain: Domain,
    /// How old the view of the chain may be.
    pub budget: Budget,
    /// Vouchers a second on one channel.
    pub vouchers_per_second: u32,
}

/// What was found in the books at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Channels read.
    pub channels: usize,
    /// Charges that were open at the crash, and are committed now (the drafts' rule: charged before delivered).
    pub charges_committed: usize,
}

struct Inner {
    config: TillConfig,
    lanes: Vec<Lane>,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    /// Terms never change, so a voucher can be proven before its lane is asked.
    terms: RwLock<HashMap<ChannelId, Arc<Terms>>>,
    freshness: Freshness,
}

/// The till. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Till {
    inner: Arc<Inner>,
}

impl fmt::Debug for Till {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Till")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Till {
    /// Opens the till over its books: reads every channel, ends what a crash left open, starts the lanes.
    ///
    /// # Errors
    /// [`StoreFault`] when the books cannot be read or written.
    pub async fn open(
        config: TillConfig,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovered), No> {
        let mut shards: Vec<Shard> = (0..LANES)
            .map(|_| Shard::new(config.vouchers_per_second))
            .collect();
        let mut terms = HashMap::new();
        let mut recovered = Recovered::default();
        let mut rows = Vec::new();
        for channel in read_channels(&*journal)? {
            recovered.channels += 1;
            recovered.charges_committed += channel.charges().len();
            let channel = if channel.charges().is_empty() {
                channel
            } else {
                let channel = step(&channel, Input::Recover, clock.now())?.channel;
                rows.push(channel_row(&channel)?);
                channel
            };
            terms.insert(channel.id(), Arc::new(channel.terms().clone()));
            if let Some(shard) = shards.get_mut(lane_of(channel.id())) {
                shard.restore(channel);
            }
        }
        for used in read_used(&*journal)? {
            if let Some(shard) = shards.get_mut(lane_of(used.channel)) {
                shard.restore_used(used);
            }
        }
        forget_expired(&*journal, clock.now()).await?;
        read_keys(&*journal, |channel, key| {
            if let Some(shard) = shards.get_mut(lane_of(channel)) {
                shard.restore_key(&key);
            }
        })?;
        for chunk in rows.chunks(RECOVERED_ROWS) {
            journal.submit(chunk.to_vec())?.await?;
        }
        let lanes = shards
            .into_iter()
            .map(|shard| Lane::start(shard, Arc::clone(&journal), Arc::clone(&clock)))
            .collect();
        let freshness = Freshness::default();
        let inner = Inner {
            config,
            lanes,
            journal,
            clock,
            terms: RwLock::new(terms),
            freshness,
        };
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            recovered,
        ))
    }

    /// The signing domain.
    pub fn domain(&self) -> &Domain {
        &self.inner.config.domain
    }

    /// The journal, for the settler's own rows.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.inner.journal
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The view of the chain.
    pub fn freshness(&self) -> &Freshness {
        &self.inner.freshness
    }

    /// Whether the books can be written.
    pub fn health(&self) -> Health {
        self.inner.journal.health()
    }

    /// What a channel binds, if it is known.
    pub fn terms(&self, id: ChannelId) -> Option<Arc<Terms>> {
        self.inner
            .terms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// Proves a claimed voucher against the channel's signer: on the caller's thread, before any lane.
    ///
    /// # Errors
    /// [`Refusal::ChannelNotFound`], or the proof's own.
    pub fn prove(&self, voucher: Voucher<Claimed>) -> Result<Voucher<Proven>, Refusal> {
        let terms = self.terms(voucher.channel()).ok_or(Refusal::ChannelNotFound)?;
        self.prove_of(&terms, voucher)
    }

    /// Proves the voucher of a channel that is not open yet, against the terms that it will have.
    ///
    /// # Errors
    /// The proof's own.
    pub fn prove_of(&self, terms: &Terms, voucher: Voucher<Claimed>) -> Result<Voucher<Proven>, Refusal> {
        voucher.prove(terms.signer(), self.domain(), &default_backend())
    }

    /// Proves that the payer wants its channel closed at this voucher's total, where it says so apart.
    ///
    /// # Errors
    /// [`Refusal::ChannelNotFound`], or the proof's own.
    pub fn prove_close(&self, voucher: &Voucher<Claimed>, wish: &Signature) -> Result<(), Refusal> {
        let terms = self.terms(voucher.channel()).ok_or(Refusal::ChannelNotFound)?;
        prove_close_authorization(voucher, wish, &terms, (self.domain(), &default_backend()))
    }

    /// Takes a voucher and reserves what it buys. The voucher is proven first, always (threat V1).
    ///
    /// # Errors
    /// A [`No`]; nothing has changed then.
    pub async fn pay(&self, voucher: Voucher<Claimed>, order: Order) -> Result<Paid, No> {
        let voucher = self.prove(voucher)?;
        self.must_be_fresh()?;
        let input = Input::Pay {
            voucher,
            rules: order.rules,
            price: order.price,
        };
        let credential = order.credential.filter(|_| order.price.is_some());
        let channel = voucher.channel();
        let keyed = order.keyed.filter(|_| order.price.is_some());
        let hold = keyed.map(|keyed| Hold::new(self.clone(), channel, keyed));
        let answer = self
            .ask(Ask::Move {
                channel,
                input,
                credential,
                claim: hold.as_ref().map(Hold::claim),
            })
            .await?;
        if let Some(repeat) = answer.get().repeat {
            return hold.ok_or(No::Busy)?.repeated(repeat, answer);
        }
        Ok(match (answer.get().outcome, order.price) {
            (Outcome::Reserved(charge), Some(price)) => {
                let sale = Sale::new(self.clone(), channel, charge, price, order.charge_on);
                Paid::Sale(sale.held(hold), answer)
            }
            (Outcome::Short { required }, _) => Paid::Short { required, answer },
            _ => Paid::Accepted(answer),
        })
    }

    /// Charges one more unit out of what is already authorised: reserved and committed, durably, before it is
    /// delivered.
    ///
    /// # Errors
    /// A [`No`]; [`Refusal::InsufficientBalance`] names the total that the next voucher must reach.
    pub async fn charge(&self, channel: ChannelId, price: Amount) -> Result<Durable<Answer>, No> {
        self.must_be_fresh()?;
        let reserved = self.tell(channel, Input::Reserve { price }).await?;
        let Outcome::Reserved(charge) = reserved.get().outcome else {
            return Ok(reserved);
        };
        let commit = Input::Commit {
            charge,
            amount: price,
            body: Body::Delivered,
        };
        self.tell_patiently(channel, commit).await
    }

    /// Begins a close with the payer's last voucher; from here on nothing is sold on the channel (threat C3).
    ///
    /// # Errors
    /// A [`No`]; a close needs the signer's voucher (threat F2).
    pub async fn begin_close(&self, voucher: Voucher<Claimed>) -> Result<Durable<Answer>, No> {
        let voucher = self.prove(voucher)?;
        self.tell(
            voucher.channel(),
            Input::BeginClose {
                voucher: Some(voucher),
            },
        )
        .await
    }

    /// Takes in a channel that a payer pointed at, unless it is known already.
    pub async fn introduce(&self, adoption: Adoption) -> Result<Durable<Answer>, No> {
        self.take_in(adoption, Ask::Introduce).await
    }

    /// Takes in what the watcher saw of a channel.
    pub async fn observe(&self, adoption: Adoption) -> Result<Durable<Answer>, No> {
        self.take_in(adoption, Ask::Observe).await
    }

    async fn take_in(
        &self,
        adoption: Adoption,
        ask: impl FnOnce(Adoption) -> Ask,
    ) -> Result<Durable<Answer>, No> {
        let (id, terms) = (adoption.id, Arc::new(adoption.terms.clone()));
        let answer = self.ask(ask(adoption)).await?;
        self.inner
            .terms
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_insert(terms);
        Ok(answer)
    }

    /// Waits until the watcher has seen a deposit of at least so much.
    ///
    /// # Errors
    /// [`No::NotSeenYet`] when it has not within `patience`.
    pub async fn wait_for_deposit(
        &self,
        id: ChannelId,
        deposit: Cumulative,
        patience: Duration,
    ) -> Result<Durable<Answer>, No> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match self.read(id).await {
                Ok(answer) if answer.get().channel.chain().deposit >= deposit => return Ok(answer),
                // Somebody else may have sent what opened it: then the watcher is the first to tell.
                Ok(_) | Err(No::Refused(Refusal::ChannelNotFound)) => {}
                Err(no) => return Err(no),
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(No::NotSeenYet);
            }
            tokio::time::sleep(DEPOSIT_POLL).await;
        }
    }

    /// A channel's durable state.
    pub async fn read(&self, id: ChannelId) -> Result<Durable<Answer>, No> {
        self.ask(Ask::Read(id)).await
    }

    /// Every channel as the lanes see them now.
    pub async fn channels(&self) -> Result<Vec<Channel>, No> {
        let mut all = Vec::new();
        for lane in &self.inner.lanes {
            all.extend(lane.snapshot().await?);
        }
        Ok(all)
    }

    /// Moves a channel by an input that is not a payment.
    pub async fn tell(&self, channel: ChannelId, input: Input) -> Result<Durable<Answer>, No> {
        self.ask(Ask::Move {
            channel,
            input,
            credential: None,
            claim: None,
        })
        .await
    }

    /// Moves a channel by an input that must not be lost to a full queue: the end of a charge, the settler's steps.
    ///
    /// # Errors
    /// A [`No`], but never [`No::Busy`].
    pub async fn tell_patiently(&self, channel: ChannelId, input: Input) -> Result<Durable<Answer>, No> {
        let ask = Ask::Move {
            channel,
            input,
            credential: None,
            claim: None,
        };
        self.ask_patiently(ask).await
    }

    pub(crate) async fn ask_patiently(&self, ask: Ask) -> Result<Durable<Answer>, No> {
        loop {
            match self.ask(ask.clone()).await {
                Err(No::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
                answered => return answered,
            }
        }
    }

    /// Whether credit may be given on what is known of the chain.
    pub fn must_be_fresh(&self) -> Result<(), No> {
        let age_seconds = self
            .inner
            .freshness
            .age_seconds(self.inner.clock.now())
            .ok_or(No::NoViewYet)?;
        if age_seconds > self.inner.config.budget.view_age_seconds_max {
            return Err(No::ViewStale { age_seconds });
        }
        Ok(())
    }

    /// Writes out what is queued; call when no more asks will come.
    pub fn close(&self) -> Result<(), StoreFault> {
        self.inner.journal.close()
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Result<Durable<Answer>, No> {
        let id = match &ask {
            Ask::Move { channel, .. } | Ask::EndKey { channel, .. } | Ask::Read(channel) => *channel,
            Ask::Introduce(adoption) | Ask::Observe(adoption) => adoption.id,
        };
        match self.inner.lanes.get(lane_of(id)) {
            Some(lane) => lane.ask(ask).await,
            None => Err(No::Stopping),
        }
    }
}

/// The lane of a channel. Ids are hashes, so any of their bytes spread evenly.
fn lane_of(id: ChannelId) -> usize {
    usize::from(id.as_bytes()[31]) % LANES
}
