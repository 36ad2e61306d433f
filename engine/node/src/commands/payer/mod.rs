//! `weir payer`.

mod books;
mod explain;
mod wallet;

pub use explain::Again;
pub use wallet::{KEY_VARIABLE, RPC_VARIABLE, Wallet};

use super::Failure;
use super::channels::{pick, short};
use super::pay::{credit_hint, print_closed};
use crate::table::Output;
use crate::when::moment;
use alloy_primitives::Address;
use books::{found_json, from, print_books, print_found, print_payments};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use weir_client::{AllowedEscrow, ChannelRecord, Error, FoundChannel, HttpOptions, Limits, Payer as Handle};
use weir_core::{Amount, ChannelId, UnixSeconds};
use weir_till::{Clock, SystemClock};

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
    /// List payments for single answers that never came; the same request again shows them again
    Payments,
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
    /// Take back what is left of channels whose grace period is over; of one that is closed already, say where it went
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
        /// Ask the escrow to close every open channel that the books don't know; those of the books stay open
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
        if let What::Payments = self.what {
            print_payments(&self.wallet.payments()?, output);
            return Ok(());
        }
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
        let mut again = self.wallet.again();
        for escrow in &self.escrows {
            again.push("--escrow", escrow);
        }
        let leaving = Leaving {
            payer: self.wallet.payer(limits, HttpOptions::default()).await?,
            again,
            output,
        };
        match &self.what {
            What::Channels | What::Payments => {}
            What::Close { url } => leaving.close(url).await?,
            What::RequestClose { channels } => {
                for id in find(&books, channels)? {
                    leaving.request_close(id).await?;
                }
            }
            What::Withdraw { channels } => {
                for id in find(&books, channels)? {
                    leaving.withdraw(id).await?;
                }
            }
            What::Recover {
                from_block,
                request_close,
            } => leaving.recover(*from_block, *request_close).await?,
            What::CollectRefund { token, to } => {
                let escrows = refund_escrows(&books, &self.escrows, *token);
                leaving.collect(escrows, *token, *to).await?;
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

/// The escrows in which refunds of a token may wait: those that were named, or those of the books.
fn refund_escrows(books: &[ChannelRecord], named: &[Address], token: Address) -> BTreeSet<Address> {
    let booked = books.iter().filter(|record| record.terms.token == token);
    match named {
        [] => booked.map(|record| record.escrow).collect(),
        named => named.iter().copied().collect(),
    }
}

/// A payer on its way out, and how it is told.
struct Leaving {
    payer: Handle,
    again: Again,
    output: Output,
}

impl Leaving {
    fn explain(&self, error: Error) -> Failure {
        self.again.explain(error)
    }

    async fn close(&self, url: &str) -> Result<(), Failure> {
        let closed = self.payer.close(url).await;
        print_closed(
            &closed.map_err(|error| self.explain(error))?,
            &self.again,
            self.output,
        );
        Ok(())
    }

    async fn request_close(&self, id: ChannelId) -> Result<(), Failure> {
        let asked = match self.payer.request_close(id).await {
            Ok(asked) => asked,
            Err(closed @ Error::AlreadyClosed { .. }) => {
                self.tell(&json!({ "channel": id.to_string(), "closed": true }), || {
                    closed.to_string()
                });
                return Ok(());
            }
            Err(error) => return Err(self.explain(error)),
        };
        let document = json!({
            "channel": id.to_string(),
            "requested_at": asked.requested_at,
            "ready_at": asked.ready_at,
            "stood_already": asked.stood,
        });
        self.tell(&document, || {
            let asking = match asked.stood {
                true => {
                    let at = moment(UnixSeconds(asked.requested_at), SystemClock.now());
                    format!("was already asked to close {id} at {at}")
                }
                false => format!("was asked to close {id}"),
            };
            format!(
                "the escrow {asking}; {}, run: {}",
                from(asked.ready_at),
                self.again.payer(format_args!("withdraw {id}")),
            )
        });
        Ok(())
    }

    async fn withdraw(&self, id: ChannelId) -> Result<(), Failure> {
        let done = match self.payer.withdraw(id).await {
            Ok(done) => done,
            Err(Error::NotReady { ready_at: 0 }) => {
                return Err(Failure::failed(format_args!(
                    "no close of {id} was asked for: run `{}` first",
                    self.again.payer(format_args!("request-close {id}")),
                )));
            }
            Err(error) => return Err(self.explain(error)),
        };
        let document = json!({
            "channel": id.to_string(),
            "settled": done.settled,
            "refunded": done.refunded,
            "credited": done.credited,
            "overcharged": done.overcharged.map(|why| why.to_string()),
            "tx_hash": done.tx_hash,
        });
        self.tell(&document, || {
            let (settled, refunded) = (done.settled, done.refunded);
            let told = match done.tx_hash {
                Some(hash) => format!(
                    "{refunded} of {} came back; the server had got {settled} · transaction {hash}",
                    short(&id.to_string()),
                ),
                None => format!(
                    "{} was closed already; the server had got {settled}, and {refunded} came back then",
                    short(&id.to_string()),
                ),
            };
            let wrong = done.overcharged;
            let wrong = wrong.map(|why| format!("\nthe server overcharged: {why}"));
            told + &wrong.unwrap_or_default() + &credit_hint(done.credited, done.token, &self.again)
        });
        Ok(())
    }

    async fn recover(&self, from_block: u64, close: bool) -> Result<(), Failure> {
        let found = self.payer.recover(from_block).await;
        let found = found.map_err(|error| self.explain(error))?;
        if self.output.json && !close {
            self.output
                .json(&found.iter().map(found_json).collect::<Vec<_>>());
            return Ok(());
        }
        if !self.output.json {
            print_found(&found, self.output);
        }
        let open = found
            .iter()
            .filter(|channel| !channel.state.finalized && channel.ready_at.is_none());
        let (booked, lost): (Vec<_>, Vec<_>) = open.partition(|channel| channel.in_books);
        if close {
            for channel in lost {
                self.request_close(channel.channel).await?;
            }
            self.tell_booked(&booked);
        }
        Ok(())
    }

    /// Open channels of the books are in use: only a person knows which of their sellers are gone.
    fn tell_booked(&self, booked: &[&FoundChannel]) {
        for channel in booked {
            let id = channel.channel;
            let document = json!({ "channel": id.to_string(), "in_books": true, "left_open": true });
            self.tell(&document, || {
                format!(
                    "{} is in the books and stays open; if its seller is gone, run: {}",
                    short(&id.to_string()),
                    self.again.payer(format_args!("request-close {id}")),
                )
            });
        }
    }

    async fn collect(
        &self,
        escrows: BTreeSet<Address>,
        token: Address,
        to: Option<Address>,
    ) -> Result<(), Failure> {
        let to = to.unwrap_or(self.payer.address());
        for escrow in escrows {
            let sent = self.payer.withdraw_refund(escrow, token, to).await;
            let hash = sent.map_err(|error| self.explain(error))?;
            let document = json!({ "escrow": escrow, "token": token, "to": to, "tx_hash": hash });
            self.tell(&document, || {
                format!("the refunds in {escrow} went to {to} · transaction {hash}")
            });
        }
        Ok(())
    }

    /// Prints a document for machines, or the text for people.
    fn tell(&self, document: &Value, text: impl FnOnce() -> String) {
        match self.output.json {
            true => self.output.json(document),
            false => self.output.text(&text()),
        }
    }
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
