//! Finds the last records without reading the whole log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::super::failure::CommandError;
use super::super::filter::Filter;
use super::super::lines::{self, Next};
use super::super::record::Record;
use super::super::search::{Search, Seen};
use super::super::segments;

/// Size of the first window at the end of a file. Each further window is four times as large.
const WINDOW: u64 = 256 * 1024;

/// The position up to which a file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
}

/// Returns the last `wanted` lines that match, and the end of the log.
pub(super) fn lines(
    path: &Path,
    filter: &Filter,
    wanted: usize,
) -> Result<(Vec<Box<str>>, Position), CommandError> {
    let files = if path.is_dir() {
        segments::in_directory(path).map_err(|error| CommandError::reading(path, error))?
    } else {
        vec![path.to_owned()]
    };
    let mut found: Vec<Box<str>> = Vec::new();
    let mut end = None;
    for file in files.iter().rev() {
        let missing = wanted - found.len();
        let (mut lines, offset) =
            of_file(file, filter, missing).map_err(|error| CommandError::reading(file, error))?;
        end.get_or_insert(Position {
            path: file.clone(),
            offset,
        });
        lines.append(&mut found);
        found = lines;
        if found.len() >= wanted {
            break;
        }
    }
    let end = end.unwrap_or_else(|| Position {
        path: path.to_owned(),
        offset: 0,
    });
    Ok((found, end))
}

fn of_file(path: &Path, filter: &Filter, wanted: usize) -> std::io::Result<(Vec<Box<str>>, u64)> {
    let length = File::open(path)?.metadata()?.len();
    let mut window = WINDOW;
    loop {
        // The decision of a completion may be anywhere before it.
        let start = match filter.asks_the_decision() {
            true => 0,
            false => length.saturating_sub(window),
        };
        let (lines, end) = of_window(path, start, length, filter, wanted)?;
        if lines.len() >= wanted || start == 0 {
            return Ok((lines, end));
        }
        window = window.saturating_mul(4);
    }
}

/// Reads the lines that begin after `start`, up to `length`. The follower reads later lines.
fn of_window(
    path: &Path,
    start: u64,
    length: u64,
    filter: &Filter,
    wanted: usize,
) -> std::io::Result<(Vec<Box<str>>, u64)> {
    let mut file = File::open(path)?;
    // A line begins at `start` if the byte before it is a newline.
    let from = start.saturating_sub(1);
    file.seek(SeekFrom::Start(from))?;
    let mut input = BufReader::with_capacity(64 * 1024, file.take(length - from.min(length)));
    let mut line = Vec::new();
    if start > 0 {
        lines::next(&mut input, &mut line)?;
    }
    let mut search = Search::new(filter.clone(), false);
    let mut found: VecDeque<Box<str>> = VecDeque::new();
    loop {
        let next = lines::next(&mut input, &mut line)?;
        if next == Next::End {
            return Ok((found.into(), length));
        }
        let text = str::from_utf8(&line)
            .ok()
            .filter(|text| filter.may_match(text));
        let record = text.and_then(|line| Some((line, Record::read(line)?)));
        if let Some((line, record)) = &record {
            // This closure never fails.
            let _ = search.see(Seen { line, record }, &mut |found_one| {
                if found.len() == wanted {
                    found.pop_front();
                }
                if wanted > 0 {
                    found.push_back(found_one.first.line.into());
                }
                Ok(ControlFlow::Continue(()))
            });
        } else if next == Next::Unfinished {
            // The line is still being written. The follower reads it from its start.
            return Ok((found.into(), length - line.len() as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn record(seq: u64, event: &str) -> String {
        format!(
            "{{\"v\":1,\"seq\":{seq},\"ts\":\"2026-03-14T10:11:12.123456Z\",\"event\":\"{event}\"}}\n"
        )
    }

    fn numbers(lines: &[Box<str>]) -> Vec<u64> {
        let records = lines.iter().filter_map(|line| Record::read(line));
        records.filter_map(|record| record.seq).collect()
    }

    #[test]
    fn the_last_records_are_read_from_several_segments() {
        let directory = tempfile::tempdir().expect("a directory");
        let segment = |number: u64| directory.path().join(format!("audit-{number:012}.jsonl"));
        let lines =
            |range: std::ops::Range<u64>| range.map(|seq| record(seq, "stop")).collect::<String>();
        fs::write(segment(1), lines(1..20_000)).expect("a segment");
        fs::write(segment(2), lines(20_000..20_003) + "{\"v\":1,\"to").expect("a segment");
        let all = Filter::default();
        let (last, end) = lines_of(directory.path(), &all, 5);
        assert_eq!(last, [19_998, 19_999, 20_000, 20_001, 20_002]);
        assert_eq!(
            (end.path, end.offset),
            (segment(2), lines(20_000..20_003).len() as u64)
        );
        let (last, _) = lines_of(&segment(1), &all, 10_000);
        assert_eq!(last, (10_000..20_000).collect::<Vec<_>>());
        assert_eq!(lines_of(directory.path(), &all, 0).0, [0; 0]);
        let none = Filter {
            event: Some("start".to_owned()),
            ..Filter::default()
        };
        assert_eq!(lines_of(directory.path(), &none, 5).0, [0; 0]);
    }

    fn lines_of(path: &Path, filter: &Filter, wanted: usize) -> (Vec<u64>, Position) {
        let (found, end) = lines(path, filter, wanted).expect("a log");
        (numbers(&found), end)
    }

    #[test]
    fn every_window_begins_at_a_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let text: String = (1..50).map(|seq| record(seq, "stop")).collect();
        fs::write(&path, &text).expect("a file");
        let length = text.len() as u64;
        for start in 0..length {
            let all = Filter::default();
            let (found, end) = of_window(&path, start, length, &all, 100).expect("lines");
            let begun = text[usize::try_from(start).expect("small")..]
                .matches("{\"v\"")
                .count();
            assert_eq!((found.len(), end), (begun, length), "{start}");
        }
    }
}
