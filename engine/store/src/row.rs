//! Rows: what the journal stores, without knowing what it means.

/// The longest key of a row.
pub const KEY_BYTES_MAX: usize = 256;

/// The longest value of a row.
///
/// sled moves a tree node of more than a quarter of a segment into a file of its own, which it never syncs. A
/// leaf holds at most 17 rows, so this limit keeps every leaf inline (checked where the segment size is set).
pub const VALUE_BYTES_MAX: usize = 32 * 1024;

/// The tables of the journal. The numbers are part of the format on disk: add new ones, never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// What the store knows about itself; `format`, `born` and `id` are written by this crate alone.
    Meta = 1,
    /// One row per channel: balances, best vouchers, freeze state.
    Channels = 2,
    /// Credentials that have bought content.
    UsedCredentials = 3,
    /// Settlement attempts.
    Attempts = 4,
    /// Signed transactions, written before they are broadcast.
    Envelopes = 5,
    /// How far the chain has been read.
    ChainCursor = 6,
    /// Approvals, refusals, write-offs.
    Audit = 7,
    /// Answers kept for repeated requests.
    Idempotency = 8,
    /// Transactions that payers signed, written before they are broadcast.
    Submissions = 9,
    /// Payments of single answers, and whether these were delivered.
    Charges = 10,
    /// Deposits that payers signed for, with the envelopes that pull them.
    Fundings = 11,
}

impl Table {
    /// Every table, in the order of the numbers on disk.
    pub const ALL: [Self; 11] = [
        Self::Meta,
        Self::Channels,
        Self::UsedCredentials,
        Self::Attempts,
        Self::Envelopes,
        Self::ChainCursor,
        Self::Audit,
        Self::Idempotency,
        Self::Submissions,
        Self::Charges,
        Self::Fundings,
    ];

    /// What a row of this table adds to a group at least, in bytes. sled rewrites a whole leaf now and then, whatever
    /// touched it: where values are long, a deletion costs what a value does.
    pub(crate) const fn row_bytes_min(self) -> usize {
        match self {
            Self::Idempotency => VALUE_BYTES_MAX,
            _ => 0,
        }
    }

    /// The first byte of every key of this table.
    pub(crate) const fn prefix(self) -> u8 {
        self as u8
    }
}

/// One row to write, or to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The table it belongs to.
    pub table: Table,
    /// Its key in that table, at most [`KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    /// Its new value, at most [`VALUE_BYTES_MAX`] bytes; `None` deletes the row.
    pub value: Option<Vec<u8>>,
}

impl Row {
    /// A row to write.
    pub fn put(table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            table,
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// A row to delete; deleting what is not there is no fault.
    pub fn delete(table: Table, key: impl Into<Vec<u8>>) -> Self {
        Self {
            table,
            key: key.into(),
            value: None,
        }
    }

    /// What the row adds to a group, for the limits.
    pub(crate) fn bytes(&self) -> usize {
        weight(self.table, self.key.len() + 1, self.value.as_deref())
    }
}

/// The bytes of one address and its value, or what its table's leaves make of it.
pub(crate) fn weight(table: Table, address_bytes: usize, value: Option<&[u8]>) -> usize {
    let bytes = address_bytes + value.map_or(0, <[u8]>::len);
    bytes.max(table.row_bytes_min())
}

/// The key in the one flat key space that a backend keeps: table number, then key.
///
/// One key space for all tables, because a charge and its used credential must land in one atomic batch.
pub(crate) fn address(table: Table, key: &[u8]) -> Vec<u8> {
    let mut address = Vec::with_capacity(key.len() + 1);
    address.push(table.prefix());
    address.extend_from_slice(key);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_heavy_leaves_weighs_a_value_whatever_it_does() {
        for table in Table::ALL {
            let light = table.row_bytes_min();
            assert_eq!(Row::delete(table, [1; 7]).bytes(), light.max(8), "{table:?}");
            assert_eq!(
                Row::put(table, [1; 7], [2; 9]).bytes(),
                light.max(17),
                "{table:?}"
            );
            let most = vec![2; VALUE_BYTES_MAX];
            assert_eq!(Row::put(table, [1; 7], most).bytes(), 8 + VALUE_BYTES_MAX);
        }
        assert_eq!(Row::delete(Table::Idempotency, [1; 7]).bytes(), VALUE_BYTES_MAX);
    }
}
