//! TOML files that may hold secrets.
//!
//! `serde` would quote a value in its errors, and stop at the first; so the table is walked by
//! hand, and every problem is reported with its line and without its value. A file of a million
//! tables is walked in parts, because its tree would take twenty times its size.

use std::io;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::error::Problem;
use crate::files::read_text;

/// A part ends at the first table header behind this.
const PART_BYTES: usize = 64 * 1024;
/// More than any real file needs.
const MAX_PART_BYTES: usize = 4 * 1024 * 1024;
/// The rest is only counted.
const MAX_PROBLEMS: usize = 100;

/// That the file at `path`, which should be a `kind`, cannot be read.
pub fn unreadable(path: &Path, kind: &str, error: &io::Error) -> Problem {
    let fix = match error.kind() {
        io::ErrorKind::NotFound => format!("correct the path, or write the {kind} to it"),
        io::ErrorKind::PermissionDenied => {
            format!("let the user of this process read the {kind}")
        }
        _ => format!("give a readable {kind}"),
    };
    let message = format!("cannot be read ({error}); {fix}");
    Problem::new(path.display().to_string(), message)
}

/// What to do about an error of the parser. Its messages are fixed texts.
fn fix(message: &str) -> &'static str {
    let fixes = [
        ("invalid basic string", "end the text with a quotation mark"),
        (
            "invalid literal string",
            "end the text with its quotation mark",
        ),
        (
            "invalid multi-line",
            "end the text with its three quotation marks",
        ),
        ("unclosed array table", "write a header such as [[key]]"),
        ("unclosed table", "write a header such as [[key]]"),
        ("unclosed inline table", "end the table with }"),
        ("unclosed array", "end the list with ]"),
        ("missing comma", "put a comma between two values"),
        ("key with no value", "write field = value"),
        (
            "string values must be quoted",
            "write a value; text is in quotation marks",
        ),
        ("invalid float", "put text in quotation marks"),
        ("invalid boolean", "write true or false"),
        (
            "invalid date",
            "write a date and time such as 2027-03-01T00:00:00Z",
        ),
        (
            "invalid time",
            "write a date and time such as 2027-03-01T00:00:00Z",
        ),
        ("missing escaped value", "write a backslash as \\\\"),
        (
            "duplicate key",
            "name each field once, and begin each table with its header, such as [[key]]",
        ),
    ];
    let known = fixes.iter().find(|(start, _)| message.starts_with(start));
    known.map_or(
        "write a header such as [[key]], or field = value",
        |(_, fix)| fix,
    )
}

/// The shortest secret that a keys file accepts, in characters.
const SHORTEST_SECRET: usize = 16;

/// That a field is unknown, for a message. It is named if its name cannot be a secret that was pasted
/// as it is: it is shorter than any, and a plain word.
#[must_use]
pub fn unknown_field(name: &str) -> String {
    match is_plain_word(name) {
        true => format!("unknown field `{name}`"),
        false => "unknown field".to_owned(),
    }
}

fn is_plain_word(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-');
    (1..SHORTEST_SECRET).contains(&name.len()) && name.bytes().all(plain)
}

/// The field whose value is at this offset, if its name can be shown.
fn field_before(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?;
    let line = before.rsplit('\n').next()?;
    let (name, _) = line.split_once('=')?;
    Some(name.trim()).filter(|name| is_plain_word(name))
}

/// A part of a file that is being read, and what is wrong with the file so far.
pub struct TomlFile<'a> {
    name: &'a str,
    part: &'a str,
    /// A place in this part, and its line: where the last question was.
    known: (usize, u32),
    first_line: u32,
    problems: Vec<Problem>,
}

impl<'a> TomlFile<'a> {
    /// Reads the file at `path`, which is a `kind`, with `read`, which is called for each part of
    /// it that is TOML. What is wrong is returned.
    pub fn load(
        path: &Path,
        kind: &str,
        read: impl FnMut(&mut TomlFile<'_>, &DeTable<'_>),
    ) -> Vec<Problem> {
        match read_text(path) {
            Ok(text) => TomlFile::parse(&text, &path.display().to_string(), read),
            Err(error) => vec![unreadable(path, kind, &error)],
        }
    }

    /// The text of the file at `path`, which is a `kind`, for [`parse`](TomlFile::parse).
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not text.
    pub fn read(path: &Path, kind: &str) -> Result<String, Problem> {
        read_text(path).map_err(|error| unreadable(path, kind, &error))
    }

