//! `voxgate key list`, `revoke` and `verify`.

use serde_json::{Value, json};

use super::{DIGEST, Place};
use crate::skip::skip;

/// Keys in every state.
fn states() -> String {
    let digest = |last: char| format!("{}{last}", &DIGEST[1..]);
    format!(
        "[[key]]\nid = \"active\"\nsha256 = \"{}\"\nlabel = \"IVR\\u001b\"\nscopes = [\"a\", \"b\"]\n\
         voices = [\"cove\"]\nkind = \"realtime\"\naccount = \"acme\"\nrate = \"50/s\"\nburst = 2\n\
         concurrency = 3\nlabels = {{ team = \"ivr\" }}\ncreated = 2026-01-01T00:00:00Z\n\
         expires = 9000-01-01T00:00:00Z\n\
         [[key]]\nid = \"old\"\nsha256 = \"{}\"\nscopes = []\nexpires = 1970-01-02T00:00:00Z\n\
         [[key]]\nid = \"young\"\nsha256 = \"{}\"\nnot_before = 9000-01-01T00:00:00Z\n\
         [[key]]\nid = \"off\"\nsecret = \"0123456789abcdef\"\ndisabled = true\n\
         [[account]]\nid = \"acme\"\n",
        digest('a'),
        digest('b'),
        digest('c')
    )
}

