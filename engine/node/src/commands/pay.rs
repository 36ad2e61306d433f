//! `weir pay`.

use super::Failure;
use super::channels::short;
use super::payer::{Wallet, explain, see_receipts};
use crate::table::Output;
use alloy_primitives::{Address, B256, hex};
use core::str::FromStr;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use weir_client::{Allowed, AllowedEscrow, CloseOutcome, Limits, Payer, Response, StreamEvent};
use weir_core::{Amount, ChannelId, Cumulative};
use weir_protocol::SessionReceipt;

/// Make a request, and pay for it if it costs something
///
/// The answer's body goes to standard output, what was paid to standard error. The first paid request to a server
/// opens a channel there; later ones, also of later runs, use it. What is kept about channels, and every receipt,
/// is in the state directory. Amounts are base units of the token: 1000000 is one unit of a token with 6 decimals.
///
/// Nothing is paid outside the limits that the options set. The key comes from --key-file or from the environment's
/// WEIR_PAYER_KEY.
///
/// Examples:
///   weir pay https://api.example/v1/answer --rpc-url $RPC --escrow 0x5FbD… --token 0xA0b8… --max-price 100 --max-deposit 50000
///   weir pay https://api.example/v1/ask -d @question.json -H 'Content-Type: application/json' --escrow 0x5FbD… --token 0xA0b8… --max-price 100 --max-deposit 50000
///   weir pay https://api.example/v1/answer --repeat 20 --close --json --escrow 0x5FbD… --token 0xA0b8… --max-price 100 --max-deposit 50000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
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
    /// The answer is a stream of server-sent events: print and pay for each as it comes
    #[arg(long)]
    pub stream: bool,
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

/// The payer's limits, as options.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// The escrow that may hold a deposit; its code decides who gets the money
    #[arg(long, value_name = "ADDRESS")]
    pub escrow: Address,
    /// keccak256 of the escrow's code: it has to be exactly that code
    #[arg(long, value_name = "HASH")]
    pub escrow_code_hash: Option<B256>,
    /// The token to pay with
    #[arg(long, value_name = "ADDRESS")]
    pub token: Address,
    /// The highest price of one unit
    #[arg(long, value_name = "N")]
    pub max_price: Amount,
    /// The most that one channel may hold
    #[arg(long, value_name = "N")]
    pub max_deposit: Amount,
    /// The most that one stream may cost; default: as --max-deposit
    #[arg(long, value_name = "N")]
    pub max_stream: Option<Amount>,
    /// The most that this run may pay; default: no limit but the others
    #[arg(long, value_name = "N")]
    pub max_total: Option<Amount>,
    /// The most that is authorised beyond the price, where a server takes vouchers in larger steps only
    #[arg(long, value_name = "N", default_value = "0")]
    pub max_ahead: Amount,
    /// Who may be paid; may be repeated; default: whoever the server names
    #[arg(long = "recipient", value_name = "ADDRESS")]
    pub recipients: Vec<Address>,
}

impl LimitOptions {
    /// The limits that the library takes.
    pub fn limits(&self) -> Limits {
        let escrow = AllowedEscrow {
            address: self.escrow,
            code_hash: self.escrow_code_hash,
        };
        let recipients = if self.recipients.is_empty() {
            Allowed::Any
        } else {
            Allowed::only(self.recipients.iter().copied())
        };
        Limits {
            max_stream: self.max_stream.unwrap_or(self.max_deposit),
            max_total: self.max_total,
            max_ahead: self.max_ahead,
            recipients,
            ..Limits::new(escrow, self.token, self.max_price, self.max_deposit)
        }
    }
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
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|Header(name, value)| (name.clone(), value.clone()))
            .collect();
        let payer = self.wallet.payer(self.limits.limits()).await?;
        let mut bill = Bill::of(&payer);
        let mut refused = None;
        for _ in 0..self.repeat {
            let asked = (method.clone(), headers.clone(), body.clone().unwrap_or_default());
            let answer = if self.stream {
                stream(&payer, &self.url, asked, output).await
            } else {
                payer.request(asked.0, &self.url, asked.1, asked.2).await
            };
            let answer = answer.map_err(|error| {
                bill.print(&payer, output);
                explain(error)
            })?;
            let charged = bill.add(&answer);
            if output.json {
                output.json(&answer_json(&answer, charged));
            } else if !self.stream {
                print_body(&answer.body, self.repeat > 1);
            }
            if !answer.status.is_success() {
                refused = Some(answer.status);
                break;
            }
        }
        bill.print(&payer, output);
        if self.close && bill.channel.is_some() {
            let closed = payer.close(&self.url).await.map_err(explain)?;
            print_closed(&closed, output);
        }
        match refused {
            None => Ok(()),
            Some(status) => Err(Failure::failed(refusal(status))),
        }
    }
}

