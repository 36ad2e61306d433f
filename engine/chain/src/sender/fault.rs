//! Why a transaction was not sent, or not heard of.

use crate::fault::{ChainFault, describe};
use crate::revert::Revert;
use alloy::primitives::B256;
use alloy::transports::{RpcError, TransportError};

/// A call was not sent, or what became of it is not known.
#[derive(Debug, thiserror::Error)]
pub enum SendFault {
    /// On the state as it is, the call would revert. Nothing was sent.
    #[error("the call would revert: {0}")]
    WouldRevert(Revert),
    /// The node refused and said why; this transaction was not taken (too little ether for gas, a fee cap too low…).
    #[error("the node refused {doing}: {message}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The node's words.
        message: String,
    },
    /// The chain could not be asked. A transaction that was on its way may or may not have arrived.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// The signer failed.
    #[error("signing failed: {0}; check the key's configuration")]
    Signer(String),
    /// The raw bytes of an envelope are not a transaction of ours.
    #[error("an envelope does not hold a transaction that can be replaced: {0}")]
    Envelope(String),
    /// It pays many times the fee of the moment already: something else holds it up.
    #[error(
        "transaction {0} already offers many times the fee of the moment; look for what else holds it up"
    )]
    FeeCeiling(B256),
    /// It was mined and reverted: definitively nothing happened, save the gas.
    #[error("transaction {0} was mined and reverted")]
    Reverted(B256),
    /// Another transaction took its nonce: it cannot land.
    #[error("the nonce of transaction {0} was used by another")]
    NonceTaken(B256),
    /// It was sent and not heard of in time. This is no failure: it may still land (threat T1).
    #[error("the outcome of transaction {0} is not known yet; ask again before anything else is sent")]
    Unknown(B256),
}

impl SendFault {
    /// Sorts an error that answers an execution: with revert data it is a verdict of the contract.
    pub(crate) fn of_execution(doing: &'static str, error: TransportError) -> Self {
        let RpcError::ErrorResp(payload) = &error else {
            return Self::Chain(ChainFault::rpc(doing)(error));
        };
        if let Some(data) = payload.as_revert_data() {
            return Self::WouldRevert(Revert::decode(&data));
        }
        // Code 3 is "execution error" (execution-apis); a revert without data carries only words.
        if payload.code == 3 || payload.message.to_lowercase().contains("revert") {
            return Self::WouldRevert(Revert::Message(payload.message.to_string()));
        }
        Self::Refused {
            doing,
            message: describe(error),
        }
    }
}
