//! `weir check-config`.

use super::Failure;
use super::pay::{count, note};
use crate::config::{self, Config};
use crate::table::Output;
use serde_json::json;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  weir check-config
  weir check-config --config /etc/weir/weir.toml --json";

/// Check a configuration and print what is in force
///
/// Reads the file, checks every key and the files that it names, and prints the configuration with
/// all defaults filled in. Nothing is started, written or sent, and no secret is printed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct CheckConfig {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = config::FILE)]
    pub config: PathBuf,
}

impl CheckConfig {
    /// Runs the command.
    ///
    /// # Errors
    /// All that is wrong with the configuration.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let config = Config::read(&self.config)?;
        let recipient = config.check_files()?.address();
        if output.json {
            let warnings = &config.warnings;
            output.json(&json!({ "recipient": recipient, "config": config, "warnings": warnings }));
            return Ok(());
        }
        let text = toml::to_string(&config).map_err(Failure::failed)?;
        output.text(&format!(
            "# Payments go to {recipient}. This is {} with all defaults:\n{text}",
            self.config.display()
        ));
        // Last, and right above the verdict: what is printed before scrolls away.
        for warning in &config.warnings {
            note(&format!("warning: {warning}"));
        }
        note(&verdict(&self.config, config.warnings.len()));
        Ok(())
    }
}

fn verdict(file: &Path, warnings: usize) -> String {
    let file = file.display();
    match warnings {
        0 => format!("{file} is valid"),
        some => format!("{file} is valid, {}", count(some as u64, "warning")),
    }
}
