//! A journal in memory whose syncs happen when the simulation says so.
//!
//! The journal's committer is a thread of its own. It is parked where it wakes the last waiter of a group: the gate's
//! row is submitted last, and the gate's waker does not return until the next sync is wanted. So between two syncs
//! nothing becomes durable, and a seed tells the same story again.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use weir_store::faults::Plan;
use weir_store::memory::{self, Image};
use weir_store::{Birth, Health, Journal, Row, Table, Ticket};

const BIRTH: Birth = Birth {
    unix_seconds: crate::NOW,
    id: [7; 16],
};

#[derive(Debug, Default)]
struct Gate {
    /// The gate that the committer has come to, and the last one that is open.
    state: Mutex<(u64, u64)>,
    moved: Condvar,
}

impl Gate {
    fn open(&self, number: u64) {
        self.state.lock().unwrap().1 = number;
        self.moved.notify_all();
    }

    fn wait_reached(&self, number: u64) {
        let state = self.state.lock().unwrap();
        drop(
            self.moved
                .wait_while(state, |(reached, _)| *reached < number)
                .unwrap(),
        );
    }
}

struct Keeper {
    gate: Arc<Gate>,
    number: u64,
}

impl Wake for Keeper {
    fn wake(self: Arc<Self>) {
        let mut state = self.gate.state.lock().unwrap();
        state.0 = self.number;
        self.gate.moved.notify_all();
        drop(
            self.gate
                .moved
                .wait_while(state, |(_, open)| *open < self.number)
                .unwrap(),
        );
    }
}

/// One life of a journal over an image that outlives it.
pub(crate) struct Disk {
    image: Image,
    journal: Arc<dyn Journal>,
    gate: Arc<Gate>,
    gates: u64,
}

impl Disk {
    pub(crate) fn open(image: Image, faults: Plan) -> Self {
        let journal = memory::open_with_faults(&image, BIRTH, faults).unwrap();
        let mut disk = Self {
            image,
            journal,
            gate: Arc::default(),
            gates: 0,
        };
        // The committer is not parked yet and may be faster than the poll: then there is no gate to come to.
        while !disk.sync() && disk.is_healthy() {}
        disk
    }

    pub(crate) fn journal(&self) -> Arc<dyn Journal> {
        self.journal.clone()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.journal.health() == Health::Healthy
    }

    /// Makes everything submitted so far durable, or fails at it; the waiters are woken, and have not run yet.
    pub(crate) fn sync(&mut self) -> bool {
        let number = self.gates + 1;
        let row = Row::put(Table::Audit, b"gate", number.to_be_bytes());
        let Ok(ticket) = self.journal.submit(vec![row]) else {
            self.gate.open(u64::MAX);
            return false;
        };
        if !self.park(ticket, number) {
            return false;
        }
        self.gates = number;
        self.is_healthy()
    }

    fn park(&self, ticket: Ticket, number: u64) -> bool {
        let keeper = Keeper {
            gate: self.gate.clone(),
            number,
        };
        let waker = Waker::from(Arc::new(keeper));
        let mut ticket = pin!(ticket);
        match ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(_) => false,
            Poll::Pending => {
                self.gate.open(number - 1);
                self.gate.wait_reached(number);
                true
            }
        }
    }

    /// What a power cut leaves now.
    pub(crate) fn power_cut(&self) -> Image {
        self.image.crash()
    }

    /// What the end of the process leaves: also rows whose sync has failed.
    pub(crate) fn process_end(&self) -> Image {
        self.image.clone()
    }
}

impl Drop for Disk {
    /// Lets the committer run to its end; what it still writes reaches nobody.
    fn drop(&mut self) {
        self.gate.open(u64::MAX);
    }
}

/// The rows of an image as a restart would read them.
pub(crate) fn read_back(image: &Image) -> Arc<dyn Journal> {
    memory::open(&image.crash(), BIRTH).unwrap()
}
