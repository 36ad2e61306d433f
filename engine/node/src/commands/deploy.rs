//! `weir deploy`.

use super::Failure;
use crate::config::RpcUrl;
use crate::keys::SecretKey;
use crate::table::Output;
use alloy_primitives::Address;
use core::str::FromStr;
use core::time::Duration;
use serde::Serialize;
use std::path::PathBuf;
use tokio::time::Instant;
use weir_chain::deploy::deploy_escrow;
use weir_chain::{Escrow, Rpc, Sender};
use weir_core::Amount;
use weir_core::terms::EVM_DOMAIN_NAME;

/// The environment variable that holds the deployer's key when no file is named.
pub const KEY_VARIABLE: &str = "WEIR_DEPLOYER_KEY";
/// How long the deployment may wait for its block.
const INCLUSION_SECONDS_MAX: u64 = 300;

const EXAMPLES: &str = "\
Examples:
  weir deploy --rpc-url http://127.0.0.1:8545 --key-file deployer-key --token 0xe7f1…0512=1000000000
  weir deploy --rpc-url $RPC --key-file deployer-key --token 0xA0b8…eB48=1000000000 --json";

/// Deploy the escrow contract
///
/// The contract has no owner and can't be changed: its domain name, its tokens and the most that
/// one channel may hold of each are for good. Afterwards it is read back and checked, and the
/// [chain] section for weir.toml is printed. The deployer pays the gas and has no right in it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Deploy {
    /// The chain's RPC
    #[arg(long, value_name = "URL")]
    pub rpc_url: RpcUrl,
    /// The deployer's private key, as hexadecimal digits, mode 0600; default: the environment's WEIR_DEPLOYER_KEY
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A token that is served, and the most that one channel may hold of it, in base units; may be repeated
    #[arg(long = "token", value_name = "ADDRESS=CAP", required = true)]
    pub tokens: Vec<TokenCap>,
    /// The EIP-712 domain name; "Tempo Stream Channel" for Tempo v1 clients
    #[arg(long, value_name = "NAME", default_value = EVM_DOMAIN_NAME)]
    pub domain_name: String,
}

/// A token and the most that one channel may hold of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TokenCap {
    /// The token.
    pub token: Address,
    /// Base units, never zero.
    pub cap: Amount,
}

impl FromStr for TokenCap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (token, cap) = text
            .split_once('=')
            .ok_or("is not ADDRESS=CAP; a channel's cap is for good, so name it")?;
        let token = token
            .parse()
            .map_err(|_| format!("{token:?} is not an address"))?;
        let cap: Amount = cap.parse().map_err(|error| format!("{cap:?}: {error}"))?;
        if cap.is_zero() {
            Err("a cap of zero serves nobody".to_owned())
        } else {
            Ok(Self { token, cap })
        }
    }
}

/// An escrow that was deployed and read back.
#[derive(Debug, Clone, Serialize)]
pub struct Deployed {
    /// Where it is.
    pub escrow: Address,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The EIP-712 domain name.
    pub domain_name: String,
    /// How long a payer's close waits for the payee.
    pub grace_period_seconds: u64,
    /// The tokens served.
    pub tokens: Vec<TokenCap>,
}

impl Deployed {
    /// The `[chain]` section for `weir.toml`, with the first token.
    pub fn chain_section(&self, rpc_url: &str) -> String {
        let token = self.tokens.first().map(|row| row.token).unwrap_or_default();
        format!(
            "[chain]\nrpc_url = {rpc_url:?}\nchain_id = {}\nescrow = \"{}\"\ntoken = \"{token}\"\ndomain_name = {:?}\n",
            self.chain_id, self.escrow, self.domain_name
        )
    }
}

