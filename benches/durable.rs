//! A voucher's way to the disk: `Till::pay` with fresh vouchers, by so many payers at once.

#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use alloy_primitives::B256;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use weir_benches::{NOW, Payer, deposited};
use weir_chain::BlockRef;
use weir_chain::watcher::{Observation, Sighting, Sink};
use weir_core::step::{LowerVoucher, VoucherRules};
use weir_core::{Amount, Claimed, UnixSeconds, Voucher};
use weir_store::{Birth, Journal, disk, memory};
use weir_till::facts::{Facts, Followed};
use weir_till::freshness::Budget;
use weir_till::{ChargeOn, Clock, Order, Paid, Till, TillConfig};

const CONCURRENT: [u32; 4] = [1, 16, 64, 256];
const DEPOSIT: u128 = 1_000_000_000;
const BIRTH: Birth = Birth {
    unix_seconds: NOW,
    id: [7; 16],
};
/// No price: what is measured is a voucher that counts and is durable.
const ORDER: Order = Order {
    price: None,
    rules: VoucherRules {
        delta_min: Amount::ZERO,
        lower: LowerVoucher::Unchanged,
    },
    credential: None,
    charge_on: ChargeOn::Success,
    keyed: None,
};

/// A clock that stands still: the rate of vouchers is not to be limited by the second.
struct Still;

impl Clock for Still {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(NOW)
    }
}

async fn open(journal: Arc<dyn Journal>, payers: &[Payer]) -> Till {
    let config = TillConfig {
        domain: Payer::new(0).domain,
        budget: Budget {
            view_age_seconds_max: 60,
        },
        vouchers_per_second: u32::MAX,
    };
    let (till, _) = Till::open(config, journal, Arc::new(Still)).await.unwrap();
    let head = BlockRef {
        number: 1,
        hash: B256::ZERO,
        timestamp: UnixSeconds(NOW),
    };
    let observations = payers.iter().map(|payer| Observation {
        id: payer.channel,
        terms: payer.terms.clone(),
        seen: deposited(DEPOSIT),
        last_final: deposited(DEPOSIT),
        opened_in: Some(1),
    });
    let sighting = Sighting {
        head,
        last_final: head,
        observations: observations.collect(),
        reorged: false,
    };
    let followed = Followed {
        head,
        born_in: 0,
        first_block: None,
    };
    Facts::new(till.clone(), followed).take(&sighting).await.unwrap();
    till
}

async fn accept_all(till: Till, vouchers: Vec<Voucher<Claimed>>) {
    for voucher in vouchers {
        assert!(matches!(
            till.pay(voucher, ORDER).await.unwrap(),
            Paid::Accepted(_)
        ));
    }
}

/// Each payer accepts `rounds` vouchers one after the other; signing them is not measured.
fn measure(runtime: &Runtime, till: &Till, payers: &[Payer], from: u128, rounds: u64) -> Duration {
    let vouchers: Vec<Vec<_>> = payers
        .iter()
        .map(|payer| {
            let totals = from + 1..=from + u128::from(rounds);
            totals.map(|total| payer.voucher(total)).collect()
        })
        .collect();
    let start = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = vouchers
            .into_iter()
            .map(|vouchers| tokio::spawn(accept_all(till.clone(), vouchers)))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    start.elapsed()
}

fn accept(criterion: &mut Criterion, name: &str, journal: impl Fn(&Path) -> Arc<dyn Journal>) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group(format!("durable accept/{name}"));
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    for concurrent in CONCURRENT {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let payers: Vec<_> = (0..concurrent).map(Payer::new).collect();
        let till = runtime.block_on(open(journal(directory.path()), &payers));
        let mut total = 0;
        group.throughput(Throughput::Elements(u64::from(concurrent)));
        group.bench_function(concurrent.to_string(), |bencher| {
            bencher.iter_custom(|rounds| {
                let elapsed = measure(&runtime, &till, &payers, total, rounds);
                total += u128::from(rounds);
                elapsed
            });
        });
        till.close().unwrap();
    }
    group.finish();
}

fn durable(criterion: &mut Criterion) {
    accept(criterion, "memory", |_| {
        memory::open(&memory::Image::default(), BIRTH).unwrap()
    });
    accept(criterion, "sled", |directory| {
        disk::open(directory, BIRTH).unwrap()
    });
}

criterion_group!(benches, durable);
criterion_main!(benches);
