//! The payer's hands on the chain: its own transactions, one after the other, each waited for.
//!
//! The node is first asked when something needs it: to pay on an open channel, what the books tell is enough.

use crate::http::{Aloud, Wait};
use crate::limits::{AllowedEscrow, LimitExceeded, Limits};
use crate::state::ChannelRecord;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::Mutex as BriefMutex;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use weir_chain::{
    Broadcast, Call, ChainFault, Envelope, Escrow, IToken, Landed, Nonce, OpenedChannel, Outcome, Rpc,
    SendFault, Sender,
};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::{Amount, ChainState, ChannelId, Terms};

/// How long a transaction is waited for. It is not given up then: what it was to do is on disk.
pub const MINED_SECONDS_MAX: u64 = 120;

/// Why the chain did not do, or did not tell, what the payer needs.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A reading failed, or the escrow is not what it should be.
    #[error(transparent)]
    Fault(#[from] ChainFault),
    /// A transaction was not sent, failed, or is not mined yet. In the last case it is taken up again by the next
    /// request, and not sent twice.
    #[error("{doing}: {fault}")]
    Send {
        /// What was being done.
        doing: &'static str,
        /// What happened.
        fault: Box<SendFault>,
    },
    /// A challenge, or a channel of the books, is on another chain than the payer's node.
    #[error("the payment is on chain {offered}, the RPC endpoint on chain {found}")]
    OtherChain {
        /// The chain id of the challenge or the channel.
        offered: u64,
        /// The node's.
        found: u64,
    },
    /// A transaction would cost more than a payer expects of any.
    #[error("the fees of one transaction would come to {most} attodollars, over {limit}")]
    Fee {
        /// What it could cost.
        most: u128,
        /// The most that is paid.
        limit: u128,
    },
    /// No channel with this id is in the escrow.
    #[error("the escrow has no channel {0}")]
    NoChannel(ChannelId),
}

impl ChainError {
    pub(crate) fn send(doing: &'static str) -> impl Fn(SendFault) -> Self {
        move |fault| Self::Send {
            doing,
            fault: Box::new(fault),
        }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Send { fault, .. } if matches!(**fault, SendFault::Refused { .. }))
    }

    /// Whether a transaction was mined without effect.
    pub fn is_revert(&self) -> bool {
        matches!(self, Self::Send { fault, .. } if matches!(**fault, SendFault::Reverted(_)))
    }
}

/// A channel as the chain knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnChain {
    pub(crate) terms: Terms,
    pub(crate) state: ChainState,
}

/// The node, once it answered.
#[derive(Debug)]
struct Link {
    sender: Sender,
    chain_id: u64,
}

