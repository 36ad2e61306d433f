//! The command line: one enum of commands; each command's arguments stand beside its code.

use crate::commands::{channels, check_config, close, deploy, dev, pay, payer, serve, settle};
use clap::{Parser, Subcommand};

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// It was tried and failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong; nothing was tried.
pub const EXIT_USAGE: u8 = 2;
/// `weir pay` was ended by Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Weir takes payments for a service, request by request, over payment channels (HTTP 402).
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
#[command(
    after_help = "Exit codes: 0 done, or nothing to do; 1 failed; 2 wrong usage or configuration; 130 pay was interrupted."
)]
pub struct Cli {
    /// What is asked.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Global {
    /// Print JSON for machines instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more: -v for debug, -vv for everything. WEIR_LOG sets targets, as in `weir_node=debug,info`
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands. What the help says of each stands on its arguments: a comment here would replace it.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum Command {
    Dev(dev::Dev),
    Serve(serve::Serve),
    CheckConfig(check_config::CheckConfig),
    Deploy(deploy::Deploy),
    Pay(Box<pay::Pay>),
    Payer(payer::Payer),
    Channels(channels::Channels),
    Settle(settle::Settle),
    Close(close::Close),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("\nExamples:\n"), "{help}");
        }
    }

    #[test]
    fn no_help_is_wrapped_twice() {
        const WIDTH: usize = 60;
        for command in Cli::command().get_subcommands() {
            let mut command = command.clone().term_width(WIDTH);
            let help = command.render_long_help().to_string();
            let about = help.split("\nUsage:").next().unwrap();
            for paragraph in about.split("\n\n") {
                let lines: Vec<&str> = paragraph.trim().lines().collect();
                for pair in lines.windows(2) {
                    let next = pair[1].split(' ').next().unwrap_or_default();
                    let room = WIDTH.saturating_sub(pair[0].chars().count() + 1);
                    assert!(next.chars().count() > room, "{pair:?} in {help}");
                }
            }
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            ["weir", "--json", "check-config", "-v"],
            ["weir", "-v", "check-config", "--json"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(
                cli.global,
                Global {
                    json: true,
                    verbose: 1
                }
            );
        }
        assert!(Cli::try_parse_from(["weir", "no-such-command"]).is_err());
    }

    #[test]
    fn no_option_takes_a_private_key() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(
                    !name.contains("key") || name.ends_with("key_file"),
                    "{}: {name}",
                    command.get_name()
                );
            }
        }
    }
}
