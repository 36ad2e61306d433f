//! What anybody may send for a payer that signed for one payment: which ways there are for a token, the calls, and what
//! became of a signature on the chain.

use crate::bindings::IEip3009::{AuthorizationCanceled, AuthorizationUsed};
use crate::bindings::{IEip3009, IPermit2};
use crate::calls::Call;
use crate::deploy::CANONICAL_PERMIT2;
use crate::escrow::Escrow;
use crate::fault::ChainFault;
use crate::relayed::{Permit2, PullPaths, refuses_in_words, try_view};
use crate::rpc::LOG_RANGE_BLOCKS_MAX;
use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use weir_core::draw::Spelling;
use weir_core::pull::permit2_separator;
use weir_core::{Draw, Leave, Signature, UnixSeconds};

/// Most queries for the transaction that used an authorisation, of [`LOG_RANGE_BLOCKS_MAX`] blocks each.
const SEARCHES_MAX: usize = 16;

/// What became of an authorisation that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// This transaction used it, whoever sent it.
    By(B256),
    /// Its payer took it back.
    TakenBack,
    /// The node that was asked knows no event of it.
    Unknown,
}

impl Escrow {
    /// Which ways of paying by a signature `token` and the chain really have. The escrow has no part in them.
    ///
    /// # Errors
    /// [`ChainFault`] when the chain cannot be asked; a contract that knows no such function is an answer.
    pub async fn draw_paths(&self, token: Address) -> Result<PullPaths, ChainFault> {
        let mut paths = PullPaths::default();
        let nonsense = IEip3009::transferWithAuthorizationCall {
            from: Address::with_last_byte(1),
            to: self.address(),
            value: U256::ZERO,
            validAfter: U256::ZERO,
            validBefore: U256::ZERO,
            nonce: B256::ZERO,
            v: 27,
            r: B256::ZERO,
            s: B256::ZERO,
        };
        if refuses_in_words(self, token, &nonsense).await? {
            paths.eip3009 = try_view(self.rpc(), token, &IEip3009::DOMAIN_SEPARATORCall {}).await?;
        }
        if !self.rpc().code_at_head(CANONICAL_PERMIT2).await?.is_empty() {
            paths.permit2 = Some(Permit2 {
                address: CANONICAL_PERMIT2,
                separator: permit2_separator(self.domain().chain_id(), CANONICAL_PERMIT2),
            });
        }
        Ok(paths)
    }

    /// Whether what a payer signed was used up, or taken back, on the chain's newest state.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn is_drawn(&self, draw: &Draw) -> Result<bool, ChainFault> {
        self.is_drawn_at(draw, BlockId::latest()).await
    }

    /// The same once what waits for a block is in one, as far as the node knows of it.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn is_being_drawn(&self, draw: &Draw) -> Result<bool, ChainFault> {
        self.is_drawn_at(draw, BlockId::pending()).await
    }

    async fn is_drawn_at(&self, draw: &Draw, at: BlockId) -> Result<bool, ChainFault> {
        let rpc = self.rpc();
        match draw.leave {
            Leave::Eip3009 { .. } => {
                let nonce = (draw.from, draw.binding);
                rpc.is_authorization_used(draw.token, nonce, at).await
            }
            Leave::Permit2 { nonce, .. } => {
                let nonce = (draw.from, nonce);
                rpc.is_permit_used(CANONICAL_PERMIT2, nonce, at).await
            }
        }
    }

    /// What used an authorisation up, by the token's own events; looked for from now back to `since`, before which nobody
    /// could have signed it. Permit2 tells no events, and lets nobody but us send a permit.
    ///
    /// # Errors
    /// [`ChainFault::Rpc`].
    pub async fn drawn(&self, draw: &Draw, since: UnixSeconds) -> Result<Drawn, ChainFault> {
        if matches!(draw.leave, Leave::Permit2 { .. }) {
            return Ok(Drawn::Unknown);
        }
        let events = vec![
            AuthorizationUsed::SIGNATURE_HASH,
            AuthorizationCanceled::SIGNATURE_HASH,
        ];
        let filter = Filter::new()
            .address(draw.token)
            .event_signature(events)
            .topic1(draw.from.into_word())
            .topic2(draw.binding);
        let mut last = self.rpc().head().await?.number;
        for _ in 0..SEARCHES_MAX {
            let first = last.saturating_sub(LOG_RANGE_BLOCKS_MAX - 1);
            let logs = self.rpc().logs_between(filter.clone(), first, last).await?;
            if let Some(log) = logs.iter().find(|log| !log.removed) {
                let took = log.topic0() == Some(&AuthorizationUsed::SIGNATURE_HASH);
                let by = log.transaction_hash.filter(|_| took);
                return Ok(by.map_or(Drawn::TakenBack, Drawn::By));
            }
            if first == 0 || self.rpc().header_at(first).await?.block.timestamp < since {
                break;
            }
            last = first - 1;
        }
        Ok(Drawn::Unknown)
    }
}

/// Makes a payment that a payer signed for. `spelling` is the one that was signed.
pub fn draw_call(draw: &Draw, signature: &Signature, spelling: Spelling) -> Call {
    let bytes = signature.as_bytes();
    let value = U256::from(draw.amount.base_units());
    match draw.leave {
        Leave::Eip3009 {
            valid_after,
            valid_before,
        } => {
            let (r, rest) = bytes.split_at(32);
            let (s, v) = rest.split_at(32);
            let call = IEip3009::transferWithAuthorizationCall {
                from: draw.from,
                to: draw.to,
                value,
                validAfter: valid_after,
                validBefore: valid_before,
                nonce: draw.binding,
                v: v.first().copied().unwrap_or_default(),
                r: B256::from_slice(r),
                s: B256::from_slice(s),
            };
            Call::new(draw.token, &call)
        }
        Leave::Permit2 { nonce, deadline } => {
            let call = IPermit2::permitWitnessTransferFromCall {
                permit: IPermit2::PermitTransferFrom {
                    permitted: IPermit2::TokenPermissions {
                        token: draw.token,
                        amount: value,
                    },
                    nonce,
                    deadline,
                },
                transferDetails: IPermit2::SignatureTransferDetails {
                    to: draw.to,
                    requestedAmount: value,
                },
                owner: draw.from,
                witness: draw.witness(spelling),
                witnessTypeString: spelling.witness_type_string(),
                signature: Bytes::copy_from_slice(bytes),
            };
            Call::new(CANONICAL_PERMIT2, &call)
        }
    }
}
