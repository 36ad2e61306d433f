//! Deposits that the payer signs for and leaves to the server to pull (draft-evm-session-00, Fee Payment): no transaction
//! of its own, and no coin.
//!
//! What was signed is on disk before it leaves, without the signature: that is made again, the same. Until it has come
//! about or can never come about, it is the one deposit of its kind, so that nothing is locked twice (threat T6). The
//! escrow opens an id at most once, whoever sends what, so an open may be signed for again, or sent by the payer itself.

use crate::credential::Action;
use crate::error::Error;
use crate::offer::{Complaint, Offer, now};
use crate::onchain::ChainError;
use crate::payer::Core;
use crate::purse::Purse;
use crate::state::{ChannelRecord, LeftPull, Stage};
use alloy::primitives::U256;
use reqwest::Url;
use std::sync::Arc;
use weir_chain::{Escrow, Permit2};
use weir_core::pull::{Leave, Pull, Purpose};
use weir_core::{Amount, Cumulative};
use weir_protocol::ProblemType;
use weir_protocol::rails::signed::{TYPE_AUTHORIZATION, TYPE_PERMIT2};

/// How long a signature for a deposit counts, in seconds: servers ask for a minute, and wait for blocks.
const VALID_SECONDS: u64 = 900;
/// One that counts for less is signed anew before it is sent, in seconds.
const RENEWED_BELOW_SECONDS: u64 = 120;

impl LeftPull {
    /// What a channel's opening deposit is signed as.
    fn opens(&self, record: &ChannelRecord) -> Pull {
        Pull {
            from: record.terms.payer,
            amount: self.amount,
            purpose: Purpose::Open {
                terms: record.terms.clone(),
                salt: self.salt,
            },
            leave: self.leave,
        }
    }

    /// What an addition to a channel is signed as.
    fn tops_up(&self, record: &ChannelRecord) -> Pull {
        Pull {
            purpose: Purpose::TopUp {
                channel: record.channel,
                token: record.terms.token,
                salt: self.salt,
            },
            ..self.opens(record)
        }
    }
}

