//! What must hold of transactions that payers signed.

#[path = "../tests/anvil/tempo_wallet.rs"]
pub(crate) mod tempo_wallet;

use super::*;
use crate::calls::Call;
use alloy::primitives::{address, b256, hex};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use proptest::prelude::*;
use tempo_wallet::Unsigned;
use weir_core::terms::TEMPO_DOMAIN_NAME;

const ESCROW: Address = address!("0x1234567890abcdef1234567890abcdef12345678");
const TOKEN: Address = address!("0x20c0000000000000000000000000000000000000");
const PAYER: Address = address!("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const PAYEE: Address = address!("0x70997970c51812dc3a010c7d01b50e0d17dc79c8");
const CHAIN: u64 = 1_337;

/// What mppx 0.11.0 with viem 2.54.0 made of `createOpenPayload` for a deposit of 1000000, and the channel id that it
/// reckoned.
const MPPX_OPEN: &[u8] = &hex!(
    "76f901b3820539843b9aca008447868cd5830c0a08f9011cf85c9420c000000000000000000000000000000000000080b844095ea7b30000000000000000000000001234567890abcdef1234567890abcdef1234567800000000000000000000000000000000000000000000000000000000000f4240f8bc941234567890abcdef1234567890abcdef1234567880b8a4c79ea48500000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000000020c000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000f42407acb8e5c1923ff87f269288c71c99fd2362a06231d8cefc0928ff252f12edc6a000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266c0a0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff80846b0198d6809420c000000000000000000000000000000000000080c0b84181cabf9385c5f6b01dd3523d59ece9d0c89a4f5b7de75cee530d687628363f8a7e7937fab61dbe647049cc31f9cc77be83ec7370f2c19edf2184f9af76093ef51c"
);
const MPPX_CHANNEL: B256 = b256!("0x12f453f0a1003b7fee3181f4871ee831814ecba86c17e08e598c8e950f35b041");
/// The first bytes of what the same client sends when it wants its fees paid.
const MPPX_SPONSORED: &[u8] = &hex!("78f901b3820539843b9aca008447868c90830c0a08");

fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x11)).unwrap()
}

fn contract() -> Domain {
    Domain::new(TEMPO_DOMAIN_NAME, CHAIN, ESCROW)
}

fn approve(spender: Address, value: u128) -> Bytes {
    let value = U256::from(value);
    IToken::approveCall { spender, value }.abi_encode().into()
}

fn open(deposit: u128) -> Bytes {
    let call = IChannelEscrow::openCall {
        payee: PAYEE,
        token: TOKEN,
        deposit,
        salt: B256::repeat_byte(7),
        authorizedSigner: Address::ZERO,
    };
    call.abi_encode().into()
}

fn sample() -> Unsigned {
    let calls = [(TOKEN, approve(ESCROW, 500)), (ESCROW, open(500))];
    Unsigned {
        valid_before: 1_800_000_000,
        ..Unsigned::new(CHAIN, TOKEN, &calls)
    }
}

fn judged(unsigned: &Unsigned) -> Result<ForeignDeed, ForeignRefusal> {
    ForeignTransaction::decode(&unsigned.sign(&key()))?.deed(&contract(), TOKEN)
}

fn with_calls(calls: &[(Address, Bytes)]) -> Result<ForeignDeed, ForeignRefusal> {
    judged(&Unsigned::new(CHAIN, TOKEN, calls))
}

#[test]
fn what_mppx_signs_is_read_whole() {
    let read = ForeignTransaction::decode(MPPX_OPEN).unwrap();
    assert_eq!((read.sender, read.chain_id), (PAYER, CHAIN));
    assert_eq!(read.hash, keccak256(MPPX_OPEN));
    assert_eq!((read.nonce_key, read.nonce), (U256::MAX, 0));
    assert_eq!(read.valid_before, Some(UnixSeconds(0x6b01_98d6)));
    assert_eq!(read.valid_after, None);
    assert_eq!(read.fee_token, Some(TOKEN));
    assert_eq!(
        (read.gas_limit, read.max_priority_fee_per_gas),
        (0x0c_0a08, 1_000_000_000)
    );
    let ForeignDeed::Open(open) = read.deed(&contract(), TOKEN).unwrap() else {
        panic!("not an open")
    };
    assert_eq!(open.deposit, Amount::new(1_000_000));
    assert_eq!((open.terms.payer, open.terms.payee), (PAYER, PAYEE));
    assert_eq!(open.terms.channel_id(open.salt, &contract()).0, MPPX_CHANNEL);
}

