//! The keys of one Secret: parts that are keys files, or one key with a part for each field.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use voxgate::keys::{Key, KeysFile};
use voxgate::{Dialect, Problem};

/// The texts of the parts of a Secret that hold keys, by the name of the part. It implements no
/// `Debug`, because the texts may hold keys in plain text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeyTexts(Vec<KeyText>);

#[derive(Clone, PartialEq, Eq)]
struct KeyText {
    /// The part of a keys file; `None` for a text that was made from fields.
    part: Option<String>,
    text: String,
    /// The field in each line after the first, of a text that was made from fields.
    fields: Vec<String>,
}

/// The fields of a key that are lists of strings.
const LISTS: [&str; 6] = [
    "scopes",
    "voices",
    "models",
    "languages",
    "allow_from",
    "quota",
];
/// The fields of a key that are whole numbers.
const NUMBERS: [&str; 2] = ["burst", "concurrency"];

/// A Secret with a single key has at least one of these fields.
const KEY_FIELDS: [&str; 4] = ["id", "sha256", "secret", "certificate"];

/// Whether the `data` of a Secret is one key, with a part for each field.
pub(crate) fn are_fields(data: &Value) -> bool {
    KEY_FIELDS.iter().any(|field| data.get(field).is_some())
}

impl KeyTexts {
    /// Finds the parts with keys in the `data` of a Secret. `secret` names it in problems.
    pub(crate) fn of(secret: &str, data: &Value) -> Result<Self, Vec<Problem>> {
        let problem = |message: String| vec![Problem::new(secret, message)];
        let data = match data {
            Value::Object(data) if !data.is_empty() => data,
            Value::Object(_) | Value::Null => {
                let message = "has no data; give it a part `keys.toml`, or the fields of one key, \
                               such as `id` and `sha256`";
                return Err(problem(message.to_owned()));
            }
            _ => return Err(problem("has data that is not a map".to_owned())),
        };
        let files = data.keys().filter(|name| name.ends_with(".toml"));
        let files: Vec<&String> = files.collect();
        let has_fields = KEY_FIELDS.iter().any(|field| data.contains_key(*field));
        match (files.is_empty(), has_fields) {
            (false, true) => Err(problem(format!(
                "has a part `{}` and fields of a key; keep one of the two forms, or make two Secrets",
                files[0]
            ))),
            (true, false) => Err(problem(
                "has no keys; give it a part `keys.toml`, or the fields of one key, such as `id` and \
                 `sha256`"
                    .to_owned(),
            )),
            (false, false) => {
                let texts = files.into_iter().map(|name| {
                    Ok(KeyText {
                        part: Some(name.clone()),
                        text: decoded(secret, name, &data[name])?,
                        fields: Vec::new(),
                    })
                });
                collected(texts).map(Self)
            }
            (true, true) => {
                let values = data
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), decoded(secret, name, value)?)));
                let values: BTreeMap<String, String> =
                    collected(values)?.into_iter().collect();
                one_key(secret, &values).map(|text| Self(vec![text]))
            }
        }
    }

    /// The keys, and warnings about them.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with the Secret and the line of its part or its field.
    pub(crate) fn keys(
        &self,
        secret: &str,
        dialect: Dialect,
    ) -> Result<(Vec<Key>, Vec<Problem>), Vec<Problem>> {
        let (mut keys, mut notices, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for text in &self.0 {
            let place = |problem: &Problem| {
                Problem::new(text.place(secret, problem.place()), problem.message())
            };
            match KeysFile::parse(&text.text, PART, dialect) {
                Ok(file) => {
                    notices.extend(file.notices().iter().map(place));
                    if file.keys().is_empty() {
                        let message = "contains no keys; to refuse all callers, disable each key, or \
                                       delete the Secret";
                        problems.push(place(&Problem::new(PART, message)));
                    }
                    let signing = file.keys().iter().filter(|key| key.signs());
                    problems.extend(signing.map(|key| {
                        let line = key.line().map_or(0, std::num::NonZeroU32::get);
                        let message = "signing_secret_file names a file of the gateway, which a \
                                       watched Secret may not; remove the field, or mount the keys \
                                       (VOXGATE_KEYS_FILE)";
                        place(&Problem::new(format!("{PART}:{line}"), message))
                    }));
                    keys.extend(file.keys().iter().cloned());
                }
                Err(error) => problems.extend(error.problems().iter().map(place)),
            }
        }
        match problems.is_empty() {
            true => Ok((keys, notices)),
            false => Err(problems),
        }
    }

    /// Disables those of `keys` that these texts refuse explicitly. Returns their ids.
    pub(crate) fn disable_refused(&self, dialect: Dialect, keys: &mut [Key]) -> Vec<String> {
        let texts = self.0.iter();
        texts
            .flat_map(|text| KeysFile::disable_refused(&text.text, dialect, keys))
            .collect()
    }
}

