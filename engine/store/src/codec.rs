//! Versioned records: one byte of schema version, then postcard.
//!
//! A record type raises its version with each change of its fields and keeps reading the older ones:
//!
//! ```
//! use weir_store::codec::{self, RecordFault};
//!
//! let bytes = codec::encode(1, &7u32)?;
//! // Version 2 counts in u64.
//! let read = codec::decode_any(2, &bytes, |version, body| match version {
//!     1 => codec::body::<u32>(body).map(u64::from),
//!     _ => codec::body::<u64>(body),
//! })?;
//! assert_eq!(read, 7);
//! # Ok::<(), RecordFault>(())
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a record can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// A version that this program does not know.
    #[error("record version {found} is unknown, the newest known one is {newest}")]
    UnknownVersion {
        /// In the record.
        found: u8,
        /// Known here.
        newest: u8,
    },
    /// The bytes are not what the version says.
    #[error("record is corrupt: {why}")]
    Corrupt {
        /// What postcard said.
        why: String,
    },
    /// The value has a shape that can't be written.
    #[error("record can't be encoded: {why}")]
    Unencodable {
        /// What postcard said.
        why: String,
    },
}

/// Encodes a value under a schema version.
///
/// # Errors
/// `Unencodable`, for values that postcard has no form for (sequences of unknown length).
pub fn encode<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, RecordFault> {
    postcard::to_extend(value, vec![version]).map_err(|error| RecordFault::Unencodable {
        why: error.to_string(),
    })
}

/// Decodes a value that has had only one version so far.
///
/// # Errors
/// `UnknownVersion` for any other, `Corrupt`.
pub fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, RecordFault> {
    decode_any(version, bytes, |found, rest| {
        if found == version {
            body(rest)
        } else {
            Err(RecordFault::UnknownVersion {
                found,
                newest: version,
            })
        }
    })
}

/// Decodes a value of any version up to the newest: `read` gets the version and the bytes after it.
///
/// # Errors
/// `UnknownVersion` for one above the newest, `Corrupt`, and what `read` says.
pub fn decode_any<T>(
    newest: u8,
    bytes: &[u8],
    read: impl FnOnce(u8, &[u8]) -> Result<T, RecordFault>,
) -> Result<T, RecordFault> {
    let (&found, rest) = bytes.split_first().ok_or_else(|| RecordFault::Corrupt {
        why: "no bytes".to_owned(),
    })?;
    if found > newest {
        return Err(RecordFault::UnknownVersion { found, newest });
    }
    read(found, rest)
}

/// Decodes what follows the version, to its last byte.
///
/// # Errors
/// `Corrupt`, also for bytes that are left over.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordFault> {
    let corrupt = |why: String| RecordFault::Corrupt { why };
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| corrupt(error.to_string()))?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(corrupt(format!("{} bytes left over", rest.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_with_its_version_first() {
        let record = (42u64, "voucher".to_owned(), vec![1u8, 2, 3]);
        let bytes = encode(3, &record).unwrap();
        assert_eq!(bytes[0], 3);
        assert_eq!(decode::<(u64, String, Vec<u8>)>(3, &bytes).unwrap(), record);
    }

    #[test]
    fn newer_and_older_versions_are_named() {
        let bytes = encode(2, &1u8).unwrap();
        assert_eq!(
            decode::<u8>(1, &bytes),
            Err(RecordFault::UnknownVersion { found: 2, newest: 1 })
        );
        assert_eq!(
            decode::<u8>(3, &bytes),
            Err(RecordFault::UnknownVersion { found: 2, newest: 3 })
        );
    }

    #[test]
    fn cut_empty_and_padded_records_are_corrupt() {
        let bytes = encode(1, &"twelve bytes").unwrap();
        let corrupt = |bytes: &[u8]| matches!(decode::<String>(1, bytes), Err(RecordFault::Corrupt { .. }));
        assert!((1..bytes.len()).all(|cut| corrupt(&bytes[..cut])));
        assert!(corrupt(&[]));
        assert!(corrupt(&[bytes.as_slice(), &[0]].concat()));
    }
}
