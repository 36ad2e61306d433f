//! The payer's hands on the chain: its own transactions, one after the other, each waited for.

use crate::limits::{AllowedEscrow, LimitExceeded, Limits};
use alloy::network::EthereumWallet;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Log, TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use alloy::transports::http::reqwest;
use alloy::transports::{RpcError, TransportError};
use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::Mutex as BriefMutex;
use tokio::sync::Mutex;
use weir_chain::rpc::{REQUEST_SECONDS_MAX, Rpc};
use weir_chain::{Call, ChainFault, Escrow, IToken, OpenedChannel};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::{Amount, ChainState, ChannelId, Terms};

/// How long a transaction is waited for. It is not given up then: what it was to do is on disk.
pub const MINED_SECONDS_MAX: u64 = 120;
/// How often a receipt is asked for.
const RECEIPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the chain did not do, or did not tell, what the payer needs.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A reading failed, or the escrow is not what it should be.
    #[error(transparent)]
    Fault(#[from] ChainFault),
    /// A transaction could not be sent: the node refused it, or would have seen it revert.
    #[error(
        "{doing}: the node does not take the transaction ({cause}); check balance, gas and the RPC endpoint"
    )]
    NotSent {
        /// What was being done.
        doing: &'static str,
        /// What the node says.
        cause: String,
    },
    /// A transaction was mined and changed nothing.
    #[error("{doing}: the transaction {hash} reverted")]
    Reverted {
        /// What was being done.
        doing: &'static str,
        /// The transaction.
        hash: B256,
    },
    /// A transaction was not mined in time. What it was to do is on disk and is taken up again by the next request.
    #[error("{doing}: the transaction {hash} is not mined yet; try again later, nothing is sent twice")]
    NotMined {
        /// What was being done.
        doing: &'static str,
        /// The transaction.
        hash: B256,
    },
    /// The challenge names another chain than the payer's node is on.
    #[error("the challenge is for chain {offered}, the RPC endpoint is on chain {found}")]
    OtherChain {
        /// The challenge's chain id.
        offered: u64,
        /// The node's.
        found: u64,
    },
    /// No channel with this id is in the escrow.
    #[error("the escrow has no channel {0}")]
    NoChannel(ChannelId),
}

/// A channel as the chain knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnChain {
    pub(crate) terms: Terms,
    pub(crate) state: ChainState,
}

/// The payer's connection.
pub(crate) struct Chain {
    rpc: Rpc,
    sender: DynProvider,
    payer: Address,
    chain_id: u64,
    /// One transaction at a time: the nonce is read from the node for each.
    sending: Mutex<()>,
    known: BriefMutex<HashMap<Address, Escrow>>,
}

impl fmt::Debug for Chain {
    /// The wallet inside is nobody's business (threat K1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("payer", &self.payer)
            .field("chain_id", &self.chain_id)
            .finish_non_exhaustive()
    }
}

