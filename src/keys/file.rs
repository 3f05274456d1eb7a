//! The keys file, read without ever showing what it holds.
//!
//! `serde` would quote a value in its errors, and values here are secrets; so the table is walked
//! by hand, which also finds every problem instead of the first.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, Problem};
use crate::principal::{Principal, Scope};
use crate::secret::{Digest, Secret};

use super::ring::Key;

const MIN_SECRET_CHARACTERS: usize = 16;
const MAX_ID_BYTES: usize = 64;

pub(crate) fn load(path: &Path) -> Result<Vec<Key>, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!(
            "cannot be read ({}); give a readable keys file",
            error.kind()
        );
        Problem::new(&name, message)
    })?;
    parse(&text, &name)
}

fn parse(text: &str, name: &str) -> Result<Vec<Key>, ConfigError> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut file = File {
        text,
        name,
        problems: Vec::new(),
    };
    for error in errors {
        // The messages of the parser are fixed texts; its `Display` would quote the line.
        let at = error.span().map_or(0, |span| span.start);
        file.problem(at, format!("is not TOML: {}", error.message()));
    }
    let keys = if file.problems.is_empty() {
        file.keys(table.get_ref())
    } else {
        Vec::new()
    };
    ConfigError::check(Some(keys), file.problems)
}

struct File<'a> {
    text: &'a str,
    name: &'a str,
    problems: Vec<Problem>,
}

impl File<'_> {
    fn problem(&mut self, at: usize, message: impl Into<String>) {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.problems
            .push(Problem::new(format!("{}:{line}", self.name), message));
    }

    fn keys(&mut self, table: &DeTable<'_>) -> Vec<Key> {
        let mut keys = Vec::new();
        for (field, value) in table {
            match (field.get_ref().as_ref(), value.get_ref()) {
                ("key", DeValue::Array(entries)) => {
                    for entry in entries {
                        match entry.get_ref() {
                            DeValue::Table(fields) => {
                                keys.extend(self.key(entry.span().start, fields))
                            }
                            _ => self
                                .problem(entry.span().start, "write each key as a [[key]] table"),
                        }
                    }
                }
                ("key", _) => self.problem(value.span().start, "write each key as a [[key]] table"),
                // The name is not shown: it may be a key that was pasted as it is.
                _ => self.problem(
                    field.span().start,
                    "unknown field; a keys file holds only [[key]] tables",
                ),
            }
        }
        keys
    }

    fn key(&mut self, start: usize, fields: &DeTable<'_>) -> Option<Key> {
        let mut id = None;
        let mut digests = Vec::new();
        let mut label = None;
        let mut scopes = None;
        let mut disabled = false;
        for (field, value) in fields {
            let at = value.span().start;
            match field.get_ref().as_ref() {
                "id" => id = self.id(value),
                "sha256" => digests.push(self.sha256(value)),
                "secret" => digests.push(self.secret(value)),
                "label" => label = self.text(value, "label"),
                "scopes" => scopes = Some(self.scopes(value)),
                "disabled" => match value.get_ref() {
                    DeValue::Boolean(given) => disabled = *given,
                    _ => self.problem(at, "disabled must be true or false"),
                },
                _ => self.problem(
                    field.span().start,
                    "unknown field; a key has id, sha256 or secret, label, scopes, disabled",
                ),
            }
        }
        if !fields.keys().any(|field| field.get_ref() == "id") {
            self.problem(start, "this key has no id; add id = \"…\"");
        }
        let digest = match digests.as_slice() {
            [digest] => *digest,
            _ => {
                self.problem(start, "give each key exactly one of sha256 and secret");
                None
            }
        };
        let mut principal = Principal::new(&id?);
        if let Some(label) = label {
            principal = principal.label(&label);
        }
        if let Some(scopes) = scopes {
            principal = principal.scopes(scopes);
        }
        Some(Key::from_digest(digest?, principal).disabled(disabled))
    }

    fn text(&mut self, value: &Spanned<DeValue<'_>>, field: &str) -> Option<String> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.problem(value.span().start, format!("{field} must be a string"));
        }
        text.map(str::to_owned)
    }

    fn id(&mut self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let id = self.text(value, "id")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@/-".contains(&byte);
        if id.is_empty() || id.len() > MAX_ID_BYTES || !id.bytes().all(plain) {
            let message =
                format!("id must be 1 to {MAX_ID_BYTES} characters of A-Z a-z 0-9 . _ : @ / -");
            self.problem(value.span().start, message);
            return None;
        }
        Some(id)
    }

    fn sha256(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Digest> {
        let digest = Digest::from_hex(&self.text(value, "sha256")?);
        if digest.is_none() {
            self.problem(value.span().start, "sha256 must be 64 hexadecimal digits");
        }
        digest
    }

    fn secret(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Digest> {
        let secret = Secret::new(&self.text(value, "secret")?);
        match secret {
            Ok(secret) if secret.expose().len() >= MIN_SECRET_CHARACTERS => return Some(secret.digest()),
            Ok(_) => self.problem(
                value.span().start,
                format!("secret is shorter than {MIN_SECRET_CHARACTERS} characters, which can be guessed; use a longer one"),
            ),
            Err(error) => self.problem(value.span().start, format!("secret {error}")),
        }
        None
    }

    fn scopes(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Scope> {
        let wrong = "scopes must be a list of strings such as \"tts:synthesize\"";
        let DeValue::Array(given) = value.get_ref() else {
            self.problem(value.span().start, wrong);
            return Vec::new();
        };
        let mut scopes = Vec::new();
        for scope in given {
            match scope.get_ref().as_str().and_then(Scope::new) {
                Some(scope) => scopes.push(scope),
                None => self.problem(scope.span().start, wrong),
            }
        }
        scopes
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
