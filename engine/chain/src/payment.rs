//! What a transaction paid, by the tokens' own logs: a transfer through a wallet or a batch counts alike
//! (draft-tempo-charge-00 and draft-evm-charge-00, Hash Verification).

use crate::bindings::IEip3009::AuthorizationUsed;
use crate::bindings::IMemoToken::{TransferWithMemo, transferWithMemoCall};
use crate::bindings::IToken;
use crate::calls::Call;
use crate::escrow::Escrow;
use crate::evidence::EvidenceFault;
use crate::rpc::BlockRef;
use alloy::primitives::{Address, B256, U256};
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
    /// The nonce of the EIP-3009 authorisation that made it, where one did.
    pub authorized: Option<B256>,
}

impl Transfer {
    /// The call by which `from` makes it.
    pub fn call(&self) -> Call {
        let (to, value) = (self.to, U256::from(self.amount.base_units()));
        match self.memo {
            None => Call::new(self.token, &IToken::transferCall { to, value }),
            Some(memo) => {
                let amount = value;
                Call::new(self.token, &transferWithMemoCall { to, amount, memo })
            }
        }
    }
}

/// A transaction that took effect, and what it paid. It is not final: a reorg can undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvidence {
    /// Who sent it.
    pub sender: Address,
    /// Its transfers, in the order of its logs.
    pub transfers: Vec<Transfer>,
    /// The block.
    pub block: BlockRef,
}

impl Escrow {
    /// What a transaction paid. What the escrow paid out is left out: channels bought something for that already.
    ///
    /// # Errors
    /// See [`EvidenceFault`]; only `NotMined` and transient chain faults are worth another try.
    pub async fn paid_by(&self, transaction: B256) -> Result<PaymentEvidence, EvidenceFault> {
        let landed = self.rpc().effect_of(transaction).await?;
        let block = self.rpc().block_of(&landed).await?;
        let mut transfers = read_transfers(&landed.logs);
        transfers.retain(|transfer| transfer.from != self.address());
        Ok(PaymentEvidence {
            sender: landed.sender,
            transfers,
            block,
        })
    }
}

/// The transfers that logs tell of. A token tells that an authorisation was used right before the transfer that it made.
fn read_transfers(logs: &[Log]) -> Vec<Transfer> {
    let mut used: Option<(Address, AuthorizationUsed)> = None;
    let mut transfers = Vec::new();
    for log in logs {
        if let Ok(event) = AuthorizationUsed::decode_log(&log.inner) {
            used = Some((log.address(), event.data));
            continue;
        }
        let Some(mut transfer) = read_transfer(log) else {
            continue;
        };
        let made =
            used.take_if(|(token, event)| *token == transfer.token && event.authorizer == transfer.from);
        transfer.authorized = made.map(|(_, event)| event.nonce);
        transfers.push(transfer);
    }
    transfers
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
        authorized: None,
    })
}

#[cfg(test)]
#[path = "payment_tests.rs"]
mod tests;
