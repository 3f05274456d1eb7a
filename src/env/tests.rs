use std::io::Write as _;

use voxgate_core::error::Problem;

use super::*;
use crate::dialect::Dialect;

fn settings(vars: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::from_environment(&Environment::new(vars.iter().copied(), &[]))
}

fn problems(vars: &[(&str, &str)]) -> Vec<String> {
    let error = settings(vars).expect_err("wrong settings");
    error.problems().iter().map(ToString::to_string).collect()
}

fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("to write it");
    let path = file.path().display().to_string();
    (file, path)
}

const KEYS: (&str, &str) = (
    "VOXGATE_API_KEYS",
    "a-long-enough-key-1,a-long-enough-key-2",
);
const RIME: (&str, &str) = ("RIME_API_KEY", "deployment-key");

#[test]
fn the_mode_follows_from_the_keys_and_no_keys_are_an_error() {
    for (vars, mode, keys) in [
        (&[KEYS][..], Mode::Validate, 2),
        (&[RIME], Mode::Preconfigured, 0),
        (
            &[KEYS, RIME, ("VOXGATE_MODE", "validate")],
            Mode::Validate,
            2,
        ),
        (
            &[KEYS, RIME, ("VOXGATE_MODE", "preconfigured")],
            Mode::Preconfigured,
            2,
        ),
        (&[KEYS, ("VOXGATE_MODE", "")], Mode::Validate, 2),
    ] {
        let settings = settings(vars).expect("good settings");
        assert_eq!(settings.mode(), mode, "{vars:?}");
        assert_eq!(settings.key_count(), keys, "{vars:?}");
        assert_eq!(settings.dialect(), Dialect::Rime);
        assert_eq!(settings.deployment_key().is_some(), vars.contains(&RIME));
    }
    for (vars, expected) in [
        (&[][..], "VOXGATE_API_KEYS: no caller could authenticate"),
        (
            &[KEYS, RIME],
            "VOXGATE_MODE: must be set, because there are caller keys and RIME_API_KEY",
        ),
        (
            &[RIME, ("VOXGATE_MODE", "validate")],
            "VOXGATE_MODE: is `validate`, but there are no caller keys",
        ),
        (
            &[KEYS, ("VOXGATE_MODE", "preconfigured")],
            "VOXGATE_MODE: is `preconfigured`, but there is no deployment key; set RIME_API_KEY",
        ),
        (
            &[
                RIME,
                ("VOXGATE_DIALECT", "supertone"),
                ("VOXGATE_MODE", "preconfigured"),
            ],
            "VOXGATE_MODE: is `preconfigured`, but there is no deployment key; set SUPERTONE_API_KEY; \
             RIME_API_KEY is set, which needs VOXGATE_DIALECT=rime",
        ),
        (
            &[KEYS, ("VOXGATE_MODE", "Validate")],
            "VOXGATE_MODE: must be `validate` or `preconfigured`",
        ),
        (
            &[RIME, ("VOXGATE_DIALECT", "bearer")],
            "VOXGATE_API_KEYS: no caller could authenticate",
        ),
        (
            &[
                RIME,
                ("VOXGATE_DIALECT", "bearer"),
                ("VOXGATE_MODE", "preconfigured"),
            ],
            "VOXGATE_MODE: is `preconfigured`, but this dialect has no deployment key",
        ),
    ] {
        let problems = problems(vars);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(expected), "{problems:?}");
    }
}

#[test]
fn a_keys_file_that_lets_nobody_in_names_the_next_command() {
    for text in ["", "# no keys yet\n", "[[account]]\nid = \"acme\"\n"] {
        let (_guard, path) = file(text);
        let expected = format!(
            "VOXGATE_KEYS_FILE: contains no keys; make one with `voxgate key new --id NAME --file {path}`"
        );
        assert_eq!(
            problems(&[("VOXGATE_KEYS_FILE", &path)]),
            [expected],
            "{text}"
        );
    }
    let missing = problems(&[("VOXGATE_KEYS_FILE", "/no/such/keys.toml")]);
    assert_eq!(missing.len(), 1, "{missing:?}");
    let next = "or make it with `voxgate key new --id NAME --file /no/such/keys.toml`";
    assert!(missing[0].contains(next), "{missing:?}");
    let (_guard, path) = file(
        "[[key]]\nid = \"a\"\nsecret = \"0123456789abcdef\"\nexpires = 2020-01-01T00:00:00Z\n",
    );
    let expired = settings(&[("VOXGATE_KEYS_FILE", &path)]).expect("a warning");
    let notices: Vec<String> = expired.notices().iter().map(ToString::to_string).collect();
    let said = "contains no key that is enabled and valid now: every request is refused";
    assert!(
        notices.iter().any(|notice| notice.contains(said)),
        "{notices:?}"
    );
}