    /// Reads the file that has this name and this text.
    pub fn parse(
        text: &'a str,
        name: &'a str,
        mut read: impl FnMut(&mut Self, &DeTable<'_>),
    ) -> Vec<Problem> {
        let mut file = Self {
            name,
            part: "",
            known: (0, 1),
            first_line: 1,
            problems: Vec::new(),
        };
        for part in parts(text) {
            let end = part.end;
            file.enter(&text[part]);
            if file.part.len() > MAX_PART_BYTES {
                file.problem(
                    0,
                    "what begins here is too long for a table, or is not TOML",
                );
                continue;
            }
            let (table, errors) = DeTable::parse_recoverable(file.part);
            for error in &errors {
                // The messages of the parser are fixed texts; its `Display` would quote the line.
                let Range { start: at, end: to } = error.span().unwrap_or_default();
                let (message, fix) = (error.message(), fix(error.message()));
                let field = field_before(file.part, at);
                let field = field.map(|field| format!("{field} ")).unwrap_or_default();
                let is_end = end == text.len() && to >= file.part.trim_end().len();
                file.problem(
                    at,
                    match is_end {
                        true => format!(
                            "{field}is not TOML: {message}; {fix}, if the file was meant to end here (a \
                             program that replaces it writes a second file and renames that)"
                        ),
                        false => format!("{field}is not TOML: {message}; {fix}"),
                    },
                );
            }
            if errors.is_empty() {
                read(&mut file, table.get_ref());
            }
            if file.is_hopeless() {
                break;
            }
        }
        file.problems
    }

    fn enter(&mut self, part: &'a str) {
        self.first_line = self.line(self.part.len());
        self.known = (0, self.first_line);
        self.part = part;
    }

    fn is_hopeless(&self) -> bool {
        self.problems.len() > MAX_PROBLEMS
    }

    /// Notes a problem at this offset.
    pub fn problem(&mut self, at: usize, message: impl Into<String>) {
        if !self.is_hopeless() {
            let line = self.line(at);
            self.problem_in_line(line, message);
        }
    }

    pub fn problem_in_line(&mut self, line: u32, message: impl Into<String>) {
        match self.problems.len() {
            0..MAX_PROBLEMS => {
                let place = format!("{}:{line}", self.name);
                self.problems.push(Problem::new(place, message));
            }
            MAX_PROBLEMS => {
                let message = "has more problems than are shown; fix these first";
                self.problems.push(Problem::new(self.name, message));
            }
            _ => {}
        }
    }

    /// The line of this offset. It is cheap to ask in ascending order.
    pub fn line(&mut self, at: usize) -> u32 {
        if at < self.known.0 {
            self.known = (0, self.first_line);
        }
        let (from, line) = self.known;
        let between = self.part.as_bytes().get(from..at).unwrap_or_default();
        let newlines = between.iter().filter(|byte| **byte == b'\n').count();
        self.known = (at, line + u32::try_from(newlines).unwrap_or(u32::MAX));
        self.known.1
    }

    /// The file's name and this line.
    pub fn place(&self, line: u32) -> String {
        format!("{}:{line}", self.name)
    }

    /// The tables of the part, which may hold only `[[…]]` of these names, and one `[…]` of each name
    /// in `single`, which is read elsewhere: each with its offset, and with which of the names it has.
    pub fn tables<'b, 'c>(
        &mut self,
        table: &'b DeTable<'c>,
        names: &[&'static str],
        single: &[&'static str],
    ) -> Vec<(usize, &'static str, &'b DeTable<'c>)> {
        let mut tables = Vec::new();
        for (field, value) in table {
            if single.iter().any(|name| field.get_ref() == name) {
                continue;
            }
            let Some(name) = names.iter().find(|name| field.get_ref() == *name) else {
                let lists = names.iter().map(|name| format!("[[{name}]]"));
                let single = single.iter().map(|name| format!("[{name}]"));
                let only: Vec<_> = lists.chain(single).collect();
                let message = format!(
                    "{}; this file holds only {} tables",
                    unknown_field(field.get_ref()),
                    only.join(" and ")
                );
                self.problem(field.span().start, message);
                continue;
            };
            let wrong = format!("write each {name} as a [[{name}]] table");
            match value.get_ref() {
                DeValue::Array(entries) => {
                    for entry in entries {
                        match entry.get_ref() {
                            DeValue::Table(fields) => {
                                tables.push((entry.span().start, *name, fields));
                            }
                            _ => self.problem(entry.span().start, wrong.clone()),
                        }
                    }
                }
                _ => self.problem(value.span().start, wrong),
            }
        }
        tables
    }

    /// The text of a field that must be one.
    pub fn text(&mut self, value: &Spanned<DeValue<'_>>, field: &str) -> Option<String> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.problem(value.span().start, format!("{field} must be a string"));
        }
        text.map(str::to_owned)
    }

    /// The texts of a field that must be a list of them, each read by `read`; `wrong` says how
    /// the field must be.
    pub fn list<T>(
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

/// Cuts a text before headers of arrays of tables, `[[…]]`, into parts that mean the same alone, as
/// long as a table below one of them, `[….…]`, stands under its own header. One that does not is
/// not known in a file of several parts.
fn parts(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let mut begins_line = true;
    for token in Source::new(text).lex() {
        let at = token.span().start();
        match token.kind() {
            TokenKind::Newline => begins_line = true,
            TokenKind::Whitespace => {}
            kind => {
                let header = begins_line && depth == 0 && text[at..].starts_with("[[");
                if header && at - start >= PART_BYTES {
                    parts.push(start..at);
                    start = at;
                }
                begins_line = false;
                match kind {
                    TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => depth += 1,
                    TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                        depth = depth.saturating_sub(1);
                    }
                    _ => {}
                }
            }
        }
    }
    parts.push(start..text.len());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
# Callers
[[key]]
id = \"ivr-prod\"
sha256 = 'abc'
scopes = [\"tts:synthesize\", \"tts:voices\"]
expires = 2027-03-01T00:00:00Z
disabled = false
labels = { team = \"ivr\" }

[[account]]
id = \"acme\"
";

    fn problems(text: &str) -> Vec<String> {
        let problems = TomlFile::parse(text, "keys.toml", |_, _| {});
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_that_is_cut_off_names_the_line_and_the_fix() {
        assert_eq!(problems(WHOLE), [""; 0]);
        let mut cut_off = 0;
        for end in 0..WHOLE.len() {
            let text = &WHOLE[..end];
            let last = format!("keys.toml:{}: ", text.lines().count());
            for problem in problems(text) {
                cut_off += 1;
                assert!(problem.starts_with(&last), "{text}: {problem}");
                assert!(problem.contains("is not TOML: "), "{problem}");
                let (_, fix) = problem.split_once("; ").expect("a fix");
                assert!(fix.contains("if the file was meant to end here"), "{fix}");
            }
        }
        assert!(cut_off > WHOLE.len() / 3, "{cut_off}");
    }

    #[test]
    fn a_field_is_named_unless_it_may_be_a_secret() {
        for (line, said) in [
            ("expires = 2026-13-45", "keys.toml:3: expires is not TOML: "),
            (
                "not_before = 2026-02-30T00:00:00Z",
                "keys.toml:3: not_before is not TOML: ",
            ),
            ("id = ivr", "keys.toml:3: id is not TOML: "),
            (
                "a1b2c3d4e5f6a7b8 = 2026-13-45",
                "keys.toml:3: is not TOML: ",
            ),
        ] {
            let problems = problems(&format!("[[key]]\nlabel = \"x\"\n{line}\n"));
            let named = problems.iter().any(|problem| problem.starts_with(said));
            assert!(named, "{line}: {problems:?}");
        }
        assert_eq!(unknown_field("colour"), "unknown field `colour`");
        for secret in ["hunter2", "correcthorsebattery", "Hunter", "", "a\u{202e}b"] {
            assert_eq!(unknown_field(secret), "unknown field", "{secret}");
        }
    }

    #[test]
    fn a_mistake_names_the_line_and_the_fix() {
        for (line, fix) in [
            ("[[key]", "write a header such as [[key]]"),
            ("id = ivr", "put text in quotation marks"),
            ("id \"ivr\"", "write field = value"),
            ("id = \"ivr", "end the text with a quotation mark"),
            ("disabled = True", "write true or false"),
            (
                "expires = 2027-03",
                "write a date and time such as 2027-03-01T00:00:00Z",
            ),
            ("id = \"a\"\nid = \"b\"", "name each field once"),
            (
                "<<<<<<< HEAD",
                "write a header such as [[key]], or field = value",
            ),
        ] {
            let text = format!("[[key]]\nlabel = \"x\"\n{line}\n[[key]]\nid = \"z\"\n");
            let problems = problems(&text);
            let found = problems.iter().any(|problem| {
                problem.starts_with("keys.toml:") && problem.contains(&format!("; {fix}"))
            });
            assert!(found, "{line}: {problems:?}");
        }
    }
}
