//! What a transaction paid, by the tokens' own logs: a transfer through a wallet or a batch counts alike
//! (draft-tempo-charge-00 and draft-evm-charge-00, Hash Verification).

use crate::bindings::IMemoToken::TransferWithMemo;
use crate::bindings::IToken;
use crate::evidence::EvidenceFault;
use crate::rpc::{BlockRef, Rpc};
use alloy::primitives::{Address, B256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use weir_core::Amount;

/// One transfer that a token told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The token.
    pub token: Address,
    /// Who paid.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// How much.
    pub amount: Amount,
    /// The memo, where one was given. TIP-20 tells of such a transfer twice, with its memo and without.
    pub memo: Option<B256>,
}

/// A transaction that took effect, and what it paid. It is not final: a reorg can undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvidence {
    /// Its transfers, in the order of its logs.
    pub transfers: Vec<Transfer>,
    /// The block.
    pub block: BlockRef,
}

impl Rpc {
    /// What a transaction paid.
    ///
    /// # Errors
    /// See [`EvidenceFault`]; only `NotMined` and transient chain faults are worth another try.
    pub async fn payment_by(&self, transaction: B256) -> Result<PaymentEvidence, EvidenceFault> {
        let landed = self.effect_of(transaction).await?;
        let block = self.block_of(&landed).await?;
        Ok(PaymentEvidence {
            transfers: landed.logs.iter().filter_map(read_transfer).collect(),
            block,
        })
    }
}

/// Amounts beyond 128 bits are of no token that is sold for.
fn read_transfer(log: &Log) -> Option<Transfer> {
    let token = log.address();
    let (from, to, amount, memo) = if let Ok(event) = TransferWithMemo::decode_log(&log.inner) {
        (event.from, event.to, event.amount, Some(event.memo))
    } else {
        let event = IToken::Transfer::decode_log(&log.inner).ok()?;
        (event.from, event.to, event.value, None)
    };
    Some(Transfer {
        token,
        from,
        to,
        amount: Amount::new(u128::try_from(amount).ok()?),
        memo,
    })
}
