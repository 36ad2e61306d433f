//! What pulling needs of a chain, as a parameter; [`GasKey`] provides the real one.

use crate::settlement::ChainTrouble;
use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use weir_chain::{Broadcast, Call, Drawn, Envelope, Escrow, Outcome, Quote, SendFault, Sender};
use weir_core::pull::Pull;
use weir_core::{Amount, ChainState, ChannelId, Draw, UnixSeconds};

/// What bears on a pull, on the newest state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The moment of the newest block.
    pub head: UnixSeconds,
    /// Its height.
    pub height: u64,
    /// The channel of a deposit, where it exists.
    pub channel: Option<ChainState>,
    /// Whether the signature's nonce is used, or was taken back.
    pub is_used_up: bool,
    /// Whether the payer is a contract, or has delegated to one.
    pub payer_has_code: bool,
    /// What the payer holds of the token.
    pub payer_balance: Amount,
    /// What the gas key has, in wei.
    pub gas_balance: u128,
}

/// What a node says of a call before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Priced {
    /// It would have its effect, at this price.
    At(Quote),
    /// It would revert, for this reason.
    WouldRevert(String),
}

/// What a node made of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It has it.
    Taken,
    /// Another transaction has its nonce.
    NonceTaken,
    /// It does not take it, for this reason.
    Refused(String),
}

/// Puts pulls on a chain, from one account.
#[async_trait]
pub trait Gas: Send + Sync + 'static {
    /// The account that pays.
    fn address(&self) -> Address;

    /// Looks at what bears on a pull.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn situation(&self, pull: &Pull, channel: ChannelId) -> Result<Situation, ChainTrouble>;

    /// Looks at what bears on a payment.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn draw_situation(&self, draw: &Draw) -> Result<Situation, ChainTrouble>;

    /// Whether a payment's signature is used up once what waits for a block is in one, as far as our node knows of it.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn is_being_drawn(&self, draw: &Draw) -> Result<bool, ChainTrouble>;

    /// What used a payment's signature up, if that was not before `since`.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn drawn(&self, draw: &Draw, since: UnixSeconds) -> Result<Drawn, ChainTrouble>;

    /// What the account has, in wei.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn balance(&self) -> Result<u128, ChainTrouble>;

    /// Tries a call on the newest state, and prices it.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn price(&self, call: &Call) -> Result<Priced, ChainTrouble>;

    /// Signs under the next nonce, for good: nothing is sent.
    ///
    /// # Errors
    /// [`ChainTrouble`]; no nonce is used then.
    async fn sign(&self, quote: &Quote) -> Result<Envelope, ChainTrouble>;

    /// Signs again under the same nonce, for a higher fee.
    ///
    /// # Errors
    /// [`ChainTrouble`], also when no higher fee can help.
    async fn bump(&self, stuck: &Envelope) -> Result<Envelope, ChainTrouble>;

    /// Signs a call of nothing under the same nonce, for a higher fee: it makes room for what waits behind.
    ///
    /// # Errors
    /// [`ChainTrouble`], also when no higher fee can help.
    async fn make_room(&self, stuck: &Envelope) -> Result<Envelope, ChainTrouble>;

    /// Sends an envelope; sending it again is harmless.
    ///
    /// # Errors
    /// [`ChainTrouble`] when it is not known whether it arrived.
    async fn broadcast(&self, envelope: &Envelope) -> Result<Posted, ChainTrouble>;

    /// What became of a transaction, as far as our node knows.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn outcome(&self, hash: B256) -> Result<Outcome, ChainTrouble>;

    /// The height of the newest block.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known.
    async fn height(&self) -> Result<u64, ChainTrouble>;

    /// Remembers a nonce that an envelope on record uses, whatever the node says of it.
    fn remember(&self, nonce: u64);
}

/// The gas key on a real chain, with the escrow that it calls.
#[derive(Debug, Clone)]
pub struct GasKey {
    escrow: Escrow,
    sender: Sender,
}

