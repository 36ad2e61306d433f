//! The end in agreement: the server closes, and the payer looks at what that did on the chain.

use crate::credential::Action;
use crate::error::Error;
use crate::onchain::{ChainError, OnChain};
use crate::payer::{Core, Payer};
use crate::purse::Purse;
use crate::receipt::Overcharged;
use crate::state::Stage;
use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use core::time::Duration;
use reqwest::Url;
use std::sync::Arc;
use weir_chain::{Escrow, IChannelEscrow, IToken, RowEffect};
use weir_core::{Amount, ChannelId, Cumulative, Terms};
use weir_protocol::SessionReceipt;

/// How long a server that answers before its transaction is mined is waited for.
const CLOSE_SECONDS_MAX: u64 = 120;
const CLOSE_PAUSE: Duration = Duration::from_millis(500);

/// What a close did, as the chain tells it. Amounts are base units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseOutcome {
    /// The channel.
    pub channel: ChannelId,
    /// Its token.
    pub token: Address,
    /// The transaction, when the server named it.
    pub tx_hash: Option<B256>,
    /// What the payee got over the channel's life.
    pub captured: Cumulative,
    /// What went back to the payer.
    pub refunded: Amount,
    /// True when the token refused the refund, which now waits for `withdraw_refund`.
    pub credited: bool,
    /// The server's receipt, when it gave one.
    pub receipt: Option<SessionReceipt>,
}

impl Payer {
    /// Asks the server behind `url` to close the channel, and checks on the chain that it captured no more than was
    /// agreed and that the rest came back.
    ///
    /// # Errors
    /// [`Error::NoChannel`] without one for this server; [`Error::Overcharged`] when more was captured than agreed.
    /// After an error the channel buys nothing more, unless the server was not reached ([`Error::Http`]); `close` may
    /// be called again, or `request_close`.
    pub async fn close(&self, url: &str) -> Result<CloseOutcome, Error> {
        let url = self.core.http.url(url)?;
        let origin = url.origin().ascii_serialization();
        let own = self.core.purses().into_iter().filter(|purse| {
            let record = purse.record();
            let known = matches!(record.stage, Stage::Mined | Stage::Live | Stage::Closing);
            known && record.origin.as_ref() == Some(&origin)
        });
        // One whose close was asked for may stand beside the one in use.
        let own = own.max_by_key(|purse| purse.record().is_usable());
        self.core.close(&own.ok_or(Error::NoChannel)?, &url).await
    }
}

impl Core {
    async fn close(&self, purse: &Arc<Purse>, url: &Url) -> Result<CloseOutcome, Error> {
        let before = purse.record().stage;
        // Without the node nothing is asked of anybody, and the channel stays what it is.
        let escrow = self.chain.escrow_of(&purse.record()).await?;
        purse.mark(|record, _| record.stage = Stage::Closing).await?;
        let record = purse.record();
        // All that may be owed and no more: what was signed ahead of it is not offered.
        let total = record.agreed.min(record.signed);
        let receipt = match self.manage(url, purse, Action::Close, total).await {
            Ok(receipt) => receipt,
            Err(error) => {
                // It may be closed all the same: an earlier call's answer was lost, or the payee closed by itself.
                if !self.is_finalized(&escrow, purse.id()).await? {
                    if matches!(&error, Error::Http(unreached) if unreached.is_unsent()) {
                        // Nobody heard of it: the channel is what it was.
                        purse.mark(|record, _| record.stage = before).await?;
                    }
                    return Err(error);
                }
                None
            }
        };
        if let Some(receipt) = &receipt {
            self.log_receipt(receipt).await?;
        }
        let tx_hash = receipt.as_ref().and_then(|receipt| receipt.tx_hash);
        let outcome = match tx_hash {
            Some(hash) => {
                let mined = self.chain.mined(hash, "closing the channel").await?;
                let seen = closed_in(&escrow, purse.id(), &record.terms, &mined.logs);
                seen.ok_or(Error::CloseNotSeen { tx_hash: hash })?
            }
            None => self.await_finalized(&escrow, purse.id()).await?,
        };
        let (captured, refunded, credited) = outcome;
        purse.mark(|record, _| record.stage = Stage::Closed).await?;
        if captured > total {
            return Err(purse
                .stop(Overcharged::Captured {
                    captured,
                    agreed: total,
                })
                .await);
        }
        Ok(CloseOutcome {
            channel: purse.id(),
            token: record.terms.token,
            tx_hash,
            captured,
            refunded,
            credited,
            receipt,
        })
    }

    async fn is_finalized(&self, escrow: &Escrow, channel: ChannelId) -> Result<bool, Error> {
        Ok(self
            .chain
            .channel(escrow, channel)
            .await?
            .is_some_and(|found| found.state.finalized))
    }

    /// Waits until the channel is finalized by whatever transaction, and tells what the record says.
    async fn await_finalized(
        &self,
        escrow: &Escrow,
        channel: ChannelId,
    ) -> Result<(Cumulative, Amount, bool), Error> {
        let wait = async {
            loop {
                let found = self
                    .chain
                    .channel(escrow, channel)
                    .await?
                    .ok_or(ChainError::NoChannel(channel))?;
                if found.state.finalized {
                    return Ok::<_, Error>(found);
                }
                tokio::time::sleep(CLOSE_PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(CLOSE_SECONDS_MAX), wait).await;
        let found =
            waited.map_err(|_| Error::Protocol("the server answered the close but did not close"))??;
        closed_before(escrow, &found).await
    }
}

/// What a channel's record tells of its close: what was captured and refunded, and whether a refund waits as a credit.
pub(crate) async fn closed_before(
    escrow: &Escrow,
    found: &OnChain,
) -> Result<(Cumulative, Amount, bool), Error> {
    let OnChain { terms, state } = found;
    let refunded = state.deposit.since(state.settled).unwrap_or(Amount::ZERO);
    let credit = escrow.refund_credit(terms.token, terms.payer).await;
    Ok((
        state.settled,
        refunded,
        !credit.map_err(ChainError::from)?.is_zero(),
    ))
}

/// Reads from a transaction's logs that it closed the channel, what that captured and refunded, and whether the refund
/// is a credit. `None` when it did not close, or when a refund was neither pushed to the payer nor credited.
pub(crate) fn closed_in(
    escrow: &Escrow,
    channel: ChannelId,
    terms: &Terms,
    logs: &[Log],
) -> Option<(Cumulative, Amount, bool)> {
    let effects = escrow.calls().read_effects(logs);
    let (settled, refunded) = effects.iter().find_map(|effect| match effect {
        RowEffect::Closed {
            channel: id,
            settled,
            refunded,
        } if *id == channel => Some((*settled, *refunded)),
        _ => None,
    })?;
    let from = escrow.address();
    let credited = logs.iter().any(|log| is_credit(log, from, channel));
    let pushed = logs.iter().any(|log| is_push(log, terms, from, refunded));
    (credited || pushed || refunded.is_zero()).then_some((settled, refunded, credited))
}

fn is_credit(log: &Log, escrow: Address, channel: ChannelId) -> bool {
    let decoded = IChannelEscrow::RefundCredited::decode_log(&log.inner);
    log.address() == escrow && decoded.is_ok_and(|event| event.channelId == channel.0)
}

fn is_push(log: &Log, terms: &Terms, escrow: Address, amount: Amount) -> bool {
    let decoded = IToken::Transfer::decode_log(&log.inner);
    log.address() == terms.token
        && decoded.is_ok_and(|event| {
            event.from == escrow && event.to == terms.payer && event.value == U256::from(amount.base_units())
        })
}
