//! What the group commit asks of a disk. Crate-private: whoever implements it can make a `Durable` lie.

use crate::Table;
use crate::journal::Visit;
use crate::queue::Group;

/// Why a disk failed, in its own words.
pub(crate) type Why = String;

/// One key space that takes atomic groups.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Applies a group atomically; need not be durable yet.
    fn apply(&self, group: &Group) -> Result<(), Why>;
    /// Returns once everything applied survives a power cut.
    fn sync(&self) -> Result<(), Why>;
    /// The applied value.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Why>;
    /// The applied rows of a table, in the order of their keys.
    fn scan(&self, table: Table, visit: &mut Visit<'_>) -> Result<(), Why>;
}
