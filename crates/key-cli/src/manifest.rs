//! Kubernetes Secrets as YAML.

use std::collections::BTreeMap;

use voxgate::Problem;
use voxgate::keys::KeysFile;

use super::change::NewToken;
use super::cluster::{KeptFields, Secret};

/// The field of a Secret that contains the keys file.
pub(super) const FIELD: &str = "keys.toml";
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The name and namespace of a Secret, and its fields besides the keys file.
pub(super) struct Manifest {
    name: String,
    namespace: Option<String>,
    kept: KeptFields,
}

impl Manifest {
    /// Checks the names (RFC 1123).
    pub(super) fn new(name: &str, namespace: Option<&str>) -> Result<Self, Problem> {
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            let message = "must be lower case letters, digits, - and ., such as voxgate-keys";
            return Err(Problem::new("--kubernetes-secret", message));
        }
        if namespace.is_some_and(|namespace| namespace.len() > MAX_LABEL || !is_label(namespace)) {
            let message = "must be lower case letters, digits and -, such as voice";
            return Err(Problem::new("--namespace", message));
        }
        Ok(Self {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            kept: KeptFields::default(),
        })
    }

    /// Adds labels, each as `NAME=VALUE`
    /// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
    pub(super) fn labelled<'a>(
        mut self,
        labels: impl Iterator<Item = &'a String>,
    ) -> Result<Self, Problem> {
        for label in labels {
            let parts = label.split_once('=');
            let Some((name, value)) = parts.filter(|(name, value)| is_label_pair(name, value))
            else {
                let message = "must be a label of Kubernetes, such as voxgate.dev/keys=true";
                return Err(Problem::new("--secret-label", message));
            };
            self.kept.labels.insert(name.to_owned(), value.to_owned());
        }
        Ok(self)
    }

    /// The labels.
    #[cfg(feature = "kubernetes")]
    pub(super) fn labels(&self) -> &BTreeMap<String, String> {
        &self.kept.labels
    }

    /// The name of the Secret.
    #[cfg(feature = "kubernetes")]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace, if one is given.
    #[cfg(feature = "kubernetes")]
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The next version of an existing Secret, with the same name and namespace.
    pub(super) fn following(mut self, secret: &Secret) -> Result<Self, Problem> {
        if self.name != secret.name {
            let message = "is not the name of the Secret in --from-secret; give that name";
            return Err(Problem::new("--kubernetes-secret", message));
        }
        if self.namespace.is_some() && secret.namespace.is_some() {
            if self.namespace != secret.namespace {
                let message = "is not the namespace of the Secret in --from-secret; give that namespace, or \
                none";
                return Err(Problem::new("--namespace", message));
            }
        } else if self.namespace.is_none() {
            self.namespace.clone_from(&secret.namespace);
        }
        let added = std::mem::take(&mut self.kept.labels);
        self.kept = secret.kept.clone();
        self.kept.labels.extend(added);
        Ok(self)
    }

    /// The Secret with this keys file.
    pub(super) fn render_keys(&self, text: &str) -> String {
        self.secret(&self.name, FIELD, &scalar(text), &self.kept)
    }

    /// The Secret with this keys file, and a second Secret with a new token for the caller.
    pub(super) fn render(
        &self,
        text: &str,
        file: &KeysFile,
        issued: Option<&NewToken>,
    ) -> Result<String, Problem> {
        let mut yaml = self.render_keys(text);
        if let Some(issued) = issued {
            let name = self.name_for(issued, file);
            if name.len() > MAX_NAME {
                let message = "is too long: the second Secret adds the id of the key to this name";
                return Err(Problem::new("--kubernetes-secret", message));
            }
            yaml.push_str(&format!(
                "---\n# The token of key {}, for the pods of the caller. The gateway does not need \
                it: do\n# not give it access to this Secret.\n",
                issued.id
            ));
            let token = word(issued.secret.expose());
            // Without the labels: the gateway must not take it for keys.
            yaml.push_str(&self.secret(&name, "api-key", &token, &KeptFields::default()));
        }
        Ok(yaml)
    }

    fn secret(&self, name: &str, field: &str, value: &str, kept: &KeptFields) -> String {
        let namespace = self.namespace.as_ref();
        let namespace = namespace.map_or(String::new(), |name| {
            format!("  namespace: {}\n", word(name))
        });
        let labels = map("  labels:\n", "    ", &kept.labels);
        let annotations = map("  annotations:\n", "    ", &kept.annotations);
        let data = map("data:\n", "  ", &kept.data);
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {}\n{namespace}{labels}{annotations}\
             type: {}\n{data}stringData:\n  {field}: {value}\n",
            word(name),
            word(kept.kind.as_deref().unwrap_or("Opaque")),
        )
    }

    /// The id as a DNS label, made unique if the id of another key gives the same label.
    fn name_for(&self, issued: &NewToken, file: &KeysFile) -> String {
        let label = label(&issued.id);
        let same = |id: &str| self::label(id) == label;
        let count = file
            .keys()
            .iter()
            .filter(|key| same(key.principal().id()))
            .count();
        match (label.as_str(), count) {
            ("", _) => format!("{}-{}", self.name, issued.fingerprint),
            (label, 0 | 1) => format!("{}-{label}", self.name),
            (label, _) => format!("{}-{label}-{}", self.name, issued.fingerprint),
        }
    }
}

/// A map of YAML below its heading; nothing if it is empty.
fn map(heading: &str, indentation: &str, entries: &BTreeMap<String, String>) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let lines = entries
        .iter()
        .map(|(name, value)| format!("{indentation}{}: {}\n", word(name), word(value)));
    heading.to_owned() + &lines.collect::<String>()
}