/// The payer's connection.
#[derive(Debug)]
pub(crate) struct Chain {
    rpc: Rpc,
    signer: PrivateKeySigner,
    link: OnceCell<Link>,
    /// The nonces of envelopes that an earlier run left.
    used: Vec<u64>,
    on_wait: Option<fn(&Wait<'_>)>,
    /// One transaction at a time: a nonce that the node refused must be free before the next is taken.
    pub(crate) sending: Mutex<()>,
    known: BriefMutex<HashMap<Address, Escrow>>,
}

impl Chain {
    /// Prepares a connection; nothing is asked yet.
    pub(crate) fn new(
        signer: PrivateKeySigner,
        rpc_url: &str,
        used: Vec<u64>,
        on_wait: Option<fn(&Wait<'_>)>,
    ) -> Result<Self, ChainError> {
        Ok(Self {
            rpc: Rpc::new(rpc_url)?,
            signer,
            link: OnceCell::new(),
            used,
            on_wait,
            sending: Mutex::new(()),
            known: BriefMutex::new(HashMap::new()),
        })
    }

    pub(crate) const fn payer(&self) -> Address {
        self.signer.address()
    }

    pub(crate) const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    pub(crate) const fn signer(&self) -> &PrivateKeySigner {
        &self.signer
    }

    /// The node's chain.
    pub(crate) async fn chain_id(&self) -> Result<u64, ChainError> {
        Ok(self.link().await?.chain_id)
    }

    async fn link(&self) -> Result<&Link, ChainError> {
        let connect = async {
            let chain_id = self.rpc.chain_id().await?;
            let sender = Sender::connect(self.rpc.clone(), self.signer.clone()).await?;
            self.used.iter().for_each(|nonce| sender.resume_after(*nonce));
            Ok(Link { sender, chain_id })
        };
        self.link.get_or_try_init(|| connect).await
    }

    async fn sender(&self) -> Result<&Sender, ChainError> {
        Ok(&self.link().await?.sender)
    }

    /// Whether the node is on this chain.
    pub(crate) async fn must_be(&self, chain_id: u64) -> Result<(), ChainError> {
        let found = self.link().await?.chain_id;
        if found != chain_id {
            let offered = chain_id;
            return Err(ChainError::OtherChain { offered, found });
        }
        Ok(())
    }

    /// The escrow of a channel of the books, on the chain that it was opened on.
    pub(crate) async fn escrow_of(&self, record: &ChannelRecord) -> Result<Escrow, ChainError> {
        self.must_be(record.chain_id).await?;
        self.escrow(record.escrow).await
    }

    /// The escrow at this address, checked once: code, signing domain, the draft's least grace period.
    pub(crate) async fn escrow(&self, address: Address) -> Result<Escrow, ChainError> {
        let known = self
            .known
            .lock()
            .map(|known| known.get(&address).cloned())
            .unwrap_or_default();
        if let Some(escrow) = known {
            return Ok(escrow);
        }
        let escrow = Escrow::over(self.rpc().clone(), address, EVM_DOMAIN_NAME).await?;
        if let Ok(mut known) = self.known.lock() {
            known.insert(address, escrow.clone());
        }
        Ok(escrow)
    }

    /// [`Chain::escrow`] under the payer's limits, before a deposit goes there.
    pub(crate) async fn trusted_escrow(
        &self,
        allowed: AllowedEscrow,
        limits: &Limits,
    ) -> Result<Escrow, crate::Error> {
        let escrow = self.escrow(allowed.address).await?;
        limits.check_grace(escrow.grace_period_seconds())?;
        if let Some(expected) = allowed.code_hash {
            let code = self.rpc().provider().get_code_at(allowed.address).await;
            let code = code.map_err(|_| ChainFault::NoCode {
                address: allowed.address,
                chain_id: escrow.domain().chain_id(),
            });
            let code = code.map_err(ChainError::from)?;
            let offered = keccak256(&code);
            if offered != expected {
                return Err(LimitExceeded::EscrowCode {
                    escrow: allowed.address,
                    offered,
                    expected,
                }
                .into());
            }
        }
        Ok(escrow)
    }

    /// The channel after the newest block.
    pub(crate) async fn channel(
        &self,
        escrow: &Escrow,
        id: ChannelId,
    ) -> Result<Option<OnChain>, ChainError> {
        let head = self.rpc().head().await?;
        let found = escrow.channel_at(id, head.hash).await?;
        Ok(found.map(|(terms, state)| OnChain { terms, state }))
    }

    /// The time of the newest block, in Unix seconds.
    pub(crate) async fn now(&self) -> Result<u64, ChainError> {
        Ok(self.rpc().head().await?.timestamp.0)
    }

    /// The channels that this payer ever opened in the escrow, from a block on.
    pub(crate) async fn opened(
        &self,
        escrow: &Escrow,
        from_block: u64,
    ) -> Result<Vec<OpenedChannel>, ChainError> {
        Ok(escrow.channels_of_payer(self.payer(), from_block).await?)
    }

    /// What the payer holds of a token.
    pub(crate) async fn balance(&self, escrow: &Escrow, token: Address) -> Result<Amount, ChainError> {
        Ok(clamped(escrow.token_balance(token, self.payer()).await?))
    }

    /// The same without an escrow.
    pub(crate) async fn token_balance(&self, token: Address) -> Result<Amount, ChainError> {
        let account = self.payer();
        let latest = alloy::eips::BlockId::latest();
        let call = IToken::balanceOfCall { account };
        let balance = self.rpc.call_at(token, &call, latest).await?;
        Ok(clamped(balance.unwrap_or(U256::ZERO)))
    }

    /// Lets the escrow pull `amount`, unless it already may.
    pub(crate) async fn approve(
        &self,
        escrow: &Escrow,
        token: Address,
        amount: Amount,
    ) -> Result<(), ChainError> {
        if self.allowance(token, escrow.address()).await? >= amount {
            return Ok(());
        }
        let doing = "approving the deposit";
        self.act(&escrow.calls().approve(token, amount), doing)
            .await
            .map(drop)
    }

    /// What somebody may pull from the payer.
    pub(crate) async fn allowance(&self, token: Address, spender: Address) -> Result<Amount, ChainError> {
        let call = IToken::allowanceCall {
            owner: self.payer(),
            spender,
        };
        let latest = alloy::eips::BlockId::latest();
        let allowed = self.rpc().call_at(token, &call, latest).await?;
        let allowed = allowed.ok_or(ChainFault::NoCode {
            address: token,
            chain_id: self.link().await?.chain_id,
        })?;
        Ok(clamped(allowed))
    }

    /// The newest block's number.
    pub(crate) async fn head(&self) -> Result<u64, ChainError> {
        Ok(self.rpc().head().await?.number)
    }

    /// Prices and signs a call; nothing is sent. The caller holds `sending` until it is broadcast.
    pub(crate) async fn prepare(
        &self,
        call: &Call,
        doing: &'static str,
    ) -> Result<(Envelope, Nonce), ChainError> {
        let sender = self.sender().await?;
        let prepared = async {
            let quote = sender.quote(call).await?;
            let nonce = sender.next_nonce().await?;
            Ok((sender.prepare(&quote, &nonce).await?, nonce))
        };
        prepared.await.map_err(ChainError::send(doing))
    }

    /// Sends an envelope; sending it again is harmless. False when another transaction has its nonce, so that it can
    /// never land.
    pub(crate) async fn broadcast(
        &self,
        envelope: &Envelope,
        doing: &'static str,
    ) -> Result<bool, ChainError> {
        match self.sender().await?.broadcast(envelope).await {
            Ok(Broadcast::NonceTaken) => Ok(false),
            Ok(_) => Ok(true),
            Err(fault) => Err(ChainError::send(doing)(fault)),
        }
    }

    /// Waits until a transaction is mined, and gives what it did if it had its effect.
    pub(crate) async fn mined(&self, hash: B256, doing: &'static str) -> Result<Landed, ChainError> {
        let most = Duration::from_secs(MINED_SECONDS_MAX);
        let aloud = Aloud {
            on_wait: self.on_wait,
            why: &format!("{doing}: its transaction waits for a block"),
            most,
        };
        let waiting = self.sender().await?.wait(hash, Instant::now() + most);
        let fault = match aloud.wait(waiting).await {
            Outcome::Landed(landed) if landed.success => return Ok(landed),
            Outcome::Landed(_) => SendFault::Reverted(hash),
            Outcome::Pending | Outcome::NotSeen => SendFault::Unknown(hash),
        };
        Err(ChainError::send(doing)(fault))
    }

    /// Sends a call that may be sent again without harm, and waits for it.
    pub(crate) async fn act(&self, call: &Call, doing: &'static str) -> Result<(B256, Landed), ChainError> {
        let envelope = {
            let _turn = self.sending.lock().await;
            let (envelope, nonce) = self.prepare(call, doing).await?;
            self.leave(&envelope, nonce, doing).await?;
            envelope
        };
        Ok((envelope.hash, self.mined(envelope.hash, doing).await?))
    }

    /// Broadcasts for the first time. The nonce stays taken unless the node certainly refused.
    pub(crate) async fn leave(
        &self,
        envelope: &Envelope,
        nonce: Nonce,
        doing: &'static str,
    ) -> Result<(), ChainError> {
        let sent = self.broadcast(envelope, doing).await;
        if !sent.as_ref().is_err_and(ChainError::is_refusal) {
            nonce.keep();
        }
        if !sent? {
            return Err(ChainError::send(doing)(SendFault::NonceTaken(envelope.hash)));
        }
        Ok(())
    }
}

/// More than 128 bits can hold is more than any channel can.
fn clamped(units: U256) -> Amount {
    Amount::new(u128::try_from(units).unwrap_or(u128::MAX))
}
