//! What is found when a log is opened again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::chain::Position;
use super::content;
use super::loss::Loss;
use super::names;
use super::options::LogError;
use super::reading::Line;
use super::record::{Follows, Own, Recovery};
use super::retention::Deleted;
use super::scan::{End, Header, Scan, Step};
use super::timestamp;

/// How the log was found when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// After the last line that was there.
    pub end: Position,
    /// Whether its writer had not come to its end.
    pub unsealed: bool,
    /// Bytes of a line that was not whole. They are kept in a file of their own.
    pub torn_bytes: u64,
    /// The segment and the line that were found changed. The log goes on after the last line
    /// before it; what follows it stays where it is.
    pub damaged: Option<(u64, u64)>,
    /// The segment that was left unsealed, and the length of its whole lines.
    left: Option<(u64, u64)>,
}

impl Recovered {
    /// Leaves a segment of whole lines only, and gives back what was reserved for it. What is cut
    /// off was copied before, and the copy is written down; where the file may not be shortened
    /// it stays, which is as well.
    pub(super) fn tidy(&self, directory: &Path) {
        if let Some((segment, length)) = self.left {
            let path = directory.join(names::segment(segment));
            let file = content::open_with(&path, OpenOptions::new().write(true));
            let _ = file.and_then(|file| {
                file.set_len(length)?;
                file.sync_all()
            });
        }
    }
}

/// What the next segment has to follow and to say.
pub(super) struct Found {
    pub(super) end: Position,
    pub(super) follows: Follows,
    pub(super) recoveries: Vec<Recovery>,
    pub(super) recovered: Recovered,
    /// The segments that are there.
    pub(super) segments: BTreeSet<u64>,
    /// The time of the newest line.
    pub(super) newest: Option<SystemTime>,
    /// What the newest segment says was deleted, …
    pub(super) deleted: Option<Deleted>,
    /// … and lost. The numbers of those records are of other instances.
    pub(super) losses: Vec<Loss>,
}

/// Looks at the newest segment. What is torn is copied; nothing is shortened yet.
pub(super) fn look(directory: &Path) -> Result<Found, LogError> {
    let numbers = names::segments(directory).map_err(LogError::io("list", directory))?;
    let mut found = Found {
        end: Position::START,
        follows: Follows::Nothing,
        recoveries: Vec::new(),
        recovered: Recovered {
            end: Position::START,
            unsealed: false,
            torn_bytes: 0,
            damaged: None,
            left: None,
        },
        segments: numbers.iter().copied().collect(),
        newest: None,
        deleted: None,
        losses: Vec::new(),
    };
    for number in numbers.iter().rev() {
        let path = directory.join(names::segment(*number));
        if found
            .segment(directory, *number)
            .map_err(LogError::io("read", &path))?
        {
            break;
        }
    }
    found.recovered.end = found.end;
    Ok(found)
}

impl Found {
    /// Looks at one segment. `false` if the log has no line in it, so that the one before counts.
    fn segment(&mut self, directory: &Path, number: u64) -> io::Result<bool> {
        let path = directory.join(names::segment(number));
        let Some(header) = Header::read(&path)?.filter(|it| it.open.segment == number) else {
            return self.without_header(directory, number);
        };
        let mut scan = Scan::open_redacted(&path, header.open.start(), u64::MAX)?;
        let ended = loop {
            let time = match scan.next()? {
                Step::End(end) => break end,
                Step::Line(Line::Event(event), _) => event.time.and_then(timestamp::parse),
                Step::Line(Line::Own { own, time, .. }, _) => {
                    match own {
                        Own::Retention {
                            to, lines, last, ..
                        } => self.deleted = Some(Deleted { to, lines, last }),
                        Own::Lost(loss) => self.losses.push(Loss { seqs: None, ..loss }),
                        _ => {}
                    }
                    timestamp::parse(&time)
                }
            };
            self.newest = time.or(self.newest);
        };
        let at = scan.at();
        if self.follows == Follows::Damaged {
            // A newer segment is there and unreadable: its number is taken, and this is where
            // the chain can go on.
            self.end = Position {
                segment: self.end.segment,
                line: 0,
                bytes: 0,
                ..at
            };
            return Ok(true);
        }
        self.end = at;
        if scan.is_sealed() && ended == End::Whole {
            self.follows = Follows::Sealed;
            return Ok(true);
        }
        self.follows = Follows::Unsealed;
        self.recovered.unsealed = true;
        let state = match ended {
            End::Whole => "unsealed",
            End::Torn(_) => "torn",
            End::Damaged(_) => {
                self.follows = Follows::Damaged;
                self.recovered.damaged = Some((number, at.line + 1));
                "damaged"
            }
        };
        let mut recovery = inspect(&path, number, state, &at)?;
        if state == "torn" {
            recovery.file = content::copy_aside(directory, number, at.bytes)?;
            self.recovered.torn_bytes += recovery.bytes;
        }
        if state != "damaged" {
            self.recovered.left = Some((number, at.bytes));
        }
        self.recoveries.push(recovery);
        Ok(true)
    }

    /// A segment whose first lines are not whole never took an event, if nothing else is in it.
    fn without_header(&mut self, directory: &Path, number: u64) -> io::Result<bool> {
        let path = directory.join(names::segment(number));
        let start = Position {
            segment: number,
            ..Position::START
        };
        self.recovered.unsealed = true;
        if !self.recoveries.is_empty() || !Header::is_interrupted(&path)? {
            self.follows = Follows::Damaged;
            self.end.segment = self.end.segment.max(number);
            self.recovered.damaged = Some((number, 1));
            self.recoveries
                .push(inspect(&path, number, "damaged", &start)?);
            return Ok(false);
        }
        let mut recovery = inspect(&path, number, "incomplete", &start)?;
        if recovery.bytes > 0 {
            recovery.file = content::copy_aside(directory, number, 0)?;
        }
        self.recovered.torn_bytes += recovery.bytes;
        self.recoveries.push(recovery);
        fs::remove_file(&path)?;
        self.segments.remove(&number);
        File::open(directory)?.sync_all()?;
        Ok(false)
    }
}

/// What is in a segment after the last line that is right.
fn inspect(path: &Path, segment: u64, state: &str, at: &Position) -> io::Result<Recovery> {
    Ok(Recovery {
        segment,
        state: state.to_owned(),
        line: at.line + 1,
        offset: at.bytes,
        bytes: fs::metadata(path)?.len().saturating_sub(at.bytes),
        sha256: content::sha256(path, at.bytes)?,
        file: String::new(),
    })
}