impl Core {
    /// How a deposit is left to the server, if its offer, the escrow, the token and the payer's approvals allow it:
    /// without a transaction of ours, by the first way that the server names.
    pub(crate) async fn leave_for(
        &self,
        offer: &Offer,
        escrow: &Escrow,
        (amount, salt): (Amount, alloy::primitives::B256),
    ) -> Result<Option<LeftPull>, Error> {
        let details = &offer.request.method_details;
        if details.fee_payer != Some(true) {
            return Ok(None);
        }
        let token = offer.request.currency;
        // Asked of the escrow itself: a signature for another contract than it calls would be worth nothing, or worse.
        let paths = escrow.pull_paths(token).await.map_err(ChainError::from)?;
        let ends = U256::from(now().after(VALID_SECONDS).0);
        let left = |leave, separator| LeftPull {
            amount,
            salt,
            leave,
            separator,
        };
        for kind in details.credential_types.iter().flatten() {
            match (kind.as_str(), paths.eip3009, paths.permit2) {
                (TYPE_AUTHORIZATION, Some(separator), _) => {
                    let leave = Leave::Eip3009 {
                        valid_after: U256::ZERO,
                        valid_before: ends,
                    };
                    return Ok(Some(left(leave, separator)));
                }
                (TYPE_PERMIT2, _, Some(Permit2 { address, separator }))
                    if details.permit2_contract.is_none_or(|named| named == address)
                        && self.chain.allowance(token, address).await? >= amount =>
                {
                    let nonce = crate::credential::random_word()?.into();
                    let leave = Leave::Permit2 {
                        nonce,
                        deadline: ends,
                    };
                    return Ok(Some(left(leave, separator)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Signs for the opening deposit of a channel that is left to the server; the same signature every time.
    pub(crate) fn sign_open(&self, record: &ChannelRecord, left: &LeftPull) -> Result<Action, Error> {
        let signed = self
            .pen
            .sign_pull(left.opens(record), left.separator, record.escrow)?;
        Ok(Action::OpenSigned(Box::new(signed)))
    }

    /// Sees how far an opening deposit that was left to the server has come. False when the payer is to send it itself:
    /// the server does not offer to pull any more.
    pub(crate) async fn see_left_open(
        &self,
        purse: &Arc<Purse>,
        escrow: &Escrow,
        offer: &Offer,
    ) -> Result<bool, Error> {
        if self.see_opened(purse, escrow).await? {
            return Ok(true);
        }
        let record = purse.record();
        let Some(left) = record.open_left else {
            return Ok(false);
        };
        if left.leave.ends() > now().after(RENEWED_BELOW_SECONDS).0 {
            return Ok(true);
        }
        let renewed = self.leave_for(offer, escrow, (left.amount, left.salt)).await?;
        let goes_on = renewed.is_some();
        purse.mark(|record, _| record.open_left = renewed).await?;
        Ok(goes_on)
    }

    /// Takes note of a channel whose deposit was left to the server, if it is on the chain.
    async fn see_opened(&self, purse: &Arc<Purse>, escrow: &Escrow) -> Result<bool, Error> {
        let Some(found) = self.chain.channel(escrow, purse.id()).await? else {
            return Ok(false);
        };
        let marked = purse.mark(|record, account| {
            if found.state.finalized {
                record.stage = Stage::Closed;
            }
            record.is_open_seen = true;
            account.deposit = found.state.deposit;
        });
        marked.await?;
        Ok(true)
    }

    /// The server answered a purchase that announced a channel: it takes vouchers on it. Whether the deposit it pulled
    /// is really there is looked up, and not insisted on: it is the server that goes without.
    pub(crate) async fn announced(&self, purse: &Arc<Purse>) -> Result<(), Error> {
        purse.mark(|record, _| record.stage = Stage::Live).await?;
        if purse.record().open_left.is_none() {
            return Ok(());
        }
        let seen = async {
            let escrow = self.chain.escrow_of(&purse.record()).await?;
            self.see_opened(purse, &escrow).await
        };
        match seen.await {
            Ok(true) => purse.mark(|record, _| record.open_left = None).await,
            Ok(false) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, channel = %purse.id(), "whether the deposit is locked could not be looked up");
                Ok(())
            }
        }
    }

    /// Whether a no means that the server will not pull an opening deposit, so that the payer may send it itself. The
    /// signature may still be used: then the escrow refuses the payer's own open, and there is one channel all the same.
    pub(crate) fn is_left_in_vain(record: &ChannelRecord, complaint: &Complaint) -> bool {
        use ProblemType as P;
        let announces = matches!(record.stage, Stage::Opening | Stage::Mined);
        let will_not = matches!(
            complaint.kind,
            P::MethodUnsupported
                | P::PaymentInsufficient
                | P::PaymentExpired
                | P::TransactionReverted
                | P::InvalidSignature
                | P::MalformedCredential
        );
        announces && record.open_left.is_some() && will_not
    }

    /// Leaves an addition to the deposit to the server. False when the payer is to send it itself.
    pub(crate) async fn leave_top_up(
        &self,
        purse: &Arc<Purse>,
        (offer, escrow): (&Offer, &Escrow),
        amount: Amount,
        url: &Url,
    ) -> Result<bool, Error> {
        let salt = crate::credential::random_word()?;
        let Some(left) = self.leave_for(offer, escrow, (amount, salt)).await? else {
            return Ok(false);
        };
        purse.mark(|record, _| record.top_up_left = Some(left)).await?;
        self.resume_left_top_up(purse, escrow, url).await?;
        Ok(true)
    }

    /// Takes up an addition that was left to the server: asks for it again while it may come about, and forgets it once
    /// it has, or never can. Nothing else is added meanwhile.
    pub(crate) async fn resume_left_top_up(
        &self,
        purse: &Arc<Purse>,
        escrow: &Escrow,
        url: &Url,
    ) -> Result<(), Error> {
        let record = purse.record();
        let Some(left) = record.top_up_left else {
            return Ok(());
        };
        let pull = left.tops_up(&record);
        let mut asked = Ok(None);
        if !self.is_settled(escrow, &pull).await? {
            let signed = self.pen.sign_pull(pull.clone(), left.separator, record.escrow)?;
            let action = Action::TopUpSigned(Box::new(signed));
            asked = self.manage(url, purse, action, Cumulative::ZERO).await;
        }
        if self.is_settled(escrow, &pull).await? {
            return purse.mark(|record, _| record.top_up_left = None).await;
        }
        asked.map(drop)
    }

    /// Whether what was signed has been used, or never can be, by the chain's own time.
    async fn is_settled(&self, escrow: &Escrow, pull: &Pull) -> Result<bool, Error> {
        let used = escrow.is_used_up(pull).await.map_err(ChainError::from)?;
        Ok(used || self.chain.now().await? >= pull.leave.ends())
    }
}
