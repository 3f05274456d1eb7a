use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;
use crate::limit::{Limit, Limits, Rate};
use crate::request::LimitScope;

/// No wait times out in these tests.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn number(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

fn request(key: &str, concurrency: u32, upstream: u32) -> AcquireRequest {
    let limits = Limits {
        concurrency: number(concurrency),
        ..Limits::default()
    };
    let request = AcquireRequest::new(key, limits);
    match number(upstream) {
        Some(most) => request.with_upstream_concurrency(most),
        None => request,
    }
}

/// One of two keys of an account.
fn member(key: &str, own: &str, shared: &str) -> AcquireRequest {
    let limits = |rate| Limits {
        rate: Rate::parse(rate),
        burst: number(2),
        ..Limits::default()
    };
    AcquireRequest::new(key, limits(own)).with_account("acme", limits(shared))
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Waiter {
    waiting: Pin<Box<Waiting>>,
    bell: Arc<Bell>,
}

impl Waiter {
    fn new(waiting: Waiting) -> Self {
        let mut waiter = Self {
            waiting: Box::pin(waiting),
            bell: Arc::default(),
        };
        assert!(waiter.look().is_none(), "it has only begun to wait");
        waiter
    }

    fn look(&mut self) -> Option<Result<InFlight, LimitExceeded>> {
        let waker = Arc::clone(&self.bell).into();
        let polled = self.waiting.as_mut().poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Ready((answer, _)) => Some(answer.map(|(permit, _)| permit)),
            Poll::Pending => None,
        }
    }

    fn was_woken(&self) -> bool {
        self.bell.0.load(Ordering::Relaxed) > 0
    }
}

fn enter(local: &LocalStore, request: &AcquireRequest) -> Waiter {
    match local.begin(request) {
        Ok(Begun::Waits(waiting)) => Waiter::new(waiting),
        Ok(Begun::Now(..)) => panic!("it began"),
        Err(exceeded) => panic!("refused: {exceeded:?}"),
    }
}

fn begin(local: &LocalStore, request: &AcquireRequest) -> Result<InFlight, LimitExceeded> {
    match local.begin(request)? {
        Begun::Now(permit, _) => Ok(permit),
        Begun::Waits(_) => panic!("it waits"),
    }
}

fn queue(places: usize) -> LocalStore {
    LocalStore::with_queue(true, places, FOR_EVER).expect("a thread")
}

#[test]
fn a_permit_is_free_again_when_its_request_has_ended() {
    let local = LocalStore::new(true);
    let one = request("a", 1, 0);
    let permit = begin(&local, &one).expect("the first");
    let exceeded = begin(&local, &one).err().expect("one too many");
    assert_eq!(exceeded.limit, Limit::KeyConcurrency);
    begin(&local, &request("b", 1, 0)).expect("another key's");
    drop(permit);
    begin(&local, &one).expect("the next");
}

#[test]
fn a_request_over_its_concurrency_uses_up_no_rate() {
    let local = LocalStore::new(true);
    let limits = Limits {
        rate: Rate::parse("1/h"),
        burst: number(2),
        concurrency: number(1),
    };
    let request = AcquireRequest::new("a", limits);
    let permit = begin(&local, &request).expect("the first");
    for _ in 0..5 {
        let exceeded = begin(&local, &request).err().expect("one too many");
        assert_eq!(exceeded.limit, Limit::KeyConcurrency);
    }
    drop(permit);
    begin(&local, &request).expect("the second");
    let exceeded = begin(&local, &request).err().expect("the third in an hour");
    assert_eq!(exceeded.limit, Limit::KeyRate);
    assert!(exceeded.retry_after > Some(Duration::from_secs(1700)));
}

