//! What must hold of the shared judgement.

use super::super::{EvmSession, Rail, RawTransaction, TopUpSeen};
use super::*;
use crate::request;
use weir_core::{Cumulative, Signature};

const PAYER: Address = Address::repeat_byte(0x11);
const SALT: B256 = B256::repeat_byte(0x22);

fn offer() -> SessionRequest {
    request::tests::sample()
}

fn seen() -> OpenSeen {
    let offer = offer();
    OpenSeen {
        chain_id: offer.method_details.chain_id,
        escrow: offer.method_details.escrow_contract,
        terms: Terms {
            payer: PAYER,
            payee: offer.recipient,
            token: offer.currency,
            authorized_signer: Address::ZERO,
            reserve: None,
        },
        salt: SALT,
        deposit: Amount::new(100),
    }
}

fn channel_of(seen: &OpenSeen) -> ChannelId {
    let domain = Domain::new(EvmSession.rules().domain_name, seen.chain_id, seen.escrow);
    seen.terms.channel_id(seen.salt, &domain)
}

fn voucher(channel: ChannelId) -> Voucher<Claimed> {
    let mut bytes = [1; 65];
    bytes[64] = 27;
    Voucher::claimed(channel, Cumulative::ZERO, Signature::from_bytes(&bytes).unwrap())
}

fn mined() -> Funding {
    Funding::Mined {
        tx_hash: B256::repeat_byte(3),
        payer: PAYER,
    }
}

fn claim() -> OpenClaim {
    let voucher = voucher(channel_of(&seen()));
    OpenClaim {
        voucher,
        authorized_signer: None,
        salt: Some(SALT),
        funding: mined(),
    }
}

fn open(claim: OpenClaim, seen: OpenSeen) -> Result<Judged, JudgeRefusal> {
    EvmSession.judge(Action::Open(claim), &Seen::Open(seen), &offer())
}

#[test]
fn an_opening_that_is_as_claimed_and_offered_is_taken() {
    let Judged::Open {
        terms,
        salt,
        deposit,
        voucher,
    } = open(claim(), seen()).unwrap()
    else {
        panic!()
    };
    assert_eq!((terms, salt, deposit), (seen().terms, SALT, Amount::new(100)));
    assert_eq!(voucher.channel(), channel_of(&seen()));
    for signer in [Address::ZERO, PAYER] {
        let claim = OpenClaim {
            authorized_signer: Some(signer),
            ..claim()
        };
        assert!(
            open(claim, seen()).is_ok(),
            "zero and the payer are the same signer"
        );
    }
}

#[test]
fn threat_v2_every_wrong_term_of_an_opening_is_refused() {
    let other = Address::repeat_byte(9);
    // The claimed channel follows what is seen, so that each term is caught for itself.
    type Change = fn(&mut OpenSeen);
    let changes: [(Change, JudgeRefusal); 7] = [
        (|seen| seen.chain_id = 1, JudgeRefusal::Chain),
        (|seen| seen.escrow = Address::repeat_byte(9), JudgeRefusal::Escrow),
        (
            |seen| seen.terms.payee = Address::repeat_byte(9),
            JudgeRefusal::Payee,
        ),
        (
            |seen| seen.terms.token = Address::repeat_byte(9),
            JudgeRefusal::Token,
        ),
        (
            |seen| seen.terms.payer = Address::repeat_byte(9),
            JudgeRefusal::Payer,
        ),
        (|seen| seen.salt = B256::ZERO, JudgeRefusal::Salt),
        (
            |seen| seen.deposit = Amount::new(99),
            JudgeRefusal::DepositTooSmall,
        ),
    ];
    for (change, refusal) in changes {
        let mut seen = seen();
        change(&mut seen);
        let claim = OpenClaim {
            voucher: voucher(channel_of(&seen)),
            ..claim()
        };
        assert_eq!(open(claim, seen), Err(refusal));
    }
    let signer = OpenClaim {
        authorized_signer: Some(other),
        ..claim()
    };
    assert_eq!(open(signer, seen()), Err(JudgeRefusal::AuthorizedSigner));
    let channel = OpenClaim {
        voucher: voucher(ChannelId(B256::ZERO)),
        ..claim()
    };
    assert_eq!(open(channel, seen()), Err(JudgeRefusal::Channel));
}

