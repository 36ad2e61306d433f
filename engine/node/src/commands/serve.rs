//! `weir serve`.

use super::Failure;
use crate::config::{self, Config};
use crate::serve::{self, Running, ServeFault};
use crate::table::Output;
use serde_json::json;
use std::path::PathBuf;
use std::pin::pin;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  weir serve
  weir serve --config /etc/weir/weir.toml";

/// Take payments in front of a service
///
/// Answers requests that carry no payment with 402 and a challenge, checks and writes down the voucher of those that
/// do, hands them to the upstream, and collects on-chain. Prices and the certificate are read again on SIGHUP; SIGINT and SIGTERM end it
/// when the requests under way are done, a second one at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Serve {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = config::FILE)]
    pub config: PathBuf,
    /// End when standard input is closed, as it is when the program that started this one ends
    #[arg(long)]
    pub until_stdin_closes: bool,
}

impl From<ServeFault> for Failure {
    fn from(fault: ServeFault) -> Self {
        match fault {
            ServeFault::Config(errors) => Self::Config(errors),
            other => Self::failed(other),
        }
    }
}

impl Serve {
    /// Runs the command.
    ///
    /// # Errors
    /// The daemon could not start, or a part failed that it cannot do without.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let config = Config::read(&self.config)?;
        for warning in &config.warnings {
            tracing::warn!(%warning, "the configuration is good, but");
        }
        let mut ended = Ended::listen(self.until_stdin_closes)?;
        let mut reload = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let opened = serve::open(&config).await?;
        let reloads = opened.reloads(&config);
        let reread = || match reloads.read(&self.config) {
            Ok(()) => {
                tracing::info!("routes, prices and certificate were read again; the rest takes a restart")
            }
            Err(errors) => tracing::error!(%errors, "prices and certificate stay as they were"),
        };
        let mut starting = pin!(opened.start(&config));
        let running = loop {
            tokio::select! {
                started = &mut starting => break started?,
                () = ended.wait() => return Ok(()),
                _ = reload.recv() => reread(),
            }
        };
        announce(&config, &running, output);
        let failed = loop {
            tokio::select! {
                () = ended.wait() => break None,
                why = running.failed() => break Some(why),
                _ = reload.recv() => reread(),
            }
        };
        tracing::info!(
            "ending: nothing new is sold, what is under way goes on; a second signal ends it at once"
        );
        tokio::select! {
            written = running.shut_down() => written.map_err(Failure::failed)?,
            () = ended.wait() => {
                tracing::warn!("ended at once; the charges of what was under way stand in the books");
                return Err(Failure::failed("ended by a second signal before everything under way was done"));
            }
        }
        match failed {
            None => Ok(()),
            Some(why) => Err(Failure::failed(why)),
        }
    }
}

/// The signals that end the daemon.
pub(super) struct Ended {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    stdin: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Ended {
    pub(super) fn listen(until_stdin_closes: bool) -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::failed)?,
            terminate: signal(SignalKind::terminate()).map_err(Failure::failed)?,
            stdin: until_stdin_closes.then(stdin_closed),
        })
    }

    pub(super) async fn wait(&mut self) {
        let stdin = async {
            match &mut self.stdin {
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
            // It closes once; what ends the daemon after that is a signal.
            self.stdin = None;
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = stdin => {}
        }
    }
}

/// Hears of the end of standard input, on a thread that may block on it.
fn stdin_closed() -> tokio::sync::oneshot::Receiver<()> {
    let (closed, hears) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // A fault means that nothing more will come either.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = closed.send(());
    });
    hears
}

fn announce(config: &Config, running: &Running, output: Output) {
    let serve::Recovered {
        channels,
        charges_committed,
    } = running.recovered;
    if charges_committed > 0 {
        tracing::warn!(
            charges_committed,
            "charges were open when the last run ended; they count as delivered"
        );
    }
    let scheme = if config.server.tls.is_some() {
        "https"
    } else {
        "http"
    };
    if output.json {
        output.json(&json!({
            "gateway": format!("{scheme}://{}", running.gateway),
            "operator": format!("http://{}", running.operator),
            "channels": channels,
            "charges_committed": charges_committed,
        }));
        return;
    }
    tracing::info!(
        gateway = %running.gateway,
        operator = %running.operator,
        upstream = config.server.upstream.as_str(),
        channels,
        "taking payments"
    );
}
