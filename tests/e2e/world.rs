//! One chain with an escrow, a token and funded payers, and the configurations of daemons on it.

use crate::service::Service;
use alloy::primitives::{Address, B256};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;
use weir_chain::deploy::{CANONICAL_PERMIT2, deploy_dev_token, mint};
use weir_chain::{Escrow, Opening, Rpc, Sender};
use weir_client::{AllowedEscrow, HttpOptions, Limits, Payer};
use weir_core::{Amount, ChainState, ChannelId, Cumulative, Domain, Terms};
use weir_node::commands::deploy::{Deployed, Order, TokenCap, deploy};
use weir_node::dev::accounts::account;
use weir_node::dev::anvil::{Anvil, Network, Options};
use weir_node::dev::devnet::PATH_USD;
use weir_node::keys::SecretKey;

/// The price of one answer on `/v1/answer`.
pub(crate) const PRICE: u128 = 100;
/// What a payer locks.
pub(crate) const DEPOSIT: u128 = 1_000_000;
/// What each payer has.
const FUNDS: Amount = Amount::new(1_000_000_000_000);
/// The most that the escrow takes on one channel.
const CAP: Amount = Amount::new(1_000_000_000);
/// What binds challenges, so that a test can make some that the daemon would have made at another time.
pub(crate) const SECRET: [u8; 32] = [0x51; 32];

/// A chain; dropping it ends its process and deletes its files.
pub(crate) struct World {
    pub(crate) deployed: Deployed,
    pub(crate) payee: SecretKey,
    pub(crate) payers: Vec<SecretKey>,
    pub(crate) files: TempDir,
    pub(crate) service: Service,
    pub(crate) escrow: Escrow,
    chain: Anvil,
}

/// What differs between daemons.
pub(crate) struct Settings<'a> {
    /// Names its files.
    pub(crate) name: &'a str,
    pub(crate) gateway: u16,
    pub(crate) operator: u16,
    pub(crate) rpc_url: &'a str,
    pub(crate) upstream: &'a str,
    /// More lines of `[chain]`.
    pub(crate) chain: &'a str,
    pub(crate) routes: &'a str,
}

impl World {
    /// On a chain of Ethereum's rules.
    pub(crate) async fn start(payers: u32) -> Self {
        Self::on(Network::Evm, payers).await
    }

    /// The same with the real Permit2 at its usual address, from a chain that has it from the start.
    pub(crate) async fn with_permit2(payers: u32) -> Self {
        let tempo = chain_of(Network::Tempo, 0).await;
        let code = Rpc::new(tempo.url())
            .unwrap()
            .code_at_head(CANONICAL_PERMIT2)
            .await
            .unwrap();
        assert!(!code.is_empty(), "there is no Permit2 to be had");
        let chain = chain_of(Network::Evm, payers).await;
        post(chain.url(), "anvil_setCode", json!([CANONICAL_PERMIT2, code])).await;
        Self::over(chain, Network::Evm, payers).await
    }

    pub(crate) async fn on(network: Network, payers: u32) -> Self {
        Self::over(chain_of(network, payers).await, network, payers).await
    }

    async fn over(chain: Anvil, network: Network, payers: u32) -> Self {
        let rpc = Rpc::new(chain.url()).unwrap();
        let deployer = Sender::connect(rpc.clone(), account(0).unwrap().signer().clone())
            .await
            .unwrap();
        let payers: Vec<SecretKey> = (2..payers + 2).map(|index| account(index).unwrap()).collect();
        let tokens = match network {
            Network::Evm => deploy_tokens(&deployer, &payers).await,
            // Which every account has.
            Network::Tempo => vec![PATH_USD],
        };
        let caps: Vec<TokenCap> = tokens
            .into_iter()
            .map(|token| TokenCap { token, cap: CAP })
            .collect();
        let order = Order::new(network.domain_name(), &caps);
        let deployed = deploy(&deployer, &order, |_| ()).await.unwrap();
        let files = tempfile::Builder::new().prefix("weir-e2e-").tempdir().unwrap();
        let payee = account(1).unwrap();
        payee.save(&files.path().join("payee-key")).unwrap();
        let secret: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
        let secret_file = files.path().join("secret");
        std::fs::write(&secret_file, secret).unwrap();
        std::fs::set_permissions(&secret_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self {
            escrow: Escrow::over(rpc, deployed.escrow, network.domain_name())
                .await
                .unwrap(),
            deployed,
            payee,
            payers,
            files,
            service: Service::start().await,
            chain,
        }
    }

    pub(crate) fn rpc_url(&self) -> &str {
        self.chain.url()
    }

    pub(crate) fn domain(&self) -> &Domain {
        self.escrow.domain()
    }

    /// Usual settings: any free ports, the good service, the sample price.
    pub(crate) fn settings<'a>(&'a self, name: &'a str) -> Settings<'a> {
        Settings {
            name,
            gateway: 0,
            operator: 0,
            rpc_url: self.rpc_url(),
            upstream: &self.service.url,
            chain: "",
            routes: "",
        }
    }

    /// Writes a daemon's configuration. Its books are in a directory of its name.
    pub(crate) fn config(&self, settings: &Settings<'_>) -> PathBuf {
        let Settings {
            name,
            gateway,
            operator,
            rpc_url,
            upstream,
            chain,
            routes,
        } = settings;
        let folder = self.files.path();
        let finality = if chain.contains("finality_blocks") {
            ""
        } else {
            "finality_blocks = 0\n"
        };
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{gateway}\"\nupstream = \"{upstream}\"\nrealm = \"weir-tests\"\n\
             data_dir = {:?}\nsecret_file = {:?}\nvouchers_per_second = 100000\nupstream_timeout_seconds = 2\n\n\
             [operator]\nlisten = \"127.0.0.1:{operator}\"\n\n\
             {}payee_key_file = {:?}\npoll_ms = 100\n{finality}{chain}\n\n\
             {routes}\n{}",
            folder.join(format!("{name}-data")),
            folder.join("secret"),
            self.deployed.chain_section(rpc_url),
            folder.join("payee-key"),
            route("/v1/answer", PRICE, "methods = [\"GET\", \"POST\"]\n"),
        );
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    /// The library's payer, with limits that fit, whose state is kept in a directory of this name.
    pub(crate) async fn payer(&self, index: usize, state: &str) -> Payer {
        let token = self.deployed.tokens[0].token;
        let escrow = AllowedEscrow {
            address: self.deployed.escrow,
            code_hash: None,
        };
        let limits = Limits::new(escrow, token, Amount::new(PRICE), CAP);
        let http = HttpOptions {
            timeout: Duration::from_secs(60),
            ..HttpOptions::default()
        };
        let signer = self.payers[index].signer().clone();
        Payer::new(signer, self.rpc_url(), &self.state(state), limits, http)
            .await
            .unwrap()
    }

    /// Where a payer's state is kept.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.files.path().join(Path::new(name))
    }