#[test]
fn a_table_shows_every_key_in_its_state() {
    let place = Place::with(&states());
    let ran = place.run(&["list"]).done();
    let lines: Vec<Vec<&str>> = ran
        .out
        .lines()
        .map(|line| line.split("  ").collect())
        .collect();
    let cells: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| {
            line.iter()
                .map(|cell| cell.trim())
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    let ids: Vec<&str> = cells.iter().map(|row| row[0]).collect();
    assert_eq!(ids, ["ID", "active", "old", "young", "off"]);
    assert_eq!(
        cells[1][..5],
        [
            "active",
            "IVR\\u001b",
            "a,b; voices cove; realtime",
            "50/s burst 2, 3 at once",
            "active"
        ]
    );
    assert_eq!(cells[2][..5], ["old", "-", "(none)", "-", "expired"]);
    assert!(cells[2][5].starts_with("expired ") && cells[2][5].ends_with("d ago"));
    assert_eq!(
        cells[3],
        [
            "young",
            "-",
            "(all)",
            "-",
            "not yet valid",
            "never",
            "000000000000"
        ]
    );
    assert_eq!(
        cells[4],
        [
            "off",
            "-",
            "(all)",
            "-",
            "disabled",
            "never",
            "9f9f5111f7b2"
        ]
    );
    // Columns are aligned.
    let column = ran.out.lines().next().unwrap().find("FINGERPRINT").unwrap();
    let last = |line: &str| line.chars().count() - 12;
    assert!(ran.out.lines().skip(1).all(|line| last(line) == column));
    assert!(
        ran.error.contains("secret has less than about 128 bits"),
        "{}",
        ran.error
    );
}

#[test]
fn json_has_every_field() {
    let place = Place::with(&states());
    let ran = place.run(&["list", "--json"]).done();
    let keys: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        keys[0],
        json!({
            "id": "active", "label": "IVR\u{1b}", "scopes": ["a", "b"], "voices": ["cove"],
            "models": null, "languages": null,
            "kind": "realtime", "state": "active", "created": "2026-01-01T00:00:00Z",
            "not_before": null, "expires": "9000-01-01T00:00:00Z", "fingerprint": "000000000000",
            "account": "acme", "rate": "50/s", "burst": 2, "concurrency": 3, "quota": [],
            "labels": {"team": "ivr"},
        })
    );
    let states: Vec<&Value> = keys
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["active", "expired", "not_yet_valid", "disabled"]);
    assert_eq!(
        (&keys[2]["scopes"], &keys[2]["label"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(keys[1]["scopes"], json!([]));
}

#[test]
fn a_revoked_key_stays_in_the_file() {
    let place = Place::with(&states());
    let ran = place.run(&["revoke", "active"]).done();
    assert_eq!(ran.out, "");
    let marked = states().replacen("id = \"active\"\n", "id = \"active\"\ndisabled = true\n", 1);
    assert_eq!(place.text(), marked);
    let again = place.run(&["revoke", "active"]).done();
    assert!(again.error.contains("already"), "{}", again.error);
    assert_eq!(place.text(), marked);
    let error = place.refuses(64, "", &["revoke", "actve"]);
    assert!(error.contains("`active`"), "{error}");
    let error = place.refuses(64, "", &["revoke", "something-else"]);
    assert!(error.contains("voxgate key list"), "{error}");
    let absent = Place::new();
    let error = absent.refuses(64, "", &["revoke", "active"]);
    assert!(error.contains("does not exist"), "{error}");
    assert!(!absent.path().exists());
}

#[test]
fn verify_names_the_key_of_a_token_and_its_state() {
    let place = Place::new();
    let verify = |token: &str| {
        let ran = place.run_with(token, &["verify"]);
        assert_eq!(ran.error, "");
        assert!(!ran.out.contains(token.trim_end()));
        (ran.code, ran.out)
    };
    let token = place.run(&["new", "--id", "a", "--expires", "1d"]).token();
    for input in [token.clone(), format!("{token}\n"), format!("{token}\r\n")] {
        let (code, out) = verify(&input);
        assert_eq!(code, Some(0));
        assert!(
            out.starts_with("a: active (expires 2") && out.ends_with(", in 23h)\n"),
            "{out}"
        );
    }
    let early = place
        .run(&["new", "--id", "b", "--not-before", "1d"])
        .token();
    assert_eq!(verify(&early), (Some(1), "b: not yet valid\n".to_owned()));
    place.run(&["revoke", "b"]).done();
    assert_eq!(verify(&early), (Some(1), "b: disabled\n".to_owned()));
    place.run(&["rotate", "a", "--overlap=0s"]).token();
    let (code, out) = verify(&token);
    assert_eq!(code, Some(1));
    assert!(
        out.starts_with("a: expired (expires ") && out.contains(" ago)"),
        "{out}"
    );
    let mut mistyped = token.clone();
    mistyped.truncate(40);
    let (code, out) = verify(&mistyped);
    assert!(code == Some(1) && out.starts_with("mistyped key"), "{out}");
    let (code, out) = verify("something else that is long");
    assert!(code == Some(1) && out.starts_with("unknown key"), "{out}");
    let (code, out) = verify(&format!("{}\n", "long".repeat(5000)));
    assert!(code == Some(1) && out.starts_with("unknown key"), "{out}");
    place.refuses(64, "", &["verify"]);
    place.refuses(64, "\n", &["verify"]);
    let error = place.refuses(64, "", &["verify", &token]);
    assert!(
        !error.contains(&token) && error.contains("standard input"),
        "{error}"
    );
}

/// A key that is limited only by its voices or its kind.
#[test]
fn a_limited_key_is_not_shown_as_unlimited() {
    let entry = |id: &str, fields: &str| {
        format!(
            "[[key]]\nid = \"{id}\"\nsha256 = \"{}{id}\"\n{fields}",
            &DIGEST[1..]
        )
    };
    let place = Place::with(&format!(
        "{}{}{}",
        entry("a", "voices = [\"cove\"]\n"),
        entry("b", "kind = \"realtime\"\n"),
        entry("c", "scopes = []\nvoices = [\"x\", \"\\u202ey\"]\n")
    ));
    let out = place.run(&["list"]).done().out;
    for (line, wanted) in [
        (1, "voices cove"),
        (2, "realtime"),
        (3, "(none); voices x,\\u202ey"),
    ] {
        let line = out.lines().nth(line).unwrap();
        assert!(line.contains(wanted) && !line.contains("(all)"), "{line}");
    }
}

/// Extreme widths and times in a file do not end a command early.
#[test]
fn extreme_values_in_a_file_are_listed() {
    let label = "x".repeat(70_000);
    for moment in ["9999-12-31T23:59:59-01:00", "1970-01-01T00:00:00+01:00"] {
        let place = Place::with(&format!(
            "[[key]]\nid = \"a\"\nlabel = \"{label}\"\nexpires = {moment}\nsecret = \"0b8e6d1f4a7c2935e0d8b6a4f1c39e72\"\n"
        ));
        for command in [
            &["list"][..],
            &["list", "--json"],
            &["rotate", "a"],
            &["verify"],
        ] {
            let ran = place.run_with("0b8e6d1f4a7c2935e0d8b6a4f1c39e72", command);
            assert_eq!(ran.code, Some(64), "{ran:?}");
            for problem in [
                ":3: label must be 256 characters",
                ":4: expires must be a date",
            ] {
                assert!(ran.error.contains(problem), "{ran:?}");
            }
        }
    }
}

/// A terminal executes some characters, and shows others differently.
#[test]
fn no_special_character_reaches_the_terminal() {
    let place = Place::with(&format!(
        "[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\nlabel = \"a\\u202Eb\\u009bc\\u200bd\\U000E0041\"\n"
    ));
    let out = place.run(&["list"]).done().out;
    assert!(
        out.contains("a\\u202eb\\u009bc\\u200bd\\udb40\\udc41 "),
        "{out}"
    );
    let out = place.run(&["list", "--json"]).done().out;
    assert!(out.is_ascii(), "{out}");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["label"], "a\u{202e}b\u{9b}c\u{200b}d\u{e0041}");
    for flag in ["--label=a\u{202e}b", "--set-label=a=\u{2066}b"] {
        let error = place.refuses(64, "", &["new", "--id=b", flag]);
        assert!(error.contains("invisible"), "{error}");
    }
    let long = format!("--label={}", "\u{e9}".repeat(257));
    let error = place.refuses(64, "", &["new", "--id=b", &long]);
    assert!(error.contains("256"), "{error}");
    place
        .run(&["new", "--id=b", &long[..long.len() - 2]])
        .token();
}

#[test]
fn common_mistakes_in_a_pasted_token_are_named() {
    let place = Place::new();
    let token = place.run(&["new", "--id=a"]).token();
    for (input, wanted) in [
        (format!("Bearer {token}"), "the scheme of a header"),
        (format!("token {token}\n"), "the scheme of a header"),
        (format!(" {token}\n"), "blanks around"),
        (format!("{token} \n"), "blanks around"),
        ("short".to_owned(), "too short"),
    ] {
        let ran = place.run_with(&input, &["verify"]);
        assert!(ran.code == Some(1) && ran.out.contains(wanted), "{ran:?}");
        assert!(!ran.out.contains(&token[4..]));
    }
}

#[test]
fn likely_mistakes_in_permissions_and_scopes_are_named() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    let ran = place
        .run(&["new", "--id=a", "--scope=tts:synthesise"])
        .done();
    for wanted in [
        "made the file",
        "has the scope `tts:synthesise`, which no rule of the policy requires; did you mean \
         `tts:synthesize`?",
    ] {
        assert!(ran.error.contains(wanted), "no {wanted} in {}", ran.error);
    }
    let ran = place
        .run(&["new", "--id=b", "--scope=tts:synthesize"])
        .done();
    assert!(!ran.error.contains("no rule of the policy") && !ran.error.contains("made the file"));
    for (mode, wanted) in [
        (0o666, "other users can write"),
        (0o644, "every user of the machine can read"),
        (0o640, ""),
    ] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.path(), mode).unwrap();
        let id = format!("--id=c{}", wanted.len());
        for arguments in [&["list"][..], &["new", &id]] {
            let error = place.run(arguments).done().error;
            assert_eq!(
                error.contains("other users") || error.contains("every user"),
                !wanted.is_empty()
            );
            assert!(error.contains(wanted), "{error}");
        }
    }
}

