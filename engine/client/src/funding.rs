//! Deposits: which channel pays an offer, how one is opened, and how it grows (threat T6).

use crate::account::{Account, Held};
use crate::credential::Action;
use crate::error::Error;
use crate::offer::Offer;
use crate::onchain::{ChainError, OnChain};
use crate::payer::Core;
use crate::purse::Purse;
use crate::receipt::Overcharged;
use crate::state::{ChannelRecord, PendingTopUp, Stage};
use alloy::primitives::{Address, B256};
use reqwest::Url;
use std::sync::Arc;
use weir_chain::{Escrow, Opening};
use weir_core::{Amount, ChainState, Cumulative, Terms};

/// How many units a first deposit covers when the server suggests none.
const DEPOSIT_UNITS_DEFAULT: u64 = 100;

impl Core {
    /// The channel that pays an offer: an open one that fits, or a new one.
    pub(crate) async fn purse_for(&self, offer: &Offer, origin: &str) -> Result<Arc<Purse>, Error> {
        let _turn = self.opening.lock().await;
        let mut left = Vec::new();
        for purse in self.purses() {
            let record = purse.record();
            let fits = offer.request.fits(&record.terms, record.escrow, record.chain_id);
            match record.stage {
                _ if !fits => {}
                Stage::Closed => {}
                Stage::Opening if record.is_usable() => {
                    self.bring_to_chain(&purse, offer).await?;
                    return Ok(purse);
                }
                _ if record.is_usable() => return Ok(purse),
                _ => left.push(purse),
            }
        }
        for purse in left {
            self.must_be_left(&purse).await?;
        }
        self.chain.must_be(offer.request.method_details.chain_id).await?;
        let purse = self.plan(offer, origin).await?;
        self.bring_to_chain(&purse, offer).await?;
        Ok(purse)
    }

    /// Whether a channel that buys nothing more leaves room for a new one. One that the server gave up while the escrow
    /// still holds its deposit does not: a server must not collect deposits by forgetting channels. Only the payer can
    /// ask the escrow for a close, so a request that stands there is its own word. A server that overcharged gets no
    /// second deposit before the first is over.
    async fn must_be_left(&self, purse: &Arc<Purse>) -> Result<(), Error> {
        let Some(state) = self.see_whether_closed(purse).await? else {
            return Err(Error::NotOnChain {
                channel: purse.id(),
                file: self.state.file_of(purse.id()),
            });
        };
        if state.finalized {
            return Ok(());
        }
        if purse.record().stopped {
            return Err(Error::Stopped(purse.id()));
        }
        match state.close_requested_at {
            Some(_) => Ok(()),
            None => Err(Error::Forgotten(purse.id())),
        }
    }

    /// Reads a channel that buys nothing more; `None` when the escrow has none. What a close captured beyond what was
    /// agreed is this run's loss: for a request that was refused the price is the run's again, and a server that
    /// refuses and captures would be paid outside every limit.
    ///
    /// # Errors
    /// [`Error::Overcharged`].
    pub(crate) async fn see_whether_closed(&self, purse: &Arc<Purse>) -> Result<Option<ChainState>, Error> {
        let escrow = self.chain.escrow_of(&purse.record()).await?;
        let found = self.chain.channel(&escrow, purse.id()).await?;
        let state = found.map(|found| found.state);
        if let Some(state) = state.filter(|state| state.finalized) {
            let closed = purse.finalize(state.settled).await;
            if let Err(Error::Overcharged {
                why: Overcharged::Captured { captured, agreed },
                ..
            }) = &closed
            {
                self.run.lose(captured.since(*agreed).unwrap_or(Amount::ZERO));
            }
            closed?;
        }
        Ok(state)
    }

    /// Decides on a channel and writes it down; nothing is broadcast yet.
    async fn plan(&self, offer: &Offer, origin: &str) -> Result<Arc<Purse>, Error> {
        let escrow = self.chain.trusted_escrow(offer.escrow, &self.limits).await?;
        let token = offer.request.currency;
        // Nothing is locked for a purchase that the limits would refuse at once.
        self.check_first_voucher(offer)?;
        let needed = self.least_deposit(offer);
        self.limits.check_deposit(needed)?;
        let cap = escrow.max_deposit(token).await.map_err(ChainError::from)?;
        let cap = Amount::new(cap.base_units());
        let balance = self.chain.balance(&escrow, token).await?;
        let wished = offer
            .request
            .suggested_deposit
            .or_else(|| offer.request.amount.times(DEPOSIT_UNITS_DEFAULT));
        let wished = wished.unwrap_or(needed).max(needed);
        let deposit = wished.min(self.limits.max_deposit).min(cap).min(balance);
        if deposit < needed || deposit.is_zero() {
            return Err(self.too_little(&escrow, token, (cap, needed), (balance, needed)));
        }
        let payee = offer.request.recipient;
        let terms = Terms {
            payer: self.chain.payer(),
            payee,
            token,
            authorized_signer: Address::ZERO,
            reserve: None,
        };
        let salt = crate::credential::random_word()?;
        let channel = terms.channel_id(salt, escrow.domain());
        let left = self.leave_for(offer, &escrow, (deposit, salt)).await?;
        let deposit = Cumulative::new(deposit.base_units());
        let mut record = ChannelRecord::planned(
            channel,
            escrow.domain().chain_id(),
            escrow.address(),
            terms,
            deposit,
        );
        record.salt = Some(salt);
        record.open_left = left;
        record.origin = Some(origin.to_owned());
        record.planned_at_block = self.chain.head().await?;
        let purse = Arc::new(Purse::new(record, Arc::clone(&self.state)));
        purse.mark(|_, _| {}).await?;
        self.keep(&purse);
        Ok(purse)
    }

