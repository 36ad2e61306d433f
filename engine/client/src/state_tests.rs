use super::*;

const PAYER: Address = Address::repeat_byte(0xaa);

fn record(byte: u8) -> ChannelRecord {
    let terms = Terms {
        payer: PAYER,
        payee: Address::repeat_byte(0xbb),
        token: Address::repeat_byte(0xcc),
        authorized_signer: Address::ZERO,
        reserve: None,
    };
    let channel = ChannelId(B256::repeat_byte(byte));
    ChannelRecord::planned(
        channel,
        31337,
        Address::repeat_byte(0xee),
        terms,
        Cumulative::new(1000),
    )
}

#[test]
fn a_channel_is_read_back_as_it_was_written() {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::take(root.path(), PAYER).unwrap();
    let mut first = record(1);
    state.save(&first).unwrap();
    first.signed = Cumulative::new(u128::MAX);
    first.stage = Stage::Live;
    first.salt = Some(B256::repeat_byte(9));
    let envelope = Envelope {
        nonce: 3,
        hash: B256::repeat_byte(5),
        raw: vec![1, 2, 3].into(),
        gas_limit: 4,
        max_fee_per_gas: u128::from(u64::MAX),
        to: None,
    };
    let top_up = PendingTopUp {
        amount: Amount::new(5),
        envelope,
    };
    first.pending_top_up = Some(top_up);
    state.save(&first).unwrap();
    state.save(&record(2)).unwrap();
    drop(state);
    let mut read = StateDir::take(root.path(), PAYER).unwrap().load().unwrap();
    read.sort_by_key(|record| record.channel);
    assert_eq!(read, [first, record(2)]);
}

#[test]
fn a_second_holder_is_told_so_and_another_key_is_not_in_its_way() {
    let root = tempfile::tempdir().unwrap();
    let held = StateDir::take(root.path(), PAYER).unwrap();
    assert!(matches!(
        StateDir::take(root.path(), PAYER),
        Err(StateError::InUse(_))
    ));
    assert!(StateDir::take(root.path(), Address::repeat_byte(0xab)).is_ok());
    drop(held);
    assert!(StateDir::take(root.path(), PAYER).is_ok());
}

#[test]
fn threat_s2_a_crash_between_write_and_rename_leaves_the_old_record() {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::take(root.path(), PAYER).unwrap();
    state.save(&record(1)).unwrap();
    let newer = ChannelRecord {
        signed: Cumulative::new(7),
        ..record(1)
    };
    let whole = serde_json::to_vec_pretty(&newer).unwrap();
    let part = state
        .path()
        .join(format!("{}.json{PART_SUFFIX}", record(1).channel));
    for cut in 0..=whole.len() {
        fs::write(&part, &whole[..cut]).unwrap();
        assert_eq!(state.load().unwrap(), [record(1)]);
        assert!(!part.exists());
    }
    state.save(&newer).unwrap();
    assert_eq!(state.load().unwrap(), [newer]);
}

#[test]
fn a_broken_record_is_an_error_and_is_left_where_it_is() {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::take(root.path(), PAYER).unwrap();
    let place = state.file_of(record(1).channel);
    let of_another_format = serde_json::to_vec(&ChannelRecord {
        format: 2,
        ..record(1)
    })
    .unwrap();
    let under_another_name = serde_json::to_vec(&record(2)).unwrap();
    for bytes in [b"".as_slice(), b"{", &of_another_format, &under_another_name] {
        fs::write(&place, bytes).unwrap();
        assert!(matches!(state.load(), Err(StateError::Broken(path)) if path == place));
        assert_eq!(fs::read(&place).unwrap(), bytes);
    }
}

#[cfg(unix)]
#[test]
fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::take(root.path(), PAYER).unwrap();
    state.save(&record(1)).unwrap();
    state.receipts().unwrap().append("{}").unwrap();
    for entry in fs::read_dir(state.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            entry.path()
        );
    }
    assert_eq!(
        fs::metadata(state.path()).unwrap().permissions().mode() & 0o077,
        0
    );
}

#[test]
fn receipts_are_appended_across_restarts() {
    let root = tempfile::tempdir().unwrap();
    for line in ["{\"a\":1}", "{\"a\":2}"] {
        let state = StateDir::take(root.path(), PAYER).unwrap();
        state.receipts().unwrap().append(line).unwrap();
    }
    let state = StateDir::take(root.path(), PAYER).unwrap();
    let log = state.receipts().unwrap();
    assert_eq!(fs::read_to_string(log.path()).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
}

#[test]
fn a_directory_that_cannot_be_looked_for_is_not_called_missing() {
    let folder = tempfile::tempdir().unwrap();
    let payer = Address::repeat_byte(1);
    assert!(!StateDir::is_there(folder.path(), payer).unwrap());
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let said = StateDir::is_there(&file, payer).unwrap_err();
    assert!(matches!(said, StateError::Disk { .. }), "{said}");
}
