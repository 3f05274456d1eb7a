//! Events of a server (<https://html.spec.whatwg.org/multipage/server-sent-events.html>) with JSON.

use super::Findings;
use super::json::JsonScanner;
use super::places::Places;

const DATA: &[u8] = b"data:";

/// Reads the data of each event as a document.
pub(super) struct EventStream {
    json: JsonScanner,
    line: Line,
}

enum Line {
    /// So many bytes of `data:` have come.
    Start(usize),
    Data,
    Other,
}

impl EventStream {
    pub(super) fn new(places: Places) -> Self {
        Self {
            json: JsonScanner::new(places),
            line: Line::Start(0),
        }
    }

    pub(super) fn read(&mut self, mut bytes: &[u8], findings: &mut impl Findings) {
        while let Some((&byte, after)) = bytes.split_first() {
            match (&mut self.line, byte) {
                (Line::Start(0), b'\n') => {
                    // An event ends with an empty line.
                    self.json.reset();
                    bytes = after;
                }
                (Line::Start(0), b'\r') => bytes = after,
                (Line::Start(count), byte) if DATA[*count] == byte => {
                    *count += 1;
                    if *count == DATA.len() {
                        self.line = Line::Data;
                    }
                    bytes = after;
                }
                (Line::Start(_), _) => self.line = Line::Other,
                (Line::Data | Line::Other, _) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (line, rest) = match end {
                        Some(end) => bytes.split_at(end + 1),
                        None => (bytes, &[][..]),
                    };
                    if matches!(self.line, Line::Data) {
                        self.json.read(line, findings);
                    }
                    if end.is_some() {
                        self.line = Line::Start(0);
                    }
                    bytes = rest;
                }
            }
        }
    }
}
