//! `weir check-config`.

use super::Failure;
use super::pay::{count, note};
use crate::config::{self, Config, Problem};
use crate::table::Output;
use serde_json::json;
use std::path::{Path, PathBuf};
use weir_chain::{Escrow, PullPaths, Rpc};

const EXAMPLES: &str = "\
Examples:
  weir check-config
  weir check-config --rpc
  weir check-config --config /etc/weir/weir.toml --json";

/// Check a configuration and print what is in force
///
/// Reads the file, checks every key and the files that it names, and prints the configuration with
/// all defaults filled in. Nothing is started, written or sent, and no secret is printed. With --rpc, the chain is asked
/// besides whether it, the escrow and the token are those configured, and whether the suggested deposits fit the escrow.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct CheckConfig {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = config::FILE)]
    pub config: PathBuf,
    /// Ask the chain too
    #[arg(long)]
    pub rpc: bool,
}

impl CheckConfig {
    /// Runs the command.
    ///
    /// # Errors
    /// All that is wrong with the configuration, or the first thing that the chain has otherwise.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let mut config = Config::read(&self.config)?;
        let recipient = config.check_files()?.address();
        if self.rpc {
            let found = ask_chain(&config).await?;
            config.warnings.extend(found);
        }
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

/// Looks whether the chain is the one configured. Gives what is probably not meant.
async fn ask_chain(config: &Config) -> Result<Vec<Problem>, Failure> {
    let chain = &config.chain;
    let rpc = Rpc::new(chain.rpc_url.expose().as_str()).map_err(Failure::failed)?;
    let id = rpc.chain_id().await.map_err(Failure::failed)?;
    config.must_be_chain(id).map_err(Failure::failed)?;
    let escrow = Escrow::over(rpc, chain.escrow, &chain.domain_name).await;
    let escrow = escrow.map_err(Failure::failed)?;
    let most = escrow.max_deposit(chain.token).await.map_err(Failure::failed)?;
    let mut found = config.deposits_above(most);
    if config.funding.is_some() {
        let ways = ways(&escrow.pull_paths(chain.token).await.map_err(Failure::failed)?);
        let charges = self::ways(&escrow.draw_paths(chain.token).await.map_err(Failure::failed)?);
        if !charges.is_empty() {
            note(&format!("charges can be paid by: {}", charges.join(", ")));
        }
        if ways.is_empty() && charges.is_empty() {
            found.push(Problem {
                file: config.file.clone(),
                line: None,
                key: "funding".to_owned(),
                reason: "has no use here: neither the escrow nor the token takes what payers sign".to_owned(),
            });
        } else if !ways.is_empty() {
            note(&format!("deposits can be pulled by: {}", ways.join(", ")));
        }
    }
    Ok(found)
}

fn ways(paths: &PullPaths) -> Vec<&'static str> {
    let ways = [
        (paths.eip3009.is_some(), "authorization"),
        (paths.permit2.is_some(), "permit2"),
    ];
    ways.iter().filter(|(is, _)| *is).map(|(_, way)| *way).collect()
}

fn verdict(file: &Path, warnings: usize) -> String {
    let file = file.display();
    match warnings {
        0 => format!("{file} is valid"),
        some => format!("{file} is valid, {}", count(some as u64, "warning")),
    }
}
