//! A till, its watcher and its settler on a chain of their own.

use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use weir_chain::{Call, Envelope, Sender, Watcher, WatcherConfig};
use weir_core::planner::Policy;
use weir_core::step::{LowerVoucher, VoucherRules};
use weir_core::{Amount, ChannelId, Cumulative, UnixSeconds, Voucher};
use weir_protocol::ChallengeTag;
use weir_store::memory::{self, Image};
use weir_store::{Birth, Journal};
use weir_test_support::{World, key, soon};
use weir_till::attempt::Attempt;
use weir_till::books::UsedCredential;
use weir_till::facts::{Facts, Followed, tracked};
use weir_till::freshness::Budget;
use weir_till::onchain::OnChain;
use weir_till::settlement::{Batch, ChainTrouble, Landing, Settlement, Skipped};
use weir_till::{
    ChargeOn, Clock, Order, Paid, Settler, SettlerConfig, SettlerHandle, SystemClock, Till, TillConfig,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The real chain, with less patience than the settler has, and a stranger who holds the payee's key.
pub(crate) struct Impatient {
    real: OnChain,
    stranger: Sender,
    steals: AtomicBool,
}

impl Impatient {
    /// The stranger uses the nonce that is signed for next, before our envelope is broadcast.
    pub(crate) fn steal_next_nonce(&self) {
        self.steals.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Settlement for Impatient {
    async fn simulate(&self, batch: &Batch) -> Result<Vec<Skipped>, ChainTrouble> {
        self.real.simulate(batch).await
    }

    async fn sign(&self, batch: &Batch) -> Result<Envelope, ChainTrouble> {
        let envelope = self.real.sign(batch).await?;
        if self.steals.swap(false, Ordering::SeqCst) {
            let nothing = Call::nothing(self.stranger.address());
            self.stranger.land(&nothing, soon()).await.unwrap();
        }
        Ok(envelope)
    }

    async fn replace(&self, batch: &Batch, stuck: &Envelope) -> Result<Envelope, ChainTrouble> {
        self.real.replace(batch, stuck).await
    }

    fn remember(&self, nonce: u64) {
        self.real.remember(nonce);
    }

    async fn is_displaced(&self, envelope: &Envelope) -> Result<bool, ChainTrouble> {
        self.real.is_displaced(envelope).await
    }

    async fn broadcast(&self, envelope: &Envelope) -> Result<(), ChainTrouble> {
        self.real.broadcast(envelope).await
    }

    async fn wait(
        &self,
        batch: &Batch,
        envelope: &Envelope,
        within: Duration,
    ) -> Result<Landing, ChainTrouble> {
        let within = within.min(Duration::from_millis(300));
        self.real.wait(batch, envelope, within).await
    }
}

pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) till: Till,
    pub(crate) chain: Arc<Impatient>,
    handle: SettlerHandle,
    journal: Arc<dyn Journal>,
    _stop: watch::Sender<bool>,
}

impl Shop {
    pub(crate) async fn open(finality_blocks: u64) -> Self {
        let world = World::new().await;
        let birth = Birth {
            unix_seconds: SystemClock.now().0,
            id: [7; 16],
        };
        let journal = memory::open(&Image::default(), birth).unwrap();
        let followed = Followed::read_or_begin(&*journal, &world.rpc).await.unwrap();
        let config = TillConfig {
            domain: world.escrow.domain().clone(),
            budget: Budget {
                view_age_seconds_max: 600,
            },
            vouchers_per_second: 100,
        };
        let (till, _) = Till::open(config, journal.clone(), Arc::new(SystemClock))
            .await
            .unwrap();
        let facts = Facts::new(till.clone(), followed);
        let stranger = Sender::connect(world.rpc.clone(), key(0x22)).await.unwrap();
        let (escrow, payee) = (world.escrow.clone(), world.payee.clone());
        let chain = Arc::new(Impatient {
            real: OnChain::new(escrow, payee, world.token, finality_blocks, facts.birth()),
            stranger,
            steals: AtomicBool::new(false),
        });
        let config = SettlerConfig {
            policy: Policy {
                value_max: Amount::new(1_000_000),
                age_max_seconds: 1_000_000,
                value_min: Amount::new(1),
            },
            gather: Duration::ZERO,
        };
        let (settler, handle) = Settler::new(till.clone(), chain.clone(), config);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(settler.run(stopped.clone()));
        let config = WatcherConfig {
            poll_interval: Duration::from_millis(50),
            finality_blocks,
            cursor: followed.cursor(),
            tracked: tracked(&till).await.unwrap(),
        };
        let watcher = Watcher::new(world.escrow.clone(), world.payee.address(), config);
        let mut until = stopped;
        tokio::spawn(watcher.run(facts, async move {
            let _ = until.wait_for(|stop| *stop).await;
        }));
        // Births are of the newest block; what follows is younger.
        world.mine(1).await;
        Self {
            world,
            till,
            chain,
            handle,
            journal,
            _stop: stop,
        }
    }

    /// Opens a channel and sells on it, all delivered.
    pub(crate) async fn sell(&self, salt: u8, price: u128) -> ChannelId {
        let (channel, _) = self.world.open(salt).await;
        self.world.mine(3).await;
        self.until("the deposit is final", async || {
            let seen = self.till.read(channel).await;
            seen.is_ok_and(|answer| !answer.get().channel.chain().deposit.is_zero())
        })
        .await;
        self.sell_more(channel, 0, price, price).await;
        channel
    }

    pub(crate) async fn sell_more(&self, channel: ChannelId, number: u8, total: u128, price: u128) {
        let row = self.world.row(channel, total, total);
        let voucher = Voucher::claimed(channel, row.cumulative, row.signature.unwrap());
        let order = Order {
            price: Some(Amount::new(price)),
            rules: VoucherRules {
                delta_min: Amount::ZERO,
                lower: LowerVoucher::Unchanged,
            },
            credential: Some(UsedCredential {
                expires: UnixSeconds(SystemClock.now().0 + 300),
                channel,
                tag: ChallengeTag([number; 32]),
            }),
            charge_on: ChargeOn::Success,
            keyed: None,
        };
        let Paid::Sale(sale, _) = self.till.pay(voucher, order).await.unwrap() else {
            panic!("nothing was sold")
        };
        let (_, delivery) = sale.commit().await.unwrap();
        delivery.finish();
        self.until("the delivery is over", async || {
            let answer = self.till.read(channel).await.unwrap();
            answer.get().channel.charges().is_empty()
        })
        .await;
    }

    pub(crate) async fn settle(&self, channel: ChannelId) {
        self.handle.settle_now([channel]);
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        Attempt::read_all(&*self.journal).unwrap()
    }

    pub(crate) async fn settled_on_chain(&self, channel: ChannelId) -> Cumulative {
        let head = self.world.rpc.head().await.unwrap();
        let found = self.world.escrow.channel_at(channel, head.hash).await.unwrap();
        found.unwrap().1.settled
    }

    pub(crate) async fn until_settled(&self, channel: ChannelId, total: u128) {
        self.until("it is settled", async || {
            self.settled_on_chain(channel).await == Cumulative::new(total)
        })
        .await;
    }

    pub(crate) async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so().await {
            assert!(Instant::now() < deadline, "not yet: {what}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}
