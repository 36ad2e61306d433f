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
    let mut records = Vec::new();
    let mut broken = None;
    journal.scan(table, &mut |key, value| match codec::decode(version, value) {
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
pub const CHANNEL_RECORD_VERSION: u8 = 1;

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
    let records = read_all(journal, Table::Channels, CHANNEL_RECORD_VERSION)?;
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