    /// A channel as the chain knows it now.
    pub(crate) async fn on_chain(&self, id: ChannelId) -> ChainState {
        let head = self.escrow.rpc().head().await.unwrap();
        self.escrow.channel_at(id, head.hash).await.unwrap().unwrap().1
    }

    /// Waits until a channel is on the chain as wanted.
    pub(crate) async fn until(&self, id: ChannelId, wanted: impl Fn(&ChainState) -> bool) -> ChainState {
        for _ in 0..300 {
            let state = self.on_chain(id).await;
            if wanted(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("on the chain the channel stays {:?}", self.on_chain(id).await);
    }

    /// Opens a channel to the payee in another token of the escrow, past the daemon.
    pub(crate) async fn open_in_another_token(&self, index: usize) -> ChannelId {
        let token = self.deployed.tokens[1].token;
        let terms = Terms {
            payer: self.payers[index].address(),
            payee: self.payee.address(),
            token,
            authorized_signer: Address::ZERO,
            reserve: None,
        };
        let opening = Opening {
            payee: terms.payee,
            token,
            deposit: Amount::new(DEPOSIT),
            salt: B256::repeat_byte(7),
            authorized_signer: terms.authorized_signer,
            max_deposit: None,
        };
        let calls = self.escrow.calls();
        for (key, call) in [
            (&account(0).unwrap(), mint(token, terms.payer, FUNDS)),
            (&self.payers[index], calls.approve(token, opening.deposit)),
            (&self.payers[index], calls.open(&opening)),
        ] {
            let rpc = self.escrow.rpc().clone();
            let sender = Sender::connect(rpc, key.signer().clone()).await.unwrap();
            sender.land(&call, soon()).await.unwrap();
        }
        terms.channel_id(opening.salt, self.domain())
    }

    /// What an account has of the token.
    pub(crate) async fn balance(&self, key: &SecretKey) -> u128 {
        let token = self.deployed.tokens[0].token;
        let balance = self.escrow.token_balance(token, key.address()).await.unwrap();
        balance.try_into().unwrap()
    }

    /// Lets time pass on the chain.
    pub(crate) async fn warp(&self, seconds: u64) {
        self.ask("evm_increaseTime", json!([seconds])).await;
        self.ask("evm_mine", json!([])).await;
    }

    /// Asks the node, methods of its own included.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        post(self.rpc_url(), method, params).await
    }
}

async fn chain_of(network: Network, payers: u32) -> Anvil {
    let options = Options {
        network,
        accounts: payers + 2,
        ..Options::default()
    };
    Anvil::start(options).await.unwrap()
}

async fn post(url: &str, method: &str, params: Value) -> Value {
    let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = reqwest::Client::new()
        .post(url)
        .json(&question)
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Two tokens, of which payers have the first: what is sold is paid in that, and the escrow serves the second too.
async fn deploy_tokens(deployer: &Sender, payers: &[SecretKey]) -> Vec<Address> {
    let token = deploy_dev_token(deployer, soon()).await.unwrap();
    let other = deploy_dev_token(deployer, soon()).await.unwrap();
    let mints = payers.iter().map(|payer| {
        let call = mint(token, payer.address(), FUNDS);
        async move { deployer.land(&call, soon()).await }
    });
    futures_util::future::try_join_all(mints).await.unwrap();
    vec![token, other]
}

/// A `[[route]]` with a price and more lines.
pub(crate) fn route(path: &str, price: u128, more: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\nprice = \"{price}\"\nsuggested_deposit = \"{DEPOSIT}\"\n{more}\n")
}

/// A port that is free now and that the system gives to nobody who does not ask for it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 18_000 + u16::try_from(std::process::id() % 6_000).unwrap();
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::SeqCst);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A total of so many base units.
pub(crate) fn total(base_units: u128) -> Cumulative {
    Cumulative::new(base_units)
}