    /// Sees to it that a planned channel is on the chain. It may be called again after any failure: the salt and the
    /// signed transaction are on disk, and the escrow opens an id at most once, so no deposit is locked twice.
    pub(crate) async fn bring_to_chain(&self, purse: &Arc<Purse>, offer: &Offer) -> Result<(), Error> {
        let record = purse.record();
        let escrow = self.chain.escrow_of(&record).await?;
        if record.open_left.is_some() && self.see_left_open(purse, &escrow, offer).await? {
            return Ok(());
        }
        let doing = "opening the channel";
        let mut opened_by = None;
        if let Some(envelope) = &record.open_envelope {
            // An earlier attempt of ours. One that reverted, or can never land, is made anew below.
            if self.chain.broadcast(envelope, doing).await? {
                opened_by = self.landed(envelope.hash, doing).await?;
            }
        }
        if opened_by.is_none() && self.chain.channel(&escrow, purse.id()).await?.is_none() {
            offer.must_take_own()?;
            let hash = self.broadcast_open(purse, &escrow).await?;
            opened_by = self.landed(hash, doing).await?;
        }
        let hash = match opened_by {
            Some(hash) => hash,
            // It is open, by a transaction that the books have lost.
            None => {
                let opened = self.chain.opened(&escrow, record.planned_at_block).await?;
                let own = opened.iter().find(|opened| opened.id == purse.id());
                own.ok_or(ChainError::NoChannel(purse.id()))?.transaction
            }
        };
        let found = self.chain.channel(&escrow, purse.id()).await?;
        let found = found.ok_or(ChainError::NoChannel(purse.id()))?;
        let marked = purse.mark(|record, account| {
            record.open_hash = Some(hash);
            record.open_envelope = None;
            record.stage = if found.state.finalized {
                Stage::Closed
            } else {
                Stage::Mined
            };
            account.deposit = found.state.deposit;
        });
        marked.await
    }

