//! `weir channels`.

use super::Failure;
use super::operator_client::Refusal;
use super::pay::{count, note};
use super::target::Target;
use crate::config::Config;
use crate::operator::ChannelView;
use crate::serve::BOOKS_DIR;
use crate::table::{Output, Table};
use crate::when;
use serde_json::json;
use weir_core::{Amount, Channel, ChannelId, UnixSeconds};
use weir_store::{Birth, StoreFault, disk};
use weir_till::{Clock, SystemClock, books};

/// Hexadecimal digits of a shortened id or address.
const SHORT_DIGITS: usize = 8;
/// The fewest hexadecimal digits that may stand for a channel.
const PREFIX_DIGITS_MIN: usize = 4;
/// The database inside the books' directory; without it there are no books to read.
const DATABASE: &str = "sled";

const EXAMPLES: &str = "\
Examples:
  weir channels
  weir channels show 0x1b2c3d4e
  weir channels list --operator http://127.0.0.1:8403 --json";

/// List the channels that pay you, or show one
///
/// Asks the daemon. When it is not running and its configuration is at hand, the books are read directly. Amounts are
/// base units: `accepted` is what payers authorised, `spent` what was delivered for it, `settled` what the chain has paid
/// out, `uncollected` what a settlement now would bring.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Channels {
    /// What to show; all of them by default.
    #[command(subcommand)]
    pub what: Option<What>,
    /// Where the daemon is.
    #[command(flatten)]
    pub target: Target,
}

/// What to show.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// All channels
    List,
    /// One channel, with everything that is known of it
    Show {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        channel: String,
    },
}

/// Where channels were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Daemon,
    Books,
}

impl Channels {
    /// Runs the command.
    ///
    /// # Errors
    /// Neither the daemon nor the books can be asked, or there is no such channel.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let config = self.target.read_config()?;
        let client = self.target.client(config.as_ref())?;
        let (source, views) = match (client.channels().await, &config) {
            (Ok(views), _) => (Source::Daemon, views),
            (Err(Refusal::Unreachable(why)), Some(config)) => (Source::Books, read_books(config, &why)?),
            (Err(refusal), _) => return Err(refusal.into()),
        };
        if source == Source::Books && !output.json {
            note("read from the books; the daemon is not running");
        }
        match &self.what {
            None | Some(What::List) => print_list(source, &views, output),
            Some(What::Show { channel }) => print_one(source, one(&views, channel)?, output),
        }
        Ok(())
    }
}

/// Reads the books of a daemon that is not running. The lock on them says whether it is.
fn read_books(config: &Config, unreachable: &str) -> Result<Vec<ChannelView>, Failure> {
    let directory = config.server.data_dir.join(BOOKS_DIR);
    let failed = |why: &dyn core::fmt::Display| Failure::failed(format_args!("{unreachable}, and {why}"));
    if !directory.join(DATABASE).is_dir() {
        let why = format!("there are no books in {} yet", directory.display());
        return Err(failed(&why));
    }
    // Counts only for books that are made now, and these are there.
    let birth = Birth {
        unix_seconds: 0,
        id: [0; 16],
    };
    let journal = disk::open(&directory, birth).map_err(|fault| match fault {
        StoreFault::Locked { pid, .. } => {
            let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            failed(&format!(
                "{who} has the books open, so they cannot be read here: it may be the daemon, on another address"
            ))
        }
        fault => failed(&fault),
    })?;
    let channels = books::read_channels(&*journal).map_err(|fault| failed(&fault));
    journal.close().map_err(|fault| failed(&fault))?;
    let mut channels = channels?;
    channels.sort_by_key(Channel::id);
    Ok(channels.iter().map(ChannelView::from).collect())
}

/// The first digits of an id or an address.
pub(super) fn short(id: &str) -> String {
    let shown = 2 + SHORT_DIGITS;
    match id.get(..shown) {
        Some(start) if id.len() > shown => format!("{start}…"),
        _ => id.to_owned(),
    }
}

