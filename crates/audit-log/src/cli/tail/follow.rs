//! Reads lines that are appended to a log, across its rotation.

use std::fs::{self, File};
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::super::failure::CommandError;
use super::super::lines::{self, Next};
use super::super::segments;
use super::last::Position;

const INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Follower {
    /// The directory, or the file.
    log: PathBuf,
    at: Position,
    file: Option<File>,
}

impl Follower {
    pub(super) fn new(log: PathBuf, at: Position) -> Self {
        Self {
            log,
            at,
            file: None,
        }
    }

    /// Passes each new line to `each`, until it breaks.
    pub(super) fn run(
        mut self,
        mut each: impl FnMut(&str) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        loop {
            self.step(&mut each)?;
            thread::sleep(INTERVAL);
        }
    }

    /// Reads the lines that exist now.
    fn step(
        &mut self,
        each: &mut impl FnMut(&str) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        loop {
            // Look for the next file first, so that all lines before it are read first.
            let next = self.next().map_err(|error| self.failed(error))?;
            self.read(each)?;
            match next {
                Some(path) => {
                    self.at = Position { path, offset: 0 };
                    self.file = None;
                }
                None => return Ok(()),
            }
        }
    }

    /// Returns the next file of the log, if the present file has ended.
    fn next(&mut self) -> io::Result<Option<PathBuf>> {
        if self.log.is_dir() {
            let segments = segments::in_directory(&self.log)?;
            return Ok(segments.into_iter().find(|segment| *segment > self.at.path));
        }
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let now = match fs::metadata(&self.log) {
            Ok(now) => now,
            // A rotation moved the file away, and will create a new one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let replaced = now.ino() != file.metadata()?.ino() || now.len() < self.at.offset;
        Ok(replaced.then(|| self.log.clone()))
    }

    fn read(
        &mut self,
        each: &mut impl FnMut(&str) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.at.path).map_err(|error| self.failed(error))?,
        };
        let file = self.file.insert(file);
        let path: &Path = &self.at.path;
        let failed = |error| CommandError::reading(path, error);
        file.seek(SeekFrom::Start(self.at.offset)).map_err(failed)?;
        let mut input = BufReader::with_capacity(64 * 1024, &*file);
        let mut line = Vec::new();
        loop {
            match lines::next(&mut input, &mut line).map_err(failed)? {
                Next::Line => {
                    let text = str::from_utf8(&line).ok();
                    text.map_or(Ok(()), &mut *each)?;
                }
                Next::TooLong => {}
                // An incomplete line is read again when it is complete.
                Next::Unfinished | Next::End => break,
            }
        }
        let end = (&*file).stream_position().map_err(failed)?;
        self.at.offset = end - line.len() as u64;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> CommandError {
        CommandError::reading(&self.at.path, error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn append(path: &Path, text: &str) {
        let file = File::options().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a file");
    }

    fn step(follower: &mut Follower) -> Vec<String> {
        let mut seen = Vec::new();
        let done = follower.step(&mut |line| {
            seen.push(line.to_owned());
            Ok(())
        });
        done.expect("a step");
        seen
    }

    #[test]
    fn the_next_segments_of_a_log_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let segment = |number: u64| directory.path().join(format!("audit-{number:012}.jsonl"));
        append(&segment(1), "old\none\ntw");
        let at = Position {
            path: segment(1),
            offset: 4,
        };
        let mut follower = Follower::new(directory.path().to_owned(), at);
        assert_eq!(step(&mut follower), ["one"]);
        assert_eq!(step(&mut follower), [""; 0]);
        append(&segment(1), "o\nthree\n");
        append(&segment(2), "four\n");
        append(&segment(3), "five\n");
        assert_eq!(step(&mut follower), ["two", "three", "four", "five"]);
        fs::remove_file(segment(1)).expect("retention");
        append(&segment(3), "six\n");
        assert_eq!(step(&mut follower), ["six"]);
    }

    #[test]
    fn a_file_that_is_replaced_or_emptied_is_read_from_its_beginning() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        append(&path, "one\n");
        let at = Position {
            path: path.clone(),
            offset: 0,
        };
        let mut follower = Follower::new(path.clone(), at);
        assert_eq!(step(&mut follower), ["one"]);
        append(&path, "two\n");
        fs::rename(&path, directory.path().join("old")).expect("a rotation");
        assert_eq!(step(&mut follower), ["two"]);
        append(&path, "three\n");
        assert_eq!(step(&mut follower), ["three"]);
        fs::write(&path, "4\n").expect("an emptied file");
        assert_eq!(step(&mut follower), ["4"]);
    }

    #[test]
    fn an_endless_line_is_skipped() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        append(&path, &"x".repeat(300_000));
        let at = Position {
            path: path.clone(),
            offset: 0,
        };
        let mut follower = Follower::new(path.clone(), at);
        assert_eq!(step(&mut follower), [""; 0]);
        append(&path, "\nnext\n");
        assert_eq!(step(&mut follower).last().expect("a line"), "next");
    }
}
