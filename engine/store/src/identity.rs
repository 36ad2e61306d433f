//! What a store knows about itself: format, birth, id.

use crate::backend::Backend;
use crate::queue::Group;
use crate::{Row, StoreFault, Table};

/// The newest format that this program reads and the one it writes.
pub const FORMAT_NEWEST: u32 = 1;

const KEY_FORMAT: &[u8] = b"format";
const KEY_BORN: &[u8] = b"born";
const KEY_ID: &[u8] = b"id";

/// What the caller gives a store that does not exist yet: time and randomness are parameters here. An existing
/// store keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Now. Channels opened before it can be settled but never charged.
    pub unix_seconds: u64,
    /// 16 random bytes.
    pub id: [u8; 16],
}

/// Format, birth and id of an open store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The format on disk.
    pub format: u32,
    /// When and as what the store was made.
    pub birth: Birth,
}

/// Whether a row may only be written by this module.
pub(crate) fn reserved(row: &Row) -> bool {
    row.table == Table::Meta && [KEY_FORMAT, KEY_BORN, KEY_ID].contains(&row.key.as_slice())
}

/// Writes the identity of a new store, and syncs.
pub(crate) fn write(backend: &impl Backend, birth: Birth) -> Result<(), StoreFault> {
    let mut group = Group::default();
    group.add(vec![
        Row::put(Table::Meta, KEY_FORMAT, FORMAT_NEWEST.to_be_bytes()),
        Row::put(Table::Meta, KEY_BORN, birth.unix_seconds.to_be_bytes()),
        Row::put(Table::Meta, KEY_ID, birth.id),
    ]);
    let fault = |why| StoreFault::disk("writing the identity of a new store", why);
    backend.apply(&group).map_err(fault)?;
    backend.sync().map_err(fault)
}

/// Reads the identity of an existing store; `None` when nothing was ever written.
pub(crate) fn read(backend: &impl Backend) -> Result<Option<Identity>, StoreFault> {
    let Some(format) = field(backend, KEY_FORMAT)? else {
        return Ok(None);
    };
    let format = u32::from_be_bytes(format);
    if format > FORMAT_NEWEST {
        return Err(StoreFault::NewerFormat {
            found: format,
            newest: FORMAT_NEWEST,
        });
    }
    let missing = |name| StoreFault::Damaged {
        why: format!("no meta row {name:?}"),
    };
    let born = field(backend, KEY_BORN)?.ok_or_else(|| missing("born"))?;
    let id = field(backend, KEY_ID)?.ok_or_else(|| missing("id"))?;
    Ok(Some(Identity {
        format,
        birth: Birth {
            unix_seconds: u64::from_be_bytes(born),
            id,
        },
    }))
}

fn field<const N: usize>(backend: &impl Backend, key: &[u8]) -> Result<Option<[u8; N]>, StoreFault> {
    let name = String::from_utf8_lossy(key);
    let bytes = backend
        .get(Table::Meta, key)
        .map_err(|why| StoreFault::disk(format!("reading meta row {name:?}"), why))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let found = bytes.len();
    <[u8; N]>::try_from(bytes)
        .map(Some)
        .map_err(|_| StoreFault::Damaged {
            why: format!("meta row {name:?} has {found} bytes, not {N}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    #[test]
    fn a_newer_format_is_refused() {
        let image = memory::Image::default();
        let birth = Birth {
            unix_seconds: 1,
            id: [1; 16],
        };
        memory::open(&image, birth).unwrap().close().unwrap();
        let mut group = Group::default();
        group.add(vec![Row::put(Table::Meta, KEY_FORMAT, 2u32.to_be_bytes())]);
        image.backend().apply(&group).unwrap();
        let refused = memory::open(&image, birth).err().unwrap();
        assert_eq!(refused, StoreFault::NewerFormat { found: 2, newest: 1 });
    }

    #[test]
    fn a_missing_birth_is_damage_and_not_a_new_store() {
        let image = memory::Image::default();
        let birth = Birth {
            unix_seconds: 1,
            id: [1; 16],
        };
        memory::open(&image, birth).unwrap().close().unwrap();
        let mut group = Group::default();
        group.add(vec![Row::delete(Table::Meta, KEY_BORN)]);
        image.backend().apply(&group).unwrap();
        assert!(matches!(
            memory::open(&image, birth),
            Err(StoreFault::Damaged { .. })
        ));
    }
}
