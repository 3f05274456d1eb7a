//! `voxgate audit` over logs that the gateway wrote, and over hostile ones.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use super::harness::{KEY, Program, record, send_raw, serve};
use super::tunnels;

/// A log in a directory that goes with it.
struct Log {
    directory: tempfile::TempDir,
}

impl Log {
    fn of(lines: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("audit.log"), lines.concat()).unwrap();
        Self { directory }
    }

    /// What the gateway writes about these requests: one accepted, one to a missing path, one with a
    /// credential that nobody has, one without, and a WebSocket.
    async fn written() -> Self {
        let log = Self::of(&[]);
        let output = File::create(log.path()).unwrap();
        let upstream = serve(Router::new().route("/v1/say", get(|| async { "audio" }))).await;
        let mut gateway = Program::validating(upstream).start_into(output);
        for (path, key) in [
            ("/v1/say", KEY),
            ("/v1/missing", KEY),
            ("/v1/say", "a-credential-that-nobody-has"),
            ("/v1/say", ""),
        ] {
            let authorization = match key {
                "" => String::new(),
                key => format!("Authorization: Bearer {key}\r\n"),
            };
            send_raw(
                gateway.address,
                format!(
                    "GET {path} HTTP/1.1\r\nHost: tts\r\n{authorization}Connection: close\r\n\r\n"
                ),
            )
            .await;
        }
        gateway.terminate();
        assert!(gateway.exit_status().await.success());

        let output = File::options().append(true).open(log.path()).unwrap();
        let mut gateway = Program::validating(tunnels::echo().await).start_into(output);
        let (mut socket, _) = tunnels::connect(&gateway, KEY).await.unwrap();
        tunnels::say(&mut socket, "hello").await;
        drop(socket);
        gateway.terminate();
        assert!(gateway.exit_status().await.success());
        log
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// What a command prints about this log, and what it says besides.
    fn ask_loudly(&self, words: &[&str]) -> (String, String) {
        let path = self.path();
        let mut all = vec!["audit"];
        all.extend(words);
        all.push(path.to_str().unwrap());
        let (code, out, error) = Program::new(&all).var("LANG", "C.UTF-8").run();
        assert_eq!(code, Some(0), "{words:?}: {error}");
        (out, error)
    }

    /// What a command prints. A table of `query` has a closing line about what was read.
    fn ask(&self, words: &[&str]) -> String {
        let (out, error) = self.ask_loudly(words);
        let closes =
            words[0] == "query" && !words.iter().any(|word| ["--format", "--by"].contains(word));
        assert_eq!(error.contains(" read"), closes, "{words:?}: {error}");
        assert!(closes || error.is_empty(), "{words:?}: {error}");
        out
    }
}

const HOSTILE: &str = "=cmd|'/c calc'!A1\u{1b}[2J\u{202e}<script>alert(1)</script>\",\r\n";

