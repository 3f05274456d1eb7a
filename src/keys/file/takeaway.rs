//! What a keys file that is wrong takes away nevertheless.
//!
//! A file with a mistake does not come into force. Yet what it says explicitly against a key must
//! count: otherwise a mistake in one key keeps another key alive that was revoked by the same edit.
//! Each table is therefore read alone, and each line of a table that is not TOML.

use std::collections::HashSet;
use std::time::SystemTime;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::dialect::Dialect;
use crate::keys::certificate;
use crate::keys::plain::PlainKey;
use crate::principal::Principal;
use crate::secret::Digest;

use super::values::{is_id, parse_moment};

/// The keys that a text refuses explicitly: `disabled = true`, `expires` in the past, or the id is
/// in `[revoked]`. What is absent from the text is not refused.
#[derive(Default)]
pub(crate) struct Takeaways {
    ids: HashSet<String>,
    digests: HashSet<[u8; 32]>,
}

impl Takeaways {
    /// Reads all that can be read.
    pub(crate) fn read(text: &str, dialect: Dialect, now: SystemTime) -> Self {
        let mut takeaways = Self::default();
        for (header, body) in tables(text) {
            match header {
                Header::None => takeaways.top_level(body, dialect, now),
                Header::Key => takeaways.keys(body, dialect, now),
                Header::Revoked => takeaways.revoked(body),
                Header::Other => {}
            }
        }
        takeaways
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.digests.is_empty()
    }

    /// Whether the key is refused, by its id or by its secret.
    pub(crate) fn name(&self, principal: &Principal) -> bool {
        let credential = principal.credential();
        self.ids.contains(principal.id())
            || credential.is_some_and(|digest| self.digests.contains(digest.as_bytes()))
    }

