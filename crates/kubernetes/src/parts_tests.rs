use super::*;

use serde_json::json;

const A: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn data(parts: &[(&str, &str)]) -> Value {
    let parts = parts.iter();
    let parts = parts.map(|(name, text)| ((*name).to_owned(), Value::from(STANDARD.encode(text))));
    Value::Object(parts.collect())
}

fn read(parts: &[(&str, &str)]) -> Result<Vec<Key>, Vec<String>> {
    let secret = "Secret voice/ivr";
    let texts = KeyTexts::of(secret, &data(parts));
    let keys = texts.and_then(|texts| texts.keys(secret, Dialect::Rime));
    match keys {
        Ok((keys, _)) => Ok(keys),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn a_keys_file_is_a_part_whose_name_ends_in_toml() {
    let file = |id: &str, digit: &str| {
        let digest = digit.repeat(64);
        format!("[[key]]\nid = \"{id}\"\nsha256 = \"{digest}\"\n")
    };
    let (a, b) = (file("a", "1"), file("b", "2"));
    let keys = read(&[("keys.toml", &a), ("more.toml", &b), ("note", "x")]).expect("two files");
    let ids: Vec<&str> = keys.iter().map(|key| key.principal().id()).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn one_key_has_a_part_for_each_field() {
    let keys = read(&[
        ("id", "ivr-prod\n"),
        ("sha256", A),
        ("scopes", "tts:synthesize, tts:stream"),
        ("labels", "team=ivr,site=berlin"),
        ("rate", "50/s"),
        ("burst", "100"),
        ("concurrency", "8"),
        ("disabled", "true\n"),
        ("expires", "2020-01-01T00:00:00Z"),
        ("allow_from", "10.0.0.0/8"),
        ("label", "IVR \"production\"\\"),
        ("changed_by", "team-ivr"),
    ]);
    let keys = keys.expect("one key");
    let key = keys[0].principal();
    assert_eq!(key.id(), "ivr-prod");
    assert_eq!(key.label(), Some("IVR \"production\"\\"));
    assert_eq!(key.labels().count(), 2);
    assert_eq!(key.limits().concurrency.map(u32::from), Some(8));
    assert!(key.validity().expires.is_some());
    assert!(key.has_scope("tts:stream") && !key.has_scope("admin"));
}

#[test]
fn each_mistake_names_the_secret_and_the_field_and_no_value() {
    for (parts, place) in [
        (
            &[("id", "a"), ("sha256", "hunter2")][..],
            "Secret voice/ivr, field `sha256`",
        ),
        (
            &[("id", "a"), ("sha256", A), ("rate", "hunter2")],
            "Secret voice/ivr, field `rate`",
        ),
        (
            &[("id", "a"), ("sha256", A), ("burst", "hunter2")],
            "Secret voice/ivr, field `burst`",
        ),
        (
            &[("id", "a"), ("sha256", A), ("disabled", "hunter2")],
            "Secret voice/ivr, field `disabled`",
        ),
        (
            &[("id", "a"), ("sha256", A), ("labels", "hunter2")],
            "Secret voice/ivr, field `labels`",
        ),
        (
            &[("id", "a"), ("sha256", A), ("colour", "hunter2")],
            "Secret voice/ivr, field `colour`",
        ),
        (
            &[("id", "a"), ("sha256", A), ("a b", "hunter2")],
            "Secret voice/ivr, field `a b`",
        ),
        (
            &[
                ("id", "a"),
                ("sha256", A),
                ("signing_secret_file", "/hunter2"),
            ],
            "Secret voice/ivr",
        ),
        (
            &[("id", "hunter2 hunter2"), ("sha256", A)],
            "Secret voice/ivr, field `id`",
        ),
        (
            &[("id", "a"), ("secret", "hunter2\nrate = 1")],
            "Secret voice/ivr, field `secret`",
        ),
        (&[("id", "a"), ("keys.toml", "hunter2")], "Secret voice/ivr"),
        (
            &[("keys.toml", "[[key]]\nid = \"a\"\nsecret = hunter2\n")],
            "Secret voice/ivr, keys.toml:3",
        ),
        (&[("keys.toml", "")], "Secret voice/ivr, keys.toml"),
        (&[("token", "hunter2")], "Secret voice/ivr"),
        (&[], "Secret voice/ivr"),
    ] {
        let problems = read(parts).expect_err("a mistake");
        assert!(
            problems
                .iter()
                .any(|problem| problem.starts_with(&format!("{place}: "))),
            "{place}: {problems:?}"
        );
        assert!(!problems.concat().contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn a_value_cannot_add_a_line() {
    let parts = [
        ("id", "a"),
        ("sha256", A),
        ("label", "x\"\ndisabled = true\n# "),
    ];
    match read(&parts) {
        Ok(keys) => assert_eq!(
            keys[0].principal().current_state(),
            voxgate::principal::KeyState::Active
        ),
        Err(problems) => assert!(problems[0].contains("field `label`"), "{problems:?}"),
    }
}

#[test]
fn data_that_is_no_text_is_refused() {
    for wrong in [
        json!("x"),
        json!([1]),
        json!({"id": 1}),
        json!({"id": "%%%"}),
        json!({"id": "/w=="}),
    ] {
        assert!(KeyTexts::of("Secret a/b", &wrong).is_err(), "{wrong}");
    }
}
