//! Books: quotas, calendars, restarts and shared stores.

use std::collections::HashMap;
use std::future::Future as _;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, SystemTime};

use voxgate::principal::Account;
use voxgate::rate_limit::{
    Amounts, LimitScope, OnFailure, Quota, QuotaAnswer, QuotaCommand, QuotaFuture, QuotaStore,
    QuotaUnit,
};
use voxgate::{DenialKind, Limits, Principal};
use voxgate_usage::{BookBuilder, Calendar, Taken, UsageBook};

/// A clock that the test sets.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn at(time: &str) -> Self {
        let clock = Self(Arc::default());
        clock.set(time);
        clock
    }

    pub(crate) fn set(&self, time: &str) {
        let time: jiff::Timestamp = time.parse().expect("a time");
        let seconds = u64::try_from(time.as_second()).expect("after 1970");
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn book(&self, zone: &str) -> BookBuilder {
        let clock = self.clone();
        let calendar = Calendar::in_zone(zone).expect("a zone");
        UsageBook::builder(calendar).with_clock(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(clock.0.load(Ordering::Relaxed))
        })
    }
}

pub(crate) fn key(quotas: &[&str]) -> Principal {
    let quotas = quotas
        .iter()
        .map(|text| Quota::parse(text).expect("a quota"));
    Principal::new("ivr").with_quotas(quotas)
}

fn characters(book: &UsageBook, key: &Principal) -> [u64; 2] {
    book.usage(key)[0].used.map(|used| used[0])
}

fn take(book: &UsageBook, key: &Principal, amounts: Amounts) -> Result<(), DenialKind> {
    match book.take(key, amounts) {
        Taken::Now(taken) => taken.map_err(|denial| denial.kind()),
        Taken::Later(taken) => {
            let mut taken = pin!(taken);
            loop {
                let mut context = Context::from_waker(Waker::noop());
                if let Poll::Ready(taken) = taken.as_mut().poll(&mut context) {
                    return taken.map_err(|denial| denial.kind());
                }
                thread::yield_now();
            }
        }
    }
}

#[test]
fn periods_are_those_of_the_time_zone() {
    let clock = TestClock::at("2026-10-31T22:59:59Z");
    let book = clock.book("Europe/Berlin").build().expect("a book");
    let key = key(&["10 characters/day", "15 characters/month"]);
    assert!(book.take_now(&key, [10, 1, 0]).is_ok());
    let day = book.take_now(&key, [1, 1, 0]).expect_err("the day");
    assert_eq!(day.quota.to_string(), "10 characters/day");
    assert_eq!(day.resets_after, Duration::from_secs(1));
    // A refusal takes nothing, not even from the quotas that would allow it.
    assert_eq!(characters(&book, &key), [10, 10]);
    clock.set("2026-10-31T23:00:00Z");
    assert_eq!(characters(&book, &key), [0, 0], "November");
    assert!(book.take_now(&key, [10, 1, 0]).is_ok());
    clock.set("2026-11-01T23:00:00Z");
    let month = book.take_now(&key, [6, 1, 0]).expect_err("the month");
    assert_eq!(month.quota.to_string(), "15 characters/month");
    assert_eq!(month.resets_after, Duration::from_secs(29 * 24 * 3600));
    assert!(book.take_now(&key, [5, 1, 0]).is_ok());
    // The clocks are moved forward: the day has 23 hours.
    clock.set("2027-03-28T00:30:00Z");
    let refused = book.take_now(&key, [11, 1, 0]).expect_err("too many");
    assert_eq!(refused.resets_after, Duration::from_secs(21 * 3600 + 1800));
}

#[test]
fn a_clock_that_steps_back_finds_its_period_again() {
    let clock = TestClock::at("2026-11-30T23:59:59Z");
    let book = clock.book("UTC").build().expect("a book");
    let key = key(&["10 characters/day"]);
    for _ in 0..5 {
        clock.set("2026-11-30T23:59:59Z");
        let _ = book.take_now(&key, [10, 1, 0]);
        clock.set("2026-12-01T00:00:01Z");
        let _ = book.take_now(&key, [10, 1, 0]);
    }
    assert!(book.take_now(&key, [1, 1, 0]).is_err());
    clock.set("2026-11-30T23:59:59Z");
    assert!(book.take_now(&key, [1, 1, 0]).is_err());
    assert_eq!(characters(&book, &key), [10, 10]);
}

