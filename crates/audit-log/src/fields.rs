//! Reading a line: one JSON object, whose fields are read in order and as strictly as needed.

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A string, as it is written: escapes are not resolved.
    Text(&'a str),
    /// A number, as it is written.
    Number(&'a str),
    /// `true`, `false`, `null`, an array or an object.
    Other,
}

impl<'a> Value<'a> {
    /// A string without escapes.
    pub(super) fn plain(self) -> Option<&'a str> {
        match self {
            Self::Text(text) if !text.contains('\\') => Some(text),
            _ => None,
        }
    }

    /// A whole number in its shortest form.
    pub(super) fn integer(self) -> Option<u64> {
        match self {
            Self::Number(digits) => parse_integer(digits),
            _ => None,
        }
    }
}

/// A decimal number without sign or leading zeroes.
pub(super) fn parse_integer(digits: &str) -> Option<u64> {
    let shortest = digits == "0" || !digits.starts_with('0');
    let decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
    (shortest && decimal).then(|| digits.parse().ok()).flatten()
}

/// What is no field of a JSON object, or is not printable ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of an object in their order. It is given without its closing brace, as the body of
/// a line is.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    begun: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            begun: false,
        }
    }

    fn field(&mut self) -> Option<(&'a str, Value<'a>)> {
        self.literal(if self.begun { b"," } else { b"{" })?;
        self.begun = true;
        let name = self.string()?;
        self.literal(b":")?;
        let value = match self.rest.first()? {
            b'"' => Value::Text(self.string()?),
            b'-' | b'0'..=b'9' => Value::Number(self.number()?),
            b'[' | b'{' => self.nested()?,
            _ => self.word()?,
        };
        Some((name, value))
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    fn word(&mut self) -> Option<Value<'a>> {
        let words: [&[u8]; 3] = [b"true", b"false", b"null"];
        let found = words.into_iter().find(|word| self.literal(word).is_some());
        found.map(|_| Value::Other)
    }

    fn number(&mut self) -> Option<&'a str> {
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest.iter().take_while(|byte| is_part(byte)).count();
        self.take(length)
    }

    /// What stands between the quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.literal(b"\"")?;
        let mut at = 0;
        loop {
            match *self.rest.get(at)? {
                b'"' => break,
                b'\\' => at += escape_length(self.rest.get(at + 1..)?)?,
                b' '..=b'~' => at += 1,
                _ => return None,
            }
        }
        let text = self.take(at)?;
        self.literal(b"\"")?;
        Some(text)
    }

    /// An array or an object: only that its brackets and strings end is looked at.
    fn nested(&mut self) -> Option<Value<'a>> {
        let mut depth = 0_usize;
        loop {
            match *self.rest.first()? {
                b'"' => _ = self.string()?,
                byte @ b' '..=b'~' => {
                    self.rest = &self.rest[1..];
                    match byte {
                        b'[' | b'{' => depth += 1,
                        b']' | b'}' => depth -= 1,
                        _ => {}
                    }
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(Value::Other);
            }
        }
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(taken).ok()
    }
}

/// The length of an escape, whose bytes after the backslash are given.
fn escape_length(after: &[u8]) -> Option<usize> {
    match after.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => {
            let digits = after.get(1..5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(6)
        }
        _ => None,
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(&'a str, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.begun {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            // What follows cannot be told apart any more.
            self.rest = &[];
            self.begun = true;
        }
        Some(field.ok_or(Malformed))
    }
}

/// Writes a string into JSON, in ASCII only.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            ' '..='~' => escaped.push(character),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}

/// Resolves the escapes of a string.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let resolved = match character {
            '\\' => match characters.next()? {
                'u' => {
                    let digits = characters.as_str().get(..4)?;
                    characters = characters.as_str()[4..].chars();
                    u16::from_str_radix(digits, 16).ok()?
                }
                'n' => 0x0a,
                'r' => 0x0d,
                't' => 0x09,
                'b' => 0x08,
                'f' => 0x0c,
                other => other as u16,
            },
            other => {
                units.extend_from_slice(other.encode_utf16(&mut [0; 2]));
                continue;
            }
        };
        units.push(resolved);
    }
    String::from_utf16(&units).ok()
}
