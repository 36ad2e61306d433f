//! Makes an act an input: looks up what "one more than is left" is on this channel, now.

use super::charges::Entry;
use super::keys::{Mint, Whose, domain_on};
use super::ledger::Ledger;
use super::life::{Act, Event, Forgery, Pick, Price, Share, Target, Total};
use alloy_primitives::B256;
use proptest::sample::Index;
use weir_core::step::{Body, LowerVoucher, VoucherRules};
use weir_core::{
    Amount, Capture, ChainState, ChargeId, ChargePhase, Claimed, Cumulative, Input, Signature, UnixSeconds,
    Voucher,
};

/// A row of the table of what was tried.
pub(crate) type Row = &'static str;

/// What an act became.
pub(crate) enum Played {
    Input(Row, Input),
    /// To be refused before it reaches a channel.
    Forged(Voucher<Claimed>),
}

/// The totals that were presented to a channel, for replays.
pub(crate) type Presented = Vec<u128>;

pub(crate) struct Resolver<'a> {
    pub(crate) mint: &'a mut Mint,
    pub(crate) whose: Whose,
    pub(crate) ledger: &'a Ledger,
    pub(crate) presented: &'a mut Presented,
    pub(crate) now: UnixSeconds,
}

impl Resolver<'_> {
    pub(crate) fn play(&mut self, act: Act) -> Played {
        let (row, input) = match self.prepared(act) {
            Act::Forge { total, how } => return Played::Forged(self.forge(total, how)),
            Act::Pay {
                total,
                lower_refused,
                delta_min,
                price,
            } => {
                let lower = if lower_refused {
                    LowerVoucher::Refused
                } else {
                    LowerVoucher::Unchanged
                };
                let delta_min = Amount::new(delta_min.into());
                let (row, voucher) = self.voucher(total);
                let price = price.map(|price| self.price(price));
                let rules = VoucherRules { delta_min, lower };
                (
                    row,
                    Input::Pay {
                        voucher,
                        rules,
                        price,
                    },
                )
            }
            Act::Reserve(price) => (
                "reserve",
                Input::Reserve {
                    price: self.price(price),
                },
            ),
            Act::Commit {
                pick,
                share,
                on_its_way,
            } => self.commit(pick, share, on_its_way),
            Act::Release(pick) => {
                let (which, charge) = self.charge(pick, ChargePhase::Reserved);
                let rows = [
                    "release open",
                    "release on its way",
                    "release ended",
                    "release unknown",
                ];
                (rows[which], Input::Release { charge })
            }
            Act::Finish(pick) => {
                let (which, charge) = self.charge(pick, ChargePhase::Creditable);
                let rows = [
                    "finish on its way",
                    "finish reserved",
                    "finish ended",
                    "finish unknown",
                ];
                (rows[which], Input::Finish { charge })
            }
            Act::Credit(pick) => {
                let (which, charge) = self.charge(pick, ChargePhase::Creditable);
                let rows = [
                    "credit on its way",
                    "credit reserved",
                    "credit ended",
                    "credit unknown",
                ];
                (rows[which], Input::Credit { charge })
            }
            Act::Recover => ("recover", Input::Recover),
            Act::BeginClose(None) => ("close", Input::BeginClose { voucher: None }),
            Act::BeginClose(Some(total)) => {
                let voucher = Some(self.voucher(total).1);
                ("close with a voucher", Input::BeginClose { voucher })
            }
            Act::BeginCapture { target, closes } => self.capture(target, closes),
            Act::EndCapture => ("capture ended", Input::EndCapture),
            Act::ClosedBy => ("close named", Input::ClosedBy(B256::repeat_byte(1))),
            Act::Drain => ("drain", Input::Drain),
            Act::Watch { event, then_final } => self.watch(event, then_final),
        };
        Played::Input(row, input)
    }

    /// Where no charge is in the phase that an act is for, plays the act that would put one there.
    fn prepared(&self, act: Act) -> Act {
        let none_in = |phase| {
            !self
                .ledger
                .charges
                .iter()
                .any(|charge| charge.phase() == Some(phase))
        };
        match act {
            Act::Finish(pick @ Pick::Right(_)) | Act::Credit(pick @ Pick::Right(_))
                if none_in(ChargePhase::Creditable) =>
            {
                self.prepared(Act::Commit {
                    pick,
                    share: Share::All,
                    on_its_way: true,
                })
            }
            Act::Commit {
                pick: Pick::Right(index),
                ..
            }
            | Act::Release(Pick::Right(index))
                if none_in(ChargePhase::Reserved) =>
            {
                let more = index.index(12) as u8;
                Act::Pay {
                    total: Total::Higher(1 + more),
                    lower_refused: false,
                    delta_min: 0,
                    price: Some(Price::Units(more)),
                }
            }
            _ => act,
        }
    }

    /// The total, which row it belongs to, and whether it is the neighbour's.
    fn total(&self, total: Total) -> (u128, bool) {
        let accepted = self.ledger.accepted();
        let deposit = self.ledger.chain().deposit.base_units();
        match total {
            Total::Higher(more) => (
                (accepted + u128::from(more)).min(deposit.max(accepted + 1)),
                false,
            ),
            Total::Equal => (accepted, false),
            Total::Lower(less) => (accepted.saturating_sub(less.into()), false),
            Total::Replayed(index) if self.presented.is_empty() => (index.index(8) as u128, false),
            Total::Replayed(index) => (*index.get(self.presented), false),
            Total::AllOfTheDeposit => (deposit, false),
            Total::OverTheDeposit(more) => (deposit.max(accepted) + u128::from(more), false),
            Total::OfAnotherChannel(more) => (accepted + u128::from(more), true),
        }
    }

    fn voucher(&mut self, choice: Total) -> (Row, Voucher<weir_core::Proven>) {
        let (total, foreign) = self.total(choice);
        if foreign {
            return (
                "voucher of another channel",
                self.mint.proven(self.whose.other(), total),
            );
        }
        let accepted = self.ledger.accepted();
        let row = if total == accepted {
            "voucher equal"
        } else if self.presented.contains(&total) {
            "voucher replayed"
        } else if total < accepted {
            "voucher lower"
        } else if total > self.ledger.chain().deposit.base_units() {
            "voucher over the deposit"
        } else {
            "voucher higher"
        };
        self.presented.push(total);
        (row, self.mint.proven(self.whose, total))
    }

    fn forge(&mut self, choice: Total, how: Forgery) -> Voucher<Claimed> {
        let total = self.total(choice).0;
        let good = self.mint.claimed(self.whose, total);
        let with = |signature| Voucher::claimed(good.channel(), good.cumulative(), signature);
        let mint = &*self.mint;
        match how {
            Forgery::FlippedBit(bit) => {
                let mut bytes = *good.signature().as_bytes();
                bytes[usize::from(bit / 8)] ^= 1 << (bit % 8);
                // A flip can leave the canonical form: such bytes never become a signature, so flip the parity.
                match Signature::from_bytes(&bytes) {
                    Ok(signature) => with(signature),
                    Err(_) => with(other_parity(good.signature())),
                }
            }
            Forgery::OtherParity => with(other_parity(good.signature())),
            Forgery::AnotherKey => {
                mint.claim(self.whose, total, mint.signer(self.whose.other()), &mint.domain)
            }
            Forgery::AnotherChain => mint.claim(self.whose, total, mint.signer(self.whose), &domain_on(1)),
            Forgery::AnotherAmount => with(*self.mint.claimed(self.whose, total + 1).signature()),
            Forgery::RelabelledNeighbour => with(*self.mint.claimed(self.whose.other(), total).signature()),
        }
    }

    fn price(&self, price: Price) -> Amount {
        let left = self.ledger.accepted().saturating_sub(self.ledger.committed());
        Amount::new(match price {
            Price::Units(units) => units.into(),
            Price::AllThatIsLeft => left,
            Price::OneMoreThanIsLeft => left + 1,
            Price::Enormous => u128::MAX,
        })
    }

    /// A charge and which of four kinds it is: in this phase, in the other one, ended, unknown.
    fn charge(&self, pick: Pick, phase: ChargePhase) -> (usize, ChargeId) {
        let find = |index: Index, fits: &dyn Fn(&Entry) -> bool| {
            let fitting: Vec<u64> = self
                .ledger
                .charges
                .iter()
                .filter(|charge| fits(charge))
                .map(|charge| charge.id)
                .collect();
            (!fitting.is_empty()).then(|| *index.get(&fitting))
        };
        let found = match pick {
            Pick::Right(index) => (0, find(index, &|charge| charge.phase() == Some(phase))),
            Pick::OtherPhase(index) => {
                let other = |charge: &Entry| charge.phase().is_some_and(|its| its != phase);
                (1, find(index, &other))
            }
            Pick::Ended(index) => (2, find(index, &|charge| charge.phase().is_none())),
            Pick::Unknown(_) => (3, None),
        };
        let beyond = if let Pick::Unknown(more) = pick {
            u64::from(more)
        } else {
            0
        };
        match found {
            (kind, Some(id)) => (kind, ChargeId(id)),
            (_, None) => (3, ChargeId(self.ledger.charges.len() as u64 + beyond)),
        }
    }

    fn commit(&self, pick: Pick, share: Share, on_its_way: bool) -> (Row, Input) {
        let (which, charge) = self.charge(pick, ChargePhase::Reserved);
        let entry = self.ledger.charges.iter().find(|entry| entry.id == charge.0);
        let reserved = entry.map_or(7, Entry::open_amount);
        let amount = match share {
            Share::Nothing => 0,
            Share::Part(percent) => reserved * u128::from(percent) / 100,
            Share::All => reserved,
            Share::TooMuch(more) => reserved + u128::from(more),
        };
        let row = match which {
            0 if amount > reserved => "commit too much",
            0 if amount == reserved => "commit all",
            0 => "commit part",
            1 => "commit on its way",
            2 => "commit ended",
            _ => "commit unknown",
        };
        let amount = Amount::new(amount);
        let body = if on_its_way {
            Body::OnItsWay
        } else {
            Body::Delivered
        };
        (row, Input::Commit { charge, amount, body })
    }

    fn capture(&self, target: Target, closes: bool) -> (Row, Input) {
        let (collectible, settled) = (
            self.ledger.collectible(),
            self.ledger.chain().settled.base_units(),
        );
        let more = collectible.saturating_sub(settled);
        let target = match target {
            Target::AllCollectible => collectible,
            Target::PartOfIt(percent) => settled + more * u128::from(percent) / 100,
            Target::OneTooMuch => collectible.max(settled) + 1,
            Target::WhatIsSettled => settled,
            Target::BelowWhatIsSettled => settled.saturating_sub(1),
        };
        let row = match (target > settled, target == settled, target > collectible, closes) {
            (true, _, true, _) => "capture too much",
            (true, _, false, false) => "capture",
            (true, _, false, true) => "capture and close",
            (_, true, _, true) => "close for nothing",
            (_, true, _, false) => "capture nothing",
            _ => "capture less than settled",
        };
        let target = Cumulative::new(target);
        (row, Input::BeginCapture(Capture { target, closes }))
    }

    fn watch(&self, event: Event, then_final: bool) -> (Row, Input) {
        let (mut seen, mut last_final) = (self.ledger.seen, self.ledger.last_final);
        let row = self.happen(event, &mut seen, &mut last_final);
        if then_final && !matches!(event, Event::LaggingReplica) {
            last_final = seen;
        }
        (row, Input::Observe { seen, last_final })
    }

    fn happen(&self, event: Event, seen: &mut ChainState, last_final: &mut ChainState) -> Row {
        if last_final.finalized {
            *seen = *last_final;
        }
        let deposit = seen.deposit.base_units();
        match event {
            Event::LaggingReplica => {
                seen.settled = Cumulative::ZERO;
                seen.close_requested_at = None;
                seen.finalized = false;
                "chain: lagging replica"
            }
            Event::Reorg => {
                *seen = *last_final;
                "chain: reorg"
            }
            Event::DeepReorg(less) => {
                let less = deposit.saturating_sub(less.into());
                *seen = ChainState {
                    deposit: Cumulative::new(less),
                    settled: seen.settled.min(Cumulative::new(less)),
                    close_requested_at: None,
                    finalized: false,
                };
                *last_final = *seen;
                "chain: deep reorg"
            }
            // A finalized channel never changes (ESC-3).
            _ if seen.finalized => "chain: nothing new",
            Event::Nothing => "chain: nothing new",
            Event::TopUp(more) => {
                seen.deposit = Cumulative::new(deposit + u128::from(more));
                "chain: top-up"
            }
            Event::CloseRequested => {
                seen.close_requested_at = Some(self.now);
                "chain: close requested"
            }
            Event::CloseCancelled => {
                seen.close_requested_at = None;
                "chain: close cancelled"
            }
            Event::Landed => {
                let Some(capture) = self.ledger.alive else {
                    return "chain: nothing new";
                };
                seen.settled = seen.settled.max(capture.target);
                seen.finalized = capture.closes;
                "chain: our settlement"
            }
            Event::SettledElsewhere(more) => {
                let settled = seen.settled.base_units() + u128::from(more);
                seen.settled = seen.deposit.min(Cumulative::new(settled));
                "chain: settled elsewhere"
            }
            Event::Withdrawn => {
                seen.finalized = true;
                "chain: withdrawn"
            }
        }
    }
}

fn other_parity(signature: &Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    bytes[64] = 55 - bytes[64];
    Signature::from_bytes(&bytes).unwrap()
}