#[test]
fn a_request_over_the_accounts_rate_does_not_use_the_keys_rate() {
    let local = LocalStore::new(true);
    let (a, b) = (member("a", "1/h", "1/h"), member("b", "1/h", "1/h"));
    for _ in 0..2 {
        begin(&local, &a).expect("within both");
    }
    for _ in 0..5 {
        let exceeded = begin(&local, &b).err().expect("over the account's");
        assert_eq!(exceeded.limit, Limit::AccountRate);
    }
    let limits = Limits {
        rate: Rate::parse("1/h"),
        burst: number(2),
        ..Limits::default()
    };
    let alone = AcquireRequest::new("b", limits);
    for _ in 0..2 {
        begin(&local, &alone).expect("its own is untouched");
    }
    let exceeded = begin(&local, &alone).err().expect("over its own");
    assert_eq!(exceeded.limit, Limit::KeyRate);
}

#[test]
fn requests_start_in_order_and_keys_take_turns() {
    let local = queue(10);
    let (a, b) = (request("a", 0, 1), request("b", 0, 1));
    let mut permit = begin(&local, &a).ok();
    let mut queue: Vec<(&str, Waiter)> = ["a", "a", "a", "b", "b"]
        .map(|key| (key, enter(&local, if key == "a" { &a } else { &b })))
        .into();
    let mut order = String::new();
    while !queue.is_empty() {
        assert!(permit.take().is_some());
        let woken: Vec<usize> = (0..queue.len())
            .filter(|at| queue[*at].1.was_woken())
            .collect();
        assert_eq!(woken.len(), 1, "one permit is for one waiter");
        let (key, mut waiter) = queue.remove(woken[0]);
        let own_before = queue[..woken[0]].iter().any(|(other, _)| *other == key);
        assert!(!own_before, "overtaken");
        order.push_str(key);
        permit = waiter.look().expect("woken").ok();
    }
    assert_eq!(order, "ababa");
}

#[test]
fn no_request_overtakes_those_of_its_own_key() {
    let local = queue(10);
    let one = request("a", 1, 0);
    let permit = begin(&local, &one).expect("the first");
    let mut first = enter(&local, &one);
    drop(permit);
    let mut second = enter(&local, &one);
    assert!(second.look().is_none());
    let permit = first.look().expect("its turn").expect("a permit");
    drop(permit);
    second.look().expect("its turn").expect("a permit");
}

#[test]
fn one_key_cannot_fill_the_queue() {
    let local = queue(4);
    let (a, b) = (request("a", 0, 1), request("b", 0, 1));
    let _permit = begin(&local, &a).expect("the first");
    let mut greedy: Vec<Waiter> = (0..4).map(|_| enter(&local, &a)).collect();
    assert!(begin(&local, &a).is_err(), "the queue is full");
    let _modest = [enter(&local, &b), enter(&local, &b)];
    let sent_away: Vec<bool> = greedy
        .iter_mut()
        .map(|waiter| waiter.look().is_some())
        .collect();
    assert_eq!(sent_away, [false, false, true, true]);
    assert!(begin(&local, &b).is_err(), "it has as many as the other");
    assert_eq!(local.usage(), (1, 4));
}

#[test]
fn a_wait_that_times_out_is_refused_by_its_limit() {
    let local = LocalStore::with_queue(true, 1, Duration::ZERO).expect("a thread");
    let one = request("a", 1, 0);
    let _permit = begin(&local, &one).expect("the first");
    let mut waiter = match local.begin(&one) {
        Ok(Begun::Waits(waiting)) => Box::pin(waiting),
        _ => panic!("it has to wait"),
    };
    let answer = loop {
        match waiter
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready((answer, _)) => break answer,
            Poll::Pending => thread::yield_now(),
        }
    };
    assert_eq!(
        answer.err().map(|exceeded| exceeded.limit),
        Some(Limit::KeyConcurrency)
    );
    assert_eq!(local.usage().1, 0);
}

#[test]
fn no_request_waits_for_a_rate() {
    let local = queue(5);
    let a = member("a", "1/h", "1000/s");
    for _ in 0..2 {
        begin(&local, &a).expect("within the burst");
    }
    assert_eq!(
        begin(&local, &a).err().map(|exceeded| exceeded.limit),
        Some(Limit::KeyRate)
    );
}

