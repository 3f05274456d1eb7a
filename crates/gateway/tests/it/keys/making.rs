//! `voxgate key new`.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use voxgate::principal::KeyState;
use voxgate::{RawCredential, Verify as _, VerifyOutcome};

use super::{DIGEST, Place};

#[test]
fn a_token_is_printed_once_and_only_its_digest_is_kept() {
    let place = Place::new();
    let ran = place.run(&["new", "--id", "ivr-prod"]).done();
    let said = ran.error.clone();
    let token = ran.token();
    assert!(token.starts_with("vxg_") && token.len() == 53, "{token}");
    assert!(!place.text().contains(&token[4..]), "{}", place.text());
    let file = place.keys();
    let fingerprint = file.keys()[0].fingerprint();
    for wanted in ["ivr-prod", &fingerprint, "never", "keys.toml"] {
        assert!(said.contains(wanted), "no {wanted} in {said}");
    }
    let ring = file.into_ring().unwrap();
    let verdict = ring.verify(RawCredential::new(token.as_bytes()));
    assert!(matches!(verdict, VerifyOutcome::Ready(Ok(principal)) if principal.id() == "ivr-prod"));
    let mode = std::fs::metadata(place.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn a_restriction_that_no_request_can_meet_is_a_warning() {
    let place = Place::new();
    let ran = place.run(&["new", "--id=a", "--scope=tts:synth"]);
    let said = ran.error.clone();
    ran.token();
    let wanted = "warning: key `a`: has the scope `tts:synth`, which no rule of the policy requires; \
                  did you mean `tts:synthesize`?";
    assert!(said.contains(wanted), "{said}");
    let ran = place.run(&["new", "--id=b", "--scope=tts:fetch", "--expires=2999-03-01"]);
    assert!(!ran.error.contains("warning"), "{}", ran.error);
    ran.token();
    assert!(
        place.text().contains("expires = 2999-03-01T00:00:00Z"),
        "{}",
        place.text()
    );
}

#[test]
fn a_change_says_who_made_it_and_why() {
    let place = Place::new();
    let reason = "--reason=left the \"IVR\" team";
    place
        .run_as("ann", &["new", "--id=a", "--reason=ticket 17"])
        .token();
    let by = |field: &str| {
        let text = place.text();
        let mut lines = text.lines().filter(|line| line.starts_with(field));
        (lines.next().unwrap().to_owned(), lines.next().is_none())
    };
    let (line, is_only) = by("changed_by = ");
    assert!(line.starts_with("changed_by = \"ann@") && is_only, "{line}");
    assert_eq!(
        by("changed_reason = "),
        ("changed_reason = \"ticket 17\"".to_owned(), true)
    );
    place.run_as("bob", &["revoke", "a", reason]).done();
    let (line, is_only) = by("changed_by = ");
    assert!(line.starts_with("changed_by = \"bob@") && is_only, "{line}");
    let keys = place.keys();
    let note = keys.keys()[0].principal().change_note().unwrap();
    assert_eq!(note.reason.as_deref(), Some("left the \"IVR\" team"));
    let ran = place.run(&["revoke", "a", "--reason=a\u{1b}b"]);
    assert!(
        ran.code == Some(64) && ran.error.contains("--reason"),
        "{ran:?}"
    );
}

#[test]
fn a_key_has_the_fields_of_its_flags_in_a_stable_order() {
    let place = Place::with("[[account]]\nid = \"acme\"\n");
    let before = SystemTime::now() - Duration::from_secs(1);
    let flags = [
        "new",
        "--expires=90d",
        "--not-before=2026-01-01T01:00:00+01:00",
        "--set-label=team=ivr",
        "--set-label=cost-centre=a=b",
        "--concurrency=8",
        "--burst=100",
        "--rate=50/s",
        "--account=acme",
        "--voice=cove",
        "--voice=team-*",
        "--scope=tts:synthesize",
        "--scope=voices:read",
        "--kind=realtime",
        "--label=IVR, \"production\"",
        "--id=team/ivr@prod:1",
    ];
    place.run(&flags).token();
    let file = place.keys();
    let key = &file.keys()[0];
    let (created, validity) = (key.created().unwrap(), key.principal().validity());
    assert!(created >= before && created <= SystemTime::now());
    let lifetime = validity.expires.unwrap().duration_since(created).unwrap();
    assert_eq!(lifetime, Duration::from_secs(90 * 24 * 60 * 60));
    assert_eq!(key.principal().state(SystemTime::now()), KeyState::Active);
    let text = place.text();
    let lines: Vec<&str> = text.lines().collect();
    let value = |line: usize, field: &str| lines[line].strip_prefix(field).unwrap();
    let digest = value(lines.len() - 1, "sha256 = ").trim_matches('"');
    assert!(digest.starts_with(&key.fingerprint()));
    let expected = format!(
        "[[account]]\nid = \"acme\"\n\n[[key]]\nid = \"team/ivr@prod:1\"\n\
         label = 'IVR, \"production\"'\nkind = \"realtime\"\n\
         scopes = [\"tts:synthesize\", \"voices:read\"]\nvoices = [\"cove\", \"team-*\"]\n\
         account = \"acme\"\nrate = \"50/s\"\nburst = 100\nconcurrency = 8\n\
         labels = {{ team = \"ivr\", cost-centre = \"a=b\" }}\ncreated = {}\n\
         not_before = 2026-01-01T00:00:00Z\nexpires = {}\nsha256 = \"{digest}\"\n",
        humantime::format_rfc3339(created),
        humantime::format_rfc3339(validity.expires.unwrap()),
    );
    assert_eq!(text, expected);
}

#[test]
fn invalid_flags_are_named_and_nothing_is_changed() {
    let place = Place::with(&format!(
        "[[account]]\nid = \"full\"\nmax_active_keys = 1\n[[key]]\nid = \"taken\"\n\
         sha256 = \"{DIGEST}\"\naccount = \"full\"\n"
    ));
    for (arguments, wanted) in [
        (
            &["--id=taken"][..],
            &["--id: ", "voxgate key rotate taken"][..],
        ),
        (&["--id=a b"], &["--id: "]),
        (&["--id=public"], &["--id: "]),
        (&["--id=env-1"], &["--id: ", "VOXGATE_API_KEYS"]),
        (&["--id=vxg_abc"], &["--id: ", "secret"]),
        (
            &["--id=9f3c1b7ae5d24860b1c7f0e2d3a49586"],
            &["--id: ", "secret"],
        ),
        (&["--id=ivr:"], &["--id: ", "colon"]),
        (&["--id="], &["--id: "]),
        (
            &["--id=a", "--account=other"],
            &["--account: ", "[[account]]"],
        ),
        (&["--id=a", "--account=full"], &["max_active_keys"]),
        (
            &["--id=a", "--scope=b c", "--rate=5"],
            &["--scope: ", "--rate: "],
        ),
        (&["--id=a", "--voice="], &["--voice: "]),
        (&["--id=a", "--burst=5"], &["--burst: "]),
        (&["--id=a", "--concurrency=0"], &["--concurrency"]),
        (&["--id=a", "--kind=other"], &["--kind"]),
        (&["--id=a", "--label=a\nb"], &["--label: "]),
        (&["--id=a", "--set-label=team"], &["--set-label: "]),
        (&["--id=a", "--set-label=te am=a"], &["--set-label: "]),
        (
            &["--id=a", "--set-label=a=b", "--set-label=a=c"],
            &["--set-label: "],
        ),
        (&["--id=a", "--expires=soon"], &["--expires: ", "90d"]),
        (&["--id=a", "--expires=0s"], &["--expires: "]),
        (
            &["--id=a", "--expires=2020-01-01T00:00:00Z"],
            &["--expires: "],
        ),
        (
            &["--id=a", "--expires=1d", "--not-before=2d"],
            &["--expires: "],
        ),
        (&["--id=a", "--not-before=later"], &["--not-before: "]),
        (&["--id=a", "--dialect=vogon"], &["--dialect: ", "rime"]),
        (&["--id=a", "--namespace=x"], &["--kubernetes-secret"]),
        (
            &["--id=a", "--kubernetes-secret=A"],
            &["--kubernetes-secret: "],
        ),
        (&["--scope=a"], &["--id"]),
    ] {
        let error = place.refuses(64, "", &[&["new"], arguments].concat());
        for wanted in wanted {
            assert!(
                error.contains(wanted),
                "{arguments:?}: no {wanted} in {error}"
            );
        }
    }
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn an_invalid_file_is_unchanged_and_every_problem_is_reported() {
    let place = Place::with("[[key]]\nid = \"a\"\n[[key]]\ncolour = \"hunter2\"\n");
    for arguments in [
        &["new", "--id", "b"][..],
        &["revoke", "b"],
        &["rotate", "a"],
        &["list"],
        &["verify"],
        &["import"],
    ] {
        let error = place.refuses(64, "", arguments);
        for line in ["keys.toml:1: ", "keys.toml:3: ", "keys.toml:4: "] {
            assert!(error.contains(line), "{arguments:?}: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_missing_file_or_invalid_environment_is_refused() {
    let place = Place::new();
    let run = |command: &mut std::process::Command| super::Ran::new(command.output().unwrap());
    let mut command = place.command(&["new", "--id", "a"]);
    let ran = run(command.env_remove("VOXGATE_KEYS_FILE"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""));
    assert!(ran.error.contains("--file") && ran.error.contains("VOXGATE_KEYS_FILE"));
    let ran = run(place.command(&["list"]).env("VOXGATE_KEYS_FIEL", "hunter2"));
    assert_eq!(ran.code, Some(64));
    assert!(ran.error.contains("VOXGATE_KEYS_FIEL: ") && !ran.error.contains("hunter2"));
    // The path may be a key, set in the wrong variable.
    let ran = run(place.command(&["list"]).env("VOXGATE_KEYS_FILE", "hunter2"));
    assert_eq!(ran.code, Some(64));
    assert!(!ran.error.contains("hunter2"), "{}", ran.error);
    // A flag takes precedence.
    let path = place.path();
    let mut command = place.command(&["new", "--id", "a", "--file", path.to_str().unwrap()]);
    run(command.env("VOXGATE_KEYS_FILE", "hunter2")).token();
    assert_eq!(place.keys().keys().len(), 1);
    let error = place.refuses(1, "", &["new", "--id", "a", "--file", "/absent/keys.toml"]);
    assert!(error.contains("/absent/keys.toml: "), "{error}");
    let directory = place.directory().to_str().unwrap();
    place.refuses(64, "", &["new", "--id", "a", "--file", directory]);
}

#[test]
fn a_token_that_cannot_be_printed_is_reported_as_lost() {
    let place = Place::new();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = place.command(&["new", "--id", "a"]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("voxgate key revoke a"), "{error}");
    assert!(!error.contains("vxg_"), "{error}");
}

#[test]
fn a_revoked_id_is_not_given_to_a_new_key() {
    let revoked = "[revoked]\nids = [\"old\", \"a-2\"]\n";
    let place = Place::with(&format!(
        "[[key]]\nid = \"a\"\nsha256 = \"{}\"\n{revoked}",
        "1".repeat(64)
    ));
    let error = place.refuses(64, "", &["new", "--id", "old"]);
    assert!(error.contains("[revoked]"), "{error}");
    place.run(&["rotate", "a"]).done();
    assert!(place.text().contains("id = \"a-3\""), "{}", place.text());
}

#[test]
fn a_key_is_limited_to_networks_also_after_its_rotation() {
    let place = Place::new();
    let flags = [
        "new",
        "--id=a",
        "--allow-from=10.0.0.0/8",
        "--allow-from=::1",
    ];
    place.run(&flags).token();
    place.run(&["rotate", "a"]).token();
    let keys = place.keys();
    assert_eq!(keys.keys().len(), 2);
    for key in keys.keys() {
        let networks = key.principal().allow_from().expect("networks");
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "::1/128"], "{}", place.text());
    }
    let ran = place.run(&["new", "--id=b", "--allow-from=10.0.0.1/8"]);
    assert!(
        ran.code == Some(64) && ran.error.contains("--allow-from"),
        "{}",
        ran.error
    );
}

#[test]
fn a_certificate_is_a_credential_without_a_token() {
    let place = Place::new();
    let name = "spiffe://example.org/ivr";
    let flag = format!("--certificate={name}");
    let ran = place
        .run(&["new", "--id=ivr", "--voice=cove", &flag])
        .done();
    assert!(
        ran.error.contains(name) && ran.out.is_empty(),
        "{}",
        ran.error
    );
    let ring = place.keys().into_ring().unwrap();
    let verdict = ring.verify_certificate(name, SystemTime::now()).unwrap();
    assert_eq!(verdict.unwrap().id(), "ivr");
    for (arguments, wanted) in [
        (
            &["new", "--id=b", "--certificate=CN=a"][..],
            "--certificate",
        ),
        (&["rotate", "ivr"], "its credential is a certificate"),
    ] {
        let ran = place.run(arguments);
        assert!(
            ran.code == Some(64) && ran.error.contains(wanted),
            "{arguments:?}: {}",
            ran.error
        );
    }
    place.run(&["revoke", "ivr"]).done();
    let ring = place.keys().into_ring().unwrap();
    assert!(
        ring.verify_certificate(name, SystemTime::now())
            .unwrap()
            .is_err()
    );
}