fn line(seq: u64, ts: &str, fields: Value) -> String {
    let mut line = json!({ "v": 1, "seq": seq, "ts": ts, "instance": "00112233445566ff" });
    line.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    // As the gateway does, everything but printable ASCII is an escape.
    let mut ascii = String::new();
    for unit in line.to_string().encode_utf16() {
        match char::from_u32(unit.into()) {
            Some(plain @ ' '..='~') => ascii.push(plain),
            _ => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    ascii + "\n"
}

const MARCH: &str = "2026-03-14T10:11:12.123456Z";
const APRIL: &str = "2026-04-01T00:00:00.000000Z";

/// Everything that a stranger can say, said in a hostile way.
fn hostile() -> Log {
    let id = |last: u32| format!("019cebd5-0000-7000-8000-{last:012}");
    let decision = json!({
        "event": "decision", "outcome": "refused", "reason": "unknown_credential", "status": 401,
        "request_id": id(1), "dialect": "rime", "cred_fp": "00112233445566aa",
        "peer": "10.1.2.3:4567", "host": HOSTILE, "method": "GET",
        "path": format!("/%FF%C3{HOSTILE}{}", "x".repeat(400)), "user_agent": HOSTILE,
        "protocol": "HTTP/1.1",
    });
    let accepted = json!({
        "event": "decision", "outcome": "accepted", "reason": "ok", "request_id": id(2),
        "dialect": "rime", "auth_method": "api_key", "key_id": HOSTILE, "label": HOSTILE,
        "peer": "[2001:db8::1]:1", "method": "POST", "path": "/v1/rime-tts", "protocol": "HTTP/2",
    });
    let complete = json!({
        "event": "complete", "request_id": id(2), "key_id": HOSTILE, "status": 200, "ended": "ok",
        "duration_us": 192_487, "first_byte_us": 1000, "bytes_sent": 66_044,
    });
    Log::of(&[
        line(1, MARCH, decision),
        line(2, MARCH, accepted),
        line(3, APRIL, complete),
    ])
}

/// Whether a text is fit for a terminal: lines of letters and printable ASCII.
fn assert_harmless(text: &str) {
    let bad = |c: char| !(c == '\n' || c == '…' || (' '..='~').contains(&c) || c.is_alphanumeric());
    let bars = |c: char| ('█'..='▏').contains(&c);
    assert!(!text.contains(|c| bad(c) && !bars(c)), "{text:?}");
}

#[tokio::test]
async fn queries_show_what_the_gateway_did() {
    let log = Log::written().await;
    let text = log.text();
    let records: Vec<Value> = text.lines().map(record).collect();
    assert_eq!(log.ask(&["query", "--format", "json"]), text);

    let table = log.ask(&["query"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 6, "{table}");
    assert!(rows[0].starts_with("TIME (UTC)"), "{table}");
    for (words, expected) in [
        (&["--key", "env-1"][..], 3),
        (&["--key", "env-2"], 0),
        (&["--key", "env-2", "--key", "env-1"], 3),
        (&["--outcome", "refused"], 2),
        (&["--reason", "unknown_credential"], 1),
        (&["--status", "2xx"], 1),
        (&["--status", "404"], 1),
        (&["--status", "4xx"], 3),
        (&["--path", "/v1/say"], 3),
        (&["--path", "*missing"], 1),
        (&["--path", "/v1/say", "--status", "200"], 1),
        (&["--method", "POST"], 0),
        (&["--peer", "127.0.0.0/8"], 5),
        (&["--client", "127.0.0.0/8"], 5),
        (&["--client", "203.0.113.0/24"], 0),
        (&["--peer", "10.0.0.0/8", "--peer", "::1"], 0),
        (&["--since", "1h"], 5),
        (&["--until", "1h"], 0),
        (&["--since", "2020", "--until", "2020-06-30"], 0),
        (&["--since", "00:00", "--tz", "UTC"], 5),
        (&["--reason", "unknown_credential", "--reason", "ok"], 4),
        (&["--key", "*"], 3),
        (&["--account", "*"], 0),
        (&["--limit", "2"], 2),
        (&["--newest", "--limit", "2"], 2),
    ] {
        let table = log.ask(&[&["query"], words].concat());
        assert_eq!(table.lines().count() - 1, expected, "{words:?}: {table}");
    }
    let by_request = records.iter().find(|r| r["event"] == "complete").unwrap();
    let id = by_request["request_id"].as_str().unwrap();
    let both = log.ask(&["query", "--request-id", id, "--format", "json"]);
    assert_eq!(both.lines().count(), 2);

    let completions = [
        "query", "--path", "/v1/say", "--status", "200", "--format", "json",
    ];
    let completions = log.ask(&completions);
    assert_eq!(completions.lines().count(), 1);
    assert_eq!(record(completions.trim())["event"], "complete");

    let starts = log.ask(&["query", "--event", "start"]);
    assert_eq!(starts.lines().count(), 3, "{starts}");
    assert!(starts.contains("mode=validate"), "{starts}");
    let all = log.ask(&["query", "--records"]);
    assert_eq!(all.lines().count(), records.len() + 1, "{all}");

    let newest = log.ask(&["query", "--newest", "--format", "json"]);
    let backwards: Vec<&str> = text.lines().rev().collect();
    assert_eq!(newest.lines().collect::<Vec<_>>(), backwards);
}

#[test]
fn a_query_ends_with_what_was_read() {
    let decision = |seq: u64, ts: &str, key: &str, account: &str| {
        let fields = json!({
            "event": "decision", "outcome": "refused", "reason": "rate_limited", "status": 429,
            "limit": "key_rate", "request_id": format!("019cebd5-0000-7000-8000-{seq:012}"),
            "key_id": key, "account": account, "peer": "10.1.2.3:4567", "method": "POST",
            "path": "/v1/rime-tts",
        });
        line(seq, ts, fields)
    };
    let rejected = json!({ "event": "rejected", "reason": "malformed", "peer": "10.1.2.3:1" });
    let log = Log::of(&[
        decision(1, MARCH, "ivr-prod", "acme"),
        decision(2, MARCH, "ivr-test", "acme"),
        line(3, MARCH, rejected),
        decision(4, APRIL, "web", "zoo"),
    ]);
    let read = "4 records read, from 2026-03-14 10:11:12 to 2026-04-01 00:00:00 (UTC).\n";
    let rejected = "1 connection was rejected before there was a request; show the records with \
                    --event rejected.\n";
    let keys = "Keys in this log: ivr-prod, ivr-test, web.\n";
    let accounts = "Accounts in this log: acme, zoo.\n";
    for (words, closing) in [
        (&[][..], format!("3 requests. {read}{rejected}")),
        (&["--key", "ivr-*"], format!("2 requests. {read}")),
        (&["--account", "z*"], format!("1 request. {read}")),
        (
            &["--newest", "--limit", "1"],
            format!("The newest 1 of 3 requests. {read}{rejected}"),
        ),
        (
            &["--key", "ivr"],
            format!("No request matches. {read}{keys}"),
        ),
        (
            &["--account", "Acme"],
            format!("No request matches. {read}{accounts}"),
        ),
        (
            &["--peer", "10.0.0.0/8", "--key", "web"],
            format!("1 request. {read}"),
        ),
        (
            &["--reason", "malformed"],
            format!("No request matches. {read}{rejected}"),
        ),
        (&["--event", "rejected"], format!("1 record. {read}")),
        (
            &["--limit", "1"],
            "1 request; there may be more. 1 record read, from 2026-03-14 10:11:12 to \
             2026-03-14 10:11:12 (UTC).\n"
                .to_owned(),
        ),
    ] {
        let said = log.ask_loudly(&[&["query"], words].concat()).1;
        assert_eq!(said, closing, "{words:?}");
    }
    let tokyo = log.ask(&["query", "--tz", "Asia/Tokyo", "--key", "web"]);
    assert!(tokyo.starts_with("TIME (Asia/Tokyo)"), "{tokyo}");
    let row = "2026-04-01 09:00:00  web  zoo      10.1.2.3         POST /v1/rime-tts  \
               refused: rate_limited     429  key_rate";
    assert!(tokyo.lines().nth(1).unwrap().starts_with(row), "{tokyo}");
    let days = log.ask(&["query", "--by", "day"]);
    let days: Vec<&str> = days.lines().map(str::trim_end).collect();
    let expected = [
        "DAY (UTC)   ACCEPTED  REFUSED  FAILED  SENT",
        "2026-03-14         0        2       0   0 B",
        "2026-04-01         0        1       0   0 B",
    ];
    assert_eq!(days, expected);
    let hours = [
        "query",
        "--by",
        "hour",
        "--key",
        "web",
        "--tz",
        "Asia/Tokyo",
        "--format",
        "csv",
    ];
    let csv = "period,accepted,refused,failed,bytes_sent\r\n2026-04-01 09:00,0,1,0,0\r\n";
    assert_eq!(log.ask(&hours), csv);
}

#[test]
fn a_wrong_filter_is_an_error_that_says_what_is_right() {
    let log = hostile();
    let path = log.path();
    for (words, wanted) in [
        (
            &["--reason", "unknown_credentials"][..],
            "unknown_credential",
        ),
        (
            &["--tz", "Europe/Berln"],
            "--tz \"Europe/Berln\" is not valid: give a name such as",
        ),
        (&["--since", "24:00"], "or a time such as 03:00"),
        (&["--by", "week"], "hour, day"),
        (&["--by", "day", "--records"], "leave out --records"),
        (&["--by", "day", "--limit", "1"], "--limit"),
    ] {
        let words = [&["audit", "query"], words, &[path.to_str().unwrap()]].concat();
        let (code, out, error) = Program::new(&words).run();
        assert_eq!((code, &*out), (Some(64), ""), "{words:?}");
        assert!(error.contains(wanted), "{words:?}: {error}");
    }
}

#[tokio::test]
async fn a_report_sums_up_what_the_gateway_did() {
    let log = Log::written().await;
    let report = log.ask(&["report"]);
    assert!(report.contains("ok  No record is missing"), "{report}");
    assert!(
        report.contains("of each instance (instances: 2)"),
        "{report}"
    );
    let columns = |start: &str, at: usize| -> Vec<String> {
        let line = report
            .lines()
            .filter(|line| line.starts_with(start))
            .nth(at);
        let line = line.unwrap_or_else(|| panic!("no {start} in {report}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    // Accepted, refused, WebSockets.
    let total = columns("total", 0);
    assert_eq!(total[1..4], ["3", "2", "1"], "{report}");
    assert!(report.contains("unknown_credential"), "{report}");
    assert!(report.contains("missing_credential"), "{report}");
    assert!(report.contains("127.0.0.1"), "{report}");
    assert!(report.contains("█"), "{report}");
    assert_harmless(&report);
    let day = log.ask(&["report", "--by", "day"]);
    assert!(
        day.lines()
            .any(|line| line.starts_with("20") && line.as_bytes()[7] == b'-'),
        "{day}"
    );
    let before = log.ask(&["report", "--until", "2020"]);
    assert!(
        before.starts_with("Audit report: no records in this period"),
        "{before}"
    );
}

#[test]
fn a_report_says_first_what_is_missing() {
    let gap = json!({ "event": "gap", "from": 4, "to": 5 });
    let mut gap = line(0, MARCH, gap);
    gap = gap.replace("\"seq\":0,", "");
    let stop = |seq: u64| line(seq, MARCH, json!({ "event": "stop", "why": "SIGTERM" }));
    let log = Log::of(&[
        stop(3),
        gap,
        stop(6),
        stop(9),
        "not ours\n".to_owned(),
        stop(9),
    ]);
    let report = log.ask(&["report"]);
    for wanted in [
        "INCOMPLETE  Missing records: 4. Recorded as lost: 2. Unexplained: 2.",
        "1 line is not an audit record: ",
        "audit.log:5",
        "Instances without their first records: 1 of 1.",
        "Duplicate records: 1.",
    ] {
        assert!(report.contains(wanted), "no {wanted} in {report}");
    }
    let page = log.directory.path().join("report.html");
    log.ask(&["report", "--html", page.to_str().unwrap()]);
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .contains("This log is incomplete")
    );
}

#[test]
fn what_a_stranger_says_does_no_harm() {
    let log = hostile();
    let text = log.text();
    assert!(text.is_ascii() && text.lines().count() == 3);
    for words in [
        &["query"][..],
        &["query", "--records"],
        &["tail", "--format", "table"],
        &["report"],
    ] {
        let out = log.ask(words);
        assert_harmless(&out);
        assert!(out.contains("\\u001b[2J\\u202e"), "{words:?}: {out}");
    }
    // Without a locale, not even letters.
    let path = log.path();
    let (_, out, _) = Program::new(&["audit", "report", path.to_str().unwrap()]).run();
    assert!(out.is_ascii() && out.contains("##"), "{out}");
    assert_eq!(log.ask(&["query", "--format", "json"]), text);
    assert_eq!(log.ask(&["tail", "--format", "json"]), text);

    let csv = log.ask(&["query", "--format", "csv"]);
    assert_harmless(&csv.replace("\r\n", "\n"));
    let rows = csv_rows(&csv);
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
    for field in rows.iter().flatten() {
        assert!(
            !field.starts_with(['=', '+', '-', '@', '\t', '\r']),
            "{field}"
        );
    }
    let key = rows[0].iter().position(|name| name == "key_id").unwrap();
    assert!(
        rows[2][key].starts_with("'=cmd|'/c calc'!A1\\u001b"),
        "{csv}"
    );
}

/// Reads CSV as RFC 4180 has it.
fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let row = rows.last_mut().unwrap();
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                row.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(String::new()),
            '\r' if !quoted && letters.peek() == Some(&'\n') => {
                letters.next();
                rows.push(vec![String::new()]);
            }
            other => row.last_mut().unwrap().push(other),
        }
    }
    assert_eq!(
        rows.pop(),
        Some(vec![String::new()]),
        "no newline at the end"
    );
    rows
}

#[test]
fn the_page_is_whole_and_needs_nothing_else() {
    let log = hostile();
    let path = log.directory.path().join("report.html");
    log.ask(&["report", "--html", path.to_str().unwrap()]);
    let page = fs::read_to_string(path).unwrap();
    assert_balanced(&page);
    for hostile in ["<script", "\u{1b}", "\u{202e}", "alert(1)</", "'/c"] {
        assert!(!page.contains(hostile), "{hostile:?} in {page}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    for outside in ["http://", "https://", "src=", "href=", "url(//", "@import"] {
        assert!(!page.contains(outside), "{outside} in {page}");
    }
    for wanted in [
        "default-src 'none'",
        "prefers-color-scheme: dark",
        "@media print",
        "<html lang=\"en\">",
        "role=\"img\"",
        "<th scope=\"col\">",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    // Behind each plot stands its table.
    for section in page.split("<section>").skip(1) {
        assert!(section.contains("<table>"), "{section}");
    }
    assert_eq!(page.matches("<svg ").count(), 2 * 3);
}

/// Every element is closed by its own end, in order.
fn assert_balanced(page: &str) {
    let mut open = Vec::new();
    let mut rest = page;
    while let Some((_, tag)) = rest.split_once('<') {
        let (tag, after) = tag.split_once('>').expect("the end of a tag");
        rest = after;
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "before {after:.80}"),
            None if name.starts_with('!') || ["meta", "br"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, [""; 0]);
}

#[tokio::test]
async fn exports_have_what_their_schemas_require() {
    for log in [Log::written().await, hostile()] {
        let text = log.text();
        let events = text
            .lines()
            .map(record)
            .filter(|record| record["event"] == "decision" || record["event"] == "complete");
        let events: Vec<Value> = events.collect();
        let (ocsf, _) = log.ask_loudly(&["export", "--format", "ocsf"]);
        let ocsf: Vec<Value> = ocsf
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(ocsf.len(), events.len());
        for (line, event) in ocsf.iter().zip(&events) {
            let class = if event["event"] == "decision" {
                3002
            } else {
                6003
            };
            assert_eq!(line["class_uid"], class);
            assert_eq!(line["category_uid"], class / 1000);
            let activity = line["activity_id"].as_u64().unwrap();
            assert_eq!(line["type_uid"], class * 100 + activity);
            for required in ["/severity_id", "/time", "/status_id"] {
                assert!(
                    line.pointer(required).unwrap().is_u64(),
                    "{required}: {line}"
                );
            }
            assert_eq!(line["metadata"]["version"], "1.8.0");
            assert_eq!(line["metadata"]["product"]["name"], "voxgate");
            let source = &line["src_endpoint"];
            assert!(source["ip"].is_string(), "{line}");
            if class == 3002 {
                assert!(line["user"]["name"].is_string() && line["service"]["name"].is_string());
            } else {
                assert!(line["actor"]["user"]["uid"].is_string(), "{line}");
                assert!(line["api"]["operation"].is_string(), "{line}");
                assert!(line["http_response"]["code"].is_u64(), "{line}");
            }
        }
        let (ecs, _) = log.ask_loudly(&["export", "--format", "ecs"]);
        assert_eq!(ecs.lines().count(), events.len());
        for line in ecs.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            for required in [
                "@timestamp",
                "ecs.version",
                "event.category",
                "event.type",
                "event.outcome",
                "http.request.id",
                "source.ip",
                "url.path",
            ] {
                assert!(!line[required].is_null(), "{required}: {line}");
            }
        }
        let (cef, said) = log.ask_loudly(&["export", "--format", "cef"]);
        assert_eq!(cef.lines().count(), events.len());
        for line in cef.lines() {
            assert!(!line.contains(|c: char| c.is_control()), "{line}");
            assert_eq!(line.split('|').take(8).count(), 8, "{line}");
            assert!(line.starts_with("CEF:0|voxgate|voxgate|"), "{line}");
            let (_, extension) = line.split_once("|rt=").unwrap();
            // Whatever begins a field is a name of the dictionary.
            for (at, _) in extension.match_indices('=') {
                let before = &extension[..at];
                let name = before.rsplit(' ').next().unwrap();
                let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
                assert!(before.ends_with('\\') || is_name, "{line}");
            }
        }
        let left_out = text.lines().count() > events.len();
        assert_eq!(said.contains("records of other kinds"), left_out, "{said}");
    }
}

#[test]
fn tail_follows_into_the_next_segment() {
    let directory = tempfile::tempdir().unwrap();
    let segment = |number: u64| directory.path().join(format!("audit-{number:012}.jsonl"));
    let stop = |seq: u64| line(seq, MARCH, json!({ "event": "stop", "why": "SIGTERM" }));
    let append = |path: &Path, text: &str| {
        let file = File::options().create(true).append(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    append(&segment(1), &(1..=20).map(stop).collect::<String>());
    let mut tail = Command::new(env!("CARGO_BIN_EXE_voxgate"))
        .args(["audit", "tail", "-f", "-n", "3", "--event", "stop"])
        .arg(directory.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || {
        record(&lines.next().unwrap().unwrap())["seq"]
            .as_u64()
            .unwrap()
    };
    assert_eq!([next(), next(), next()], [18, 19, 20]);
    let whole = stop(21);
    let (half, rest) = whole.split_at(30);
    append(&segment(1), half);
    append(&segment(1), rest);
    assert_eq!(next(), 21);
    append(&segment(1), &stop(22));
    append(
        &segment(2),
        &(line(23, MARCH, json!({ "event": "start" })) + &stop(24)),
    );
    assert_eq!([next(), next()], [22, 24]);
    append(&segment(2), &stop(25));
    assert_eq!(next(), 25);
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn lines_of_others_are_tolerated_and_counted() {
    let stop = line(1, MARCH, json!({ "event": "stop", "why": "SIGTERM" }));
    let log = Log::of(&[
        "listening on 127.0.0.1\n".to_owned(),
        stop.clone(),
        stop.trim_end().get(..40).unwrap().to_owned(),
    ]);
    let (out, said) = log.ask_loudly(&["query", "--format", "json"]);
    assert_eq!(out, stop);
    assert!(said.contains("2 lines are not audit records"), "{said}");
    assert!(said.contains("audit.log:1"), "{said}");
}

#[test]
fn what_a_log_says_about_itself_is_no_stranger_and_no_gap() {
    let own = |event: &str, fields: &str| {
        format!(
            "{{\"v\":1,\"event\":\"{event}\",\"ts\":\"{MARCH}\",\"instance\":\"00112233445566ff\",\
             {fields},\"chain\":\"{}\"}}\n",
            "0".repeat(64)
        )
    };
    let log = Log::of(&[
        own(
            "segment_open",
            "\"segment\":1,\"follows\":\"nothing\",\"lines\":0",
        ),
        line(1, MARCH, json!({ "event": "stop", "why": "SIGTERM" })),
        own(
            "checkpoint",
            "\"note\":\"voxgate.example/audit\\n1\\n\\u2014 key\"",
        ),
        own(
            "recovery",
            "\"from\":\"audit-000000000001.jsonl\",\"status\":[1]",
        ),
        own(
            "retention",
            "\"from\":1,\"to\":9,\"lines\":100,\"last\":\"00\"",
        ),
        own("segment_seal", "\"reason\":\"stop\",\"line\":4"),
    ]);
    let report = log.ask(&["report"]);
    assert!(report.contains("ok  No record is missing"), "{report}");
    let table = log.ask(&["query", "--records"]);
    assert_eq!(table.lines().count(), 7, "{table}");
    assert!(
        table.contains("note=voxgate.example/audit\\u000a1"),
        "{table}"
    );
    let seal = log.ask(&["query", "--event", "segment_seal", "--format", "json"]);
    assert_eq!(seal, log.text().lines().last().unwrap().to_owned() + "\n");
    assert_harmless(&table);
}

#[test]
fn a_wrong_question_is_64_and_a_log_that_cannot_be_read_is_1() {
    let run = |words: &[&str]| Program::new(&[&["audit"], words].concat()).run();
    for (words, said) in [
        (&["query"][..], "set VOXGATE_AUDIT_DIR"),
        (
            &["query", "--since", "yesterday", "-"],
            "--since \"yesterday\"",
        ),
        (&["query", "--status", "6xx", "-"], "--status \"6xx\""),
        (
            &["query", "--peer", "10.0.0.0/99", "-"],
            "--peer \"10.0.0.0/99\"",
        ),
        (&["query", "--outcome", "maybe", "-"], "accepted"),
        (&["tail", "-"], "one directory or one file"),
        (&["export", "-"], "--format"),
        (&[], "Usage"),
    ] {
        let (code, out, error) = run(words);
        assert_eq!((code, out.as_str()), (Some(64), ""), "{words:?}: {error}");
        assert!(error.contains(said), "{words:?}: {error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let missing = format!("{path}/missing");
    for (words, said) in [
        (
            &["query", &missing][..],
            "name a directory of segments or a file",
        ),
        (&["report", path], "audit-<12 digits>.jsonl"),
        (&["tail", &missing], "cannot read"),
    ] {
        let (code, _, error) = run(words);
        assert_eq!(code, Some(1), "{words:?}: {error}");
        assert!(
            error.contains(said) && error.contains(path),
            "{words:?}: {error}"
        );
    }
    let (code, out, _) = run(&["query", "--format", "json", "-"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
}

#[test]
fn the_directory_of_the_environment_is_asked_when_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let stop = line(1, MARCH, json!({ "event": "stop", "why": "SIGTERM" }));
    fs::write(directory.path().join("audit-000000000001.jsonl"), &stop).unwrap();
    let (code, out, error) = Program::new(&["audit", "query", "--format", "json"])
        .var("VOXGATE_AUDIT_DIR", directory.path())
        .run();
    assert_eq!((code, out, error), (Some(0), stop, String::new()));
}

#[tokio::test]
async fn the_examples_of_the_documentation_work() {
    let log = Log::written().await;
    let directory = log.directory.path();
    fs::rename(log.path(), directory.join("audit-000000000001.jsonl")).unwrap();
    let documentation = include_str!("../../../../../docs/reference/audit-log.md");
    let commands =
        ["query", "report", "tail", "export"].map(|name| format!("voxgate audit {name} "));
    let is_example = |line: &&str| commands.iter().any(|command| line.starts_with(command));
    let examples: Vec<&str> = documentation.lines().filter(is_example).collect();
    assert!(examples.len() >= 11, "{examples:?}");
    for example in examples {
        let command = example.split(" > ").next().unwrap();
        assert!(command.ends_with(" /var/log/voxgate"), "{example}");
        let script = format!("voxgate() {{ \"$PROGRAM\" \"$@\"; }}; {example}");
        let output = Command::new("sh")
            .args(["-c", &script.replace("/var/log/voxgate", ".")])
            .env("PROGRAM", env!("CARGO_BIN_EXE_voxgate"))
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{example}: {output:?}");
        let named_a_file = example.contains("--html") || example.contains(" > ");
        assert_eq!(
            output.stdout.is_empty(),
            named_a_file || example.contains("--event key"),
            "{example}"
        );
    }
    assert!(directory.join("report.html").exists());
}
