//! Puts the escrow and the development token on a chain, from the published bytecode.

use crate::bindings::{EscrowCap, IToken, constructEscrowCall};
use crate::calls::Call;
use crate::rpc::Rpc;
use crate::sender::{Landed, SendFault, Sender};
use alloy::primitives::{Address, B256, Bytes, U256, address, hex, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::rpc::types::state::{AccountOverride, StateOverride};
use alloy::sol_types::SolCall;
use serde::Deserialize;
use tokio::time::Instant;
use weir_core::Amount;

const ESCROW_ARTIFACT: &str = include_str!("../../../contracts/abi/ChannelEscrow.json");
const DEV_TOKEN_ARTIFACT: &str = include_str!("../../../contracts/abi/DevToken.json");

/// Where Permit2 is on most chains. Source: <https://github.com/Uniswap/permit2>.
pub const CANONICAL_PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");
/// Where the proxy is that creates with CREATE2 what it is sent: 32 bytes of salt, then the creation code.
/// Source: <https://github.com/Arachnid/deterministic-deployment-proxy>.
pub const DEPLOYMENT_PROXY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

#[derive(Deserialize)]
struct Artifact {
    bytecode: String,
}

fn creation_code(artifact: &str) -> Result<Vec<u8>, SendFault> {
    let broken = |error: String| SendFault::Envelope(format!("a published artifact is broken: {error}"));
    let artifact: Artifact = serde_json::from_str(artifact).map_err(|error| broken(error.to_string()))?;
    hex::decode(artifact.bytecode).map_err(|error| broken(error.to_string()))
}

/// An escrow that is to be created, or has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscrowPlan {
    creation_code: Bytes,
    permit2: Address,
}

impl EscrowPlan {
    /// An escrow that signs under `domain_name` and serves these tokens, each up to its cap per channel. It serves
    /// Permit2 where the chain has it at [`CANONICAL_PERMIT2`].
    ///
    /// # Errors
    /// [`SendFault::Chain`], or [`SendFault::Envelope`] when the published bytecode is broken.
    pub async fn draw(rpc: &Rpc, domain_name: &str, caps: &[(Address, Amount)]) -> Result<Self, SendFault> {
        let permit2 = match rpc.code_at_head(CANONICAL_PERMIT2).await? {
            code if code.is_empty() => Address::ZERO,
            _ => CANONICAL_PERMIT2,
        };
        let mut code = creation_code(ESCROW_ARTIFACT)?;
        let arguments = constructEscrowCall {
            name: domain_name.to_owned(),
            caps: caps
                .iter()
                .map(|(token, cap)| EscrowCap {
                    token: *token,
                    maxDeposit: cap.base_units(),
                })
                .collect(),
            permit2,
        };
        // A constructor's arguments are encoded like a call's, without the selector.
        code.extend_from_slice(&arguments.abi_encode()[4..]);
        Ok(Self {
            creation_code: code.into(),
            permit2,
        })
    }

    /// The Permit2 that it serves; zero when the chain has none.
    pub const fn permit2(&self) -> Address {
        self.permit2
    }

    /// Where [`DEPLOYMENT_PROXY`] puts it with this salt, whoever pays for it: at one address on all chains that have
    /// Permit2 where [`Self::draw`] looks for it, and at another on all that do not.
    pub fn address(&self, salt: B256) -> Address {
        DEPLOYMENT_PROXY.create2(salt, keccak256(&self.creation_code))
    }

    /// Its creation through [`DEPLOYMENT_PROXY`].
    pub fn through_proxy(&self, salt: B256) -> Call {
        Call {
            to: Some(DEPLOYMENT_PROXY),
            input: [salt.as_slice(), &self.creation_code].concat().into(),
        }
    }

    /// Its creation at an address that follows from its creator's nonce.
    pub fn plain(&self) -> Call {
        Call {
            to: None,
            input: self.creation_code.clone(),
        }
    }

    /// The code that it has at `address`, immutable values included: the constructor is run there, on a state in which
    /// that account is empty. Nothing is sent.
    ///
    /// # Errors
    /// [`SendFault::WouldRevert`] with the constructor's reason, or [`SendFault::Chain`].
    pub async fn code_at(&self, rpc: &Rpc, address: Address) -> Result<Bytes, SendFault> {
        let blank = AccountOverride::default()
            .with_code(self.creation_code.clone())
            .with_state(core::iter::empty());
        let request = TransactionRequest::default().to(address);
        let doing = "to try the escrow's constructor";
        let answer = rpc
            .provider()
            .call(request.into())
            .overrides(StateOverride::from_iter([(address, blank)]))
            .await;
        match answer {
            Ok(code) if code.is_empty() => Err(SendFault::Refused {
                doing,
                message: "it does not take the state overrides of eth_call; use another RPC endpoint"
                    .to_owned(),
            }),
            Ok(code) => Ok(code),
            Err(error) => Err(SendFault::of_execution(doing, error)),
        }
    }
}

/// The creation of the worthless development token.
///
/// # Errors
/// [`SendFault::Envelope`] when the published bytecode is broken.
pub fn dev_token_creation() -> Result<Call, SendFault> {
    Ok(Call {
        to: None,
        input: Bytes::from(creation_code(DEV_TOKEN_ARTIFACT)?),
    })
}

/// Creates a contract and returns its address.
///
/// # Errors
/// As [`Sender::land`].
pub async fn create(
    sender: &Sender,
    creation: &Call,
    deadline: Instant,
) -> Result<(Address, Landed), SendFault> {
    let landed = sender.land(creation, deadline).await?;
    match landed.contract {
        Some(address) => Ok((address, landed)),
        None => Err(SendFault::Envelope(
            "a creation's receipt names no contract".to_owned(),
        )),
    }
}

/// Deploys an escrow by a plain creation and returns its address; see [`EscrowPlan`].
///
/// # Errors
/// As [`Sender::land`].
pub async fn deploy_escrow(
    sender: &Sender,
    domain_name: &str,
    caps: &[(Address, Amount)],
    deadline: Instant,
) -> Result<Address, SendFault> {
    let plan = EscrowPlan::draw(sender.rpc(), domain_name, caps).await?;
    Ok(create(sender, &plan.plain(), deadline).await?.0)
}

/// Deploys the worthless development token and returns its address.
///
/// # Errors
/// As [`Sender::land`].
pub async fn deploy_dev_token(sender: &Sender, deadline: Instant) -> Result<Address, SendFault> {
    Ok(create(sender, &dev_token_creation()?, deadline).await?.0)
}

/// Mints development tokens to anybody.
pub fn mint(token: Address, to: Address, amount: Amount) -> Call {
    let call = IToken::mintCall {
        to,
        value: U256::from(amount.base_units()),
    };
    Call {
        to: Some(token),
        input: call.abi_encode().into(),
    }
}