#[test]
fn an_empty_or_blank_key_is_an_error() {
    for (name, value) in [
        ("RIME_API_KEY", ""),
        ("RIME_API_KEY", " \t"),
        ("VOXGATE_API_KEYS", ""),
    ] {
        let problems = problems(&[(name, value)]);
        let expected = format!("{name}: is empty or blank");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(&expected), "{problems:?}");
    }
    // Beside caller keys, a blank deployment key must not turn into "validate".
    assert_eq!(problems(&[KEYS, ("RIME_API_KEY", " ")]).len(), 2);
    // A blank path must not turn "validate" into "preconfigured".
    for name in ["VOXGATE_API_KEYS_FILE", "VOXGATE_KEYS_FILE"] {
        assert!(!problems(&[RIME, (name, "")]).is_empty(), "{name}");
    }
    let (_guard, path) = file("\n");
    assert_eq!(
        problems(&[("RIME_API_KEY_FILE", &path)])[0],
        "RIME_API_KEY_FILE: is empty or blank; set a value, or remove the variable"
    );
}

#[test]
fn a_blank_secret_path_or_url_is_never_off() {
    for setting in SETTINGS {
        for blank in ["", " ", "\t\r\n"] {
            let mut vars = vec![KEYS];
            // Keys are listed in one place only.
            vars.retain(|_| !setting.variable.starts_with("VOXGATE_API_KEYS"));
            vars.push((setting.variable, blank));
            let found = settings(&vars).err().map(ConfigError::into_problems);
            let found = found.unwrap_or_default();
            let expected = format!("{}: is empty or blank", setting.variable);
            let named = found
                .iter()
                .filter(|problem| problem.to_string().starts_with(&expected))
                .count();
            assert_eq!(named, usize::from(setting.refuses_blank()), "{found:?}");
            // A setting with a default gets it.
            assert!(named == 1 || found.is_empty(), "{found:?}");
            let is_secret = setting.secret || ["PATH", "URL"].contains(&setting.value);
            assert!(!is_secret || named == 1, "{}", setting.variable);
        }
    }
}

#[test]
fn a_byte_order_mark_is_skipped_in_every_file() {
    let (_deployment, deployment_key) = file("\u{feff}deployment-key\n");
    let (_listed, api_keys) = file("\u{feff}a-long-enough-key-1\n");
    let (_keys, keys) = file("\u{feff}[[key]]\nid = \"ivr\"\nsecret = \"a-long-enough-key-9\"\n");
    let (_policy, policy) = file("\u{feff}[[rule]]\nmethod = \"GET\"\npath = \"/x\"\n");
    let settings = settings(&[
        ("VOXGATE_MODE", "validate"),
        ("RIME_API_KEY_FILE", &deployment_key),
        ("VOXGATE_API_KEYS_FILE", &api_keys),
        ("VOXGATE_KEYS_FILE", &keys),
        ("VOXGATE_POLICY_FILE", &policy),
    ])
    .expect("good settings");
    let key = settings.deployment_key().expect("a key").expose();
    assert_eq!(key, "deployment-key");
    assert_eq!(settings.key_count(), 2);
    assert_eq!(settings.policy().rules()[0].pattern(), "/x");
    let first = crate::Secret::new("a-long-enough-key-1").expect("a secret");
    let principals = settings.principals();
    let held = principals.iter().filter_map(|key| key.credential());
    assert!(held.into_iter().any(|held| held.matches(&first.digest())));
}

#[test]
fn a_key_in_quotation_marks_is_noticed() {
    let long = "5f4dcc3b5aa765d61d8327deb882cf99";
    let (_keys, keys) = file(&format!("[[key]]\nid = \"ivr\"\nsecret = '\"{long}9\"'\n"));
    let (_deployment, deployment_key) = file("'deployment-key'\n");
    let quoted = settings(&[
        ("VOXGATE_MODE", "validate"),
        ("RIME_API_KEY_FILE", &deployment_key),
        (
            "VOXGATE_API_KEYS",
            &format!("\"{long}1,{long}2,{long}3\",'{long}4'"),
        ),
        ("VOXGATE_KEYS_FILE", &keys),
    ])
    .expect("good settings");
    let notices = quoted.notices().iter();
    let notices = notices.filter(|notice| notice.message().contains("quotation mark"));
    let places: Vec<&str> = notices.map(Problem::place).collect();
    let in_file = format!("VOXGATE_KEYS_FILE: {keys}:3");
    assert_eq!(
        places,
        [
            "VOXGATE_API_KEYS, key 1",
            "VOXGATE_API_KEYS, key 3",
            "VOXGATE_API_KEYS, key 4",
            in_file.as_str(),
            "RIME_API_KEY",
        ]
    );
}