impl Chain {
    pub(crate) async fn connect(signer: &PrivateKeySigner, rpc_url: &str) -> Result<Self, ChainError> {
        let rpc = Rpc::new(rpc_url)?;
        let chain_id = rpc.chain_id().await?;
        let url: reqwest::Url = rpc_url
            .parse()
            .map_err(|error| ChainFault::BadUrl(format!("{error}")))?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(REQUEST_SECONDS_MAX))
            .build()
            .map_err(|error| ChainFault::BadUrl(error.without_url().to_string()))?;
        let sender = ProviderBuilder::new()
            // The cached kind would keep a gap for good after one refused transaction.
            .with_simple_nonce_management()
            .wallet(EthereumWallet::from(signer.clone()))
            .connect_reqwest(client, url)
            .erased();
        let known = BriefMutex::new(HashMap::new());
        Ok(Self {
            rpc,
            sender,
            payer: signer.address(),
            chain_id,
            sending: Mutex::new(()),
            known,
        })
    }

    pub(crate) const fn payer(&self) -> Address {
        self.payer
    }

    pub(crate) const fn chain_id(&self) -> u64 {
        self.chain_id
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
        let escrow = Escrow::over(self.rpc.clone(), address, EVM_DOMAIN_NAME).await?;
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
            let code = self
                .sender
                .get_code_at(allowed.address)
                .await
                .map_err(not_sent("reading the escrow's code"))?;
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
        let head = self.rpc.head().await?;
        let found = escrow.channel_at(id, head.hash).await?;
        Ok(found.map(|(terms, state)| OnChain { terms, state }))
    }

    /// The time of the newest block, in Unix seconds.
    pub(crate) async fn now(&self) -> Result<u64, ChainError> {
        Ok(self.rpc.head().await?.timestamp.0)
    }

    /// The channels that this payer ever opened in the escrow, from a block on.
    pub(crate) async fn opened(
        &self,
        escrow: &Escrow,
        from_block: u64,
    ) -> Result<Vec<OpenedChannel>, ChainError> {
        Ok(escrow.channels_of_payer(self.payer, from_block).await?)
    }

    /// What the payer holds of a token.
    pub(crate) async fn balance(&self, token: Address) -> Result<Amount, ChainError> {
        self.ask_token(token, &IToken::balanceOfCall { account: self.payer })
            .await
    }

    /// Lets the escrow pull `amount`, unless it already may.
    pub(crate) async fn approve(
        &self,
        escrow: &Escrow,
        token: Address,
        amount: Amount,
    ) -> Result<(), ChainError> {
        let call = IToken::allowanceCall {
            owner: self.payer,
            spender: escrow.address(),
        };
        if self.ask_token(token, &call).await? >= amount {
            return Ok(());
        }
        let doing = "approving the deposit";
        let hash = self.send(escrow.calls().approve(token, amount), doing).await?;
        self.mined(hash, doing).await.map(drop)
    }

    /// Broadcasts a call and gives its transaction.
    pub(crate) async fn send(&self, call: Call, doing: &'static str) -> Result<B256, ChainError> {
        let _turn = self.sending.lock().await;
        let mut request = TransactionRequest::default().input(call.input.into());
        request.to = call.to.map(Into::into);
        let pending = self
            .sender
            .send_transaction(request)
            .await
            .map_err(not_sent(doing))?;
        Ok(*pending.tx_hash())
    }

    /// Whether the node knows a transaction, mined or waiting.
    pub(crate) async fn knows(&self, hash: B256) -> Result<bool, ChainError> {
        let found = self.sender.get_transaction_by_hash(hash).await;
        Ok(found.map_err(not_sent("looking up a transaction"))?.is_some())
    }

    /// The newest block's number.
    pub(crate) async fn head(&self) -> Result<u64, ChainError> {
        Ok(self.rpc.head().await?.number)
    }

    /// Waits until a transaction is mined, and gives its receipt if it had its effect.
    pub(crate) async fn mined(
        &self,
        hash: B256,
        doing: &'static str,
    ) -> Result<TransactionReceipt, ChainError> {
        let wait = async {
            loop {
                // A failing node is asked again until the time is up: the transaction may well be mined.
                if let Ok(Some(receipt)) = self.sender.get_transaction_receipt(hash).await {
                    return receipt;
                }
                tokio::time::sleep(RECEIPT_PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(MINED_SECONDS_MAX), wait).await;
        let receipt = waited.map_err(|_| ChainError::NotMined { doing, hash })?;
        if !receipt.status() {
            return Err(ChainError::Reverted { doing, hash });
        }
        Ok(receipt)
    }

    /// Broadcasts a call and waits for it.
    pub(crate) async fn act(
        &self,
        call: Call,
        doing: &'static str,
    ) -> Result<TransactionReceipt, ChainError> {
        let hash = self.send(call, doing).await?;
        self.mined(hash, doing).await
    }

    async fn ask_token<C: SolCall<Return = U256>>(
        &self,
        token: Address,
        call: &C,
    ) -> Result<Amount, ChainError> {
        let latest = alloy::eips::BlockId::latest();
        let answer = self.rpc.call_at(token, call, latest).await?;
        let answer = answer.ok_or(ChainFault::NoCode {
            address: token,
            chain_id: self.chain_id,
        })?;
        // More than 128 bits can hold is more than any channel can.
        Ok(Amount::new(u128::try_from(answer).unwrap_or(u128::MAX)))
    }
}

/// The logs of a receipt.
pub(crate) fn logs(receipt: &TransactionReceipt) -> &[Log] {
    receipt.inner.logs()
}

fn not_sent(doing: &'static str) -> impl Fn(TransportError) -> ChainError {
    move |error| {
        // The transport's own words may hold the endpoint's URL, and that a key (threat K1).
        let cause = match error {
            RpcError::ErrorResp(payload) => payload.message.to_string(),
            RpcError::Transport(_) => "the node cannot be reached".to_owned(),
            _ => "the node's answer cannot be understood".to_owned(),
        };
        ChainError::NotSent { doing, cause }
    }
}
