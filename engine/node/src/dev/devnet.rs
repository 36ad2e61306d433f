//! A devnet in one piece: a chain, a token, an escrow, the sample service, and the daemon in a process of its own.

use crate::commands::Failure;
use crate::commands::deploy::{Deployed, Order, TokenCap, deploy};
use crate::dev::accounts::account;
use crate::dev::anvil::{Anvil, Network, Options};
use crate::dev::reserve::{self, Scribe};
use crate::dev::upstream::Upstream;
use crate::keys::SecretKey;
use crate::logging;
use alloy_primitives::{Address, address};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;
use weir_chain::deploy::{deploy_dev_token, mint};
use weir_chain::{Rpc, Sender};
use weir_core::Amount;
use weir_core::terms::TEMPO_RESERVE;

/// pathUSD, a token of every Tempo chain (6 decimals); anvil funds all its accounts with it.
pub const PATH_USD: Address = address!("20c0000000000000000000000000000000000000");
/// The most that one channel may hold on the devnet, in base units.
pub const MAX_DEPOSIT: Amount = Amount::new(1_000_000_000);
/// What every payer gets, in base units.
pub const PAYER_FUNDS: Amount = Amount::new(1_000_000_000_000);
/// The price of one answer, in base units.
pub const ANSWER_PRICE: Amount = Amount::new(100);
/// The deposit suggested for a `GET`, in base units.
pub const DEPOSIT_LARGE: Amount = Amount::new(80_000);
/// The deposit suggested for a `POST`, in base units: five hundred answers need one more.
pub const DEPOSIT_SMALL: Amount = Amount::new(40_000);
/// The payee's key, beside the configuration.
const PAYEE_KEY_FILE: &str = "payee-key";
/// The key that pays for pulled deposits, beside the configuration.
const GAS_KEY_FILE: &str = "gas-key";
/// The least that a voucher for a story adds on an evm chain, in base units: ten tokens.
pub const STORY_VOUCHER_STEP: Amount = Amount::new(1_000);
/// How long a challenge to pay by charge lives on a Tempo chain: pympp signs a payment that is valid as long, and anvil's
/// chain takes none that is valid for more than 30 s.
const CHARGE_CHALLENGE_SECONDS: u64 = 25;
/// The most gas that deposits may take in an hour: what many payers need at once.
const GAS_PER_HOUR_MAX: u64 = 1_000_000_000;
/// How long each transaction of the set-up may take.
const SETUP: Duration = Duration::from_secs(60);
/// How long the daemon may take until it answers.
const DAEMON_START: Duration = Duration::from_secs(60);

/// The account that deploys; the next one is the payee, and the payers follow.
const DEPLOYER: u32 = 0;
const PAYEE: u32 = 1;
const FIRST_PAYER: u32 = 2;

/// A devnet that is up; dropping it ends all its processes and deletes its files.
pub struct Devnet {
    /// The chain's rules.
    pub network: Network,
    /// The escrow, the chain id and the token.
    pub deployed: Deployed,
    /// The token.
    pub token: Address,
    /// Who is paid.
    pub payee: Address,
    /// The payers' keys, funded.
    pub payers: Vec<SecretKey>,
    /// Where the daemon answers.
    pub daemon: Daemon,
    /// Its files.
    pub files: TempDir,
    /// What is sold on channels of the reserve, where the chain's rules have one.
    pub reserved: Option<Reserved>,
    rpc_url: String,
    _upstream: Upstream,
    _chain: Anvil,
}

/// A second daemon, which sells the same on channels of the reserve to a payee of its own.
pub struct Reserved {
    /// Where it answers.
    pub daemon: Daemon,
    _scribe: Scribe,
}

/// The daemon's process.
pub struct Daemon {
    process: Child,
    /// Where payers connect.
    pub gateway: String,
    /// Where the operator's commands connect.
    pub operator: String,
}

#[derive(Deserialize)]
struct Announced {
    gateway: String,
    operator: String,
}

