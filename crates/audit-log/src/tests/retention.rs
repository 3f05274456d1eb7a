//! Deleting the oldest segments, so that it shows that they were.

use std::collections::BTreeMap;
use std::io;
use std::sync::MutexGuard;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A disk whose clocks are set by the test: the system's, by which files are changed, and the one
/// that cannot be set.
#[derive(Clone)]
struct Timed(Arc<Mutex<Times>>);

struct Times {
    system: SystemTime,
    steady: Duration,
    modified: BTreeMap<PathBuf, SystemTime>,
}

impl Timed {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Times {
            system: at(0),
            steady: Duration::ZERO,
            modified: BTreeMap::new(),
        })))
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap()
    }

    fn changed(&self, path: &Path) {
        let mut times = self.times();
        let now = times.system;
        times.modified.insert(path.to_owned(), now);
    }
}

impl Disk for Timed {
    fn create(&self, path: &Path, reserve: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.changed(path);
        let file = LocalDisk.create(path, reserve)?;
        Ok(Box::new(TimedFile(file, self.clone(), path.to_owned())))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        LocalDisk.sync_directory(path)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        LocalDisk.free_bytes(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn steady(&self) -> Duration {
        self.times().steady
    }

    fn identify(&self, path: &Path) -> io::Result<FileIdentity> {
        let mut found = LocalDisk.identify(path)?;
        found.modified = self.times().modified[path];
        Ok(found)
    }
}

struct TimedFile(Box<dyn SegmentFile>, Timed, PathBuf);

impl SegmentFile for TimedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.changed(&self.2);
        self.0.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn trim(&mut self) -> io::Result<()> {
        self.0.trim()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.0.identity()
    }
}

/// A log on such a disk.
struct TimedLog {
    disk: Timed,
    writer: Writer,
    events: Arc<Mutex<Vec<LogEvent>>>,
}

impl TimedLog {
    fn open(directory: &Path, retention: Retention, instance: &str, disk: Timed) -> Self {
        let mut its = options(directory, instance);
        its.retention = retention;
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        its.on_event = Some(Box::new(move |event| told.lock().unwrap().push(*event)));
        let system = disk.times().system;
        let (log, _) = Log::open_on(Arc::new(disk.clone()), its, system).unwrap();
        let writer = Writer {
            log,
            instance: instance.to_owned(),
            seq: 0,
            now: system.duration_since(at(0)).unwrap().as_secs(),
        };
        Self {
            disk,
            writer,
            events,
        }
    }

    /// Time passes by all clocks.
    fn pass(&mut self, time: Duration) {
        self.disk.times().steady += time;
        self.jump(time);
    }

    /// The system's clock jumps ahead.
    fn jump(&mut self, time: Duration) {
        self.disk.times().system += time;
        self.writer.now += time.as_secs();
    }

    fn tick(&mut self) {
        let now = self.writer.now();
        self.writer.log.tick(now).unwrap();
    }

    fn held(&self) -> bool {
        let events = self.events.lock().unwrap();
        let held = |event: &LogEvent| matches!(event, LogEvent::RetentionHeld { .. });
        events.iter().any(held)
    }
}

fn by_age(days: u32) -> Retention {
    Retention {
        max_age: Some(days * DAY),
        max_percent: 100,
        ..Retention::default()
    }
}

/// So many segments of a day each, and an open one.
fn days(directory: &Path, retention: Retention, count: u32) -> TimedLog {
    let mut log = TimedLog::open(directory, retention, "i1", Timed::new());
    for _ in 0..count {
        log.writer.write(4);
        log.pass(DAY);
        log.tick();
    }
    log.writer.write(4);
    log
}

/// Six segments of a day each.
fn log(directory: &Path, retention: Retention) -> Writer {
    days(directory, retention, 5).writer
}

fn kept(directory: &Path) -> Vec<u64> {
    names::segments(directory).unwrap()
}

#[test]
fn by_default_nothing_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path(), Retention::default()).close();
    assert_eq!(kept(directory.path()), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_too_old_is_deleted_and_the_rest_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path(), by_age(2)).close();
    // A segment is as old as the time at which it was closed, before the newest record.
    assert_eq!(kept(directory.path()), [3, 4, 5, 6]);
    let report = assert_whole(directory.path());
    assert_eq!((report.first_segment, report.events), (3, 16));
    let text = fs::read_to_string(segment(directory.path(), 6)).unwrap();
    assert!(
        text.contains(r#""event":"retention""#) && text.contains(r#""from":2,"to":2,"lines":"#)
    );
}

#[test]
fn what_is_too_much_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention {
        max_bytes: Some(4000),
        ..Retention::default()
    };
    log(directory.path(), retention).close();
    let total: u64 = kept(directory.path())
        .iter()
        .map(|number| {
            fs::metadata(segment(directory.path(), *number))
                .unwrap()
                .len()
        })
        .sum();
    assert!(kept(directory.path())[0] > 1 && total < 8000, "{total}");
    assert_whole(directory.path());
    let nothing = Retention {
        max_bytes: Some(0),
        ..Retention::default()
    };
    let mut its = options(directory.path(), "i2");
    its.retention = nothing;
    let (log, _) = Log::open(its, at(0)).unwrap();
    // The one that is open stays.
    assert_eq!(kept(directory.path()), [7]);
    assert_whole(directory.path());
    drop(log);
}

#[test]
fn what_was_not_deleted_by_the_log_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path(), by_age(2)).close();
    fs::remove_file(segment(directory.path(), 3)).unwrap();
    assert_eq!(verdict(&check(directory.path())), (1, "4:1".to_owned()));
}

