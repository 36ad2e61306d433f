//! `weir pay`.

mod at_once;
mod bill;
mod limits;
mod run;

pub(super) use bill::{credit_hint, print_closed};
pub use limits::LimitOptions;

use super::Failure;
use super::payer::Wallet;
use crate::table::Output;
use bill::{Bill, tell_wait};
use core::str::FromStr;
use core::time::Duration;
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use run::{Interrupt, Request, Run};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use weir_client::HttpOptions;

/// How long a request is tried again unless the option says otherwise: a deposit may take minutes to become final.
const WAIT_SECONDS_MAX: u64 = 180;

const EXAMPLES: &str = "\
Examples:
  weir pay https://api.example/v1/answer --rpc-url $RPC \\
      --escrow 0x5FbD… --token 0xA0b8… --max-price 100 --max-deposit 50000
  weir pay https://api.example/v1/ask -d @question.json \\
      -H 'Content-Type: application/json' \\
      --escrow 0x5FbD… --token 0xA0b8… --max-price 100 --max-deposit 50000
  weir pay https://api.example/v1/once --intent charge --token 0xA0b8… --max-price 100
  weir pay https://api.example/v1/story --max-stream 5000 \\
      --escrow 0x5FbD… --token 0xA0b8… --max-price 100 --max-deposit 50000
  weir pay https://api.example/v1/answer --repeat 20 --close --json \\
      --escrow 0x5FbD… --token 0xA0b8… --max-price 100 --max-deposit 50000";

/// Make a request, and pay for it if it costs something
///
/// The answer's body goes to standard output, what was paid to standard error. A stream of events is printed and paid
/// for as it comes. The first paid request to a server opens a channel there; later ones, also of later runs, use it.
/// Where a server sells single answers, each is paid for at once; one whose answer was lost is not paid for again: the
/// same request shows the same payment.
/// What is kept about channels, and every receipt, is in the state directory. Amounts are base units of the token:
/// 1000000 is one unit of a token with 6 decimals.
///
/// Nothing is paid outside the limits that the options set. The key comes from --key-file or from the environment's
/// WEIR_PAYER_KEY. The RPC is asked only to open, top up and close channels. Ctrl-C ends a request, says what it cost as
/// far as the server tells within seconds, and exits with 130; --close is not done then.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Pay {
    /// What to request
    #[arg(value_name = "URL")]
    pub url: String,
    /// The method; default: GET, or POST with a body
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<Method>,
    /// The request's body; @FILE reads it from a file
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    pub body: Option<String>,
    /// A header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<Header>,
    /// How often the request is made, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Ask for a stream of server-sent events (Accept: text/event-stream); without it, what is one is paid for all the
    /// same
    #[arg(long)]
    pub stream: bool,
    /// How long a request is tried again while the server is busy, or waits for the deposit to become final
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_SECONDS_MAX)]
    pub max_wait: u64,
    /// Close the channel afterwards; the rest of the deposit comes back
    #[arg(long)]
    pub close: bool,
    /// Whose channels, on which chain.
    #[command(flatten)]
    pub wallet: Wallet,
    /// What may be paid.
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// A header of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header(HeaderName, HeaderValue);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("is not NAME: VALUE")?;
        let name = name
            .trim()
            .parse()
            .map_err(|_| format!("{name:?} is not a header's name"))?;
        // The value may be a secret, so it is not repeated.
        let value = value
            .trim()
            .parse()
            .map_err(|_| format!("the value of {name} is not a header's value"))?;
        Ok(Self(name, value))
    }
}

impl Pay {
    /// Runs the command.
    ///
    /// # Errors
    /// The key or the chain can't be used, the offer is outside the limits, or the server did not answer with success.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let body = read_body(self.body.as_deref())?;
        let method = self.method.clone().unwrap_or(match body {
            Some(_) => Method::POST,
            None => Method::GET,
        });
        let mut headers: HeaderMap = self
            .headers
            .iter()
            .map(|Header(name, value)| (name.clone(), value.clone()))
            .collect();
        if self.stream && !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        let http = HttpOptions {
            wait_max: Duration::from_secs(self.max_wait),
            on_wait: (!output.json).then_some(tell_wait),
            ..HttpOptions::default()
        };
        let run = Run {
            payer: self.wallet.payer(self.limits.limits(), http).await?,
            again: self.wallet.again(),
            interrupt: Interrupt::listen().await,
            output,
        };
        let request = Request {
            method,
            url: &self.url,
            headers,
            body: body.unwrap_or_default(),
        };
        let mut bill = Bill::default();
        let mut done = Ok(());
        for _ in 0..self.repeat {
            done = run.buy(&request, &mut bill, self.repeat > 1).await;
            if done.is_err() {
                break;
            }
        }
        bill.print(&run.payer, output);
        if let Some(channel) = bill.channel.filter(|_| self.close) {
            match done {
                Err(Failure::Interrupted) => run.tell_open(channel, &self.url),
                _ => done = run.close(channel, &self.url).await.and(done),
            }
        }
        done
    }
}

