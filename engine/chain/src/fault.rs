//! Why a reading of the chain failed. Each fault names its cause and the next step.

use alloy::primitives::{Address, B256};
use alloy::transports::{RpcError, TransportError, TransportErrorKind, http::reqwest};

/// A reading of the chain failed, or the chain is not the one that was configured.
#[derive(Debug, thiserror::Error)]
pub enum ChainFault {
    /// The RPC endpoint's URL cannot be read.
    #[error("the RPC endpoint is not a URL ({0}); write it as http://host:port")]
    BadUrl(String),
    /// A request failed. Whether it can help to ask again, [`ChainFault::is_transient`] tells.
    #[error("{doing}: {cause}; check that the RPC endpoint is up and in sync, then retry")]
    Rpc {
        /// What was being done.
        doing: &'static str,
        /// What went wrong, without the URL (it may hold a key).
        cause: String,
        /// The node answered, with an error; else it was not reached, or not in time.
        answered: bool,
    },
    /// The node does not (or not yet) have a block that exists elsewhere: a lagging replica, or pruned history.
    #[error(
        "{doing}: the node has no such block; if it lags, retry; if it prunes, use one with more history"
    )]
    BlockMissing {
        /// What was being done.
        doing: &'static str,
    },
    /// The chain reorganised between two requests of one reading.
    #[error("the chain moved at block {number} while it was read; read it again")]
    Moved {
        /// Where two answers did not fit together.
        number: u64,
    },
    /// The answer is not what the escrow's interface says.
    #[error(
        "{doing}: the answer of {address} is not that of a channel escrow ({cause}); check the escrow's address"
    )]
    Undecodable {
        /// What was being done.
        doing: &'static str,
        /// Who answered.
        address: Address,
        /// What was wrong with the answer.
        cause: String,
    },
    /// There is no contract where the escrow should be.
    #[error(
        "no contract at {address} on chain {chain_id}; check the escrow's address and the RPC endpoint's chain"
    )]
    NoCode {
        /// The configured address.
        address: Address,
        /// The endpoint's chain.
        chain_id: u64,
    },
    /// The escrow signs under another domain: every voucher would be refused on-chain.
    #[error(
        "the escrow at {address} has domain separator {found}, and {expected} follows from the name {name:?}; configure the escrow's domainName()"
    )]
    DomainMismatch {
        /// The escrow.
        address: Address,
        /// The configured domain name.
        name: String,
        /// What follows from it.
        expected: B256,
        /// What the escrow says.
        found: B256,
    },
    /// The escrow leaves too little time to react to a payer's close.
    #[error(
        "the escrow's grace period is {found} s, at least {least} s are needed; use an escrow with a longer one"
    )]
    GraceTooShort {
        /// The escrow's, in seconds.
        found: u64,
        /// What is needed, in seconds.
        least: u64,
    },
    /// The escrow does not list the token.
    #[error("the escrow does not serve token {token}; use a listed token, or another escrow")]
    TokenNotServed {
        /// The token.
        token: Address,
    },
}

impl ChainFault {
    /// Whether the same request may succeed later, without anybody changing a configuration.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Rpc { .. } | Self::BlockMissing { .. } | Self::Moved { .. }
        )
    }

    pub(crate) fn rpc(doing: &'static str) -> impl Fn(TransportError) -> Self {
        move |error| Self::Rpc {
            doing,
            answered: matches!(error, RpcError::ErrorResp(_)),
            cause: describe(error),
        }
    }
}

/// The error in words, without the endpoint's URL: it may hold a key (threat K1).
pub(crate) fn describe(error: TransportError) -> String {
    match error {
        RpcError::ErrorResp(payload) => format!("{} (code {})", payload.message, payload.code),
        RpcError::DeserError { err, .. } => format!("unreadable answer: {err}"),
        RpcError::Transport(TransportErrorKind::Custom(inner)) => match inner.downcast::<reqwest::Error>() {
            Ok(http) => http.without_url().to_string(),
            Err(other) => other.to_string(),
        },
        other => other.to_string(),
    }
}
