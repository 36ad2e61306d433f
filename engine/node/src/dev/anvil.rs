//! A local chain: anvil as a process of its own, on a free port, which ends with us however we end.

use core::time::Duration;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use tokio::sync::oneshot;

use super::accounts::MNEMONIC;
use weir_core::terms::{EVM_DOMAIN_NAME, TEMPO_DOMAIN_NAME};

/// The environment variable that names a directory with Foundry's tools.
pub const FOUNDRY_BIN_VARIABLE: &str = "WEIR_FOUNDRY_BIN";
/// How long anvil may take until it listens.
const START_SECONDS_MAX: u64 = 30;
/// What anvil prints once it listens.
const LISTENING: &str = "Listening on ";

/// Gas of a Tempo block. State is dear there: creating the escrow alone takes more than the 30 million that anvil
/// gives a block by default.
const TEMPO_BLOCK_GAS: u64 = 500_000_000;

/// Which rules the chain follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Network {
    /// Ethereum's.
    #[default]
    Evm,
    /// Tempo's, at its hardfork T4.
    Tempo,
}

impl Network {
    /// EIP-155 chain id of the devnet.
    pub const fn chain_id(self) -> u64 {
        match self {
            Self::Evm => 31_337,
            Self::Tempo => 1_337,
        }
    }

    /// EIP-712 domain name of the devnet's escrow: the one that the chain's clients sign under.
    pub const fn domain_name(self) -> &'static str {
        match self {
            Self::Evm => EVM_DOMAIN_NAME,
            Self::Tempo => TEMPO_DOMAIN_NAME,
        }
    }
}

/// How the chain is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Which rules it follows.
    pub network: Network,
    /// Seconds between blocks. It mines on an interval, because a view of the chain ages when no block comes.
    pub block_seconds: u64,
    /// How many accounts are funded.
    pub accounts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network: Network::Evm,
            block_seconds: 1,
            accounts: 32,
        }
    }
}

/// Why there is no chain.
#[derive(Debug, thiserror::Error)]
pub enum AnvilError {
    /// The program is nowhere.
    #[error(
        "anvil was not found: run `make setup`, or set {FOUNDRY_BIN_VARIABLE} to the directory of your Foundry"
    )]
    NotFound,
    /// It could not be started.
    #[error("{program} could not be started: {source}")]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ended, or was silent for too long.
    #[error("{0} did not begin to listen within {START_SECONDS_MAX} s")]
    NotReady(PathBuf),
}

/// A running chain; dropping it ends the process.
#[derive(Debug)]
pub struct Anvil {
    anvil: Child,
    watchdog: Child,
    url: String,
    network: Network,
}

impl Anvil {
    /// Starts a chain and waits until it listens.
    ///
    /// # Errors
    /// The program is not there, can't be started, or does not begin to listen.
    pub async fn start(options: Options) -> Result<Self, AnvilError> {
        let program = find_program().ok_or(AnvilError::NotFound)?;
        let failed = |source| AnvilError::NotStarted {
            program: program.clone(),
            source,
        };
        let mut anvil = Command::new(&program)
            .args(arguments(options))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own: Ctrl-C is for us alone, and the chain outlives our orderly end.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let watchdog = match watch(anvil.id()) {
            Ok(watchdog) => watchdog,
            Err(source) => {
                end(&mut anvil);
                return Err(failed(source));
            }
        };
        let stdout = anvil.stdout.take();
        // From here on the guard ends both, whatever happens.
        let mut chain = Self {
            anvil,
            watchdog,
            url: String::new(),
            network: options.network,
        };
        let listening = listen_for(stdout);
        let waited = tokio::time::timeout(Duration::from_secs(START_SECONDS_MAX), listening).await;
        let Ok(Ok(address)) = waited else {
            return Err(AnvilError::NotReady(program));
        };
        chain.url = format!("http://{address}");
        Ok(chain)
    }

