//! Loads the policy file.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use voxgate_core::error::ConfigError;
use voxgate_core::secret::Digest;
use voxgate_core::toml_file::{TomlFile, unknown_field};

use super::pattern::has_parameter;
use super::rule::{InvalidRule, Rule};
use voxgate_speech::{Field, InvalidPlace, Place};

const FIELDS: &str = "method, path, scope, explicit, voice, model, language, text, fetch, realtime";

/// The rules of a policy file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PolicyFile {
    /// They come before all other rules.
    pub(super) rules: Vec<Rule>,
    /// For requests that no rule names. It comes after all other rules.
    pub(super) rest: Option<Rule>,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub(super) sha256: String,
}

pub(super) fn load(path: &Path) -> Result<PolicyFile, ConfigError> {
    let mut policy = PolicyFile::default();
    let text = TomlFile::read(path, "policy file")?;
    policy.sha256 = Digest::of(text.as_bytes()).to_hex();
    let problems = TomlFile::parse(&text, &path.display().to_string(), |file, table| {
        for (at, _, fields) in file.tables(table, &["rule"], &["rest"]) {
            policy.rules.extend(rule(file, at, fields));
        }
        if let Some(rest) = table.get("rest") {
            let at = rest.span().start;
            match rest.get_ref() {
                DeValue::Table(_) if policy.rest.is_some() => {
                    file.problem(at, "write [rest] only once");
                }
                DeValue::Table(fields) => policy.rest = rest_rule(file, at, fields),
                _ => file.problem(at, "write rest as a [rest] table"),
            }
        }
    });
    ConfigError::check(Some(policy), problems)
}

/// The rule for requests that no other rule names.
fn rest_rule(file: &mut TomlFile<'_>, at: usize, fields: &DeTable<'_>) -> Option<Rule> {
    let (mut scope, mut explicit) = (None, false);
    for (field, value) in fields {
        match (field.get_ref().as_ref(), value.get_ref()) {
            ("scope", _) => scope = file.text(value, "scope"),
            ("explicit", DeValue::Boolean(given)) => explicit = *given,
            ("explicit", _) => file.problem(value.span().start, "explicit must be true or false"),
            (name, _) => file.problem(
                field.span().start,
                format!("{}; [rest] has scope and explicit", unknown_field(name)),
            ),
        }
    }
    if scope.is_none() {
        file.problem(
            at,
            "scope is missing; name the scope that all other requests require",
        );
    }
    let rule = Rule::new("*", "*");
    scope.map(|scope| match explicit {
        true => rule.with_explicit_scope(&scope),
        false => rule.with_scope(&scope),
    })
}

fn rule(file: &mut TomlFile<'_>, at: usize, fields: &DeTable<'_>) -> Option<Rule> {
    let (mut method, mut path, mut scope, mut realtime) = (None, None, None, false);
    let mut explicit = None;
    let mut found = Vec::new();
    for (field, value) in fields {
        let at = value.span().start;
        match field.get_ref().as_ref() {
            "method" => method = file.text(value, "method"),
            "path" => path = file.text(value, "path"),
            "scope" => scope = file.text(value, "scope"),
            name @ ("voice" | "model" | "language" | "text" | "fetch") => {
                let field = match name {
                    "voice" => Field::Voice,
                    "model" => Field::Model,
                    "language" => Field::Language,
                    "text" => Field::Text,
                    _ => Field::Fetch,
                };
                found.extend(places(file, value, name).map(|place| (field, place)));
            }
            "realtime" => match value.get_ref() {
                DeValue::Boolean(given) => realtime = *given,
                _ => file.problem(at, "realtime must be true or false"),
            },
            "explicit" => match value.get_ref() {
                DeValue::Boolean(given) => explicit = given.then_some(at),
                _ => file.problem(at, "explicit must be true or false"),
            },
            name => file.problem(
                field.span().start,
                format!("{}; a rule has {FIELDS}", unknown_field(name)),
            ),
        }
    }
    let method = method.filter(|method| Rule::try_new(method, "*").is_ok());
    if method.is_none() {
        file.problem(at, InvalidRule::Method.to_string());
    }
    let path = path.filter(|path| Rule::try_new("*", path).is_ok());
    if path.is_none() {
        file.problem(at, InvalidRule::Pattern.to_string());
    }
    if let Some(at) = explicit.filter(|_| scope.is_none()) {
        file.problem(
            at,
            "explicit has no effect without scope; add the scope that a key must have",
        );
    }
    let (method, path) = (method?, path?);
    // In the order of the fields: a table of the file has none.
    found.sort_by_key(|(field, _)| *field);
    for (_, place) in &found {
        if let Place::Path(name) = place
            && !has_parameter(&path, name)
        {
            let message =
                format!("{place} names a part that the path does not have; write {{name}} there");
            file.problem(at, message);
        }
    }
    let mut rule = Rule::new(&method, &path);
    if let Some(scope) = scope {
        rule = match explicit {
            Some(_) => rule.with_explicit_scope(&scope),
            None => rule.with_scope(&scope),
        };
    }
    for (field, place) in found {
        rule = rule.with_place(field, place);
    }
    Some(if realtime { rule.realtime() } else { rule })
}

