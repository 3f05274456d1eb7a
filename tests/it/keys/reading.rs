//! `voxgate key list`, `revoke` and `verify`.

use serde_json::{Value, json};

use super::{DIGEST, Place};

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
    assert_eq!(cells[1][..4], ["active", "IVR\u{fffd}", "a,b", "active"]);
    assert_eq!(cells[2][..4], ["old", "-", "(none)", "expired"]);
    assert!(cells[2][4].starts_with("expired ") && cells[2][4].ends_with("d ago"));
    assert_eq!(
        cells[3],
        [
            "young",
            "-",
            "(all)",
            "not yet valid",
            "never",
            "000000000000"
        ]
    );
    assert_eq!(
        cells[4],
        ["off", "-", "(all)", "disabled", "never", "9f9f5111f7b2"]
    );
    // Columns begin in one place.
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
            "kind": "realtime", "state": "active", "created": "2026-01-01T00:00:00Z",
            "not_before": null, "expires": "9000-01-01T00:00:00Z", "fingerprint": "000000000000",
            "account": "acme", "rate": "50/s", "burst": 2, "concurrency": 3,
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
fn a_revoked_key_stays_and_is_off() {
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
    assert!(error.contains("is not there"), "{error}");
    assert!(!absent.path().exists());
}

#[test]
fn a_token_is_told_to_be_whose_and_whether_it_counts() {
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
