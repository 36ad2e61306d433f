//! A chain of one's own: anvil on a free port, an escrow, a token, a payer and a payee.

use alloy::primitives::{Address, B256, U256, address};
use alloy::providers::Provider;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;
use weir_chain::deploy::{deploy_dev_token, deploy_escrow, mint};
use weir_chain::{Call, Escrow, Landed, Opening, Rpc, Sender, SettleRow, Sighting, Sink};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::voucher::voucher_digest;
use weir_core::{Amount, ChannelId, Cumulative, Signature, Terms};

/// One ether in base units of the token would be many; deposits here are small.
pub(crate) const DEPOSIT: u128 = 1_000_000;
pub(crate) const NOBODY: Address = address!("0x00000000000000000000000000000000000000aa");

/// An anvil process; it ends with its guard.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("WEIR_FOUNDRY_BIN").map(PathBuf::from);
    let path = folder
        .unwrap_or_else(|| root.join("node_modules/.bin"))
        .join("anvil");
    assert!(
        path.exists(),
        "no anvil at {}: run `npm ci --ignore-scripts` at the root, or set WEIR_FOUNDRY_BIN to a Foundry 1.7.1 folder",
        path.display()
    );
    path
}

impl Anvil {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("anvil's output")).lines();
        let port = loop {
            let line = lines
                .next()
                .expect("anvil says where it listens")
                .expect("readable output");
            if let Some(at) = line.strip_prefix("Listening on ") {
                break at
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.trim().parse().ok())
                    .expect("a port");
            }
        };
        // The pipe must be drained, or anvil stops when it is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

pub(crate) fn key(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).expect("a key")
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A chain with an escrow, and two parties with money. Transactions are mined as they come, unless a test says not.
pub(crate) struct World {
    pub(crate) anvil: Anvil,
    pub(crate) rpc: Rpc,
    pub(crate) escrow: Escrow,
    pub(crate) token: Address,
    pub(crate) payer: Sender,
    pub(crate) payee: Sender,
    pub(crate) payer_key: PrivateKeySigner,
}

impl World {
    pub(crate) async fn new() -> Self {
        let anvil = Anvil::start(&[]);
        let rpc = Rpc::new(&anvil.url()).unwrap();
        let (payer_key, payee_key) = (key(0x11), key(0x22));
        let payer = Sender::connect(rpc.clone(), payer_key.clone()).await.unwrap();
        let payee = Sender::connect(rpc.clone(), payee_key).await.unwrap();
        for account in [payer.address(), payee.address()] {
            ask(&rpc, "anvil_setBalance", json!([account, "0xde0b6b3a7640000"])).await;
        }
        let token = deploy_dev_token(&payee, soon()).await.unwrap();
        let caps = [(token, Amount::new(1_000 * DEPOSIT))];
        let at = deploy_escrow(&payee, EVM_DOMAIN_NAME, &caps, soon())
            .await
            .unwrap();
        let escrow = Escrow::over(rpc.clone(), at, EVM_DOMAIN_NAME).await.unwrap();
        let world = Self {
            anvil,
            rpc,
            escrow,
            token,
            payer,
            payee,
            payer_key,
        };
        let much = Amount::new(1_000_000 * DEPOSIT);
        world.pays(mint(token, world.payer.address(), much)).await;
        world.pays(world.escrow.calls().approve(token, much)).await;
        world
    }

    pub(crate) async fn pays(&self, call: Call) -> Landed {
        self.payer.land(&call, soon()).await.unwrap()
    }

    pub(crate) async fn collects(&self, call: Call) -> Landed {
        self.payee.land(&call, soon()).await.unwrap()
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            payer: self.payer.address(),
            payee: self.payee.address(),
            token: self.token,
            authorized_signer: Address::ZERO,
        }
    }

    pub(crate) fn opening(&self, salt: u8) -> Opening {
        Opening {
            payee: self.payee.address(),
            token: self.token,
            deposit: Amount::new(DEPOSIT),
            salt: B256::repeat_byte(salt),
            authorized_signer: Address::ZERO,
            max_deposit: None,
        }
    }

    pub(crate) fn id(&self, salt: u8) -> ChannelId {
        self.terms()
            .channel_id(B256::repeat_byte(salt), self.escrow.domain())
    }

    pub(crate) async fn open(&self, salt: u8) -> (ChannelId, Landed) {
        let landed = self.pays(self.escrow.calls().open(&self.opening(salt))).await;
        (self.id(salt), landed)
    }

    pub(crate) fn row(&self, channel: ChannelId, cumulative: u128, capture: u128) -> SettleRow {
        let cumulative = Cumulative::new(cumulative);
        let digest = voucher_digest(self.escrow.domain(), channel, cumulative);
        let signature = self.payer_key.sign_hash_sync(&digest).unwrap();
        SettleRow {
            channel,
            cumulative,
            capture: Cumulative::new(capture),
            signature: Some(Signature::from_bytes(&signature.as_bytes()).unwrap()),
        }
    }

    pub(crate) async fn ask(&self, method: &'static str, params: Value) -> Value {
        ask(&self.rpc, method, params).await
    }

    pub(crate) async fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([U256::from(blocks)])).await;
    }

    pub(crate) async fn automine(&self, on: bool) {
        self.ask("evm_setAutomine", json!([on])).await;
    }
}

pub(crate) async fn ask(rpc: &Rpc, method: &'static str, params: Value) -> Value {
    rpc.provider()
        .raw_request::<_, Value>(method.into(), params)
        .await
        .unwrap()
}

/// Keeps every sighting; refuses as often as it is told to.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) sightings: Vec<Sighting>,
    pub(crate) refuses: u32,
}

impl Recorder {
    pub(crate) fn last(&self) -> &Sighting {
        self.sightings.last().expect("a sighting")
    }
}

impl Sink for Recorder {
    type Fault = &'static str;

    async fn take(&mut self, sighting: &Sighting) -> Result<(), Self::Fault> {
        if self.refuses > 0 {
            self.refuses -= 1;
            return Err("told to refuse");
        }
        self.sightings.push(sighting.clone());
        Ok(())
    }
}
