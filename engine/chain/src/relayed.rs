//! What the escrow lets anybody send for a payer that signed: which ways there are for a token, and the calls.

use crate::bindings::{IEip3009, IPermit2, IRelayedEscrow};
use crate::calls::{Call, EscrowCalls};
use crate::escrow::Escrow;
use crate::fault::ChainFault;
use crate::rpc::Rpc;
use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use alloy::transports::RpcError;
use weir_core::pull::{Leave, Pull, Purpose, permit2_separator};
use weir_core::{ChannelId, Signature, Terms};

/// The ways in which a payer's signature moves a token: into an escrow, or to whom it pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullPaths {
    /// The token's EIP-712 domain separator, if it has EIP-3009 in the form that is called.
    pub eip3009: Option<B256>,
    /// The Permit2 that is called.
    pub permit2: Option<Permit2>,
}

/// A Permit2 and its EIP-712 domain separator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit2 {
    /// Where it is.
    pub address: Address,
    /// Under which domain its permits are signed.
    pub separator: B256,
}

impl PullPaths {
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.eip3009.is_none() && self.permit2.is_none()
    }

    /// The domain under which a signature for this leave is made, where there is such a way.
    pub fn separator_of(&self, leave: &Leave) -> Option<B256> {
        match leave {
            Leave::Eip3009 { .. } => self.eip3009,
            Leave::Permit2 { .. } => self.permit2.map(|permit2| permit2.separator),
        }
    }
}

impl Escrow {
    /// Which ways of pulling `token` this escrow and the token itself really have.
    ///
    /// # Errors
    /// [`ChainFault`] when the chain cannot be asked; a contract that knows no such function is an answer.
    pub async fn pull_paths(&self, token: Address) -> Result<PullPaths, ChainFault> {
        let Some(served) = try_view(self.rpc(), self.address(), &IRelayedEscrow::relayedPathsCall {}).await?
        else {
            return Ok(PullPaths::default());
        };
        let mut paths = PullPaths::default();
        if served.withAuthorization && self.token_takes_packed_signatures(token).await? {
            paths.eip3009 = try_view(self.rpc(), token, &IEip3009::DOMAIN_SEPARATORCall {}).await?;
        }
        if served.withPermit2 {
            let address = try_view(self.rpc(), self.address(), &IRelayedEscrow::PERMIT2Call {}).await?;
            paths.permit2 = address.filter(|at| !at.is_zero()).map(|address| Permit2 {
                address,
                separator: permit2_separator(self.domain().chain_id(), address),
            });
        }
        Ok(paths)
    }

    /// Whether the token has the `bytes` form of `receiveWithAuthorization`, the only one that the escrow calls.
    async fn token_takes_packed_signatures(&self, token: Address) -> Result<bool, ChainFault> {
        let nonsense = IEip3009::receiveWithAuthorizationCall {
            from: Address::with_last_byte(1),
            to: self.address(),
            value: U256::ZERO,
            validAfter: U256::ZERO,
            validBefore: U256::ZERO,
            nonce: B256::ZERO,
            signature: Bytes::from_static(&[0; 65]),
        };
        refuses_in_words(self, token, &nonsense).await
    }

    /// Whether what a payer signed was used up, or taken back, on the chain's newest state.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn is_used_up(&self, pull: &Pull) -> Result<bool, ChainFault> {
        match pull.leave {
            Leave::Eip3009 { .. } => {
                let nonce = (pull.from, pull.bound_nonce());
                self.rpc()
                    .is_authorization_used(pull.token(), nonce, BlockId::latest())
                    .await
            }
            Leave::Permit2 { nonce, .. } => {
                let permit2 = try_view(self.rpc(), self.address(), &IRelayedEscrow::PERMIT2Call {}).await?;
                let permit2 = permit2.unwrap_or_default();
                let nonce = (pull.from, nonce);
                self.rpc().is_permit_used(permit2, nonce, BlockId::latest()).await
            }
        }
    }
}

impl Rpc {
    /// Whether an account's EIP-3009 nonce was used, or taken back, on this state.
    pub(crate) async fn is_authorization_used(
        &self,
        token: Address,
        (authorizer, nonce): (Address, B256),
        at: BlockId,
    ) -> Result<bool, ChainFault> {
        let call = IEip3009::authorizationStateCall { authorizer, nonce };
        let used = self.call_at(token, &call, at).await?;
        Ok(used.unwrap_or(false))
    }

