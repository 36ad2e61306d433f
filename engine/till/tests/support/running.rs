//! A settler that runs, books on disk, and what is sold and waited for.
#![allow(clippy::panic, reason = "a test stops at the first surprise")]

use super::script::Script;
use super::{BIRTH, Payer, buy};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_core::planner::Policy;
use weir_core::{Amount, Standing};
use weir_store::{Journal, disk};
use weir_till::{No, Paid, Settler, SettlerConfig, SettlerHandle, Till};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running {
    pub(crate) handle: SettlerHandle,
    pub(crate) task: JoinHandle<Result<(), No>>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Running {
    pub(crate) fn start(till: &Till, chain: &Arc<Script>) -> Self {
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
        let task = tokio::spawn(settler.run(stopped));
        Self { handle, task, stop }
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    // By the wall: the journal's thread takes real time, also where the runtime's clock stands still.
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn books(directory: &Path) -> Arc<dyn Journal> {
    disk::open(directory, BIRTH).unwrap()
}

/// Sells for `price` on a voucher over `total`, all of it delivered.
pub(crate) async fn sell(till: &Till, payer: &Payer, total: u128, price: u128, nonce: u64) {
    let Paid::Sale(sale, _) = buy(till, payer, total, price, nonce).await.unwrap() else {
        panic!("nothing was sold")
    };
    let (_, delivery) = sale.commit().await.unwrap();
    delivery.finish();
    until("the delivery is over", async || {
        let answer = till.read(payer.channel).await.unwrap();
        answer.get().channel.charges().is_empty()
    })
    .await;
}

pub(crate) async fn standing(till: &Till, payer: &Payer) -> Standing {
    till.read(payer.channel).await.unwrap().get().channel.standing()
}
