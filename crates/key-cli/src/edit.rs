//! Edits of a keys file's text that keep every other byte.

use std::ops::Range;

use toml_edit::{ArrayOfTables, Document, DocumentMut, Table, Value};
use voxgate::keys::KeysFile;
use voxgate::{Key, Problem};

use super::listed::ListedKeys;

const HEADER: &str = "[[key]]";
/// The maximum number of lines in one entry that look like headers but are part of a string.
const MAX_HEADERS_IN_A_TEXT: usize = 16;

/// The text of a keys file, and the keys in it.
pub(super) struct KeysText<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) file: &'a KeysFile,
    /// The keys that the gateway gets from the environment.
    pub(super) listed: &'a ListedKeys,
}

/// The line ending of a text.
fn newline(text: &str) -> &'static str {
    match text.split_once('\n') {
        Some((first, _)) if first.ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// A text to which keys are appended.
pub(super) struct TextBuilder {
    text: String,
    newline: &'static str,
    /// The number of lines so far.
    lines: usize,
}

impl TextBuilder {
    pub(super) fn new(text: &str) -> Self {
        Self {
            newline: newline(text),
            lines: text.matches('\n').count(),
            text: text.to_owned(),
        }
    }

    /// Appends a key with these fields after a blank line. Returns its first line.
    pub(super) fn append(&mut self, fields: &Table) -> usize {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.push("\n");
        }
        let last = self.text.lines().next_back().unwrap_or_default();
        if !last.trim().is_empty() {
            self.push("\n");
        }
        let line = self.lines + 1;
        self.push(&format!("{HEADER}\n{fields}"));
        line
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn push(&mut self, lines: &str) {
        // A multi-line string may have other line endings.
        let lines = lines.replace("\r\n", "\n");
        self.text.push_str(&lines.replace('\n', self.newline));
        self.lines += lines.matches('\n').count();
    }
}

impl KeysText<'_> {
    /// The text in which this key has these fields. The values are TOML.
    pub(super) fn with(&self, key: &Key, fields: &[(&str, String)]) -> Result<String, Problem> {
        let range = self.range(key);
        let entry = with_fields(&self.text[range.clone()], fields, newline(self.text));
        let entry = entry.ok_or_else(|| self.too_hard(key))?;
        let mut text = self.text.to_owned();
        text.replace_range(range, &entry);
        Ok(text)
    }

    /// The fields of this key.
    pub(super) fn fields(&self, key: &Key) -> Result<Table, Problem> {
        let document: Result<DocumentMut, _> = self.text[self.range(key)].parse();
        let document = document.map_err(|_| self.too_hard(key))?;
        let table = only_key(
            document
                .get("key")
                .and_then(|item| item.as_array_of_tables()),
        );
        table.cloned().ok_or_else(|| self.too_hard(key))
    }

    /// The range from the header of the key to the next key or the end. Parsing the whole text into
    /// a tree would take twenty times its size in memory.
    fn range(&self, key: &Key) -> Range<usize> {
        let line = line_of(key);
        let later = self
            .file
            .keys()
            .iter()
            .map(line_of)
            .filter(|other| *other > line);
        let mut starts =
            std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1));
        let start = starts
            .nth(line.saturating_sub(1))
            .unwrap_or(self.text.len());
        let end = later.min().and_then(|next| starts.nth(next - line - 1));
        start..end.unwrap_or(self.text.len())
    }

    fn too_hard(&self, key: &Key) -> Problem {
        let message = format!(
            "the entry of `{}` has a form that this command cannot edit; write it as a \
                {HEADER} table",
            key.principal().id()
        );
        Problem::new(format!("{}:{}", self.name, line_of(key)), message)
    }
}

/// Every key of a file has a line.
fn line_of(key: &Key) -> usize {
    key.line().map_or(1, |line| line.get() as usize)
}

/// The text of one `[[key]]` table with these fields. `None` if the entry has another form.
///
/// The fields come before the secret, and after the id if possible, so that a truncated file has
/// the key with these fields or not at all.
pub(super) fn with_fields(entry: &str, fields: &[(&str, String)], newline: &str) -> Option<String> {
    let document = Document::parse(entry).ok()?;
    let table = only_key(document.get("key")?.as_array_of_tables())?;
    let span = |field: &str| table.get(field).and_then(|item| item.span());
    let id = span("id")?;
    let secret = ["sha256", "secret"]
        .into_iter()
        .filter_map(span)
        .min_by_key(|span| span.start);
    let secret = secret.map_or(entry.len(), |span| span.start);
    let last_line_before = if id.start < secret { id.end } else { 0 };
    let top = lines_end(entry, last_line_before);
    let indent = indent_of(entry, id.start);
    let mut added = String::new();
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for (field, value) in fields {
        match span(field) {
            Some(span) if span.start < secret => edits.push((span, value.clone())),
            // Moved together with its comment.
            Some(span) => {
                let line = line_start(entry, span.start)..lines_end(entry, span.end);
                let ahead = &entry[line.start..span.start];
                let behind = entry[span.end..line.end].trim_end_matches(['\r', '\n']);
                added.push_str(&format!("{ahead}{value}{behind}{newline}"));
                edits.push((line, String::new()));
            }
            None => added.push_str(&format!("{indent}{field} = {value}{newline}")),
        }
    }
    edits.push((top..top, added));
    edits.sort_by_key(|(span, _)| span.start);
    let mut text = entry.to_owned();
    for (span, new) in edits.into_iter().rev() {
        text.replace_range(span, &new);
    }
    Some(text)
}

