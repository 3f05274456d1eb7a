//! The state file: what keys and accounts have used, across restarts.
//!
//! Each line is a JSON object. The first names the format and the replica; each other line has the
//! counters of one period of a key or account, and replaces earlier lines about the same. A change
//! is one appended line, which survives the end of the process; the file is synced every second,
//! and rewritten when most of its lines are replaced.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use voxgate::rate_limit::{Amounts, LimitScope};

const VERSION: u64 = 1;
/// The owner reads and writes: the file has the ids of keys and what they use.
const MODE: u32 = 0o600;
/// The longest line, and more than any has.
const LONGEST_LINE: usize = 1024;
/// A file with fewer lines is not rewritten.
const FEW_LINES: usize = 10_000;

/// The state file cannot be used. The message names the file and says what to do.
#[derive(Debug)]
pub struct StateError {
    path: PathBuf,
    problem: String,
    /// What to do, after "`path`: problem; ".
    fix: &'static str,
}

impl StateError {
    fn io(path: &Path, what: &str, error: &io::Error) -> Self {
        Self {
            path: path.to_owned(),
            problem: format!("cannot be {what}: {error}"),
            fix: "check the directory, its permissions and its free space",
        }
    }

    fn content(path: &Path, problem: String) -> Self {
        Self {
            path: path.to_owned(),
            problem,
            fix: "name another file, or move this one away: without it, the quotas of the current \
                  month are counted again from the audit log",
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, problem, fix) = (self.path.display(), &self.problem, self.fix);
        write!(f, "quota state file {path}: {problem}; {fix}")
    }
}

impl std::error::Error for StateError {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    voxgate_quota_state: u64,
    replica: String,
}

/// One line after the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    period: u32,
    /// Characters, requests, and milliseconds of audio.
    used: Amounts,
    own: Amounts,
}

/// The counters of one period of a key or account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counters<'a> {
    pub(crate) scope: LimitScope,
    pub(crate) id: &'a str,
    pub(crate) period: u32,
    pub(crate) used: Amounts,
    pub(crate) own: Amounts,
}

impl Counters<'_> {
    fn write(&self, line: &mut Vec<u8>) {
        let id = Some(self.id.to_owned());
        let (key, account) = match self.scope {
            LimitScope::Account => (None, id),
            _ => (id, None),
        };
        let row = Row {
            key,
            account,
            period: self.period,
            used: self.used,
            own: self.own,
        };
        // Writing numbers and texts into memory does not fail.
        let _ = serde_json::to_writer(&mut *line, &row);
        line.push(b'\n');
    }
}

/// An open state file. One process has it.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    file: File,
    /// Holds the lock of the file, which is replaced when it is rewritten.
    _lock: File,
    head: Vec<u8>,
    /// Lines in the file after the first.
    lines: usize,
    is_dirty: bool,
    /// Whether the last write failed. A torn line is then followed by a whole file.
    is_broken: bool,
    line: Vec<u8>,
}

/// What a state file says.
#[derive(Debug)]
pub(crate) struct Read {
    /// `None` if there is no file: its counts are lost, or it is the first start.
    pub(crate) replica: Option<String>,
    rows: Vec<Row>,
}

impl Read {
    pub(crate) fn counters(&self) -> impl Iterator<Item = Counters<'_>> {
        self.rows.iter().filter_map(|row| {
            let (scope, id) = match (&row.key, &row.account) {
                (Some(key), None) => (LimitScope::Key, key),
                (None, Some(account)) => (LimitScope::Account, account),
                _ => return None,
            };
            Some(Counters {
                scope,
                id,
                period: row.period,
                used: row.used,
                own: row.own,
            })
        })
    }
}

/// Locks the file's name against other processes, and reads the file.
pub(crate) fn read(path: &Path) -> Result<(File, Read), StateError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(MODE)
        .open(&lock_path);
    let lock = lock.map_err(|error| StateError::io(&lock_path, "opened", &error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StateError {
                path: path.to_owned(),
                problem: "is in use by another process".to_owned(),
                fix: "give each gateway its own file",
            });
        }
        Err(TryLockError::Error(error)) => {
            return Err(StateError::io(&lock_path, "locked", &error));
        }
    }
    let nothing = Read {
        replica: None,
        rows: Vec::new(),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((lock, nothing)),
        Err(error) => return Err(StateError::io(path, "read", &error)),
    };
    Ok((lock, parse(path, file)?))
}

