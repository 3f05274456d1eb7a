//! Writes CSV (RFC 4180) that is safe to open in a spreadsheet.

use std::io::{self, Write};

use voxgate_terminal::text::{Charset, printable};

/// Writes one line.
pub(super) fn write<'a>(
    out: &mut impl Write,
    fields: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    for (at, text) in fields.enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        out.write_all(field(text).as_bytes())?;
    }
    out.write_all(b"\r\n")
}

/// Whether a spreadsheet would run this text as a formula (CWE-1236).
fn is_formula(text: &str) -> bool {
    text.trim_start_matches(' ')
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

fn field(text: &str) -> String {
    let mut safe = printable(text, Charset::Unicode);
    if is_formula(text) {
        safe.insert(0, '\'');
    }
    if safe.contains([',', '"']) || safe.starts_with(' ') || safe.ends_with(' ') {
        safe = format!("\"{}\"", safe.replace('"', "\"\""));
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_formulas_are_neutralized() {
        for (text, expected) in [
            ("", ""),
            ("plain text", "plain text"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
            ("=HYPERLINK(\"x\",1)", "\"'=HYPERLINK(\"\"x\"\",1)\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(1)", "'@SUM(1)"),
            ("\t=1", "'\\u0009=1"),
            ("\r=1", "'\\u000d=1"),
            (" =1", "' =1"),
            (" a", "\" a\""),
            ("a\nb\u{1b}", "a\\u000ab\\u001b"),
        ] {
            assert_eq!(field(text), expected);
        }
        let mut line = Vec::new();
        write(&mut line, ["a", "", "b"].into_iter()).expect("a line");
        assert_eq!(line, b"a,,b\r\n");
    }
}
