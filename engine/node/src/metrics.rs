//! What Prometheus is told of the daemon: `GET /metrics` on the operator's listener (docs/operations.md).

use crate::latency::{Latency, Percentiles};
use crate::operator::standing_name;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use weir_core::Standing;
use weir_protocol::problem::Problem;
use weir_till::gateway::Gateway;
use weir_till::gateway::watch::Watch;
use weir_till::{Funding, No};

/// Media type of what is told.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the payment histogram, in seconds.
const PAYMENT_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

const WEI_PER_COIN: f64 = 1e18;

const STANDINGS: [Standing; 5] = [
    Standing::Live,
    Standing::Closing,
    Standing::DrainOnly,
    Standing::Frozen,
    Standing::Finalized,
];

/// One label. Values come from lists of ours, never from a request: their number is bounded.
type Label = [(&'static str, &'static str); 1];
type Seconds = Gauge<f64, AtomicU64>;

/// Counts and measures. One for each daemon.
pub struct Metrics {
    registry: Registry,
    latency: Latency,
    payment_seconds: Histogram,
    challenges: Counter,
    vouchers: Counter,
    refused: Family<Label, Counter>,
    sales: Counter,
    units: Counter,
    upstream_failures: Family<Label, Counter>,
    turned_away: Counter,
    told: Told,
}

/// What is read from the parts when somebody asks.
struct Told {
    streams: Gauge,
    view_age: Seconds,
    channels: Family<Label, Gauge>,
    capturing: Gauge,
    value_at_risk: Seconds,
    transactions: Counter,
    settled: Counter,
    gas: Counter,
    skipped: Counter,
    pulls_pending: Gauge,
    pulls: Family<Label, Counter>,
    pull_gas: Counter,
    gas_key_ether: Seconds,
    commits: Counter,
    rows: Counter,
    commit_seconds: Counter<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("weir");
        let told = Told::in_registry(&mut registry);
        let r = &mut registry;
        Self {
            latency: Latency::default(),
            payment_seconds: unit(
                r,
                "payment",
                "From a paid request's head to its receipt",
                Unit::Seconds,
                Histogram::new(PAYMENT_SECONDS),
            ),
            challenges: add(
                r,
                "challenges",
                "Answers with 402 and a challenge",
                Counter::default(),
            ),
            vouchers: add(r, "vouchers_accepted", "Vouchers taken", Counter::default()),
            refused: add(
                r,
                "credentials_refused",
                "Credentials refused, by the problem's type or status",
                Family::default(),
            ),
            sales: add(
                r,
                "sales",
                "Deliveries charged; a stream is one",
                Counter::default(),
            ),
            units: add(r, "units", "Units charged", Counter::default()),
            upstream_failures: add(
                r,
                "upstream_failures",
                "Requests that the service gave no answer to",
                Family::default(),
            ),
            turned_away: add(
                r,
                "connections_turned_away",
                "Connections of peers that had their share already",
                Counter::default(),
            ),
            told,
            registry,
        }
    }
}

impl Told {
    fn in_registry(r: &mut Registry) -> Self {
        Self {
            streams: add(r, "streams", "Streams being sold by the event", Gauge::default()),
            view_age: unit(
                r,
                "view_age",
                "Age of the newest block taken, by its timestamp; NaN before the first",
                Unit::Seconds,
                Seconds::default(),
            ),
            channels: add(r, "channels", "Channels known, by standing", Family::default()),
            capturing: add(
                r,
                "settlements_in_flight",
                "Channels whose settlement is under way or not final",
                Gauge::default(),
            ),
            value_at_risk: add(
                r,
                "value_at_risk",
                "Earned and not settled, in base units, over all channels",
                Seconds::default(),
            ),
            transactions: add(
                r,
                "settlement_transactions",
                "Settlements mined",
                Counter::default(),
            ),
            settled: add(
                r,
                "channels_settled",
                "Channels settled or closed by them",
                Counter::default(),
            ),
            gas: add(r, "settlement_gas", "Gas used by them", Counter::default()),
            skipped: add(
                r,
                "settlement_rows_skipped",
                "Rows of settlements without effect",
                Counter::default(),
            ),
            pulls_pending: add(
                r,
                "deposits_pending",
                "Deposits that payers signed for, on their way to a block",
                Gauge::default(),
            ),
            pulls: add(
                r,
                "deposits_pulled",
                "Deposits that payers signed for, in a block, by outcome",
                Family::default(),
            ),
            pull_gas: add(r, "deposit_gas", "Gas used by them", Counter::default()),
            gas_key_ether: add(
                r,
                "gas_key_balance",
                "What the key that pays for them has, in the chain's coin of 18 decimals",
                Seconds::default(),
            ),
            commits: add(
                r,
                "store_commits",
                "Groups of rows made durable, one sync each",
                Counter::default(),
            ),
            rows: add(r, "store_rows", "Rows in them", Counter::default()),
            commit_seconds: unit(
                r,
                "store_commit",
                "Time that they took to write and to sync",
                Unit::Seconds,
                Counter::default(),
            ),
        }
    }