/// Deploys an escrow, reads it back, and checks what it says of itself.
///
/// # Errors
/// The deployment failed, or what is at its address is not what was asked for.
pub async fn deploy(sender: &Sender, domain_name: &str, tokens: &[TokenCap]) -> Result<Deployed, Failure> {
    let caps: Vec<(Address, Amount)> = tokens.iter().map(|row| (row.token, row.cap)).collect();
    let deadline = Instant::now() + Duration::from_secs(INCLUSION_SECONDS_MAX);
    let address = deploy_escrow(sender, domain_name, &caps, deadline)
        .await
        .map_err(Failure::failed)?;
    let escrow = Escrow::over(sender.rpc().clone(), address, domain_name)
        .await
        .map_err(Failure::failed)?;
    for row in tokens {
        let listed = escrow.max_deposit(row.token).await.map_err(Failure::failed)?;
        if listed.base_units() != row.cap.base_units() {
            let TokenCap { token, cap } = row;
            return Err(Failure::failed(format_args!(
                "the escrow at {address} caps {token} at {listed}, not {cap}"
            )));
        }
    }
    Ok(Deployed {
        escrow: address,
        chain_id: escrow.domain().chain_id(),
        domain_name: domain_name.to_owned(),
        grace_period_seconds: escrow.grace_period_seconds(),
        tokens: tokens.to_vec(),
    })
}

impl Deploy {
    /// Runs the command.
    ///
    /// # Errors
    /// The key or the endpoint can't be used, or the deployment failed.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let key = match &self.key_file {
            Some(file) => SecretKey::from_file(file),
            None => SecretKey::from_env(KEY_VARIABLE),
        };
        let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
        let rpc = Rpc::new(self.rpc_url.expose().as_str()).map_err(Failure::failed)?;
        let sender = Sender::connect(rpc, key.signer().clone())
            .await
            .map_err(Failure::failed)?;
        let deployed = deploy(&sender, &self.domain_name, &self.tokens).await?;
        if output.json {
            output.json(&deployed);
            return Ok(());
        }
        let Deployed {
            escrow,
            chain_id,
            grace_period_seconds,
            ..
        } = &deployed;
        output.text(&format!(
            "# Escrow {escrow} on chain {chain_id}; a payer's close waits {grace_period_seconds} s.\n{}",
            deployed.chain_section(self.rpc_url.expose().as_str())
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::dev::accounts::account;
    use crate::dev::anvil::{Anvil, Network, Options};
    use std::path::Path;
    use weir_chain::deploy::deploy_dev_token;

    #[test]
    fn a_token_comes_with_its_cap() {
        let token = "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512";
        let row: TokenCap = format!("{token}=1000").parse().unwrap();
        assert_eq!(row.cap, Amount::new(1000));
        for bad in [
            token,
            "",
            "=",
            "0x12=5",
            &format!("{token}="),
            &format!("{token}=0"),
            &format!("{token}=1.5"),
        ] {
            assert!(bad.parse::<TokenCap>().is_err(), "{bad:?}");
        }
    }

    async fn deploys_on(network: Network, domain_name: &str) {
        let chain = Anvil::start(Options {
            network,
            ..Options::default()
        })
        .await
        .unwrap();
        let rpc = Rpc::new(chain.url()).unwrap();
        let sender = Sender::connect(rpc, account(0).unwrap().signer().clone())
            .await
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let token = deploy_dev_token(&sender, deadline).await.unwrap();
        let tokens = [TokenCap {
            token,
            cap: Amount::new(5_000_000),
        }];
        let deployed = deploy(&sender, domain_name, &tokens).await.unwrap();
        assert_eq!(deployed.grace_period_seconds, 900);

        let rest = "[server]\nupstream = \"http://a\"\n[[route]]\npath = \"/\"\nfree = true\n";
        let text = format!("{}{rest}", deployed.chain_section(chain.url()));
        let config = Config::parse(Path::new("weir.toml"), &text).unwrap();
        assert_eq!(config.chain.escrow, deployed.escrow);
        assert_eq!(config.chain.token, token);
        assert_eq!(config.chain.chain_id, Some(network.chain_id()));
        assert_eq!(config.chain.domain_name, domain_name);

        let nobody = [TokenCap {
            token: Address::repeat_byte(7),
            cap: Amount::new(1),
        }];
        assert!(matches!(
            deploy(&sender, domain_name, &nobody).await,
            Err(Failure::Failed(_))
        ));
    }

    #[tokio::test]
    async fn an_escrow_is_deployed_and_read_back() {
        deploys_on(Network::Evm, EVM_DOMAIN_NAME).await;
    }

    #[tokio::test]
    async fn an_escrow_is_deployed_on_tempo() {
        deploys_on(Network::Tempo, weir_core::terms::TEMPO_DOMAIN_NAME).await;
    }
}
