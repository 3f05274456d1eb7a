//! Requests that wait for a slot.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn later() -> Option<WaitPermission> {
    Some(until_then(Instant::now() + PATIENCE))
}

#[test]
fn requests_are_served_in_the_order_of_arrival() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(1));
    let mut held = limits.decide(&request).expect("granted");
    let mut waiting: Vec<_> = (0..6).map(|_| limits.ask(&request, later())).collect();
    drop(waiting.remove(3));
    for round in 0..5 {
        // A new request comes last, and a request that may not wait is refused.
        waiting.push(limits.ask(&request, later()));
        assert_eq!(
            limits.decide(&request).expect_err("refused").limit,
            Limit::KeyConcurrency
        );
        assert!(waiting.iter_mut().all(|it| !is_ready(it)), "{round}");
        drop(held);
        held = block_on(waiting.remove(0)).result.expect("granted");
    }
    drop(waiting);
    drop(held);
    until("no request waits, and all slots are given back", || {
        server.taken("{voxgate}:slots:key:a") == 0
    });
}

/// A slot that becomes free without notice goes to the waiting request, even if another request is
/// sent first. A check takes nothing.
#[test]
fn a_later_request_does_not_overtake() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started_with(RedisOptions {
        // No heartbeat puts back the leases that the test removes.
        lease: Duration::from_secs(3600),
        ..options(&server)
    });
    let burst = NonZeroU32::new(1000);
    let request = key(
        "a",
        Limits {
            concurrency: NonZeroU32::new(1),
            burst,
            ..rate("1/h")
        },
    );
    let mut held = vec![limits.decide(&request).expect("granted")];
    let mut first = limits.ask(&request, later());
    for round in 1..=20 {
        // It is refused, and waits.
        assert!(limits.decide(&request).is_err());
        let _: i64 = server.run("ZREMRANGEBYRANK {voxgate}:slots:key:a 0 -1");
        let mut second = limits.ask(&request, later());
        let lease = block_on(first).result.expect("granted");
        assert!(!is_ready(&mut second));
        let left = rate_of(&lease, LimitScope::Key).requests;
        assert_eq!(left, 1000 - 1 - round, "each request counts once");
        held.push(lease);
        first = second;
    }
}

#[test]
fn a_slot_of_another_gateway_is_used() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (one, other) = (started(&server), started(&server));
    let request = upstream(1);
    let held = one.decide(&request).expect("granted");
    let waiting = other.ask(&request, later());
    // The request is sent again, and refused again.
    thread::sleep(Duration::from_millis(300));
    drop(held);
    let _held = block_on(waiting).result.expect("granted");
}

/// A slot of another gateway goes to a waiting request, not to a later request that may not wait.
#[test]
fn a_request_that_may_not_wait_does_not_overtake() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (one, other) = (started(&server), started(&server));
    for round in 0..5 {
        let id = round.to_string();
        let request = key(&id, concurrency(1));
        let held = other.decide(&request).expect("granted");
        let mut waiting = one.ask(&request, later());
        // Asked one after the other, so that the first has been refused when this is answered.
        one.decide(&request).expect_err("refused");
        assert!(!is_ready(&mut waiting));
        drop(held);
        // The request that waits is asked less often than that.
        for _ in 0..30 {
            assert!(
                one.decide(&request).is_err(),
                "round {round}: it went first"
            );
            thread::sleep(Duration::from_millis(2));
        }
        let _held = block_on(waiting).result.expect("granted");
    }
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(1));
    let _held = limits.decide(&request).expect("granted");
    let mut patient = limits.ask(&request, later());
    let until = Instant::now() + Duration::from_millis(200);
    let waiting: Vec<_> = (0..3)
        .map(|_| limits.ask(&request, Some(until_then(until))))
        .collect();
    for asking in waiting {
        let exceeded = refused(block_on(asking).result);
        assert!(Instant::now() >= until);
        assert_eq!(exceeded.limit, Limit::KeyConcurrency);
    }
    assert!(!is_ready(&mut patient));
}

