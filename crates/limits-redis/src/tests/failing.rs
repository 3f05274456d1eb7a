//! Requests while Redis fails.

use std::sync::Mutex;

use redis::Value;

use super::certificates::Certificates;
use super::server::reserve;
use super::*;

const SLOTS: &str = "{voxgate}:slots:key:a";

/// Sends `count` requests before the first can be answered.
fn unanswered(limits: &RedisStore, request: &AcquireRequest, count: usize) {
    let asked: Vec<_> = (0..count).map(|_| limits.ask(request, None)).collect();
    for asking in asked {
        assert_eq!(
            block_on(asking).result.expect_err("no answer"),
            AcquireError::Unavailable
        );
    }
}

/// Redis may hang and execute its commands later. Its grants are given back then.
#[test]
fn a_late_grant_is_given_back() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    // Shorter and longer than the timeout of a silent connection.
    for (id, frozen) in [("a", 300), ("b", 3000)] {
        let limits = started_with(RedisOptions {
            deadline: Duration::from_millis(200),
            namespace: id.to_owned(),
            ..options(&server)
        });
        let limited = Limits {
            concurrency: NonZeroU32::new(1000),
            burst: NonZeroU32::new(1000),
            ..rate("1/h")
        };
        let request = key("a", limited);
        // The machine may miss the deadline sometimes.
        let in_time = || block_on(limits.ask(&request, None)).result.is_ok();
        until("it is asked in time", in_time);
        let counted = || server.counted(&format!("{{{id}}}:rate:1/3600000000:key:a"));
        let before = counted();
        server.freeze();
        unanswered(&limits, &request, 20);
        assert!(!limits.is_up());
        let failures = limits.failures();
        assert!(failures >= 5, "{failures}");
        unanswered(&limits, &request, 1);
        thread::sleep(Duration::from_millis(frozen));
        server.thaw();
        until("it is asked again", || limits.is_up());
        until("the requests are granted late", || counted() > before);
        let slots = format!("{{{id}}}:slots:key:a");
        until("all slots are released", || server.taken(&slots) == 0);
        until("it is asked in time", in_time);
        until("all slots are released", || server.taken(&slots) == 0);
    }
}

#[test]
fn scripts_are_loaded_again_after_a_flush() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(40));
    for _ in 0..3 {
        let _: String = server.run("SCRIPT FLUSH");
        assert_eq!(limits.grants(40, &request), 40);
    }
    assert_eq!(limits.failures(), 0);
}

#[test]
fn a_lost_connection_is_reestablished() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(1));
    let held = limits.decide(&request).expect("granted");
    for _ in 0..3 {
        let before = limits.failures();
        let _: i64 = server.run("CLIENT KILL TYPE normal SKIPME yes");
        until("the loss is detected", || limits.failures() > before);
        until("the connection is restored", || limits.is_up());
        assert!(limits.decide(&request).is_err());
    }
    drop(held);
    until("the slot is released", || server.taken(SLOTS) == 0);
}

/// Every error is logged once, and the store continues when it is fixed.
#[test]
fn errors_are_logged_once_with_the_fix() {
    logs::listen();
    for (cause, cure, code) in [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "(OOM)"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "(READONLY)"),
        (
            "SET {voxgate}:gateways odd",
            "DEL {voxgate}:gateways",
            "(WRONGTYPE)",
        ),
        (
            "ACL SETUSER default -evalsha -eval",
            "ACL SETUSER default +@all",
            "(NOPERM)",
        ),
    ] {
        let Some(server) = Server::start(&[]) else {
            return;
        };
        let limits = started_with(RedisOptions {
            lease: Duration::from_secs(1),
            ..options(&server)
        });
        let request = key(
            "a",
            Limits {
                concurrency: NonZeroU32::new(9),
                ..rate("999/h")
            },
        );
        for round in 1..=2 {
            assert_eq!(limits.grants(1, &request), 1);
            let _: Value = server.run(cause);
            until(code, || {
                let _ = block_on(limits.ask(&request, None));
                !limits.is_up()
            });
            unanswered(&limits, &request, 100);
            let socket = server.socket().display().to_string();
            let told = |level: &str| {
                let mut lines = logs::lines_with(&socket);
                lines.retain(|line| line.starts_with(level));
                lines
            };
            until("it is logged", || told("WARN").len() == round);
            // Several probes later it is still logged once.
            let before = limits.failures();
            until("it is tried again", || limits.failures() >= before + 3);
            let warnings = told("WARN");
            assert_eq!(warnings.len(), round, "{warnings:#?}");
            assert!(warnings[round - 1].contains(code), "{warnings:#?}");
            let _: Value = server.run(cure);
            until("it is fixed", || told("INFO").len() == round);
            assert!(limits.is_up());
        }
    }
}

/// Slots are released in batches, which Redis may refuse as well.
#[test]
fn release_errors_are_logged_with_the_same_text() {
    logs::listen();
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(9));
    let held = limits.decide(&request).expect("granted");
    let _: Value = server.run("SET {voxgate}:slots:key:a odd");
    drop(held);
    until("Redis is unavailable", || {
        let _ = block_on(limits.ask(&request, None));
        !limits.is_up()
    });
    let before = limits.failures();
    until("it is tried again", || limits.failures() >= before + 3);
    let socket = server.socket().display().to_string();
    let told = logs::lines_with(&socket);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("(WRONGTYPE)"), "{told:#?}");
}