/// The text in which every entry with this id is disabled, if there is one. A line that looks like
/// a header may be part of a string; then the table ends after the string.
pub(super) fn disabled_by_text(text: &str, id: &str) -> Option<String> {
    let lines = text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    });
    let headers = lines.filter(|(_, line)| line.trim_start().starts_with("[["));
    let headers: Vec<usize> = headers.map(|(start, _)| start).collect();
    let ends = headers.iter().copied().skip(1).chain([text.len()]);
    let ends: Vec<usize> = ends.collect();
    let mut new = text.to_owned();
    let mut is_found = false;
    for (index, start) in headers.iter().copied().enumerate().rev() {
        let entries = ends[index..].iter().take(MAX_HEADERS_IN_A_TEXT);
        let edited = entries.map(|end| start..*end).find_map(|range| {
            let document = Document::parse(&text[range.clone()]).ok()?;
            let keys = document.get("key").filter(|_| document.len() == 1)?;
            let table = only_key(keys.as_array_of_tables())?;
            let same = table.get("id")?.as_str()? == id;
            Some((range, same))
        });
        let Some((range, true)) = edited else {
            continue;
        };
        let fields = [("disabled", "true".to_owned())];
        let entry = with_fields(&text[range.clone()], &fields, newline(text))?;
        new.replace_range(range, &entry);
        is_found = true;
    }
    is_found.then_some(new)
}

/// The text with this id in a table `[revoked]` at its end, if an entry has the id but cannot be parsed
/// itself. A gateway that follows the file reads such a table, whatever stands before it.
pub(super) fn denied_by_text(text: &str, id: &str) -> Option<String> {
    let quotes = ['"', '\''];
    let is_named = quotes
        .iter()
        .any(|quote| text.contains(&format!("{quote}{id}{quote}")));
    if !is_named {
        return None;
    }
    let newline = newline(text);
    let table = format!("[revoked]{newline}ids = [{}]{newline}", Value::from(id));
    let is_there = text.ends_with(&table);
    let end = if text.ends_with('\n') { "" } else { newline };
    Some(match is_there {
        true => text.to_owned(),
        false => format!("{text}{end}{newline}{table}"),
    })
}