impl Devnet {
    /// Brings everything up, with so many funded payers.
    ///
    /// # Errors
    /// A part could not be started; those that were are ended again.
    pub async fn start(network: Network, payers: u32, vouchers_per_second: u32) -> Result<Self, Failure> {
        let options = Options {
            network,
            accounts: FIRST_PAYER + payers + 1,
            ..Options::default()
        };
        let chain = Anvil::start(options).await.map_err(Failure::failed)?;
        let key = |index| account(index).ok_or_else(|| Failure::failed("a devnet account cannot be derived"));
        let rpc = Rpc::new(chain.url()).map_err(Failure::failed)?;
        let deployer = Sender::connect(rpc.clone(), key(DEPLOYER)?.signer().clone())
            .await
            .map_err(Failure::failed)?;
        // The last account is the payee of the reserve's channels, or pays for gas: two daemons, or a payee and a gas key,
        // must not share an account's nonces.
        let last = key(FIRST_PAYER + payers)?;
        let payers: Vec<SecretKey> = (FIRST_PAYER..FIRST_PAYER + payers)
            .map(key)
            .collect::<Result<_, _>>()?;
        let token = match network {
            Network::Evm => mint_token(&deployer, &payers).await?,
            Network::Tempo => PATH_USD,
        };
        let caps = [TokenCap {
            token,
            cap: MAX_DEPOSIT,
        }];
        let order = Order::new(network.domain_name(), &caps);
        let deployed = deploy(&deployer, &order, |_| ()).await?;
        let upstream = Upstream::start((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .map_err(Failure::failed)?;
        let files = tempfile::Builder::new()
            .prefix("weir-dev-")
            .tempdir()
            .map_err(Failure::failed)?;
        let payee = key(PAYEE)?;
        if network == Network::Evm {
            last.save(&files.path().join(GAS_KEY_FILE))
                .map_err(Failure::failed)?;
        }
        let shop = Shop {
            network,
            upstream: upstream.url(),
            vouchers_per_second,
        };
        let daemon = shop.open(files.path(), &payee, &deployed.chain_section(chain.url()))?;
        let reserved = match network {
            Network::Evm => None,
            Network::Tempo => {
                reserve::install(chain.url(), token, &payers).await?;
                Some(shop.open_at_the_reserve(&files, &last, chain.url()).await?)
            }
        };
        Ok(Self {
            network,
            deployed,
            token,
            payee: payee.address(),
            payers,
            daemon,
            files,
            reserved,
            rpc_url: chain.url().to_owned(),
            _upstream: upstream,
            _chain: chain,
        })
    }

    /// The chain's RPC.
    pub fn rpc_url(&self) -> &str {
        &self.rpc_url
    }

    /// Where a story of so many tokens is sold, token by token.
    pub fn story_url(&self, tokens: u64) -> String {
        self.daemon.story_url(tokens)
    }

    /// Where one answer is sold for one payment.
    pub fn charge_url(&self) -> String {
        format!("{}/v1/once?q=why", self.daemon.gateway)
    }

    /// Where one answer is sold.
    pub fn paid_url(&self) -> String {
        self.daemon.paid_url()
    }
}

/// Deploys the worthless token and gives every payer some.
async fn mint_token(deployer: &Sender, payers: &[SecretKey]) -> Result<Address, Failure> {
    let token = deploy_dev_token(deployer, Instant::now() + SETUP)
        .await
        .map_err(Failure::failed)?;
    let mints = payers.iter().map(|payer| async move {
        let call = mint(token, payer.address(), PAYER_FUNDS);
        deployer.land(&call, Instant::now() + SETUP).await
    });
    futures_util::future::try_join_all(mints)
        .await
        .map_err(Failure::failed)?;
    Ok(token)
}

/// What a daemon of the devnet sells.
struct Shop {
    network: Network,
    upstream: String,
    vouchers_per_second: u32,
}

impl Shop {
    /// Starts a daemon whose files are in `folder`, for this payee on this chain.
    fn open(&self, folder: &Path, payee: &SecretKey, chain_section: &str) -> Result<Daemon, Failure> {
        payee
            .save(&folder.join(PAYEE_KEY_FILE))
            .map_err(Failure::failed)?;
        Daemon::start(&self.write_config(folder, chain_section)?)
    }

    /// Starts one that sells on channels of the reserve, on the chain at `url`.
    async fn open_at_the_reserve(
        &self,
        files: &TempDir,
        payee: &SecretKey,
        url: &str,
    ) -> Result<Reserved, Failure> {
        let scribe = Scribe::before(url).await?;
        let folder = files.path().join("reserve");
        std::fs::create_dir(&folder).map_err(Failure::failed)?;
        let section = format!(
            "[chain]\nrpc_url = {:?}\nescrow = \"{TEMPO_RESERVE}\"\ntoken = \"{PATH_USD}\"\n",
            scribe.url
        );
        Ok(Reserved {
            daemon: self.open(&folder, payee, &section)?,
            _scribe: scribe,
        })
    }

    fn write_config(&self, folder: &Path, chain_section: &str) -> Result<PathBuf, Failure> {
        let file = folder.join("weir.toml");
        std::fs::write(&file, self.config(folder, chain_section)).map_err(Failure::failed)?;
        Ok(file)
    }

    fn config(&self, folder: &Path, chain_section: &str) -> String {
        let route = |method: &str, deposit: Amount| {
            format!(
                "[[route]]\npath = \"/v1/answer\"\nmethods = [\"{method}\"]\nprice = \"{ANSWER_PRICE}\"\nunit = \"answer\"\n\
             suggested_deposit = \"{deposit}\"\n"
            )
        };
        let least_step = match self.network {
            Network::Evm => format!("min_voucher_delta = \"{STORY_VOUCHER_STEP}\"\n"),
            // mppx's first voucher is of one unit, whatever the least step is.
            Network::Tempo => String::new(),
        };
        let story = format!(
            "[[route]]\npath = \"/v1/story\"\nmethods = [\"GET\"]\nprice = \"{ANSWER_PRICE}\"\nunit = \"token\"\nmeter = \"event\"\n\
         {least_step}suggested_deposit = \"{DEPOSIT_SMALL}\"\n"
        );
        let challenge = match self.network {
            Network::Evm => String::new(),
            Network::Tempo => format!("charge_challenge_seconds = {CHARGE_CHALLENGE_SECONDS}\n"),
        };
        let once = format!(
            "[[route]]\npath = \"/v1/once\"\nmethods = [\"GET\"]\nprice = \"{ANSWER_PRICE}\"\nunit = \"answer\"\naccept = [\"charge\"]\n{challenge}"
        );
        let funding = match self.network {
            Network::Evm => format!(
                "[funding]\nkey_file = {:?}\ndeposit_min = \"{DEPOSIT_SMALL}\"\ncharge_min = \"1\"\ngas_per_hour_max = {GAS_PER_HOUR_MAX}\ncharge_gas_per_hour_max = {GAS_PER_HOUR_MAX}\n",
                folder.join(GAS_KEY_FILE)
            ),
            Network::Tempo => String::new(),
        };
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nupstream = \"{}\"\nrealm = \"weir-dev\"\ndata_dir = {:?}\n\
         vouchers_per_second = {}\n\n[operator]\nlisten = \"127.0.0.1:0\"\n\n\
         {chain_section}payee_key_file = {:?}\npoll_ms = 250\nfinality_blocks = 0\n\n{funding}\n{}\n{}\n{story}\n{once}\n[[route]]\npath = \"/health\"\nfree = true\n",
            self.upstream,
            folder.join("data"),
            self.vouchers_per_second,
            folder.join(PAYEE_KEY_FILE),
            route("GET", DEPOSIT_LARGE),
            route("POST", DEPOSIT_SMALL),
        )
    }
}

impl Daemon {
    /// Where a story of so many tokens is sold, token by token.
    pub fn story_url(&self, tokens: u64) -> String {
        format!("{}/v1/story?tokens={tokens}", self.gateway)
    }

