//! How many connections each peer holds: one that opens more than its share is turned away, not everybody (threat H4).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one peer on one listener. Generous: whole offices share an address, and HTTP/2 needs one connection
/// for each payer.
pub const CONNECTIONS_PER_PEER_MAX: usize = 256;

/// The bits of an IPv6 address that tell peers apart: whoever has one such address has the whole /64.
const IPV6_PREFIX: u32 = 64;

/// The peers of one listener. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Peers {
    each_max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place; dropped when it ends.
#[derive(Debug)]
pub struct Place {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// Peers that may hold so many connections each.
    pub fn new(each_max: usize) -> Self {
        Self {
            each_max,
            open: Arc::default(),
        }
    }

    /// A place for a connection from this address, unless its peer has its share.
    pub fn admit(&self, address: IpAddr) -> Option<Place> {
        let peer = peer(address);
        let mut open = self.lock();
        let held = open.entry(peer).or_default();
        if *held >= self.each_max {
            return None;
        }
        *held += 1;
        drop(open);
        let peers = self.clone();
        Some(Place { peers, peer })
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
        let peers = Peers::new(2);
        let (first, second) = (admit(&peers, "192.0.2.1"), admit(&peers, "192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(admit(&peers, "192.0.2.1").is_none(), "its share is taken");
        assert!(
            admit(&peers, "::ffff:192.0.2.1").is_none(),
            "another spelling of its address"
        );
        assert!(admit(&peers, "192.0.2.2").is_some(), "its neighbour has another");
        drop(first);
        let again = admit(&peers, "192.0.2.1");
        assert!(again.is_some() && admit(&peers, "192.0.2.1").is_none());
        drop((second, again));
        assert!(peers.lock().is_empty(), "who has gone leaves nothing behind");
    }

    #[test]
    fn threat_h4_the_addresses_of_one_ipv6_network_are_one_peer() {
        let peers = Peers::new(1);
        let _place = admit(&peers, "2001:db8:0:1::1");
        assert!(admit(&peers, "2001:db8:0:1:ffff:ffff:ffff:ffff").is_none());
        assert!(admit(&peers, "2001:db8:0:2::1").is_some());
    }
}