#[test]
fn an_absent_server_is_detected_at_once_and_used_when_it_starts() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    server.kill();
    let limits = RedisStore::start(options(&server)).expect("started without a server");
    let request = key("a", concurrency(1));
    unanswered(&limits, &request, 10);
    assert!(!limits.is_up());
    assert_eq!(limits.replicas(), 1);
    server.start_again();
    until("it is found", || limits.is_up());
    assert!(limits.decide(&request).is_ok());
}

#[test]
fn a_password_is_used_and_never_shown() {
    logs::listen();
    const RIGHT: &str = "the-right/password";
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let set = format!("ACL SETUSER limits on >{RIGHT} ~* +@all");
    let _: String = server.run(&set);
    let with = |query: &str| RedisOptions {
        url: Secret::new(&format!("{}?{query}", server.url())).expect("a URL"),
        ..options(&server)
    };
    let request = key("a", concurrency(1));
    let right = with("user=limits&pass=the-right%2Fpassword&db=3");
    assert!(!format!("{right:?}").contains("password"));
    let limits = started_with(right);
    assert!(limits.decide(&request).is_ok());
    let databases: String = server.run("INFO keyspace");
    assert!(
        databases.contains("db3:") && !databases.contains("db0:"),
        "{databases}"
    );
    for (query, code) in [
        ("user=limits&pass=wrong-password", "(WRONGPASS)"),
        ("user=unknown&pass=wrong-password", "(WRONGPASS)"),
    ] {
        let limits = RedisStore::start(with(query)).expect("started");
        unanswered(&limits, &request, 3);
        let socket = server.socket().display().to_string();
        until("it is logged", || {
            logs::lines_with(&socket).iter().any(|it| it.contains(code))
        });
        let shown = format!("{limits:?}");
        assert!(
            shown.contains(&socket) && !shown.contains("password"),
            "{shown}"
        );
    }
    let _: String = server.run("ACL SETUSER default resetpass >unknown");
    let limits = RedisStore::start(options(&server)).expect("started");
    unanswered(&limits, &request, 3);
    let socket = server.socket().display().to_string();
    until("it is logged", || {
        logs::lines_with(&socket)
            .iter()
            .any(|it| it.contains("(NOAUTH)"))
    });
    for line in logs::lines_with(&socket) {
        let line = line
            .replace("redis://:<password>", "")
            .replace("requires a password", "");
        let line = line.replace("name and password of VOXGATE_REDIS_URL", "");
        assert!(!line.contains("password"), "{line}");
    }
}

#[test]
fn too_many_unanswered_requests_make_the_store_unavailable() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let limits = started(&server);
    let request = key("a", concurrency(u32::MAX));
    server.freeze();
    let mut asked: Vec<_> = (0..UNANSWERED)
        .map(|_| limits.ask(&request, None))
        .collect();
    let one_more = block_on(limits.ask(&request, None));
    assert_eq!(
        one_more.result.expect_err("full"),
        AcquireError::Unavailable
    );
    assert!(!is_ready(&mut asked[0]));
    server.thaw();
    let held: Vec<_> = asked.into_iter().map(block_on).collect();
    until("there is room again", || {
        block_on(limits.ask(&request, None)).result.is_ok()
    });
    drop(held);
}

#[test]
fn answers_are_counted() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let limits = started_with(RedisOptions {
        on_round_trip: Some(Box::new(move |_| *count.lock().expect("a lock") += 1)),
        ..options(&server)
    });
    limits.grants(7, &key("a", rate("5/h")));
    assert_eq!(*told.lock().expect("a lock"), 7);
}

/// A server with TLS, its port, and its certificates.
fn with_tls() -> Option<(Server, String, Certificates)> {
    let certificates = Certificates::new();
    let (_reserved, port) = reserve();
    let port = port.to_string();
    let files = certificates.options();
    let mut arguments = vec!["--bind", "127.0.0.1", "--tls-port", &port];
    arguments.extend(files.iter().map(String::as_str));
    Some((Server::start(&arguments)?, port, certificates))
}

#[test]
fn tls_requires_a_certificate_of_the_authority() {
    logs::listen();
    let Some((server, port, certificates)) = with_tls() else {
        return;
    };
    let ca_file = certificates.path("ca.pem");
    let request = key("a", concurrency(1));
    let to = |url: String, ca_file: Option<&std::path::Path>| RedisOptions {
        url: Secret::new(&url).expect("a URL"),
        ca_file: ca_file.map(std::path::Path::to_owned),
        ..options(&server)
    };
    let limits = started_with(to(format!("rediss://localhost:{port}/1"), Some(&ca_file)));
    let _held = limits.decide(&request).expect("granted");
    let tcp: String = server.run("CLIENT LIST");
    assert!(tcp.contains("laddr=127.0.0.1:"), "{tcp}");
    // Another name, another authority, and no TLS at all.
    for (url, ca_file, complaint) in [
        (
            format!("valkeys://127.0.0.1:{port}"),
            Some(&*ca_file),
            "TLS failed",
        ),
        (format!("rediss://localhost:{port}/2"), None, "TLS failed"),
        (
            format!("redis://localhost:{port}"),
            None,
            "whether it requires TLS",
        ),
    ] {
        let told = |line: &String| line.contains(&port) && line.contains(complaint);
        let before = logs::lines_with(&port).iter().filter(|it| told(it)).count();
        let limits = RedisStore::start(to(url, ca_file)).expect("started");
        unanswered(&limits, &request, 3);
        until("it is logged", || {
            logs::lines_with(&port).iter().filter(|it| told(it)).count() > before
        });
        assert!(!limits.is_up());
    }
}
