//! Leases.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use super::*;

const SLOTS: &str = "{voxgate}:slots:key:a";

fn short(server: &Server) -> RedisOptions {
    RedisOptions {
        lease: Duration::from_secs(1),
        ..options(server)
    }
}

#[test]
fn gateways_share_requests_in_flight() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (one, other) = (started(&server), started(&server));
    let request = key("a", concurrency(3));
    let mut held = vec![
        one.decide(&request).expect("granted"),
        other.decide(&request).expect("granted"),
        one.decide(&request).expect("granted"),
    ];
    for limits in [&one, &other] {
        let exceeded = limits.decide(&request).expect_err("refused");
        assert_eq!(
            (exceeded.limit, exceeded.retry_after),
            (Limit::KeyConcurrency, None)
        );
    }
    drop(held.swap_remove(0));
    until("a slot is free", || server.taken(SLOTS) == 2);
    let _held = other.decide(&request).expect("granted");
    assert!(one.decide(&request).is_err());
}

/// A dropped lease is released before the next request is decided.
#[test]
fn a_released_slot_can_be_taken_at_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    for _ in 0..200 {
        drop(limits.decide(&key("a", concurrency(1))).expect("granted"));
    }
}

#[test]
fn gateways_count_each_other() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let one = started_with(short(&server));
    assert_eq!(one.replicas(), 1);
    let other = started_with(short(&server));
    let third = started_with(short(&server));
    until("all know of all", || {
        [&one, &other, &third].iter().all(|it| it.replicas() == 3)
    });
    drop(third);
    until("it is missed", || {
        one.replicas() == 2 && other.replicas() == 2
    });
}

/// However a request ends, its slot is released.
#[test]
fn no_slot_leaks_when_a_future_is_dropped() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    thread::scope(|scope| {
        for seed in 1..=4_u64 {
            let limits = limits.clone();
            scope.spawn(move || {
                let mut random = seed;
                for _ in 0..1500 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
                    let dice = random >> 33;
                    let request = of_all(key("a", concurrency(20)), 30);
                    let wait = (dice % 3 == 0)
                        .then(|| until_then(Instant::now() + Duration::from_secs(1)));
                    let mut asking = limits.ask(&request, wait);
                    match dice / 3 % 5 {
                        0 => drop(asking),
                        1 => {
                            let _ = is_ready(&mut asking);
                        }
                        2 => {
                            thread::sleep(Duration::from_micros(dice % 700));
                            drop(asking);
                        }
                        _ => drop(block_on(asking)),
                    }
                }
            });
        }
    });
    until("all slots are released", || {
        server.taken(SLOTS) == 0 && server.taken("{voxgate}:slots:upstream") == 0
    });
    assert_eq!(limits.failures(), 0);
    assert_eq!(limits.grants(20, &key("a", concurrency(20))), 20);
}

#[test]
fn a_lease_is_renewed_while_it_is_held() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started_with(short(&server));
    // More leases than one batch contains.
    let request = key("a", concurrency(250));
    let held: Vec<_> = (0..250)
        .map(|_| limits.decide(&request).expect("granted"))
        .collect();
    thread::sleep(Duration::from_millis(2500));
    assert!(limits.decide(&request).is_err());
    assert_eq!(server.taken(SLOTS), 250);
    drop(held);
    until("all slots are released", || server.taken(SLOTS) == 0);
}

/// The slots of a gateway that hangs or has failed become free when its leases expire, but not
/// while it renews them.
#[test]
fn the_slots_of_a_failed_gateway_become_free() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let is_stuck = Arc::new(AtomicBool::new(false));
    let (stuck, is_released) = channel::<()>();
    let tell = Arc::clone(&is_stuck);
    let gone = started_with(RedisOptions {
        on_round_trip: Some(Box::new(move |_| {
            if tell.load(Ordering::SeqCst) {
                let _ = is_released.recv();
            }
        })),
        ..short(&server)
    });
    let alive = started_with(short(&server));
    let request = key("a", concurrency(2));
    let _kept = alive.decide(&request).expect("granted");
    let lost = gone.decide(&request).expect("granted");
    assert!(alive.decide(&request).is_err());
    until("they know of each other", || alive.replicas() == 2);
    is_stuck.store(true, Ordering::SeqCst);
    let _unanswered = gone.ask(&upstream(1), None);
    std::mem::forget(lost);
    until("the slot comes free", || alive.decide(&request).is_ok());
    until("it is no longer counted", || alive.replicas() == 1);
    until("held leases are kept", || server.taken(SLOTS) == 1);
    drop(stuck);
}

#[test]
fn leases_are_put_back_when_redis_has_lost_them() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let limits = started_with(short(&server));
    let request = of_all(key("a", concurrency(250)), 300);
    let mut held: Vec<_> = (0..250)
        .map(|_| limits.decide(&request).expect("granted"))
        .collect();
    for _ in 0..2 {
        server.kill();
        until("it is missed", || !limits.is_up());
        let _ = block_on(limits.ask(&request, None))
            .result
            .expect_err("Redis is gone");
        // Leases that are released meanwhile are not put back.
        held.truncate(held.len() - 10);
        server.start_again();
        until("it is found", || limits.is_up());
        assert_eq!(server.taken(SLOTS), held.len());
        assert_eq!(server.taken("{voxgate}:slots:upstream"), held.len());
        let request = key("a", concurrency(u32::try_from(held.len()).expect("few")));
        let exceeded = limits.decide(&request).expect_err("refused");
        assert_eq!(exceeded.limit, Limit::KeyConcurrency);
    }
    // Also while Redis is available.
    let _: String = server.run("FLUSHALL");
    until("they are put back", || server.taken(SLOTS) == held.len());
    drop(held);
    until("all slots are released", || server.taken(SLOTS) == 0);
}

#[test]
fn the_last_lease_deregisters_the_gateway() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let lease = limits.decide(&key("a", concurrency(1))).expect("granted");
    drop(limits);
    assert_eq!(server.taken("{voxgate}:gateways"), 1);
    assert_eq!(server.taken(SLOTS), 1);
    drop(lease);
    until("nothing is left", || server.keys().is_empty());
}

/// A heartbeat from a lost connection may arrive late. It must not restore a released lease.
#[test]
fn a_late_heartbeat_finds_nothing_to_renew() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let renew = |put_back: &str| -> Vec<i64> {
        let script = include_str!("../renew.lua");
        let words = [
            "EVAL", script, "3", "s", "t", "s", "60000000", put_back, "x", "x", "y",
        ];
        server.run_words(&words)
    };
    let _: i64 = server.run("ZADD t 1 x");
    assert_eq!(renew("0"), [0, 2]);
    assert_eq!((server.taken("s"), server.taken("t")), (0, 1));
    let expires: f64 = server.run("ZSCORE t x");
    assert!(expires > 1.0, "it is renewed");
    assert_eq!(renew("1"), [0, 2], "what it puts back");
    assert_eq!(renew("1"), [0_i64; 0]);
    assert_eq!((server.taken("s"), server.taken("t")), (2, 1));
    assert!(server.run::<i64>("PTTL s") > 0, "nothing stays for ever");
}