/// Reads a file that another process may have open.
pub(crate) fn peek(path: &Path) -> Result<Read, StateError> {
    let file = File::open(path).map_err(|error| StateError::io(path, "read", &error))?;
    parse(path, file)
}

fn parse(path: &Path, file: File) -> Result<Read, StateError> {
    let mut input = BufReader::new(file);
    let mut line = Vec::new();
    let mut read = Read {
        replica: None,
        rows: Vec::new(),
    };
    for number in 1.. {
        line.clear();
        let length = io::Read::take(&mut input, LONGEST_LINE as u64).read_until(b'\n', &mut line);
        length.map_err(|error| StateError::io(path, "read", &error))?;
        if line.is_empty() {
            break;
        }
        let is_whole = line.ends_with(b"\n");
        // The process ended while it wrote this line: the change was not answered.
        if !is_whole && line.len() < LONGEST_LINE && number > 1 {
            break;
        }
        if number == 1 {
            let head = serde_json::from_slice::<Head>(&line).ok();
            match head.filter(|_| is_whole) {
                Some(head) if head.voxgate_quota_state == VERSION => {
                    read.replica = Some(head.replica);
                }
                Some(_) => {
                    let problem = "was written by a newer version of Voxgate";
                    return Err(StateError::content(path, problem.to_owned()));
                }
                None => {
                    let problem = "is not a quota state file";
                    return Err(StateError::content(path, problem.to_owned()));
                }
            }
            continue;
        }
        let row = serde_json::from_slice::<Row>(&line).ok();
        match row.filter(|row| row.key.is_some() != row.account.is_some()) {
            Some(row) => read.rows.push(row),
            None => {
                let problem = format!("line {number} is not a counter");
                return Err(StateError::content(path, problem));
            }
        }
    }
    if read.replica.is_none() {
        let problem = "is empty";
        return Err(StateError::content(path, problem.to_owned()));
    }
    Ok(read)
}

