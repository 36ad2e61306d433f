//! What a payer signs is what EIP-712 says of the types in the draft, computed by another implementation.

use alloy::primitives::{Address, B256, U256};
use alloy::sol;
use alloy::sol_types::{SolStruct, eip712_domain};
use weir_core::pull::{Leave, Pull, Purpose, permit2_separator};
use weir_core::{Amount, ChannelId, Terms};

sol! {
    struct ReceiveWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct ChannelOpenWitness {
        address payee;
        bytes32 salt;
        address authorizedSigner;
    }

    struct ChannelTopUpWitness {
        bytes32 channelId;
    }

    struct OpenPermit {
        TokenPermissions permitted;
        address spender;
        uint256 nonce;
        uint256 deadline;
        ChannelOpenWitness witness;
    }

    struct TopUpPermit {
        TokenPermissions permitted;
        address spender;
        uint256 nonce;
        uint256 deadline;
        ChannelTopUpWitness witness;
    }
}

const ESCROW: Address = Address::repeat_byte(0xee);
const TOKEN: Address = Address::repeat_byte(0x70);
const PAYER: Address = Address::repeat_byte(0xaa);
const PAYEE: Address = Address::repeat_byte(0xbb);
const SIGNER: Address = Address::repeat_byte(0x51);
const PERMIT2: Address = Address::repeat_byte(0x22);
const SALT: B256 = B256::repeat_byte(5);
const CHANNEL: ChannelId = ChannelId(B256::repeat_byte(7));
const CHAIN: u64 = 31337;

fn open(leave: Leave) -> Pull {
    let terms = Terms {
        payer: PAYER,
        payee: PAYEE,
        token: TOKEN,
        authorized_signer: SIGNER,
        reserve: None,
    };
    Pull {
        from: PAYER,
        amount: Amount::new(1_000),
        purpose: Purpose::Open { terms, salt: SALT },
        leave,
    }
}

fn top_up(leave: Leave) -> Pull {
    Pull {
        purpose: Purpose::TopUp {
            channel: CHANNEL,
            token: TOKEN,
            salt: SALT,
        },
        ..open(leave)
    }
}

#[test]
fn an_eip_3009_digest_is_that_of_the_standard() {
    let leave = Leave::Eip3009 {
        valid_after: U256::from(3),
        valid_before: U256::from(9),
    };
    let domain =
        eip712_domain! { name: "USD Coin", version: "2", chain_id: CHAIN, verifying_contract: TOKEN, };
    for pull in [open(leave), top_up(leave)] {
        let standard = ReceiveWithAuthorization {
            from: PAYER,
            to: ESCROW,
            value: U256::from(1_000),
            validAfter: U256::from(3),
            validBefore: U256::from(9),
            nonce: pull.bound_nonce(),
        };
        assert_eq!(
            pull.digest(domain.separator(), ESCROW),
            standard.eip712_signing_hash(&domain)
        );
    }
    assert_ne!(open(leave).bound_nonce(), top_up(leave).bound_nonce());
}

/// The standard's hash of a permit, whose struct has the one name that Permit2 gives it.
fn permit_hash<T: SolStruct>(permit: &T, own_name: &str) -> B256 {
    let domain = eip712_domain! { name: "Permit2", chain_id: CHAIN, verifying_contract: PERMIT2, };
    assert_eq!(domain.separator(), permit2_separator(CHAIN, PERMIT2));
    let named = T::eip712_encode_type().replacen(own_name, "PermitWitnessTransferFrom", 1);
    let type_hash = alloy::primitives::keccak256(named);
    let structure = [type_hash.to_vec(), permit.eip712_encode_data()].concat();
    let structure = alloy::primitives::keccak256(structure);
    let message = [&[0x19, 0x01], domain.separator().as_slice(), structure.as_slice()].concat();
    alloy::primitives::keccak256(message)
}

#[test]
fn a_permit2_digest_is_that_of_the_drafts_types() {
    let leave = Leave::Permit2 {
        nonce: U256::from(4),
        deadline: U256::from(9),
    };
    let permitted = TokenPermissions {
        token: TOKEN,
        amount: U256::from(1_000),
    };
    let opening = OpenPermit {
        permitted: permitted.clone(),
        spender: ESCROW,
        nonce: U256::from(4),
        deadline: U256::from(9),
        witness: ChannelOpenWitness {
            payee: PAYEE,
            salt: SALT,
            authorizedSigner: SIGNER,
        },
    };
    let separator = permit2_separator(CHAIN, PERMIT2);
    assert_eq!(
        open(leave).digest(separator, ESCROW),
        permit_hash(&opening, "OpenPermit")
    );
    let raise = TopUpPermit {
        permitted,
        spender: ESCROW,
        nonce: U256::from(4),
        deadline: U256::from(9),
        witness: ChannelTopUpWitness { channelId: CHANNEL.0 },
    };
    assert_eq!(
        top_up(leave).digest(separator, ESCROW),
        permit_hash(&raise, "TopUpPermit")
    );
}
