//! `weir.toml`: what the daemon does, checked as a whole before anything starts.
//!
//! Reading finds every problem at once and names file, line, key and reason. Relative paths are relative to the file's
//! own directory. No secret stands in the file itself: it names files that hold them (see [`crate::keys`]).

mod changed;
pub mod limits;
mod problem;
mod read;
mod routes;
mod secrets;
mod sections;
#[cfg(test)]
mod tests;
mod types;

pub use problem::{ConfigErrors, Problem};
pub use types::{ChargeOn, Meter, Origin, RpcUrl, UpstreamUrl, UrlError};

use alloy_primitives::Address;
use read::Findings;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use weir_core::{Amount, Cumulative};
use weir_protocol::Intent;

/// The name of the configuration file when the command line gives none.
pub const FILE: &str = "weir.toml";
/// The environment variable that holds the payee's key when the file names no key file.
pub const PAYEE_KEY_VARIABLE: &str = "WEIR_PAYEE_KEY";

/// The environment variable that holds the gas key when the file names no key file.
pub const FUNDING_KEY_VARIABLE: &str = "WEIR_FUNDING_KEY";

/// The whole configuration, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Where it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    /// The gateway that payers talk to.
    pub server: Server,
    /// The operator's API.
    pub operator: Operator,
    /// The chain, the escrow and who is paid.
    pub chain: Chain,
    /// When to collect.
    pub settle: Settle,
    /// How deposits are pulled for payers who only sign; they send them themselves when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub funding: Option<Funding>,
    /// Which web pages may call from a browser; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// What is told of it all before anybody asks.
    pub discovery: Discovery,
    /// What is sold; the first that fits a request counts. Never empty.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
    /// What is allowed and probably not meant.
    #[serde(skip)]
    pub warnings: Vec<Problem>,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Where payers connect. Loopback, unless they connect by TLS.
    pub listen: SocketAddr,
    /// The service that is sold.
    pub upstream: UpstreamUrl,
    /// The protection space that challenges name.
    pub realm: String,
    /// Where the books are kept.
    pub data_dir: PathBuf,
    /// The certificate with which payers are served, when this listener speaks TLS itself.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether a proxy in front of the listener speaks TLS with payers.
    pub behind_tls_proxy: bool,
    /// Vouchers that one channel may send per second.
    pub vouchers_per_second: u32,
    /// Connections that one peer may hold, where peers can be told apart; zero for no bound.
    pub connections_per_peer: u64,
    /// How long the upstream may take to begin its answer.
    pub upstream_timeout_seconds: u64,
    /// The longest request body.
    pub body_bytes_max: u64,
    /// The secret that binds challenges. Made on the first start when it is the default file.
    pub secret_file: PathBuf,
    /// Whether [`Self::secret_file`] was chosen by default.
    #[serde(skip)]
    pub secret_file_is_default: bool,
    /// The secret before the current one: its challenges stay good until they expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret_file: Option<PathBuf>,
}

/// `server.tls_cert_file` and `server.tls_key_file`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// The chain in PEM, the server's own certificate first.
    #[serde(rename = "tls_cert_file")]
    pub cert_file: PathBuf,
    /// Its private key in PEM.
    #[serde(rename = "tls_key_file")]
    pub key_file: PathBuf,
}

/// `[operator]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// Where the operator's commands connect.
    pub listen: SocketAddr,
    /// The bearer token that they need; required when `listen` is not loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The bearer token of services that ask before they answer; without it none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge_token_file: Option<PathBuf>,
}

/// `[chain]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The chain's RPC.
    pub rpc_url: RpcUrl,
    /// The escrow contract.
    pub escrow: Address,
    /// The token that is accepted.
    pub token: Address,
    /// EIP-155 chain id that the RPC has to report; whatever it reports when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// The EIP-712 domain name that the escrow was deployed with.
    pub domain_name: String,
    /// The payee's private key; the environment's [`PAYEE_KEY_VARIABLE`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payee_key_file: Option<PathBuf>,
    /// How often the chain is asked for new blocks.
    pub poll_ms: u64,
    /// Blocks on top of a deposit before it counts.
    pub finality_blocks: u64,
    /// How old the view of the chain may get before payments are refused.
    pub view_age_max_seconds: u64,
}

