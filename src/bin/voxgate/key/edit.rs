//! Changes of a keys file's text that leave every other byte as it is.

use std::ops::Range;

use toml_edit::{ArrayOfTables, Document, DocumentMut, Table};
use voxgate::{Key, KeysFile, Problem};

const HEADER: &str = "[[key]]";

/// The text of a keys file, and where its keys are.
pub(super) struct Text<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) file: &'a KeysFile,
}

/// What the lines of a text end in.
fn newline(text: &str) -> &'static str {
    match text.split_once('\n') {
        Some((first, _)) if first.ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// A text that grows by keys.
pub(super) struct Growing {
    text: String,
    newline: &'static str,
    /// How many lines it has so far.
    lines: usize,
}

impl Growing {
    pub(super) fn new(text: &str) -> Self {
        Self {
            newline: newline(text),
            lines: text.matches('\n').count(),
            text: text.to_owned(),
        }
    }

    /// Appends a key with these fields, after a blank line; and says in which line it begins.
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
        self.text.push_str(&lines.replace('\n', self.newline));
        self.lines += lines.matches('\n').count();
    }
}

impl Text<'_> {
    /// The text with these fields of this key, whose values are TOML.
    pub(super) fn with(&self, key: &Key, fields: &[(&str, String)]) -> Result<String, Problem> {
        let range = self.range(key);
        let entry = &self.text[range.clone()];
        let document = Document::parse(entry).map_err(|_| self.too_hard(key))?;
        let table = only_key(
            document
                .get("key")
                .and_then(|item| item.as_array_of_tables()),
        );
        let table = table.ok_or_else(|| self.too_hard(key))?;
        let values = table.get_values();
        let spans = values.iter().filter_map(|(_, value)| value.span());
        let last = spans
            .max_by_key(|span| span.end)
            .ok_or_else(|| self.too_hard(key))?;
        let indent = indent_of(entry, last.start);
        let newline = newline(self.text);
        let end_of_line = entry[last.end..].find('\n').map(|at| last.end + at + 1);
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for (field, value) in fields {
            match table.get(field).and_then(|item| item.span()) {
                Some(span) => edits.push((span, value.clone())),
                None => match end_of_line {
                    Some(at) => edits.push((at..at, format!("{indent}{field} = {value}{newline}"))),
                    None => {
                        let at = entry.len();
                        edits.push((at..at, format!("{newline}{indent}{field} = {value}")));
                    }
                },
            }
        }
        edits.sort_by_key(|(span, _)| span.start);
        let mut text = self.text.to_owned();
        for (span, new) in edits.into_iter().rev() {
            text.replace_range(range.start + span.start..range.start + span.end, &new);
        }
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

    /// From its header to the next key's, or to the end. A tree of the whole text would take
    /// twenty times its size.
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
            "`{}` can be changed by hand only, as it is written; make it a {HEADER} table",
            key.principal().id()
        );
        Problem::new(format!("{}:{}", self.name, line_of(key)), message)
    }
}

/// Every key of a file has a line.
fn line_of(key: &Key) -> usize {
    key.line().map_or(1, |line| line.get() as usize)
}

fn only_key(keys: Option<&ArrayOfTables>) -> Option<&Table> {
    keys.filter(|keys| keys.len() == 1)?.get(0)
}

/// The white space at the beginning of the line of `at`.
fn indent_of(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &text[start..at];
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
        let text = Text {
            name: "keys.toml",
            text,
            file: &file,
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
    fn only_what_is_set_changes() {
        let (one, two) = (digest('1'), digest('2'));
        for (before, after) in [
            // Added behind the last field, with its comment, before what follows.
            (
                "# all\n\n[[key]] # first\nid = \"a\"\nsha256 = \"1\" # mine\n\n# of b\n[[key]]\n\
                 sha256 = \"2\"\nid = \"b\"\n",
                "# all\n\n[[key]] # first\nid = \"a\"\nsha256 = \"1\" # mine\ndisabled = true\n\
                 expires = 2030-01-01T00:00:00Z\n\n# of b\n[[key]]\nsha256 = \"2\"\nid = \"b\"\n",
            ),
            // In the place of another value, whose comment stays.
            (
                "[[key]]\nid='a'\nexpires   =  \"2029-01-01T00:00:00Z\"   # soon\nsha256='1'\n\
                 disabled=false# no\n",
                "[[key]]\nid='a'\nexpires   =  2030-01-01T00:00:00Z   # soon\nsha256='1'\n\
                 disabled=true# no\n",
            ),
            // Line ends of Windows, and an indented list over several lines.
            (
                "[[key]]\r\n  id = \"a\"\r\n  sha256 = \"1\"\r\n  scopes = [\r\n    \"x\", # [[key]]\r\n  \
                 ]\r\n",
                "[[key]]\r\n  id = \"a\"\r\n  sha256 = \"1\"\r\n  scopes = [\r\n    \"x\", # [[key]]\r\n  \
                 ]\r\n  disabled = true\r\n  expires = 2030-01-01T00:00:00Z\r\n",
            ),
            // No end of the last line; a table of its own for the labels; an account between.
            (
                "[[key]]\nid = \"a\"\nsha256 = \"1\"\n[key.labels]\nteam = \"ivr\"\n[[account]]\nid = \"x\"\n\
                 [[key]]\nid = \"b\"\nsha256 = \"2\"",
                "[[key]]\nid = \"a\"\nsha256 = \"1\"\ndisabled = true\nexpires = \
                 2030-01-01T00:00:00Z\n[key.labels]\nteam = \"ivr\"\n[[account]]\nid = \"x\"\n[[key]]\nid = \
                 \"b\"\nsha256 = \"2\"",
            ),
            (
                "[[key]]\nid = \"b\"\nsha256 = \"2\"\n[[key]]\nlabels.team = \"ivr\"\nsha256 = \"1\"\nid = \
                 \"a\" # last",
                "[[key]]\nid = \"b\"\nsha256 = \"2\"\n[[key]]\nlabels.team = \"ivr\"\nsha256 = \"1\"\nid = \
                 \"a\" # last\ndisabled = true\nexpires = 2030-01-01T00:00:00Z",
            ),
            // What looks like a header is none.
            (
                "[[key]]\nid = \"a\"\nsha256 = \"1\"\nlabel = \"\"\"\n[[key]]\nid = 5\"\"\"\n",
                "[[key]]\nid = \"a\"\nsha256 = \"1\"\nlabel = \"\"\"\n[[key]]\nid = 5\"\"\"\ndisabled = \
                 true\nexpires = 2030-01-01T00:00:00Z\n",
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
        }
    }

    #[test]
    fn what_is_not_a_table_is_left_alone() {
        let text = format!("key = [{{ id = \"a\", sha256 = \"{}\" }}]\n", digest('1'));
        let problem = set(&text).expect_err("too hard");
        assert_eq!(problem.place(), "keys.toml:1");
    }

    #[test]
    fn a_key_is_appended_as_the_lines_before_it_are_ended() {
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
            let mut text = Growing::new(before);
            assert_eq!(text.append(&fields), line, "{before:?}");
            assert_eq!(text.finish(), after);
        }
    }
}