/// The channel that is meant: a whole id as it is, or the beginning of one that is known.
pub(super) fn pick(known: &[String], text: &str) -> Result<ChannelId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let start = text.trim_end_matches('…').to_ascii_lowercase();
    let digits = start.strip_prefix("0x").unwrap_or_default();
    if digits.len() < PREFIX_DIGITS_MIN || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::Usage(format!(
            "{text:?} is not a channel's id: 0x and 64 hexadecimal digits, or at least the first {PREFIX_DIGITS_MIN}"
        )));
    }
    let meant: Vec<&String> = known.iter().filter(|id| id.starts_with(&start)).collect();
    match meant.as_slice() {
        [one] => one.parse().map_err(Failure::failed),
        [] => Err(Failure::Usage(format!(
            "no known channel's id begins with {start}"
        ))),
        more => Err(Failure::Usage(format!(
            "{} begin with {start}; give more digits",
            count(more.len() as u64, "channel id")
        ))),
    }
}

fn one<'a>(views: &'a [ChannelView], text: &str) -> Result<&'a ChannelView, Failure> {
    let known: Vec<String> = views.iter().map(|view| view.channel_id.clone()).collect();
    let id = pick(&known, text)?.to_string();
    let found = views.iter().find(|view| view.channel_id == id);
    found.ok_or_else(|| {
        Failure::failed(format_args!(
            "{id} is not in the books; `weir channels` lists what is"
        ))
    })
}

fn print_list(source: Source, views: &[ChannelView], output: Output) {
    if output.json {
        return output.json(&json!({ "source": source, "channels": views }));
    }
    if views.is_empty() {
        return note("there are no channels yet");
    }
    output.text(&list(views, SystemClock.now()).to_string());
    output.text(&format!(
        "{}, {} uncollected",
        count(views.len() as u64, "channel"),
        uncollected(views)
    ));
}

/// What settlements now would bring, over all these channels.
pub(super) fn uncollected(views: &[ChannelView]) -> Amount {
    let sum = views
        .iter()
        .try_fold(Amount::ZERO, |sum, view| sum.checked_add(view.uncollected));
    sum.unwrap_or(Amount::new(u128::MAX))
}

/// Channels as a table. When payers asked for a close is told only where one did.
pub(super) fn list(views: &[ChannelView], now: UnixSeconds) -> Table {
    let asked = views.iter().any(|view| view.close_requested_at.is_some());
    let mut headings = vec![
        "channel",
        "payer",
        "standing",
        ">deposit",
        ">accepted",
        ">spent",
        ">settled",
        ">uncollected",
    ];
    headings.extend(asked.then_some("close requested"));
    let mut table = Table::new(&headings);
    for view in views {
        let requested = view.close_requested_at.map(|at| when::moment(at, now));
        table.row([
            short(&view.channel_id),
            short(&view.payer),
            view.standing.clone(),
            view.deposit.to_string(),
            view.accepted.to_string(),
            view.spent.to_string(),
            view.settled.to_string(),
            view.uncollected.to_string(),
            requested.unwrap_or_default(),
        ]);
    }
    table
}

fn print_one(source: Source, view: &ChannelView, output: Output) {
    if output.json {
        return output.json(&json!({ "source": source, "channel": view }));
    }
    output.text(&details(view, SystemClock.now()));
}