#[test]
fn a_dropped_request_frees_its_place() {
    let local = queue(5);
    let one = request("a", 1, 0);
    let permit = begin(&local, &one).expect("the first");
    let mut waiters: Vec<Waiter> = (0..3).map(|_| enter(&local, &one)).collect();
    drop(waiters.remove(0));
    drop(permit);
    assert!(waiters[0].was_woken() && !waiters[1].was_woken());
    // It has a permit and never fetches it.
    drop(waiters.remove(0));
    waiters[0].look().expect("its turn").expect("a permit");
}

#[test]
fn requests_in_flight_are_checked_against_a_share() {
    let local = LocalStore::new(false);
    let two = request("a", 4, 0);
    let permits: Vec<InFlight> = (0..3).filter_map(|_| begin(&local, &two).ok()).collect();
    let exceeded = local.confirm(&two, 2).expect_err("the third of two");
    assert_eq!(exceeded.limit, Limit::KeyConcurrency);
    drop(permits);
    let _permit = begin(&local, &two).expect("the first");
    local.confirm(&two, 2).expect("within a half");
    local.confirm(&two, u32::MAX).expect("one at least");
}

#[test]
fn idle_counters_are_removed() {
    let local = LocalStore::new(true);
    let held: Vec<InFlight> = (0..10)
        .filter_map(|at| begin(&local, &request(&format!("held-{at}"), 1, 0)).ok())
        .collect();
    for at in 0..20_000 {
        begin(&local, &request(&format!("key-{at}"), 1, 0)).expect("its first");
    }
    assert!(local.0.state().counters.len() <= 2048);
    for at in 0..held.len() {
        assert!(begin(&local, &request(&format!("held-{at}"), 1, 0)).is_err());
    }
}

#[derive(Clone, Debug)]
enum Act {
    Begin { key: usize },
    End { at: usize },
    Look { at: usize },
    Leave { at: usize },
    SendAway { at: usize },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..4_usize).prop_map(|key| Act::Begin { key }),
        3 => any::<usize>().prop_map(|at| Act::End { at }),
        3 => any::<usize>().prop_map(|at| Act::Look { at }),
        1 => any::<usize>().prop_map(|at| Act::Leave { at }),
        1 => any::<usize>().prop_map(|at| Act::SendAway { at }),
    ]
}