/// The entry is disabled and counts, although nothing else in the file comes into force.
#[test]
fn a_key_is_revoked_in_a_file_with_other_problems() {
    let good =
        format!("[[key]]\nid = \"a\"\nlabel = \"\"\"\n[[key]]\n\"\"\"\nsha256 = \"{DIGEST}\"\n");
    for broken in [
        "[[key]]\nid = \"b\"\ncolour = \"hunter2\"\n",
        "[[key]]\nid = \"b\nsha256 = 5\n",
        "[[account]]\n",
        "[[key]]\nid = \"a\"\nsecret = \"0b8e6d1f4a7c2935e0d8b6a4f1c39e72\"\n",
    ] {
        for text in [format!("{good}{broken}"), format!("{broken}{good}")] {
            let place = Place::with(&text);
            let ran = place.run(&["revoke", "a"]);
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
            assert!(
                ran.error.contains("a running gateway refuses this key"),
                "{ran:?}"
            );
            assert!(
                ran.error.contains("keys.toml:") && !ran.error.contains("hunter2"),
                "{ran:?}"
            );
            let expected = text.replace("id = \"a\"\n", "id = \"a\"\ndisabled = true\n");
            assert_eq!(place.text(), expected);
            let again = place.run(&["revoke", "a"]);
            assert_eq!((again.code, place.text()), (Some(1), expected));
            place.refuses(64, "", &["revoke", "c"]);
            let manifest = place.run(&["revoke", "a", "--kubernetes-secret=k"]);
            assert_eq!(manifest.code, Some(1), "{manifest:?}");
            assert!(manifest.out.contains("disabled = true"), "{manifest:?}");
        }
    }
}

/// Not even its own entry can be parsed: the id is refused by a table of its own.
#[test]
fn a_key_is_revoked_whose_own_entry_is_no_toml() {
    let text = format!("[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\ngarbage [[[");
    let place = Place::with(&text);
    let ran = place.run(&["revoke", "a"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    for said in ["[revoked] at its end has the id", "keys.toml:4"] {
        assert!(ran.error.contains(said), "{ran:?}");
    }
    let expected = format!("{text}\n\n[revoked]\nids = [\"a\"]\n");
    assert_eq!(place.text(), expected);
    let again = place.run(&["revoke", "a"]);
    assert_eq!((again.code, place.text()), (Some(1), expected));
    place.refuses(64, "", &["revoke", "c"]);
}

/// Ctrl-C is the usual way to leave a prompt.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_prompt_restores_the_terminal() {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    let place = Place::with(&format!("[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\n"));
    let script = Command::new("script").arg("--version").output();
    if !script.is_ok_and(|output| output.status.success()) {
        skip("prompts on a terminal", "script(1) is not installed");
        return;
    }
    let run = format!(
        "trap : INT; {} key verify --file {}; echo status $?; stty -a",
        env!("CARGO_BIN_EXE_voxgate"),
        place.path().display()
    );
    let mut child = Command::new("script")
        .args(["-q", "-c", &run, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut shown = String::new();
    while !shown.contains("Token: ") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{shown}");
        shown.push(char::from(byte[0]));
    }
    input.write_all(b"\x03").unwrap();
    output.read_to_string(&mut shown).unwrap();
    child.wait().unwrap();
    assert!(
        shown.contains("SIGINT") && shown.contains("status 1"),
        "{shown}"
    );
    assert!(
        shown.contains(" echo ") && !shown.contains("-echo "),
        "{shown}"
    );
}