fn details(view: &ChannelView, now: UnixSeconds) -> String {
    let or_none = |known: Option<String>| known.unwrap_or_else(|| "–".to_owned());
    let rows = [
        ("channel", view.channel_id.clone()),
        ("payer", view.payer.clone()),
        ("token", view.token.clone()),
        ("standing", view.standing.clone()),
        ("deposit", view.deposit.to_string()),
        ("accepted", view.accepted.to_string()),
        ("reserved", view.reserved.to_string()),
        ("spent", view.spent.to_string()),
        ("credited", view.credited.to_string()),
        ("settled", view.settled.to_string()),
        ("uncollected", view.uncollected.to_string()),
        (
            "settling up to",
            or_none(view.capturing.map(|target| target.to_string())),
        ),
        (
            "close requested",
            or_none(view.close_requested_at.map(|at| when::moment(at, now))),
        ),
    ];
    rows.map(|(what, value)| format!("{what:<15}  {value}"))
        .join("\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use weir_core::Cumulative;

    const NOW: UnixSeconds = UnixSeconds(1_736_165_100);

    pub(in crate::commands) fn view(byte: &str, settled: u128, uncollected: u128) -> ChannelView {
        ChannelView {
            channel_id: format!("0x{}", byte.repeat(32)),
            payer: format!("0x{}", "11".repeat(20)),
            token: format!("0x{}", "22".repeat(20)),
            standing: "live".to_owned(),
            deposit: Cumulative::new(50_000),
            accepted: Cumulative::new(600),
            reserved: Amount::ZERO,
            spent: Cumulative::new(settled + uncollected),
            credited: Cumulative::ZERO,
            settled: Cumulative::new(settled),
            uncollected: Amount::new(uncollected),
            capturing: None,
            close_requested_at: None,
        }
    }

    #[test]
    fn channels_are_a_table_with_short_ids() {
        let drawn = list(&[view("ab", 100, 400), view("cd", 0, 5)], NOW).to_string();
        let expected = "\
channel      payer        standing  deposit  accepted  spent  settled  uncollected
───────────  ───────────  ────────  ───────  ────────  ─────  ───────  ───────────
0xabababab…  0x11111111…  live        50000       600    500      100          400
0xcdcdcdcd…  0x11111111…  live        50000       600      5        0            5
";
        assert_eq!(drawn, expected);
        assert_eq!(
            uncollected(&[view("ab", 100, 400), view("cd", 0, 5)]),
            Amount::new(405)
        );
    }

    #[test]
    fn a_close_request_is_shown_as_a_date() {
        let mut closing = view("ab", 100, 400);
        closing.close_requested_at = Some(UnixSeconds(NOW.0 - 180));
        let date = "2025-01-06T12:02:00Z (3 min ago)";
        let drawn = list(&[closing.clone(), view("cd", 0, 5)], NOW).to_string();
        let rows: Vec<&str> = drawn.lines().collect();
        assert!(
            rows[0].ends_with("  close requested") && rows[2].ends_with(date),
            "{drawn}"
        );
        assert!(rows[3].ends_with("  5"), "{drawn}");
        let shown = details(&closing, NOW);
        assert!(shown.ends_with(&format!("close requested  {date}")), "{shown}");
        assert_eq!(
            serde_json::to_value(&closing).unwrap()["close_requested_at"],
            NOW.0 - 180
        );
    }

    #[test]
    fn one_channel_is_shown_whole() {
        let shown = details(&view("ab", 100, 400), NOW);
        assert!(
            shown.contains(&format!("channel          0x{}\n", "ab".repeat(32))),
            "{shown}"
        );
        assert!(shown.contains("uncollected      400\n"), "{shown}");
        assert!(shown.ends_with("close requested  –"), "{shown}");
    }

    #[test]
    fn a_channel_is_found_by_what_the_table_shows() {
        let views = [view("ab", 0, 0), view("ac", 0, 0)];
        assert_eq!(
            one(&views, "0xabababab…").unwrap().channel_id,
            views[0].channel_id
        );
        assert_eq!(one(&views, "0xACAC").unwrap().channel_id, views[1].channel_id);
        for bad in ["", "abab", "0xab", "0xabzz", "0xffff"] {
            assert!(matches!(one(&views, bad), Err(Failure::Usage(_))), "{bad:?}");
        }
        let twins = [
            format!("0xabab{}", "0".repeat(60)),
            format!("0xabab{}", "1".repeat(60)),
        ];
        let error = pick(&twins, "0xabab").unwrap_err();
        assert!(
            error.to_string().contains("2 channel ids begin with 0xabab"),
            "{error}"
        );
        let unknown = format!("0x{}", "ee".repeat(32));
        assert!(matches!(one(&views, &unknown), Err(Failure::Failed(_))));
    }

    fn config(folder: &std::path::Path) -> Config {
        let address = |byte: &str| format!("0x{}", byte.repeat(20));
        let text = format!(
            "[server]\nupstream = \"http://a\"\n[chain]\nrpc_url = \"http://a\"\nescrow = \"{}\"\ntoken = \"{}\"\n\
             [[route]]\npath = \"/\"\nfree = true\n",
            address("11"),
            address("22")
        );
        Config::parse(&folder.join("weir.toml"), &text).unwrap()
    }

    #[test]
    fn books_are_read_without_a_daemon_and_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let error = read_books(&config, "nobody there").unwrap_err();
        assert!(error.to_string().contains("no books"), "{error}");
        let directory = config.server.data_dir.join(BOOKS_DIR);
        assert!(!directory.exists());

        std::fs::create_dir_all(&config.server.data_dir).unwrap();
        let birth = Birth {
            unix_seconds: 1,
            id: [1; 16],
        };
        let journal = disk::open(&directory, birth).unwrap();
        let error = read_books(&config, "nobody there").unwrap_err();
        assert!(error.to_string().contains("has the books open"), "{error}");
        journal.close().unwrap();
        drop(journal);
        assert!(read_books(&config, "nobody there").unwrap().is_empty());
    }
}
