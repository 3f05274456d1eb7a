//! `voxgate key rotate`.

use std::time::{Duration, SystemTime};

use voxgate::Key;
use voxgate::principal::KeyState;

use super::{DIGEST, Place};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a time is `expected` from now, within the duration of a test.
fn is_in(moment: Option<SystemTime>, expected: Duration) -> bool {
    let left = moment.unwrap().duration_since(SystemTime::now()).unwrap();
    left <= expected && left + Duration::from_secs(3600) > expected
}

fn key<'a>(keys: &'a [Key], id: &str) -> &'a Key {
    keys.iter().find(|key| key.principal().id() == id).unwrap()
}

#[test]
fn the_new_key_has_the_same_rights_and_the_old_key_expires_after_the_overlap() {
    let place = Place::with("[[account]]\nid = \"acme\"\n");
    let flags = [
        "new",
        "--id=ivr",
        "--label=IVR",
        "--kind=realtime",
        "--scope=a",
        "--voice=cove",
        "--account=acme",
        "--rate=5/s",
        "--burst=9",
        "--concurrency=2",
        "--set-label=team=ivr",
        "--expires=90d",
    ];
    let old_token = place.run(&flags).token();
    let before = place.text();
    let ran = place.run(&["rotate", "ivr"]).done();
    assert!(
        ran.error.contains("ivr-2") && ran.error.contains("key ivr: expires"),
        "{}",
        ran.error
    );
    let token = ran.token();
    assert_ne!(token, old_token);
    let file = place.keys();
    let (old, new) = (key(file.keys(), "ivr"), key(file.keys(), "ivr-2"));
    assert!(is_in(old.principal().validity().expires, DAY));
    assert!(is_in(new.principal().validity().expires, 90 * DAY));
    // The two entries have no other differences.
    let rights = |text: &str| -> Vec<String> {
        let own = ["id ", "sha256 ", "created ", "expires "];
        let lines = text
            .lines()
            .filter(|line| !own.iter().any(|own| line.starts_with(own)));
        lines.map(str::to_owned).collect()
    };
    let text = place.text();
    let (first, second) = text.rsplit_once("\n\n").unwrap();
    assert_eq!(rights(first), rights(&before));
    assert_eq!(rights(second), rights(before.split_once("\n\n").unwrap().1));
    for token in [old_token, token] {
        place.run_with(&token, &["verify"]).done();
    }
    // The next ids count up and skip ids that are in use.
    place.run(&["new", "--id=ivr-3"]).token();
    place.run(&["rotate", "ivr-2"]).token();
    place.run(&["rotate", "ivr", "--new-id=other"]).token();
    let file = place.keys();
    let ids: Vec<&str> = file.keys().iter().map(|key| key.principal().id()).collect();
    assert_eq!(ids, ["ivr", "ivr-2", "ivr-3", "ivr-4", "other"]);
    let error = place.refuses(64, "", &["rotate", "ivr", "--new-id=ivr-3"]);
    assert!(error.contains("--new-id: "), "{error}");
}

#[test]
fn rotation_never_extends_the_old_key() {
    let place = Place::new();
    place.run(&["new", "--id=a", "--expires=1h"]).token();
    let before = place.text();
    place.run(&["rotate", "a", "--overlap=2h"]).token();
    assert!(place.text().starts_with(&before));
    place.run(&["revoke", "a"]).done();
    let before = place.text();
    let error = place.refuses(64, "", &["rotate", "a"]);
    assert!(
        error.contains("key a: is revoked") && error.contains("--force"),
        "{error}"
    );
    place
        .run(&["rotate", "a", "--overlap=2h", "--force"])
        .token();
    assert!(place.text().starts_with(&before));
    let now = SystemTime::now();
    assert_eq!(
        key(place.keys().keys(), "a-3").principal().state(now),
        KeyState::Active
    );
}

