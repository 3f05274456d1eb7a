//! Text that is safe on a terminal: no control characters, and no characters that disguise the
//! text.

use std::fmt::Write as _;

/// A control character, or a character that reorders or hides other characters (such as those of
/// UAX #9).
pub(super) fn is_special(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
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

pub(super) fn text(text: &str) -> String {
    let replaced = |letter| {
        if is_special(letter) {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(replaced).collect()
}

/// Equivalent JSON in which special characters are escaped. Its line ends stay as they are.
pub(super) fn json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || !is_special(letter) {
            escaped.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}