/// One place, or a list of places.
fn places(
    file: &mut TomlFile<'_>,
    value: &Spanned<DeValue<'_>>,
    name: &str,
) -> impl Iterator<Item = Place> + use<> {
    let given: Vec<Place> = match value.get_ref() {
        DeValue::String(text) => Place::parse(text).into_iter().collect(),
        DeValue::Array(texts) => {
            let places = texts
                .iter()
                .map(|text| Place::parse(text.get_ref().as_str()?).ok());
            places.collect::<Option<_>>().unwrap_or_default()
        }
        _ => Vec::new(),
    };
    if given.is_empty() {
        let message = format!("{name} {InvalidPlace}, or a list of these");
        file.problem(value.span().start, message);
    }
    given.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn load_text(text: &str) -> Result<PolicyFile, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("to write it");
        load(file.path())
    }

    #[test]
    fn rules_are_read_in_order() {
        let text = "
            [[rule]]
            method = \"POST\"
            path = \"/v1/tts/{voice_id}\"
            scope = \"tts:synthesize\"
            voice = \"path:voice_id\"
            model = [\"json:/model\", \"query:model\"]
            [[rule]]
            method = \"*\"
            path = \"/live/*\"
            realtime = true
            [[rule]]
            method = \"DELETE\"
            path = \"/v1/models/{model%2F}\"
            scope = \"admin:models\"
            explicit = true
            [rest]
            scope = \"admin:server\"
            explicit = true
        ";
        let expected = [
            Rule::new("POST", "/v1/tts/{voice_id}")
                .with_scope("tts:synthesize")
                .with_voice(Place::Path("voice_id".into()))
                .with_place(Field::Model, Place::Json("/model".into()))
                .with_place(Field::Model, Place::Query("model".into())),
            Rule::new("*", "/live/*").realtime(),
            Rule::new("DELETE", "/v1/models/{model%2F}").with_explicit_scope("admin:models"),
        ];
        let rest = Rule::new("*", "*").with_explicit_scope("admin:server");
        let expected = PolicyFile {
            rules: expected.into(),
            rest: Some(rest),
            sha256: Digest::of(text.as_bytes()).to_hex(),
        };
        assert_eq!(load_text(text).expect("a good file"), expected);
    }

    #[test]
    fn every_problem_is_reported_with_its_line() {
        let text = "[[rule]]\nmethod = \"post\"\npath = \"v1\"\nvoice = \"body\"\ncolour = 1\n\
                    [[rule]]\nmethod = \"GET\"\npath = \"/a\"\nvoice = \"path:b\"\nrealtime = 1\n[other]\n\
                    [[rule]]\nmethod = \"GET\"\npath = \"/{a%2f}\"\nexplicit = true\n\
                    [rest]\nexplicit = 1\npath = \"/\"\n";
        let error = load_text(text).expect_err("a bad file");
        let line = |place: &str| place.rsplit(':').next().and_then(|line| line.parse().ok());
        let mut lines: Vec<usize> = error
            .problems()
            .iter()
            .filter_map(|problem| line(problem.place()))
            .collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [1, 1, 4, 5, 6, 10, 11, 12, 15, 16, 17, 18],
            "{error}"
        );
    }
}