fn read_body(body: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    match body.map(|body| (body, body.strip_prefix('@'))) {
        None => Ok(None),
        Some((_, Some(file))) => std::fs::read(Path::new(file))
            .map(Some)
            .map_err(|error| Failure::Usage(format!("--data @{file}: {error}"))),
        Some((text, None)) => Ok(Some(text.as_bytes().to_vec())),
    }
}

/// `1 answer`, `2 answers`.
pub(super) fn count(how_many: u64, what: &str) -> String {
    format!("{how_many} {what}{}", if how_many == 1 { "" } else { "s" })
}

/// Prints a remark to standard error. Whoever reads it may have gone away, which is no fault of ours.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a body as it is; on a terminal, and between bodies, the next thing begins on a line of its own.
fn print_body(body: &[u8], more: bool) {
    let mut out = io::stdout().lock();
    let unended = !body.is_empty() && !body.ends_with(b"\n");
    let end: &[u8] = if unended && (more || out.is_terminal()) {
        b"\n"
    } else {
        b""
    };
    let _ = out
        .write_all(body)
        .and_then(|()| out.write_all(end))
        .and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use weir_client::Allowed;
    use weir_core::Amount;
    use weir_till::gateway::{pay, stream};

    const ADDRESS: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

    fn pay(extra: &[&str]) -> Result<Pay, clap::Error> {
        let limits = [
            "--escrow",
            ADDRESS,
            "--token",
            ADDRESS,
            "--max-price",
            "100",
            "--max-deposit",
            "5000",
        ];
        let line = ["weir", "pay", "http://127.0.0.1/"]
            .into_iter()
            .chain(limits)
            .chain(extra.iter().copied());
        match crate::cli::Cli::try_parse_from(line)?.command {
            crate::cli::Command::Pay(pay) => Ok(*pay),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_payer_waits_longer_than_a_daemon_is_silent() {
        let waits = HttpOptions::default().timeout;
        let begins = Duration::from_secs(crate::config::limits::UPSTREAM_TIMEOUT_SECONDS);
        for silence in [stream::SILENCE_MAX, begins, pay::CLOSE_WAIT + pay::MINED_WAIT] {
            assert!(waits > silence, "{waits:?} is not more than {silence:?}");
        }
    }

    #[test]
    fn the_options_become_the_limits() {
        let limits = pay(&[]).unwrap().limits.limits();
        assert_eq!(limits.max_price, Amount::new(100));
        assert_eq!(limits.max_deposit, Amount::new(5000));
        assert_eq!(limits.recipients, Allowed::Any);
        assert_eq!((limits.max_total, limits.max_ahead), (None, Amount::ZERO));
        assert_eq!((limits.max_charge, limits.intent), (Amount::new(100), None));
        let charged = pay(&["--intent", "charge", "--max-charge", "7"]).unwrap();
        let limits = charged.limits.limits();
        assert_eq!(
            (limits.max_charge, limits.intent),
            (Amount::new(7), Some(weir_protocol::Intent::Charge))
        );
        let strict = pay(&["--recipient", ADDRESS, "--max-total", "300", "--max-ahead", "7"]).unwrap();
        let limits = strict.limits.limits();
        assert_eq!(limits.recipients, Allowed::only([ADDRESS.parse().unwrap()]));
        assert_eq!(
            (limits.max_total, limits.max_ahead),
            (Some(Amount::new(300)), Amount::new(7))
        );
    }

    #[test]
    fn what_is_no_amount_and_no_header_is_refused() {
        for bad in [
            ["--max-total", "1.5"],
            ["--max-total", "-1"],
            ["-H", "no colon"],
            ["-H", "bad name: x"],
            ["--repeat", "0"],
        ] {
            assert!(pay(&bad).is_err(), "{bad:?}");
        }
        let error = pay(&["--max-total", "0.05"]).unwrap_err().to_string();
        assert!(error.contains("whole base units"), "{error}");
        let error = pay(&["-H", "x-token: sup3r\nsecret"]).unwrap_err();
        assert!(error.to_string().contains("the value of x-token"), "{error}");
    }

    #[test]
    fn a_body_is_text_or_a_file() {
        assert_eq!(read_body(None).unwrap(), None);
        assert_eq!(read_body(Some("text")).unwrap().unwrap(), b"text");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        std::fs::write(&file, b"from a file").unwrap();
        let named = format!("@{}", file.display());
        assert_eq!(read_body(Some(&named)).unwrap().unwrap(), b"from a file");
        assert!(matches!(
            read_body(Some("@/no/such/file")),
            Err(Failure::Usage(_))
        ));
    }
}
