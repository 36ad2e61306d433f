//! What a route costs, by which measure, and when.

use crate::ChargeOn;
use crate::gateway::offer::CHALLENGE_SECONDS;
use crate::gateway::route::RouteFault;
use core::num::NonZeroU64;
use weir_core::{Amount, Cumulative};
use weir_protocol::Intent;

/// The price of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The ways in which it may be paid, the preferred one first.
    pub accept: Vec<Intent>,
    /// Base units of one unit.
    pub per_unit: Amount,
    /// What one unit is, as the challenge names it.
    pub unit: String,
    /// The deposit suggested to payers.
    pub suggested_deposit: Option<Cumulative>,
    /// The least that a higher voucher adds.
    pub voucher_delta_min: Amount,
    /// When it is charged.
    pub charge_on: ChargeOn,
    /// What one unit is, to the meter.
    pub meter: Meter,
    /// Whether a challenge is bound to the body of the request that it answers.
    pub bind_body: bool,
    /// How long a challenge to pay by charge may be answered, in seconds: [`CHALLENGE_SECONDS`] at most.
    pub charge_challenge_seconds: u64,
    /// For people.
    pub description: Option<String>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Meter {
    /// One unit a request.
    #[default]
    Request,
    /// One unit an event, where the answer is a stream of server-sent events; one a request where it is not.
    Event,
    /// As many units a request as its service says that it used; so many at most are set aside.
    Units {
        /// The most that one answer uses.
        max: NonZeroU64,
    },
}

impl Price {
    /// So many base units for each request, paid from a channel, when the answer arrives whole. More is said by the
    /// fields.
    pub fn new(per_unit: Amount, unit: impl Into<String>) -> Self {
        Self {
            accept: vec![Intent::Session],
            per_unit,
            unit: unit.into(),
            suggested_deposit: None,
            voucher_delta_min: Amount::ZERO,
            charge_on: ChargeOn::default(),
            meter: Meter::default(),
            bind_body: false,
            charge_challenge_seconds: CHALLENGE_SECONDS,
            description: None,
        }
    }

    /// The same for each unit that a service says it used: so many at most, and one at least.
    #[must_use]
    pub fn up_to(self, units_max: u64) -> Self {
        Self {
            meter: Meter::Units {
                max: NonZeroU64::new(units_max).unwrap_or(NonZeroU64::MIN),
            },
            ..self
        }
    }

    /// The same for each event of a stream.
    #[must_use]
    pub fn by_the_event(self) -> Self {
        Self {
            meter: Meter::Event,
            ..self
        }
    }

    /// The most that one request costs, or one event: what a challenge asks for, and what is set aside.
    pub fn most(&self) -> Amount {
        let units = match self.meter {
            Meter::Units { max } => max.get(),
            Meter::Request | Meter::Event => 1,
        };
        // What is above all amounts can be paid by nobody.
        self.per_unit.times(units).unwrap_or(Amount::new(u128::MAX))
    }

    /// Whether it can be charged so, on the route of this path.
    ///
    /// # Errors
    /// [`RouteFault`].
    pub(super) fn must_fit(&self, path: &str) -> Result<(), RouteFault> {
        let name = || path.to_owned();
        if !(1..=CHALLENGE_SECONDS).contains(&self.charge_challenge_seconds) {
            return Err(RouteFault::Lifetime(name()));
        }
        let Meter::Units { max } = self.meter else {
            return Ok(());
        };
        if self.charge_on == ChargeOn::Always {
            return Err(RouteFault::UnitsBefore(name()));
        }
        if self.accept.contains(&Intent::Charge) {
            return Err(RouteFault::UnitsAtOnce(name()));
        }
        let most = self.per_unit.times(max.get());
        most.map(drop).ok_or_else(|| RouteFault::Dear(name()))
    }
}
