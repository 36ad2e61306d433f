//! `weir payer`.

use super::Failure;
use super::channels::{pick, short};
use super::pay::{count, credit_hint, note, print_closed};
use crate::config::RpcUrl;
use crate::keys::SecretKey;
use crate::table::{Output, Table};
use alloy_primitives::Address;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use weir_client::state::StateDir;
use weir_client::{
    AllowedEscrow, ChannelRecord, Error, FoundChannel, HttpOptions, LimitExceeded, Limits, Payer as Handle,
    Stage, StateError,
};
use weir_core::{Amount, ChannelId};
use weir_protocol::SessionReceipt;

/// The environment variable that holds the payer's key when no file is named.
pub const KEY_VARIABLE: &str = "WEIR_PAYER_KEY";
/// The environment variable that holds the chain's RPC when no option names it.
pub const RPC_VARIABLE: &str = "WEIR_RPC_URL";
/// The log of receipts inside a payer's state directory.
const RECEIPTS_FILE: &str = "receipts.jsonl";
/// How much of its end is read: some hundred receipts.
const RECEIPTS_TAIL_BYTES: u64 = 256 * 1024;

/// Look after your own channels: list, close, withdraw, recover
///
/// `close` asks the server to close a channel; it costs you no gas and ends at once. Without the server, ask the escrow
/// with `request-close`, wait until the grace period is over, and take back the rest with `withdraw`. When the state
/// directory is lost, `recover` finds your key's channels in the chain's logs.
///
/// The key comes from --key-file or from the environment's WEIR_PAYER_KEY, the RPC from --rpc-url or WEIR_RPC_URL.
///
/// Examples:
///   weir payer channels
///   weir payer close https://api.example/v1/answer
///   weir payer request-close 0x1b2c3d4e
///   weir payer withdraw 0x1b2c3d4e
///   weir payer recover --escrow 0x5FbD…0aa3 --from-block 19000000 --request-close
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
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

/// Whose channels, on which chain.
#[derive(Debug, Clone, clap::Args)]
pub struct Wallet {
    /// The chain's RPC; default: the environment's WEIR_RPC_URL
    #[arg(long, value_name = "URL", global = true)]
    pub rpc_url: Option<RpcUrl>,
    /// The payer's private key, as hexadecimal digits, mode 0600; default: the environment's WEIR_PAYER_KEY
    #[arg(long, value_name = "FILE", global = true)]
    pub key_file: Option<PathBuf>,
    /// Where channels are written down; default: weir/payer in the user's data directory
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Pay over http:// to other machines too; whoever is on the way can read the payments
    #[arg(long, global = true)]
    pub insecure_http: bool,
}

impl Wallet {
    /// The payer's key.
    ///
    /// # Errors
    /// It is not there, is not a key, or others may read it.
    pub fn key(&self) -> Result<SecretKey, Failure> {
        let key = match &self.key_file {
            Some(file) => SecretKey::from_file(file),
            None => SecretKey::from_env(KEY_VARIABLE),
        };
        key.map_err(|error| match error {
            crate::keys::KeyError::NotSet(variable) => Failure::Usage(format!(
                "there is no key: name its file with --key-file, or set {variable}"
            )),
            error => Failure::Usage(error.to_string()),
        })
    }

    fn rpc_url(&self) -> Result<RpcUrl, Failure> {
        if let Some(url) = &self.rpc_url {
            return Ok(url.clone());
        }
        let text = std::env::var(RPC_VARIABLE).map_err(|_| {
            Failure::Usage(format!(
                "there is no RPC: name it with --rpc-url, or set {RPC_VARIABLE}"
            ))
        })?;
        text.parse()
            .map_err(|error| Failure::Usage(format!("{RPC_VARIABLE} {error}")))
    }

    fn state_dir(&self) -> Result<PathBuf, Failure> {
        let chosen = self.state_dir.clone();
        chosen
            .or_else(|| data_home().map(|home| home.join("weir/payer")))
            .ok_or_else(|| {
                Failure::Usage(
                    "neither XDG_DATA_HOME nor HOME is set: name a directory with --state-dir".to_owned(),
                )
            })
    }