impl GasKey {
    /// An escrow, and the account that pays for what is sent to it.
    pub const fn new(escrow: Escrow, sender: Sender) -> Self {
        Self { escrow, sender }
    }
}

#[async_trait]
impl Gas for GasKey {
    fn address(&self) -> Address {
        self.sender.address()
    }

    async fn situation(&self, pull: &Pull, channel: ChannelId) -> Result<Situation, ChainTrouble> {
        let head = self.escrow.rpc().head().await?;
        let channel = self.escrow.channel_at(channel, head.hash).await?;
        let balance = self.escrow.token_balance(pull.token(), pull.from).await?;
        let code = self.escrow.rpc().code_at_head(pull.from).await?;
        Ok(Situation {
            head: head.timestamp,
            height: head.number,
            channel: channel.map(|(_, state)| state),
            is_used_up: self.escrow.is_used_up(pull).await?,
            payer_has_code: !code.is_empty(),
            payer_balance: Amount::new(balance.saturating_to()),
            gas_balance: self.balance().await?,
        })
    }

    async fn draw_situation(&self, draw: &Draw) -> Result<Situation, ChainTrouble> {
        let head = self.escrow.rpc().head().await?;
        let balance = self.escrow.token_balance(draw.token, draw.from).await?;
        let code = self.escrow.rpc().code_at_head(draw.from).await?;
        Ok(Situation {
            head: head.timestamp,
            height: head.number,
            channel: None,
            is_used_up: self.escrow.is_drawn(draw).await?,
            payer_has_code: !code.is_empty(),
            payer_balance: Amount::new(balance.saturating_to()),
            gas_balance: self.balance().await?,
        })
    }

    async fn is_being_drawn(&self, draw: &Draw) -> Result<bool, ChainTrouble> {
        Ok(self.escrow.is_being_drawn(draw).await?)
    }

    async fn drawn(&self, draw: &Draw, since: UnixSeconds) -> Result<Drawn, ChainTrouble> {
        Ok(self.escrow.drawn(draw, since).await?)
    }

    async fn balance(&self) -> Result<u128, ChainTrouble> {
        Ok(self.sender.balance().await?)
    }

    async fn price(&self, call: &Call) -> Result<Priced, ChainTrouble> {
        match self.sender.quote(call).await {
            Ok(quote) => Ok(Priced::At(quote)),
            Err(SendFault::WouldRevert(revert)) => Ok(Priced::WouldRevert(revert.to_string())),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn sign(&self, quote: &Quote) -> Result<Envelope, ChainTrouble> {
        let nonce = self.sender.next_nonce().await?;
        let envelope = self.sender.prepare(quote, &nonce).await?;
        // Should the books refuse the envelope, the lane stops for good: the nonce is not wanted by another.
        nonce.keep();
        Ok(envelope)
    }

    async fn bump(&self, stuck: &Envelope) -> Result<Envelope, ChainTrouble> {
        Ok(self.sender.bump(stuck).await?)
    }

    async fn make_room(&self, stuck: &Envelope) -> Result<Envelope, ChainTrouble> {
        Ok(self.sender.make_room(stuck).await?)
    }

    async fn broadcast(&self, envelope: &Envelope) -> Result<Posted, ChainTrouble> {
        match self.sender.broadcast(envelope).await {
            Ok(Broadcast::NonceTaken) => Ok(Posted::NonceTaken),
            Ok(Broadcast::Underpriced) => Ok(Posted::Refused("it pays too little".to_owned())),
            Ok(Broadcast::Accepted | Broadcast::AlreadyKnown | Broadcast::Landed(_)) => Ok(Posted::Taken),
            Err(SendFault::Refused { message, .. }) => Ok(Posted::Refused(message)),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn outcome(&self, hash: B256) -> Result<Outcome, ChainTrouble> {
        Ok(self.sender.outcome(hash).await?)
    }

    async fn height(&self) -> Result<u64, ChainTrouble> {
        Ok(self.escrow.rpc().head().await?.number)
    }

    fn remember(&self, nonce: u64) {
        self.sender.resume_after(nonce);
    }
}
