//! How many connections each peer holds: one that opens more than its share is turned away, not everybody (threat H4).

use prometheus_client::metrics::counter::Counter;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pause between two words in the log about connections that were turned away.
const WARN_PAUSE: Duration = Duration::from_secs(60);
/// The bits of an IPv6 address that tell peers apart: whoever has one such address has the whole /64.
const IPV6_PREFIX: u32 = 64;

/// The peers of one listener. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Peers {
    each_max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    turned_away: Counter,
    warned: Arc<Mutex<Option<Instant>>>,
}

/// One connection's place; dropped when it ends.
#[derive(Debug)]
pub struct Place {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// Peers that may hold so many connections each; what is turned away is counted.
    pub fn new(each_max: usize, turned_away: Counter) -> Self {
        Self {
            each_max,
            open: Arc::default(),
            turned_away,
            warned: Arc::default(),
        }
    }

    /// A place for a connection from this address, unless its peer has its share. That is told to the operator: it may be
    /// a load balancer, behind which many payers have one address.
    pub fn admit(&self, address: IpAddr) -> Option<Place> {
        let peer = peer(address);
        let mut open = self.lock();
        let held = open.entry(peer).or_default();
        if *held >= self.each_max {
            drop(open);
            self.turn_away(peer);
            return None;
        }
        *held += 1;
        drop(open);
        let peers = self.clone();
        Some(Place { peers, peer })
    }

    fn turn_away(&self, peer: IpAddr) {
        self.turned_away.inc();
        if self.must_warn(Instant::now()) {
            tracing::warn!(
                %peer,
                connections_per_peer = self.each_max,
                turned_away = self.turned_away.get(),
                "a peer has its share of connections, and its next ones are turned away; raise \
                 server.connections_per_peer if many payers share this address"
            );
        }
    }

    /// Whether it is time for another word in the log: whoever knocks all the time fills no disk.
    fn must_warn(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.is_none_or(|last| now.duration_since(last) >= WARN_PAUSE);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        let Some(held) = open.get_mut(&self.peer) else {
            return;
        };
        *held -= 1;
        if *held == 0 {
            open.remove(&self.peer);
        }
    }
}

/// Who is behind an address.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX));
            IpAddr::V6(prefix.into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(peers: &Peers, address: &str) -> Option<Place> {
        peers.admit(address.parse().unwrap())
    }

    #[test]
    fn threat_h4_a_peer_has_its_share_and_gets_it_back() {
        let peers = Peers::new(2, Counter::default());
        let (first, second) = (admit(&peers, "192.0.2.1"), admit(&peers, "192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(admit(&peers, "192.0.2.1").is_none(), "its share is taken");
        assert!(
            admit(&peers, "::ffff:192.0.2.1").is_none(),
            "another spelling of its address"
        );
        assert!(admit(&peers, "192.0.2.2").is_some(), "its neighbour has another");
        assert_eq!(peers.turned_away.get(), 2);
        drop(first);
        let again = admit(&peers, "192.0.2.1");
        assert!(again.is_some() && admit(&peers, "192.0.2.1").is_none());
        drop((second, again));
        assert!(peers.lock().is_empty(), "who has gone leaves nothing behind");
    }

    #[test]
    fn the_log_hears_of_it_once_a_minute() {
        let (peers, now) = (Peers::new(1, Counter::default()), Instant::now());
        assert!(peers.must_warn(now) && !peers.must_warn(now));
        assert!(
            !peers
                .clone()
                .must_warn(now + WARN_PAUSE - Duration::from_millis(1))
        );
        assert!(peers.must_warn(now + WARN_PAUSE));
    }

    #[test]
    fn threat_h4_the_addresses_of_one_ipv6_network_are_one_peer() {
        let peers = Peers::new(1, Counter::default());
        let _place = admit(&peers, "2001:db8:0:1::1");
        assert!(admit(&peers, "2001:db8:0:1:ffff:ffff:ffff:ffff").is_none());
        assert!(admit(&peers, "2001:db8:0:2::1").is_some());
    }
}