/// Whether these are the name and the value of a label.
fn is_label_pair(name: &str, value: &str) -> bool {
    let is_word = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let ends = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
        text.len() <= MAX_LABEL
            && text.bytes().all(plain)
            && ends(text.chars().next())
            && ends(text.chars().next_back())
    };
    let is_prefix = |text: &str| text.len() <= MAX_NAME && text.split('.').all(is_label);
    let (prefix, name) = match name.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, name),
    };
    prefix.is_none_or(is_prefix) && is_word(name) && (value.is_empty() || is_word(value))
}

fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

/// The id as a DNS label.
fn label(id: &str) -> String {
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '-',
    };
    let label: String = id.chars().map(plain).collect();
    let label = label.trim_matches('-');
    label[..label.len().min(MAX_LABEL)]
        .trim_end_matches('-')
        .to_owned()
}

/// The text as a YAML block if that preserves it, otherwise quoted.
fn scalar(text: &str) -> String {
    // Characters that YAML 1.1 or 1.2 treats as line breaks or does not allow.
    let special = |letter: char| {
        (letter.is_control() && letter != '\n' && letter != '\t')
            || matches!(
                letter,
                '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
            )
    };
    if text.trim_matches('\n').is_empty() || text.contains(special) {
        return quoted(text);
    }
    let chomping = match (text.ends_with("\n\n"), text.ends_with('\n')) {
        (true, _) => "+",
        (false, true) => "",
        (false, false) => "-",
    };
    // Without this number, the first line would define the indentation.
    let indentation = if text.starts_with([' ', '\t', '\n']) {
        "2"
    } else {
        ""
    };
    let mut block = format!("|{indentation}{chomping}\n");
    for line in text.split_inclusive('\n') {
        if line != "\n" {
            block.push_str("    ");
        }
        block.push_str(line);
    }
    if text.ends_with('\n') {
        block.pop();
    }
    block
}

/// A name or a token without quotes if YAML cannot read it as a number, a date or a boolean.
fn word(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/=".contains(&byte);
    let begins = text.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    match begins && text.bytes().all(plain) && !is_word {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// The text in double quotes, in ASCII.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(letter),
            _ => quoted.push_str(&format!("\\U{:08X}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_block_if_that_preserves_it() {
        for (text, expected) in [
            ("", "\"\""),
            ("\n", "\"\\n\""),
            ("a\n", "|\n    a"),
            ("a\n\n  b: c\n", "|\n    a\n\n      b: c"),
            ("a", "|-\n    a"),
            ("a\n\n", "|+\n    a\n"),
            (" a\n", "|2\n     a"),
            ("\n\na\n", "|2\n\n\n    a"),
            ("\ta\n", "|2\n    \ta"),
            ("a: \u{e9}\n", "|\n    a: \u{e9}"),
            ("a\r\nb\\\"\r\n", "\"a\\r\\nb\\\\\\\"\\r\\n\""),
            ("a\u{2028}\u{1f600}\n", "\"a\\U00002028\\U0001F600\\n\""),
            ("a\u{7f}\u{85}\t\n", "\"a\\U0000007F\\U00000085\\t\\n\""),
        ] {
            assert_eq!(scalar(text), expected, "{text:?}");
        }
    }

    #[test]
    fn ambiguous_words_are_quoted() {
        for (text, expected) in [
            ("voxgate-keys", "voxgate-keys"),
            ("vxg_a-b_c", "vxg_a-b_c"),
            ("aWQ6c2VjcmV0cw==", "aWQ6c2VjcmV0cw=="),
            ("2001-01-01", "\"2001-01-01\""),
            ("1e3", "\"1e3\""),
            ("No", "\"No\""),
            ("-", "\"-\""),
            ("a: b", "\"a: b\""),
        ] {
            assert_eq!(word(text), expected);
        }
    }

    #[test]
    fn labels_are_those_of_kubernetes() {
        let parse = |label: &str| {
            let labels = [label.to_owned()];
            Manifest::new("k", None).and_then(|manifest| manifest.labelled(labels.iter()))
        };
        for good in ["voxgate.dev/keys=true", "team=IVR_1.x", "a=", "9/a=1"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a", "=b", "/a=b", "a/=b", "a/b/c=d", "-a=b", "a=b-", "a=b c", "A.b/c=d", "a=b=c",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let manifest = parse("voxgate.dev/keys=true").expect("a label");
        let text = manifest.render_keys("a\n");
        assert!(
            text.contains("  labels:\n    voxgate.dev/keys: \"true\"\ntype: Opaque\n"),
            "{text}"
        );
    }

    #[test]
    fn names_are_those_of_rfc_1123() {
        for good in ["a", "voxgate-keys", "a.b-c.9"] {
            assert!(Manifest::new(good, None).is_ok(), "{good}");
        }
        let long = "a".repeat(254);
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", "a/b", "a\n", &long] {
            assert!(Manifest::new(bad, None).is_err(), "{bad}");
        }
        assert!(Manifest::new("a", Some("voice")).is_ok());
        assert!(Manifest::new("a", Some("a.b")).is_err());
        for (id, expected) in [
            ("ivr-prod", "ivr-prod"),
            ("Team:IVR@prod/1.2_3", "team-ivr-prod-1-2-3"),
            ("@@", ""),
            ("/a/", "a"),
        ] {
            assert_eq!(label(id), expected);
        }
        assert_eq!(label(&format!("{}-b", "a".repeat(62))), "a".repeat(62));
    }
}
