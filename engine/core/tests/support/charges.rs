//! A charge of the second set of books: the list of all that happened to it.

use weir_core::ChargePhase;

/// One thing that happened to a charge after it was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    Delivered { cost: u128 },
    OnItsWay { cost: u128 },
    Released,
    Finished,
    Credited,
    CommittedAtRecovery,
    OverAtRecovery,
    OverAsThePayerLeaves,
}

/// A charge and all that happened to it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) price: u128,
    pub(crate) happened: Vec<Happened>,
}

impl Entry {
    pub(crate) fn phase(&self) -> Option<ChargePhase> {
        match self.happened.last() {
            None => Some(ChargePhase::Reserved),
            Some(Happened::OnItsWay { .. }) => Some(ChargePhase::Creditable),
            Some(_) => None,
        }
    }

    /// How often it was committed or released for good (CH-6: once, in the end).
    pub(crate) fn endings(&self) -> usize {
        let ends = |what: &&Happened| !matches!(what, Happened::OnItsWay { .. });
        self.happened.iter().filter(ends).count()
    }

    pub(crate) fn cost(&self) -> u128 {
        let costs = self.happened.iter().map(|what| match what {
            Happened::Delivered { cost } | Happened::OnItsWay { cost } => *cost,
            Happened::CommittedAtRecovery => self.price,
            _ => 0,
        });
        costs.sum()
    }

    pub(crate) fn given_back(&self) -> u128 {
        if self.happened.contains(&Happened::Credited) {
            self.cost()
        } else {
            0
        }
    }

    /// What is set aside, or was spent and may still come back.
    pub(crate) fn open_amount(&self) -> u128 {
        match self.phase() {
            Some(ChargePhase::Reserved) => self.price,
            Some(ChargePhase::Creditable) => self.cost(),
            None => 0,
        }
    }
}
