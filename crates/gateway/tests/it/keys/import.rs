//! `voxgate key import`.

use voxgate::{Dialect, RawCredential, Verify as _, VerifyOutcome};

use super::{DIGEST, Place};

const STRONG: &str = "9f3c1b7ae5d24860b1c7f0e2d3a49586";
const OTHER: &str = "0b8e6d1f4a7c2935e0d8b6a4f1c39e72";

#[test]
fn plain_keys_are_stored_as_digests() {
    let place = Place::with(&format!(
        "[[key]]\nid = \"imported-2\"\nsha256 = \"{DIGEST}\"\n"
    ));
    let input = format!(
        "\u{feff}# from the old gateway\r\n\r\n{STRONG}\r\n  ivr-prod\t{OTHER}  \r\n\
         weak-weak-weak-weak\r\nimported-3 padded+padded+padded+base64/==\r\n"
    );
    let ran = place.run_with(&input, &["import", "--scope=a"]).done();
    assert_eq!(ran.out, "");
    let file = place.keys();
    let ids: Vec<&str> = file.keys().iter().map(|key| key.principal().id()).collect();
    assert_eq!(
        ids,
        [
            "imported-2",
            "imported-1",
            "ivr-prod",
            "imported-4",
            "imported-3"
        ]
    );
    assert!(
        file.keys()
            .iter()
            .skip(1)
            .all(|key| key.principal().scopes().is_some())
    );
    let fingerprints: Vec<String> = file.keys().iter().map(voxgate::Key::fingerprint).collect();
    assert!(
        fingerprints[1..]
            .iter()
            .all(|print| ran.error.contains(print)),
        "{}",
        ran.error
    );
    assert!(
        ran.error.contains("warning: line 5: ") && ran.error.contains("digest"),
        "{}",
        ran.error
    );
    assert!(!ran.error.contains("line 3: "), "{}", ran.error);
    let ring = file.into_ring().unwrap();
    for plain in [
        STRONG,
        OTHER,
        "weak-weak-weak-weak",
        "padded+padded+padded+base64/==",
    ] {
        let verdict = ring.verify(RawCredential::new(plain.as_bytes()));
        assert!(matches!(verdict, VerifyOutcome::Ready(Ok(_))));
        assert!(!place.text().contains(plain) && !ran.error.contains(plain));
    }
}

#[test]
fn a_bad_line_prevents_the_whole_import() {
    let place = Place::new();
    place
        .run_with(&format!("old {STRONG}\n"), &["import"])
        .done();
    let input = "short\nA=key-key-key-key-key\nvxg_hunter2hunter2hunter2\na b c\n\
                 ok-ok-ok-ok-ok-ok-ok\n\u{e9}hunter2hunter2hunter2\n";
    let error = place.refuses(64, input, &["import"]);
    let lines: Vec<&str> = error.lines().skip(1).collect();
    let numbers = ["1", "2", "3", "4", "6"].map(|number| format!("  line {number}: "));
    assert_eq!(lines.len(), numbers.len(), "{error}");
    for (line, number) in lines.iter().zip(numbers) {
        assert!(line.starts_with(&number), "{line}");
    }
    let input = format!("{STRONG}\nold {OTHER}\nb {OTHER}\nb 0{OTHER}\n");
    let error = place.refuses(64, &input, &["import"]);
    for wanted in [
        "line 1: is already in the file, as key `old`",
        "line 2: has an id",
        "line 3: is the same key as line 2",
        "line 4: has the same id as line 3",
    ] {
        assert!(error.contains(wanted), "no {wanted} in {error}");
    }
    let error = place.refuses(64, &format!("a!b {OTHER}\n"), &["import"]);
    assert!(error.contains("line 1: id must be"), "{error}");
    let error = place.refuses(64, &format!("{OTHER}\n"), &["import", "--account=none"]);
    assert!(error.contains("line 1: account"), "{error}");
    place.refuses(64, "# nothing\n", &["import"]);
    place.refuses(64, "", &["import", "/absent"]);
    for secret in ["hunter2", STRONG, OTHER] {
        assert!(!error.contains(secret), "{error}");
    }
}