proptest! {
    /// In any order of events: limits hold, no request overtakes, and in the end no request is in
    /// flight and none waits.
    #[test]
    fn no_permit_is_lost_or_duplicated(acts in proptest::collection::vec(act(), 1..200), places in 0..6_usize) {
        const UPSTREAM: usize = 5;
        let most = [1, 2, 3, 5];
        let requests: Vec<AcquireRequest> = (0..4)
            .map(|key| request(&format!("key-{key}"), most[key], UPSTREAM as u32))
            .collect();
        let local = queue(places);
        let mut permits: Vec<(usize, InFlight)> = Vec::new();
        let mut waiters: Vec<(usize, Waiter)> = Vec::new();
        for act in acts {
            match act {
                Act::Begin { key } => match local.begin(&requests[key]) {
                    Ok(Begun::Now(permit, _)) => {
                        let overtakes = waiters.iter().any(|(other, waiter)| *other == key && !waiter.was_woken());
                        prop_assert!(!overtakes);
                        permits.push((key, permit));
                    }
                    Ok(Begun::Waits(waiting)) => waiters.push((key, Waiter::new(waiting))),
                    Err(exceeded) => prop_assert!(exceeded.can_wait()),
                },
                Act::End { at } if !permits.is_empty() => drop(permits.swap_remove(at % permits.len())),
                Act::Look { at } if !waiters.is_empty() => {
                    let at = at % waiters.len();
                    let woken = waiters[at].1.was_woken();
                    let answer = waiters[at].1.look();
                    prop_assert_eq!(answer.is_some(), woken);
                    if let Some(answer) = answer {
                        let (key, _) = waiters.remove(at);
                        permits.extend(answer.ok().map(|permit| (key, permit)));
                    }
                }
                Act::Leave { at } if !waiters.is_empty() => drop(waiters.remove(at % waiters.len())),
                Act::SendAway { at } if !waiters.is_empty() => {
                    let waiter = &waiters[at % waiters.len()].1;
                    let (id, now) = (waiter.waiting.number, local.0.now());
                    local.change(|state, wake| state.queue.refuse(id, now, wake));
                    prop_assert!(waiter.was_woken());
                }
                _ => {}
            }
            let mut own = HashMap::new();
            for (key, _) in &permits {
                *own.entry(*key).or_insert(0) += 1;
            }
            prop_assert!(own.iter().all(|(key, count)| *count <= most[*key]));
            prop_assert!(permits.len() <= UPSTREAM);
            let (in_flight, waiting) = local.usage();
            prop_assert!(permits.len() <= in_flight as usize && in_flight as usize <= UPSTREAM);
            prop_assert!(waiting <= places && waiting <= waiters.len());
            // No request waits while it could start.
            if in_flight < UPSTREAM as u32 {
                for (key, waiter) in waiters.iter().filter(|(_, waiter)| !waiter.was_woken()) {
                    let mut state = local.0.state();
                    let now = local.0.now();
                    let begun = state.counters.begin(&requests[*key], now);
                    prop_assert!(begun.is_err(), "{}", waiter.was_woken());
                }
            }
        }
        drop((permits, waiters));
        prop_assert_eq!(local.usage(), (0, 0));
        prop_assert_eq!(local.0.state().counters.in_flight(), 0);
    }
}

#[test]
fn a_request_over_its_rate_does_not_wait_for_a_permit() {
    let local = queue(9);
    let limits = Limits {
        rate: Rate::parse("2/h"),
        concurrency: number(1),
        ..Limits::default()
    };
    let one = AcquireRequest::new("a", limits);
    let first = begin(&local, &one).expect("the first");
    let waiter = enter(&local, &one);
    drop(waiter);
    drop(first);
    let second = begin(&local, &one).expect("the refused request took nothing");
    let exceeded = local.begin(&one).err().expect("waiting would not help");
    assert_eq!(exceeded.limit, Limit::KeyRate);
    assert!(
        exceeded.retry_after > Some(Duration::from_secs(1000)),
        "{exceeded:?}"
    );
    drop(second);
    assert_eq!(local.usage(), (0, 0));
}

/// A request that waited for a permit of this process keeps its place while it waits for one of
/// other replicas.
#[test]
fn a_request_keeps_its_place_while_it_waits_in_a_shared_store() {
    let local = queue(1);
    let permit = begin(&local, &request("a", 1, 0)).expect("the first");
    let mut waiter = enter(&local, &request("a", 1, 0));
    let place = |waited| local.wait_elsewhere(waited).and_then(|wait| wait.reserve());
    assert!(place(None).is_none(), "all places are taken");
    drop(permit);
    let _permit = waiter.look().expect("its turn").expect("a permit");
    let _newcomer = enter(&local, &request("a", 1, 0));
    assert!(place(None).is_none());
    let own = place(Some(Duration::ZERO)).expect("its place");
    assert_eq!(local.usage().1, 2);
    drop(own);
    assert_eq!(local.usage().1, 1);
}