    /// Whether an account's nonce of Permit2's was used, or taken back, on this state.
    pub(crate) async fn is_permit_used(
        &self,
        permit2: Address,
        (owner, nonce): (Address, U256),
        at: BlockId,
    ) -> Result<bool, ChainFault> {
        let call = IPermit2::nonceBitmapCall {
            owner,
            word: nonce >> 8,
        };
        let bits = self.call_at(permit2, &call, at).await?;
        Ok(bits.unwrap_or_default().bit(nonce.as_limbs()[0] as usize & 0xff))
    }
}

/// Whether a contract has a function: one that is not there reverts without a word; one that is there says what is wrong
/// with a nonsense.
pub(crate) async fn refuses_in_words(
    escrow: &Escrow,
    to: Address,
    nonsense: &impl SolCall,
) -> Result<bool, ChainFault> {
    let request = TransactionRequest::default()
        .from(escrow.address())
        .to(to)
        .input(nonsense.abi_encode().into());
    match escrow.rpc().provider().call(request.into()).await {
        Ok(_) => Ok(false),
        Err(RpcError::ErrorResp(error)) => Ok(error.as_revert_data().is_some_and(|data| !data.is_empty())),
        Err(error) => Err(ChainFault::rpc("asking the token for EIP-3009")(error)),
    }
}

/// A view's answer; `None` where the contract has no such function, or there is no contract.
pub(crate) async fn try_view<C: SolCall>(
    rpc: &Rpc,
    to: Address,
    call: &C,
) -> Result<Option<C::Return>, ChainFault> {
    match rpc.call_at(to, call, BlockId::latest()).await {
        Err(ChainFault::Rpc { answered: true, .. } | ChainFault::Undecodable { .. }) => Ok(None),
        answer => answer,
    }
}

impl EscrowCalls {
    /// Pulls a deposit that a payer signed for, whoever sends it.
    pub fn pull(&self, pull: &Pull, signature: &Signature) -> Call {
        let signature = Bytes::copy_from_slice(signature.as_bytes());
        match &pull.purpose {
            Purpose::Open { terms, salt } => self.pull_open(pull, (terms, *salt), signature),
            Purpose::TopUp { channel, salt, .. } => self.pull_top_up(pull, (*channel, *salt), signature),
        }
    }

    fn pull_open(&self, pull: &Pull, (terms, salt): (&Terms, B256), signature: Bytes) -> Call {
        let deposit = pull.amount.base_units();
        match pull.leave {
            Leave::Eip3009 {
                valid_after,
                valid_before,
            } => self.call(&IRelayedEscrow::openWithAuthorizationCall {
                payee: terms.payee,
                token: terms.token,
                deposit,
                salt,
                authorizedSigner: terms.authorized_signer,
                from: pull.from,
                validAfter: valid_after,
                validBefore: valid_before,
                nonce: pull.bound_nonce(),
                signature,
            }),
            Leave::Permit2 { nonce, deadline } => self.call(&IRelayedEscrow::openWithPermit2Call {
                payee: terms.payee,
                token: terms.token,
                deposit,
                salt,
                authorizedSigner: terms.authorized_signer,
                from: pull.from,
                nonce,
                deadline,
                signature,
            }),
        }
    }

    fn pull_top_up(&self, pull: &Pull, (channel, salt): (ChannelId, B256), signature: Bytes) -> Call {
        let additional = pull.amount.base_units();
        match pull.leave {
            Leave::Eip3009 {
                valid_after,
                valid_before,
            } => self.call(&IRelayedEscrow::topUpWithAuthorizationCall {
                channelId: channel.0,
                additionalDeposit: additional,
                from: pull.from,
                topUpSalt: salt,
                validAfter: valid_after,
                validBefore: valid_before,
                nonce: pull.bound_nonce(),
                signature,
            }),
            Leave::Permit2 { nonce, deadline } => self.call(&IRelayedEscrow::topUpWithPermit2Call {
                channelId: channel.0,
                additionalDeposit: additional,
                from: pull.from,
                nonce,
                deadline,
                signature,
            }),
        }
    }
}

#[cfg(test)]
#[path = "relayed_tests.rs"]
mod tests;
