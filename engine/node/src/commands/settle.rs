//! `weir settle`.

use super::Failure;
use super::channels::{list, short, uncollected};
use super::operator_client::{OperatorClient, Refusal};
use super::pay::{count, note};
use super::target::Target;
use crate::operator::ChannelView;
use crate::table::Output;
use serde_json::json;
use weir_till::{Clock, SystemClock};

const EXAMPLES: &str = "\
Examples:
  weir settle
  weir settle 0x1b2c3d4e --wait 300
  weir settle --config /etc/weir/weir.toml --json";

/// Collect on-chain now what channels have earned
///
/// The daemon settles by itself, by the policy in its configuration; this asks it to do so at once, for one channel or for
/// all that have something to collect. The channels stay open.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Settle {
    /// The channel, by its id or the beginning of it; default: all with something to collect
    #[arg(value_name = "ID")]
    pub channel: Option<String>,
    /// Wait at most this long until the payment is final: `finality_blocks` after the block that it is in
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    /// Where the daemon is.
    #[command(flatten)]
    pub target: Target,
}

impl Settle {
    /// Runs the command.
    ///
    /// # Errors
    /// The daemon can't be reached or refuses, or it was not settled in time.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.target.client(self.target.read_config()?.as_ref())?;
        let asked = self.ask(&client).await.map_err(Refusal::of_daemons_work)?;
        let Some(seconds) = self.wait else {
            print(&asked, output);
            return Ok(());
        };
        let (seen, reached) = client.wait(&asked, seconds, is_settled).await?;
        print_reached("settled", &seen, reached, output);
        if reached {
            Ok(())
        } else {
            Err(Failure::failed(format_args!(
                "not everything was final after {seconds} s: a payment counts `finality_blocks` after its block. The \
                 daemon goes on; its log says what has landed, and what is in the way"
            )))
        }
    }
}

impl Settle {
    async fn ask(&self, client: &OperatorClient) -> Result<Vec<ChannelView>, Refusal> {
        match &self.channel {
            Some(text) => Ok(vec![client.settle(client.find(text).await?).await?]),
            None => client.settle_all().await,
        }
    }
}

/// Whether what could be collected when it was asked for has been paid out.
fn is_settled(asked: &ChannelView, now: &ChannelView) -> bool {
    let target = asked.settled.plus(asked.uncollected);
    now.standing == "finalized" || target.is_some_and(|target| now.settled >= target)
}

fn print(asked: &[ChannelView], output: Output) {
    if output.json {
        return output.json(&json!({ "asked": asked }));
    }
    output.text(&match asked {
        [] => "there is nothing to collect".to_owned(),
        [one] if one.uncollected.is_zero() => {
            format!("there is nothing to collect on {}", short(&one.channel_id))
        }
        some => format!(
            "the daemon was asked to settle {}, {} base units; --wait waits for the chain",
            count(some.len() as u64, "channel"),
            uncollected(some),
        ),
    });
}

/// What became of it.
pub(super) fn print_reached(what: &str, seen: &[ChannelView], reached: bool, output: Output) {
    if output.json {
        return output.json(&json!({ what: reached, "channels": seen }));
    }
    if seen.is_empty() {
        return note("there was nothing to do");
    }
    output.text(&list(seen, SystemClock.now()).to_string());
    if reached {
        output.text(&format!("{what}: {}", count(seen.len() as u64, "channel")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::channels::tests::view;

    #[test]
    fn settled_is_what_could_be_collected_when_it_was_asked_for() {
        let asked = view("ab", 100, 400);
        assert!(!is_settled(&asked, &view("ab", 100, 400)));
        assert!(!is_settled(&asked, &view("ab", 499, 1)));
        assert!(is_settled(&asked, &view("ab", 500, 70)));
        let mut finalized = view("ab", 100, 0);
        finalized.standing = "finalized".to_owned();
        assert!(is_settled(&asked, &finalized));
    }
}