impl StateFile {
    /// Writes a new file with these counters, in place of the old one.
    pub(crate) fn create<'a>(
        path: &Path,
        lock: File,
        replica: &str,
        counters: impl Iterator<Item = Counters<'a>>,
    ) -> Result<Self, StateError> {
        let head = Head {
            voxgate_quota_state: VERSION,
            replica: replica.to_owned(),
        };
        let mut head = serde_json::to_vec(&head).unwrap_or_default();
        head.push(b'\n');
        let failed = |error: io::Error| StateError::io(path, "written", &error);
        let (file, lines) = rewrite(path, &head, counters).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            _lock: lock,
            head,
            lines,
            is_dirty: false,
            is_broken: false,
            line: Vec::new(),
        })
    }

    /// Appends these counters with one write.
    pub(crate) fn append<'a>(&mut self, counters: impl Iterator<Item = Counters<'a>>) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let mut lines = 0;
        for counters in counters {
            counters.write(&mut line);
            lines += 1;
        }
        if lines > 0 && !self.is_broken {
            match self.file.write_all(&line) {
                Ok(()) => self.lines += lines,
                Err(error) => self.failed(&error),
            }
            self.is_dirty = true;
        }
        self.line = line;
    }

    /// Whether the file should be written again: later lines replace most of its lines, except `live` of
    /// them, or a write failed.
    pub(crate) fn wants_rewrite(&self, live: usize) -> bool {
        self.is_broken || self.lines > FEW_LINES.max(4 * live)
    }

    pub(crate) fn rewrite<'a>(&mut self, counters: impl Iterator<Item = Counters<'a>>) {
        match rewrite(&self.path, &self.head, counters) {
            Ok((file, lines)) => {
                if self.is_broken {
                    tracing::info!(file = %self.path.display(), "the quota state is written again");
                }
                (self.file, self.lines) = (file, lines);
                (self.is_dirty, self.is_broken) = (false, false);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// What to sync, if anything changed. The caller syncs it without the lock of the counters.
    pub(crate) fn take_unsynced(&mut self) -> Option<File> {
        let changed = std::mem::take(&mut self.is_dirty) && !self.is_broken;
        changed.then(|| self.file.try_clone().ok()).flatten()
    }

    pub(crate) fn failed(&mut self, error: &io::Error) {
        if !self.is_broken {
            self.is_broken = true;
            tracing::error!(
                file = %self.path.display(),
                "the quota state cannot be written: {error}; quotas are counted in memory, and \
                 counts since now are lost if the process ends; free space on the volume"
            );
        }
    }
}

/// Writes a second file, syncs it, and gives it the name of the first.
fn rewrite<'a>(
    path: &Path,
    head: &[u8],
    counters: impl Iterator<Item = Counters<'a>>,
) -> io::Result<(File, usize)> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut text = head.to_vec();
    let mut lines = 0;
    for counters in counters {
        counters.write(&mut text);
        lines += 1;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(MODE)
        .open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, lines))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ROW: Counters<'static> = Counters {
        scope: LimitScope::Key,
        id: "ivr",
        period: 20_261_128,
        used: [5, 1, 0],
        own: [5, 1, 0],
    };

    fn write(path: &Path) -> StateFile {
        let (lock, read) = read(path).expect("no file yet");
        assert!(read.replica.is_none());
        StateFile::create(path, lock, "0011", [].into_iter()).expect("created")
    }

    #[test]
    fn what_was_appended_is_read_and_a_torn_line_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("quota");
        let mut file = write(&path);
        file.append([ROW].into_iter());
        let later = Counters {
            used: [9, 2, 0],
            ..ROW
        };
        file.append([later.clone(), ROW].into_iter().take(1));
        drop(file);
        let mut text = fs::read(&path).expect("a file");
        text.extend_from_slice(b"{\"key\":\"ivr\",\"per");
        fs::write(&path, &text).expect("torn");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let (_lock, read) = read(&path).expect("a good file");
        assert_eq!(read.replica.as_deref(), Some("0011"));
        let counters: Vec<_> = read.counters().collect();
        assert_eq!(counters, [ROW, later]);
    }

    #[test]
    fn a_wrong_file_is_an_error_that_names_it_and_the_fix() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("quota");
        let head = "{\"voxgate_quota_state\":1,\"replica\":\"00\"}\n";
        let row = "{\"key\":\"a\",\"period\":20261128,\"used\":[1,1,1],\"own\":[1,1,1]}\n";
        for (text, says) in [
            ("", "is empty"),
            ("[[key]]\nid = \"a\"\n", "is not a quota state file"),
            ("{\"voxgate_quota_state\":1", "is not a quota state file"),
            (
                "{\"voxgate_quota_state\":2,\"replica\":\"00\"}\n",
                "newer version",
            ),
            (&format!("{head}{row}xx\n{row}"), "line 3 is not a counter"),
            (
                &format!("{head}{{\"period\":1,\"used\":[0,0,0],\"own\":[0,0,0]}}\n"),
                "line 2",
            ),
            (&format!("{head}{}", "x".repeat(5000)), "line 2"),
            (
                &format!("{head}{}", row.replace("[1,1,1]", "[-1,1,1]")),
                "line 2",
            ),
            (
                &format!("{head}{}", row.replace("[1,1,1]", "[1e30,1,1]")),
                "line 2",
            ),
        ] {
            fs::write(&path, text).expect("written");
            let error = read(&path).expect_err(says).to_string();
            let name = path.display().to_string();
            assert!(error.contains(says) && error.contains(&name), "{error}");
            assert!(error.contains("move this one away"), "{error}");
            assert_eq!(fs::read(&path).expect("unchanged"), text.as_bytes());
        }
        fs::write(&path, head).expect("written");
        let held = read(&path).expect("a good file");
        let error = read(&path).expect_err("in use").to_string();
        assert!(error.contains("give each gateway its own file"), "{error}");
        drop(held);
        assert!(read(&path).is_ok());
    }

    #[test]
    fn a_file_is_rewritten_when_most_of_it_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("quota");
        let mut file = write(&path);
        for _ in 0..=FEW_LINES {
            file.append([ROW].into_iter());
        }
        assert!(file.wants_rewrite(1));
        file.rewrite([ROW].into_iter());
        assert!(!file.wants_rewrite(1));
        file.append([ROW].into_iter());
        drop(file);
        let (_lock, read) = read(&path).expect("a good file");
        assert_eq!(read.counters().count(), 2);
    }
}
