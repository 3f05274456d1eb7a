//! Pieces of the trail that several sinks share.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

/// The largest size of a piece. A single line is never cut.
pub(super) const CHUNK_BYTES: usize = 128 * 1024;

/// How the line of a numbered record begins. `gap` and `checkpoint` records have no number.
const RECORD: &str = r#"{"v":1,"seq":"#;

/// Some lines. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) lines: Arc<str>,
    /// How many of the lines are records.
    pub(super) records: u64,
    /// The numbers of the first record and of the last one.
    pub(super) numbers: Option<(u64, u64)>,
}

impl Chunk {
    /// Lines, each of which ends with a newline.
    pub(super) fn new(lines: &str) -> Self {
        let number = |line: &str| {
            let digits = line.strip_prefix(RECORD)?.split(',').next()?;
            digits.parse().ok()
        };
        let mut chunk = Self {
            lines: lines.into(),
            records: 0,
            numbers: None,
        };
        for number in lines.lines().filter_map(number) {
            chunk.records += 1;
            let first = chunk.numbers.map_or(number, |(first, _)| first);
            chunk.numbers = Some((first, number));
        }
        chunk
    }

    /// Cuts lines into pieces.
    pub(super) fn split(mut lines: &str) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let chunk;
            (chunk, lines) = lines.split_at(piece(lines));
            (!chunk.is_empty()).then(|| Self::new(chunk))
        })
    }

    /// A `gap` record: it tells the receiver which records it does not have.
    pub(super) fn gap(instance: &str, missing: &RangeInclusive<u64>) -> Self {
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        let (from, to) = (missing.start(), missing.end());
        Self::new(&format!(
            "{{\"v\":1,\"ts\":\"{now}\",\"instance\":\"{instance}\",\"event\":\"gap\",\"from\":{from},\"to\":{to}}}\n"
        ))
    }

    /// A checkpoint of the audit log, without the fields that chain records in the log.
    pub(super) fn checkpoint(instance: &str, note: &str) -> Self {
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        let note = escape(note);
        Self::new(&format!(
            "{{\"v\":1,\"event\":\"checkpoint\",\"ts\":\"{now}\",\"instance\":\"{instance}\",\"note\":\"{note}\"}}\n"
        ))
    }
}

/// How many bytes of these lines are the next piece.
fn piece(lines: &str) -> usize {
    if lines.len() <= CHUNK_BYTES {
        return lines.len();
    }
    let newline = |byte: &u8| *byte == b'\n';
    let bytes = lines.as_bytes();
    // The lines are ASCII, but a cut behind a newline is right for any text.
    let last = bytes[..CHUNK_BYTES].iter().rposition(newline);
    let next = || bytes.iter().position(newline);
    last.or_else(next).map_or(lines.len(), |at| at + 1)
}

/// Printable ASCII, as all lines are: a note has newlines, and a dash of its own.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '"' | '\\' => escaped.extend(['\\', character]),
            ' '..='~' => escaped.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn lines(count: u64) -> String {
        let line = |seq| {
            format!(
                "{{\"v\":1,\"seq\":{seq},\"pad\":\"{}\"}}\n",
                "x".repeat(1000)
            )
        };
        (1..=count).map(line).collect()
    }

    #[test]
    fn pieces_have_whole_lines_and_are_all_there_is() {
        let lines = lines(1000);
        let chunks: Vec<Chunk> = Chunk::split(&lines).collect();
        assert!(chunks.len() > 5, "{}", chunks.len());
        let all: String = chunks.iter().map(|chunk| &*chunk.lines).collect();
        assert_eq!(all, lines);
        let mut next = 1;
        for chunk in chunks {
            assert!(chunk.lines.ends_with('\n') && chunk.lines.len() <= CHUNK_BYTES);
            let last = next + chunk.records - 1;
            assert_eq!(chunk.numbers, Some((next, last)));
            next = last + 1;
        }
        assert_eq!(next, 1001);
        assert_eq!(Chunk::split("").count(), 0);
        let long = format!("{}\nnext\n", "y".repeat(2 * CHUNK_BYTES));
        assert_eq!(Chunk::split(&long).count(), 2);
    }

    #[test]
    fn what_is_said_of_the_trail_is_no_record_and_is_json() {
        let gap = Chunk::gap("0123456789abcdef", &(3..=9));
        let note = "voxgate/host\n3\nq83vEg==\n\n\u{2014} voxgate AbC+/=\n";
        let checkpoint = Chunk::checkpoint("0123456789abcdef", note);
        for (chunk, event) in [(&gap, "gap"), (&checkpoint, "checkpoint")] {
            assert_eq!((chunk.records, chunk.numbers), (0, None));
            assert!(chunk.lines.is_ascii() && chunk.lines.ends_with("}\n"));
            let json: Value = serde_json::from_str(&chunk.lines).expect("JSON");
            assert_eq!(json["event"], event);
        }
        let gap: Value = serde_json::from_str(&gap.lines).expect("JSON");
        assert_eq!(
            (gap["from"].as_u64(), gap["to"].as_u64()),
            (Some(3), Some(9))
        );
        let checkpoint: Value = serde_json::from_str(&checkpoint.lines).expect("JSON");
        assert_eq!(checkpoint["note"], note);
    }
}
