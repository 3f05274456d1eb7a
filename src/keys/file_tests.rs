use super::*;
use crate::error::Problem;
use crate::keys::KeyRing;

fn parse(text: &str, name: &str) -> Result<Vec<Key>, ConfigError> {
    let forms = |secret: &Secret| Ok(vec![secret.digest()]);
    TomlFile::parse(text.to_owned(), name.to_owned(), |file, table| {
        keys(file, table, &forms)
    })
}

const DIGEST_OF_TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn a_file_gives_its_keys() {
    let text = format!(
        "# the production keys\n[[key]]\nid = \"ivr-prod\"\nsha256 = \"{DIGEST_OF_TEST}\"\n\
         label = \"IVR\"\nscopes = [\"tts:synthesize\"]\n\n\
         [[key]]\nid = \"old\"\nsecret = \"a-secret-of-a-person\"\ndisabled = true\n"
    );
    let keys = parse(&text, "keys.toml").expect("a good file");
    assert_eq!(keys.len(), 2);
    assert_eq!(KeyRing::new(keys).expect("a ring").len(), 2);
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
[other]
hunter2 = 1
";
    let error = parse(text, "keys.toml").expect_err("a bad file");
    let shown = error.to_string();
    let lines: Vec<_> = error.problems().iter().map(Problem::place).collect();
    for line in [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13] {
        let place = format!("keys.toml:{line}");
        assert!(
            lines.contains(&place.as_str()),
            "line {line} is missing in:\n{shown}"
        );
    }
    assert!(!shown.contains("hunter2"), "{shown}");
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
        let error = parse(text, "keys.toml").expect_err("not TOML");
        let shown = error.to_string();
        assert!(shown.contains("keys.toml:"), "{shown}");
        assert!(!shown.contains("hunter2"), "{text:?} gave {shown}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = KeyRing::load("no/such/keys.toml").expect_err("no such file");
    assert!(
        error
            .to_string()
            .starts_with("no/such/keys.toml: cannot be read"),
        "{error}"
    );
}
