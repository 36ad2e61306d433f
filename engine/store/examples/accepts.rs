//! Measures accepted rows per second with many concurrent waiters on one journal.
//!
//! `cargo run --release -p weir-store --features testing --example accepts -- [waiters] [rounds] [value bytes] [directory]`
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use weir_store::faults::{Place, Plan};
use weir_store::{Birth, Journal, disk, load};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (waiters, rounds, value_bytes) = (number(64)?, number(1000)?, number(300)?);
    let scratch = tempfile::tempdir()?;
    let directory = arguments
        .next()
        .map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let plan = Plan::default();
    let birth = Birth {
        unix_seconds: 0,
        id: [0; 16],
    };
    let journal: Arc<dyn Journal> = disk::open_with_faults(&directory, birth, plan.clone())?;
    let started = Instant::now();
    let tasks: Vec<_> = (0..waiters)
        .map(|channel| {
            let journal = journal.clone();
            tokio::spawn(async move {
                load::accept(journal.as_ref(), channel, rounds, value_bytes as usize).await
            })
        })
        .collect();
    let mut accepted = 0u64;
    for task in tasks {
        accepted += u64::from(task.await??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let syncs = plan.calls(Place::Sync);
    println!(
        "{accepted} accepts of {value_bytes} bytes from {waiters} waiters in {seconds:.2} s: {:.0}/s, {syncs} syncs, {:.1} rows per sync",
        accepted as f64 / seconds,
        accepted as f64 / syncs as f64,
    );
    journal.close()?;
    Ok(())
}
