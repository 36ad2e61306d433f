//! Who pays for a request, as its service is told, and what the service says that it used.
//!
//! A service in this program takes it from its handler's arguments; one elsewhere reads the headers. On a route with
//! [`Meter::Units`](super::price::Meter::Units) so much is set aside as one answer may cost at most, and the handler says
//! what it used before its answer begins. One that says nothing used all of it.

use alloy_primitives::Address;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use core::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weir_core::{Amount, ChannelId};

/// By which a service is told the channel that pays.
const WEIR_CHANNEL: HeaderName = HeaderName::from_static("weir-channel");
/// By which it is told who pays.
const WEIR_PAYER: HeaderName = HeaderName::from_static("weir-payer");

/// Who pays for a request, and what is set aside for its answer. All clones are one.
#[derive(Debug, Clone)]
pub struct Payment {
    channel: Option<ChannelId>,
    payer: Address,
    reserved: Amount,
    units_max: u64,
    said: Arc<Mutex<Said>>,
}

/// What a service said so far.
#[derive(Debug, Default)]
struct Said {
    /// The units that it used; all of them where it says nothing.
    units: Option<u64>,
    /// Its answer has begun, or will never.
    is_over: bool,
}

/// Why what a service reports is not taken. It costs the payer nothing on a route that charges on success: its handler
/// answers with a failure then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportNo {
    /// More than what was set aside: nobody agreed to pay that.
    #[error("{units} units are reported, and one answer of this route costs {units_max} at most")]
    TooMany {
        /// What was reported.
        units: u64,
        /// The most that an answer may use.
        units_max: u64,
    },
    /// The answer has begun, and its receipt says what it cost.
    #[error("units are reported after the answer has begun; report them before the handler returns")]
    TooLate,
}

/// A handler asks who pays, and nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "nobody pays for this request: put the payment layer before the handler, and the route's price into its menu"
)]
pub struct NobodyPays;

impl Payment {
    /// A payment from a channel, or at once, for an answer of at most so many units.
    pub(super) fn new(channel: Option<ChannelId>, payer: Address, reserved: Amount, units_max: u64) -> Self {
        Self {
            channel,
            payer,
            reserved,
            units_max: units_max.max(1),
            said: Arc::default(),
        }
    }

    /// The channel that pays; none where one payment buys one answer.
    pub const fn channel(&self) -> Option<ChannelId> {
        self.channel
    }

    /// Who pays.
    pub const fn payer(&self) -> Address {
        self.payer
    }

    /// What is set aside for the answer, in base units: the most that it costs.
    pub const fn reserved(&self) -> Amount {
        self.reserved
    }

    /// The most units that the answer may use.
    pub const fn units_max(&self) -> u64 {
        self.units_max
    }

    /// Says how many units the answer uses; what is said last counts. None of it concerns a payment of one answer: that
    /// was paid whole.
    ///
    /// # Errors
    /// [`ReportNo`]; what was said before stands then.
    pub fn report(&self, units: u64) -> Result<(), ReportNo> {
        let mut said = self.said();
        if said.is_over {
            return Err(ReportNo::TooLate);
        }
        if units > self.units_max {
            return Err(ReportNo::TooMany {
                units,
                units_max: self.units_max,
            });
        }
        said.units = Some(units);
        Ok(())
    }

    /// From here on nothing is taken: the answer has begun, or there will be none.
    pub(super) fn close(&self) {
        self.said().is_over = true;
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The units that were used, by what was said, and what they cost.
    pub(super) fn cost(&self) -> (u64, Amount) {
        let units = match self.said().units {
            Some(units) if units < self.units_max => units,
            // Nothing is divided where all was used.
            _ => return (self.units_max, self.reserved),
        };
        // The challenge asked for a multiple of `units_max`: its route's name says how many (see `Route::name`).
        let each = self.reserved.base_units() / u128::from(self.units_max);
        let cost = Amount::new(each).times(units).unwrap_or(self.reserved);
        (units, cost.min(self.reserved))
    }

    /// Tells a service wherever it is.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let channel = self.channel.map(|channel| (WEIR_CHANNEL, channel.to_string()));
        for (name, value) in channel.into_iter().chain([(WEIR_PAYER, self.payer.to_string())]) {
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Payment {
    type Rejection = NobodyPays;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NobodyPays> {
        parts.extensions.get().cloned().ok_or(NobodyPays)
    }
}

/// For handlers that serve free routes as well.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Payment {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

fn failure(why: impl ToString) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()).into_response()
}

impl IntoResponse for NobodyPays {
    fn into_response(self) -> Response {
        tracing::error!(why = %self, "a handler is not sold");
        failure(self)
    }
}

impl IntoResponse for ReportNo {
    fn into_response(self) -> Response {
        tracing::error!(why = %self, "a handler's report is not taken");
        failure(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(reserved: u128, units_max: u64) -> Payment {
        Payment::new(None, Address::ZERO, Amount::new(reserved), units_max)
    }

    #[test]
    fn what_is_reported_last_is_what_the_answer_costs() {
        let payment = payment(700, 7);
        payment.report(5).unwrap();
        payment.clone().report(3).unwrap();
        assert_eq!(payment.cost(), (3, Amount::new(300)));
    }

    #[test]
    fn who_reports_nothing_or_all_pays_what_is_set_aside() {
        assert_eq!(payment(700, 7).cost(), (7, Amount::new(700)));
        let whole = payment(701, 7);
        whole.report(7).unwrap();
        assert_eq!(whole.cost(), (7, Amount::new(701)));
        let nothing = payment(700, 7);
        nothing.report(0).unwrap();
        assert_eq!(nothing.cost(), (0, Amount::ZERO));
    }

    #[test]
    fn more_than_was_set_aside_and_what_comes_too_late_is_refused() {
        let payment = payment(700, 7);
        payment.report(2).unwrap();
        let too_many = ReportNo::TooMany {
            units: 8,
            units_max: 7,
        };
        assert_eq!(payment.report(8), Err(too_many));
        payment.close();
        assert_eq!(
            payment.cost(),
            (2, Amount::new(200)),
            "what was said before stands"
        );
        assert_eq!(payment.report(1), Err(ReportNo::TooLate));
        assert_eq!(payment.report(8), Err(ReportNo::TooLate));
    }
}
