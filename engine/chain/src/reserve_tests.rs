//! What must hold of the reserve's words: transactions as mppx signs them, records, and events.

use super::*;
use crate::bindings::IToken;
use crate::tempo::tests::tempo_wallet::Unsigned;
use alloy::primitives::{Bytes, U256, hex};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use serde_json::Value;
use weir_core::terms::{RESERVE_AMOUNT_MAX, RESERVE_DOMAIN_NAME, TEMPO_RESERVE};

const VECTORS: &str = include_str!("../../../contracts/vectors/reserve.json");
const CHAIN: u64 = 1_337;
const TOKEN: Address = Address::repeat_byte(0x20);

fn domain() -> Domain {
    Domain::new(RESERVE_DOMAIN_NAME, CHAIN, TEMPO_RESERVE)
}

fn judged(calls: &[(Address, Bytes)]) -> Result<ForeignDeed, ForeignRefusal> {
    let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x11)).unwrap();
    let raw = Unsigned::new(CHAIN, TOKEN, calls).sign(&key);
    ForeignTransaction::decode(&raw)?.deed(&domain(), TOKEN)
}

fn open() -> Bytes {
    let call = IChannelReserve::openCall {
        payee: Address::repeat_byte(2),
        operator: Address::ZERO,
        token: TOKEN,
        deposit: U96::from(5),
        salt: B256::repeat_byte(3),
        authorizedSigner: Address::ZERO,
    };
    call.abi_encode().into()
}

#[test]
fn what_mppx_signs_opens_the_channel_that_mppx_reckons() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    for vector in file["vectors"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        let raw = hex::decode(text("transaction")).unwrap();
        let read = ForeignTransaction::decode(&raw).unwrap();
        let hash = &vector["descriptor"]["expiringNonceHash"];
        assert_eq!(read.expiring_nonce_hash.to_string(), hash.as_str().unwrap());
        let Ok(ForeignDeed::Open(open)) = read.deed(&domain(), TOKEN) else {
            panic!("not an open")
        };
        assert_eq!(
            open.terms.channel_id(open.salt, &domain()).to_string(),
            text("channelId")
        );
        assert_eq!(open.deposit.to_string(), text("deposit"));
    }
}

#[test]
fn threat_v2_the_reserve_is_called_once_and_nothing_rides_along() {
    assert!(judged(&[(TEMPO_RESERVE, open())]).is_ok());
    let approve: Bytes = IToken::approveCall {
        spender: TEMPO_RESERVE,
        value: U256::from(5),
    }
    .abi_encode()
    .into();
    let mut long = open().to_vec();
    long.push(0);
    let settle: Bytes = IChannelReserve::settleCall {
        descriptor: descriptor(&terms_of(1)).unwrap(),
        cumulativeAmount: U96::from(1),
        signature: Bytes::new(),
    }
    .abi_encode()
    .into();
    for (calls, refusal) in [
        (
            vec![(TOKEN, approve), (TEMPO_RESERVE, open())],
            ForeignRefusal::ReserveCalls,
        ),
        (vec![(TEMPO_RESERVE, open()); 2], ForeignRefusal::ReserveCalls),
        (vec![(TEMPO_RESERVE, long.into())], ForeignRefusal::ReserveCalls),
        (vec![(TEMPO_RESERVE, settle)], ForeignRefusal::ReserveCalls),
        (vec![(TOKEN, open())], ForeignRefusal::OtherContract),
    ] {
        assert_eq!(judged(&calls), Err(refusal));
    }
}

fn terms_of(operator: u8) -> Terms {
    Terms {
        payer: Address::repeat_byte(1),
        payee: Address::repeat_byte(2),
        token: TOKEN,
        authorized_signer: Address::ZERO,
        reserve: Some(ReserveTerms {
            operator: Address::repeat_byte(operator),
            salt: B256::repeat_byte(3),
            expiring_nonce_hash: B256::repeat_byte(4),
        }),
    }
}

#[test]
fn a_top_up_is_of_the_channel_that_its_descriptor_describes() {
    for operator in [0, 9] {
        let terms = terms_of(operator);
        let call = IChannelReserve::topUpCall {
            descriptor: descriptor(&terms).unwrap(),
            additionalDeposit: U96::from(7),
        };
        let deed = judged(&[(TEMPO_RESERVE, call.abi_encode().into())]).unwrap();
        let expected = ForeignTopUp {
            channel: terms.channel_id(B256::ZERO, &domain()),
            additional: Amount::new(7),
        };
        assert_eq!(deed, ForeignDeed::TopUp(expected));
    }
}

#[test]
fn calls_name_the_whole_descriptor_and_amounts_that_fit() {
    let calls = EscrowCalls::new(TEMPO_RESERVE);
    let row = |cumulative: u128| SettleRow {
        channel: ChannelId(B256::ZERO),
        cumulative: Cumulative::new(cumulative),
        capture: Cumulative::new(3),
        signature: None,
    };
    let close = calls.close_reserved(&terms_of(9), &row(5)).unwrap();
    let read = IChannelReserve::closeCall::abi_decode(&close.input).unwrap();
    assert_eq!(terms(&read.descriptor), terms_of(9));
    assert_eq!((wide(read.cumulativeAmount), wide(read.captureAmount)), (5, 3));
    let settle = calls
        .settle_reserved(&terms_of(9), &row(RESERVE_AMOUNT_MAX))
        .unwrap();
    let read = IChannelReserve::settleCall::abi_decode(&settle.input).unwrap();
    assert_eq!(wide(read.cumulativeAmount), RESERVE_AMOUNT_MAX);
    assert_eq!(
        calls.settle_reserved(&terms_of(9), &row(RESERVE_AMOUNT_MAX + 1)),
        None
    );
    let contracts = Terms {
        reserve: None,
        ..terms_of(9)
    };
    assert_eq!(calls.close_reserved(&contracts, &row(5)), None);
}

#[test]
fn a_deleted_record_is_no_channel() {
    let mut state = IChannelReserve::ChannelState {
        settled: U96::ZERO,
        deposit: U96::ZERO,
        closeRequestedAt: 0,
    };
    assert_eq!(read_state(&state), None);
    state.deposit = U96::from(9);
    let read = read_state(&state).unwrap();
    assert_eq!(
        (read.deposit, read.close_requested_at),
        (Cumulative::new(9), None)
    );
    state.closeRequestedAt = 7;
    assert_eq!(
        read_state(&state).unwrap().close_requested_at,
        Some(UnixSeconds(7))
    );
}
