//! Vouchers and charges: what is authorised, set aside, spent, and given back.

use super::{Body, LowerVoucher, Outcome, VoucherRules};
use crate::amount::Amount;
use crate::channel::{CHARGES_OPEN_MAX, Channel, Charge, ChargePhase};
use crate::ids::ChargeId;
use crate::refusal::Refusal;
use crate::voucher::{KeptVoucher, Proven, Voucher};

pub(super) fn pay(
    channel: &mut Channel,
    voucher: Voucher<Proven>,
    rules: VoucherRules,
    price: Option<Amount>,
) -> Result<Outcome, Refusal> {
    channel.must_be_live()?;
    if voucher.channel() != channel.id {
        return Err(Refusal::WrongChannel);
    }
    if voucher.cumulative() < channel.accepted && rules.lower == LowerVoucher::Refused {
        return Err(Refusal::Stale {
            accepted: channel.accepted,
        });
    }
    if let Some(raise) = voucher
        .cumulative()
        .since(channel.accepted)
        .filter(|raise| !raise.is_zero())
    {
        if raise < rules.delta_min && !channel.accepted.is_zero() {
            return Err(Refusal::DeltaTooSmall {
                minimum: rules.delta_min,
            });
        }
        accept(channel, voucher)?;
    }
    match price {
        None => Ok(Outcome::Accepted),
        Some(price) => reserve(channel, price),
    }
}

/// Raises the accepted total. The voucher is known to be higher.
pub(super) fn accept(channel: &mut Channel, voucher: Voucher<Proven>) -> Result<(), Refusal> {
    if voucher.cumulative() > channel.chain.deposit {
        return Err(Refusal::ExceedsDeposit {
            deposit: channel.chain.deposit,
        });
    }
    channel.accepted = voucher.cumulative();
    channel.best = Some(KeptVoucher::from(voucher));
    Ok(())
}

pub(super) fn reserve(channel: &mut Channel, price: Amount) -> Result<Outcome, Refusal> {
    let required = channel.required_for(price).ok_or(Refusal::Overflow)?;
    if required > channel.accepted {
        return Ok(Outcome::Short { required });
    }
    if channel.charges.len() >= CHARGES_OPEN_MAX {
        return Err(Refusal::TooManyCharges);
    }
    let id = ChargeId(channel.next_charge);
    channel.next_charge = channel.next_charge.checked_add(1).ok_or(Refusal::Overflow)?;
    channel.charges.push(Charge {
        id,
        amount: price,
        phase: ChargePhase::Reserved,
    });
    Ok(Outcome::Reserved(id))
}

fn find_charge(channel: &Channel, id: ChargeId, phase: ChargePhase) -> Result<usize, Refusal> {
    let found = channel
        .charges
        .iter()
        .position(|charge| charge.id == id && charge.phase == phase);
    found.ok_or(Refusal::ChargeNotOpen)
}

pub(super) fn take_charge(
    channel: &mut Channel,
    id: ChargeId,
    phase: ChargePhase,
) -> Result<Charge, Refusal> {
    find_charge(channel, id, phase).map(|index| channel.charges.remove(index))
}

pub(super) fn commit(
    channel: &mut Channel,
    id: ChargeId,
    amount: Amount,
    body: Body,
) -> Result<Outcome, Refusal> {
    let index = find_charge(channel, id, ChargePhase::Reserved)?;
    let leaves = channel.payer_leaves();
    let charge = channel.charges.get_mut(index).ok_or(Refusal::ChargeNotOpen)?;
    if amount > charge.amount {
        return Err(Refusal::ExceedsReservation);
    }
    channel.spent = channel.spent.plus(amount).ok_or(Refusal::Overflow)?;
    match body {
        Body::OnItsWay if !leaves => {
            *charge = Charge {
                id,
                amount,
                phase: ChargePhase::Creditable,
            }
        }
        Body::OnItsWay | Body::Delivered => {
            channel.charges.remove(index);
        }
    }
    Ok(Outcome::Done)
}

pub(super) fn recover(channel: &mut Channel) -> Result<Outcome, Refusal> {
    channel.spent = channel.spent.plus(channel.reserved()).ok_or(Refusal::Overflow)?;
    channel.charges.clear();
    Ok(Outcome::Done)
}