/// The first of the accounts that devnets fund, which signed for mppx.
const MPPX_KEY: B256 = b256!("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

#[test]
fn we_sign_what_mppx_signs_to_the_last_byte() {
    let read = ForeignTransaction::decode(MPPX_OPEN).unwrap();
    let key = PrivateKeySigner::from_bytes(&MPPX_KEY).unwrap();
    let call = |call: &ForeignCall| Call {
        to: Some(call.to),
        input: call.input.clone(),
    };
    let ours = TempoTransaction {
        chain_id: read.chain_id,
        max_priority_fee_per_gas: read.max_priority_fee_per_gas,
        max_fee_per_gas: read.max_fee_per_gas,
        gas_limit: read.gas_limit,
        calls: read.calls.iter().map(call).collect(),
        valid_before: read.valid_before.unwrap(),
        fee_token: read.fee_token.unwrap(),
    };
    let signature = key.sign_hash_sync(&ours.signing_hash()).unwrap();
    let signed = ours.signed(&signature.as_bytes());
    assert_eq!(signed.raw.as_ref(), MPPX_OPEN);
    assert_eq!(
        (signed.hash, Some(signed.valid_before)),
        (read.hash, read.valid_before)
    );
    assert_eq!(ours.expiring_nonce_hash(PAYER), read.expiring_nonce_hash);
}

#[test]
fn a_payment_of_ours_is_read_as_the_transfer_that_it_is() {
    for memo in [None, Some(B256::repeat_byte(5))] {
        let transfer = Transfer {
            token: TOKEN,
            from: key().address(),
            to: PAYEE,
            amount: Amount::new(100),
            memo,
            authorized: None,
        };
        let ours = TempoTransaction {
            chain_id: CHAIN,
            max_priority_fee_per_gas: 1,
            max_fee_per_gas: 2,
            gas_limit: 3,
            calls: vec![transfer.call()],
            valid_before: UnixSeconds(1_800_000_000),
            fee_token: TOKEN,
        };
        let signature = key().sign_hash_sync(&ours.signing_hash()).unwrap();
        let signed = ours.signed(&signature.as_bytes());
        let read = ForeignTransaction::decode(&signed.raw).unwrap();
        assert_eq!(read.transfer().unwrap(), transfer);
        assert_eq!(ours.cost_max(), 6);
    }
}

#[test]
fn an_open_and_a_top_up_are_known_with_and_without_their_approval() {
    let opened = judged(&sample()).unwrap();
    assert_eq!(with_calls(&[(ESCROW, open(500))]).unwrap(), opened);
    let channel = B256::repeat_byte(9);
    let (narrow, wide) = (7_u128, U256::from(7));
    let top_ups: [Bytes; 2] = [
        IChannelEscrow::topUp_0Call {
            channelId: channel,
            additionalDeposit: narrow,
        }
        .abi_encode()
        .into(),
        IChannelEscrow::topUp_1Call {
            channelId: channel,
            additionalDeposit: wide,
        }
        .abi_encode()
        .into(),
    ];
    for top_up in top_ups {
        let raised = with_calls(&[(TOKEN, approve(ESCROW, 7)), (ESCROW, top_up.clone())]).unwrap();
        let expected = ForeignTopUp {
            channel: ChannelId(channel),
            additional: Amount::new(7),
        };
        assert_eq!(raised, ForeignDeed::TopUp(expected));
        assert_eq!(with_calls(&[(ESCROW, top_up)]).unwrap(), raised);
    }
}

#[test]
fn threat_f1_nothing_rides_along_with_an_open() {
    use ForeignRefusal as No;
    let other = Address::repeat_byte(0xee);
    let long: Bytes = [open(500).as_ref(), &[0]].concat().into();
    let huge: Bytes = IChannelEscrow::topUp_1Call {
        channelId: B256::ZERO,
        additionalDeposit: U256::MAX,
    }
    .abi_encode()
    .into();
    let cases: Vec<(Vec<(Address, Bytes)>, No)> = vec![
        (vec![], No::Calls),
        (vec![(ESCROW, open(1)); 3], No::Calls),
        (vec![(ESCROW, open(1)), (ESCROW, open(1))], No::Calls),
        (
            vec![(ESCROW, open(500)), (TOKEN, approve(ESCROW, 500))],
            No::OtherContract,
        ),
        (vec![(other, open(500))], No::OtherContract),
        (vec![(ESCROW, Bytes::new())], No::Calls),
        (vec![(ESCROW, long)], No::Calls),
        (vec![(ESCROW, huge)], No::Calls),
        (
            vec![(TOKEN, approve(ESCROW, 501)), (ESCROW, open(500))],
            No::Approval,
        ),
        (
            vec![(TOKEN, approve(ESCROW, 499)), (ESCROW, open(500))],
            No::Approval,
        ),
        (
            vec![(TOKEN, approve(other, 500)), (ESCROW, open(500))],
            No::Approval,
        ),
        (
            vec![(other, approve(ESCROW, 500)), (ESCROW, open(500))],
            No::Approval,
        ),
        (vec![(TOKEN, open(500)), (ESCROW, open(500))], No::Calls),
    ];
    for (calls, why) in cases {
        assert_eq!(with_calls(&calls), Err(why), "{calls:?}");
    }
    let empty_item = || vec![0xc1, 0xc0];
    let odd = [
        (
            Unsigned {
                fee_payer: vec![0x00],
                ..sample()
            },
            No::Sponsored,
        ),
        (
            Unsigned {
                fee_payer: vec![0xc3, 0x80, 0x01, 0x01],
                ..sample()
            },
            No::Sponsored,
        ),
        (
            Unsigned {
                access_list: empty_item(),
                ..sample()
            },
            No::AccessList,
        ),
        (
            Unsigned {
                authorizations: empty_item(),
                ..sample()
            },
            No::Authorizations,
        ),
        (
            Unsigned {
                key_authorization: empty_item(),
                ..sample()
            },
            No::Authorizations,
        ),
        (
            Unsigned {
                calls: vec![(None, U256::ZERO, Bytes::new())],
                ..sample()
            },
            No::Calls,
        ),
        (
            Unsigned {
                calls: vec![(Some(ESCROW), U256::from(1), open(500))],
                ..sample()
            },
            No::Value,
        ),
    ];
    for (unsigned, why) in odd {
        assert_eq!(judged(&unsigned), Err(why));
    }
}

#[test]
fn only_the_canonical_bytes_of_a_secp256k1_key_are_taken() {
    use ForeignRefusal as No;
    let decode = |raw: &[u8]| ForeignTransaction::decode(raw).map(drop);
    assert_eq!(decode(MPPX_SPONSORED), Err(No::Sponsored));
    for other in [
        &[][..],
        &[0x02],
        &[0x76],
        &[0x76, 0xc0],
        &[0x76, 0x80],
        &[0x76, 0xf9, 0xff, 0xff],
    ] {
        assert!(decode(other).is_err_and(No::is_unreadable), "{other:02x?}");
    }
    let good = sample().sign(&key());
    assert_eq!(decode(&[good.as_slice(), &[0]].concat()), Err(No::Malformed));
    let signature = key().sign_hash_sync(&sample().signing_hash()).unwrap();
    let high = alloy::primitives::Signature::new(
        signature.r(),
        U256::from_be_bytes(hex!(
            "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
        )) - signature.s(),
        !signature.v(),
    );
    let mut odd_v = signature.as_bytes();
    odd_v[64] = 37;
    let cases: [(&[u8], No); 5] = [
        (&high.as_bytes(), No::Signature),
        (&odd_v, No::Signature),
        (&[0; 65], No::Signature),
        (&[1; 130], No::KeyKind),
        (&[], No::KeyKind),
    ];
    for (signature, why) in cases {
        assert_eq!(decode(&sample().with_signature(signature)), Err(why));
    }
}

#[test]
fn v_has_two_spellings_and_a_transaction_one_hash() {
    let (v, rest) = MPPX_OPEN.split_last().unwrap();
    let spelled = [rest, &[v - 27]].concat();
    let read = ForeignTransaction::decode(&spelled).unwrap();
    assert_eq!(read, ForeignTransaction::decode(MPPX_OPEN).unwrap());
    assert_eq!(read.hash, keccak256(MPPX_OPEN));
}

proptest! {
    /// Whoever changes a signed transaction gets another sender, or nothing: never another deed of the same payer.
    #[test]
    fn a_changed_transaction_is_never_another_deed_of_its_payer(
        at in 0..MPPX_OPEN.len(), with: u8, cut in 0..MPPX_OPEN.len(), more in prop::collection::vec(any::<u8>(), 1..4),
    ) {
        let signed = ForeignTransaction::decode(MPPX_OPEN).unwrap();
        let mut changed = MPPX_OPEN.to_vec();
        changed[at] = with;
        let mut inserted = MPPX_OPEN.to_vec();
        inserted.splice(at..at, more.iter().copied());
        let longer = [MPPX_OPEN, &more].concat();
        prop_assert!(ForeignTransaction::decode(&longer).is_err());
        prop_assert!(ForeignTransaction::decode(&MPPX_OPEN[..cut]).is_err());
        for bytes in [changed, inserted] {
            if let Ok(read) = ForeignTransaction::decode(&bytes) && read.sender == signed.sender {
                // v may be spelled 1 instead of 28.
                prop_assert_eq!(&read, &signed);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ForeignTransaction::decode(&bytes);
        let _ = ForeignTransaction::decode(&[&[0x76][..], &bytes].concat());
    }
}