fn only_key(keys: Option<&ArrayOfTables>) -> Option<&Table> {
    keys.filter(|keys| keys.len() == 1)?.get(0)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The position after the line of `at`.
fn lines_end(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

/// The white space at the beginning of the line of `at`.
fn indent_of(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..at];
    &line[..line.len() - line.trim_start().len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxgate::Dialect;

    fn digest(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    /// The text with `disabled` and `expires` set in the key `a`.
    fn set(text: &str) -> Result<String, Problem> {
        let file = KeysFile::parse(text, "keys.toml", Dialect::Rime).expect("a good file");
        let text = KeysText {
            name: "keys.toml",
            text,
            file: &file,
            listed: &ListedKeys::default(),
        };
        let mut keys = file.keys().iter();
        let key = keys.find(|key| key.principal().id() == "a");
        let fields = [
            ("disabled", "true".to_owned()),
            ("expires", "2030-01-01T00:00:00Z".to_owned()),
        ];
        text.with(key.expect("the key"), &fields)
    }

    #[test]
    fn only_the_edited_fields_change() {
        let (one, two) = (digest('1'), digest('2'));
        for (before, after) in [
            // Added after the id, before the next fields.
            (
                "# all\n\n[[key]] # first\nid = \"a\" # mine\nsha256 = \"1\"\n\n# of b\n[[key]]\n\
                 sha256 = \"2\"\nid = \"b\"\n",
                "# all\n\n[[key]] # first\nid = \"a\" # mine\ndisabled = true\n\
                 expires = 2030-01-01T00:00:00Z\nsha256 = \"1\"\n\n# of b\n[[key]]\nsha256 = \"2\"\n\
                 id = \"b\"\n",
            ),
            // Replaces a value and keeps its comment. A field after the secret moves before it.
            (
                "[[key]]\nid='a'\nexpires   =  \"2029-01-01T00:00:00Z\"   # soon\nsha256='1'\n\
                 disabled=false# no\nlabel='x'\n",
                "[[key]]\nid='a'\ndisabled=true# no\nexpires   =  2030-01-01T00:00:00Z   # soon\n\
                 sha256='1'\nlabel='x'\n",
            ),
            // Windows line endings, and an indented list over several lines.
            (
                "[[key]]\r\n  id = \"a\"\r\n  scopes = [\r\n    \"x\", # [[key]]\r\n  ]\r\n  \
                 sha256 = \"1\"\r\n  expires = \"\"\"\r\n2029-01-01T00:00:00Z\"\"\" # no\r\n",
                "[[key]]\r\n  id = \"a\"\r\n  disabled = true\r\n  expires = 2030-01-01T00:00:00Z # no\r\n  \
                 scopes = [\r\n    \"x\", # [[key]]\r\n  ]\r\n  sha256 = \"1\"\r\n",
            ),
            // No newline at the end; the labels have their own table; an account follows.
            (
                "[[key]]\nid = \"a\"\nsha256 = \"1\"\n[key.labels]\nteam = \"ivr\"\n[[account]]\nid = \"x\"\n\
                 [[key]]\nid = \"b\"\nsha256 = \"2\"",
                "[[key]]\nid = \"a\"\ndisabled = true\nexpires = 2030-01-01T00:00:00Z\n\
                 sha256 = \"1\"\n[key.labels]\nteam = \"ivr\"\n[[account]]\nid = \"x\"\n[[key]]\nid = \
                 \"b\"\nsha256 = \"2\"",
            ),
            // The secret is before the id, and the last line has no newline.
            (
                "[[key]]\nid = \"b\"\nsha256 = \"2\"\n[[key]]\nlabels.team = \"ivr\"\nsha256 = \"1\"\nid = \
                 \"a\"\nexpires = 2029-01-01T00:00:00Z # last",
                "[[key]]\nid = \"b\"\nsha256 = \"2\"\n[[key]]\ndisabled = true\nexpires = \
                 2030-01-01T00:00:00Z # last\nlabels.team = \"ivr\"\nsha256 = \"1\"\nid = \"a\"\n",
            ),
            // A line in a string looks like a header.
            (
                "[[key]]\nid = \"a\"\nlabel = \"\"\"\n[[key]]\nid = 5\"\"\"\nsha256 = \"1\"\n",
                "[[key]]\nid = \"a\"\ndisabled = true\nexpires = 2030-01-01T00:00:00Z\nlabel = \
                 \"\"\"\n[[key]]\nid = 5\"\"\"\nsha256 = \"1\"\n",
            ),
        ] {
            let whole = |text: &str| {
                let text = text.replace("\"1\"", &format!("\"{one}\""));
                let text = text.replace("'1'", &format!("'{one}'"));
                text.replace("\"2\"", &format!("\"{two}\""))
            };
            let set = set(&whole(before)).expect("an edit");
            assert_eq!(set, whole(after));
            assert!(KeysFile::parse(&set, "keys.toml", Dialect::Rime).is_ok());
            assert_truncation_is_safe(&set);
        }
    }

    /// Wherever the text is cut off, the key `a` is disabled, or the file is not valid.
    fn assert_truncation_is_safe(text: &str) {
        for (end, _) in text.char_indices() {
            let Ok(file) = KeysFile::parse(&text[..end], "keys.toml", Dialect::Rime) else {
                continue;
            };
            let mut keys = file.keys().iter();
            if let Some(key) = keys.find(|key| key.principal().id() == "a") {
                let state = key.principal().state(std::time::SystemTime::UNIX_EPOCH);
                assert_eq!(
                    state,
                    voxgate::principal::KeyState::Disabled,
                    "{}",
                    &text[..end]
                );
            }
        }
    }

    #[test]
    fn an_inline_key_is_not_edited() {
        let text = format!("key = [{{ id = \"a\", sha256 = \"{}\" }}]\n", digest('1'));
        let problem = set(&text).expect_err("too hard");
        assert_eq!(problem.place(), "keys.toml:1");
    }

    #[test]
    fn an_appended_key_has_the_line_endings_of_the_file() {
        let mut fields = Table::new();
        fields.insert("id", toml_edit::value("new"));
        for (before, after, line) in [
            ("", "[[key]]\nid = \"new\"\n", 1),
            ("# none", "# none\n\n[[key]]\nid = \"new\"\n", 3),
            ("# none\n\n", "# none\n\n[[key]]\nid = \"new\"\n", 3),
            ("# none\n \n", "# none\n \n[[key]]\nid = \"new\"\n", 3),
            (
                "# a\r\n# b",
                "# a\r\n# b\r\n\r\n[[key]]\r\nid = \"new\"\r\n",
                4,
            ),
        ] {
            let mut text = TextBuilder::new(before);
            assert_eq!(text.append(&fields), line, "{before:?}");
            assert_eq!(text.finish(), after);
        }
    }
}
