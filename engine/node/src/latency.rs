//! How long payments take here, from the request's head to its receipt.

use hdrhistogram::Histogram;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest duration told apart from longer ones, in microseconds.
const LONGEST_MICROSECONDS: u64 = 60_000_000;
/// Significant digits kept.
const DIGITS: u8 = 3;

/// Durations of paid requests.
#[derive(Debug)]
pub struct Latency(Mutex<Option<Histogram<u64>>>);

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// Payments counted.
    pub count: u64,
    /// Half took less.
    pub p50: u64,
    /// 99 of 100 took less.
    pub p99: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Mutex::new(
            Histogram::new_with_bounds(1, LONGEST_MICROSECONDS, DIGITS).ok(),
        ))
    }
}

impl Latency {
    /// Counts one.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_MICROSECONDS);
        if let Some(histogram) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            histogram.saturating_record(micros.clamp(1, LONGEST_MICROSECONDS));
        }
    }

    /// What was counted so far.
    pub fn percentiles(&self) -> Percentiles {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        histogram
            .as_ref()
            .map_or_else(Percentiles::default, |histogram| Percentiles {
                count: histogram.len(),
                p50: histogram.value_at_quantile(0.5),
                p99: histogram.value_at_quantile(0.99),
            })
    }
}