    /// Where one answer is sold.
    pub fn paid_url(&self) -> String {
        format!("{}/v1/answer?q=why", self.gateway)
    }

    /// Starts `weir serve` in a process of its own and waits until it answers. It ends with us: it reads our end of a
    /// pipe on its standard input.
    ///
    /// # Errors
    /// It could not be started, or ended before it answered.
    pub fn start(config: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::failed)?;
        let mut process = Command::new(program)
            .args(["--json", "serve", "--until-stdin-closes", "--config"])
            .arg(config)
            // Its lines would run into what is printed here; whoever wants them says so.
            .env(
                logging::VARIABLE,
                std::env::var(logging::VARIABLE).as_deref().unwrap_or("warn"),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::failed)?;
        let Some(stdout) = process.stdout.take() else {
            return Err(Failure::failed("the daemon has no output"));
        };
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut document = String::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                document.push_str(&line);
                if let Ok(announced) = serde_json::from_str::<Announced>(&document) {
                    let _ = tell.send(announced);
                    document.clear();
                }
            }
        });
        let announced = told.recv_timeout(DAEMON_START);
        let mut daemon = Self {
            process,
            gateway: String::new(),
            operator: String::new(),
        };
        let Ok(Announced { gateway, operator }) = announced else {
            return Err(Failure::failed(match daemon.process.try_wait() {
                Ok(Some(status)) => format!("the daemon ended with {status} before it answered"),
                _ => format!("the daemon did not answer within {DAEMON_START:?}"),
            }));
        };
        (daemon.gateway, daemon.operator) = (gateway, operator);
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Closing the pipe asks it to end in order; it is given its time.
        drop(self.process.stdin.take());
        for _ in 0..100 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