    /// The payer, under these limits.
    ///
    /// # Errors
    /// The key, the chain or the state directory can't be used.
    pub async fn payer(&self, limits: Limits) -> Result<Handle, Failure> {
        let (key, rpc_url, state_dir) = (self.key()?, self.rpc_url()?, self.state_dir()?);
        let http = HttpOptions {
            allow_insecure: self.insecure_http,
            ..HttpOptions::default()
        };
        let payer = Handle::new(
            key.signer().clone(),
            rpc_url.expose().as_str(),
            &state_dir,
            limits,
            http,
        )
        .await;
        payer.and_then(Handle::keeping_receipts).map_err(explain)
    }

    /// What the books hold, read under their lock; the chain is not asked.
    fn books(&self) -> Result<Vec<ChannelRecord>, Failure> {
        let state = StateDir::take(&self.state_dir()?, self.key()?.address())
            .map_err(|error| explain(error.into()))?;
        let mut records = state.load().map_err(|error| explain(error.into()))?;
        see_receipts(&mut records, state.path());
        records.sort_by_key(|record| record.channel);
        Ok(records)
    }
}

/// Raises what channels have spent to what the newest receipts say: a channel's own record is written before a request,
/// so it can't know that request's receipt.
pub(super) fn see_receipts(records: &mut [ChannelRecord], state: &Path) {
    // Without a log, the records are all that is known.
    let tail = read_tail(&state.join(RECEIPTS_FILE)).unwrap_or_default();
    for line in tail.split(|&byte| byte == b'\n') {
        let Ok(receipt) = SessionReceipt::from_json(line) else {
            continue;
        };
        let own = records
            .iter_mut()
            .find(|record| record.channel == receipt.channel);
        if let Some(record) = own {
            record.spent = record.spent.max(receipt.spent);
        }
    }
}

