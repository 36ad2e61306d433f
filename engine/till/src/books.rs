//! How channels and used credentials are written down.

use alloy_primitives::{Address, B256};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;
use weir_core::{Channel, ChannelId, UnixSeconds};
use weir_protocol::ChallengeTag;
use weir_store::codec::RecordFault;
use weir_store::{Journal, Row, StoreFault, Table, codec};

/// The books cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BooksFault {
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// A record cannot be read or written.
    #[error("a record of table {table:?}: {fault}")]
    Record {
        /// Where it stands.
        table: Table,
        /// What is wrong with it.
        fault: RecordFault,
    },
}

/// Spells a record.
pub(crate) fn spell<T: Serialize>(
    table: Table,
    version: u8,
    key: Vec<u8>,
    record: &T,
) -> Result<Row, BooksFault> {
    let value = codec::encode(version, record).map_err(|fault| BooksFault::Record { table, fault })?;
    Ok(Row::put(table, key, value))
}

/// Reads every record of a table, in the order of the keys.
pub(crate) fn read_all<T: DeserializeOwned>(
    journal: &dyn Journal,
    table: Table,
    version: u8,
) -> Result<Vec<(Vec<u8>, T)>, BooksFault> {
    read_all_as(journal, table, |value| codec::decode(version, value))
}

pub(crate) fn read_all_as<T>(
    journal: &dyn Journal,
    table: Table,
    read: impl Fn(&[u8]) -> Result<T, RecordFault>,
) -> Result<Vec<(Vec<u8>, T)>, BooksFault> {
    let mut records = Vec::new();
    read_each(journal, table, read, |key, record| {
        records.push((key.to_vec(), record))
    })?;
    Ok(records)
}

/// Reads the records of a table one by one, in the order of the keys.
pub(crate) fn read_each<T>(
    journal: &dyn Journal,
    table: Table,
    read: impl Fn(&[u8]) -> Result<T, RecordFault>,
    mut each: impl FnMut(&[u8], T),
) -> Result<(), BooksFault> {
    let mut broken = None;
    journal.scan(table, &mut |key, value| match read(value) {
        Ok(record) => {
            each(key, record);
            ControlFlow::Continue(())
        }
        Err(fault) => {
            broken = Some(BooksFault::Record { table, fault });
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(()), Err)
}

/// Version of the channel record.
///
/// Version 1 ended before `accounted`, `closed_by` and `over`. Version 2 knew of no terms of the reserve.
pub const CHANNEL_RECORD_VERSION: u8 = 3;

/// Zero, none and no, as version 2 spells them after what version 1 kept.
const CHANNEL_SINCE_VERSION_2: [u8; 3] = [0; 3];

/// None, as version 3 spells it behind the four addresses of the terms.
const RESERVE_SINCE_VERSION_3: [u8; 1] = [0];

/// A body of version 2 as version 3 spells it. What stands before the gap has one length: an id and four addresses.
fn of_a_contract(body: &[u8]) -> Result<Vec<u8>, RecordFault> {
    let fixed = (ChannelId(B256::ZERO), [Address::ZERO; 4]);
    let length = codec::encode(CHANNEL_RECORD_VERSION, &fixed)?.len() - 1;
    let (before, after) = body
        .split_at_checked(length)
        .ok_or_else(|| RecordFault::Corrupt {
            why: "it ends before its terms do".to_owned(),
        })?;
    Ok([before, &RESERVE_SINCE_VERSION_3, after].concat())
}

/// The row that holds a channel.
pub fn channel_row(channel: &Channel) -> Result<Row, BooksFault> {
    spell(
        Table::Channels,
        CHANNEL_RECORD_VERSION,
        channel.id().as_bytes().to_vec(),
        channel,
    )
}

/// Reads every channel.
pub fn read_channels(journal: &dyn Journal) -> Result<Vec<Channel>, BooksFault> {
    let records = read_all_as(journal, Table::Channels, |value| {
        codec::decode_any(CHANNEL_RECORD_VERSION, value, |version, body| match version {
            1 => codec::body::<Channel>(&of_a_contract(&[body, &CHANNEL_SINCE_VERSION_2].concat())?)
                .map(Channel::with_settlements_accounted),
            2 => codec::body(&of_a_contract(body)?),
            _ => codec::body(body),
        })
    })?;
    Ok(records.into_iter().map(|(_, channel)| channel).collect())
}

/// A challenge that has bought its content on a channel, and until when it could be sent again.
///
/// Keys sort by expiry, so that the expired ones are at the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsedCredential {
    /// When the challenge expires.
    pub expires: UnixSeconds,
    /// The channel it bought on.
    pub channel: ChannelId,
    /// The challenge.
    pub tag: ChallengeTag,
}

const USED_KEY_BYTES: usize = 8 + 32 + 32;

impl UsedCredential {
    fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(USED_KEY_BYTES);
        key.extend_from_slice(&self.expires.0.to_be_bytes());
        key.extend_from_slice(self.channel.as_bytes());
        key.extend_from_slice(&self.tag.0);
        key
    }

    fn from_key(key: &[u8]) -> Option<Self> {
        let expires = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
        let channel: [u8; 32] = key.get(8..40)?.try_into().ok()?;
        let tag: [u8; 32] = key.get(40..USED_KEY_BYTES)?.try_into().ok()?;
        Some(Self {
            expires: UnixSeconds(expires),
            channel: ChannelId(channel.into()),
            tag: ChallengeTag(tag),
        })
    }

    /// The row that remembers it.
    pub fn remember(&self) -> Row {
        Row::put(Table::UsedCredentials, self.key(), Vec::new())
    }

    /// The row that forgets it.
    pub fn forget(&self) -> Row {
        Row::delete(Table::UsedCredentials, self.key())
    }
}

