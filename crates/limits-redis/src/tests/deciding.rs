//! Decisions.

use super::*;

const HOUR: u64 = 3_600_000_000;

/// The level of a rate, and its time.
fn state(server: &Server, level_key: &str) -> (u64, u64) {
    let state: String = server.run_words(&["GET", level_key]);
    let (level, at) = state.split_once(' ').expect("a level and a time");
    let number = |text: &str| text.parse().expect("a whole number");
    (number(level), number(at))
}

fn set_state(server: &Server, level_key: &str, (level, at): (u64, u64)) {
    let _: String = server.run_words(&["SET", level_key, &format!("{level} {at}")]);
}

/// Changes the stored time of a rate as if this time had passed.
fn pass(server: &Server, level_key: &str, micros: u64) {
    let (level, at) = state(server, level_key);
    set_state(server, level_key, (level, at - micros));
}

#[test]
fn a_rate_allows_exactly_its_number_of_requests() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", rate("7/h"));
    for left in (0..7).rev() {
        let lease = limits.decide(&request).expect("granted");
        assert_eq!(rate_of(&lease, LimitScope::Key).requests, left);
    }
    for _ in 0..3 {
        let exceeded = limits.decide(&request).expect_err("refused");
        assert_eq!(exceeded.limit, Limit::KeyRate);
        assert!(
            exceeded
                .retry_after
                .is_some_and(|it| it <= Duration::from_secs(3600 / 7 + 1))
        );
    }
    let level = "{voxgate}:rate:7/3600000000:key:a";
    for _ in 0..5 {
        // The test sets the hours. The machine may add a delay.
        const SLACK: u64 = HOUR / 20;
        let [seconds, micros]: [u64; 2] = server.run("TIME");
        set_state(&server, level, (7 * HOUR, seconds * 1_000_000 + micros));
        assert_eq!(limits.grants(2, &request), 0);
        pass(&server, level, HOUR / 7 - SLACK);
        assert_eq!(limits.grants(2, &request), 0);
        pass(&server, level, SLACK + 1);
        assert_eq!(limits.grants(2, &request), 1);
        pass(&server, level, 5 * HOUR / 7 + 1);
        assert_eq!(limits.grants(9, &request), 5);
    }
    pass(&server, level, 1000 * HOUR);
    assert_eq!(
        limits.grants(20, &request),
        7,
        "at most the burst accumulates"
    );
}

/// A seventh of an hour is not a whole number of microseconds, but no request is lost or added.
#[test]
fn a_rate_is_computed_without_rounding_errors() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    for (text, drain, unit) in [("7/h", 7, HOUR), ("13/h", 13, HOUR), ("10/h", 1, HOUR / 10)] {
        let request = account("a", rate(text));
        let level = format!("{{voxgate}}:rate:{drain}/{unit}:account:a");
        assert_eq!(limits.grants(1, &request), 1);
        let mut before = state(&server, &level);
        assert_eq!(before.0, unit);
        for step in 1..200 {
            pass(&server, &level, unit / drain * step / 100);
            before.1 -= unit / drain * step / 100;
            let granted = limits.grants(1, &request) == 1;
            let after = state(&server, &level);
            if granted {
                let drained = (after.1 - before.1) * drain;
                assert_eq!(after.0, before.0.saturating_sub(drained) + unit, "{text}");
            } else {
                assert_eq!(after, before, "{text}");
            }
            before = after;
        }
    }
}

#[test]
fn a_burst_may_start_at_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    for (burst, rate, expected) in [(1, "1000/h", 1), (20, "1/h", 20), (3, "3/h", 3)] {
        let limited = Limits {
            burst: NonZeroU32::new(burst),
            ..super::rate(rate)
        };
        assert_eq!(
            limits.grants(30, &account(rate, limited)),
            expected,
            "{rate}"
        );
    }
}

#[test]
fn the_largest_numbers_work() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    for text in ["1/h", "4294967295/h", "4294967295/s", "4294967291/min"] {
        let greatest = Limits {
            burst: NonZeroU32::new(u32::MAX),
            concurrency: NonZeroU32::new(u32::MAX),
            ..rate(text)
        };
        for _ in 0..3 {
            let lease = limits.decide(&key("a", greatest)).expect("granted");
            let left = rate_of(&lease, LimitScope::Key).requests;
            assert!(left >= u32::MAX - 4, "{left}");
        }
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_block_callers() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", rate("2/h"));
    assert_eq!(limits.grants(1, &request), 1);
    let level = "{voxgate}:rate:1/1800000000:key:a";
    let (used, at) = state(&server, level);
    set_state(&server, level, (used, at + 1000 * HOUR));
    assert_eq!(limits.grants(5, &request), 1);
}

#[test]
fn a_refused_request_takes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let both = |rate_of: &str, most| Limits {
        concurrency: NonZeroU32::new(most),
        ..rate(rate_of)
    };
    let _all = limits.decide(&upstream(1)).expect("granted");
    let both_of = |id, limits| key("k", both("5/h", 3)).with_account(id, limits);
    let request = of_all(both_of("a", both("5/h", 3)), 1);
    for _ in 0..20 {
        let exceeded = limits.decide(&request).expect_err("refused");
        assert_eq!(
            (exceeded.limit, exceeded.retry_after),
            (Limit::UpstreamConcurrency, None)
        );
    }
    let used = server.keys();
    assert_eq!(used, ["{voxgate}:gateways", "{voxgate}:slots:upstream"]);
    // The rate of the last scope refuses: neither slots nor rates of the others are used.
    assert_eq!(limits.grants(1, &account("b", rate("1/h"))), 1);
    let request = both_of("b", rate("1/h"));
    for _ in 0..20 {
        let exceeded = limits.decide(&request).expect_err("refused");
        assert_eq!(exceeded.limit, Limit::AccountRate);
    }
    assert_eq!(server.taken("{voxgate}:slots:key:k"), 0);
    assert_eq!(
        limits.grants(9, &key("k", both("5/h", 3))),
        3,
        "three slots, and rate to spare"
    );
    assert_eq!(
        limits.grants(9, &key("k", rate("5/h"))),
        2,
        "the remaining requests of five"
    );
}

