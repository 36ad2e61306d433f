//! Puts the escrow and the development token on a chain, from the published bytecode.

use crate::bindings::{EscrowCap, IToken, constructEscrowCall};
use crate::calls::Call;
use crate::sender::{SendFault, Sender};
use alloy::primitives::{Address, Bytes, U256, address, hex};
use alloy::sol_types::SolCall;
use serde::Deserialize;
use tokio::time::Instant;
use weir_core::Amount;

const ESCROW_ARTIFACT: &str = include_str!("../../../contracts/abi/ChannelEscrow.json");
const DEV_TOKEN_ARTIFACT: &str = include_str!("../../../contracts/abi/DevToken.json");

/// Where Permit2 is on most chains. Source: <https://github.com/Uniswap/permit2>.
pub const CANONICAL_PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");

#[derive(Deserialize)]
struct Artifact {
    bytecode: String,
}

fn creation_code(artifact: &str) -> Result<Vec<u8>, SendFault> {
    let broken = |error: String| SendFault::Envelope(format!("a published artifact is broken: {error}"));
    let artifact: Artifact = serde_json::from_str(artifact).map_err(|error| broken(error.to_string()))?;
    hex::decode(artifact.bytecode).map_err(|error| broken(error.to_string()))
}

/// The creation of an escrow that signs under `domain_name` and serves these tokens, each up to its cap per channel.
/// `permit2` is the chain's Permit2, or zero for an escrow without the functions that need one.
///
/// # Errors
/// [`SendFault::Envelope`] when the published bytecode is broken.
pub fn escrow_creation(
    domain_name: &str,
    caps: &[(Address, Amount)],
    permit2: Address,
) -> Result<Call, SendFault> {
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
    Ok(Call {
        to: None,
        input: code.into(),
    })
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

async fn create(sender: &Sender, creation: &Call, deadline: Instant) -> Result<Address, SendFault> {
    let landed = sender.land(creation, deadline).await?;
    landed
        .contract
        .ok_or_else(|| SendFault::Envelope("a creation's receipt names no contract".to_owned()))
}

/// Deploys an escrow and returns its address. It serves Permit2 where the chain has it at [`CANONICAL_PERMIT2`].
///
/// # Errors
/// As [`Sender::land`].
pub async fn deploy_escrow(
    sender: &Sender,
    domain_name: &str,
    caps: &[(Address, Amount)],
    deadline: Instant,
) -> Result<Address, SendFault> {
    let permit2 = match sender.rpc().code_at_head(CANONICAL_PERMIT2).await? {
        code if code.is_empty() => Address::ZERO,
        _ => CANONICAL_PERMIT2,
    };
    create(sender, &escrow_creation(domain_name, caps, permit2)?, deadline).await
}

/// Deploys the worthless development token and returns its address.
///
/// # Errors
/// As [`Sender::land`].
pub async fn deploy_dev_token(sender: &Sender, deadline: Instant) -> Result<Address, SendFault> {
    create(sender, &dev_token_creation()?, deadline).await
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
