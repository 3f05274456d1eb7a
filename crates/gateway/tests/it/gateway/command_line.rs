//! The program at its command line.

use super::harness::{KEY, Program, send_raw};

#[test]
fn a_wrong_configuration_is_64_with_every_problem_and_no_value() {
    for command in ["serve", "check"] {
        let (code, out, error) =
            Program::new(&[command, "--listen", "hunter2", "--log-format=hunter2"])
                .var("VOXGATE_MODE", "hunter2")
                .var("VOXGATE_API_KEYS", "hunter2 hunter2")
                .var("VOXGATE_UPSTREM", "hunter2")
                .run();
        assert_eq!((code, out.as_str()), (Some(64), ""), "{error}");
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines[0], "voxgate: the configuration is wrong:");
        let places = [
            "VOXGATE_UPSTREM",
            "VOXGATE_MODE",
            "VOXGATE_API_KEYS, key 1",
            "VOXGATE_LISTEN",
            "VOXGATE_UPSTREAM",
            "VOXGATE_LOG_FORMAT",
        ];
        assert_eq!(lines.len(), 1 + places.len(), "{error}");
        for (line, place) in lines[1..].iter().zip(places) {
            assert!(line.starts_with(&format!("  {place}: ")), "{line}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn check_says_what_the_gateway_would_do() {
    let (code, out, error) = Program::new(&["check", "--upstream", "http://127.0.0.1:8000"])
        .var("VOXGATE_API_KEYS", KEY)
        .var("VOXGATE_UPSTREAM", "the flag wins over this")
        .run();
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(
        out.contains("use the dialect rime and forward to http://127.0.0.1:8000."),
        "{out}"
    );
    assert!(out.contains("Every request needs the one key"), "{out}");
    assert!(!out.contains(KEY), "{out}");
}

#[tokio::test]
async fn a_refusal_is_explained_by_its_request_id() {
    let directory = tempfile::tempdir().unwrap();
    let (keys, log) = (
        directory.path().join("keys.toml"),
        directory.path().join("log"),
    );
    let text = "[[key]]\nid = \"reader\"\nsecret = \"a-key-that-only-reads\"\nscopes = [\"voices:read\", \
                \"tts:synth\"]\n";
    std::fs::write(&keys, text).unwrap();
    std::fs::create_dir(&log).unwrap();
    let mut gateway = Program::gateway("127.0.0.1:9")
        .var("VOXGATE_KEYS_FILE", &keys)
        .var("VOXGATE_AUDIT_DIR", &log)
        .start();
    let refused = send_raw(
        gateway.address,
        "POST /v1/rime-tts HTTP/1.1\r\nHost: tts\r\nAuthorization: Bearer \
         a-key-that-only-reads\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(refused.status, 403);
    let id = refused.header("x-request-id").unwrap().to_owned();
    gateway.terminate();
    assert!(gateway.exit_status().await.success());
    let notice = "key `reader`: has the scope `tts:synth`, which no rule of the policy requires; did you \
                  mean `tts:synthesize`?";
    gateway.wait_for_log(notice);
    let program = |arguments: &[&str]| {
        Program::new(arguments)
            .var("VOXGATE_KEYS_FILE", &keys)
            .var("VOXGATE_UPSTREAM", "http://127.0.0.1:9")
            .run()
    };
    let (code, out, error) = program(&["check"]);
    assert!(code == Some(0) && out.contains(notice), "{out}{error}");
    let log = log.to_str().unwrap();
    let (code, out, error) = program(&["explain", "--request-id", &id, "--audit-dir", log]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    for wanted in [
        "policy    REFUSED  the rule POST /v1/rime-tts requires the scope tts:synthesize, and reader has \
         only voices:read tts:synth",
        "Add the scope `tts:synthesize` to reader",
        "it would be refused with the reason insufficient_scope",
    ] {
        assert!(out.contains(wanted), "{out}");
    }
    // The same by hand, and after the advice.
    std::fs::write(&keys, text.replace("tts:synth", "tts:synthesize")).unwrap();
    let (_, out, _) = program(&["explain", "POST", "/v1/rime-tts", "--key", "reader"]);
    assert!(out.ends_with("The request is accepted.\n"), "{out}");
    let (code, _, error) = program(&["explain", "POST", "/v1/rime-tts", "--key", "raeder"]);
    assert!(
        code == Some(64) && error.contains("did you mean `reader`?"),
        "{error}"
    );
}

#[test]
fn variables_that_kubernetes_injects_do_not_break_the_start() {
    let (code, _, error) = Program::new(&["check"])
        .var("VOXGATE_API_KEYS", KEY)
        .var("VOXGATE_UPSTREAM", "http://127.0.0.1:8000")
        .var("VOXGATE_SERVICE_HOST", "10.0.0.1")
        .var("VOXGATE_SERVICE_PORT", "8080")
        .var("VOXGATE_SERVICE_PORT_HTTP", "8080")
        .var("VOXGATE_PORT", "tcp://10.0.0.1:8080")
        .var("VOXGATE_PORT_8080_TCP", "tcp://10.0.0.1:8080")
        .var("VOXGATE_PORT_8080_TCP_PROTO", "tcp")
        .run();
    assert_eq!((code, error.as_str()), (Some(0), ""));
}

#[test]
fn a_newcomer_can_work_from_the_help() {
    let (code, out, _) = Program::new(&["--help"]).run();
    assert_eq!(code, Some(0));
    for wanted in [
        "voxgate demo",
        "voxgate check",
        "voxgate serve",
        "VOXGATE_UPSTREAM",
        "64",
    ] {
        assert!(out.contains(wanted), "no {wanted} in {out}");
    }
    let (_, out, _) = Program::new(&["serve", "--help"]).run();
    // As one line: the help breaks lines anywhere.
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in [
        "--upstream <URL>",
        "VOXGATE_UPSTREAM, required",
        "--drain-seconds",
        "default: 30",
        "VOXGATE_API_KEYS",
    ] {
        assert!(out.contains(wanted), "no {wanted} in {out}");
    }
    let (code, _, error) = Program::new(&["serve", "--uptsream", "x"]).run();
    assert_eq!(code, Some(64));
    assert!(error.contains("--upstream"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, _, error) = Program::validating("127.0.0.1:1")
        .var("VOXGATE_LISTEN", address.to_string())
        .run();
    let said = format!(
        "voxgate: the configuration is wrong:\n  VOXGATE_LISTEN: cannot listen on {address}: "
    );
    assert!(code == Some(64) && error.contains(&said), "{error}");
    // Nobody has to read the log to learn why the gateway does not start.
    let (code, _, error) = Program::validating("127.0.0.1:1")
        .var("VOXGATE_LISTEN", address.to_string())
        .var("VOXGATE_LOG", "off")
        .run();
    assert!(code == Some(64) && error.starts_with(&said), "{error}");
    let (code, out, error) = Program::new(&["check"])
        .var("VOXGATE_UPSTREAM", "http://127.0.0.1:1")
        .var("VOXGATE_API_KEYS", KEY)
        .var("VOXGATE_ADMIN_LISTEN", "127.0.0.1:0")
        .var("VOXGATE_LISTEN", address.to_string())
        .run();
    let said = format!("warning: VOXGATE_LISTEN: another process listens on {address}");
    assert!(code == Some(0) && out.contains(&said), "{out}{error}");
}

#[test]
fn mistakes_of_a_trial_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = "[[key]]\nid = \"a\"\nsecret = \"0123456789abcdef\"\n";
    let (empty, date, field) = (
        file("empty.toml", ""),
        file("date.toml", &format!("{key}expires = 2026-13-45\n")),
        file("field.toml", &format!("{key}colour = \"red\"\n")),
    );
    let blocked = format!("{empty}/log");
    let cases: [(&[(&str, &str)], String); 6] = [
        (
            &[("VOXGATE_LOG", "inof"), ("VOXGATE_API_KEYS", KEY)],
            "VOXGATE_LOG: must be a level (error, warn, info, debug, trace, off) or a list of \
             `target=level`; did you mean `info`?"
                .to_owned(),
        ),
        (
            &[("VOXGATE_AUDIT_DIR", &blocked), ("VOXGATE_API_KEYS", KEY)],
            "VOXGATE_AUDIT_DIR: cannot ".to_owned(),
        ),
        (
            &[("VOXGATE_KEYS_FILE", &empty)],
            format!("voxgate key new --id NAME --file {empty}"),
        ),
        (
            &[("VOXGATE_KEYS_FILE", &date)],
            format!("{date}:4: expires is not TOML: "),
        ),
        (
            &[("VOXGATE_KEYS_FILE", &field)],
            format!("{field}:4: unknown field `colour`; a key has id, sha256 or secret"),
        ),
        (
            &[
                ("VOXGATE_MODE", "preconfigured"),
                ("VOXGATE_DIALECT", "supertone"),
                ("RIME_API_KEY", KEY),
            ],
            "set SUPERTONE_API_KEY; RIME_API_KEY is set, which needs VOXGATE_DIALECT=rime"
                .to_owned(),
        ),
    ];
    for (vars, said) in cases {
        for command in ["check", "serve"] {
            let mut program = Program::new(&[command])
                .var("VOXGATE_UPSTREAM", "http://127.0.0.1:1")
                .var("VOXGATE_LISTEN", "127.0.0.1:0")
                .var("VOXGATE_ADMIN_LISTEN", "127.0.0.1:0");
            for (name, value) in vars {
                program = program.var(name, value);
            }
            let (code, _, error) = program.run();
            assert_eq!(code, Some(64), "{command} {vars:?}: {error}");
            assert!(
                error.starts_with("voxgate: the configuration is wrong:\n  "),
                "{error}"
            );
            assert!(
                error.contains(&said),
                "{command} should say {said}: {error}"
            );
        }
    }
}
