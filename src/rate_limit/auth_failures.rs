//! Limits repeated failed authentications from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time in which failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// The longest `Retry-After`.
const LONGEST: Duration = Duration::from_secs(60);
/// Maximum number of addresses in one generation. There are two generations; an entry takes about
/// 80 bytes.
const ADDRESSES: usize = 8192;

/// Failed authentications of the last minutes.
///
/// Memory is bounded: beyond `ADDRESSES` in each generation, the oldest addresses are removed.
pub(super) struct AuthFailures {
    most: NonZeroU32,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    current: HashMap<IpAddr, Record>,
    /// The generation before. An address that fails again moves back to the current one.
    previous: HashMap<IpAddr, Record>,
}

#[derive(Clone, Copy)]
struct Record {
    window: Instant,
    failures: u32,
    /// Failures beyond the allowed number.
    excess: u32,
    until: Instant,
}

impl AuthFailures {
    /// Allows `most` failures per minute.
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self {
            most,
            recent: Mutex::default(),
        }
    }

    /// Counts a failure. If there were too many, returns how long to wait. The wait doubles each
    /// time.
    pub(super) fn count(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let address = network(peer);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = recent.take(&address).unwrap_or(Record::new(now));
        let wait = record.count(self.most.get(), now);
        recent.put(address, record);
        wait
    }
}

impl Recent {
    fn take(&mut self, address: &IpAddr) -> Option<Record> {
        let current = self.current.remove(address);
        current.or_else(|| self.previous.remove(address))
    }

    fn put(&mut self, address: IpAddr, record: Record) {
        if self.current.len() >= ADDRESSES {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(address, record);
    }
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            window: now,
            failures: 0,
            excess: 0,
            until: now,
        }
    }

    fn count(&mut self, most: u32, now: Instant) -> Option<Duration> {
        let age = now.duration_since(self.window);
        if age >= WINDOW {
            // An address that stayed within the limit for a whole window starts again at zero.
            if self.failures <= most || age >= 2 * WINDOW {
                self.excess = 0;
            }
            (self.window, self.failures) = (now, 0);
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures <= most && now >= self.until {
            return None;
        }
        let wait = Duration::from_secs(1 << self.excess.min(6)).min(LONGEST);
        self.excess = self.excess.saturating_add(1);
        self.until = now + wait;
        Some(wait)
    }
}

/// The network of one subscriber: an IPv4 address, or a `/64` of IPv6 (RFC 6177 §2).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(prefix).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(most: u32) -> AuthFailures {
        AuthFailures::new(NonZeroU32::new(most).expect("not zero"))
    }

    fn peer(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_wait_grows_and_is_reset() {
        let failures = failures(2);
        let (start, here) = (Instant::now(), peer("192.0.2.1"));
        let at = |seconds| failures.count(here, start + Duration::from_secs(seconds));
        let waits = |seconds: u64| at(seconds).map(|wait| wait.as_secs());
        assert_eq!([waits(0), waits(1)], [None, None]);
        let grown = [1, 2, 4, 8, 16, 32, 60, 60].map(Some);
        assert_eq!([(); 8].map(|()| waits(2)), grown);
        assert_eq!(waits(61), Some(60), "told to wait until 62");
        assert_eq!(waits(122), None, "waited");
        assert_eq!(
            [waits(123), waits(124)],
            [None, Some(1)],
            "after a minute with few"
        );
        assert_eq!(waits(183), None, "the next minute");
        assert_eq!(
            [waits(184), waits(185)],
            [None, Some(2)],
            "after one with too many"
        );
        assert_eq!([waits(500), waits(501), waits(502)], [None, None, Some(1)]);
    }

    #[test]
    fn addresses_are_grouped_by_subscriber_network() {
        let failures = failures(1);
        let now = Instant::now();
        let is_slowed = |text| failures.count(peer(text), now).is_some();
        assert!(!is_slowed("2001:db8:0:1::1"));
        assert!(is_slowed("2001:db8:0:1:ffff::2"));
        assert!(!is_slowed("2001:db8:0:2::1"));
        assert!(!is_slowed("192.0.2.1"));
        assert!(is_slowed("::ffff:192.0.2.1"));
        assert!(!is_slowed("192.0.2.2"));
    }

    #[test]
    fn memory_is_bounded_and_active_addresses_are_kept() {
        let failures = failures(1);
        let now = Instant::now();
        let here = peer("192.0.2.1");
        failures.count(here, now);
        for number in 0..100_000_u128 {
            failures.count(Ipv6Addr::from(number << 64).into(), now);
            if number % 1000 == 0 {
                assert!(failures.count(here, now).is_some(), "{number}");
            }
        }
        let recent = failures.recent.lock().expect("a lock");
        assert!(recent.current.len() + recent.previous.len() <= 2 * ADDRESSES);
    }
}
