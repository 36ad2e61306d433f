//! The few questions that are asked of a node, each with its typed fault.

use crate::fault::ChainFault;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::AnyNetwork;
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, Log, TransactionRequest};
use alloy::sol_types::SolCall;
use alloy::transports::http::reqwest;
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use weir_core::UnixSeconds;

/// How long one request may take.
pub const REQUEST_SECONDS_MAX: u64 = 10;
/// Blocks over which a chain's pace is taken.
const BLOCKS_TIMED: u64 = 32;
/// Most blocks asked for in one log query; halved as often as the node refuses it.
pub const LOG_RANGE_BLOCKS_MAX: u64 = 2_000;

/// One block of one fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its height.
    pub number: u64,
    /// Which block of that height.
    pub hash: B256,
    /// When it says it was made.
    pub timestamp: UnixSeconds,
}

/// A block and the one it builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) block: BlockRef,
    pub(crate) parent: B256,
}

/// A connection to a node over HTTP. Cheap to clone.
///
/// Blocks and receipts are read leniently, so that a chain with transaction types of its own can be read too.
#[derive(Clone)]
pub struct Rpc {
    provider: DynProvider<AnyNetwork>,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint's URL may hold a key (threat K1).
        f.write_str("Rpc")
    }
}

impl Rpc {
    /// Prepares a connection to the endpoint; nothing is sent yet.
    ///
    /// # Errors
    /// [`ChainFault::BadUrl`].
    pub fn new(url: &str) -> Result<Self, ChainFault> {
        let url: reqwest::Url = url
            .parse()
            .map_err(|error| ChainFault::BadUrl(format!("{error}")))?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(REQUEST_SECONDS_MAX))
            .build()
            .map_err(|error| ChainFault::BadUrl(error.without_url().to_string()))?;
        let provider = ProviderBuilder::<_, _, AnyNetwork>::default()
            .connect_reqwest(client, url)
            .erased();
        Ok(Self { provider })
    }

    /// The provider underneath, for what this crate does not ask.
    pub const fn provider(&self) -> &DynProvider<AnyNetwork> {
        &self.provider
    }

    /// The EIP-155 id of the node's chain.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn chain_id(&self) -> Result<u64, ChainFault> {
        let id = self.provider.get_chain_id().await;
        id.map_err(ChainFault::rpc("reading the chain id"))
    }

    /// How many transactions of an account are mined.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn transaction_count(&self, account: Address) -> Result<u64, ChainFault> {
        let count = self.provider.get_transaction_count(account).await;
        count.map_err(ChainFault::rpc("counting an account's transactions"))
    }

    /// The newest block that the node has.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn head(&self) -> Result<BlockRef, ChainFault> {
        Ok(self.latest().await?.block)
    }

    /// The hash of the chain's first block, by which one chain is told from another of the same id; `None` where the node
    /// does not tell it.
    pub async fn first_block(&self) -> Option<B256> {
        self.header_at(0).await.ok().map(|header| header.block.hash)
    }

    /// How long `blocks` blocks take at the chain's pace of late, in seconds, rounded up; 0 on a chain of one block.
    ///
    /// # Errors
    /// [`ChainFault`].
    pub async fn seconds_for(&self, blocks: u64) -> Result<u64, ChainFault> {
        let head = self.head().await?;
        let timed = head.number.min(BLOCKS_TIMED);
        if timed == 0 || blocks == 0 {
            return Ok(0);
        }
        let first = self.header_at(head.number - timed).await?.block;
        let took = head.timestamp.seconds_since(first.timestamp);
        Ok(took.saturating_mul(blocks).div_ceil(timed))
    }

    pub(crate) async fn latest(&self) -> Result<Header, ChainFault> {
        self.block(BlockId::latest(), "reading the newest block").await
    }

    pub(crate) async fn header_at(&self, number: u64) -> Result<Header, ChainFault> {
        self.block(BlockId::number(number), "reading a block by number")
            .await
    }

    async fn block(&self, id: BlockId, doing: &'static str) -> Result<Header, ChainFault> {
        let block = self
            .provider
            .get_block(id)
            .await
            .map_err(ChainFault::rpc(doing))?;
        let header = block.ok_or(ChainFault::BlockMissing { doing })?.header.clone();
        Ok(Header {
            block: BlockRef {
                number: header.number,
                hash: header.hash,
                timestamp: UnixSeconds(header.timestamp),
            },
            parent: header.parent_hash,
        })
    }

    /// A contract's code after the newest block; empty where there is none.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn code_at_head(&self, address: Address) -> Result<Bytes, ChainFault> {
        let code = self.provider.get_code_at(address).latest().await;
        code.map_err(ChainFault::rpc("reading a contract's code"))
    }

    /// Calls a view function on the state after one block, named by its hash (EIP-1898).
    ///
    /// `None` when there was no contract at that block.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`], or [`ChainFault::Undecodable`] when the answer is not of the function's type.
    pub async fn call_at<C: SolCall>(
        &self,
        to: Address,
        call: &C,
        at: BlockId,
    ) -> Result<Option<C::Return>, ChainFault> {
        let request = TransactionRequest::default()
            .to(to)
            .input(call.abi_encode().into());
        let answer = self.provider.call(request.into()).block(at).await;
        let answer = answer.map_err(ChainFault::rpc(C::SIGNATURE))?;
        if answer.is_empty() {
            return Ok(None);
        }
        let decoded = C::abi_decode_returns(&answer).map_err(|error| ChainFault::Undecodable {
            doing: C::SIGNATURE,
            address: to,
            cause: error.to_string(),
        });
        decoded.map(Some)
    }

    /// Every log of one block that the filter lets through. The block is named by its hash: a node that does not know it
    /// refuses.
    pub(crate) async fn logs_in(&self, filter: Filter, block: B256) -> Result<Vec<Log>, ChainFault> {
        let logs = self.provider.get_logs(&filter.at_block_hash(block)).await;
        logs.map_err(ChainFault::rpc("reading a block's logs"))
    }

    /// Every log that the filter lets through, oldest first, in ranges that the node can bear.
    pub(crate) async fn logs_between(
        &self,
        filter: Filter,
        first: u64,
        last: u64,
    ) -> Result<Vec<Log>, ChainFault> {
        let (mut from, mut width) = (first, LOG_RANGE_BLOCKS_MAX);
        let mut found = Vec::new();
        while from <= last {
            let to = last.min(from.saturating_add(width - 1));
            let range = filter
                .clone()
                .from_block(from)
                .to_block(BlockNumberOrTag::Number(to));
            match self
                .provider
                .get_logs(&range)
                .await
                .map_err(ChainFault::rpc("searching the escrow's logs"))
            {
                Ok(logs) => {
                    found.extend(logs);
                    from = to.saturating_add(1);
                }
                // Many nodes bound a query by blocks or by results, each in other words.
                Err(ChainFault::Rpc { answered: true, .. }) if width > 1 => width /= 2,
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }
}
