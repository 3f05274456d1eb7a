//! Names that servers confuse.

/// Whether a server might take `given` for `name` although it is written in another way: in another
/// case, with white space around it, as a list (`name[]`), or cut at a NUL.
///
/// Go's `encoding/json` folds case as Unicode does, so that `ſ` and the Kelvin sign count as well.
pub(crate) fn is_alike(given: &str, name: &str) -> bool {
    if given.len() < name.len() {
        return false;
    }
    let given = given.split(['[', '\0']).next().unwrap_or_default().trim();
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    given.chars().map(fold).eq(name.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_a_name_are_recognized() {
        for (given, name, expected) in [
            ("voice", "voice", true),
            ("Voice", "voice", true),
            ("voiceId", "voiceid", true),
            ("\u{17f}peaker", "speaker", true),
            ("spea\u{212a}er", "speaker", true),
            (" voice\t", "voice", true),
            ("voice[]", "voice", true),
            ("voice\0x", "voice", true),
            ("voices", "voice", false),
            ("voic", "voice", false),
            ("", "voice", false),
            ("voice_id", "voice", false),
        ] {
            assert_eq!(is_alike(given, name), expected, "{given:?}");
        }
    }
}