#[test]
fn a_deletion_that_was_interrupted_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path(), Retention::default()).close();
    let all = copy(directory.path());
    let mut its = options(directory.path(), "i2");
    its.retention = Retention {
        max_bytes: Some(0),
        ..Retention::default()
    };
    drop(Log::open(its, at(0)).unwrap());
    assert_eq!(kept(directory.path()), [7]);
    // Segments that the line says are deleted, and that still are there.
    for first in (1..=6).rev() {
        fs::copy(segment(all.path(), first), segment(directory.path(), first)).unwrap();
        let report = assert_whole(directory.path());
        assert_eq!(report.first_segment, first);
    }
    // They must be those that it means.
    let path = segment(directory.path(), 6);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen(r#""status":200"#, r#""status":201"#, 1),
    )
    .unwrap();
    assert_eq!(check(directory.path()).outcome.exit_code(), 1);
}

#[test]
fn a_checkpoint_of_deleted_lines_cannot_be_compared() {
    let directory = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let mut its = options(directory.path(), "i1");
    notes.collect(&mut its);
    its.retention = Retention {
        max_bytes: Some(0),
        ..Retention::default()
    };
    let mut writer = Writer::open(its);
    for _ in 0..3 {
        writer.write(4);
        writer.rotate();
    }
    writer.close();
    let options = VerifyOptions {
        checkpoints: Some(notes.checkpoints()),
        ..with_key()
    };
    let report = check_with(directory.path(), &options);
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:?}");
    assert!(report.compared > 0 && report.notes.concat().contains("have been deleted since"));
}

#[test]
fn what_was_torn_off_goes_with_its_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    writer.write(3);
    drop(writer);
    let path = segment(directory.path(), 1);
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 3]).unwrap();
    drop(Log::open(options(directory.path(), "i2"), at(0)).unwrap());
    assert!(directory.path().join(names::torn(1, 1)).exists());
    let mut its = options(directory.path(), "i3");
    its.retention = Retention {
        max_bytes: Some(0),
        ..Retention::default()
    };
    drop(Log::open(its, at(0)).unwrap());
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_whole(directory.path());
}

#[test]
fn a_damaged_segment_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    writer.write(3);
    drop(writer);
    let path = segment(directory.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen(r#""status":200"#, r#""status":201"#, 1),
    )
    .unwrap();
    let mut its = options(directory.path(), "i2");
    its.retention = Retention {
        max_bytes: Some(0),
        ..Retention::default()
    };
    drop(Log::open(its, at(0)).unwrap());
    assert_eq!(kept(directory.path()), [1, 2]);
}

#[test]
fn a_clock_that_jumps_ahead_deletes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = days(directory.path(), by_age(30), 5);
    log.jump(1000 * DAY);
    // A new segment begins, because the open one seems to be old; and later by its size.
    log.tick();
    log.writer.write(300);
    for _ in 0..5 {
        log.pass(Duration::from_secs(2 * 60 * 60));
        log.tick();
    }
    assert_eq!(kept(directory.path())[0], 1);
    assert!(log.held());
    // What really gets old is deleted, by the time that has passed.
    log.pass(28 * DAY);
    log.writer.write(1);
    log.tick();
    let first = kept(directory.path())[0];
    assert!((2..=5).contains(&first), "{first}");
    log.writer.close();
    assert_whole(directory.path());
}

#[test]
fn a_clock_that_is_wrong_at_the_start_deletes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = days(directory.path(), by_age(30), 5);
    let disk = log.disk.clone();
    log.writer.close();
    disk.times().system += 1000 * DAY;
    let mut log = TimedLog::open(directory.path(), by_age(30), "i2", disk);
    log.writer.write(4);
    for _ in 0..3 {
        log.pass(DAY);
        log.tick();
        log.writer.write(4);
    }
    assert_eq!(kept(directory.path())[0], 1);
    assert!(log.held());
    // The clock is set right, and time passes.
    log.disk.times().system -= 1000 * DAY;
    log.writer.now -= 1000 * DAY.as_secs();
    log.pass(24 * DAY);
    log.writer.write(1);
    log.tick();
    assert!(kept(directory.path())[0] > 1);
    log.writer.close();
    assert_whole(directory.path());
}

#[test]
fn a_segment_whose_file_is_younger_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = days(directory.path(), by_age(30), 5);
    log.disk.changed(&segment(directory.path(), 2));
    log.pass(28 * DAY);
    log.writer.write(1);
    log.tick();
    // By the log, the first four are too old; the second one was written to five days ago.
    assert_eq!(kept(directory.path())[0], 2);
}

#[test]
fn no_more_than_a_share_is_deleted_within_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention {
        max_percent: 20,
        ..by_age(30)
    };
    let mut log = days(directory.path(), retention, 20);
    log.pass(60 * DAY);
    log.writer.write(1);
    let mut first = Vec::new();
    for _ in 0..8 {
        log.tick();
        first.push(kept(directory.path())[0]);
        log.pass(Duration::from_secs(31 * 60));
    }
    // A fifth of 21, of 17, of 14 and of 12 segments.
    assert_eq!(first, [5, 5, 8, 8, 10, 10, 12, 12]);
    log.tick();
    // Nor does a new start delete the next share at once.
    let (disk, before) = (log.disk.clone(), kept(directory.path())[0]);
    log.writer.close();
    for (minutes, deletes) in [(5, false), (40, false), (40, true)] {
        disk.times().steady += minutes * Duration::from_secs(60);
        disk.times().system += minutes * Duration::from_secs(60);
        let it = TimedLog::open(directory.path(), retention, "i2", disk.clone());
        it.writer.close();
        let is_deleted = kept(directory.path())[0] > before;
        assert_eq!(is_deleted, deletes, "{minutes}");
    }
    assert_whole(directory.path());
}