fn read_tail(file: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(file)?;
    let start = file.metadata()?.len().saturating_sub(RECEIPTS_TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(RECEIPTS_TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(tail)
}

fn data_home() -> Option<PathBuf> {
    let absolute = |variable| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
}

/// Says what a no of the library means at the command line, and what to do about it.
pub(super) fn explain(error: Error) -> Failure {
    let next = match &error {
        Error::Limit(LimitExceeded::Price { .. }) => "raise --max-price if it is worth that",
        Error::Limit(LimitExceeded::Deposit { .. }) => {
            "raise --max-deposit, or close the channel and start a new one"
        }
        Error::Limit(LimitExceeded::Stream { .. }) => "raise --max-stream if it is worth that",
        Error::Limit(LimitExceeded::Total { .. }) => "raise --max-total, or go on in another run",
        Error::Limit(LimitExceeded::Ahead { .. }) => {
            "allow it with --max-ahead if you trust the server with that much"
        }
        Error::Limit(LimitExceeded::Escrow { .. }) => "name it with --escrow if you trust its code",
        Error::Limit(LimitExceeded::Recipient { .. }) => "name it with --recipient if it is the right one",
        Error::Limit(LimitExceeded::Token { .. }) => "name it with --token if you pay with it",
        Error::Limit(LimitExceeded::Chain { .. }) => "name an RPC of that chain with --rpc-url",
        Error::Insecure(_) => "or allow it with --insecure-http",
        Error::State(StateError::InUse(_)) => {
            "wait until it ends; two runs at once need two keys, because both would sign on the same channels"
        }
        Error::ChannelGone(_) => {
            "run it again to open a new one; what is left of this one comes back with `weir payer request-close` and \
             `weir payer withdraw`, unless it is closed already"
        }
        Error::Stopped(_) => {
            "look at it with `weir payer channels`, and take back what is left with `weir payer request-close` and \
             `weir payer withdraw`"
        }
        Error::NotReady { ready_at: 0 } => "no close was asked for: run `weir payer request-close` first",
        Error::NotReady { .. } => "wait until then",
        Error::NoChannel => {
            "`weir payer channels` lists the books' channels; for one that they have lost, name its escrow with --escrow"
        }
        Error::OutcomeUnknown => "run it again to go on; the next receipt says what was charged",
        Error::Balance { .. } => "send tokens to the payer's address",
        _ => return Failure::failed(error),
    };
    match &error {
        Error::NotReady { ready_at: 0 } => Failure::failed(next),
        _ => Failure::failed(format_args!("{error}; {next}")),
    }
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
        let payer = self.wallet.payer(exit_limits(&books, &self.escrows)).await?;
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
        "the escrow was asked to close {}; {} run: weir payer withdraw {0}",
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

const fn stage(record: &ChannelRecord) -> &'static str {
    match record.stage {
        _ if record.stopped => "stopped",
        Stage::Opening => "opening",
        Stage::Mined => "mined",
        Stage::Live => "live",
        Stage::Closing => "closing",
        Stage::Closed => "closed",
    }
}

fn print_books(books: &[ChannelRecord], payer: Address, output: Output) {
    if output.json {
        return output.json(&books.iter().map(record_json).collect::<Vec<_>>());
    }
    if books.is_empty() {
        note(&format!(
            "the books hold no channel of {payer}; `weir payer recover` looks for them on the chain"
        ));
        return;
    }
    output.text(&books_table(books).to_string());
}

fn books_table(books: &[ChannelRecord]) -> Table {
    let mut table = Table::new(&[
        "channel", "stage", "server", "paid to", ">deposit", ">signed", ">spent",
    ]);
    for record in books {
        table.row([
            short(&record.channel.to_string()),
            stage(record).to_owned(),
            record.origin.clone().unwrap_or_default(),
            short(&record.terms.payee.to_string()),
            record.deposit.to_string(),
            record.signed.to_string(),
            record.spent.to_string(),
        ]);
    }
    table
}

fn record_json(record: &ChannelRecord) -> Value {
    json!({
        "channel": record.channel.to_string(),
        "stage": stage(record),
        "origin": record.origin,
        "chain_id": record.chain_id,
        "escrow": record.escrow,
        "payee": record.terms.payee,
        "token": record.terms.token,
        "deposit": record.deposit,
        "signed": record.signed,
        "agreed": record.agreed,
        "spent": record.spent,
    })
}

fn print_found(found: &[FoundChannel], output: Output) {
    if found.is_empty() {
        return note("no channel of this key was found; try an earlier --from-block, or another --escrow");
    }
    // Whole ids: the books may not know them, so nothing shorter would do for the next command.
    let mut table = Table::new(&["channel", "paid to", ">held", "books", "state"]);
    for channel in found {
        table.row([
            channel.channel.to_string(),
            short(&channel.terms.payee.to_string()),
            channel.held().to_string(),
            if channel.in_books { "yes" } else { "no" }.to_owned(),
            found_state(channel),
        ]);
    }
    output.text(&table.to_string());
    let open = found.iter().filter(|channel| !channel.state.finalized).count() as u64;
    note(&format!(
        "{}, {open} of them open",
        count(found.len() as u64, "channel")
    ));
}

fn found_state(channel: &FoundChannel) -> String {
    match channel.ready_at {
        _ if channel.state.finalized => "closed".to_owned(),
        None => "open".to_owned(),
        Some(ready_at) => format!("closing, {}", when(ready_at)),
    }
}

fn found_json(channel: &FoundChannel) -> Value {
    json!({
        "channel": channel.channel.to_string(),
        "escrow": channel.escrow,
        "payee": channel.terms.payee,
        "token": channel.terms.token,
        "deposit": channel.state.deposit,
        "settled": channel.state.settled,
        "held": channel.held(),
        "finalized": channel.state.finalized,
        "ready_at": channel.ready_at,
        "opened_at_block": channel.opened_at_block,
        "in_books": channel.in_books,
    })
}

/// `now` or `in 14 min 58 s`.
fn when(unix_seconds: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs());
    match unix_seconds.saturating_sub(now) {
        0 => "now".to_owned(),
        left if left < 60 => format!("in {left} s"),
        left if left < 3600 => format!("in {} min {} s", left / 60, left % 60),
        left => format!("in {} h {} min", left / 3600, left % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use weir_core::{Cumulative, Terms};

    fn record(byte: u8, stage: Stage) -> ChannelRecord {
        let terms = Terms {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            token: Address::repeat_byte(3),
            authorized_signer: Address::ZERO,
        };
        let mut record = ChannelRecord::planned(
            ChannelId(B256::repeat_byte(byte)),
            31337,
            Address::repeat_byte(4),
            terms,
            Cumulative::new(5000),
        );
        record.stage = stage;
        record.origin = Some("https://api.example".to_owned());
        record.signed = Cumulative::new(300);
        record.spent = Cumulative::new(200);
        record
    }

    #[test]
    fn the_books_are_a_table_with_short_ids() {
        let mut stopped = record(0xcd, Stage::Live);
        stopped.stopped = true;
        let table = books_table(&[record(0xab, Stage::Live), stopped]).to_string();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[2],
            [
                "0xabababab…",
                "live",
                "https://api.example",
                "0x02020202…",
                "5000",
                "300",
                "200"
            ]
        );
        assert_eq!(rows[3][1], "stopped");
    }

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
    fn the_newest_receipts_say_what_was_spent() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = [record(0xab, Stage::Live), record(0xac, Stage::Live)];
        see_receipts(&mut records, folder.path());
        assert_eq!(records[0].spent, Cumulative::new(200));
        let line = |spent| {
            let receipt = SessionReceipt {
                method: "evm".to_owned(),
                timestamp: weir_core::UnixSeconds(1_800_000_000),
                challenge_id: "c".to_owned(),
                channel: records[0].channel,
                accepted: Cumulative::new(900),
                spent: Cumulative::new(spent),
                chain_id: Some(31337),
                units: None,
                tx_hash: None,
                confirmations: None,
            };
            receipt.to_json().unwrap()
        };
        let log = format!("{}\n{}\n{}\nhalf a li", line(100), line(400), line(300));
        let long = "x".repeat(300_000);
        std::fs::write(folder.path().join(RECEIPTS_FILE), format!("{long}\n{log}")).unwrap();
        see_receipts(&mut records, folder.path());
        assert_eq!(records[0].spent, Cumulative::new(400));
        assert_eq!(records[1].spent, Cumulative::new(200));
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

    #[test]
    fn every_refusal_by_the_limits_names_the_option_that_changes_it() {
        let stranger = Address::repeat_byte(9);
        let (offered, limit) = (Amount::new(2), Amount::new(1));
        for (why, option) in [
            (LimitExceeded::Price { offered, limit }, "--max-price"),
            (LimitExceeded::Deposit { offered, limit }, "--max-deposit"),
            (LimitExceeded::Stream { offered, limit }, "--max-stream"),
            (LimitExceeded::Total { offered, limit }, "--max-total"),
            (LimitExceeded::Ahead { offered, limit }, "--max-ahead"),
            (LimitExceeded::Escrow { offered: stranger }, "--escrow"),
            (LimitExceeded::Recipient { offered: stranger }, "--recipient"),
            (LimitExceeded::Token { offered: stranger }, "--token"),
            (LimitExceeded::Chain { offered: 1 }, "--rpc-url"),
        ] {
            let said = explain(Error::Limit(why)).to_string();
            assert!(said.contains(option) && said.contains(&why.to_string()), "{said}");
        }
        let said = explain(Error::NotReady { ready_at: 0 }).to_string();
        assert!(
            said.contains("request-close") && !said.contains("from 0"),
            "{said}"
        );
    }
}
