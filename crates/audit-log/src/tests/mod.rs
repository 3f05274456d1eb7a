//! The tests of the log as a whole: what is written, torn, changed, lost, and found again.

mod crash;
mod faults;
mod format;
mod lost;
mod property;
mod real_disk;
mod recovery;
mod redaction;
mod retention;
mod tampering;
#[cfg(feature = "time-stamp")]
mod time_stamps;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;

const ORIGIN: &str = "voxgate.example/audit";
const KEY_NAME: &str = "voxgate.example/key";

/// So many seconds after some Tuesday.
fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn options(directory: &Path, instance: &str) -> LogOptions {
    let mut options = LogOptions::new(directory, instance, ORIGIN);
    options.segment_bytes = 16 * 1024;
    options.low_space_bytes = 0;
    options.least_space_bytes = 0;
    options
}

fn signer() -> Signer {
    Signer::new(KEY_NAME, &[7; 32]).unwrap()
}

fn event(instance: &str, seq: u64) -> Vec<u8> {
    let ts = "2026-11-21T15:02:16.000000Z";
    format!(
        r#"{{"v":1,"seq":{seq},"ts":"{ts}","instance":"{instance}","event":"decision","status":200,"path":"\/a\"b","scopes":["x","y"]}}"#
    )
    .into_bytes()
}

fn gap(instance: &str, seq: u64, from: u64, to: u64) -> Vec<u8> {
    format!(
        r#"{{"v":1,"seq":{seq},"instance":"{instance}","event":"gap","from":{from},"to":{to}}}"#
    )
    .into_bytes()
}

/// A log whose events are numbered by themselves.
struct Writer {
    log: Log,
    instance: String,
    seq: u64,
    now: u64,
}

impl Writer {
    fn open(options: LogOptions) -> Self {
        let instance = options.instance.clone();
        let (log, _) = Log::open(options, at(0)).unwrap();
        Self {
            log,
            instance,
            seq: 0,
            now: 0,
        }
    }

    fn now(&mut self) -> SystemTime {
        self.now += 1;
        at(self.now)
    }

    fn batch(&mut self, count: u64) -> Result<(), AppendError> {
        let lines: Vec<Vec<u8>> = (1..=count)
            .map(|more| event(&self.instance, self.seq + more))
            .collect();
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let now = self.now();
        let result = self.log.append(&lines, now);
        let taken = result
            .as_ref()
            .map_or_else(|it| it.taken as u64, |()| count);
        self.seq += taken;
        result
    }

    fn write(&mut self, count: u64) {
        self.batch(count).unwrap();
        let now = self.now();
        self.log.sync(now).unwrap();
    }

    fn rotate(&mut self) {
        self.now += 24 * 60 * 60;
        let now = self.now();
        self.log.tick(now).unwrap();
    }

    fn close(mut self) {
        let now = self.now();
        self.log.close(now).unwrap();
    }
}

/// Where the notes go that a log hands out.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn collect(&self, options: &mut LogOptions) {
        let notes = Arc::clone(&self.0);
        options.signer = Some(signer());
        options.on_checkpoint = Some(Box::new(move |note| {
            notes.lock().unwrap().push(note.into())
        }));
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::parse(&self.text()).unwrap()
    }
}

fn check(directory: &Path) -> VerifyReport {
    check_with(directory, &VerifyOptions::default())
}

fn check_with(directory: &Path, options: &VerifyOptions) -> VerifyReport {
    verify(directory, options, &mut |_| {})
}

fn with_key() -> VerifyOptions {
    VerifyOptions {
        keys: vec![signer().verifier()],
        ..VerifyOptions::default()
    }
}

#[track_caller]
fn assert_whole(directory: &Path) -> VerifyReport {
    let report = check(directory);
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
    report
}

/// The code, and the place as `segment:line`.
fn verdict(report: &VerifyReport) -> (u8, String) {
    let place = report.outcome.problem().map_or(String::new(), |problem| {
        let name = problem
            .file
            .trim_start_matches("audit-")
            .trim_end_matches(".jsonl");
        format!("{}:{}", name.trim_start_matches('0'), problem.line)
    });
    (report.outcome.exit_code(), place)
}

fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(names::segment(number))
}

/// Every event that is part of the log, as `instance` and `seq`, in order.
fn events(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let numbers = names::segments(directory).unwrap();
    for number in &numbers {
        let next = segment(directory, number + 1);
        let end = next
            .exists()
            .then(|| scan::Header::read(&next).unwrap())
            .flatten();
        // A link that leads nowhere may have the name of a lost segment.
        let mut text = fs::read(segment(directory, *number)).unwrap_or_default();
        text.truncate(end.map_or(usize::MAX, |header| header.open.end as usize));
        for line in text
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|it| it.ends_with(b"\n"))
        {
            let body = chain::unchecked_body(&line[..line.len() - 1]);
            if let Some(reading::Line::Event(event)) = body.and_then(reading::read) {
                found.extend(event.seq.map(|seq| (event.instance.to_owned(), seq)));
            }
        }
    }
    found
}

fn numbered(instance: &str, up_to: u64) -> Vec<(String, u64)> {
    (1..=up_to).map(|seq| (instance.to_owned(), seq)).collect()
}

/// A directory in memory, if there is one: for what is done a thousand times, and synced.
fn scratch() -> TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap()
}

/// A copy of a directory to change something in.
fn copy(directory: &Path) -> TempDir {
    let copy = scratch();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn skipped(what: &str, why: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/skipped.sh");
    let added = std::process::Command::new(script)
        .args(["add", what, why])
        .status();
    assert!(added.unwrap().success());
}
