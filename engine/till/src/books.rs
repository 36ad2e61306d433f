//! How channels and used credentials are written down.

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

fn read_all_as<T>(
    journal: &dyn Journal,
    table: Table,
    read: impl Fn(&[u8]) -> Result<T, RecordFault>,
) -> Result<Vec<(Vec<u8>, T)>, BooksFault> {
    let mut records = Vec::new();
    let mut broken = None;
    journal.scan(table, &mut |key, value| match read(value) {
        Ok(record) => {
            records.push((key.to_vec(), record));
            ControlFlow::Continue(())
        }
        Err(fault) => {
            broken = Some(BooksFault::Record { table, fault });
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(records), Err)
}

/// Version of the channel record.
///
/// Version 1 ended before `accounted`, `closed_by` and `over`.
pub const CHANNEL_RECORD_VERSION: u8 = 2;

/// Zero, none and no, as version 2 spells them after what version 1 kept.
const CHANNEL_SINCE_VERSION_2: [u8; 3] = [0; 3];

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
            1 => codec::body::<Channel>(&[body, &CHANNEL_SINCE_VERSION_2].concat())
                .map(Channel::with_settlements_accounted),
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
    use alloy_primitives::{Address, B256};
    use weir_core::{ChainState, Cumulative, Terms};
    use weir_store::Birth;
    use weir_store::memory::{self, Image};

    #[tokio::test]
    async fn a_channel_of_version_1_is_read_and_its_settlements_count_as_decided() {
        let terms = Terms {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            token: Address::repeat_byte(3),
            authorized_signer: Address::ZERO,
        };
        let state = ChainState {
            deposit: Cumulative::new(100),
            settled: Cumulative::ZERO,
            close_requested_at: None,
            finalized: false,
        };
        let channel = Channel::adopt(ChannelId(B256::repeat_byte(4)), terms, state, false);
        let mut old = codec::encode(1, &channel).unwrap();
        old.truncate(old.len() - CHANNEL_SINCE_VERSION_2.len());
        let birth = Birth {
            unix_seconds: 1,
            id: [7; 16],
        };
        let journal = memory::open(&Image::default(), birth).unwrap();
        let row = Row::put(Table::Channels, channel.id().as_bytes().to_vec(), old);
        journal.submit(vec![row]).unwrap().await.unwrap();
        assert_eq!(read_channels(&*journal).unwrap(), [channel]);
    }
}
