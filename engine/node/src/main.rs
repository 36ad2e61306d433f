//! `weir`: a till for services that charge by the request.

use clap::Parser;
use std::process::ExitCode;
use weir_node::cli::Cli;

fn main() -> ExitCode {
    weir_node::commands::run(Cli::parse())
}