#[test]
fn the_new_key_has_the_lifetime_of_the_old_key() {
    let entry = |fields: &str| format!("[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\n{fields}");
    let at = |days: i64| {
        let distance = Duration::from_secs(days.unsigned_abs() * DAY.as_secs());
        let now = SystemTime::now();
        let moment = if days < 0 {
            now - distance
        } else {
            now + distance
        };
        humantime::format_rfc3339_seconds(moment).to_string()
    };
    for (fields, flag, days) in [
        (String::new(), None, None),
        (String::new(), Some("--expires=5d"), Some(5)),
        (format!("expires = {}\n", at(10)), None, Some(10)),
        (
            format!("expires = {}\n", at(10)),
            Some("--expires=never"),
            None,
        ),
        (
            format!("not_before = {}\nexpires = {}\n", at(-20), at(10)),
            None,
            Some(30),
        ),
        (
            format!("created = {}\nexpires = {}\n", at(-80), at(10)),
            None,
            Some(90),
        ),
        (
            format!("created = {}\nexpires = {}\n", at(-80), at(-10)),
            None,
            Some(70),
        ),
        (
            format!(
                "created = {}\nnot_before = {}\nexpires = {}\n",
                at(-80),
                at(-20),
                at(10)
            ),
            None,
            Some(90),
        ),
    ] {
        let place = Place::with(&entry(&fields));
        let arguments = ["rotate", "a", "--force"].into_iter();
        let arguments: Vec<&str> = arguments.chain(flag).collect();
        place.run(&arguments).token();
        let file = place.keys();
        let expires = key(file.keys(), "a-2").principal().validity().expires;
        match days {
            None => assert_eq!(expires, None, "{fields}"),
            Some(days) => assert!(is_in(expires, days * DAY), "{fields}: {expires:?}"),
        }
    }
    let place = Place::with(&entry(&format!("expires = {}\n", at(-1))));
    let error = place.refuses(64, "", &["rotate", "a"]);
    assert!(error.contains("key a: is expired"), "{error}");
    let error = place.refuses(64, "", &["rotate", "a", "--force"]);
    assert!(error.contains("--expires: "), "{error}");
    place
        .run(&["rotate", "a", "--force", "--expires=1d"])
        .token();
    let place = Place::with(&entry("").replace("\"a\"", "\"env\""));
    let error = place.refuses(64, "", &["rotate", "env"]);
    assert!(error.contains("--new-id: "), "{error}");
    let place = Place::with(&entry(&format!("not_before = {}\n", at(1))));
    let error = place.refuses(64, "", &["rotate", "a"]);
    assert!(error.contains("is not valid yet"), "{error}");
    for flag in ["--overlap=soon", "--overlap=-1s", "--expires=0s"] {
        let error = place.refuses(64, "", &["rotate", "a", flag]);
        assert!(error.contains(&flag[..9]), "{error}");
    }
    place.refuses(64, "", &["rotate", "b"]);
}

#[test]
fn a_full_account_rotates_without_an_overlap() {
    let place = Place::with("[[account]]\nid = \"acme\"\nmax_active_keys = 1\n");
    place.run(&["new", "--id=a", "--account=acme"]).token();
    let error = place.refuses(64, "", &["rotate", "a"]);
    assert!(
        error.contains("--overlap 0s") && error.contains("max_active_keys"),
        "{error}"
    );
    let token = place.run(&["rotate", "a", "--overlap=0s"]).token();
    place.run_with(&token, &["verify"]).done();
    let now = SystemTime::now();
    assert_eq!(
        key(place.keys().keys(), "a").principal().state(now),
        KeyState::Expired
    );
}

#[test]
fn rights_in_any_notation_are_kept() {
    let (head, rest) = (
        "# top\r\n[[key]]\r\nid = \"a\"\r\n",
        "secret = \"0b8e6d1f4a7c2935e0d8b6a4f1c39e72\" # mine\r\nlabel   =   \"\"\"\r\nx\r\ny\"\"\"  # l\r\n\
         scopes = [\r\n  \"a\", # first\r\n  \"b\",\r\n]\r\nburst = 0x10\r\nrate = \"5/s\"\r\n\
         [key.labels] # sub\r\n# inner\r\nteam = \"ivr\" # t\r\n\"cost.centre\" = \"42\"\r\n",
    );
    let place = Place::with(&format!("{head}{rest}"));
    place.run(&["rotate", "a", "--overlap=0s"]).token();
    let text = place.text();
    let (expires, new) = text
        .strip_prefix(head)
        .unwrap()
        .split_once(&format!("\r\n{rest}"))
        .unwrap();
    assert!(expires.starts_with("expires = 2"), "{expires}");
    let rights = "\r\n[[key]]\r\nid = \"a-2\"\r\nlabel = \"\"\"\r\nx\r\ny\"\"\"\r\n\
                  scopes = [\r\n  \"a\", # first\r\n  \"b\",\r\n]\r\nrate = \"5/s\"\r\n\
                  burst = 0x10\r\nlabels = { team = \"ivr\", \"cost.centre\" = \"42\" }\r\ncreated = ";
    let created = new.strip_prefix(rights).unwrap();
    let (created, digest) = created.split_once("\r\nsha256 = ").unwrap();
    assert!(created.ends_with('Z') && !created.contains('\n'));
    assert_eq!(digest.len(), 68, "{digest}");
}
