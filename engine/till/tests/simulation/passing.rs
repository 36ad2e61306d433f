//! Time passes: syncs, blocks, the watcher, and after each the promises.

use crate::chain::{BLOCK_SECONDS, FINALITY_BLOCKS};
use crate::life::{Life, Simulation};
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::sleep;
use weir_chain::watcher::Sink;
use weir_till::facts::{Facts, Followed};

/// More than the tasks that one event passes through.
const HOPS: u32 = 16;

impl Simulation {
    /// Lets some time pass, with the blocks and syncs that fall into it; then holds everything to its promises.
    pub(crate) async fn pass_time(&mut self, life: &mut Life) -> Result<(), String> {
        let milliseconds = if self.random.percent(3) {
            5_000 + self.random.below(60_000)
        } else {
            1 + self.random.below(600)
        };
        let mut left = milliseconds;
        while left > 0 {
            let slice = left.min(BLOCK_SECONDS * 1_000);
            left -= slice;
            sleep(Duration::from_millis(slice)).await;
            if self.random.percent(60) || slice > 600 {
                self.sync(life).await;
            }
            self.mine(life).await?;
            self.check(life).await?;
        }
        Ok(())
    }

    pub(crate) async fn sync(&mut self, life: &mut Life) {
        // What the ledger holds as told must be in the journal's queue.
        everybody_else().await;
        if life.disk.sync() {
            self.world.lock().unwrap().ledger.synced();
        }
        everybody_else().await;
    }

    pub(crate) async fn mine(&mut self, life: &mut Life) -> Result<(), String> {
        self.elapsed = life.clock.elapsed();
        let now = self.elapsed.as_secs();
        if now < self.next_block {
            return Ok(());
        }
        self.next_block = now + BLOCK_SECONDS;
        {
            let mut world = self.world.lock().unwrap();
            let calm = world.trouble_percent == 0;
            let timestamp = crate::NOW + now;
            let percent = if calm { 100 } else { 50 };
            if !calm && self.random.percent(self.story.reorg_percent) {
                let depth = 1 + self.random.below(FINALITY_BLOCKS as u64) as usize;
                world.chain.reorganise(depth, timestamp, &mut self.random)?;
            } else {
                world.chain.mine(timestamp, percent, &mut self.random)?;
            }
            world.check_captures();
            if !calm && self.random.percent(20) {
                return Ok(());
            }
        }
        self.feed(life).await
    }

    /// The watcher's part: every channel at the newest and at the newest final block, through the lanes.
    pub(crate) async fn feed(&mut self, life: &mut Life) -> Result<(), String> {
        let sighting = {
            let mut world = self.world.lock().unwrap();
            let sighting = world.chain.sighting();
            for seen in &sighting.observations {
                let deposit = seen.seen.deposit.min(seen.last_final.deposit).base_units();
                let account = world.ledger.account(seen.id);
                account.deposit = deposit;
                account.left |= seen.seen.close_requested_at.is_some();
            }
            sighting
        };
        let followed = Followed {
            head: sighting.last_final,
            born_in: 0,
            first_block: None,
        };
        let mut facts = Facts::new(life.till.clone(), followed);
        // A poisoned store takes none; the restart reads the chain anew.
        let fed = tokio::spawn(async move { facts.take(&sighting).await.is_ok() });
        while !fed.is_finished() {
            self.sync(life).await;
        }
        fed.await.map(drop).map_err(|error| error.to_string())
    }

    pub(crate) async fn check(&mut self, life: &Life) -> Result<(), String> {
        let channels = life.till.channels().await.map_err(|no| no.to_string())?;
        let mut world = self.world.lock().unwrap();
        for channel in &channels {
            world
                .ledger
                .check(channel)
                .map_err(|broken| format!("{broken}, in {channel:?}"))?;
        }
        world.check_captures();
        if life.settler.is_finished() && life.disk.is_healthy() {
            return Err("the settler stopped on healthy books".to_owned());
        }
        world.broken.take().map_or(Ok(()), Err)
    }
}

/// Lets every other task go on as far as it can: a timer of the same moment, the ask it leads to, and the lane.
async fn everybody_else() {
    sleep(Duration::from_millis(1)).await;
    for _ in 0..HOPS {
        yield_now().await;
    }
}
