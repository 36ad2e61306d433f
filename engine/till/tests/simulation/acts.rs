//! What payers and strangers do at any moment, drawn at random.

use crate::chain::Act;
use crate::life::{Life, STEPS, Simulation};
use crate::payer::{self, Delivered, Purchase};
use std::time::Duration;
use weir_core::Amount;

impl Simulation {
    /// One thing that somebody does.
    pub(crate) fn act(&mut self, life: &mut Life) {
        let index = self.random.below(self.payers.len() as u64) as usize;
        match self.random.below(100) {
            _ if self.payers[index].opened_by.is_none() => self.open_channel(index),
            0..=54 => self.buy(index, life),
            55..=61 => {
                let more = Act::TopUp(Amount::new(1 + u128::from(self.random.below(3_000))));
                self.send(index, more);
            }
            62..=64 => {
                self.send(index, Act::RequestClose);
                self.payers[index].leaving |= self.random.percent(50);
            }
            65..=66 if self.steps > STEPS / 2 => self.close(index, life),
            67..=76 => self.introduce(index, life),
            77..=84 => life.handle.settle_now([self.payers[index].keys.channel]),
            85..=90 => {
                let mut world = self.world.lock().unwrap();
                world.chain.evict(&mut self.random);
            }
            _ => self.buy(index, life),
        }
    }

    pub(crate) fn send(&mut self, index: usize, act: Act) {
        let id = self.payers[index].keys.channel;
        self.world.lock().unwrap().chain.send(id, act);
    }

    pub(crate) fn open_channel(&mut self, index: usize) {
        let deposit = Amount::new(500 + u128::from(self.random.below(10_000)));
        let id = self.payers[index].keys.channel;
        let hash = self.world.lock().unwrap().chain.send(id, Act::Open(deposit));
        self.payers[index].opened_by = Some(hash);
    }

    pub(crate) fn introduce(&mut self, index: usize, life: &Life) {
        let payer = &self.payers[index];
        if let Some(hash) = payer.opened_by {
            let (till, operator, id) = (life.till.clone(), life.operator.clone(), payer.keys.channel);
            tokio::spawn(async move { payer::introduce(till, &operator, id, hash).await });
        }
    }

    pub(crate) fn close(&mut self, index: usize, life: &Life) {
        let payer = &mut self.payers[index];
        payer.leaving = true;
        let voucher = payer.keys.voucher(payer.signed);
        tokio::spawn(payer::close(self.world.clone(), life.till.clone(), voucher));
    }

    pub(crate) fn buy(&mut self, index: usize, life: &Life) {
        let price = 1 + u128::from(self.random.below(400));
        let slack = u128::from(self.random.below(500));
        let delivered = match self.random.below(20) {
            0..=10 => Delivered::Whole,
            11..=13 => Delivered::Cut,
            14..=15 => Delivered::GoneAway,
            16..=17 => Delivered::Released,
            _ => Delivered::Dropped,
        };
        let takes = Duration::from_millis(self.random.below(4) * self.random.below(900));
        let payer = &mut self.payers[index];
        let mut world = self.world.lock().unwrap();
        let deposit = world.chain.final_state(payer.keys.channel).deposit.base_units();
        if payer.leaving || deposit == 0 {
            return;
        }
        // Mostly enough for the price, and now and then more than there is.
        let wished = payer.signed.max(deposit.min(payer.signed + price + slack));
        payer.signed = if self.random.percent(85) {
            wished
        } else {
            payer.signed
        };
        payer.next_credential += 1;
        let number = world.ledger.ask(payer.keys.channel, price, payer.signed);
        drop(world);
        self.told.purchases += 1;
        let purchase = Purchase {
            world: self.world.clone(),
            till: life.till.clone(),
            voucher: payer.keys.voucher(payer.signed),
            order: payer.order(price, payer.next_credential),
            number,
            delivered,
            takes,
        };
        tokio::spawn(purchase.run());
    }
}
