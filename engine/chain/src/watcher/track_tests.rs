//! What must hold of channels whose record the reserve deletes at their end.

use super::*;
use alloy::primitives::{Address, B256};
use weir_core::{ReserveTerms, UnixSeconds};

const FINALITY: u64 = 2;

fn id() -> ChannelId {
    ChannelId(B256::repeat_byte(1))
}

fn block(number: u64, fork: u8) -> BlockRef {
    BlockRef {
        number,
        hash: B256::repeat_byte(fork.wrapping_add(number as u8)),
        timestamp: UnixSeconds(number),
    }
}

fn terms() -> Terms {
    Terms {
        payer: Address::repeat_byte(1),
        payee: Address::repeat_byte(2),
        token: Address::repeat_byte(3),
        authorized_signer: Address::ZERO,
        reserve: Some(ReserveTerms {
            operator: Address::ZERO,
            salt: B256::ZERO,
            expiring_nonce_hash: B256::repeat_byte(9),
        }),
    }
}

const OPEN: ChainState = ChainState {
    deposit: Cumulative::new(100),
    settled: Cumulative::ZERO,
    close_requested_at: None,
    finalized: false,
};

const ENDED: ChainState = ChainState {
    settled: Cumulative::new(30),
    finalized: true,
    ..OPEN
};

/// A block that was read; the record is or is not there at it and at the final one below it.
fn reading(head: BlockRef, seen: Option<ChainState>, last_final: Option<ChainState>) -> Reading {
    let held = |state: Option<ChainState>| state.map(|state| (None, state));
    Reading {
        blocks: vec![Followed {
            block: head,
            touched: Vec::new(),
        }],
        replaces_from: head.number,
        reorged: false,
        head,
        last_final: block(head.number.saturating_sub(FINALITY), 0),
        opened: Vec::new(),
        closed: Vec::new(),
        rows: vec![Row {
            id: id(),
            seen: held(seen),
            last_final: held(last_final),
        }],
    }
}

fn opened(mut reading: Reading) -> Reading {
    reading.opened.push(OpenedChannel {
        id: id(),
        terms: terms(),
        salt: B256::ZERO,
        deposit: OPEN.deposit,
        block_number: reading.head.number,
        transaction: B256::ZERO,
    });
    touched(reading)
}

fn closed(mut reading: Reading) -> Reading {
    reading.closed.push(ClosedChannel {
        id: id(),
        state: ENDED,
        block_number: reading.head.number,
    });
    touched(reading)
}

fn touched(mut reading: Reading) -> Reading {
    reading.blocks[0].touched.push(id());
    reading
}

/// What a reading tells, and the track after it.
fn told(track: &mut Track, reading: Reading) -> Option<Observation> {
    let observation = track.sighting(&reading).observations.pop();
    track.advance(reading);
    observation
}

fn track() -> Track {
    Track::new(FINALITY, Cursor::From(0), Vec::new())
}

#[test]
fn terms_come_from_the_opening_and_the_end_from_its_event_until_it_is_final() {
    let mut track = track();
    let seen = told(&mut track, opened(reading(block(10, 0), Some(OPEN), None))).unwrap();
    assert_eq!((seen.terms, seen.seen, seen.opened_in), (terms(), OPEN, Some(10)));
    let seen = told(&mut track, closed(reading(block(11, 0), None, None))).unwrap();
    assert_eq!((seen.seen, seen.last_final), (ENDED, NOTHING));
    // Nothing new happens; the opening becomes final, then the end.
    let seen = told(&mut track, reading(block(12, 0), None, Some(OPEN))).unwrap();
    assert_eq!((seen.seen, seen.last_final), (ENDED, OPEN));
    let seen = told(&mut track, reading(block(13, 0), None, None)).unwrap();
    assert_eq!((seen.seen, seen.last_final), (ENDED, ENDED));
    assert!(track.all().is_empty(), "what is over is not watched");
}

#[test]
fn an_end_that_a_reorganisation_takes_back_is_forgotten() {
    let mut track = track();
    told(&mut track, opened(reading(block(10, 0), Some(OPEN), None))).unwrap();
    told(&mut track, closed(reading(block(11, 0), None, None))).unwrap();
    let mut other = reading(block(12, 1), Some(OPEN), Some(OPEN));
    other.replaces_from = 11;
    other.reorged = true;
    let seen = told(&mut track, other).unwrap();
    assert_eq!((seen.seen, seen.last_final), (OPEN, OPEN));
    // A record that is gone without an end that stands is a channel that never was.
    let mut gone = reading(block(13, 2), None, None);
    gone.replaces_from = 10;
    let seen = told(&mut track, gone).unwrap();
    assert_eq!((seen.seen, seen.last_final), (NOTHING, NOTHING));
}

#[test]
fn a_channel_of_which_nobody_told_the_terms_is_left_alone() {
    let mut track = track();
    assert_eq!(
        told(&mut track, touched(reading(block(10, 0), Some(OPEN), Some(OPEN)))),
        None
    );
    assert!(track.all().is_empty());
}
