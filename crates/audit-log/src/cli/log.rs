//! Reads a log from its first line to its last.

use std::fmt;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::failure::CommandError;
use super::lines::{self, Next};
use super::record::Record;
use super::segments::Source;

/// Counts the lines that are not records.
#[derive(Debug, Default)]
pub(super) struct InvalidLines {
    pub(super) count: u64,
    first: Option<(PathBuf, u64)>,
}

impl InvalidLines {
    /// Warns the user on standard error, so that standard output contains only results.
    pub(super) fn warn(&self) {
        if self.count > 0 {
            // If standard error is closed, the warning is lost.
            let _ = writeln!(io::stderr(), "voxgate: {self}");
        }
    }
}

impl fmt::Display for InvalidLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, &self.first) {
            (0, _) | (_, None) => f.write_str("every line is an audit record"),
            (1, Some((path, line))) => {
                write!(
                    f,
                    "1 line is not an audit record: {}:{line}",
                    path.display()
                )
            }
            (count, Some((path, line))) => write!(
                f,
                "{count} lines are not audit records; the first is {}:{line}",
                path.display()
            ),
        }
    }
}

/// Reads the records of `sources` whose lines `worth` selects, until `each` breaks.
pub(super) fn read(
    sources: &[Source],
    worth: impl Fn(&str) -> bool,
    mut each: impl FnMut(&str, &Record<'_>) -> Result<ControlFlow<()>, CommandError>,
) -> Result<InvalidLines, CommandError> {
    let mut invalid_lines = InvalidLines::default();
    let mut line = Vec::new();
    for source in sources {
        let mut input = source.open()?;
        for number in 1.. {
            let next = lines::next(&mut input, &mut line);
            let next = next.map_err(|error| CommandError::reading(source.path(), error))?;
            if next == Next::End {
                break;
            }
            let text = str::from_utf8(&line).ok().filter(|_| next != Next::TooLong);
            let worth = text.is_some_and(&worth);
            // A complete line that is not selected does not need to be parsed.
            if !worth && text.is_some_and(looks_whole) {
                continue;
            }
            let Some((text, record)) = text.and_then(|text| Some((text, Record::read(text)?)))
            else {
                invalid_lines.count += 1;
                invalid_lines
                    .first
                    .get_or_insert_with(|| (source.path().to_owned(), number));
                continue;
            };
            if worth && each(text, &record)?.is_break() {
                return Ok(invalid_lines);
            }
        }
    }
    Ok(invalid_lines)
}

fn looks_whole(line: &str) -> bool {
    line.starts_with("{\"v\":1,") && line.ends_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &[u8], worth: &str) -> (Vec<String>, InvalidLines) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        std::fs::write(&path, text).expect("a file");
        let mut seen = Vec::new();
        let invalid_lines = read(
            &[Source::File(path)],
            |line| line.contains(worth),
            |_, record| {
                seen.push(record.event.to_string());
                Ok(ControlFlow::Continue(()))
            },
        );
        (seen, invalid_lines.expect("a log"))
    }

    #[test]
    fn lines_that_are_not_records_are_counted_and_skipped() {
        let record = |event: &str| {
            format!("{{\"v\":1,\"ts\":\"2026-03-14T10:11:12.123456Z\",\"event\":\"{event}\"}}\n")
        };
        let mut text = record("start").into_bytes();
        text.extend_from_slice(b"listening\n\xff\xfe\n\n");
        text.extend_from_slice(&vec![b'x'; 200_000]);
        text.extend_from_slice(format!("\n{}{{\"v\":1,\"torn", record("stop")).as_bytes());
        let (seen, invalid_lines) = read_all(&text, "");
        assert_eq!(seen, ["start", "stop"]);
        assert_eq!(invalid_lines.count, 5);
        let said = invalid_lines.to_string();
        assert!(said.starts_with("5 lines are not audit records"), "{said}");
        assert!(said.ends_with("log:2"), "{said}");
        let (seen, invalid_lines) = read_all(&text, "stop");
        assert_eq!((seen.len(), invalid_lines.count), (1, 5));
    }
}
