//! `weir close`.

use super::Failure;
use super::channels::short;
use super::operator_client::Refusal;
use super::settle::print_reached;
use super::target::Target;
use crate::operator::ChannelView;
use crate::table::Output;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  weir close 0x1b2c3d4e
  weir close 0x1b2c3d4e --wait 60

With --json it prints {\"asked\": [channel]} where it does not wait, and {\"closed\": true or false, \"channels\":
[channel]} where it waited or the channel was closed before.";

/// Close a channel that pays you
///
/// Nothing more is sold on it from now on. The daemon collects what it has earned and closes it on-chain, together with
/// others where it can; the payer gets back the rest of the deposit.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Close {
    /// The channel, by its id or the beginning of it
    #[arg(value_name = "ID")]
    pub channel: String,
    /// Wait at most this long until it is closed on the chain
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    /// Where the daemon is.
    #[command(flatten)]
    pub target: Target,
}

impl Close {
    /// Runs the command.
    ///
    /// # Errors
    /// The daemon can't be reached or refuses, or the channel was not closed in time.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.target.client(self.target.read_config()?.as_ref())?;
        let id = client
            .find(&self.channel)
            .await
            .map_err(Refusal::of_daemons_work)?;
        let standing = client.channel(id).await.map_err(Refusal::of_daemons_work)?;
        if is_closed(&standing) {
            print_reached("closed", &[standing], true, output);
            return Ok(());
        }
        let asked = client.close(id).await.map_err(Refusal::of_daemons_work)?;
        let Some(seconds) = self.wait else {
            if output.json {
                output.json(&json!({ "asked": [asked] }));
                return Ok(());
            }
            output.text(&format!(
                "the daemon was asked to close {}; {} base units are to collect; --wait waits for the chain",
                short(&asked.channel_id),
                asked.uncollected,
            ));
            return Ok(());
        };
        let (seen, reached) = client.wait(&[asked], seconds, |_, now| is_closed(now)).await?;
        print_reached("closed", &seen, reached, output);
        if reached {
            Ok(())
        } else {
            Err(Failure::failed(format_args!(
                "it was not closed after {seconds} s; the daemon goes on trying, and its log says what is in the way"
            )))
        }
    }
}

fn is_closed(now: &ChannelView) -> bool {
    now.standing == "finalized"
}
