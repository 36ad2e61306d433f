//! The proof behind every receipt.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use crate::StoreFault;
use crate::queue::Shared;

/// A value whose rows are on the disk. Only this crate makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Durable<T> {
    value: T,
}

impl<T> Durable<T> {
    /// The value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// The value, giving up the proof.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// What follows from a durable value is as durable as it is.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Durable<U> {
        Durable {
            value: change(self.value),
        }
    }
}

/// The promise of a submission: resolves when its rows and all earlier ones are durable, or fails with the store.
///
/// A dropped ticket takes nothing back: its rows are still written.
#[derive(Debug)]
#[must_use = "nothing is known to be durable until the ticket resolves"]
pub struct Ticket {
    shared: Arc<Shared>,
    sequence: u64,
    /// Tells apart the tickets that wait for the same sequence number.
    number: u64,
}

impl Ticket {
    pub(crate) fn new(shared: Arc<Shared>, sequence: u64, number: u64) -> Self {
        Self {
            shared,
            sequence,
            number,
        }
    }

    /// Waits, then vouches that the value is durable. The value must be what the submitted rows say.
    ///
    /// # Errors
    /// `Poisoned` when the rows may not be on the disk.
    pub async fn with<T>(self, value: T) -> Result<Durable<T>, StoreFault> {
        self.await?;
        Ok(Durable { value })
    }

    /// As [`with`](Self::with), blocking the thread. Not for async tasks.
    ///
    /// # Errors
    /// `Poisoned` when the rows may not be on the disk.
    pub fn wait_with<T>(mut self, value: T) -> Result<Durable<T>, StoreFault> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(outcome) => return outcome.map(|()| Durable { value }),
                Poll::Pending => std::thread::park(),
            }
        }
    }
}

impl Future for Ticket {
    type Output = Result<(), StoreFault>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.shared.poll(self.sequence, self.number, context.waker())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.forget(self.sequence, self.number);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