#[test]
#[cfg(unix)]
fn a_file_with_secrets_that_every_user_can_read_is_noticed() {
    use std::os::unix::fs::PermissionsExt as _;
    let permit = |file: &tempfile::NamedTempFile, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).expect("to permit");
    };
    let (keys_file, keys) = file("[[key]]\nid = \"ivr\"\nsecret = \"a-long-enough-key-9\"\n");
    let (policy_file, policy) = file("[[rule]]\nmethod = \"GET\"\npath = \"/x\"\n");
    permit(&policy_file, 0o666);
    for (mode, access) in [
        (0o600, None),
        (0o640, None),
        (0o660, None),
        (0o644, Some("read")),
        (0o602, Some("changed")),
        (0o666, Some("read and changed")),
    ] {
        permit(&keys_file, mode);
        let vars = [
            ("VOXGATE_KEYS_FILE", &*keys),
            ("VOXGATE_POLICY_FILE", &policy),
        ];
        let settings = settings(&vars).expect("good settings");
        let notices = settings.notices().iter().map(ToString::to_string);
        let found: Vec<_> = notices.filter(|text| text.contains("every user")).collect();
        let expected = access.map(|access| {
            format!("VOXGATE_KEYS_FILE: {keys} can be {access} by every user of this machine")
        });
        assert_eq!(found.len(), expected.iter().len(), "{mode:o}: {found:?}");
        let expected = expected.unwrap_or_default();
        assert!(found.concat().starts_with(&expected), "{found:?}");
    }
}

#[test]
fn secrets_are_read_from_mounted_files() {
    let (_guard, path) = file("deployment-key\n");
    let settings = settings(&[("RIME_API_KEY_FILE", &path)]).expect("good settings");
    assert_eq!(
        settings.deployment_key().expect("a key").expose(),
        "deployment-key"
    );

    let (_guard, path) = file("a-long-enough-key-1\r\na-long-enough-key-2\r\n");
    let settings = self::settings(&[("VOXGATE_API_KEYS_FILE", &path)]).expect("good settings");
    assert_eq!(settings.key_count(), 2);

    assert_eq!(
        problems(&[("RIME_API_KEY", "k"), ("RIME_API_KEY_FILE", &path)]),
        ["RIME_API_KEY: is set together with RIME_API_KEY_FILE; set only one of them"]
    );
    assert_eq!(
        problems(&[("RIME_API_KEY_FILE", "/no/such/file")]),
        [
            "RIME_API_KEY_FILE: cannot read /no/such/file (No such file or directory (os error 2)); set it to the path of a readable file"
        ]
    );
    let (_guard, path) = file("one,two\n");
    assert_eq!(
        problems(&[("VOXGATE_API_KEYS_FILE", &path)]),
        ["VOXGATE_API_KEYS_FILE, key 1: contains a comma; write one key per line"]
    );
}

#[test]
fn keys_from_the_file_and_the_list_share_one_ring() {
    let (_guard, path) = file("[[key]]\nid = \"ivr\"\nsecret = \"a-long-enough-key-9\"\n");
    let with_file = settings(&[KEYS, ("VOXGATE_KEYS_FILE", &path)]).expect("good settings");
    assert_eq!(with_file.key_count(), 3);

    let (_guard, path) = file("[[key]]\nid = \"ivr\"\nsecret = \"a-long-enough-key-2\"\n");
    let both = settings(&[KEYS, ("VOXGATE_KEYS_FILE", &path)]).expect("good settings");
    assert_eq!(
        both.key_count(),
        2,
        "the keys file applies to a key that is in both"
    );
    let shown: Vec<_> = both.notices().iter().map(ToString::to_string).collect();
    let expected = "key `env-2`: is also in the keys file, which applies; remove it from the list";
    assert!(
        shown.iter().any(|notice| notice.ends_with(expected)),
        "{shown:?}"
    );
}

