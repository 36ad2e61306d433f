//! `weir payer`.

mod books;
mod explain;
mod wallet;

pub(super) use explain::explain;
pub use wallet::{KEY_VARIABLE, RPC_VARIABLE, Wallet};

use super::Failure;
use super::channels::{pick, short};
use super::pay::{credit_hint, print_closed};
use crate::table::Output;
use alloy_primitives::Address;
use books::{found_json, print_books, print_found, when};
use serde_json::json;
use std::collections::BTreeSet;
use weir_client::{AllowedEscrow, ChannelRecord, HttpOptions, Limits, Payer as Handle};
use weir_core::{Amount, ChannelId};

const EXAMPLES: &str = "\
Examples:
  weir payer channels
  weir payer close https://api.example/v1/answer
  weir payer request-close 0x1b2c3d4e
  weir payer withdraw 0x1b2c3d4e
  weir payer recover --escrow 0x5FbD…0aa3 --from-block 19000000 --request-close";

/// Look after your own channels: list, close, withdraw, recover
///
/// `close` asks the server to close a channel; it costs you no gas and ends at once. Without the server, ask the escrow
/// with `request-close`, wait until the grace period is over, and take back the rest with `withdraw`. When the state
/// directory is lost, `recover` finds your key's channels in the chain's logs.
///
/// The key comes from --key-file or from the environment's WEIR_PAYER_KEY, the RPC from --rpc-url or WEIR_RPC_URL.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Payer {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
    /// Whose channels, on which chain.
    #[command(flatten)]
    pub wallet: Wallet,
    /// An escrow to look in, beside those of the books; may be repeated
    #[arg(long = "escrow", value_name = "ADDRESS", global = true)]
    pub escrows: Vec<Address>,
}

/// What to do with the payer's channels.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// List the channels of the books; the chain is not asked
    Channels,
    /// Ask the server behind a URL to close your channel there, and check what it took
    Close {
        /// A URL of the server
        url: String,
    },
    /// Ask the escrow to close channels; the grace period begins
    RequestClose {
        /// The channels; the beginning of an id is enough for those of the books
        #[arg(value_name = "ID", required = true)]
        channels: Vec<String>,
    },
    /// Take back what is left of channels whose grace period is over
    Withdraw {
        /// The channels; the beginning of an id is enough for those of the books
        #[arg(value_name = "ID", required = true)]
        channels: Vec<String>,
    },
    /// Find every channel of your key in the chain's logs, without the books
    Recover {
        /// The block to begin with; the block of the escrow's deployment finds everything
        #[arg(long, value_name = "N", default_value_t = 0)]
        from_block: u64,
        /// Ask the escrow to close every open channel that the books don't know
        #[arg(long)]
        request_close: bool,
    },
    /// Collect refunds that the token refused when the escrow sent them
    CollectRefund {
        /// The token
        #[arg(long, value_name = "ADDRESS")]
        token: Address,
        /// Where to send them; default: the payer
        #[arg(long, value_name = "ADDRESS")]
        to: Option<Address>,
    },
}

impl Payer {
    /// Runs the command.
    ///
    /// # Errors
    /// The key, the chain or the books can't be used, or what was asked for was refused.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let books = self.wallet.books()?;
        if let What::Channels = self.what {
            print_books(&books, self.wallet.key()?.address(), output);
            return Ok(());
        }
        if let (What::Recover { .. } | What::CollectRefund { .. }, true, true) =
            (&self.what, self.escrows.is_empty(), books.is_empty())
        {
            return Err(Failure::Usage(
                "the books hold no channel, so name the escrow to look in with --escrow".to_owned(),
            ));
        }
        let limits = exit_limits(&books, &self.escrows);
        let payer = self.wallet.payer(limits, HttpOptions::default()).await?;
        match &self.what {
            What::Channels => {}
            What::Close { url } => print_closed(&payer.close(url).await.map_err(explain)?, output),
            What::RequestClose { channels } => {
                for id in find(&books, channels)? {
                    request_close(&payer, id, output).await?;
                }
            }
            What::Withdraw { channels } => {
                for id in find(&books, channels)? {
                    withdraw(&payer, id, output).await?;
                }
            }
            What::Recover {
                from_block,
                request_close,
            } => recover(&payer, *from_block, *request_close, output).await?,
            What::CollectRefund { token, to } => {
                collect(&payer, &books, &self.escrows, (*token, *to), output).await?;
            }
        }
        Ok(())
    }
}

/// Limits for leaving: nothing can be bought under them, and every escrow and token of the books may be closed.
fn exit_limits(books: &[ChannelRecord], escrows: &[Address]) -> Limits {
    let booked = books.iter().map(|record| record.escrow);
    let all: BTreeSet<Address> = booked.chain(escrows.iter().copied()).collect();
    let allowed = |address| AllowedEscrow {
        address,
        code_hash: None,
    };
    // A server's challenge names its price also where it is only asked to close, which no price stands against.
    let any_price = Amount::new(u128::MAX);
    Limits {
        escrows: all.into_iter().map(allowed).collect(),
        tokens: books.iter().map(|record| record.terms.token).collect(),
        max_total: Some(Amount::ZERO),
        ..Limits::new(allowed(Address::ZERO), Address::ZERO, any_price, Amount::ZERO)
    }
}