    /// `key = […]` and `revoked = {…}`, as they may be written before the first header.
    fn top_level(&mut self, body: &str, dialect: Dialect, now: SystemTime) {
        for entries in lines_that_are_toml(body) {
            for (field, value) in entries.get_ref() {
                match (field.get_ref().as_ref(), value.get_ref()) {
                    ("revoked", DeValue::Table(revoked)) => self.revoked_ids(revoked),
                    ("key", DeValue::Array(keys)) => {
                        for key in keys {
                            if let DeValue::Table(fields) = key.get_ref() {
                                self.key(fields, dialect, now);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// The lines of one key; of several, if headers between them are missing.
    fn keys(&mut self, body: &str, dialect: Dialect, now: SystemTime) {
        let mut key = Statement::default();
        for entries in lines_that_are_toml(body) {
            for (field, value) in entries.get_ref() {
                if field.get_ref() == "id" && key.id.is_some() {
                    self.add(std::mem::take(&mut key));
                }
                key.field(field.get_ref(), value, dialect, now);
            }
        }
        self.add(key);
    }

    fn key(&mut self, fields: &DeTable<'_>, dialect: Dialect, now: SystemTime) {
        let mut key = Statement::default();
        for (field, value) in fields {
            key.field(field.get_ref(), value, dialect, now);
        }
        self.add(key);
    }

    fn add(&mut self, key: Statement) {
        if key.is_refused {
            self.ids.extend(key.id);
            let digests = key.digests.iter().map(|digest| *digest.as_bytes());
            self.digests.extend(digests);
        }
    }

    fn revoked(&mut self, body: &str) {
        let (table, errors) = DeTable::parse_recoverable(body);
        match errors.is_empty() {
            true => self.revoked_ids(table.get_ref()),
            false => self.ids.extend(quoted_ids(body)),
        }
    }

    fn revoked_ids(&mut self, revoked: &DeTable<'_>) {
        if let Some(DeValue::Array(ids)) = revoked.get("ids").map(Spanned::get_ref) {
            let ids = ids.iter().filter_map(|id| id.get_ref().as_str());
            self.ids.extend(ids.map(str::to_owned));
        }
    }
}

/// What was read about one key.
#[derive(Default)]
struct Statement {
    id: Option<String>,
    digests: Vec<Digest>,
    is_refused: bool,
}

impl Statement {
    fn field(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        dialect: Dialect,
        now: SystemTime,
    ) {
        let value = value.get_ref();
        match name {
            "id" => self.id = value.as_str().filter(|id| is_id(id)).map(str::to_owned),
            "sha256" => self
                .digests
                .extend(value.as_str().and_then(Digest::from_hex)),
            "certificate" => {
                let name = value.as_str().filter(|name| certificate::is_name(name));
                self.digests.extend(name.map(certificate::digest));
            }
            "secret" => {
                let key = value.as_str().map(|text| PlainKey::new(text, dialect));
                if let Some(Ok(key)) = key {
                    self.digests.extend(key.into_parts().1);
                }
            }
            "disabled" => self.is_refused |= matches!(value, DeValue::Boolean(true)),
            "expires" => {
                let expires = parse_moment(value);
                self.is_refused |= expires.is_some_and(|expires| expires <= now);
            }
            _ => {}
        }
    }
}

enum Header {
    /// What is above the first header.
    None,
    Key,
    Revoked,
    Other,
}

/// Cuts a text before each line that begins with a bracket. A header that is not TOML, such as
/// `[[key]`, is recognized by its name.
fn tables(text: &str) -> Vec<(Header, &str)> {
    let mut tables = Vec::new();
    let mut header = Header::None;
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            tables.push((header, &text[start..at]));
            header = match name(line) {
                "key" => Header::Key,
                "revoked" => Header::Revoked,
                _ => Header::Other,
            };
            start = at + line.len();
        }
        at += line.len();
    }
    tables.push((header, &text[start..]));
    tables
}

fn name(header: &str) -> &str {
    let text = header.split('#').next().unwrap_or_default();
    text.trim_matches(|letter: char| letter.is_whitespace() || "[]\"'".contains(letter))
}

/// The table of a text, or the tables of its lines if it is not TOML as a whole.
fn lines_that_are_toml(body: &str) -> Vec<Spanned<DeTable<'_>>> {
    let whole = |text| {
        let (table, errors) = DeTable::parse_recoverable(text);
        errors.is_empty().then_some(table)
    };
    match whole(body) {
        Some(table) => vec![table],
        None => body.lines().filter_map(whole).collect(),
    }
}

/// The ids in quotation marks of a list that is not TOML. One that is cut off is not complete, and
/// may be the beginning of another.
fn quoted_ids(body: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for line in body.lines() {
        let mut rest = line;
        while let Some(at) = rest.find(['"', '\'', '#']) {
            let (mark, behind) = rest[at..].split_at(1);
            let Some((text, next)) = behind.split_once(mark).filter(|_| mark != "#") else {
                break;
            };
            if is_id(text) {
                ids.push(text.to_owned());
            }
            rest = next;
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111111111111111111111111111";

    fn refused(text: &str) -> Vec<String> {
        let read = Takeaways::read(text, Dialect::Rime, SystemTime::now());
        let mut ids: Vec<String> = read.ids.into_iter().collect();
        ids.sort();
        ids
    }

    #[test]
    fn what_is_refused_explicitly_is_read_whatever_else_is_wrong() {
        let key =
            |id: &str, more: &str| format!("[[key]]\nid = \"{id}\"\n{more}\nsha256 = '{A}'\n");
        let off = key("a", "disabled = true");
        for wrong in [
            "[[key]\nid = \"b\"\n",
            "[[key]]\nid = \"b\nlabel = 1",
            "[[key]]\nid = \"b\"\nlabel = \"\"\"\nlong\n",
            "[[key]]\nscopes = [\"tts\",\n",
            "]]]\n",
            "<<<<<<< HEAD\n",
            "unknown = 1\n",
        ] {
            for text in [format!("{wrong}\n{off}"), format!("{off}\n{wrong}")] {
                assert_eq!(refused(&text), ["a"], "{text}");
            }
        }
        for more in [
            "expires = 2020-01-01T00:00:00Z",
            "expires = \"2020-01-01T00:00:00+01:00\"",
            "label = \"x\ndisabled = true",
            "disabled = true\nlabel = [",
        ] {
            assert_eq!(refused(&key("a", more)), ["a"], "{more}");
        }
    }

    #[test]
    fn a_table_of_refused_ids_counts_whatever_stands_before_it() {
        for before in [
            "garbage [[[",
            "label = \"x",
            "label = \"\"\"x",
            "label = [",
            "x = '",
        ] {
            let entry = format!("[[key]]\nid = \"a\"\nsha256 = \"{A}\"\n{before}");
            let text = format!("{entry}\n\n[revoked]\nids = [\"a\"]\n");
            assert_eq!(refused(&text), ["a"], "{text}");
        }
    }

    #[test]
    fn what_is_not_said_or_cannot_be_read_does_not_count() {
        for more in [
            "",
            "disabled = false",
            "disabled = yes",
            "disabled = \"true\"",
            "# disabled = true",
            "expires = 2100-01-01T00:00:00Z",
            "expires = 2020-01",
            "label = \"disabled = true\"",
        ] {
            assert_eq!(
                refused(&format!("[[key]]\nid = \"a\"\n{more}\n[[key]")),
                [""; 0],
                "{more}"
            );
        }
        // The beginning of an id is not the id.
        assert_eq!(refused("[[key]]\ndisabled = true\nid = \"iv"), [""; 0]);
    }

    #[test]
    fn a_key_is_refused_by_its_secret_too() {
        let text = format!("[[key]]\ndisabled = true\nsha256 = \"{A}\"\nid = \"iv");
        let read = Takeaways::read(&text, Dialect::Rime, SystemTime::now());
        let digest = Digest::from_hex(A).expect("a digest");
        assert!(read.name(&Principal::new("other").known_by(digest)));
        let secret = "[[key]]\ndisabled = true\nsecret = \"a-long-enough-key-1\"\n";
        let read = Takeaways::read(secret, Dialect::Rime, SystemTime::now());
        let known = Principal::new("b").known_by(Digest::of(b"a-long-enough-key-1"));
        assert!(read.name(&known) && !read.is_empty());
    }

    #[test]
    fn tables_whose_headers_are_missing_are_told_apart_by_their_ids() {
        let text = "[[key]]\nid = \"a\"\nlabel = \"x\"\nid = \"b\"\ndisabled = true\nid = \"c\"\n";
        assert_eq!(refused(text), ["b"]);
        let mangled = "[[key]]\nid = \"a\"\n[[key]\nid = \"b\"\ndisabled = true\n";
        assert_eq!(refused(mangled), ["b"]);
    }

    #[test]
    fn revoked_ids_are_read_from_a_list_that_is_cut_off() {
        for (list, expected) in [
            ("ids = [\"a\", 'b']", &["a", "b"][..]),
            ("ids = [\n\"a\", # \"c\"\n'b',\n", &["a", "b"]),
            ("ids = [\"a\", \"b", &["a"]),
            ("ids = [\"a, \"b\"]", &[]),
            ("ids = \"a\"", &[]),
        ] {
            assert_eq!(refused(&format!("[revoked]\n{list}")), expected, "{list}");
            assert_eq!(
                refused(&format!("[[key]\n[revoked]\n{list}")),
                expected,
                "{list}"
            );
        }
        assert_eq!(refused("revoked = { ids = [\"a\"] }\n[[key]"), ["a"]);
        assert_eq!(refused("revoked.ids = [\"a\"]\nx\n[[key]"), ["a"]);
    }
}
