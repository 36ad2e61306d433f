//! Who counts what happens at the gateway. A seller that counts nothing passes `()`.

use std::time::Duration;
use weir_protocol::problem::Problem;

/// Is told of what happens. It must return at once.
pub trait Watch: Send + Sync + 'static {
    /// An answer with 402 and a challenge.
    fn challenged(&self) {}

    /// A voucher was taken.
    fn voucher_accepted(&self) {}

    /// A credential was refused.
    fn refused(&self, _problem: &Problem) {}

    /// A delivery was charged for the first time.
    fn sold(&self) {}

    /// One more unit of a stream was charged.
    fn unit_sold(&self) {}

    /// A paid request was answered after so long.
    fn paid(&self, _took: Duration) {}

    /// The service gave no answer; how is told by a word of ours, as `timed_out`.
    fn upstream_failed(&self, _how: &'static str) {}
}

impl Watch for () {}