#[test]
fn a_missing_slot_and_a_used_up_rate_are_both_reported() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key(
        "k",
        Limits {
            concurrency: NonZeroU32::new(1),
            ..rate("1/h")
        },
    );
    let _held = limits.decide(&request).expect("granted");
    let exceeded = limits.decide(&request).expect_err("refused");
    assert_eq!(exceeded.limit, Limit::KeyConcurrency);
    assert!(
        exceeded
            .retry_after
            .is_some_and(|it| it > Duration::from_secs(3000)),
        "{exceeded:?}"
    );
}

#[test]
fn identifiers_are_not_confused() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let names = [
        "a",
        "b",
        "key:a",
        "account:a",
        "upstream",
        "a:b",
        "",
        " ",
        "}",
        "{",
        "{voxgate}",
        "a}b",
        "ä",
        "\u{1F50A}",
        "\"",
        "'",
        "\\",
        "a\nb",
        "*",
        "a*",
        "%61",
        "\u{0}",
    ];
    let one = || Limits {
        concurrency: NonZeroU32::new(1),
        ..rate("1/h")
    };
    let mut all: Vec<_> = names.iter().map(|name| key(name, one())).collect();
    all.extend(names.iter().map(|name| account(name, one())));
    all.push(upstream(1));
    let leases: Vec<_> = all
        .iter()
        .map(|request| limits.decide(request).expect("granted"))
        .collect();
    assert_eq!(leases.len(), server.keys().len() / 2, "{:?}", server.keys());
    for request in all {
        let exceeded = limits.decide(&request).expect_err("it was its own");
        let of = [
            Limit::KeyConcurrency,
            Limit::AccountConcurrency,
            Limit::UpstreamConcurrency,
        ];
        assert!(of.contains(&exceeded.limit), "{exceeded:?}");
    }
}

#[test]
fn namespaces_are_separate() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let of = |namespace: &str| {
        started_with(RedisOptions {
            namespace: namespace.to_owned(),
            ..options(&server)
        })
    };
    let (one, other) = (of("one"), of("other"));
    let request = upstream(1);
    let _held = one.decide(&request).expect("granted");
    let _held = other.decide(&request).expect("granted");
    assert!(one.decide(&request).is_err());
    assert_eq!((one.replicas(), other.replicas()), (1, 1));
}

#[test]
fn redis_is_not_asked_about_unlimited_requests() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    server.kill();
    // A burst without a rate limits nothing.
    let burst = Limits {
        burst: NonZeroU32::new(1),
        ..Limits::default()
    };
    let granted = limits.decide(&account("a", burst)).expect("granted");
    assert_eq!(granted.remaining, Remaining::default());
}

#[test]
fn unused_keys_expire() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started_with(RedisOptions {
        lease: Duration::from_secs(1),
        ..options(&server)
    });
    let both = Limits {
        concurrency: NonZeroU32::new(1),
        ..rate("2/s")
    };
    drop(limits.decide(&key("a", both)).expect("granted"));
    let others = account(
        "a",
        Limits {
            burst: NonZeroU32::new(9),
            ..rate("1/h")
        },
    );
    drop(limits.decide(&others).expect("granted"));
    // A half-used rate is kept until it is unused again, for an hour at the most.
    let expiry: i64 = server.run("PTTL {voxgate}:rate:1/3600000000:account:a");
    assert!((3_000_000..=3_600_000).contains(&expiry), "{expiry}");
    drop(limits);
    until("only that key remains", || server.keys().len() == 1);
}

/// A cluster refuses a script whose keys are not all on one node.
#[test]
fn a_cluster_accepts_every_request() {
    let Some(server) = Server::start(&["--cluster-enabled", "yes"]) else {
        return;
    };
    let _: String = server.run("CLUSTER ADDSLOTSRANGE 0 16383");
    let is_ok = || {
        let state: String = server.run("CLUSTER INFO");
        state.contains("cluster_state:ok")
    };
    until("the cluster is up", is_ok);
    let limits = started_with(RedisOptions {
        lease: Duration::from_secs(1),
        ..options(&server)
    });
    let both = || Limits {
        concurrency: NonZeroU32::new(1),
        ..rate("2/h")
    };
    let request = of_all(key("{k}", both()).with_account("}a{", both()), 1);
    let lease = limits.decide(&request).expect("granted");
    // It outlives its expiry, so heartbeats are taken, too.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(server.taken("{voxgate}:slots:upstream"), 1);
    drop(lease);
    until("it is given back", || {
        server.taken("{voxgate}:slots:upstream") == 0
    });
    assert_eq!(limits.grants(2, &request), 1);
    assert_eq!(limits.failures(), 0);
    let mut slots = std::collections::BTreeSet::new();
    for key in server.keys() {
        slots.insert(server.run_words::<u16>(&["CLUSTER", "KEYSLOT", &key]));
    }
    assert_eq!(slots.len(), 1);
}
