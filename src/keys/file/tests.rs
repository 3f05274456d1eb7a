use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::principal::KeyKind;

const DIGEST_OF_TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn parse(text: &str) -> Result<KeysFile, ConfigError> {
    KeysFile::parse(text, "keys.toml", Dialect::Bearer)
}

fn lines(problems: &[Problem]) -> Vec<usize> {
    let line = |place: &str| place.strip_prefix("keys.toml:")?.parse().ok();
    let mut lines: Vec<_> = problems
        .iter()
        .filter_map(|problem| line(problem.place()))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_file_gives_its_keys() {
    let text = format!(
        "# the production keys\n[[key]]\nid = \"ivr-prod\"\nsha256 = \"{DIGEST_OF_TEST}\"\n\
         label = \"IVR\"\nscopes = [\"tts:synthesize\"]\n\n\
         [[key]]\nid = \"old\"\nsecret = \"a-secret-of-a-person\"\ndisabled = true\n"
    );
    let file = parse(&text).expect("a good file");
    let [first, second] = file.keys() else {
        panic!("two keys");
    };
    assert_eq!(first.principal().label(), Some("IVR"));
    assert_eq!(first.fingerprint(), "9f86d081884c");
    assert_eq!(second.principal().state(UNIX_EPOCH), KeyState::Disabled);
    assert_eq!(lines(file.notices()), [10], "a weak secret");
    assert_eq!(file.into_ring().expect("a ring").len(), 2);
}

#[test]
fn every_field_is_read() {
    let text = format!(
        r#"
        [[key]]
        id = "all"
        sha256 = "{DIGEST_OF_TEST}"
        label = "Everything"
        kind = "realtime"
        scopes = ["a", "b"]
        voices = ["cove", "team-*"]
        allow_from = ["10.0.0.0/8", "::1"]
        created = 1970-01-01T00:00:00Z
        not_before = 1970-01-01T00:00:01Z
        expires = "1970-01-02T02:00:00.5+02:00"
        account = "acme"
        rate = "50/s"
        burst = 100
        concurrency = 0x8
        [key.labels]
        team = "ivr"
        cost-centre = "42 é"

        [[account]]
        id = "acme"
        max_active_keys = 1
        rate = "600/min"
        "#
    );
    let file = parse(&text).expect("a good file");
    let [key] = file.keys() else {
        panic!("one key");
    };
    assert_eq!(key.created(), Some(UNIX_EPOCH));
    assert_eq!(key.line().map(u32::from), Some(2));
    let principal = key.principal();
    assert_eq!(principal.kind(), KeyKind::Realtime);
    assert_eq!(principal.scopes().map(<[_]>::len), Some(2));
    assert_eq!(principal.allow_from().map(<[_]>::len), Some(2));
    assert!(principal.has_voice("team-a") && !principal.has_voice("other"));
    let validity = principal.validity();
    assert_eq!(
        validity.not_before,
        Some(UNIX_EPOCH + Duration::from_secs(1))
    );
    let end = UNIX_EPOCH + Duration::from_millis(86_400_500);
    assert_eq!(validity.expires, Some(end));
    assert_eq!(principal.state(UNIX_EPOCH), KeyState::NotYetValid);
    assert_eq!(
        principal.state(end - Duration::from_nanos(1)),
        KeyState::Active
    );
    assert_eq!(principal.state(end), KeyState::Expired);
    let limits = principal.limits();
    assert_eq!(
        limits.rate.map(|rate| rate.to_string()).as_deref(),
        Some("50/s")
    );
    let counts = [limits.burst, limits.concurrency].map(|count| count.map(u32::from));
    assert_eq!(counts, [Some(100), Some(8)]);
    let labels: Vec<_> = principal.labels().collect();
    assert_eq!(labels, [("cost-centre", "42 é"), ("team", "ivr")]);
    let account = principal.account().expect("an account");
    assert_eq!(account.id(), "acme");
    let rate = account.limits().rate.expect("a rate");
    assert_eq!(rate.to_string(), "600/min");
    assert!(file.notices().is_empty());
}

#[test]
fn every_problem_is_reported_with_its_line_and_without_its_value() {
    let text = "\
[[key]]
id = \"with space\"
sha256 = \"hunter2\"
[[key]]
secret = \"hunter2\"
colour = \"hunter2\"
[[key]]
id = \"a\"
scopes = \"hunter2\"
disabled = \"hunter2\"
secret = [\"hunter2\"]
sha256 = 5
[[key]]
id = \"b\"
sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"
not_before = 2026-01-01
expires = \"hunter2\"
rate = \"hunter2\"
burst = 0
concurrency = -1
labels = \"hunter2\"
account = \"hunter2\"
[[key]]
id = \"b\"
sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"
expires = 2026-01-01T00:00:00Z
not_before = 2026-01-01T00:00:00Z
burst = 5
labels = { \"hunter 2\" = \"x\" }
[[account]]
max_active_keys = 0
hunter2 = 1
[[key]]
id = \"c\"
secret = \"vxg_hunter2hunter2hunter2\"
[other]
hunter2 = 1
";
    let error = parse(text).expect_err("a bad file");
    let shown = error.to_string();
    let lines = lines(error.problems());
    for line in [
        2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 23, 29, 30, 31, 32, 35, 36,
    ] {
        assert!(lines.contains(&line), "line {line} is missing in:\n{shown}");
    }
    assert_eq!(
        lines.iter().filter(|line| **line == 23).count(),
        4,
        "id, secret, burst, dates:\n{shown}"
    );
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn a_repeated_id_is_reported_beside_other_problems_of_the_key() {
    let text = format!(
        "[[key]]\nid = \"a\"\nsha256 = \"zz\"\n\
         [[key]]\nid = \"a\"\nsha256 = \"{:064x}\"\n\
         [[key]]\nid = \"a\"\nsha256 = \"{:064x}\"\n\
         [[key]]\nid = \"a\"\n",
        1, 2
    );
    let error = parse(&text).expect_err("one id for four keys");
    let mut shown: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    shown.sort();
    let repeats = |line, first| {
        format!(
            "keys.toml:{line}: has the same id as the key in line {first}; give each key its own"
        )
    };
    let expected = [
        repeats(10, 4),
        "keys.toml:10: give each key exactly one of sha256, secret and certificate".to_owned(),
        "keys.toml:3: sha256 must be 64 hexadecimal digits".to_owned(),
        repeats(4, 1),
        repeats(7, 4),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(shown, expected);
}

#[test]
fn broken_toml_is_reported_without_quoting_it() {
    for text in [
        "hunter2hunter2",
        "[[key]]\nid = hunter2hunter2\n",
        "[[key]]\nsecret = \"hunter2hunter2\nid = \"a\"\n",
        "[[key]]\nhunter2hunter2 = \"a\"\nhunter2hunter2 = \"b\"\n",
        "[hunter2hunter2\n",
    ] {
        let error = parse(text).expect_err("not TOML");
        let shown = error.to_string();
        assert!(shown.contains("keys.toml:"), "{shown}");
        assert!(!shown.contains("hunter2"), "{text:?} gave {shown}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = KeyRing::load("no/such/keys.toml", Dialect::Bearer).expect_err("no such file");
    let shown = error.to_string();
    assert!(
        shown.starts_with("no/such/keys.toml: cannot be read"),
        "{shown}"
    );
}

#[test]
fn an_account_has_no_more_active_keys_than_it_may() {
    let mut text = "[[account]]\nid = \"acme\"\nmax_active_keys = 3\n".to_owned();
    let mut add = |n: u32, more: &str| {
        text +=
            &format!("[[key]]\nid = \"k{n}\"\nsha256 = \"{n:064x}\"\naccount = \"acme\"\n{more}\n");
        parse(&text).map(|file| file.keys().len())
    };
    for (n, more) in [
        (1, ""),
        (2, "not_before = 2999-01-01T00:00:00Z"),
        (3, "disabled = true"),
        (4, "expires = 2020-01-01T00:00:00Z"),
        (5, ""),
    ] {
        assert_eq!(add(n, more).expect("a good file"), n as usize);
    }
    let error = add(6, "").expect_err("four are active");
    assert_eq!(lines(error.problems()), [1], "{error}");
}

/// A file beyond the size of a part reads as a small one does: lines, duplicates and accounts
/// across it, and headers in places where they are none.
#[test]
fn a_large_file_is_read_as_a_whole() {
    let mut text = "[[key]]\nid = \"first\"\naccount = \"late\"\nsha256 = \"".to_owned();
    text += &format!("{:064x}\"\n", 1_000_000);
    for n in 1..4000 {
        text += &format!("[[key]]\nid = \"k{n}\"\nsha256 = \"{n:064x}\"\n");
        text += "label = \"\"\"\\\n[[key]]\\\nid = 'no header'\"\"\"\nscopes = [ # [\n  'a',\n  'b'\n]\n";
        text += "[key.labels]\nteam = 'a'\n";
    }
    assert!(text.len() > 500_000);
    let whole = format!("{text}[[account]]\nid = \"late\"\n");
    let file = parse(&whole).expect("a good file");
    assert_eq!(file.keys().len(), 4000);
    assert!(file.keys()[0].principal().account().is_some());
    let last = file.keys()[3999].principal();
    assert_eq!(last.labels().count(), 1);
    assert_eq!(last.label(), Some("[[key]]id = 'no header'"));

    let line = whole.lines().count() + 1;
    let bad = format!(
        "{whole}[[key]]\nid = \"first\"\nsha256 = \"{:064x}\"\nrate = 1\n",
        5
    );
    let error = parse(&bad).expect_err("three problems");
    assert_eq!(lines(error.problems()), [line, line, line + 3], "{error}");
}