    /// Waits for a transaction: `None` when it reverted.
    async fn landed(&self, hash: B256, doing: &'static str) -> Result<Option<B256>, Error> {
        match self.chain.mined(hash, doing).await {
            Ok(_) => Ok(Some(hash)),
            Err(error) if error.is_revert() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn broadcast_open(&self, purse: &Arc<Purse>, escrow: &Escrow) -> Result<B256, Error> {
        let record = purse.record();
        let deposit = Amount::new(record.deposit.base_units());
        self.chain.approve(escrow, record.terms.token, deposit).await?;
        let opening = Opening {
            payee: record.terms.payee,
            token: record.terms.token,
            deposit,
            salt: record.salt.ok_or(Error::NoChannel)?,
            authorized_signer: record.terms.authorized_signer,
            max_deposit: None,
        };
        let doing = "opening the channel";
        let _turn = self.chain.sending.lock().await;
        let (envelope, nonce) = self.chain.prepare(&escrow.calls().open(&opening), doing).await?;
        purse
            .mark(|record, _| record.open_envelope = Some(envelope.clone()))
            .await?;
        self.chain.leave(&envelope, nonce, doing).await?;
        Ok(envelope.hash)
    }

    /// Reads the channel's state; a channel that is over for new purchases is an error.
    pub(crate) async fn refresh(&self, purse: &Arc<Purse>, escrow: &Escrow) -> Result<OnChain, Error> {
        let found = self
            .chain
            .channel(escrow, purse.id())
            .await?
            .ok_or(ChainError::NoChannel(purse.id()))?;
        purse.with(|account| account.deposit = found.state.deposit);
        if found.state.finalized || found.state.close_requested_at.is_some() {
            // Closed is what `see_whether_closed` found: what the close captured is compared once the request is over.
            purse.mark(|record, _| record.stage = Stage::Closing).await?;
            return Err(Error::ChannelGone(purse.id()));
        }
        Ok(found)
    }

    /// Raises the deposit until it covers `needed`, within the limits, and tells the server. True when the deposit
    /// was raised now; false when it was enough already, and only the server has yet to see it.
    pub(crate) async fn cover(
        &self,
        purse: &Arc<Purse>,
        offer: &Offer,
        needed: Cumulative,
        url: &Url,
    ) -> Result<bool, Error> {
        let _turn = purse.moving.lock().await;
        let record = purse.record();
        let escrow = self.chain.escrow_of(&record).await?;
        if let Some(pending) = record.pending_top_up {
            self.resume_top_up(purse, &escrow, pending, url).await?;
        }
        self.resume_left_top_up(purse, &escrow, url).await?;
        let deposit = self.refresh(purse, &escrow).await?.state.deposit;
        if deposit >= needed {
            return Ok(false);
        }
        let amount = self.top_up_amount(offer, &escrow, deposit, needed).await?;
        if self.leave_top_up(purse, (offer, &escrow), amount, url).await? {
            self.refresh(purse, &escrow).await?;
            return Ok(true);
        }
        offer.must_take_own()?;
        self.chain.approve(&escrow, record.terms.token, amount).await?;
        let pending = self.broadcast_top_up(purse, &escrow, amount).await?;
        self.resume_top_up(purse, &escrow, pending, url).await?;
        self.refresh(purse, &escrow).await?;
        Ok(true)
    }

    async fn broadcast_top_up(
        &self,
        purse: &Arc<Purse>,
        escrow: &Escrow,
        amount: Amount,
    ) -> Result<PendingTopUp, Error> {
        let doing = "topping up the channel";
        let _turn = self.chain.sending.lock().await;
        let (envelope, nonce) = self
            .chain
            .prepare(&escrow.calls().top_up(purse.id(), amount), doing)
            .await?;
        let pending = PendingTopUp { amount, envelope };
        purse
            .mark(|record, _| record.pending_top_up = Some(pending.clone()))
            .await?;
        self.chain.leave(&pending.envelope, nonce, doing).await?;
        Ok(pending)
    }

    async fn top_up_amount(
        &self,
        offer: &Offer,
        escrow: &Escrow,
        deposit: Cumulative,
        needed: Cumulative,
    ) -> Result<Amount, Error> {
        let total = Amount::new(needed.base_units());
        self.limits.check_deposit(total)?;
        let missing = needed.since(deposit).unwrap_or(Amount::ZERO);
        let cap = escrow
            .max_deposit(offer.request.currency)
            .await
            .map_err(ChainError::from)?;
        let most = Cumulative::new(self.limits.max_deposit.base_units())
            .min(cap)
            .since(deposit);
        let token = offer.request.currency;
        let balance = self.chain.balance(escrow, token).await?;
        let most = most.unwrap_or(Amount::ZERO).min(balance);
        if most < missing {
            let cap = Amount::new(cap.base_units());
            return Err(self.too_little(escrow, token, (cap, total), (balance, missing)));
        }
        Ok(offer
            .request
            .suggested_deposit
            .unwrap_or(missing)
            .max(missing)
            .min(most))
    }

    /// Says what is too small for a deposit: what the escrow takes, for what the channel would hold, or what the payer
    /// has, for what it would lock now.
    fn too_little(
        &self,
        escrow: &Escrow,
        token: Address,
        (cap, total): (Amount, Amount),
        (balance, needed): (Amount, Amount),
    ) -> Error {
        if cap < total {
            return Error::Cap {
                escrow: escrow.address(),
                token,
                cap,
                needed: total,
            };
        }
        Error::Balance {
            token,
            payer: self.chain.payer(),
            balance,
            needed,
        }
    }

    /// Holds the first voucher of a new channel against the limits.
    fn check_first_voucher(&self, offer: &Offer) -> Result<(), Error> {
        let (all, none) = (Cumulative::new(u128::MAX), Cumulative::ZERO);
        let mut fresh = Account::load(all, none, none, none);
        match fresh.agree(self.bounds(offer), |price| self.run.allows(price)) {
            Err(Held::Limit(why)) => Err(why.into()),
            _ => Ok(()),
        }
    }

    /// Takes up a top-up that was signed: sees to it that it is mined, and tells the server; forgets it when it
    /// reverted or can never be mined.
    async fn resume_top_up(
        &self,
        purse: &Arc<Purse>,
        escrow: &Escrow,
        pending: PendingTopUp,
        url: &Url,
    ) -> Result<(), Error> {
        let doing = "topping up the channel";
        let hash = match self.chain.broadcast(&pending.envelope, doing).await? {
            true => self.landed(pending.envelope.hash, doing).await?,
            false => None,
        };
        if let Some(hash) = hash {
            self.refresh(purse, escrow).await?;
            let action = Action::TopUp {
                hash,
                additional: pending.amount,
            };
            if let Err(error) = self.manage(url, purse, action, Cumulative::ZERO).await {
                // The server sees the chain too; the next voucher tells whether it saw this.
                tracing::warn!(channel = %purse.id(), %error, "the server did not take note of a top-up");
            }
        }
        purse.mark(|record, _| record.pending_top_up = None).await
    }
}