/// `[settle]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settle {
    /// Settle as soon as this much waits on one channel.
    pub value_max: Amount,
    /// Settle when something has waited this long.
    pub age_max_seconds: u64,
    /// Less than this is left until a deadline forces it.
    pub value_min: Amount,
    /// How long a close waits for others, so that they share a transaction.
    pub close_batch_ms: u64,
}

/// `[funding]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Funding {
    /// The private key that pays for gas; the environment's [`FUNDING_KEY_VARIABLE`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Smaller deposits are not pulled.
    pub deposit_min: Amount,
    /// Smaller payments are not sent.
    pub charge_min: Amount,
    /// The most that a unit of gas may cost.
    pub fee_max_gwei: u64,
    /// The most gas within an hour for deposits, and for payments that were not made.
    pub gas_per_hour_max: u64,
    /// The most gas within an hour for payments, made or not.
    pub charge_gas_per_hour_max: u64,
}

/// `[cors]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// The pages' origins, or `*`. Never empty.
    pub origins: Vec<Origin>,
}

/// `[discovery]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Discovery {
    /// Whether `/openapi.json` tells what is sold.
    pub enabled: bool,
    /// The service's name; the realm when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The version of the service's API.
    pub version: String,
}

/// `[[route]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// An exact path, or a prefix that ends in `/*`.
    pub path: String,
    /// Upper-case method names; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What it costs.
    #[serde(flatten)]
    pub price: Price,
}

/// What a route costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Price {
    /// Nothing: `free = true`.
    Free {
        /// Always true.
        free: bool,
    },
    /// Something.
    Paid(Paid),
}

/// The price of a route, and how it is charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paid {
    /// The ways in which it may be paid, the preferred one first. Never empty.
    pub accept: Vec<Intent>,
    /// Base units of one unit; zero only where a charge alone pays.
    pub price: Amount,
    /// What one unit is, as the challenge names it.
    pub unit: String,
    /// When it is charged.
    pub charge_on: ChargeOn,
    /// What is counted.
    pub meter: Meter,
    /// The least that a higher voucher adds.
    pub min_voucher_delta: Amount,
    /// Whether a challenge is bound to the body of the request that it answers.
    pub bind_body: bool,
    /// How long a challenge to pay by charge may be answered.
    pub charge_challenge_seconds: u64,
    /// The deposit suggested to payers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_deposit: Option<Cumulative>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Config {
    /// A warning for each route that suggests a deposit above `most`, which is what the escrow lets one channel hold.
    pub fn deposits_above(&self, most: Cumulative) -> Vec<Problem> {
        let suggested = |(at, route): (usize, &Route)| match &route.price {
            Price::Paid(paid) => Some((at, paid.suggested_deposit?)),
            Price::Free { .. } => None,
        };
        let suggestions = self.routes.iter().enumerate().filter_map(suggested);
        let warning = |(at, deposit): (usize, Cumulative)| Problem {
            file: self.file.clone(),
            line: None,
            key: format!("route[{at}].suggested_deposit"),
            reason: format!(
                "{deposit} is above {most}, the most that one channel may hold in this escrow: the open of a payer who \
                 locks what is suggested fails"
            ),
        };
        let above = suggestions.filter(|(_, deposit)| *deposit > most);
        above.map(warning).collect()
    }

    /// Whether this is the chain that is configured, where one is.
    ///
    /// # Errors
    /// How they differ.
    pub fn must_be_chain(&self, found: u64) -> Result<(), String> {
        match self.chain.chain_id {
            Some(expected) if expected != found => Err(format!(
                "chain.chain_id = {expected}, but the node at {} is on chain {found}",
                self.chain.rpc_url
            )),
            _ => Ok(()),
        }
    }

    /// Reads and checks a file. The files that it names are not opened.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigErrors::one(file, "", format_args!("cannot be read: {error}")))?;
        Self::parse(file, &text)
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let findings = Findings::new(file, text);
        let config = findings.parse().and_then(|root| sections::config(root, file));
        let (errors, warnings) = findings.into_errors_and_warnings();
        match (config, errors) {
            (Some(config), None) => Ok(Self { warnings, ..config }),
            (_, Some(errors)) => Err(errors),
            (None, None) => Err(ConfigErrors::one(file, "", "cannot be read")),
        }
    }
}
