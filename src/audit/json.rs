//! Writes one flat JSON object as one line of ASCII, for any content.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// Writes the fields of an object in order (RFC 8259). The names are constants that do not need to
/// be escaped.
pub(super) struct Object<'a> {
    line: &'a mut String,
    is_first: bool,
    truncated: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(line: &'a mut String) -> Self {
        line.push('{');
        Self {
            line,
            is_first: true,
            truncated: false,
        }
    }

    fn name(&mut self, name: &str) {
        self.line.push_str(if self.is_first { "\"" } else { ",\"" });
        self.is_first = false;
        self.line.push_str(name);
        self.line.push_str("\":");
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_decimal(self.line, number);
    }

    pub(super) fn boolean(&mut self, name: &str, value: bool) {
        self.name(name);
        self.line.push_str(if value { "true" } else { "false" });
    }

    /// Writes a trusted text: printable ASCII without quotes and backslashes.
    pub(super) fn word(&mut self, name: &str, word: impl std::fmt::Display) {
        self.name(name);
        // Writing to a string does not fail.
        let _ = write!(self.line, "\"{word}\"");
    }

    /// As [`word`](Self::word), without formatting. Most fields are written by it.
    pub(super) fn literal(&mut self, name: &str, word: &str) {
        self.name(name);
        self.line.push('"');
        self.line.push_str(word);
        self.line.push('"');
    }

    /// Writes the address of a client.
    pub(super) fn address(&mut self, name: &str, address: SocketAddr) {
        let SocketAddr::V4(address) = address else {
            return self.word(name, address);
        };
        self.name(name);
        self.line.push('"');
        for (at, octet) in address.ip().octets().into_iter().enumerate() {
            self.line.push_str(if at > 0 { "." } else { "" });
            push_decimal(self.line, octet.into());
        }
        self.line.push(':');
        push_decimal(self.line, address.port().into());
        self.line.push('"');
    }

    /// Writes an untrusted text, of at most `limit` bytes.
    pub(super) fn text(&mut self, name: &str, text: &[u8], limit: usize) {
        self.name(name);
        let shown = &text[..text.len().min(limit)];
        self.truncated |= shown.len() < text.len();
        self.line.push('"');
        escape(self.line, shown);
        self.line.push('"');
    }

    pub(super) fn was_cut(&mut self) {
        self.truncated = true;
    }

    /// Ends the object, and records whether a text in it was truncated.
    pub(super) fn end(mut self) {
        if self.truncated {
            self.boolean("truncated", true);
        }
        self.line.push('}');
    }
}

/// Writes a number in decimal digits, without the machinery of formatting.
fn push_decimal(line: &mut String, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Writes printable ASCII except quotes and backslashes unchanged, other characters as JSON
/// escapes, and bytes that are not UTF-8 percent-encoded (RFC 3986 §2.1).
fn escape(line: &mut String, text: &[u8]) {
    // Most texts need no escape. The loop has no branch, and takes many bytes at a time.
    let plain = text.iter().fold(true, |plain, byte| {
        plain & matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\')
    });
    if plain && let Ok(text) = std::str::from_utf8(text) {
        line.push_str(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => line.push_str("\\\""),
                '\\' => line.push_str("\\\\"),
                ' '..='~' => line.push(character),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        let _ = write!(line, "\\u{unit:04x}");
                    }
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(line, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(text: &[u8], limit: usize) -> String {
        let mut line = String::new();
        let mut object = Object::begin(&mut line);
        object.number("n", 1);
        object.text("text", text, limit);
        object.end();
        line
    }

    #[test]
    fn numbers_and_addresses_are_written_as_the_standard_library_does() {
        for number in [0, 7, 10, 99, 100, 65_535, u64::MAX] {
            let mut line = String::new();
            push_decimal(&mut line, number);
            assert_eq!(line, number.to_string());
        }
        for address in ["192.0.2.1:80", "0.0.0.0:0", "[2001:db8::1]:65535"] {
            let mut line = String::new();
            let mut object = Object::begin(&mut line);
            object.address("peer", address.parse().expect("an address"));
            object.end();
            assert_eq!(line, format!("{{\"peer\":\"{address}\"}}"));
        }
    }

    #[test]
    fn characters_outside_printable_ascii_are_escaped() {
        for (text, expected) in [
            (&b"plain"[..], "plain"),
            (b"\"\\/", "\\\"\\\\/"),
            (b"a\r\n\0\x1b\x7f", "a\\u000d\\u000a\\u0000\\u001b\\u007f"),
            (
                "é\u{2028}\u{202e}🦀".as_bytes(),
                "\\u00e9\\u2028\\u202e\\ud83e\\udd80",
            ),
            (b"\xff\xc3", "%FF%C3"),
        ] {
            let expected = format!("{{\"n\":1,\"text\":\"{expected}\"}}");
            assert_eq!(object(text, 100), expected);
        }
        assert_eq!(
            object("aé".as_bytes(), 2),
            "{\"n\":1,\"text\":\"a%C3\",\"truncated\":true}"
        );
    }

    proptest! {
        #[test]
        fn a_line_is_valid_json_that_preserves_the_text(text in ".*", limit in 0..300_usize) {
            let line = object(text.as_bytes(), limit);
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(line.len() <= 6 * limit.min(text.len()) + 40);
            if text.len() <= limit {
                let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                prop_assert_eq!(&read["text"], &text);
            }
        }

        #[test]
        fn any_bytes_make_one_line(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let line = object(&text, 200);
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            prop_assert!(read["text"].is_string());
        }
    }
}