    /// The URL of its RPC.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.network.chain_id()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.anvil.try_wait(), Ok(None))
    }

    /// The process's id.
    pub fn process_id(&self) -> u32 {
        self.anvil.id()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // The watchdog first: once anvil is gone its process id may be another's.
        end(&mut self.watchdog);
        end(&mut self.anvil);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A second process that holds the other end of a pipe from us. The pipe closes when we end, even by SIGKILL, and then
/// it ends the chain.
fn watch(process: u32) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill -9 \"$1\"", "weir-watchdog"])
        .arg(process.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

fn arguments(options: Options) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["--host", "127.0.0.1", "--port", "0", "--mnemonic", MNEMONIC]
        .map(OsString::from)
        .to_vec();
    let numbers = [
        ("--block-time", options.block_seconds),
        ("--accounts", options.accounts.into()),
        ("--chain-id", options.network.chain_id()),
    ];
    for (name, number) in numbers {
        arguments.extend([name.into(), number.to_string().into()]);
    }
    if options.network == Network::Tempo {
        arguments.extend(["--network", "tempo", "--hardfork", "T4"].map(OsString::from));
        arguments.extend(["--gas-limit".into(), TEMPO_BLOCK_GAS.to_string().into()]);
    }
    arguments
}

/// Where the chain listens, once it does. What it prints is read to the end: a full pipe would stop it.
fn listen_for(stdout: Option<ChildStdout>) -> oneshot::Receiver<String> {
    let (sender, receiver) = oneshot::channel();
    let Some(stdout) = stdout else {
        return receiver;
    };
    std::thread::spawn(move || {
        let mut sender = Some(sender);
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            if let Some(address) = line.strip_prefix(LISTENING)
                && let Some(sender) = sender.take()
            {
                // Nobody waits any more: the reading goes on all the same.
                let _ = sender.send(address.trim().to_owned());
            }
        }
    });
    receiver
}

/// The program in the directory that the environment names, else on the path, else among this repository's pinned
/// tools.
fn find_program() -> Option<PathBuf> {
    let chosen = std::env::var_os(FOUNDRY_BIN_VARIABLE).filter(|folder| !folder.is_empty());
    if let Some(folder) = chosen {
        return Some(PathBuf::from(folder).join("anvil")).filter(|program| program.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let pinned = pinned_folders();
    std::env::split_paths(&path)
        .map(|folder| folder.join("anvil"))
        .chain(pinned.map(|folder| folder.join("anvil")))
        .find(|program| program.is_file())
}

/// `node_modules/.bin` of the working directory, of its parents, and of the checkout that this was built from.
fn pinned_folders() -> impl Iterator<Item = PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let mut starts: Vec<PathBuf> = here.ancestors().map(Path::to_owned).collect();
    starts.extend(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(Path::to_owned),
    );
    starts.into_iter().map(|folder| folder.join("node_modules/.bin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Whether a process is there and not merely waiting to be noticed as dead.
    fn lives(process: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| !rest.starts_with('Z'))
        })
    }

    async fn ask(url: &str, method: &str) -> Value {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
        let answer = reqwest::Client::new()
            .post(url)
            .json(&question)
            .send()
            .await
            .unwrap();
        answer.json::<Value>().await.unwrap()["result"].clone()
    }

    #[tokio::test]
    async fn two_chains_run_at_once_and_leave_no_process() {
        let mut evm = Anvil::start(Options::default()).await.unwrap();
        let tempo = Anvil::start(Options {
            network: Network::Tempo,
            ..Options::default()
        })
        .await
        .unwrap();
        assert_eq!(ask(evm.url(), "eth_chainId").await, "0x7a69");
        assert_eq!(ask(tempo.url(), "eth_chainId").await, "0x539");
        assert_eq!(ask(evm.url(), "eth_accounts").await.as_array().unwrap().len(), 32);
        assert!(evm.is_running());
        let processes = [
            evm.process_id(),
            evm.watchdog.id(),
            tempo.process_id(),
            tempo.watchdog.id(),
        ];
        drop((evm, tempo));
        assert!(!processes.into_iter().any(lives));
    }

    #[tokio::test]
    async fn a_chain_whose_owner_was_killed_ends() {
        let mut chain = Anvil::start(Options::default()).await.unwrap();
        // Closing the pipe is all that the kernel does for a process that was killed.
        drop(chain.watchdog.stdin.take());
        for _ in 0..500 {
            if !chain.is_running() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("anvil still runs");
    }
}
