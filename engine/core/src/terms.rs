//! What a channel binds: the parties, the token, and the domain under which its vouchers are signed.

use crate::ids::ChannelId;
use alloy_primitives::{Address, B256, U256, keccak256};
use serde::{Deserialize, Serialize};

/// EIP-712 domain name of `evm`/`session` (draft-evm-session-00, Voucher Signing Format).
pub const EVM_DOMAIN_NAME: &str = "EVM Payment Channel";
/// EIP-712 domain name of `tempo`/`session` v1 (draft-tempo-session-00).
pub const TEMPO_DOMAIN_NAME: &str = "Tempo Stream Channel";
/// EIP-712 domain version of both.
pub const DOMAIN_VERSION: &str = "1";

const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";

/// The signing domain of one escrow on one chain, with its separator computed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    chain_id: u64,
    escrow: Address,
    separator: B256,
}

impl Domain {
    /// The domain of the escrow at `escrow` on chain `chain_id`, under the EIP-712 `name` and version "1".
    pub fn new(name: &str, chain_id: u64, escrow: Address) -> Self {
        let mut encoded = [0u8; 160];
        encoded[..32].copy_from_slice(keccak256(DOMAIN_TYPE).as_slice());
        encoded[32..64].copy_from_slice(keccak256(name).as_slice());
        encoded[64..96].copy_from_slice(keccak256(DOMAIN_VERSION).as_slice());
        encoded[96..128].copy_from_slice(&U256::from(chain_id).to_be_bytes::<32>());
        encoded[140..].copy_from_slice(escrow.as_slice());
        Self {
            chain_id,
            escrow,
            separator: keccak256(encoded),
        }
    }

    /// EIP-155 chain id.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The verifying contract.
    pub const fn escrow(&self) -> Address {
        self.escrow
    }

    /// The EIP-712 domain separator.
    pub const fn separator(&self) -> B256 {
        self.separator
    }
}

/// What the parties agreed on when the channel was opened; fixed for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Who locked the deposit and gets the refund.
    pub payer: Address,
    /// Who is paid.
    pub payee: Address,
    /// The ERC-20 token.
    pub token: Address,
    /// Who signs vouchers; the zero address stands for the payer, as on-chain.
    pub authorized_signer: Address,
}

impl Terms {
    /// The address whose signature makes a voucher of this channel.
    pub fn signer(&self) -> Address {
        if self.authorized_signer.is_zero() {
            self.payer
        } else {
            self.authorized_signer
        }
    }

    /// The id the escrow gives these terms with this salt (draft-evm-session-00, Channel State):
    /// keccak256(abi.encode(payer, payee, token, salt, authorizedSigner, escrow, chainId)).
    pub fn channel_id(&self, salt: B256, domain: &Domain) -> ChannelId {
        let mut encoded = [0u8; 224];
        encoded[12..32].copy_from_slice(self.payer.as_slice());
        encoded[44..64].copy_from_slice(self.payee.as_slice());
        encoded[76..96].copy_from_slice(self.token.as_slice());
        encoded[96..128].copy_from_slice(salt.as_slice());
        encoded[140..160].copy_from_slice(self.authorized_signer.as_slice());
        encoded[172..192].copy_from_slice(domain.escrow().as_slice());
        encoded[192..].copy_from_slice(&U256::from(domain.chain_id()).to_be_bytes::<32>());
        ChannelId(keccak256(encoded))
    }
}