/// Reads a stream of events and pays for it while it flows. For people each event is printed as it comes; for machines
/// all of them are the answer's body.
async fn stream(
    payer: &Payer,
    url: &str,
    (method, headers, body): (Method, HeaderMap, Vec<u8>),
    output: Output,
) -> Result<Response, weir_client::Error> {
    let mut stream = payer.stream_request(method, url, headers, body).await?;
    let mut answer = Response {
        status: stream.status(),
        headers: stream.headers().clone(),
        body: Vec::new(),
        receipt: None,
    };
    while let Some(event) = stream.next().await {
        match event? {
            StreamEvent::Message(event) if output.json => answer.body.extend(event.bytes()),
            StreamEvent::Message(event) => print_body(event.bytes(), false),
            StreamEvent::Authorised(_) => {}
            StreamEvent::Receipt(receipt) => answer.receipt = Some(receipt),
        }
    }
    Ok(answer)
}

fn refusal(status: StatusCode) -> String {
    match status {
        StatusCode::PAYMENT_REQUIRED => {
            "the server wants a payment and did not take this one; its answer says why".to_owned()
        }
        status => format!("the server answered {status}"),
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

/// What a run has paid.
struct Bill {
    spent: HashMap<ChannelId, Cumulative>,
    answers: u64,
    charged: Amount,
    channel: Option<ChannelId>,
}

impl Bill {
    fn of(payer: &Payer) -> Self {
        let mut known = payer.channels();
        see_receipts(&mut known, payer.state_path());
        Self {
            spent: known
                .into_iter()
                .map(|record| (record.channel, record.spent))
                .collect(),
            answers: 0,
            charged: Amount::ZERO,
            channel: None,
        }
    }

    /// Adds an answer; gives what it cost.
    fn add(&mut self, answer: &Response) -> Amount {
        self.answers += 1;
        let Some(receipt) = &answer.receipt else {
            return Amount::ZERO;
        };
        let before = self.spent.insert(receipt.channel, receipt.spent);
        let charged = receipt.spent.since(before.unwrap_or(Cumulative::ZERO));
        let charged = charged.unwrap_or(Amount::ZERO);
        self.charged = self.charged.checked_add(charged).unwrap_or(self.charged);
        self.channel = Some(receipt.channel);
        charged
    }

    fn print(&self, payer: &Payer, output: Output) {
        if output.json || self.answers == 0 {
            return;
        }
        let record = payer
            .channels()
            .into_iter()
            .find(|record| Some(record.channel) == self.channel);
        let Some(record) = record else {
            return note("nothing was charged");
        };
        note(&format!(
            "paid {} for {} to {} · channel {} · {} of {} used",
            self.charged,
            count(self.answers, "answer"),
            record.terms.payee,
            short(&record.channel.to_string()),
            record.spent,
            record.deposit,
        ));
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

fn receipt_json(receipt: Option<&SessionReceipt>) -> Value {
    let spelled = receipt.and_then(|receipt| receipt.to_json().ok());
    spelled
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null)
}

fn answer_json(answer: &Response, charged: Amount) -> Value {
    let mut object = json!({
        "status": answer.status.as_u16(),
        "charged": charged,
        "receipt": receipt_json(answer.receipt.as_ref()),
    });
    let (key, body) = match str::from_utf8(&answer.body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_hex", hex::encode_prefixed(&answer.body)),
    };
    object[key] = Value::String(body);
    object
}

/// What a close brought, for people and for machines.
pub(super) fn print_closed(closed: &CloseOutcome, output: Output) {
    if output.json {
        return output.json(&json!({
            "closed": closed.channel.to_string(),
            "captured": closed.captured,
            "refunded": closed.refunded,
            "credited": closed.credited,
            "tx_hash": closed.tx_hash,
            "receipt": receipt_json(closed.receipt.as_ref()),
        }));
    }
    let transaction = closed.tx_hash.map(|hash| format!(" · transaction {hash}"));
    note(&format!(
        "closed channel {} · the server got {} · {} came back{}{}",
        short(&closed.channel.to_string()),
        closed.captured,
        closed.refunded,
        transaction.unwrap_or_default(),
        credit_hint(closed.credited),
    ));
}

/// What to do about a refund that the token refused.
pub(super) const fn credit_hint(credited: bool) -> &'static str {
    if credited {
        "\nthe token refused the transfer, so the escrow keeps the refund for you; run: weir payer collect-refund"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

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

    fn answer(spent: Option<u128>, body: &[u8]) -> Response {
        let receipt = |spent| SessionReceipt {
            method: "evm".to_owned(),
            timestamp: weir_core::UnixSeconds(1_800_000_000),
            challenge_id: "c".to_owned(),
            channel: ChannelId(B256::repeat_byte(7)),
            accepted: Cumulative::new(spent),
            spent: Cumulative::new(spent),
            chain_id: Some(31337),
            units: None,
            tx_hash: None,
            confirmations: None,
        };
        Response {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.to_vec(),
            receipt: spent.map(receipt),
        }
    }

    #[test]
    fn the_options_become_the_limits() {
        let limits = pay(&[]).unwrap().limits.limits();
        assert_eq!(limits.max_price, Amount::new(100));
        assert_eq!(limits.max_deposit, Amount::new(5000));
        assert_eq!(limits.recipients, Allowed::Any);
        assert_eq!((limits.max_total, limits.max_ahead), (None, Amount::ZERO));
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
        let error = pay(&["-H", "x-token: sup3r\nsecret"]).unwrap_err();
        assert!(error.to_string().contains("the value of x-token"), "{error}");
    }

    #[test]
    fn an_answers_json_has_status_receipt_and_body() {
        let text = answer_json(&answer(Some(300), b"hello"), Amount::new(100));
        assert_eq!(text["status"], 200);
        assert_eq!(text["charged"], "100");
        assert_eq!(text["body"], "hello");
        assert_eq!(text["receipt"]["spent"], "300");
        assert_eq!(
            answer_json(&answer(None, &[0xff]), Amount::ZERO)["body_hex"],
            "0xff"
        );
        assert_eq!(
            answer_json(&answer(None, b""), Amount::ZERO)["receipt"],
            Value::Null
        );
    }

    #[test]
    fn the_bill_adds_up_what_the_receipts_say() {
        let channel = ChannelId(B256::repeat_byte(7));
        let mut bill = Bill {
            spent: HashMap::from([(channel, Cumulative::new(200))]),
            answers: 0,
            charged: Amount::ZERO,
            channel: None,
        };
        assert_eq!(bill.add(&answer(Some(300), b"")), Amount::new(100));
        assert_eq!(bill.add(&answer(None, b"")), Amount::ZERO);
        assert_eq!(bill.add(&answer(Some(450), b"")), Amount::new(150));
        assert_eq!(
            (bill.answers, bill.charged, bill.channel),
            (3, Amount::new(250), Some(channel))
        );
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