#[test]
fn all_problems_are_reported_together_without_values() {
    let (_guard, path) = file("[[key]]\nid = \"x y hunter2\"\nsecret = \"hunter2\"\nhunter2 = 1\n");
    let vars = [
        ("VOXGATE_DIALECT", "hunter2"),
        ("VOXGATE_MODE", "hunter2"),
        ("VOXGATE_API_KEYS", "hunter2 hunter2,,hunter2-hunter2-h"),
        ("VOXGATE_KEYS_FILE", &path),
        ("VOXGATE_TYPO", "hunter2"),
        ("RIME_API_KEY", "hunter2"),
    ];
    let problems = problems(&vars);
    let places: Vec<&str> = problems
        .iter()
        .map(|problem| problem.split(": ").next().expect("a place"))
        .collect();
    assert_eq!(
        places,
        [
            "VOXGATE_TYPO",
            "VOXGATE_DIALECT",
            "VOXGATE_MODE",
            "VOXGATE_API_KEYS, key 1",
            "VOXGATE_API_KEYS, key 2",
            "VOXGATE_KEYS_FILE",
            "VOXGATE_KEYS_FILE",
            "VOXGATE_KEYS_FILE",
        ],
        "{problems:#?}"
    );
    let shown = format!("{problems:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn settings_without_effect_cause_a_notice() {
    let vars = [
        ("VOXGATE_API_KEYS", "5f4dcc3b5aa765d61d8327deb882cf99"),
        ("SUPERTONE_API_KEY", "k"),
        ("VOXGATE_MODE", "validate"),
    ];
    let noticed = settings(&vars).expect("good settings");
    let shown: Vec<_> = noticed.notices().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["SUPERTONE_API_KEY: is not used: the dialect is `rime`"]
    );

    let listed = "short, a-long-enough-key-1, 5f4dcc3b5aa765d61d8327deb882cf99";
    let weak = settings(&[("VOXGATE_API_KEYS", listed)]).expect("good settings");
    let shown: Vec<_> = weak.notices().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "VOXGATE_API_KEYS, key 1: is shorter than 16 characters and can be guessed; use a longer one",
            "VOXGATE_API_KEYS, key 2: has less than about 128 bits of randomness and might be guessed; use a random one",
        ]
    );
}

#[test]
fn debug_shows_no_secret() {
    let settings = settings(&[KEYS, RIME, ("VOXGATE_MODE", "validate")]).expect("good settings");
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("deployment-key") && !shown.contains("enough"),
        "{shown}"
    );
}

#[test]
fn inworlds_keys_have_an_id_and_kugels_a_region() {
    let inworld = ("VOXGATE_DIALECT", "inworld");
    let good = settings(&[
        inworld,
        ("VOXGATE_API_KEYS", "team-a:secret-of-a,team-b:secret-of-b"),
    ]);
    assert_eq!(good.expect("good settings").key_count(), 2);
    assert_eq!(
        problems(&[inworld, ("VOXGATE_API_KEYS", "a-long-enough-key-1,id:")]),
        [
            "VOXGATE_API_KEYS, key 1: must be `id:secret` in this dialect",
            "VOXGATE_API_KEYS, key 2: must be `id:secret` in this dialect",
        ]
    );
    assert_eq!(
        problems(&[inworld, ("INWORLD_API_KEY", "neither-of-both")]),
        ["INWORLD_API_KEY: must be `id:secret`, or its base64"]
    );
    // The same key with and without its region is one key.
    let kugel = ("VOXGATE_DIALECT", "kugel");
    let twice = [
        kugel,
        ("VOXGATE_API_KEYS", "eu-a-long-enough-key,a-long-enough-key"),
    ];
    assert!(
        problems(&twice)[0].contains("has the same secret"),
        "{:?}",
        problems(&twice)
    );
}

#[test]
fn rules_of_the_policy_file_come_before_those_of_the_dialect() {
    let (_guard, path) = file("[[rule]]\nmethod = \"GET\"\npath = \"/x\"\n");
    let own = [
        KEYS,
        ("VOXGATE_POLICY_FILE", path.as_str()),
        ("VOXGATE_PUBLIC", "GET /health, HEAD /health"),
    ];
    let settings = settings(&own).expect("good settings");
    assert_eq!(settings.policy().rules()[0].pattern(), "/x");
    assert_eq!(
        settings.policy().rules().len(),
        1 + Dialect::Rime.policy().rules().len()
    );
    assert_eq!(settings.public_routes(), ["GET /health", "HEAD /health"]);
    let wrong = [
        KEYS,
        ("VOXGATE_POLICY_FILE", "/no/such/file"),
        ("VOXGATE_PUBLIC", "GET /a*,/b, get /c,GET /d"),
    ];
    let problems = problems(&wrong);
    let places: Vec<&str> = problems
        .iter()
        .map(|problem| problem.split(": ").next().expect("a place"))
        .collect();
    assert_eq!(
        places,
        [
            "VOXGATE_POLICY_FILE",
            "VOXGATE_PUBLIC, entry 1",
            "VOXGATE_PUBLIC, entry 2",
            "VOXGATE_PUBLIC, entry 3"
        ]
    );
}
