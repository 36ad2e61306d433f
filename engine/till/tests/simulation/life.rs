//! One life of the till over a disk, and the story of all lives of one seed.

use crate::chain::{BLOCK_SECONDS, Chain};
use crate::disk::Disk;
use crate::operator::{Operator, SharedWorld, World};
use crate::payer::Payer;
use crate::random::Random;
use crate::support::domain;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use weir_core::planner::Policy;
use weir_core::{Amount, Channel, UnixSeconds};
use weir_store::faults::{Fault, Place, Plan};
use weir_store::memory::Image;
use weir_till::freshness::Budget;
use weir_till::{Clock, No, Settler, SettlerConfig, SettlerHandle, Till, TillConfig};

const PAYERS: u8 = 5;
pub(crate) const STEPS: u32 = 260;

/// Time in seconds since the start of the story, by the runtime's paused clock.
pub(crate) struct VirtualClock {
    base: Duration,
    start: Instant,
}

impl VirtualClock {
    pub(crate) fn elapsed(&self) -> Duration {
        self.base + self.start.elapsed()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(crate::NOW + self.elapsed().as_secs())
    }
}

/// What a seed is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story {
    /// How often a step crashes, of a thousand.
    pub(crate) crash_per_mille: u64,
    /// How often a new block replaces others, of a hundred.
    pub(crate) reorg_percent: u64,
    /// Channels are settled when something has waited so long.
    pub(crate) age_max_seconds: u64,
}

/// What a story has come to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) restarts: u32,
    pub(crate) purchases: u64,
    pub(crate) envelopes: usize,
}

pub(crate) struct Simulation {
    pub(crate) story: Story,
    pub(crate) world: SharedWorld,
    pub(crate) payers: Vec<Payer>,
    pub(crate) random: Random,
    pub(crate) elapsed: Duration,
    pub(crate) next_block: u64,
    pub(crate) steps: u32,
    pub(crate) told: Told,
}

pub(crate) struct Life {
    /// Dropped first: it lets the committer go.
    pub(crate) disk: Disk,
    pub(crate) till: Till,
    pub(crate) operator: Arc<Operator>,
    pub(crate) settler: JoinHandle<Result<(), No>>,
    pub(crate) handle: SettlerHandle,
    pub(crate) clock: Arc<VirtualClock>,
    _stop: watch::Sender<bool>,
}

/// How a life ended.
pub(crate) enum End {
    /// With this left on the disk.
    Crashed(Image),
    Closed,
}

impl Simulation {
    pub(crate) fn new(seed: u64, story: Story) -> Self {
        let domain = domain();
        let mut random = Random::new(seed);
        let mut chain = Chain::new(domain.clone(), crate::NOW);
        let payers: Vec<_> = (1..=PAYERS).map(Payer::new).collect();
        for payer in &payers {
            chain
                .terms
                .insert(payer.keys.channel, (payer.keys.terms.clone(), payer.keys.salt));
        }
        let world = World::new(chain, Random::new(random.below(u64::MAX)));
        Self {
            story,
            world: Arc::new(Mutex::new(world)),
            payers,
            random,
            elapsed: Duration::ZERO,
            next_block: BLOCK_SECONDS,
            steps: 0,
            told: Told::default(),
        }
    }

    /// Lives until every channel is closed. The error is the first broken promise.
    pub(crate) fn run(mut self) -> Result<Told, String> {
        let mut image = Image::default();
        loop {
            let runtime = Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let disk = Disk::open(image, self.faults());
            match runtime.block_on(self.live(disk))? {
                End::Closed => {
                    self.told.envelopes = self.world.lock().unwrap().signed.len();
                    return Ok(self.told);
                }
                End::Crashed(left) => image = left,
            }
            self.told.restarts += 1;
        }
    }

    fn faults(&mut self) -> Plan {
        if self.steps >= STEPS || !self.random.percent(40) {
            return Plan::default();
        }
        let place = if self.random.percent(70) {
            Place::Sync
        } else {
            Place::Apply
        };
        Plan::at(place, 4 + self.random.below(60), Fault::Fail)
    }

    /// Opens the till, checks what it read back, and goes on until the next crash or the end. The tasks of this life
    /// end wherever they are, when its runtime is dropped.
    async fn live(&mut self, disk: Disk) -> Result<End, String> {
        let image = disk.process_end();
        let Ok(mut life) = self.open(disk).await else {
            // The sync of what the restart wrote failed.
            return Ok(End::Crashed(image.crash()));
        };
        self.reconcile(&mut life).await?;
        while self.steps < STEPS {
            self.steps += 1;
            self.act(&mut life);
            self.pass_time(&mut life).await?;
            let poisoned = !life.disk.is_healthy() && self.random.percent(30);
            if poisoned || self.random.below(1_000) < self.story.crash_per_mille {
                return Ok(self.crash(&mut life));
            }
        }
        if !life.disk.is_healthy() {
            return Ok(self.crash(&mut life));
        }
        self.close_all(&mut life).await
    }

    pub(crate) fn crash(&mut self, life: &mut Life) -> End {
        self.elapsed = life.clock.elapsed();
        if !life.disk.is_healthy() && self.random.percent(50) {
            // The process ends and the machine goes on: rows whose sync failed may be there.
            return End::Crashed(life.disk.process_end());
        }
        if self.random.percent(30) {
            // On the disk, and nobody has been told.
            life.disk.sync();
        }
        End::Crashed(life.disk.power_cut())
    }

    async fn open(&mut self, mut disk: Disk) -> Result<Life, No> {
        let clock = Arc::new(VirtualClock {
            base: self.elapsed,
            start: Instant::now(),
        });
        let config = TillConfig {
            domain: self.world.lock().unwrap().chain.domain.clone(),
            budget: Budget {
                view_age_seconds_max: 60,
            },
            vouchers_per_second: 1_000,
        };
        let opening = tokio::spawn(Till::open(config, disk.journal(), clock.clone()));
        while !opening.is_finished() {
            sleep(Duration::from_millis(1)).await;
            disk.sync();
        }
        let (till, _) = opening.await.unwrap()?;
        let operator = Arc::new(Operator {
            world: self.world.clone(),
            image: disk.process_end(),
            next_nonce: Mutex::new(0),
        });
        let config = SettlerConfig {
            policy: Policy {
                value_max: Amount::new(2_000),
                age_max_seconds: self.story.age_max_seconds,
                value_min: Amount::new(1),
            },
            gather: Duration::from_millis(200),
        };
        let (settler, handle) = Settler::new(till.clone(), operator.clone(), config);
        let (stop, stopped) = watch::channel(false);
        let settler = tokio::spawn(settler.run(stopped));
        Ok(Life {
            till,
            operator,
            settler,
            handle,
            clock,
            disk,
            _stop: stop,
        })
    }

    async fn reconcile(&mut self, life: &mut Life) -> Result<(), String> {
        let channels = life.till.channels().await.map_err(|no| no.to_string())?;
        self.take_over(&channels)?;
        self.feed(life).await
    }

    fn take_over(&self, channels: &[Channel]) -> Result<(), String> {
        let mut world = self.world.lock().unwrap();
        for payer in &self.payers {
            if !channels.iter().any(|channel| channel.id() == payer.keys.channel) {
                world.ledger.reconcile_missing(payer.keys.channel)?;
            }
        }
        for channel in channels {
            world.ledger.reconcile(channel)?;
        }
        world.check_captures();
        Ok(())
    }
}
