//! `weir deploy` as people run it, on both kinds of chain.

use crate::daemon::weir;
use alloy::primitives::{Address, B256, Bytes, keccak256};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;
use weir_chain::Rpc;
use weir_chain::Sender;
use weir_chain::deploy::{DEPLOYMENT_PROXY, deploy_dev_token};
use weir_node::config::Config;
use weir_node::dev::accounts::account;
use weir_node::dev::anvil::{Anvil, Network, Options};

const CAP: &str = "5000000";

/// A chain with a token, and the keys of accounts that have money there.
struct Ground {
    chain: Anvil,
    network: Network,
    rpc: Rpc,
    token: Address,
    files: TempDir,
}

impl Ground {
    async fn on(network: Network) -> Self {
        let chain = Anvil::start(Options {
            network,
            ..Options::default()
        })
        .await
        .unwrap();
        let rpc = Rpc::new(chain.url()).unwrap();
        let deployer = account(0).unwrap();
        let sender = Sender::connect(rpc.clone(), deployer.signer().clone())
            .await
            .unwrap();
        let token = deploy_dev_token(&sender, Instant::now() + Duration::from_secs(60))
            .await
            .unwrap();
        let files = tempfile::Builder::new().prefix("weir-deploy-").tempdir().unwrap();
        for index in 0..2 {
            let file = files.path().join(format!("key-{index}"));
            account(index).unwrap().save(&file).unwrap();
        }
        Self {
            chain,
            network,
            rpc,
            token,
            files,
        }
    }

    /// Runs the command with an account's key: its exit code, standard output and standard error.
    async fn deploy(&self, index: u32, more: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(weir());
        command
            .args(["deploy", "--rpc-url", self.chain.url(), "--key-file"])
            .arg(self.files.path().join(format!("key-{index}")))
            .args(["--domain-name", self.network.domain_name()])
            .args(["--token", &format!("{}={CAP}", self.token)])
            .args(more)
            .stdin(Stdio::null());
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
        let ran = ran.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    }

    /// The same, which must do its work and print JSON.
    async fn deployed(&self, index: u32, more: &[&str]) -> Value {
        let (code, out, err) = self.deploy(index, &[&["--json"], more].concat()).await;
        assert_eq!(code, Some(0), "{out} {err}");
        serde_json::from_str(&out).unwrap()
    }

    async fn code(&self, address: &Value) -> Bytes {
        let address = address.as_str().unwrap().parse().unwrap();
        self.rpc.code_at_head(address).await.unwrap()
    }

    async fn set_code(&self, address: &str, code: &Bytes) {
        let question =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "anvil_setCode", "params": [address, code] });
        let answer = reqwest::Client::new()
            .post(self.chain.url())
            .json(&question)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
    }
}

async fn is_deployed_once_and_found_again(network: Network) {
    let ground = Ground::on(network).await;
    let (code, out, err) = ground.deploy(0, &[]).await;
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(
        out.contains("deployed for") && err.contains("the escrow's address is 0x") && err.contains("Permit2"),
        "{out} {err}"
    );
    let rest = "[server]\nupstream = \"http://a\"\n[[route]]\npath = \"/\"\nfree = true\n";
    let config = Config::parse(Path::new("weir.toml"), &format!("{out}{rest}")).unwrap();
    assert_eq!(config.chain.token, ground.token);
    assert_eq!(config.chain.chain_id, Some(network.chain_id()));
    assert_eq!(config.chain.domain_name, network.domain_name());
    // The address was told before anything was sent.
    let escrow = config.chain.escrow.to_string();
    let told = err.find(&escrow).unwrap();
    assert!(told < err.find("deploying").unwrap(), "{err}");

    // Anybody who orders the same finds it.
    let again = ground.deployed(1, &[]).await;
    assert_eq!(again["escrow"], json!(config.chain.escrow));
    assert_eq!(again["gas_used"], Value::Null);
    assert_eq!(again["grace_period_seconds"], json!(900));
    let code = ground.code(&again["escrow"]).await;
    assert_eq!(again["code_hash"], json!(keccak256(code)));
    let (code, out, err) = ground.deploy(1, &[]).await;
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(
        out.contains("already deployed") && err.contains("nothing is sent"),
        "{out} {err}"
    );

    // Another salt makes another, with the same terms.
    let salt = B256::repeat_byte(5).to_string();
    let other = ground.deployed(1, &["--salt", &salt]).await;
    assert_ne!(other["escrow"], again["escrow"]);
    assert!(other["gas_used"].as_u64().unwrap() > 1_000_000, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escrow_is_deployed_once_and_found_again() {
    is_deployed_once_and_found_again(Network::Evm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escrow_is_deployed_once_and_found_again_on_tempo() {
    is_deployed_once_and_found_again(Network::Tempo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_code_at_the_address_is_refused() {
    let ground = Ground::on(Network::Evm).await;
    let deployed = ground.deployed(0, &[]).await;
    let escrow = deployed["escrow"].as_str().unwrap();
    let mut code = ground.code(&deployed["escrow"]).await.to_vec();
    // One bit of it, in the last immutable value or wherever it is.
    *code.last_mut().unwrap() ^= 1;
    ground.set_code(escrow, &code.into()).await;
    let (code, out, err) = ground.deploy(0, &[]).await;
    assert_eq!(code, Some(1), "{out} {err}");
    assert!(
        err.contains("do not use it") && !out.contains("[chain]"),
        "{out} {err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_without_the_proxy_is_told_and_a_plain_creation_works_there() {
    let ground = Ground::on(Network::Evm).await;
    ground
        .set_code(&DEPLOYMENT_PROXY.to_string(), &Bytes::new())
        .await;
    let (code, out, err) = ground.deploy(0, &[]).await;
    assert_eq!(code, Some(1), "{out} {err}");
    assert!(
        err.contains("no deployment proxy") && err.contains("--no-create2"),
        "{err}"
    );
    let first = ground.deployed(0, &["--no-create2"]).await;
    let second = ground.deployed(0, &["--no-create2"]).await;
    assert_ne!(first["escrow"], second["escrow"]);
    assert_eq!(
        second["code_hash"],
        json!(keccak256(ground.code(&second["escrow"]).await))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_constructors_reason_is_told() {
    let ground = Ground::on(Network::Evm).await;
    let nobody = format!("{}=1", Address::repeat_byte(7));
    for more in [&["--token", &nobody][..], &["--token", &nobody, "--no-create2"]] {
        let (code, out, err) = ground.deploy(0, more).await;
        assert_eq!(code, Some(1), "{out} {err}");
        assert!(err.contains("InvalidTokenCap"), "{err}");
    }
}