#[test]
fn no_request_waits_for_a_rate() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let both = key("a", concurrency(1)).with_account("b", rate("1/h"));
    let _held = limits.decide(&both).expect("granted");
    let mut waiting = limits.ask(&key("a", concurrency(1)), later());
    // With others waiting for the slot, and without.
    for request in [both, account("b", rate("1/h"))] {
        let asking = limits.ask(&request, later());
        let exceeded = refused(block_on(asking).result);
        assert!(exceeded.retry_after.is_some(), "{exceeded:?}");
    }
    assert!(!is_ready(&mut waiting));
}

/// A request that waits in two queues in turn blocks neither.
#[test]
fn queues_do_not_block_each_other() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let a = limits.decide(&key("a", concurrency(1))).expect("granted");
    let up = limits.decide(&upstream(1)).expect("granted");
    let both = |id| of_all(key(id, concurrency(1)), 1);
    let before = server.scripts_run();
    let mut two = limits.ask(&both("a"), later());
    let mut other = limits.ask(&both("b"), later());
    let asked = |times| until("they ask", || server.scripts_run() >= before + times);
    // Both have been refused, wait, and ask again.
    asked(6);
    drop(a);
    // The first has moved to the other queue, where its key comes after one that waits already.
    asked(16);
    assert!(!is_ready(&mut two) && !is_ready(&mut other));
    drop(up);
    let first = block_on(other).result.expect("granted");
    assert!(!is_ready(&mut two));
    drop(first);
    let _second = block_on(two).result.expect("granted");
}

#[test]
fn a_wait_ends_when_redis_fails() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(1));
    let _held = limits.decide(&request).expect("granted");
    let waiting: Vec<_> = (0..3).map(|_| limits.ask(&request, later())).collect();
    server.kill();
    for asking in waiting {
        assert_eq!(
            block_on(asking).result.expect_err("Redis is gone"),
            AcquireError::Unavailable
        );
    }
}

/// Only a request that waits takes a place.
#[test]
fn a_request_without_a_place_does_not_wait() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(1));
    let asked = Arc::new(AtomicU32::new(0));
    let places = |places: u32| {
        let asked = Arc::clone(&asked);
        let enter = move || {
            let before = asked.fetch_add(1, Ordering::Relaxed);
            (before < places).then(|| WaitPlace::new(()))
        };
        Some(WaitPermission::new(Instant::now() + PATIENCE, enter))
    };
    let held = block_on(limits.ask(&request, places(1)));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let mut first = limits.ask(&request, places(1));
    until("the first waits", || {
        !is_ready(&mut first) && asked.load(Ordering::Relaxed) == 1
    });
    let second = block_on(limits.ask(&request, places(1)));
    assert!(refused(second.result).can_wait());
    drop(held);
    assert!(block_on(first).result.is_ok());
}

/// A key with many requests does not block other keys.
#[test]
fn keys_take_turns() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = upstream(1);
    let mut held = block_on(limits.ask(&request, None)).result.ok();
    let mut waiting: Vec<(char, AcquireFuture)> = "aaabb"
        .chars()
        .map(|key| {
            let request = upstream_of(&key.to_string(), 1);
            (key, limits.ask(&request, later()))
        })
        .collect();
    // All of them have been asked, and wait.
    let probe = block_on(limits.ask(&request, None));
    assert!(refused(probe.result).can_wait());
    let mut order = String::new();
    while !waiting.is_empty() {
        assert!(held.take().is_some());
        until("one of them is served", || {
            let at = waiting.iter_mut().position(|(_, asking)| {
                let polled = Pin::new(asking).poll(&mut Context::from_waker(Waker::noop()));
                match polled {
                    Poll::Ready(answer) => {
                        held = answer.result.ok();
                        true
                    }
                    Poll::Pending => false,
                }
            });
            at.is_some_and(|at| {
                order.push(waiting.remove(at).0);
                true
            })
        });
    }
    assert_eq!(order, "ababa");
}