/// The name of a keys file in problems, before the name of the Secret replaces it.
const PART: &str = "keys";

impl KeyText {
    /// Where in the Secret a problem is that the keys file has in this place, such as `keys:3`.
    fn place(&self, secret: &str, place: &str) -> String {
        let line = place
            .strip_prefix(PART)
            .and_then(|rest| rest.strip_prefix(':'));
        match (&self.part, line) {
            (Some(part), Some(line)) => format!("{secret}, {part}:{line}"),
            (Some(part), None) if place == PART => format!("{secret}, {part}"),
            (Some(part), None) => format!("{secret}, {part}, {place}"),
            (None, line) => {
                let line = line.and_then(|line| line.parse::<usize>().ok());
                let field = line.and_then(|line| self.fields.get(line.checked_sub(2)?));
                match field {
                    Some(field) => format!("{secret}, field `{field}`"),
                    None => secret.to_owned(),
                }
            }
        }
    }
}

/// All values, or all problems.
fn collected<T>(found: impl Iterator<Item = Result<T, Problem>>) -> Result<Vec<T>, Vec<Problem>> {
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Ok(value) => values.push(value),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(values),
        false => Err(problems),
    }
}

/// The text of a part.
fn decoded(secret: &str, part: &str, value: &Value) -> Result<String, Problem> {
    let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| {
        let message = "is not text in UTF-8; write it again";
        Problem::new(format!("{secret}, field `{part}`"), message)
    })
}

/// A keys file of one key, with each field in a line of its own.
fn one_key(secret: &str, values: &BTreeMap<String, String>) -> Result<KeyText, Vec<Problem>> {
    let mut text = "[[key]]\n".to_owned();
    let mut problems = Vec::new();
    let mut fields = Vec::new();
    for (name, value) in values {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !name.bytes().all(is_name) {
            let message = "is not a field of a key; remove it";
            problems.push(Problem::new(format!("{secret}, field `{name}`"), message));
            continue;
        }
        // Editors and `kubectl create secret --from-file` leave a line break at the end.
        let value = value.trim_end_matches(['\n', '\r']);
        match toml_value(name, value) {
            Ok(value) => {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{name} = {value}");
                fields.push(name.clone());
            }
            Err(message) => {
                problems.push(Problem::new(format!("{secret}, field `{name}`"), message));
            }
        }
    }
    let part = None;
    match problems.is_empty() {
        true => Ok(KeyText { part, text, fields }),
        false => Err(problems),
    }
}

/// The value of a field as TOML, on one line.
fn toml_value(name: &str, value: &str) -> Result<String, &'static str> {
    let quoted_list = |value: &str| {
        let entries = value.split(',').map(str::trim);
        let entries: Vec<String> = entries.map(quoted).collect();
        format!("[{}]", entries.join(", "))
    };
    match name {
        "disabled" => match value.trim() {
            "true" => Ok("true".to_owned()),
            "false" => Ok("false".to_owned()),
            _ => Err("must be `true` or `false`"),
        },
        _ if NUMBERS.contains(&name) => {
            let number = value.trim().parse::<u32>();
            let number = number.map_err(|_| "must be a whole number, such as 8")?;
            Ok(number.to_string())
        }
        _ if LISTS.contains(&name) => Ok(quoted_list(value)),
        "labels" => {
            let pairs = value.split(',').map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some(format!(
                    "{} = {}",
                    quoted(name.trim()),
                    quoted(value.trim())
                ))
            });
            let pairs: Option<Vec<String>> = pairs.collect();
            let pairs = pairs.ok_or("must be names and values, such as `team=ivr,site=berlin`")?;
            Ok(format!("{{ {} }}", pairs.join(", ")))
        }
        _ => Ok(quoted(value)),
    }
}

/// A basic string of TOML (<https://toml.io/en/v1.0.0#string>), on one line.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
