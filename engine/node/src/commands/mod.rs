//! The commands, one module each: its arguments, and what it does.

pub mod channels;
pub mod check_config;
pub mod close;
pub mod deploy;
pub mod dev;
pub mod operator_client;
pub mod pay;
pub mod payer;
pub mod serve;
pub mod settle;
pub mod target;

use crate::cli::{Cli, Command, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Global};
use crate::config::ConfigErrors;
use crate::table::Output;
use crate::{logging, table};
use core::fmt::Display;
use serde_json::json;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Config(ConfigErrors),
    /// The command line is wrong in a way that its grammar can't tell.
    Usage(String),
    /// It was tried and failed.
    Failed(String),
    /// Somebody ended it by Ctrl-C.
    Interrupted,
}

impl Failure {
    /// Something was tried and failed.
    pub fn failed(why: impl Display) -> Self {
        Self::Failed(why.to_string())
    }

    /// The process's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => EXIT_USAGE,
            Self::Failed(_) => EXIT_FAILED,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Config(errors) => write!(f, "{errors}"),
            Self::Usage(why) | Self::Failed(why) => f.write_str(why),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl core::error::Error for Failure {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

/// Does what the command line asks.
pub fn run(cli: Cli) -> ExitCode {
    let Global { json, verbose } = cli.global;
    logging::start(verbose, json);
    let output = Output { json };
    let done = match cli.command {
        Command::CheckConfig(command) => block_on(command.run(output)),
        Command::Dev(command) => block_on(command.run(output)),
        Command::Serve(command) => block_on(command.run(output)),
        Command::Deploy(command) => block_on(command.run(output)),
        Command::Pay(command) => block_on(command.run(output)),
        Command::Payer(command) => block_on(command.run(output)),
        Command::Channels(command) => block_on(command.run(output)),
        Command::Settle(command) => block_on(command.run(output)),
        Command::Close(command) => block_on(command.run(output)),
    };
    match done {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(failure) => {
            report(output, &failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format_args!("the runtime could not start: {error}")))?
        .block_on(work)
}

fn report(output: Output, failure: &Failure) {
    if !output.json {
        return table::complain(failure);
    }
    let problems = match failure {
        Failure::Config(errors) => json!(errors),
        Failure::Usage(_) | Failure::Failed(_) => json!([]),
        // What was interrupted has said how far it came.
        Failure::Interrupted => return,
    };
    output.json(&json!({ "error": failure.to_string(), "problems": problems }));
}