/// The timer skips requests that have left, and finds those that come later.
#[test]
fn every_wait_times_out() {
    let local = LocalStore::with_queue(true, 3, Duration::from_millis(20)).expect("a thread");
    let one = request("a", 1, 0);
    let _permit = begin(&local, &one).expect("the first");
    let wait = || match local.begin(&one) {
        Ok(Begun::Waits(waiting)) => Box::pin(waiting),
        _ => panic!("it has to wait"),
    };
    for _ in 0..3 {
        let mut waiters = [wait(), wait(), wait()].map(Some);
        waiters[1] = None;
        for mut waiter in waiters.into_iter().flatten() {
            let answer = loop {
                match waiter
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                {
                    Poll::Ready((answer, _)) => break answer,
                    Poll::Pending => thread::sleep(Duration::from_millis(1)),
                }
            };
            assert!(answer.is_err());
        }
        assert_eq!(local.usage().1, 0);
    }
}

#[test]
fn a_wait_may_be_of_any_length() {
    let local = LocalStore::with_queue(true, 1, Duration::MAX).expect("a thread");
    let permit = begin(&local, &request("a", 1, 0)).expect("the first");
    let mut waiter = enter(&local, &request("a", 1, 0));
    drop(permit);
    assert!(waiter.look().expect("its turn").is_ok());
}

/// While the upstream is full, no other key is tried, and no key loses its turn.
#[test]
fn no_other_key_is_tried_while_the_upstream_is_full() {
    let mut queue = LocalQueue::new(9);
    let mut wake = Vec::new();
    let full = LimitExceeded::concurrency(LimitScope::Upstream);
    let of_key = LimitExceeded::concurrency(LimitScope::Key);
    for key in ["a", "b", "c"] {
        let place = queue.enter(request(key, 1, 1), full, Duration::ZERO, &mut wake);
        place.expect("a place");
    }
    let mut asked = Vec::new();
    for of_b in [full, of_key] {
        let answer = |request: &AcquireRequest| {
            asked.push(request.key().to_owned());
            Err(match request.key() {
                "a" => of_key,
                "b" => of_b,
                _ => full,
            })
        };
        queue.serve(Duration::ZERO, answer, &mut wake);
    }
    assert_eq!(asked, ["a", "b", "a", "b", "c"]);
}

/// A rate that is raised while the account's rate is used up counts requests, not time.
#[test]
fn a_changed_rate_keeps_its_count_while_another_rate_is_used_up() {
    let mut counters = Counters::new();
    let now = Duration::from_secs(5);
    for key in ["a", "b"] {
        let request = member(key, "1/h", "2/min");
        counters.begin(&request, now).expect("one of the burst");
    }
    let faster = member("a", "1/s", "2/min");
    let exceeded = counters
        .begin(&faster, now)
        .expect_err("the account's rate is used up");
    assert_eq!(exceeded.limit, Limit::AccountRate);
    // One request was taken. At the new rate, it takes one second to refill.
    let later = now + Duration::from_secs(60);
    let remaining = counters.begin(&faster, later).expect("all is there again");
    let key = remaining.get(LimitScope::Key).and_then(|it| it.rate);
    let key = key.expect("a rate");
    assert_eq!(key.requests, 1, "the whole burst but this one");
}

/// A waker may do anything when it is dropped, such as ending a request.
#[test]
fn a_waker_is_dropped_without_the_lock() {
    struct Curious(LocalStore, Arc<AtomicU32>);
    impl Wake for Curious {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Curious {
        fn drop(&mut self) {
            let locked = self.0.0.state.try_lock().is_err();
            self.1.fetch_add(u32::from(locked), Ordering::Relaxed);
        }
    }
    let local = queue(2);
    let one = request("a", 1, 0);
    let _permit = begin(&local, &one).expect("the first");
    let Ok(Begun::Waits(waiting)) = local.begin(&one) else {
        panic!("it does not wait")
    };
    let mut waiting = Box::pin(waiting);
    let locked = Arc::<AtomicU32>::default();
    for _ in 0..3 {
        let waker = Arc::new(Curious(local.clone(), Arc::clone(&locked))).into();
        let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    drop(waiting);
    assert_eq!(Arc::strong_count(&locked), 1, "all are dropped");
    assert_eq!(locked.load(Ordering::Relaxed), 0, "dropped with the lock");
}
