//! Reads a log from its first line to its last.

use std::fmt;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::failure::CommandError;
use super::lines::{self, Next};
use super::record::{self, Record};
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

/// What was read of a log.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) invalid_lines: InvalidLines,
    /// The number of records, including those that were not selected.
    pub(super) records: u64,
    /// The times of the earliest and of the latest record.
    pub(super) period: Option<(String, String)>,
    /// Whether the reading was stopped before the end.
    pub(super) stopped: bool,
}

impl Reading {
    fn count(&mut self, ts: &str) {
        self.records += 1;
        match &mut self.period {
            None => self.period = Some((ts.to_owned(), ts.to_owned())),
            Some((first, last)) => {
                if ts < first.as_str() {
                    ts.clone_into(first);
                } else if ts > last.as_str() {
                    ts.clone_into(last);
                }
            }
        }
    }
}

/// Reads the records of `sources` whose lines `worth` selects, until `each` breaks.
pub(super) fn read(
    sources: &[Source],
    worth: impl Fn(&str) -> bool,
    mut each: impl FnMut(&str, &Record<'_>) -> Result<ControlFlow<()>, CommandError>,
) -> Result<Reading, CommandError> {
    let mut reading = Reading::default();
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
            if let Some(ts) = text.filter(|_| !worth).and_then(time_of_whole_line) {
                reading.count(ts);
                continue;
            }
            let Some((text, record)) = text.and_then(|text| Some((text, Record::read(text)?)))
            else {
                reading.invalid_lines.count += 1;
                reading
                    .invalid_lines
                    .first
                    .get_or_insert_with(|| (source.path().to_owned(), number));
                continue;
            };
            reading.count(&record.ts);
            if worth && each(text, &record)?.is_break() {
                reading.stopped = true;
                return Ok(reading);
            }
        }
    }
    Ok(reading)
}

/// The `ts` of a line that looks like a complete record.
fn time_of_whole_line(line: &str) -> Option<&str> {
    /// The fields before it have fewer bytes.
    const BEFORE: usize = 48;
    let whole = line.starts_with("{\"v\":1,") && line.ends_with('}');
    let head = line.get(..line.len().min(BEFORE)).filter(|_| whole)?;
    let at = head.find("\"ts\":\"")? + "\"ts\":\"".len();
    let (ts, _) = line[at..].split_once('"')?;
    record::is_time(ts).then_some(ts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &[u8], worth: &str) -> (Vec<String>, Reading) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        std::fs::write(&path, text).expect("a file");
        let mut seen = Vec::new();
        let reading = read(
            &[Source::File(path)],
            |line| line.contains(worth),
            |_, record| {
                seen.push(record.event.to_string());
                Ok(ControlFlow::Continue(()))
            },
        );
        (seen, reading.expect("a log"))
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
        let (seen, reading) = read_all(&text, "");
        assert_eq!(
            (seen, reading.records),
            (vec!["start".to_owned(), "stop".to_owned()], 2)
        );
        let invalid_lines = reading.invalid_lines;
        assert_eq!(invalid_lines.count, 5);
        let said = invalid_lines.to_string();
        assert!(said.starts_with("5 lines are not audit records"), "{said}");
        assert!(said.ends_with("log:2"), "{said}");
        let (seen, reading) = read_all(&text, "stop");
        assert_eq!(
            (seen.len(), reading.records, reading.invalid_lines.count),
            (1, 2, 5)
        );
        let time = "2026-03-14T10:11:12.123456Z".to_owned();
        assert_eq!(reading.period, Some((time.clone(), time)));
    }
}