#[test]
fn accounts_share_and_changed_quotas_count_with_what_is_used() {
    let clock = TestClock::at("2026-11-28T12:00:00Z");
    let book = clock.book("UTC").build().expect("a book");
    let account = |amount| {
        let quota = Quota::new(
            amount,
            QuotaUnit::Characters,
            voxgate::rate_limit::QuotaPeriod::Day,
        );
        Arc::new(Account::new("acme", Limits::default()).with_quotas(quota))
    };
    let of = |id: &str, amount| Principal::new(id).with_account(account(amount));
    assert!(book.take_now(&of("a", 10), [6, 1, 0]).is_ok());
    let refused = book.take_now(&of("b", 10), [6, 1, 0]).expect_err("shared");
    assert_eq!(refused.scope, LimitScope::Account);
    assert!(book.take_now(&of("b", 10), [4, 1, 0]).is_ok());
    // Raised while the gateway runs, and lowered below what is used.
    assert!(book.take_now(&of("b", 11), [1, 1, 0]).is_ok());
    assert!(book.take_now(&of("a", 5), [1, 1, 0]).is_err());
    assert!(
        book.take_now(&of("a", 5), [0, 1, 0]).is_ok(),
        "no text is needed"
    );
    assert_eq!(book.usage(&of("a", 5))[1].used[0][0], 11);
}

#[test]
fn audio_and_requests_have_quotas_and_failures_are_given_back() {
    let clock = TestClock::at("2026-11-28T12:00:00Z");
    let book = clock.book("UTC").build().expect("a book");
    let key = key(&["2s audio/day", "3 requests/day"]);
    let now = book.now();
    assert!(book.take_now(&key, [9, 1, 0]).is_ok());
    book.give_back(&key, [9, 1, 0], now);
    book.give_back(&key, [9, 1, 0], now);
    assert_eq!(book.usage(&key)[0].used[0], [0, 0, 0]);
    assert!(book.take_now(&key, [0, 1, 0]).is_ok());
    book.add_audio(&key, 1_999);
    assert!(book.take_now(&key, [0, 1, 0]).is_ok(), "something is left");
    book.add_audio(&key, u64::MAX);
    let refused = book.take_now(&key, [0, 1, 0]).expect_err("too much audio");
    assert_eq!(refused.quota.unit(), QuotaUnit::Audio);
    // What was taken in the last period is not given back from this one.
    clock.set("2026-11-29T00:00:00Z");
    assert!(book.take_now(&key, [5, 1, 0]).is_ok());
    book.give_back(&key, [5, 1, 0], now);
    assert_eq!(book.usage(&key)[0].used[0], [5, 1, 0]);
}