#[test]
fn a_top_up_is_of_the_claimed_channel_and_amount_exactly() {
    let channel = channel_of(&seen());
    let claim = TopUpClaim {
        channel,
        additional: Amount::new(50),
        funding: mined(),
    };
    let (chain_id, escrow) = (seen().chain_id, seen().escrow);
    let good = TopUpSeen {
        chain_id,
        escrow,
        channel,
        additional: Amount::new(50),
    };
    let judge = |seen| EvmSession.judge(Action::TopUp(claim.clone()), &Seen::TopUp(seen), &offer());
    assert_eq!(
        judge(good.clone()),
        Ok(Judged::TopUp {
            channel,
            additional: Amount::new(50)
        })
    );
    let wrong = Address::repeat_byte(9);
    for (seen, refusal) in [
        (
            TopUpSeen {
                chain_id: 1,
                ..good.clone()
            },
            JudgeRefusal::Chain,
        ),
        (
            TopUpSeen {
                escrow: wrong,
                ..good.clone()
            },
            JudgeRefusal::Escrow,
        ),
        (
            TopUpSeen {
                channel: ChannelId(B256::ZERO),
                ..good.clone()
            },
            JudgeRefusal::Channel,
        ),
        (
            TopUpSeen {
                additional: Amount::new(49),
                ..good.clone()
            },
            JudgeRefusal::OtherAmount,
        ),
        (
            TopUpSeen {
                additional: Amount::new(51),
                ..good.clone()
            },
            JudgeRefusal::OtherAmount,
        ),
    ] {
        assert_eq!(judge(seen), Err(refusal));
    }
}

#[test]
fn evidence_is_asked_for_where_the_chain_must_speak() {
    let channel = channel_of(&seen());
    let tx_hash = B256::repeat_byte(3);
    let open = Action::Open(claim());
    assert_eq!(
        EvmSession.evidence(&open),
        Evidence::OpenedBy { tx_hash, channel }
    );
    let top_up = TopUpClaim {
        channel,
        additional: Amount::new(1),
        funding: mined(),
    };
    let action = Action::TopUp(top_up.clone());
    assert_eq!(
        EvmSession.evidence(&action),
        Evidence::ToppedUpBy { tx_hash, channel }
    );
    let raw = Action::TopUp(TopUpClaim {
        funding: Funding::Raw(RawTransaction(vec![0x76])),
        ..top_up
    });
    assert_eq!(
        EvmSession.evidence(&raw),
        Evidence::RawTransaction { bytes: &[0x76] }
    );
    let plain = voucher(channel);
    assert_eq!(EvmSession.evidence(&Action::Voucher(plain)), Evidence::None);
    assert_eq!(EvmSession.evidence(&Action::Close(plain.into())), Evidence::None);
}

#[test]
fn threat_t4_not_mined_yet_is_neither_a_no_nor_a_yes() {
    let statuses = [
        (Seen::Reverted, JudgeRefusal::Reverted, 409),
        (Seen::NotMined, JudgeRefusal::NotMined, 503),
        (Seen::Nothing, JudgeRefusal::OtherDeed, 402),
        (Seen::SomethingElse, JudgeRefusal::OtherDeed, 402),
    ];
    for (seen, refusal, status) in statuses {
        assert_eq!(
            EvmSession.judge(Action::Open(claim()), &seen, &offer()),
            Err(refusal)
        );
        assert_eq!(Problem::from(&refusal).status(), status);
    }
    let plain = voucher(channel_of(&seen()));
    assert_eq!(
        EvmSession.judge(Action::Voucher(plain), &Seen::Nothing, &offer()),
        Ok(Judged::Voucher(plain))
    );
    assert_eq!(
        EvmSession.judge(Action::Close(plain.into()), &Seen::Nothing, &offer()),
        Ok(Judged::Close(plain.into()))
    );
    assert!(
        EvmSession
            .judge(Action::Voucher(plain), &Seen::Open(seen()), &offer())
            .is_err()
    );
}