    /// Reads the parts.
    async fn read(&self, gateway: &Gateway) -> Result<(), No> {
        let till = gateway.till();
        let channels = till.channels().await?;
        for standing in STANDINGS {
            let count = channels
                .iter()
                .filter(|channel| channel.standing() == standing)
                .count();
            let label = [("standing", standing_name(standing))];
            self.channels.get_or_create(&label).set(signed(count));
        }
        let capturing = channels.iter().filter(|channel| channel.capture().is_some());
        self.capturing.set(signed(capturing.count()));
        // A float keeps 53 bits: enough to see a trend, and the operator's API has the sum to the last unit.
        let at_risk: f64 = channels
            .iter()
            .map(|channel| channel.uncollected().base_units() as f64)
            .sum();
        self.value_at_risk.set(at_risk);
        self.streams.set(signed(gateway.streams().count()));
        let age = till.freshness().age_seconds(till.clock().now());
        self.view_age.set(age.map_or(f64::NAN, |seconds| seconds as f64));
        let tally = gateway.settler().tally();
        raise(&self.transactions, tally.transactions);
        raise(&self.settled, tally.channels);
        raise(&self.gas, tally.gas_used);
        raise(&self.skipped, tally.skipped);
        if let Some(tally) = gateway.funding().map(Funding::tally) {
            self.pulls_pending
                .set(i64::try_from(tally.pending).unwrap_or(i64::MAX));
            let outcomes = [("pulled", tally.pulled), ("reverted", tally.reverted)];
            for (outcome, total) in outcomes {
                raise(&self.pulls.get_or_create(&[("outcome", outcome)]), total);
            }
            raise(&self.pull_gas, tally.gas_used);
            self.gas_key_ether.set(tally.balance as f64 / WEI_PER_COIN);
        }
        let commits = till.journal().tally();
        raise(&self.commits, commits.groups);
        raise(&self.rows, commits.rows);
        self.commit_seconds
            .inc_by((commits.busy.as_secs_f64() - self.commit_seconds.get()).max(0.0));
        Ok(())
    }
}

impl Metrics {
    /// Vouchers taken since the start.
    pub fn vouchers(&self) -> u64 {
        self.vouchers.get()
    }

    /// Counts connections that were turned away; all clones are one.
    pub fn turned_away(&self) -> Counter {
        self.turned_away.clone()
    }

    /// How long payments took so far.
    pub fn latency(&self) -> Percentiles {
        self.latency.percentiles()
    }

    /// Everything, as [`CONTENT_TYPE`]. Without a gateway, what concerns it stays at nothing.
    ///
    /// # Errors
    /// The till cannot be asked.
    pub async fn tell(&self, gateway: Option<&Gateway>) -> Result<String, No> {
        match gateway {
            Some(gateway) => self.told.read(gateway).await?,
            None => {
                self.told.view_age.set(f64::NAN);
            }
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        Ok(text)
    }
}

impl Watch for Metrics {
    fn challenged(&self) {
        self.challenges.inc();
    }

    fn voucher_accepted(&self) {
        self.vouchers.inc();
    }

    fn refused(&self, problem: &Problem) {
        self.refused.get_or_create(&[("reason", reason(problem))]).inc();
    }

    fn sold(&self) {
        self.sales.inc();
        self.units.inc();
    }

    fn unit_sold(&self) {
        self.units.inc();
    }

    fn paid(&self, took: Duration) {
        self.latency.record(took);
        self.payment_seconds.observe(took.as_secs_f64());
    }

    fn upstream_failed(&self, how: &'static str) {
        self.upstream_failures.get_or_create(&[("kind", how)]).inc();
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn unit<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, unit: Unit, metric: M) -> M {
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

/// Brings a counter up to a total that is kept elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The last part of the problem's type, or the status where the type says nothing.
fn reason(problem: &Problem) -> &'static str {
    let uri = problem.kind().row().uri;
    match (uri.rsplit_once('/'), problem.status()) {
        (Some((_, last)), _) => last,
        (None, 404) => "not_found",
        (None, 405) => "method",
        (None, 429) => "too_fast",
        (None, 502 | 504) => "upstream",
        (None, 503) => "unavailable",
        (None, _) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::problem::ProblemType;

    #[tokio::test]
    async fn counts_are_told_by_their_prometheus_names() {
        let metrics = Metrics::default();
        metrics.challenged();
        metrics.sold();
        metrics.unit_sold();
        metrics.paid(Duration::from_millis(3));
        metrics.refused(&Problem::new(ProblemType::SignerMismatch, "no"));
        metrics.refused(&Problem::blank(503, "later"));
        metrics.upstream_failed("unreachable");
        metrics.turned_away().inc();
        let text = metrics.tell(None).await.unwrap();
        for line in [
            "weir_challenges_total 1",
            "weir_sales_total 1",
            "weir_units_total 2",
            "weir_payment_seconds_count 1",
            "weir_payment_seconds_bucket{le=\"0.005\"} 1",
            "weir_payment_seconds_bucket{le=\"0.0025\"} 0",
            "weir_credentials_refused_total{reason=\"signer-mismatch\"} 1",
            "weir_credentials_refused_total{reason=\"unavailable\"} 1",
            "weir_upstream_failures_total{kind=\"unreachable\"} 1",
            "weir_connections_turned_away_total 1",
            "weir_view_age_seconds NaN",
            "# EOF",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