/// Each form would turn other text into a key or an id.
#[test]
fn lines_in_other_formats_are_refused_with_their_number() {
    let place = Place::new();
    for (line, wanted) in [
        (format!("export {STRONG}"), "a shell command or a header"),
        (format!("Bearer {STRONG}"), "a shell command or a header"),
        (format!("token {STRONG}"), "a shell command or a header"),
        (format!("ivr: {STRONG}"), "ends in a colon"),
        (format!("ivr,{STRONG}"), "contains a comma"),
        (format!("ivr, {STRONG}"), "contains a comma"),
        (format!("ivr \"{STRONG}\""), "quotation mark"),
        (format!("'{STRONG}'"), "quotation mark"),
        (format!("export API_KEY={STRONG}"), "could be `id=key`"),
        (format!("{STRONG} ivr-prod"), "where the id belongs"),
        (
            format!("{STRONG} ivr-prod-and-a-longer-name"),
            "where the id belongs",
        ),
        (format!("vxg_abc {STRONG}"), "where the id belongs"),
        (format!("{STRONG}{OTHER} {OTHER}"), "looks like a secret"),
        (format!("env-3 {STRONG}"), "VOXGATE_API_KEYS"),
    ] {
        let error = place.refuses(64, &format!("good {OTHER}\n{line}\n"), &["import"]);
        let found = error.lines().find(|said| said.starts_with("  line 2: "));
        assert!(
            found.is_some_and(|said| said.contains(wanted)),
            "{line}: {error}"
        );
        assert!(!error.contains(STRONG) && !error.contains(OTHER), "{error}");
    }
    assert!(!place.path().exists());
    let error = place.refuses(64, OTHER, &["import", "--prefix=env"]);
    assert!(error.contains("--prefix: "), "{error}");
}

/// The gateway would then refuse both.
#[test]
fn a_key_in_the_environment_is_a_duplicate() {
    let place = Place::with(&format!("[[key]]\nid = \"old\"\nsecret = \"{OTHER}\"\n"));
    let keys = place.directory().join("keys");
    let listed = place.directory().join("listed");
    std::fs::write(&keys, STRONG).unwrap();
    std::fs::write(&listed, format!("{OTHER}\n{STRONG}\n")).unwrap();
    let run = |arguments: &[&str], variable: &str, value: &str| {
        let mut command = place.command(arguments);
        super::Ran::new(command.env(variable, value).output().unwrap())
    };
    let import = ["import", keys.to_str().unwrap()];
    for (variable, value) in [
        ("VOXGATE_API_KEYS", format!("{OTHER}, {STRONG}")),
        ("VOXGATE_API_KEYS_FILE", listed.display().to_string()),
    ] {
        let ran = run(&import, variable, &value);
        assert_eq!(ran.code, Some(64), "{ran:?}");
        assert!(
            ran.error
                .contains("line 1: is already in VOXGATE_API_KEYS, as `env-2`"),
            "{ran:?}"
        );
        let ran = run(&["list"], variable, &value).done();
        assert!(
            ran.error
                .contains("key `old` has the same secret as `env-1`"),
            "{ran:?}"
        );
        assert!(!ran.error.contains(OTHER), "{ran:?}");
    }
    let ran = run(&import, "VOXGATE_API_KEYS_FILE", "hunter2").done();
    assert!(ran.error.contains("cannot be read") && !ran.error.contains("hunter2"));
    let ran = run(&["list"], "VOXGATE_API_KEYS_FILE", "/absent/keys").done();
    assert!(
        ran.error
            .contains("VOXGATE_API_KEYS_FILE (/absent/keys) cannot be read")
    );
}

#[test]
fn keys_are_imported_in_the_form_of_their_vendor() {
    let cases = [
        (Dialect::Kugel, format!("eu-{STRONG}"), STRONG.to_owned()),
        (
            Dialect::Inworld,
            "aXZyOjlmM2MxYjdhZTVkMjQ4NjA=".to_owned(),
            "ivr:9f3c1b7ae5d24860".to_owned(),
        ),
        (
            Dialect::Inworld,
            format!("ivr:{STRONG}"),
            format!("ivr:{STRONG}"),
        ),
        (Dialect::Auto, STRONG.to_owned(), STRONG.to_owned()),
    ];
    for (dialect, plain, presented) in cases {
        let place = Place::new();
        let path = place.directory().join("plain");
        std::fs::write(&path, &plain).unwrap();
        let flag = format!("--dialect={dialect}");
        place
            .run(&["import", &flag, "--prefix=old", path.to_str().unwrap()])
            .done();
        let ring = place.keys().into_ring().unwrap();
        let verdict = ring.verify(RawCredential::new(presented.as_bytes()));
        assert!(
            matches!(verdict, VerifyOutcome::Ready(Ok(principal)) if principal.id() == "old-1")
        );
        place.run_with(&plain, &["verify", &flag]).done();
        let error = place.refuses(64, &plain, &["import", &flag]);
        assert!(error.contains("`old-1`"), "{error}");
    }
    let place = Place::new();
    let error = place.refuses(64, &format!("us-{STRONG}"), &["import", "--dialect=auto"]);
    assert!(error.contains("--dialect"), "{error}");
    place.refuses(64, STRONG, &["import", "--dialect=inworld"]);
}