/// Reads every used credential.
pub fn read_used(journal: &dyn Journal) -> Result<Vec<UsedCredential>, BooksFault> {
    let mut used = Vec::new();
    journal.scan(Table::UsedCredentials, &mut |key, _| {
        used.extend(UsedCredential::from_key(key));
        ControlFlow::Continue(())
    })?;
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::{ChainState, Cumulative, ReserveTerms, Terms};
    use weir_store::Birth;
    use weir_store::memory::{self, Image};

    /// The deposit of a payer, as books of any age hold it.
    fn channel(reserve: Option<ReserveTerms>) -> Channel {
        let terms = Terms {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            token: Address::repeat_byte(3),
            authorized_signer: Address::ZERO,
            reserve,
        };
        let state = ChainState {
            deposit: Cumulative::new(100),
            settled: Cumulative::ZERO,
            close_requested_at: None,
            finalized: false,
        };
        Channel::adopt(ChannelId(B256::repeat_byte(4)), terms, state, false)
    }

    /// What is read of a channel whose record has these bytes.
    async fn reread(channel: &Channel, record: Vec<u8>) -> Result<Vec<Channel>, BooksFault> {
        let birth = Birth {
            unix_seconds: 1,
            id: [7; 16],
        };
        let journal = memory::open(&Image::default(), birth).unwrap();
        let row = Row::put(Table::Channels, channel.id().as_bytes().to_vec(), record);
        journal.submit(vec![row]).unwrap().await.unwrap();
        read_channels(&*journal)
    }

    /// A record of before there were terms of the reserve. The place of their none is found apart from the code that
    /// puts it back: it is the only byte by which a channel with and without them differ first.
    fn of_version(version: u8, channel: &Channel) -> Vec<u8> {
        let with = self::channel(Some(ReserveTerms {
            operator: Address::ZERO,
            salt: B256::ZERO,
            expiring_nonce_hash: B256::ZERO,
        }));
        let mut record = codec::encode(version, channel).unwrap();
        let other = codec::encode(version, &with).unwrap();
        let gap = record.iter().zip(&other).position(|(a, b)| a != b).unwrap();
        record.remove(gap);
        record
    }

    #[tokio::test]
    async fn a_channel_of_version_1_is_read_and_its_settlements_count_as_decided() {
        let channel = channel(None);
        let mut old = of_version(1, &channel);
        old.truncate(old.len() - CHANNEL_SINCE_VERSION_2.len());
        assert_eq!(reread(&channel, old).await.unwrap(), [channel]);
    }

    #[tokio::test]
    async fn a_channel_of_version_2_is_a_contracts() {
        let channel = channel(None);
        let old = of_version(2, &channel);
        assert_eq!(
            reread(&channel, old.clone()).await.unwrap(),
            std::slice::from_ref(&channel)
        );
        for cut in [old.len() - 1, 40, 1] {
            let torn = reread(&channel, old[..cut].to_vec()).await;
            assert!(torn.is_err(), "cut to {cut} bytes");
        }
    }

    #[tokio::test]
    async fn a_channel_of_the_reserve_keeps_what_its_id_binds() {
        let channel = channel(Some(ReserveTerms {
            operator: Address::repeat_byte(5),
            salt: B256::repeat_byte(6),
            expiring_nonce_hash: B256::repeat_byte(7),
        }));
        let row = codec::encode(CHANNEL_RECORD_VERSION, &channel).unwrap();
        assert_eq!(reread(&channel, row).await.unwrap(), [channel]);
    }
}
