//! Nonces without gaps and without doubles, however many tasks ask (threat T2).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Pool {
    /// The lowest nonce never handed out.
    next: u64,
    /// Handed out and given back unused.
    returned: BTreeSet<u64>,
}

/// The nonces of one account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nonces(Arc<Mutex<Pool>>);

impl Nonces {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Every change below is one assignment or one set operation: a panic elsewhere left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that this nonce is in use, by an envelope of an earlier run.
    pub(crate) fn used(&self, nonce: u64) {
        let mut pool = self.pool();
        let first = pool.next;
        if nonce >= first {
            pool.next = nonce.saturating_add(1);
        }
        pool.returned.remove(&nonce);
    }

    /// Takes the lowest free nonce, given how many transactions the chain has of this account, pending ones included.
    ///
    /// The chain may lag behind our memory, but what it knows to be used is used.
    pub(crate) fn take(&self, on_chain: u64) -> Nonce {
        let mut pool = self.pool();
        pool.next = pool.next.max(on_chain);
        pool.returned = pool.returned.split_off(&on_chain);
        let number = pool.returned.pop_first().unwrap_or_else(|| {
            let fresh = pool.next;
            pool.next = fresh.saturating_add(1);
            fresh
        });
        drop(pool);
        Nonce {
            number,
            home: Some(self.clone()),
        }
    }

    fn give_back(&self, nonce: u64) {
        let mut pool = self.pool();
        if nonce < pool.next {
            pool.returned.insert(nonce);
        }
        // The newest ones were never there; what stays lies below a nonce that is in use or on loan.
        while let Some(newest) = pool.next.checked_sub(1) {
            if !pool.returned.remove(&newest) {
                break;
            }
            pool.next = newest;
        }
    }

    /// The lowest nonce that was given back after a higher one had been taken.
    pub(crate) fn take_hole(&self) -> Option<Nonce> {
        let number = self.pool().returned.pop_first()?;
        Some(Nonce {
            number,
            home: Some(self.clone()),
        })
    }
}

/// A nonce on loan. Dropped without [`keep`](Self::keep), it goes to the next who asks, so that a call that was
/// given up leaves no gap behind which everything later would wait.
#[derive(Debug)]
#[must_use = "a nonce that is neither kept nor dropped blocks all later ones"]
pub struct Nonce {
    number: u64,
    home: Option<Nonces>,
}

impl Nonce {
    /// Its number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// It is used for good. Call it once the envelope is durable, before the broadcast.
    pub fn keep(mut self) -> u64 {
        self.home = None;
        self.number
    }
}

impl Drop for Nonce {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_given_back_is_the_next_one() {
        let nonces = Nonces::default();
        assert_eq!(nonces.take(7).keep(), 7);
        let (eight, nine) = (nonces.take(7), nonces.take(7));
        assert_eq!((eight.number(), nine.keep()), (8, 9));
        drop(eight);
        assert_eq!(nonces.take(7).keep(), 8);
        assert_eq!(nonces.take(7).keep(), 10);
    }

    #[test]
    fn a_hole_can_be_filled_when_nobody_else_asks() {
        let nonces = Nonces::default();
        let (zero, one, two) = (nonces.take(0), nonces.take(0), nonces.take(0));
        drop((zero, two));
        assert_eq!(one.keep(), 1);
        assert_eq!(nonces.take_hole().map(Nonce::keep), Some(0));
        assert!(
            nonces.take_hole().is_none(),
            "2 was the newest: nothing waits behind it"
        );
        assert_eq!(nonces.take(0).keep(), 2);
    }

    #[test]
    fn what_the_chain_knows_to_be_used_is_used() {
        let nonces = Nonces::default();
        drop((nonces.take(0), nonces.take(0)));
        assert_eq!(
            nonces.take(5).keep(),
            5,
            "0 and 1 were given back, but are used on the chain"
        );
        assert_eq!(
            nonces.take(0).keep(),
            6,
            "a lagging node does not make us repeat ourselves"
        );
    }

    #[test]
    fn envelopes_of_an_earlier_run_keep_their_nonces() {
        let nonces = Nonces::default();
        nonces.used(3);
        assert_eq!(nonces.take(1).keep(), 4);
    }
}
