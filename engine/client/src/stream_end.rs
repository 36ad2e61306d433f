//! How a paid answer ends before its time, and how the payer finds out what it cost.

use super::PaidStream;
use crate::account::Outcome;
use crate::charge::Charged;
use crate::cost::Cost;
use crate::credential::Action;
use crate::error::Error;
use core::time::Duration;
use weir_core::Cumulative;

/// How long a server is asked what a stream cost that broke off.
pub(super) const RECKONING: Duration = Duration::from_secs(10);

/// Why a stream counts as cut although its connection ended in order.
pub(super) const NO_RECEIPT: &str = "it ended without its receipt";

impl PaidStream {
    /// Takes note of what paid for the answer at once.
    pub(super) async fn take_charge(&mut self, charged: Option<Box<Charged>>) -> Result<(), Error> {
        let Some(charged) = charged else {
            return Ok(());
        };
        let Charged { paid, payment, cost } = *charged;
        (self.cost, self.payment) = (cost, payment);
        let receipt = paid.receipt.clone();
        self.charge = Some(paid);
        match receipt {
            Some(receipt) => self.core.log(receipt.to_json()).await,
            None => Ok(()),
        }
    }

    /// The answer is here: what paid for it at once is not shown again.
    pub(super) async fn read_whole(&mut self) {
        let Some(payment) = self.payment.take() else {
            return;
        };
        // No reason to lose the answer. Shown once more, the payment buys nothing, and nothing is paid by it.
        if let Err(error) = payment.forget().await {
            tracing::warn!(%error, "a payment whose answer was read could not be forgotten");
        }
    }

    /// Ends it before its time, because its reader has had enough: drops the connection, and asks the server for
    /// `patience` what it cost.
    ///
    /// # Errors
    /// [`Error::Overcharged`], when the server claims too much; [`Error::State`].
    pub async fn stop(&mut self, patience: Duration) -> Result<Cost, Error> {
        self.give_up(patience).await?;
        Ok(self.cost)
    }

    /// Ends the stream before its time and gives the error to tell.
    pub(super) async fn break_off(&mut self, error: Error) -> Error {
        let sold = self.session.is_some();
        let accused = matches!(error, Error::Overcharged { .. });
        let patience = if accused { Duration::ZERO } else { RECKONING };
        match self.give_up(patience).await {
            Err(error) => error,
            Ok(()) if sold => self.cut(error),
            Ok(()) => error,
        }
    }

    /// Drops the connection and asks what it cost.
    async fn give_up(&mut self, patience: Duration) -> Result<(), Error> {
        self.response = None;
        self.ready.clear();
        let asked = match patience.is_zero() {
            true => Ok(None),
            false => self.reckon(patience).await,
        };
        if let Some(session) = self.session.take() {
            self.cost = session.ticket.end(Outcome::Unknown).await?;
        }
        asked.map(drop)
    }

    /// Asks where the channel stands, by sending its last voucher again: that changes nothing and brings a receipt.
    /// `None` when the server does not tell.
    pub(super) async fn reckon(&self, patience: Duration) -> Result<Option<Cumulative>, Error> {
        let Some(session) = &self.session else {
            return Ok(None);
        };
        let total = session.ticket.total();
        let asked = self
            .core
            .manage(&self.request.url, &session.purse, Action::Voucher, total);
        match tokio::time::timeout(patience, asked).await {
            Ok(Ok(Some(receipt))) => {
                self.core.log_receipt(&receipt).await?;
                Ok(Some(receipt.spent))
            }
            Ok(Err(error @ Error::Overcharged { .. })) => Err(error),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the server does not tell what the stream cost");
                Ok(None)
            }
            Ok(Ok(None)) | Err(_) => Ok(None),
        }
    }

    /// What was cut, in the middle of a connection or at its end, with what was paid for it.
    pub(super) fn cut(&self, error: Error) -> Error {
        let why = match error {
            Error::Http(unreached) => unreached.to_string(),
            Error::Protocol(NO_RECEIPT) => NO_RECEIPT.to_owned(),
            other => return other,
        };
        Error::Cut {
            events: self.events,
            cost: self.cost,
            why,
        }
    }
}
