//! Texts of strangers, made fit to be seen.

use std::env;
use std::fmt::Write as _;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Ascii,
    Unicode,
}

impl Charset {
    /// The one of the locale (POSIX, XBD §8.2).
    pub(super) fn of_locale() -> Self {
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

    /// What stands for the rest of a text that was cut.
    pub(super) fn ellipsis(self) -> char {
        match self {
            Self::Ascii => '~',
            Self::Unicode => '…',
        }
    }
}

/// Letters and digits, and printable ASCII, stay as they are. Everything else becomes the escape
/// that stands for it in the log: what moves the cursor, turns the line around (bidi controls),
/// has no width, or only looks like something else.
pub(super) fn shown(text: &str, charset: Charset) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => safe.push_str("\\\\"),
            ' '..='~' => safe.push(character),
            other if charset == Charset::Unicode && is_letter(other) => safe.push(other),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(safe, "\\u{unit:04x}");
                }
            }
        }
    }
    safe
}

/// The fillers are letters to Unicode, and nothing to the eye.
fn is_letter(character: char) -> bool {
    let filler = matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    character.is_alphanumeric() && !filler
}

/// How many columns a text takes that [`shown`] made.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Wide characters (UAX #11) of the scripts that have any.
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

/// As much of a text as fits into so many columns.
pub(super) fn cut(text: &str, columns: usize, charset: Charset) -> String {
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
    fn nothing_that_a_terminal_obeys_is_left() {
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
            assert_eq!(shown(text, Charset::Unicode), unicode);
            assert_eq!(shown(text, Charset::Ascii), ascii);
        }
    }

    #[test]
    fn a_cut_text_fits() {
        assert_eq!(cut("abcdef", 6, Charset::Unicode), "abcdef");
        assert_eq!(cut("abcdef", 4, Charset::Unicode), "abc…");
        assert_eq!(cut("abcdef", 4, Charset::Ascii), "abc~");
        assert_eq!(cut("東京都", 4, Charset::Unicode), "東…");
        assert_eq!(cut("abc", 0, Charset::Unicode), "");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_letters_and_ascii(text in any::<String>(), columns in 0..40_usize) {
            let safe = shown(&text, Charset::Unicode);
            let printable = |c: char| matches!(c, ' '..='~') || c.is_alphanumeric();
            prop_assert!(safe.chars().all(printable));
            prop_assert!(shown(&text, Charset::Ascii).is_ascii());
            prop_assert!(width(&cut(&safe, columns, Charset::Ascii)) <= columns);
        }
    }
}
