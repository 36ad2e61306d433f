//! Logs go to standard error, results to standard output.

use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// The environment variable that sets levels per target: `weir_till=debug,info`.
pub const VARIABLE: &str = "WEIR_LOG";

/// What is logged at a verbosity: warnings of the libraries below us, and our own events.
fn targets(verbose: u8) -> Targets {
    let (ours, theirs) = match verbose {
        0 => (LevelFilter::INFO, LevelFilter::WARN),
        1 => (LevelFilter::DEBUG, LevelFilter::INFO),
        _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let crates = ["core", "protocol", "store", "chain", "till", "client", "node"];
    Targets::new()
        .with_default(theirs)
        // Its spans hold the RPC's whole URL, and providers put their keys into it (threat K1).
        .with_target("alloy_transport_http", LevelFilter::WARN)
        .with_targets(crates.map(|name| (format!("weir_{name}"), ours)))
}

/// Starts logging, as JSON lines for a machine. A second call changes nothing.
pub fn start(verbose: u8, json: bool) {
    let asked = std::env::var(VARIABLE).ok();
    let parsed = asked.as_deref().map(str::parse::<Targets>);
    let (targets, unreadable) = match parsed {
        Some(Ok(targets)) => (targets, None),
        Some(Err(error)) => (targets(verbose), Some(error)),
        None => (targets(verbose), None),
    };
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    let started = tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .try_init();
    if let (Ok(()), Some(error)) = (started, unreadable) {
        tracing::warn!(%error, "{VARIABLE} could not be read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn verbosity_raises_our_own_events_first() {
        for (verbose, ours, theirs) in [
            (0, Level::INFO, Level::WARN),
            (1, Level::DEBUG, Level::INFO),
            (9, Level::TRACE, Level::DEBUG),
        ] {
            let targets = targets(verbose);
            assert!(targets.would_enable("weir_till::lane", &ours));
            assert!(targets.would_enable("hyper", &theirs));
            assert!(theirs == Level::TRACE || !targets.would_enable("hyper", &Level::TRACE));
        }
        assert!(!targets(0).would_enable("weir_till", &Level::DEBUG));
    }
}
