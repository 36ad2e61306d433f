//! What a channel binds: the parties, the token, and the domain under which its vouchers are signed.

use crate::ids::ChannelId;
use crate::voucher::{RESERVE_VOUCHER_TYPE_HASH, VOUCHER_TYPE_HASH};
use alloy_primitives::{Address, B256, U256, address, keccak256};
use serde::{Deserialize, Serialize};

/// EIP-712 domain name of `evm`/`session` (draft-evm-session-00, Voucher Signing Format).
pub const EVM_DOMAIN_NAME: &str = "EVM Payment Channel";
/// EIP-712 domain name of `tempo`/`session` v1 (draft-tempo-session-00).
pub const TEMPO_DOMAIN_NAME: &str = "Tempo Stream Channel";
/// EIP-712 domain name of `tempo`/`session` v2: the channel reserve that is part of the chain (TIP-1034).
pub const RESERVE_DOMAIN_NAME: &str = "TIP20 Channel Reserve";
/// Where Tempo has its channel reserve (TIP-1034).
pub const TEMPO_RESERVE: Address = address!("4d50500000000000000000000000000000000000");
/// The highest amount that the reserve can hold or be told: it counts in 96 bits.
pub const RESERVE_AMOUNT_MAX: u128 = (1 << 96) - 1;
/// EIP-712 domain version of all.
pub const DOMAIN_VERSION: &str = "1";

const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";

/// The signing domain of one escrow on one chain, with its separator computed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    chain_id: u64,
    escrow: Address,
    separator: B256,
    is_reserve: bool,
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
            is_reserve: name == RESERVE_DOMAIN_NAME,
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

    /// Whether the escrow is a channel reserve of TIP-1034, and no contract with the draft's interface.
    pub const fn is_reserve(&self) -> bool {
        self.is_reserve
    }

    /// The EIP-712 type of the vouchers that are signed under it.
    pub const fn voucher_type(&self) -> B256 {
        if self.is_reserve {
            RESERVE_VOUCHER_TYPE_HASH
        } else {
            VOUCHER_TYPE_HASH
        }
    }
}

/// What the id of a channel in the reserve binds besides (TIP-1034, ChannelDescriptor). The reserve does not keep it:
/// whoever calls says it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveTerms {
    /// Who may settle and close beside the payee; zero for nobody.
    pub operator: Address,
    /// The payer's salt.
    pub salt: B256,
    /// keccak256 of what was signed to open it, and of who signed: no id comes twice.
    pub expiring_nonce_hash: B256,
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
    /// What a channel of the reserve binds besides; `None` where a contract is the escrow.
    #[serde(default)]
    pub reserve: Option<ReserveTerms>,
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

    /// The id that a contract gives these terms with this salt (draft-evm-session-00, Channel State):
    /// keccak256(abi.encode(payer, payee, token, salt, authorizedSigner, escrow, chainId)). The reserve's ids bind its
    /// own terms, salt included (TIP-1034): keccak256(abi.encode(payer, payee, operator, token, salt, authorizedSigner,
    /// expiringNonceHash, escrow, chainId)).
    pub fn channel_id(&self, salt: B256, domain: &Domain) -> ChannelId {
        let (escrow, chain) = (domain.escrow().into_word(), U256::from(domain.chain_id()).into());
        let [payer, payee, token, signer] =
            [self.payer, self.payee, self.token, self.authorized_signer].map(|address| address.into_word());
        let encoded = match &self.reserve {
            None => [payer, payee, token, salt, signer, escrow, chain].concat(),
            Some(ReserveTerms {
                operator,
                salt,
                expiring_nonce_hash,
            }) => {
                let operator = operator.into_word();
                let hash = *expiring_nonce_hash;
                [payer, payee, operator, token, *salt, signer, hash, escrow, chain].concat()
            }
        };
        ChannelId(keccak256(encoded))
    }
}
