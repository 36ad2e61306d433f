//! Which of several challenges is paid: sessions before charges, and what the payer's node, deposit limit and channels
//! allow before what they don't.

use crate::charge::ChargeOffer;
use crate::error::Error;
use crate::limits::Limits;
use crate::offer::{Offer, all, now};
use crate::payer::Core;
use reqwest::header::HeaderMap;
use weir_protocol::{Challenge, Intent};

/// A challenge that is within the limits.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    Session(Box<Offer>),
    Charge(Box<ChargeOffer>),
}

impl Way {
    fn judge(challenge: Challenge, limits: &Limits) -> Result<Option<Self>, Error> {
        let wanted = |intent: Intent| {
            challenge.intent == intent.name() && limits.intent.is_none_or(|only| only == intent)
        };
        if wanted(Intent::Session) {
            return Ok(Offer::judge(challenge, limits)?.map(Box::new).map(Self::Session));
        }
        if wanted(Intent::Charge) {
            return Ok(ChargeOffer::judge(challenge, limits, now())?
                .map(Box::new)
                .map(Self::Charge));
        }
        Ok(None)
    }

    const fn chain_id(&self) -> u64 {
        match self {
            Self::Session(offer) => offer.request.method_details.chain_id,
            Self::Charge(offer) => offer.request.method_details.chain_id,
        }
    }

    const fn is_session(&self) -> bool {
        matches!(self, Self::Session(_))
    }
}

impl Core {
    /// The challenge to pay. Where several are within the limits, one that cannot be paid is passed over; a single one is
    /// tried, so that what stands in its way is told.
    ///
    /// # Errors
    /// The first limit that stood in the way, or [`Error::NoChallenge`].
    pub(crate) async fn choose(&self, headers: &HeaderMap) -> Result<Way, Error> {
        let (mut ways, why) = all(headers, |challenge| Way::judge(challenge, &self.limits));
        ways.sort_by_key(|way| !way.is_session());
        let mut first = None;
        let several = ways.len() > 1;
        for way in ways {
            if !several || self.can_pay(&way).await {
                return Ok(way);
            }
            first = first.or(Some(way));
        }
        first.ok_or(why)
    }

    async fn can_pay(&self, way: &Way) -> bool {
        if let Way::Session(offer) = way {
            let has_channel = self.purses().into_iter().any(|purse| {
                let record = purse.record();
                record.is_usable() && offer.request.fits(&record.terms, record.escrow, record.chain_id)
            });
            if has_channel {
                return true;
            }
            if self.limits.check_deposit(self.least_deposit(offer)).is_err() {
                return false;
            }
        }
        // Without the node nothing new can be paid anyhow, and it says so itself.
        self.chain.must_be(way.chain_id()).await.is_ok()
    }
}
