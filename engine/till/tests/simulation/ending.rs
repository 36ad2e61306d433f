//! The end of every story: the trouble is over, and every channel is closed at what was earned on it.

use crate::chain::{Act, BLOCK_SECONDS, GRACE_SECONDS};
use crate::life::{End, Life, Simulation};
use std::time::Duration;
use tokio::time::sleep;

/// Virtual time in which all channels must be closed: the grace period and some more.
const END_SECONDS: u64 = 3_000;

impl Simulation {
    /// The trouble is over: everybody leaves, and every channel must end with what was earned on it.
    pub(crate) async fn close_all(&mut self, life: &mut Life) -> Result<End, String> {
        self.world.lock().unwrap().trouble_percent = 0;
        for index in 0..self.payers.len() {
            if self.payers[index].opened_by.is_none() {
                self.open_channel(index);
            }
            self.payers[index].leaving = true;
        }
        let end = life.clock.elapsed().as_secs() + END_SECONDS;
        let mut asked = false;
        while life.clock.elapsed().as_secs() < end {
            sleep(Duration::from_secs(BLOCK_SECONDS)).await;
            self.sync(life).await;
            self.mine(life).await?;
            self.check(life).await?;
            if !life.disk.is_healthy() {
                return Ok(self.crash(life));
            }
            let (open, finalized) = self.progress();
            if finalized {
                self.check_end(life).await?;
                return Ok(End::Closed);
            }
            if !open && !asked {
                asked = true;
                self.ask_to_close(life);
            }
            if asked {
                for index in 0..self.payers.len() {
                    self.send_withdraw(index);
                }
            }
        }
        let channels = life.till.channels().await.map_err(|no| no.to_string())?;
        let open: Vec<_> = channels
            .iter()
            .filter(|channel| !channel.chain().finalized)
            .collect();
        let world = self.world.lock().unwrap();
        Err(format!(
            "CH-5: after {END_SECONDS} s without trouble, asked to close: {asked}, these are open: {open:?}, {:?}",
            world.ledger
        ))
    }

    /// Whether any charge is open, and whether all channels are closed for good.
    pub(crate) fn progress(&self) -> (bool, bool) {
        let mut world = self.world.lock().unwrap();
        let ids: Vec<_> = self.payers.iter().map(|payer| payer.keys.channel).collect();
        let open = ids.iter().any(|id| world.ledger.account(*id).has_open_charges());
        let opened = ids
            .iter()
            .all(|id| !world.chain.final_state(*id).deposit.is_zero());
        let finalized = ids.iter().all(|id| world.chain.final_state(*id).finalized);
        (open || !opened, finalized)
    }

    pub(crate) fn ask_to_close(&mut self, life: &Life) {
        for index in 0..self.payers.len() {
            if self.random.percent(70) {
                self.close(index, life);
            } else {
                self.send(index, Act::RequestClose);
            }
        }
    }

    pub(crate) fn send_withdraw(&self, index: usize) {
        let id = self.payers[index].keys.channel;
        let mut world = self.world.lock().unwrap();
        let state = world.chain.state(id);
        let now = world.chain.timestamp();
        let asked = state.close_requested_at.filter(|_| !state.finalized);
        if asked.is_some_and(|asked| now.0 >= asked.0 + GRACE_SECONDS) {
            world.chain.send(id, Act::Withdraw);
        }
    }

    pub(crate) async fn check_end(&self, life: &Life) -> Result<(), String> {
        let channels = life.till.channels().await.map_err(|no| no.to_string())?;
        let mut world = self.world.lock().unwrap();
        for channel in channels {
            let captured = world.chain.final_state(channel.id()).settled;
            let account = world.ledger.account(channel.id());
            if !account.may_have_earned(captured.base_units()) || channel.net_spent() != captured {
                return Err(format!(
                    "CH-3, CH-5: {captured} was captured, and was not what was earned: {account:?}, {channel:?}"
                ));
            }
        }
        Ok(())
    }
}
