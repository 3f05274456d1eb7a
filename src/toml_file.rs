//! TOML files that may hold secrets.
//!
//! `serde` would quote a value in its errors, and stop at the first; so the table is walked by
//! hand, and every problem is reported with its line and without its value.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, Problem};

/// Longest file that is read. The largest keys file anybody needs is far from it.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Reads a text file, up to a bound.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// A file that is being read, and what is wrong with it so far.
pub(crate) struct TomlFile {
    text: String,
    name: String,
    problems: Vec<Problem>,
}

impl TomlFile {
    /// Reads the file at `path`, which is a `kind`, with `read`.
    pub(crate) fn load<T>(
        path: &Path,
        kind: &str,
        read: impl FnOnce(&mut Self, &DeTable<'_>) -> T,
    ) -> Result<T, ConfigError> {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => Self::parse(text, name, read),
            Err(error) => {
                let message = format!("cannot be read ({error}); give a readable {kind}");
                Err(Problem::new(name, message).into())
            }
        }
    }

    pub(crate) fn parse<T>(
        text: String,
        name: String,
        read: impl FnOnce(&mut Self, &DeTable<'_>) -> T,
    ) -> Result<T, ConfigError> {
        let mut file = Self {
            text: String::new(),
            name,
            problems: Vec::new(),
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        file.text.clone_from(&text);
        for error in errors {
            // The messages of the parser are fixed texts; its `Display` would quote the line.
            let at = error.span().map_or(0, |span| span.start);
            file.problem(at, format!("is not TOML: {}", error.message()));
        }
        let value = file
            .problems
            .is_empty()
            .then(|| read(&mut file, table.get_ref()));
        ConfigError::check(value, file.problems)
    }

    /// Notes a problem at this offset.
    pub(crate) fn problem(&mut self, at: usize, message: impl Into<String>) {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.problems
            .push(Problem::new(format!("{}:{line}", self.name), message));
    }

    /// The `[[name]]` tables, which are all that the file may hold, each with its offset.
    pub(crate) fn tables<'a, 'b>(
        &mut self,
        table: &'a DeTable<'b>,
        name: &str,
    ) -> Vec<(usize, &'a DeTable<'b>)> {
        let mut tables = Vec::new();
        let wrong = format!("write each {name} as a [[{name}]] table");
        for (field, value) in table {
            match value.get_ref() {
                _ if field.get_ref() != name => {
                    // Its name is not shown: it may be a secret that was pasted as it is.
                    let message = format!("unknown field; this file holds only [[{name}]] tables");
                    self.problem(field.span().start, message);
                }
                DeValue::Array(entries) => {
                    for entry in entries {
                        match entry.get_ref() {
                            DeValue::Table(fields) => tables.push((entry.span().start, fields)),
                            _ => self.problem(entry.span().start, wrong.clone()),
                        }
                    }
                }
                _ => self.problem(value.span().start, wrong.clone()),
            }
        }
        tables
    }

    /// The text of a field that must be one.
    pub(crate) fn text(&mut self, value: &Spanned<DeValue<'_>>, field: &str) -> Option<String> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.problem(value.span().start, format!("{field} must be a string"));
        }
        text.map(str::to_owned)
    }

    /// The texts of a field that must be a list of them, each read by `read`; `wrong` says how
    /// the field must be.
    pub(crate) fn list<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        wrong: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let DeValue::Array(given) = value.get_ref() else {
            self.problem(value.span().start, wrong);
            return Vec::new();
        };
        let mut values = Vec::new();
        for value in given {
            match value.get_ref().as_str().and_then(&read) {
                Some(value) => values.push(value),
                None => self.problem(value.span().start, wrong),
            }
        }
        values
    }
}
