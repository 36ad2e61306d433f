//! What an input will be answered.

use super::super::charges::Entry;
use super::Ledger;
use weir_core::step::{LowerVoucher, VoucherRules};
use weir_core::{
    Amount, Capture, ChargeId, ChargePhase, Cumulative, Input, Outcome, Proven, Refusal, Standing, Voucher,
};

impl Ledger {
    fn sells(&self) -> Result<(), Refusal> {
        match self.standing() {
            Standing::Live => Ok(()),
            Standing::Closing => Err(Refusal::ChannelClosing),
            Standing::DrainOnly => Err(Refusal::ChannelDrainOnly),
            Standing::Frozen => Err(Refusal::ChannelFrozen),
            Standing::Finalized => Err(Refusal::ChannelFinalized),
        }
    }

    fn covers(&self, total: u128) -> Result<(), Refusal> {
        let deposit = self.chain().deposit;
        if total > self.accepted() && total > deposit.base_units() {
            return Err(Refusal::ExceedsDeposit { deposit });
        }
        Ok(())
    }

    fn sets_aside(&self, price: u128, accepted: u128) -> Result<Outcome, Refusal> {
        let required = self.committed().checked_add(price).ok_or(Refusal::Overflow)?;
        if required > accepted {
            let required = Cumulative::new(required);
            return Ok(Outcome::Short { required });
        }
        Ok(Outcome::Reserved(ChargeId(self.charges.len() as u64)))
    }

    fn foretell_pay(
        &self,
        voucher: &Voucher<Proven>,
        rules: VoucherRules,
        price: Option<Amount>,
    ) -> Result<Outcome, Refusal> {
        self.sells()?;
        let (total, accepted) = (voucher.cumulative().base_units(), self.accepted());
        if voucher.channel() != self.id {
            return Err(Refusal::WrongChannel);
        }
        if total < accepted && rules.lower == LowerVoucher::Refused {
            let accepted = Cumulative::new(accepted);
            return Err(Refusal::Stale { accepted });
        }
        let first = accepted == 0;
        if !first && total > accepted && total - accepted < rules.delta_min.base_units() {
            return Err(Refusal::DeltaTooSmall {
                minimum: rules.delta_min,
            });
        }
        self.covers(total)?;
        match price {
            None => Ok(Outcome::Accepted),
            Some(price) => self.sets_aside(price.base_units(), accepted.max(total)),
        }
    }

    fn in_phase(&self, id: ChargeId, phase: ChargePhase) -> Result<&Entry, Refusal> {
        let entry = self.charges.iter().find(|charge| charge.id == id.0);
        entry
            .filter(|charge| charge.phase() == Some(phase))
            .ok_or(Refusal::ChargeNotOpen)
    }

    fn foretell_capture(&self, capture: &Capture) -> Result<(), Refusal> {
        if self.alive.is_some() {
            return Err(Refusal::CaptureUnderWay);
        }
        if self.chain().finalized {
            return Err(Refusal::ChannelFinalized);
        }
        let (target, settled) = (capture.target.base_units(), self.chain().settled.base_units());
        let allowed = if target == settled {
            capture.closes
        } else {
            target > settled && target <= self.collectible()
        };
        if allowed {
            return Ok(());
        }
        Err(Refusal::NotCollectible {
            collectible: Cumulative::new(self.collectible()),
        })
    }

    /// What the engine must answer.
    pub(crate) fn foretell(&self, input: &Input) -> Result<Outcome, Refusal> {
        match input {
            Input::Pay {
                voucher,
                rules,
                price,
            } => return self.foretell_pay(voucher, *rules, *price),
            Input::Reserve { price } => {
                self.sells()?;
                let accepted = self.accepted();
                let answer = self.sets_aside(price.base_units(), accepted)?;
                if let Outcome::Short { required } = answer {
                    let accepted = Cumulative::new(accepted);
                    return Err(Refusal::InsufficientBalance { required, accepted });
                }
                return Ok(answer);
            }
            Input::Commit { charge, amount, .. } => {
                let entry = self.in_phase(*charge, ChargePhase::Reserved)?;
                if amount.base_units() > entry.price {
                    return Err(Refusal::ExceedsReservation);
                }
            }
            Input::Release { charge } => self.in_phase(*charge, ChargePhase::Reserved).map(drop)?,
            Input::Finish { charge } | Input::Credit { charge } => {
                self.in_phase(*charge, ChargePhase::Creditable).map(drop)?;
            }
            Input::BeginClose { voucher } => {
                if self.chain().finalized {
                    return Err(Refusal::ChannelFinalized);
                }
                if let Some(voucher) = voucher {
                    if voucher.channel() != self.id {
                        return Err(Refusal::WrongChannel);
                    }
                    self.covers(voucher.cumulative().base_units())?;
                }
            }
            Input::BeginCapture(capture) => self.foretell_capture(capture)?,
            Input::Observe { seen, last_final } => {
                let settled = seen.settled.max(last_final.settled);
                if settled.base_units() > self.accounted() && !self.drain_only {
                    return Ok(Outcome::Unaccounted { settled });
                }
            }
            Input::Recover | Input::EndCapture | Input::ClosedBy(_) | Input::Drain => {}
        }
        Ok(Outcome::Done)
    }
}