/// The channels that are meant: those of the books by the beginning of their id, others by their whole id.
fn find(books: &[ChannelRecord], wanted: &[String]) -> Result<Vec<ChannelId>, Failure> {
    let known: Vec<String> = books.iter().map(|record| record.channel.to_string()).collect();
    wanted.iter().map(|text| pick(&known, text)).collect()
}

async fn request_close(payer: &Handle, id: ChannelId, output: Output) -> Result<(), Failure> {
    let request = payer.request_close(id).await.map_err(explain)?;
    if output.json {
        output.json(&json!({ "channel": id.to_string(), "ready_at": request.ready_at }));
        return Ok(());
    }
    output.text(&format!(
        "the escrow was asked to close {}; {}, run: weir payer withdraw {0}",
        // The whole id: the books may not know it.
        id,
        when(request.ready_at),
    ));
    Ok(())
}

async fn withdraw(payer: &Handle, id: ChannelId, output: Output) -> Result<(), Failure> {
    let done = payer.withdraw(id).await.map_err(explain)?;
    if output.json {
        output.json(&json!({
            "channel": id.to_string(),
            "settled": done.settled,
            "refunded": done.refunded,
            "credited": done.credited,
            "tx_hash": done.tx_hash,
        }));
        return Ok(());
    }
    output.text(&format!(
        "{} of {} came back; the server had got {} · transaction {}{}",
        done.refunded,
        short(&id.to_string()),
        done.settled,
        done.tx_hash,
        credit_hint(done.credited),
    ));
    Ok(())
}

async fn recover(payer: &Handle, from_block: u64, close: bool, output: Output) -> Result<(), Failure> {
    let found = payer.recover(from_block).await.map_err(explain)?;
    if output.json && !close {
        output.json(&found.iter().map(found_json).collect::<Vec<_>>());
        return Ok(());
    }
    if !output.json {
        print_found(&found, output);
    }
    if close {
        let lost = found
            .iter()
            .filter(|channel| !channel.in_books && !channel.state.finalized && channel.ready_at.is_none());
        for channel in lost {
            request_close(payer, channel.channel, output).await?;
        }
    }
    Ok(())
}

async fn collect(
    payer: &Handle,
    books: &[ChannelRecord],
    escrows: &[Address],
    (token, to): (Address, Option<Address>),
    output: Output,
) -> Result<(), Failure> {
    let booked = books.iter().filter(|record| record.terms.token == token);
    let all: BTreeSet<Address> = match escrows {
        [] => booked.map(|record| record.escrow).collect(),
        named => named.iter().copied().collect(),
    };
    let to = to.unwrap_or(payer.address());
    for escrow in all {
        let hash = payer.withdraw_refund(escrow, token, to).await.map_err(explain)?;
        if output.json {
            output.json(&json!({ "escrow": escrow, "token": token, "to": to, "tx_hash": hash }));
        } else {
            output.text(&format!(
                "the refunds in {escrow} went to {to} · transaction {hash}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::books::tests::record;
    use super::*;
    use alloy_primitives::B256;
    use weir_client::Stage;

    #[test]
    fn a_channel_is_meant_by_the_beginning_of_its_id_or_by_the_whole() {
        let books = [record(0xab, Stage::Live), record(0xac, Stage::Closed)];
        let found = |text: &str| find(&books, &[text.to_owned()]);
        assert_eq!(found("0xabab").unwrap(), [books[0].channel]);
        assert_eq!(found("0xacacacac…").unwrap(), [books[1].channel]);
        let unknown = ChannelId(B256::repeat_byte(9));
        assert_eq!(found(&unknown.to_string()).unwrap(), [unknown]);
        assert!(matches!(found("0xa"), Err(Failure::Usage(_))));
        assert!(matches!(found("0xffff"), Err(Failure::Usage(_))));
    }

    #[test]
    fn leaving_needs_no_limits_and_allows_no_purchase() {
        let books = [record(0xab, Stage::Live)];
        let extra = Address::repeat_byte(9);
        let limits = exit_limits(&books, &[extra, books[0].escrow]);
        let escrows: Vec<Address> = limits.escrows.iter().map(|escrow| escrow.address).collect();
        assert_eq!(escrows, [books[0].escrow, extra]);
        assert_eq!(limits.tokens, BTreeSet::from([books[0].terms.token]));
        assert_eq!(
            (limits.max_deposit, limits.max_total),
            (Amount::ZERO, Some(Amount::ZERO))
        );
    }
}
