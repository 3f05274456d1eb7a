//! Slows down addresses that fail to authenticate again and again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::delay::{Delay, Delays};

/// The time in which failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of addresses in one generation. There are two generations; an entry takes about
/// 80 bytes.
const ADDRESSES: usize = 8192;

/// What happens to the refusal of an address that failed too often. The refusal itself stays the
/// same: an SDK that gets 429 for a wrong key repeats it, and some wait for as long as it says.
#[derive(Debug)]
pub(crate) enum SlowDown {
    /// It is sent later.
    Delay(Delay),
    /// Too many refusals wait already. It is sent at once, and the connection is closed.
    Close,
}

/// Failed authentications of the last minutes.
///
/// Memory is bounded: beyond `ADDRESSES` in each generation, the oldest addresses are removed.
pub(super) struct AuthFailures {
    most: NonZeroU32,
    recent: Mutex<Recent>,
    delays: Delays,
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
    /// There were too many failures in the minute before.
    was_slowed: bool,
}

impl AuthFailures {
    /// Allows `most` failures per minute.
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self {
            most,
            recent: Mutex::default(),
            delays: Delays::default(),
        }
    }

    /// Counts a failure. If there were too many from this address, returns what happens to the
    /// refusal.
    pub(super) fn slow_down(&self, peer: IpAddr, now: Instant) -> Option<SlowDown> {
        let address = network(peer);
        let delay = || self.delays.begin(address, now);
        self.is_too_many(address, now)
            .then(|| delay().map_or(SlowDown::Close, SlowDown::Delay))
    }

    fn is_too_many(&self, address: IpAddr, now: Instant) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = recent.take(&address).unwrap_or(Record::new(now));
        let is_too_many = record.count(self.most.get(), now);
        recent.put(address, record);
        is_too_many
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
            was_slowed: false,
        }
    }

    /// Counts a failure. Returns whether there were too many, in this minute or in the one before.
    fn count(&mut self, most: u32, now: Instant) -> bool {
        let age = now.duration_since(self.window);
        if age >= WINDOW {
            self.was_slowed = self.failures > most && age < 2 * WINDOW;
            (self.window, self.failures) = (now, 0);
        }
        self.failures = self.failures.saturating_add(1);
        self.was_slowed || self.failures > most
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
    fn an_address_is_slowed_until_a_minute_with_few_failures() {
        let failures = failures(2);
        let (start, here) = (Instant::now(), peer("192.0.2.1"));
        let is_slowed = |seconds| failures.is_too_many(here, start + Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 59].map(is_slowed), [false, false, true, true]);
        assert_eq!([60, 61].map(is_slowed), [true, true], "the minute after");
        let few = [120, 121, 122].map(is_slowed);
        assert_eq!(few, [false, false, true], "after a minute with few");
        assert!(!is_slowed(500), "after a long time");
    }

    #[test]
    fn a_refusal_waits_while_there_is_room_and_closes_the_connection_otherwise() {
        let failures = failures(1);
        let (now, here) = (Instant::now(), peer("192.0.2.1"));
        assert!(failures.slow_down(here, now).is_none());
        let mut waiting = Vec::new();
        while let Some(SlowDown::Delay(delay)) = failures.slow_down(here, now) {
            waiting.push(delay);
        }
        assert!((1..100).contains(&waiting.len()), "{}", waiting.len());
        let there = peer("192.0.2.2");
        assert!(failures.slow_down(there, now).is_none());
        let other = failures.slow_down(there, now);
        assert!(matches!(other, Some(SlowDown::Delay(_))), "room for others");
    }

    #[test]
    fn addresses_are_grouped_by_subscriber_network() {
        let failures = failures(1);
        let now = Instant::now();
        let is_slowed = |text| failures.slow_down(peer(text), now).is_some();
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
        failures.is_too_many(here, now);
        for number in 0..100_000_u128 {
            failures.is_too_many(Ipv6Addr::from(number << 64).into(), now);
            if number % 1000 == 0 {
                assert!(failures.is_too_many(here, now), "{number}");
            }
        }
        let recent = failures.recent.lock().expect("a lock");
        assert!(recent.current.len() + recent.previous.len() <= 2 * ADDRESSES);
    }
}