#[test]
fn concurrent_requests_cannot_take_the_same_characters() {
    let clock = TestClock::at("2026-11-28T12:00:00Z");
    let book = clock.book("UTC").build().expect("a book");
    let key = key(&["10k characters/month"]);
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for size in 1..=100 {
                    if book.take_now(&key, [size, 1, 0]).is_ok() {
                        granted.fetch_add(size, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let granted = granted.into_inner();
    assert!((9_900..=10_000).contains(&granted), "{granted}");
    assert_eq!(characters(&book, &key), [granted; 2]);
}

#[test]
fn a_restart_continues_and_a_lost_file_is_restored() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("quota");
    let clock = TestClock::at("2026-11-28T12:00:00Z");
    let key = key(&["10 characters/day"]);
    let open = |path: &Path| clock.book("UTC").with_state_file(path).build();
    let book = open(&path).expect("a new file");
    assert!(book.take_now(&key, [7, 1, 0]).is_ok());
    // A process that is killed has written what it granted, and nothing else happens to the file.
    let killed = directory.path().join("killed");
    std::fs::copy(&path, &killed).expect("a copy");
    let after = open(&killed).expect("the same");
    assert!(after.take_now(&key, [4, 1, 0]).is_err());
    assert!(after.take_now(&key, [3, 1, 0]).is_ok());
    assert!(open(&path).is_err(), "in use");
    drop((book, after));
    assert!(
        open(&path)
            .expect("again")
            .take_now(&key, [4, 1, 0])
            .is_err()
    );
    let seen = clock.book("UTC").read_only(&path).expect("a look");
    assert_eq!(characters(&seen, &key), [7, 7]);

    std::fs::remove_file(&path).expect("lost");
    let restored = clock.book("UTC").with_state_file(&path).build_with(|book| {
        let before = book.restores_from();
        book.restore("ivr", None, before, [100, 1, 0]);
        book.restore("ivr", None, book.now(), [8, 1, 0]);
    });
    let restored = restored.expect("restored");
    assert_eq!(characters(&restored, &key), [8, 108]);
    assert!(restored.take_now(&key, [3, 1, 0]).is_err());
    drop(restored);
    let called = AtomicBool::new(false);
    let again = clock.book("UTC").with_state_file(&path);
    let again = again.build_with(|_| called.store(true, Ordering::Relaxed));
    assert_eq!(characters(&again.expect("again"), &key), [8, 108]);
    assert!(!called.into_inner(), "restored once");
}

#[test]
fn a_damaged_file_is_never_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("quota");
    std::fs::write(&path, "not ours").expect("written");
    let clock = TestClock::at("2026-11-28T12:00:00Z");
    let error = clock
        .book("UTC")
        .with_state_file(&path)
        .build()
        .expect_err("foreign");
    let error = error.to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    assert_eq!(std::fs::read(&path).expect("there"), b"not ours");
}

/// A shared store in memory, as the script of the Redis store counts.
#[derive(Clone, Default)]
struct Shared(
    Arc<Mutex<HashMap<String, HashMap<String, Amounts>>>>,
    Arc<AtomicBool>,
);

impl Shared {
    fn down(&self, is_down: bool) {
        self.1.store(is_down, Ordering::Relaxed);
    }

    fn lose_data(&self) {
        self.0.lock().expect("no panic").clear();
    }
}

impl QuotaStore for Shared {
    fn count(&self, command: QuotaCommand) -> QuotaFuture {
        if !self.is_available() {
            return Box::pin(async { None });
        }
        let mut counters = self.0.lock().expect("no panic");
        let mut refused = None;
        let mut used = Vec::new();
        for (index, counter) in command.counters.iter().enumerate() {
            let name = format!("{}:{:?}:{}", counter.period, counter.scope, counter.id);
            let replicas = counters.entry(name).or_default();
            let own = replicas.entry(command.replica.to_string()).or_default();
            let changes = counter.take_back.into_iter().zip(counter.contributed);
            for (own, (back, contributed)) in own.iter_mut().zip(changes) {
                *own = own.saturating_sub(back).max(contributed);
            }
            let mut sums = [0; 3];
            for (sum, amount) in replicas
                .values()
                .flat_map(|it| [0, 1, 2].map(|unit| (unit, it[unit])))
            {
                sums[sum] += amount;
            }
            for unit in QuotaUnit::ALL {
                let at = unit as usize;
                let period = voxgate::rate_limit::QuotaPeriod::Day;
                let quota = Quota::new(counter.quotas[at], unit, period);
                if refused.is_none()
                    && quota.is_some_and(|it| !it.allows(sums[at], command.add[at]))
                {
                    refused = Some((index, unit));
                }
            }
            used.push(sums);
        }
        if refused.is_none() {
            for (counter, used) in command.counters.iter().zip(&mut used) {
                let name = format!("{}:{:?}:{}", counter.period, counter.scope, counter.id);
                let replicas = counters.entry(name).or_default();
                let own = replicas.entry(command.replica.to_string()).or_default();
                for ((own, used), add) in own.iter_mut().zip(used).zip(command.add) {
                    *own += add;
                    *used += add;
                }
            }
        }
        let answer = QuotaAnswer { refused, used };
        Box::pin(async move { Some(answer) })
    }

    fn is_available(&self) -> bool {
        !self.1.load(Ordering::Relaxed)
    }

    fn replicas(&self) -> u32 {
        2
    }
}

fn pair(shared: &Shared, on_failure: OnFailure) -> [UsageBook; 2] {
    let clock = TestClock::at("2026-11-28T12:00:00Z");
    [(); 2].map(|()| {
        let book = clock.book("UTC").with_store(shared.clone(), on_failure);
        book.build().expect("a book")
    })
}

#[test]
fn replicas_share_a_quota_exactly() {
    let shared = Shared::default();
    let books = pair(&shared, OnFailure::Local);
    let key = key(&["5k characters/month"]);
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for book in books.iter().chain(&books) {
            scope.spawn(|| {
                for _ in 0..400 {
                    if take(book, &key, [7, 1, 0]).is_ok() {
                        granted.fetch_add(7, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let granted = granted.into_inner();
    assert_eq!(granted, 5_000 / 7 * 7);
    // Redis loses its data: each replica puts back what it has contributed.
    shared.lose_data();
    let [one, two] = &books;
    let _ = take(two, &key, [0, 0, 0]);
    assert_eq!(take(one, &key, [7, 1, 0]), Err(DenialKind::QuotaExhausted));
    // What is given back is there for the other replica.
    one.give_back(&key, [14, 2, 0], one.now());
    assert_eq!(take(two, &key, [14, 1, 0]), Ok(()));
    assert_eq!(take(one, &key, [7, 1, 0]), Err(DenialKind::QuotaExhausted));
    assert_eq!(characters(two, &key)[1], granted);
}

#[test]
fn without_the_store_each_replica_uses_its_share() {
    let key = key(&["100 characters/month"]);
    let shared = Shared::default();
    let [one, two] = pair(&shared, OnFailure::Local);
    assert_eq!(take(&one, &key, [20, 1, 0]), Ok(()));
    assert_eq!(take(&two, &key, [20, 1, 0]), Ok(()));
    assert_eq!(
        take(&one, &key, [0, 1, 0]),
        Ok(()),
        "learns that 40 are used"
    );
    shared.down(true);
    assert_eq!(
        take(&one, &key, [31, 1, 0]),
        Err(DenialKind::QuotaExhausted)
    );
    assert_eq!(take(&one, &key, [30, 1, 0]), Ok(()));
    assert_eq!(take(&one, &key, [1, 1, 0]), Err(DenialKind::QuotaExhausted));
    assert_eq!(take(&two, &key, [30, 1, 0]), Ok(()));
    shared.down(false);
    // What was used meanwhile is counted.
    assert_eq!(take(&one, &key, [0, 1, 0]), Ok(()));
    assert_eq!(take(&two, &key, [1, 1, 0]), Err(DenialKind::QuotaExhausted));
    assert_eq!(characters(&two, &key)[1], 100);

    // A message of a WebSocket cannot wait: it is decided by what is known.
    assert!(two.take_at_once(&key, [1, 0, 0]).is_err());
    one.give_back(&key, [10, 0, 0], one.now());
    assert!(one.take_at_once(&key, [4, 0, 0]).is_ok());
    assert_eq!(take(&two, &key, [7, 1, 0]), Err(DenialKind::QuotaExhausted));
    assert_eq!(take(&two, &key, [6, 1, 0]), Ok(()));
    assert!(one.take_at_once(&key, [0, 0, 0]).is_ok(), "asks");
    assert!(
        one.take_at_once(&key, [1, 0, 0]).is_err(),
        "has learnt of the other"
    );

    let [deny, _] = pair(&shared, OnFailure::Deny);
    let [allow, _] = pair(&shared, OnFailure::Allow);
    shared.down(true);
    assert_eq!(take(&deny, &key, [1, 1, 0]), Err(DenialKind::Unavailable));
    assert!(deny.take_at_once(&key, [1, 1, 0]).is_err());
    assert_eq!(take(&allow, &key, [1_000, 1, 0]), Ok(()));
    shared.down(false);
    assert_eq!(
        take(&allow, &key, [1, 1, 0]),
        Err(DenialKind::QuotaExhausted)
    );
}
