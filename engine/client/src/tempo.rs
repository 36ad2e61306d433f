//! Transactions of Tempo that this payer signs: priced, bounded, and valid for a moment alone.

use crate::error::Error;
use crate::onchain::{Chain, ChainError};
use alloy::primitives::Address;
use alloy::signers::SignerSync;
use weir_chain::{Call, SignedTempo, TEMPO_VALID_SECONDS, TempoTransaction};
use weir_core::UnixSeconds;

/// The most that the fee of one transaction may come to, in attodollars: one dollar.
pub(crate) const FEE_MAX_ATTODOLLARS: u128 = 1_000_000_000_000_000_000;
/// Least gas that a transfer is given. Nodes have been seen to reckon without the calls.
pub(crate) const GAS_OF_TRANSFER: u64 = 1_000_000;
/// With less time than this a transaction is not worth sending, in seconds.
const VALID_SECONDS_MIN: u64 = 5;

impl Chain {
    /// Prices calls whose fees the payer pays in `fee_token`, with so much gas at least. They land within moments, and
    /// before `ends` where something ends then; the chain's own clock tells, because it judges.
    pub(crate) async fn tempo(
        &self,
        calls: Vec<Call>,
        fee_token: Address,
        (ends, gas_least): (Option<UnixSeconds>, u64),
    ) -> Result<TempoTransaction, Error> {
        let now = UnixSeconds(self.now().await?);
        let valid = now.after(TEMPO_VALID_SECONDS);
        let valid_before = ends.map_or(valid, |ends| ends.min(valid));
        if valid_before < now.after(VALID_SECONDS_MIN) {
            return Err(Error::StaleChallenge);
        }
        let draft = TempoTransaction {
            chain_id: self.chain_id().await?,
            max_priority_fee_per_gas: 0,
            max_fee_per_gas: 0,
            gas_limit: 0,
            calls,
            valid_before,
            fee_token,
        };
        let priced = self.rpc().priced(draft, self.payer(), gas_least).await;
        let priced = priced.map_err(ChainError::send("pricing a transaction"))?;
        let most = priced.cost_max();
        if most > FEE_MAX_ATTODOLLARS {
            let limit = FEE_MAX_ATTODOLLARS;
            return Err(ChainError::Fee { most, limit }.into());
        }
        Ok(priced)
    }

    /// Signs; nothing is sent.
    pub(crate) fn sign_tempo(&self, transaction: &TempoTransaction) -> Result<SignedTempo, Error> {
        let signed = self.signer().sign_hash_sync(&transaction.signing_hash());
        let signed = signed.map_err(|_| Error::Protocol("the key gives no signature"))?;
        Ok(transaction.signed(&signed.normalized_s().as_bytes()))
    }
}
