//! Loads the policy file.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use voxgate_core::error::ConfigError;
use voxgate_core::toml_file::TomlFile;

use super::pattern::has_parameter;
use super::rule::{InvalidRule, Rule, Voice};

pub(super) fn load(path: &Path) -> Result<Vec<Rule>, ConfigError> {
    let mut rules = Vec::new();
    let problems = TomlFile::load(path, "policy file", |file, table| {
        for (at, _, fields) in file.tables(table, &["rule"], &[]) {
            rules.extend(rule(file, at, fields));
        }
    });
    ConfigError::check(Some(rules), problems)
}

fn rule(file: &mut TomlFile<'_>, at: usize, fields: &DeTable<'_>) -> Option<Rule> {
    let (mut method, mut path, mut scope, mut voice, mut realtime) =
        (None, None, None, None, false);
    for (field, value) in fields {
        let at = value.span().start;
        match field.get_ref().as_ref() {
            "method" => method = file.text(value, "method"),
            "path" => path = file.text(value, "path"),
            "scope" => scope = file.text(value, "scope"),
            "voice" => {
                voice = file
                    .text(value, "voice")
                    .and_then(|text| Voice::parse(&text));
                if voice.is_none() {
                    file.problem(at, "voice must be \"path:name\" or \"query:name\"");
                }
            }
            "realtime" => match value.get_ref() {
                DeValue::Boolean(given) => realtime = *given,
                _ => file.problem(at, "realtime must be true or false"),
            },
            _ => file.problem(
                field.span().start,
                "unknown field; a rule has method, path, scope, voice, realtime",
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
    let (method, path) = (method?, path?);
    if let Some(Voice::Path(name)) = &voice
        && !has_parameter(&path, name)
    {
        file.problem(
            at,
            "voice names a part of the path that the path does not have; write {name} there",
        );
    }
    let mut rule = Rule::new(&method, &path);
    if let Some(scope) = scope {
        rule = rule.with_scope(&scope);
    }
    if let Some(voice) = voice {
        rule = rule.with_voice(voice);
    }
    Some(if realtime { rule.realtime() } else { rule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn load_text(text: &str) -> Result<Vec<Rule>, ConfigError> {
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
            [[rule]]
            method = \"*\"
            path = \"/live/*\"
            realtime = true
        ";
        let expected = [
            Rule::new("POST", "/v1/tts/{voice_id}")
                .with_scope("tts:synthesize")
                .with_voice(Voice::Path("voice_id".into())),
            Rule::new("*", "/live/*").realtime(),
        ];
        assert_eq!(load_text(text).expect("a good file"), expected);
    }

    #[test]
    fn every_problem_is_reported_with_its_line() {
        let text = "[[rule]]\nmethod = \"post\"\npath = \"v1\"\nvoice = \"body\"\ncolour = 1\n\
                    [[rule]]\nmethod = \"GET\"\npath = \"/a\"\nvoice = \"path:b\"\nrealtime = 1\n[other]\n";
        let error = load_text(text).expect_err("a bad file");
        let line = |place: &str| place.rsplit(':').next().and_then(|line| line.parse().ok());
        let mut lines: Vec<usize> = error
            .problems()
            .iter()
            .filter_map(|problem| line(problem.place()))
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, [1, 1, 4, 5, 6, 10, 11], "{error}");
    }
}
