//! Makes untrusted text safe to print on a terminal or in a document.
//!
//! An audit log contains text from callers: paths, hosts, user agents. [`printable`] escapes every
//! character that a terminal could execute or that could mislead a reader.
//!
//! ```
//! use voxgate_terminal::text::{Charset, printable};
//!
//! assert_eq!(printable("\u{1b}[2J", Charset::Unicode), "\\u001b[2J");
//! assert_eq!(printable("Zoë", Charset::Unicode), "Zoë");
//! assert_eq!(printable("Zoë", Charset::Ascii), "Zo\\u00eb");
//! ```

use std::env;
use std::fmt::Write as _;

/// The characters that the terminal can display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Printable ASCII only.
    Ascii,
    /// All of Unicode, in UTF-8.
    Unicode,
}

impl Charset {
    /// Reads the character set from `LC_ALL`, `LC_CTYPE` or `LANG` (POSIX, XBD §8.2).
    #[must_use]
    pub fn from_locale() -> Self {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(env::var_os)
            .find(|value| !value.is_empty());
        let name = set.unwrap_or_default().to_ascii_uppercase();
        let name = name.to_string_lossy();
        if name.contains("UTF-8") || name.contains("UTF8") {
            Self::Unicode
        } else {
            Self::Ascii
        }
    }

    /// The character that marks a shortened text.
    #[must_use]
    pub fn ellipsis(self) -> char {
        match self {
            Self::Ascii => '~',
            Self::Unicode => '…',
        }
    }
}

/// Escapes every character except letters, digits and printable ASCII.
///
/// The escape is the one that the log uses, `\u001b`. It replaces control characters, bidi
/// controls, characters without width, and symbols. A backslash becomes two.
#[must_use]
pub fn printable(text: &str, charset: Charset) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => safe.push_str("\\\\"),
            ' '..='~' => safe.push(character),
            other if charset == Charset::Unicode && is_letter(other) => safe.push(other),
            other => escape(other, &mut safe),
        }
    }
    safe
}

/// Unicode counts the Hangul fillers as letters, but they are invisible.
fn is_letter(character: char) -> bool {
    let filler = matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    character.is_alphanumeric() && !filler
}

/// Whether the character is a control character, or one that reorders or hides other characters
/// (such as those of UAX #9). Names and labels do not need it.
#[must_use]
pub fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Escapes the misleading characters of a JSON document. The document has the same value as before,
/// and its line ends stay as they are.
#[must_use]
pub fn escape_json(document: &str) -> String {
    let mut safe = String::with_capacity(document.len());
    for character in document.chars() {
        if character == '\n' || !misleads(character) {
            safe.push(character);
        } else {
            escape(character, &mut safe);
        }
    }
    safe
}

/// Writes the escape of JSON: `\u001b`, or two of them for a character beyond U+FFFF.
fn escape(character: char, safe: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string does not fail.
        let _ = write!(safe, "\\u{unit:04x}");
    }
}

/// The number of terminal columns of a text that [`printable`] returned.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Wide characters (UAX #11) take two columns.
fn char_width(character: char) -> usize {
    match character {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Shortens a text to at most `columns` terminal columns.
#[must_use]
pub fn truncate(text: &str, columns: usize, charset: Charset) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |character: &char| {
        let width = char_width(*character);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if columns > 0 {
        short.push(charset.ellipsis());
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, unicode, ascii) in [
            ("/v1/rime-tts", "/v1/rime-tts", "/v1/rime-tts"),
            ("\u{1b}[2J\u{7}", "\\u001b[2J\\u0007", "\\u001b[2J\\u0007"),
            ("a\u{9b}31m", "a\\u009b31m", "a\\u009b31m"),
            ("\u{202e}gnp", "\\u202egnp", "\\u202egnp"),
            (
                "\u{200b}\u{2028}\u{feff}",
                "\\u200b\\u2028\\ufeff",
                "\\u200b\\u2028\\ufeff",
            ),
            ("Zoë 東", "Zoë 東", "Zo\\u00eb \\u6771"),
            (
                "🦀\u{3164}",
                "\\ud83e\\udd80\\u3164",
                "\\ud83e\\udd80\\u3164",
            ),
            ("\\u001b", "\\\\u001b", "\\\\u001b"),
        ] {
            assert_eq!(printable(text, Charset::Unicode), unicode);
            assert_eq!(printable(text, Charset::Ascii), ascii);
        }
    }

    #[test]
    fn misleading_characters_of_json_are_escaped() {
        let document = "{\n  \"a\": \"\u{202e}\u{7f}\u{e0041}Zoë\"\n}\n";
        let safe = "{\n  \"a\": \"\\u202e\\u007f\\udb40\\udc41Zoë\"\n}\n";
        assert_eq!(escape_json(document), safe);
    }

    #[test]
    fn a_shortened_text_fits() {
        assert_eq!(truncate("abcdef", 6, Charset::Unicode), "abcdef");
        assert_eq!(truncate("abcdef", 4, Charset::Unicode), "abc…");
        assert_eq!(truncate("abcdef", 4, Charset::Ascii), "abc~");
        assert_eq!(truncate("東京都", 4, Charset::Unicode), "東…");
        assert_eq!(truncate("abc", 0, Charset::Unicode), "");
    }

    proptest! {
        #[test]
        fn printable_text_is_letters_and_ascii(text in any::<String>(), columns in 0..40_usize) {
            let safe = printable(&text, Charset::Unicode);
            let is_printable = |c: char| matches!(c, ' '..='~') || c.is_alphanumeric();
            prop_assert!(safe.chars().all(is_printable));
            prop_assert!(printable(&text, Charset::Ascii).is_ascii());
            prop_assert!(width(&truncate(&safe, columns, Charset::Ascii)) <= columns);
        }
    }
}
