//! `weir deploy`.

use super::Failure;
use super::pay::note;
use crate::config::RpcUrl;
use crate::keys::SecretKey;
use crate::table::Output;
use alloy_primitives::{Address, B256, keccak256};
use core::str::FromStr;
use core::time::Duration;
use serde::Serialize;
use std::path::PathBuf;
use tokio::time::Instant;
use weir_chain::deploy::{DEPLOYMENT_PROXY, EscrowPlan, create};
use weir_chain::escrow::CLOSE_GRACE_PERIOD_SECONDS;
use weir_chain::{Escrow, Rpc, SendFault, Sender};
use weir_core::Amount;
use weir_core::terms::{EVM_DOMAIN_NAME, RESERVE_DOMAIN_NAME, TEMPO_RESERVE};

/// The environment variable that holds the deployer's key when no file is named.
pub const KEY_VARIABLE: &str = "WEIR_DEPLOYER_KEY";
/// How long the deployment may wait for its block.
const INCLUSION_SECONDS_MAX: u64 = 300;
/// The salt when none is given: with it an escrow of the same terms has the same address for everybody.
const SALT: B256 = B256::ZERO;

const EXAMPLES: &str = "\
Examples:
  weir deploy --rpc-url http://127.0.0.1:8545 --key-file deployer-key --token 0xe7f1…0512=1000000000
  weir deploy --rpc-url $RPC --key-file deployer-key --token 0xA0b8…eB48=1000000000 --json
  weir deploy --rpc-url $RPC --key-file deployer-key --token 0xA0b8…eB48=1000000000 --no-create2";

/// Deploy the escrow contract
///
/// The contract has no owner and can't be changed: its domain name, its tokens and the most that one channel may hold of
/// each are for good. They, in the order given, the salt, and whether the chain has Permit2 at its usual address decide the
/// escrow's own (CREATE2). Where that escrow is already, nothing is sent. Either way its code, domain, grace period and
/// caps are verified, and the [chain] section for weir.toml is printed. The deployer pays the gas and has no right in it.
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
    /// What tells escrows of the same terms apart, 0x and 64 hexadecimal digits; default: zero
    #[arg(long, value_name = "HEX")]
    pub salt: Option<B256>,
    /// Create it without the deployment proxy, at an address that follows from the deployer's nonce; each run creates one
    #[arg(long, conflicts_with = "salt")]
    pub no_create2: bool,
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

/// What is to be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The EIP-712 domain name.
    pub domain_name: String,
    /// The tokens served.
    pub tokens: Vec<TokenCap>,
    /// What decides the address.
    pub place: Place,
}

/// What decides an escrow's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What is deployed, and this salt (CREATE2).
    Salt(B256),
    /// Who deploys it, and their nonce.
    Nonce,
}

impl Order {
    /// An order for the address that everybody gets who orders the same.
    pub fn new(domain_name: &str, tokens: &[TokenCap]) -> Self {
        Self {
            domain_name: domain_name.to_owned(),
            tokens: tokens.to_vec(),
            place: Place::Salt(SALT),
        }
    }
}

/// An escrow that is there and was verified.
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
    /// The Permit2 that it serves; zero for none.
    pub permit2: Address,
    /// keccak256 of its code, for payers who want exactly this one.
    pub code_hash: B256,
    /// What the deployment took; none when it was there already.
    pub gas_used: Option<u64>,
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

/// Deploys an escrow unless it is there already, and verifies it. `tell` hears what is going on.
///
/// # Errors
/// The deployment failed, or what is at the address is not what was ordered.
pub async fn deploy(sender: &Sender, order: &Order, tell: impl Fn(&str)) -> Result<Deployed, Failure> {
    let caps: Vec<(Address, Amount)> = order.tokens.iter().map(|row| (row.token, row.cap)).collect();
    let plan = EscrowPlan::draw(sender.rpc(), &order.domain_name, &caps)
        .await
        .map_err(Failure::failed)?;
    let (address, gas_used) = match order.place {
        Place::Salt(salt) => (plan.address(salt), create_at(sender, &plan, salt, &tell).await?),
        Place::Nonce => {
            tell(&waiting());
            let created = create(sender, &plan.plain(), soon()).await;
            let (address, landed) = created.map_err(Failure::failed)?;
            (address, Some(landed.gas_used))
        }
    };
    tell(&format!("verifying the escrow at {address}"));
    let code_hash = verify_code(sender.rpc(), &plan, address).await?;
    let escrow = Escrow::over(sender.rpc().clone(), address, &order.domain_name)
        .await
        .map_err(Failure::failed)?;
    verify_terms(&escrow, order).await?;
    Ok(Deployed {
        escrow: address,
        chain_id: escrow.domain().chain_id(),
        domain_name: order.domain_name.clone(),
        grace_period_seconds: escrow.grace_period_seconds(),
        tokens: order.tokens.clone(),
        permit2: plan.permit2(),
        code_hash,
        gas_used,
    })
}

