//! Whose keys make room.

use super::*;
use alloy_primitives::B256;
use std::sync::Arc;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn key(number: usize) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

fn channel(number: usize) -> ChannelId {
    ChannelId(B256::from(key(number)))
}

/// One more key on a channel, `later` seconds on.
fn begin(keys: &mut Keys, (id, number): (ChannelId, usize), later: u64, at_work: Weak<()>) {
    let claim = Claim {
        keyed: Keyed {
            key: key(number),
            request: [0; 32],
            keeps: true,
        },
        at_work,
    };
    let charge = ChargeId(number as u64);
    let changes = keys.begin((id, charge), &claim, Cumulative::new(1), NOW.after(later));
    for (_, change) in changes.unwrap() {
        keys.apply(&change);
    }
}

fn has(keys: &Keys, id: ChannelId, number: usize) -> bool {
    keys.entry(id, &key(number)).is_some()
}

#[test]
fn threat_h4_many_channels_do_not_push_another_ones_keys_out() {
    let mut keys = Keys::default();
    let (victim, mut later) = (channel(0), 0);
    let full = KEYS_PER_LANE_MAX / KEYS_PER_CHANNEL_MAX;
    begin(&mut keys, (victim, 0), later, Weak::new());
    for crowding in 1..=full {
        for number in 0..KEYS_PER_CHANNEL_MAX {
            later += 1;
            begin(&mut keys, (channel(crowding), number), later, Weak::new());
        }
    }
    assert_eq!(keys.by_expiry.len(), KEYS_PER_LANE_MAX);
    assert!(
        has(&keys, victim, 0),
        "the oldest of all, on a channel that has one"
    );
    // It gets its share, and the others keep theirs.
    let even = KEYS_PER_LANE_MAX / (full + 1);
    for number in 1..even {
        later += 1;
        begin(&mut keys, (victim, number), later, Weak::new());
    }
    assert_eq!(keys.by_expiry.len(), KEYS_PER_LANE_MAX);
    for number in 0..even {
        assert!(has(&keys, victim, number), "{number}");
    }
    let sizes = keys.by_channel.values().map(HashMap::len);
    assert_eq!(sizes.min(), Some(even));
}

#[test]
fn what_is_under_way_makes_no_room() {
    let mut keys = Keys::default();
    let at_work = Arc::new(());
    let full = KEYS_PER_LANE_MAX / KEYS_PER_CHANNEL_MAX;
    // The channel that has the most has nothing idle.
    let busy = channel(full);
    for crowding in 1..=full {
        for number in 0..KEYS_PER_CHANNEL_MAX {
            let at_work = if channel(crowding) == busy {
                Arc::downgrade(&at_work)
            } else {
                Weak::new()
            };
            begin(&mut keys, (channel(crowding), number), 0, at_work);
        }
    }
    begin(&mut keys, (channel(0), 0), 1, Weak::new());
    assert_eq!(keys.by_expiry.len(), KEYS_PER_LANE_MAX);
    assert_eq!(keys.by_channel[&busy].len(), KEYS_PER_CHANNEL_MAX);
}
