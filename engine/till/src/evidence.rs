//! What the till needs to know of a transaction that a payer points at.

use crate::settlement::ChainTrouble;
use crate::shard::Adoption;
use async_trait::async_trait;
use weir_chain::ForeignTransaction;
use weir_core::Cumulative;
use weir_protocol::rails;

/// What a look at the chain showed.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The facts for the rail's judgement.
    pub seen: rails::Seen,
    /// The channel that the transaction opened, as it is now: adopt it once the rail has judged.
    pub adoption: Option<Adoption>,
    /// The deposit that the transaction raised a channel to.
    pub raised_to: Option<Cumulative>,
    /// The transaction that was read and is still to be sent.
    pub unsent: Option<ForeignTransaction>,
    /// False where a payment is in a block that is not final yet.
    pub is_final: bool,
}

impl Sight {
    /// Nothing needed to be seen.
    pub const NOTHING: Self = Self::of(rails::Seen::Nothing);

    /// Facts that nothing else goes with.
    pub const fn of(seen: rails::Seen) -> Self {
        Self {
            seen,
            adoption: None,
            raised_to: None,
            unsent: None,
            is_final: true,
        }
    }
}

/// Looks at transactions of one escrow.
#[async_trait]
pub trait Evidence: Send + Sync + 'static {
    /// Looks up what a rail asks for.
    ///
    /// # Errors
    /// [`ChainTrouble`] when nothing is known, which is no judgement.
    async fn look(&self, evidence: rails::Evidence<'_>) -> Result<Sight, ChainTrouble>;
}
