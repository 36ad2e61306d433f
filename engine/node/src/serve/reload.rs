//! What is replaced while the daemon runs.

use super::setup;
use crate::config::{Config, ConfigErrors};
use crate::tls::Tls;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use weir_core::Cumulative;
use weir_till::gateway::front::Front;

/// What is replaced when the configuration is read again.
pub struct Reloads {
    /// The configuration of the start: what it says of other things than routes, discovery and
    /// certificate stays in force.
    pub(super) running: Config,
    pub(super) front: Front,
    pub(super) tls: Option<Tls>,
    /// The most that the escrow lets one channel hold, once the chain was reached.
    pub(super) deposit_max: Arc<OnceLock<Cumulative>>,
}

impl Reloads {
    /// Reads the prices and the certificate again. Challenges that are out keep their price, connections that are open
    /// their certificate.
    ///
    /// # Errors
    /// What is wrong with a file; nothing has changed then.
    pub fn read(&self, file: &Path) -> Result<(), ConfigErrors> {
        let config = Config::read(file)?;
        let certificate = config.tls()?;
        let ignored = self.running.changed_for_restart(&config);
        if !ignored.is_empty() {
            let keys = ignored.join(", ");
            tracing::warn!(
                keys,
                "these keys have changed, and only a restart takes them over"
            );
        }
        // As at the start: of the file itself, and of what the chain says to it.
        let most = self.deposit_max.get();
        let above = most.map(|most| config.deposits_above(*most)).unwrap_or_default();
        for warning in config.warnings.iter().chain(&above) {
            tracing::warn!(%warning, "the configuration is good, but");
        }
        self.front.replace_menu(setup::menu(&self.running.chain, &config));
        match (&self.tls, certificate) {
            (Some(tls), Some(certificate)) => tls.replace(certificate),
            (None, None) => {}
            _ => tracing::warn!("whether the listener speaks TLS changes only with a restart"),
        }
        Ok(())
    }
}