/// Creates the escrow through the deployment proxy and gives the gas that it took; `None` when it was there already.
async fn create_at(
    sender: &Sender,
    plan: &EscrowPlan,
    salt: B256,
    tell: &impl Fn(&str),
) -> Result<Option<u64>, Failure> {
    let rpc = sender.rpc();
    let address = plan.address(salt);
    tell(&format!(
        "the escrow's address is {address}, whoever deploys it (salt {salt}, {})",
        permit2_words(plan.permit2())
    ));
    if has_code(rpc, address).await? {
        tell("it is already deployed; nothing is sent");
        return Ok(None);
    }
    if !has_code(rpc, DEPLOYMENT_PROXY).await? {
        return Err(Failure::failed(format_args!(
            "this chain has no deployment proxy at {DEPLOYMENT_PROXY}, which CREATE2 needs; --no-create2 deploys at an \
             address that follows from the deployer's nonce"
        )));
    }
    // The proxy keeps the constructor's reason to itself, so the constructor is asked first.
    plan.code_at(rpc, address).await.map_err(Failure::failed)?;
    tell(&waiting());
    match sender.land(&plan.through_proxy(salt), soon()).await {
        Ok(landed) => Ok(Some(landed.gas_used)),
        Err(SendFault::Unknown(hash)) => Err(Failure::failed(format_args!(
            "transaction {hash} was sent and is in no block after {INCLUSION_SECONDS_MAX} s; run the same command later: \
             it finds the escrow once it is there"
        ))),
        // Somebody else may have deployed the same meanwhile.
        Err(_) if has_code(rpc, address).await? => Ok(None),
        Err(fault) => Err(Failure::failed(fault)),
    }
}

async fn has_code(rpc: &Rpc, address: Address) -> Result<bool, Failure> {
    let code = rpc.code_at_head(address).await.map_err(Failure::failed)?;
    Ok(!code.is_empty())
}

/// The Permit2 that an escrow serves.
fn permit2_words(permit2: Address) -> String {
    if permit2.is_zero() {
        "no Permit2".to_owned()
    } else {
        format!("Permit2 {permit2}")
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(INCLUSION_SECONDS_MAX)
}

fn waiting() -> String {
    format!("deploying; the transaction may take up to {INCLUSION_SECONDS_MAX} s")
}

/// Compares what is at the address with what the constructor makes there, immutable values included.
async fn verify_code(rpc: &Rpc, plan: &EscrowPlan, address: Address) -> Result<B256, Failure> {
    let expected = plan.code_at(rpc, address).await.map_err(Failure::failed)?;
    let found = rpc.code_at_head(address).await.map_err(Failure::failed)?;
    let (expected, found) = (keccak256(expected), keccak256(found));
    if expected == found {
        Ok(found)
    } else {
        Err(Failure::failed(format_args!(
            "the code at {address} has the hash {found}, and this escrow's has {expected}: do not use it"
        )))
    }
}

async fn verify_terms(escrow: &Escrow, order: &Order) -> Result<(), Failure> {
    let address = escrow.address();
    let grace = escrow.grace_period_seconds();
    if grace != CLOSE_GRACE_PERIOD_SECONDS {
        return Err(Failure::failed(format_args!(
            "the escrow at {address} has a grace period of {grace} s, not {CLOSE_GRACE_PERIOD_SECONDS} s"
        )));
    }
    let listed = escrow.listed_tokens().await.map_err(Failure::failed)?;
    if !listed.iter().eq(order.tokens.iter().map(|row| &row.token)) {
        return Err(Failure::failed(format_args!(
            "the escrow at {address} serves {listed:?}, not what was ordered"
        )));
    }
    for TokenCap { token, cap } in &order.tokens {
        let listed = escrow.max_deposit(*token).await.map_err(Failure::failed)?;
        if listed.base_units() != cap.base_units() {
            return Err(Failure::failed(format_args!(
                "the escrow at {address} caps {token} at {listed}, not {cap}"
            )));
        }
    }
    Ok(())
}

impl Deploy {
    /// Runs the command.
    ///
    /// # Errors
    /// The key or the endpoint can't be used, or the deployment failed.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        if self.domain_name == RESERVE_DOMAIN_NAME {
            return Err(Failure::Usage(format!(
                "--domain-name {RESERVE_DOMAIN_NAME:?} is of the channel reserve that Tempo has of its own, and nothing is \
                 deployed for it: set escrow = \"{TEMPO_RESERVE}\" in weir.toml"
            )));
        }
        let key = match &self.key_file {
            Some(file) => SecretKey::from_file(file),
            None => SecretKey::from_env(KEY_VARIABLE),
        };
        let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
        let rpc = Rpc::new(self.rpc_url.expose().as_str()).map_err(Failure::failed)?;
        let sender = Sender::connect(rpc, key.signer().clone())
            .await
            .map_err(Failure::failed)?;
        let order = Order {
            domain_name: self.domain_name,
            tokens: self.tokens,
            place: if self.no_create2 {
                Place::Nonce
            } else {
                Place::Salt(self.salt.unwrap_or(SALT))
            },
        };
        let tell = |what: &str| {
            if !output.json {
                note(what);
            }
        };
        let deployed = deploy(&sender, &order, tell).await?;
        if output.json {
            output.json(&deployed);
        } else {
            output.text(&told(&deployed, self.rpc_url.expose().as_str()));
        }
        Ok(())
    }
}

/// What is printed for people: a part of `weir.toml`, with what else there is to know as its comments.
fn told(deployed: &Deployed, rpc_url: &str) -> String {
    let Deployed {
        escrow,
        chain_id,
        grace_period_seconds,
        code_hash,
        permit2,
        ..
    } = deployed;
    let permit2 = permit2_words(*permit2);
    let how = match deployed.gas_used {
        Some(gas) => format!("deployed for {gas} gas"),
        None => "already deployed".to_owned(),
    };
    format!(
        "# Escrow {escrow} on chain {chain_id}, {permit2}: {how}; code, domain, grace period and caps verified.\n\
         # A payer's close waits {grace_period_seconds} s. Payers who want exactly this code: --escrow-code-hash {code_hash}\n{}",
        deployed.chain_section(rpc_url)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
